//! A registry on storage in memory, and clients of its paths.

use super::*;

pub(in crate::sync) fn resource() -> Arc<Resource> {
    resource_with("")
}

/// The example's resource, and more of it.
pub(in crate::sync) fn resource_with(more: &str) -> Arc<Resource> {
    let example = include_str!("../../../../docs/crossfade.example.toml");
    let config = Config::parse(&format!("{example}{more}"), Path::new("."), "example").unwrap();
    config.resources[0].clone()
}

/// The example's resource, with all that the store has to know in stage `rampdown`.
pub(in crate::sync) fn ramped() -> Arc<Resource> {
    ramped_with("")
}

/// The same, and more of it.
pub(in crate::sync) fn ramped_with(more: &str) -> Arc<Resource> {
    let example = include_str!("../../../../docs/crossfade.example.toml");
    let told = ["generated", "unique", "default"];
    let text =
        told.iter().fold(example.to_owned(), |text, key| text.replace(&format!("#{key}"), key));
    let roles = r#"
[resource.write.roles]
admin = { cells = ["*"], create = true, delete = true }
editor = { cells = ["name", "age"] }
"#;
    let config = Config::parse(&format!("{text}{roles}{more}"), Path::new("."), "example").unwrap();
    config.resources[0].clone()
}

pub(in crate::sync) struct World {
    pub(in crate::sync) storage: MemoryStorage,
    pub(in crate::sync) registry: PathRegistry,
    pub(in crate::sync) users: Arc<Resource>,
}

impl World {
    pub(in crate::sync) fn new() -> Self {
        Self::on(MemoryStorage::default())
    }

    /// A process that starts on what another one has committed.
    pub(in crate::sync) fn on(storage: MemoryStorage) -> Self {
        Self::with(storage, Arc::new(SystemClock))
    }

    pub(in crate::sync) fn with(storage: MemoryStorage, clock: SharedClock) -> Self {
        Self::made(storage, clock, Durability::Committed)
    }

    pub(in crate::sync) fn made(
        storage: MemoryStorage,
        clock: SharedClock,
        durability: Durability,
    ) -> Self {
        Self::of(storage, clock, durability, resource())
    }

    /// One whose resource is another than the example's.
    pub(in crate::sync) fn of(
        storage: MemoryStorage,
        clock: SharedClock,
        durability: Durability,
        users: Arc<Resource>,
    ) -> Self {
        let registry = PathRegistry::new(RegistrySettings {
            storage: Arc::new(storage.clone()),
            tables: Arc::new(MappedTables::new(std::slice::from_ref(&users))),
            clock,
            entropy: Arc::new(SystemEntropy),
            unique_id: "server".into(),
            durability,
            idle_unload: Duration::from_secs(300),
            pace: PaceSettings::default(),
            max_cell_bytes: 1 << 20,
        });
        Self { storage, registry, users }
    }

    pub(in crate::sync) async fn path(&self) -> PathHandle {
        self.registry.get(&PathId::new("org/org_1").unwrap()).await.unwrap()
    }

    pub(in crate::sync) async fn client(&self, name: &str) -> Client {
        self.client_as(name, None).await
    }

    /// A client whose user has a role in the organisation.
    pub(in crate::sync) async fn client_as(&self, name: &str, role: Option<&str>) -> Client {
        let path = self.path().await;
        let (sink, source) = client_channel();
        let id = ConnectionId::from(name);
        let org_role = role.map(str::to_owned);
        let actor = Actor { user: name.to_owned(), org_id: Some("org_1".into()), org_role };
        let writer = Arc::new(Writer::new(actor));
        path.connect(id.clone(), writer, sink, false).await.unwrap();
        let store = MergeableStore::new(ClientId::from_unique_id(name));
        let mut client = Client { engine: Synchronizer::new(store), path, id, source, frames: 0 };
        let frames = client.engine.connected(now(), &mut random());
        client.send(frames).await;
        client.until(|engine| engine.is_live()).await;
        client
    }

    pub(in crate::sync) async fn apply(&self, cells: Option<RowCells>, source: Source) -> Applied {
        let row = LegacyRow { row: RowId::new("u1"), now: cells };
        let name = self.users.name.clone();
        self.path().await.apply(name, vec![row], source).await.unwrap()[0]
    }

    pub(in crate::sync) async fn prepare(&self, seq: Seq) -> Prepared {
        let name = self.users.name.clone();
        self.path().await.prepare(name, RowId::new("u1"), seq).await.unwrap()
    }

    pub(in crate::sync) async fn settle(&self, seq: Seq, outcome: Outcome) -> Settled {
        let name = self.users.name.clone();
        self.path().await.settle(name, RowId::new("u1"), seq, outcome).await.unwrap()
    }

    pub(in crate::sync) async fn pending(&self) -> Vec<Seq> {
        let summary = self.storage.outbox_summary(100).await.unwrap();
        summary.entries.iter().map(|entry| entry.seq).collect()
    }

    pub(in crate::sync) async fn cell(&self, cell: &'static str) -> Option<Cell> {
        let read =
            move |store: &MergeableStore| store.get_cell("users", "u1", cell).map(CellRef::to_cell);
        self.path().await.read(read).await.unwrap()
    }
}

pub(in crate::sync) struct Client {
    pub(in crate::sync) engine: Synchronizer,
    pub(in crate::sync) path: PathHandle,
    pub(in crate::sync) id: ConnectionId,
    pub(in crate::sync) source: ClientSource,
    /// How many came.
    pub(in crate::sync) frames: usize,
}

impl Client {
    pub(in crate::sync) async fn send(&self, frames: Vec<String>) {
        for frame in frames {
            self.path.frame(self.id.clone(), &frame).await.unwrap();
        }
    }

    /// Takes part in the exchange until `done`.
    pub(in crate::sync) async fn until(&mut self, done: impl Fn(&Synchronizer) -> bool) {
        while !done(&self.engine) {
            if let Some(reason) = self.next().await {
                panic!("closed instead: {reason:?}");
            }
        }
    }

    /// Takes what comes next; the reason if it is the end.
    pub(in crate::sync) async fn next(&mut self) -> Option<CloseReason> {
        match self.source.next().await {
            Outbound::Close(reason) => return Some(reason),
            Outbound::Frames(frames) => {
                for frame in frames {
                    self.frames += 1;
                    let effects = self.engine.receive(now(), &frame, &mut random()).unwrap();
                    self.send(effects.send).await;
                }
            }
        }
        None
    }

    pub(in crate::sync) async fn sees(&mut self, cell: &str, value: Option<&str>) {
        let value = value.map(Cell::from);
        self.until(|engine| {
            engine.store().get_cell("users", "u1", cell) == value.as_ref().map(Cell::view)
        })
        .await;
    }

    pub(in crate::sync) async fn set(&mut self, cell: &str, value: &str) {
        let edit = self
            .engine
            .edit(now(), &mut random(), |tx| tx.set_cell("users", "u1", cell, value))
            .unwrap();
        self.send(edit.1).await;
    }

    /// Makes the row, with all cells that it must have.
    pub(in crate::sync) async fn make(&mut self, name: &str) {
        let edit = self.engine.edit(now(), &mut random(), |tx| {
            for (cell, value) in [("id", "u1"), ("orgId", "org_1"), ("name", name)] {
                tx.set_cell("users", "u1", cell, value)?;
            }
            tx.set_cell("users", "u1", "email", "u1@example.test")?;
            tx.set_cell("users", "u1", "role", "member")?;
            tx.set_cell("users", "u1", "active", true)
        });
        self.send(edit.unwrap().1).await;
    }

    pub(in crate::sync) async fn closed(&mut self) -> CloseReason {
        loop {
            if let Outbound::Close(reason) = self.source.next().await {
                return reason;
            }
        }
    }
}

pub(in crate::sync) fn now() -> u64 {
    use crate::clock::Clock;
    SystemClock.now_ms()
}

pub(in crate::sync) fn random() -> StarRandom {
    StarRandom(Arc::new(SystemEntropy))
}

pub(in crate::sync) fn user(name: &str, version: f64) -> RowCells {
    let cells: [(&str, Cell); 10] = [
        ("id", "u1".into()),
        ("orgId", "org_1".into()),
        ("email", "u1@example.test".into()),
        ("name", name.into()),
        ("role", "member".into()),
        ("age", Cell::Null),
        ("active", true.into()),
        ("createdAt", "2026-01-01T00:00:00.000Z".into()),
        ("updatedAt", "2026-01-01T00:00:00.000Z".into()),
        ("version", version.into()),
    ];
    cells.into_iter().collect()
}

pub(in crate::sync) fn read() -> Source {
    Source::Read { asked_ms: now() + 60_000 }
}

pub(in crate::sync) fn request(cells: &[&str]) -> Source {
    let wrote = cells.iter().map(|&cell| cell.to_owned()).collect::<BTreeSet<_>>();
    Source::Request { wrote: Wrote::Cells(wrote), sent_ms: now() + 60_000 }
}

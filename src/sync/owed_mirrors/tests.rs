//! Rows that are owed to the store: while legacy is away, after a kill, and while a request is out of sight.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{Path, State};
use http::StatusCode;
use serde_json::{Value, json};

use super::*;
use crate::clock::{Clock as _, SharedClock, SystemClock, SystemEntropy};
use crate::config::Config;
use crate::legacy::{LegacyClient, LegacySettings};
use crate::migration::PathId;
use crate::storage::{IntentId, MemoryStorage, Op};
use crate::sync::caught_up::{CaughtUp, Standing};
use crate::sync::intents::IntentParts;
use crate::sync::mirror::MirrorParts;
use crate::sync::{LegacyRows, PaceSettings, PathRegistry, RegistrySettings, RowTraffic};

/// A legacy API with rows, that can be away.
#[derive(Debug, Clone, Default)]
struct Legacy {
    rows: Arc<Mutex<BTreeMap<String, Value>>>,
    away: Arc<Mutex<bool>>,
    reads: Arc<AtomicUsize>,
}

async fn get(State(legacy): State<Legacy>, Path(id): Path<String>) -> (StatusCode, String) {
    legacy.reads.fetch_add(1, Ordering::SeqCst);
    if *legacy.away.lock().unwrap() {
        return (StatusCode::SERVICE_UNAVAILABLE, String::new());
    }
    match legacy.rows.lock().unwrap().get(&id) {
        Some(row) => (StatusCode::OK, row.to_string()),
        None => (StatusCode::NOT_FOUND, String::new()),
    }
}

impl Legacy {
    fn put(&self, id: &str, name: &str, version: u64) {
        let row = json!({
            "id": id, "orgId": "o_1", "name": name, "email": "n@example.test", "role": "member",
            "active": true, "version": version, "updatedAt": "2026-01-01T00:00:00Z",
        });
        self.rows.lock().unwrap().insert(id.to_owned(), row);
    }

    fn away(&self, away: bool) {
        *self.away.lock().unwrap() = away;
    }

    /// Waits for this many reads.
    async fn read(&self, times: usize) {
        until(|| self.reads.load(Ordering::SeqCst) >= times).await;
    }
}

async fn until(met: impl Fn() -> bool) {
    let waiting = async {
        while !met() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("in time");
}

/// A process, on a database and a legacy API that outlive it.
struct Process {
    mirror: Mirror,
    caught_up: CaughtUp,
    intents: Intents,
    registry: PathRegistry,
    users: Arc<Resource>,
    stop: watch::Sender<bool>,
    running: tokio::task::JoinHandle<()>,
}

struct World {
    storage: SharedStorage,
    legacy: Legacy,
    url: String,
    settle: Duration,
}

impl World {
    async fn new(settle: Duration) -> Self {
        let legacy = Legacy::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router =
            Router::new().route("/users/{id}", axum::routing::get(get)).with_state(legacy.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { storage: Arc::new(MemoryStorage::default()), legacy, url, settle }
    }

    async fn process(&self) -> Process {
        let example = include_str!("../../../docs/crossfade.example.toml");
        let config = Config::parse(example, std::path::Path::new("."), "example").unwrap();
        let users = config.resources[0].clone();
        let tables = Arc::new(MappedTables::new(&config.resources));
        let clock: SharedClock = Arc::new(SystemClock);
        let registry = PathRegistry::new(RegistrySettings {
            storage: self.storage.clone(),
            tables: tables.clone(),
            clock: clock.clone(),
            entropy: Arc::new(SystemEntropy),
            unique_id: "server".into(),
            durability: crate::config::Durability::Committed,
            idle_unload: Duration::from_secs(300),
            pace: PaceSettings::default(),
            max_cell_bytes: 1 << 20,
        });
        let timeout = Duration::from_secs(10);
        let legacy = LegacyClient::new(LegacySettings {
            base_url: self.url.clone(),
            connect_timeout: timeout,
            timeout,
            compare_timeout: timeout,
            service_token: Some("service".to_owned()),
            max_body_bytes: 4096,
        })
        .unwrap();
        let caught_up = CaughtUp::load(self.storage.clone(), 0).await.unwrap();
        if caught_up.standing(&users.name) == Standing::Unfinished {
            assert!(caught_up.finish(&users.name, caught_up.begin(&users.name)).await.unwrap());
        }
        let intents = Intents::new(IntentParts {
            storage: self.storage.clone(),
            caught_up: caught_up.clone(),
            clock: clock.clone(),
            entropy: Arc::new(SystemEntropy),
            settle: self.settle,
        });
        let owed = OwedMirrors::default();
        owed.take_up(&self.storage, &intents, &tables, SystemClock.now_ms()).await.unwrap();
        let rows = LegacyRows {
            registry: registry.clone(),
            storage: self.storage.clone(),
            legacy,
            traffic: RowTraffic::default(),
        };
        let mirror = Mirror::new(MirrorParts {
            rows,
            caught_up: caught_up.clone(),
            intents: intents.clone(),
            owed,
            clock,
        });
        let (stop, stopping) = watch::channel(false);
        let running = tokio::spawn(run(mirror.clone(), stopping));
        Process { mirror, caught_up, intents, registry, users, stop, running }
    }
}

impl Process {
    async fn open(&self, row: &str) -> OpenIntent {
        self.intents.open(&self.users.name, Some(RowId::new(row)), None).await
    }

    fn may_answer(&self) -> bool {
        self.caught_up.may_answer(&self.users.name, &PathId::new("org/o_1").unwrap())
    }

    /// The name that the store has of a row.
    async fn name(&self, row: &str) -> Option<String> {
        let handle = self.registry.get(&PathId::new("org/o_1").unwrap()).await.unwrap();
        let row = row.to_owned();
        let name = handle.view(move |path| {
            let row = crate::resource::StoreRow::of(path.store, "users", row.as_str())?;
            let cell = crate::resource::RowView::cell(&row, "name")?;
            Some(cell.to_json().as_str()?.to_owned())
        });
        name.await.unwrap()
    }

    async fn stop(self) {
        self.stop.send(true).unwrap();
        self.running.await.unwrap();
        self.mirror.close().await;
    }
}

#[tokio::test]
async fn an_outage_of_legacy_loses_nothing_and_holds_the_answers_back() {
    let world = World::new(Duration::from_secs(30)).await;
    let process = world.process().await;
    world.legacy.put("u1", "Ada", 1);
    world.legacy.away(true);
    process.mirror.reread(process.users.clone(), RowId::new("u1"), process.open("u1").await);
    world.legacy.read(2).await;
    assert!(!process.may_answer());
    assert_eq!(world.storage.open_intents(9).await.unwrap().len(), 1);
    world.legacy.away(false);
    until(|| process.may_answer()).await;
    assert_eq!(process.name("u1").await.as_deref(), Some("Ada"));
    process.intents.idle().await;
    assert_eq!(world.storage.open_intents(9).await.unwrap(), []);
    process.stop().await;
}

#[tokio::test]
async fn what_was_under_way_at_a_kill_is_read_by_the_next_process() {
    let world = World::new(Duration::from_millis(1)).await;
    let killed = world.process().await;
    world.legacy.put("u1", "Ada", 1);
    let under_way = killed.open("u1").await;
    // Killed: nothing of what it would have said is kept.
    under_way.leave();
    killed.running.abort();
    let next = world.process().await;
    until(|| next.may_answer()).await;
    assert_eq!(next.name("u1").await.as_deref(), Some("Ada"));
    next.intents.idle().await;
    assert_eq!(world.storage.open_intents(9).await.unwrap(), []);
    // A stop in the middle leaves it to the process after that.
    world.legacy.away(true);
    world.legacy.put("u1", "Ada B.", 2);
    next.mirror.reread(next.users.clone(), RowId::new("u1"), next.open("u1").await);
    next.stop().await;
    assert_eq!(world.storage.open_intents(9).await.unwrap().len(), 1);
    world.legacy.away(false);
    let last = world.process().await;
    until(|| last.may_answer()).await;
    assert_eq!(last.name("u1").await.as_deref(), Some("Ada B."));
    last.stop().await;
}

#[tokio::test]
async fn a_create_that_was_under_way_at_a_kill_has_the_store_mended() {
    let world = World::new(Duration::from_secs(30)).await;
    let killed = world.process().await;
    killed.intents.open(&killed.users.name, None, None).await.leave();
    killed.running.abort();
    let next = world.process().await;
    assert!(matches!(next.caught_up.standing(&next.users.name), Standing::Mending { .. }));
    next.intents.idle().await;
    assert_eq!(world.storage.open_intents(9).await.unwrap(), [], "it is kept as such instead");
    next.stop().await;
    let last = world.process().await;
    assert!(matches!(last.caught_up.standing(&last.users.name), Standing::Mending { .. }));
    last.stop().await;
}

#[tokio::test]
async fn a_request_out_of_sight_is_looked_at_once_more() {
    let world = World::new(Duration::from_millis(1500)).await;
    let process = world.process().await;
    world.legacy.put("u1", "Ada", 1);
    let intent = process.open("u1").await;
    let now_ms = SystemClock.now_ms();
    process.mirror.owed().owe(OwedMirror {
        resource: process.users.clone(),
        row: RowId::new("u1"),
        intent,
        due_ms: now_ms,
        once_more_ms: Some(process.intents.settled_ms(now_ms)),
    });
    world.legacy.read(1).await;
    until(|| process.may_answer()).await;
    assert_eq!(process.name("u1").await.as_deref(), Some("Ada"));
    // Only now does the request reach its end in legacy, and nobody hears of it.
    world.legacy.put("u1", "Ada B.", 2);
    world.legacy.read(2).await;
    until(|| process.mirror.owed().is_empty()).await;
    process.intents.idle().await;
    assert_eq!(process.name("u1").await.as_deref(), Some("Ada B."));
    assert_eq!(world.storage.open_intents(9).await.unwrap(), []);
    process.stop().await;
}

#[tokio::test]
async fn so_many_rows_are_owed_and_a_backfill_mends_the_rest() {
    let world = World::new(Duration::from_secs(30)).await;
    let process = world.process().await;
    process.stop.send(true).unwrap();
    let owed = OwedMirrors::default();
    for row in 0..=MAX_ROWS {
        let intent = process.intents.left_behind(&Intent {
            id: IntentId(1),
            resource: process.users.name.clone(),
            row: None,
            opened_ms: 0,
        });
        let (resource, row) = (process.users.clone(), RowId::new(row.to_string()));
        assert!(process.caught_up.is(&process.users.name));
        owed.owe(OwedMirror { resource, row, intent, due_ms: 0, once_more_ms: None });
    }
    assert_eq!(owed.len(), MAX_ROWS);
    assert!(matches!(process.caught_up.standing(&process.users.name), Standing::Mending { .. }));
    owed.leave();
}

#[tokio::test]
async fn too_many_left_behind_have_all_stores_mended() {
    let world = World::new(Duration::from_secs(30)).await;
    let users = crate::migration::ResourceName::new("users");
    let first = world.process().await;
    first.stop().await;
    let left = (0..=MAX_ROWS).map(|id| {
        let (id, row) = (IntentId(id as i64), Some(RowId::new(id.to_string())));
        Op::OpenIntent(Intent { id, resource: users.clone(), row, opened_ms: 0 })
    });
    world.storage.commit(left.collect()).await.unwrap();
    let next = world.process().await;
    assert!(matches!(next.caught_up.standing(&users), Standing::Mending { .. }));
    next.stop().await;
}

//! A process of this crate's sync half, on a database and a legacy API that outlive it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, RawQuery, State};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::caught_up::{CaughtUp, Standing};
use super::intents::{IntentParts, Intents, OpenIntent};
use super::mirror::{Mirror, MirrorParts};
use super::reconcile::Reconcile;
use super::tail::{Mirrored, Tail, TailParts};
use super::{
    LegacyPace, LegacyRows, MappedTables, OwedMirrors, PaceSettings, PathRegistry,
    RegistrySettings, RowTraffic, run_owed_mirrors,
};
use crate::clock::{Clock as _, SharedClock, SystemClock, SystemEntropy};
use crate::config::Config;
use crate::legacy::{LegacyClient, LegacySettings};
use crate::migration::{PathId, ResourceName, RowId};
use crate::resource::Resource;
use crate::storage::{MemoryStorage, SharedStorage};

/// A legacy API with rows, that can be away.
#[derive(Debug, Clone, Default)]
pub(super) struct Legacy {
    pub(super) rows: Arc<Mutex<BTreeMap<String, Value>>>,
    pub(super) away: Arc<Mutex<bool>>,
    pub(super) reads: Arc<AtomicUsize>,
    /// Targets of requests for the list, without the path.
    pub(super) lists: Arc<Mutex<Vec<String>>>,
    /// Whether it sorts its list by what it is asked for.
    pub(super) sorts: Arc<AtomicBool>,
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

async fn list(
    State(legacy): State<Legacy>,
    RawQuery(raw): RawQuery,
    Query(query): Query<BTreeMap<String, String>>,
) -> (StatusCode, String) {
    legacy.lists.lock().unwrap().push(raw.unwrap_or_default());
    let rows = legacy.rows.lock().unwrap();
    let number = |name: &str| query.get(name).and_then(|text| text.parse().ok());
    let (limit, offset) = (number("limit").unwrap(), number("offset").unwrap_or(0));
    let since = query.get("since").map_or("", String::as_str);
    let changed = |row: &&Value| row["updatedAt"].as_str().unwrap() >= since;
    let mut all: Vec<_> = rows.values().filter(changed).collect();
    if query.get("sort").is_some_and(|sort| sort == "-updatedAt")
        && legacy.sorts.load(Ordering::SeqCst)
    {
        all.sort_by_key(|row| std::cmp::Reverse(row["updatedAt"].as_str().unwrap().to_owned()));
    }
    let data: Vec<_> = all.iter().skip(offset).take(limit).collect();
    let page = json!({ "data": data, "total": all.len(), "limit": limit, "offset": offset });
    (StatusCode::OK, page.to_string())
}

impl Legacy {
    pub(super) fn put(&self, id: &str, name: &str, version: u64) {
        self.put_at(id, name, version, "2026-01-01T00:00:00Z");
    }

    /// A row that was changed at this time.
    pub(super) fn put_at(&self, id: &str, name: &str, version: u64, at: &str) {
        self.put_in("o_1", (id, name, version), at);
    }

    /// The same of any organisation's.
    pub(super) fn put_in(&self, org: &str, (id, name, version): (&str, &str, u64), at: &str) {
        let row = json!({
            "id": id, "orgId": org, "name": name, "email": "n@example.test", "role": "member",
            "active": true, "version": version, "updatedAt": at,
        });
        self.rows.lock().unwrap().insert(id.to_owned(), row);
    }

    pub(super) fn delete(&self, id: &str) {
        self.rows.lock().unwrap().remove(id);
    }

    pub(super) fn away(&self, away: bool) {
        *self.away.lock().unwrap() = away;
    }

    /// Waits for this many reads.
    pub(super) async fn read(&self, times: usize) {
        until(|| self.reads.load(Ordering::SeqCst) >= times).await;
    }
}

pub(super) async fn until(met: impl Fn() -> bool) {
    let waiting = async {
        while !met() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("in time");
}

/// Writes go to both sides.
#[derive(Debug)]
struct Always;

impl Mirrored for Always {
    fn is_mirrored(&self, _: &ResourceName) -> bool {
        true
    }
}

/// A process, on a database and a legacy API that outlive it.
pub(super) struct Process {
    pub(super) mirror: Mirror,
    pub(super) caught_up: CaughtUp,
    pub(super) intents: Intents,
    pub(super) registry: PathRegistry,
    pub(super) reconcile: Reconcile,
    pub(super) tail: Tail,
    pub(super) users: Arc<Resource>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) running: tokio::task::JoinHandle<()>,
}

pub(super) struct World {
    pub(super) storage: SharedStorage,
    pub(super) legacy: Legacy,
    pub(super) url: String,
    pub(super) settle: Duration,
}

impl World {
    pub(super) async fn new(settle: Duration) -> Self {
        let legacy = Legacy::default();
        legacy.sorts.store(true, Ordering::SeqCst);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/users/{id}", axum::routing::get(get))
            .route("/users", axum::routing::get(list))
            .with_state(legacy.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { storage: Arc::new(MemoryStorage::default()), legacy, url, settle }
    }

    pub(super) async fn process(&self) -> Process {
        self.process_of(include_str!("../../docs/crossfade.example.toml")).await
    }

    /// One with this configuration.
    pub(super) async fn process_of(&self, config: &str) -> Process {
        let config = Config::parse(config, std::path::Path::new("."), "example").unwrap();
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
            max_body_bytes: 1 << 20,
        })
        .unwrap();
        let caught_up = CaughtUp::load(self.storage.clone(), 0, Duration::ZERO).await.unwrap();
        if caught_up.standing(&users.name) == Standing::Unfinished {
            assert!(
                caught_up
                    .finish(&users.name, caught_up.begin(&users.name, u64::MAX))
                    .await
                    .unwrap()
            );
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
            pace: LegacyPace::new(NonZeroU32::MAX),
        };
        let mirror = Mirror::new(MirrorParts {
            rows: rows.clone(),
            caught_up: caught_up.clone(),
            intents: intents.clone(),
            owed,
            clock: clock.clone(),
        });
        let settle = vec![Duration::from_millis(50), Duration::from_millis(200)];
        let tail = Tail::new(TailParts {
            resources: config.resources.clone(),
            rows: rows.clone(),
            caught_up: caught_up.clone(),
            mirror: mirror.clone(),
            mirrored: Arc::new(Always),
            clock: clock.clone(),
        });
        let reconcile = Reconcile { rows, caught_up: caught_up.clone(), clock, settle };
        let (stop, stopping) = watch::channel(false);
        let running = tokio::spawn(run_owed_mirrors(mirror.clone(), stopping));
        Process { mirror, caught_up, intents, registry, reconcile, tail, users, stop, running }
    }
}

impl Process {
    pub(super) async fn open(&self, row: &str) -> OpenIntent {
        self.intents.open(&self.users.name, Some(RowId::new(row)), None).await
    }

    pub(super) fn may_answer(&self) -> bool {
        self.caught_up.may_answer(&self.users.name, &PathId::new("org/o_1").unwrap())
    }

    /// The name that the store has of a row.
    pub(super) async fn name(&self, row: &str) -> Option<String> {
        self.name_in("o_1", row).await
    }

    /// The same of any organisation's.
    pub(super) async fn name_in(&self, org: &str, row: &str) -> Option<String> {
        let path = PathId::new(&format!("org/{org}")).unwrap();
        let handle = self.registry.get(&path).await.unwrap();
        let row = row.to_owned();
        let name = handle.view(move |path| {
            let row = crate::resource::StoreRow::of(path.store, "users", row.as_str())?;
            let cell = crate::resource::RowView::cell(&row, "name")?;
            Some(cell.to_json().as_str()?.to_owned())
        });
        name.await.unwrap()
    }

    pub(super) async fn stop(self) {
        self.stop.send(true).unwrap();
        self.running.await.unwrap();
        self.tail.close().await;
        self.mirror.close().await;
    }
}

//! A process of this crate's sync half, on a database and a legacy API that outlive it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::caught_up::{CaughtUp, Standing};
use super::intents::{IntentParts, Intents, OpenIntent};
use super::mirror::{Mirror, MirrorParts};
use super::reconcile::Reconcile;
use super::{
    LegacyRows, MappedTables, OwedMirrors, PaceSettings, PathRegistry, RegistrySettings,
    RowTraffic, run_owed_mirrors,
};
use crate::clock::{Clock as _, SharedClock, SystemClock, SystemEntropy};
use crate::config::Config;
use crate::legacy::{LegacyClient, LegacySettings};
use crate::migration::{PathId, RowId};
use crate::resource::Resource;
use crate::storage::{MemoryStorage, SharedStorage};

/// A legacy API with rows, that can be away.
#[derive(Debug, Clone, Default)]
pub(super) struct Legacy {
    pub(super) rows: Arc<Mutex<BTreeMap<String, Value>>>,
    pub(super) away: Arc<Mutex<bool>>,
    pub(super) reads: Arc<AtomicUsize>,
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
    Query(query): Query<BTreeMap<String, usize>>,
) -> (StatusCode, String) {
    let rows = legacy.rows.lock().unwrap();
    let (limit, offset) = (query["limit"], query.get("offset").copied().unwrap_or(0));
    let data: Vec<_> = rows.values().skip(offset).take(limit).collect();
    let page = json!({ "data": data, "total": rows.len(), "limit": limit, "offset": offset });
    (StatusCode::OK, page.to_string())
}

impl Legacy {
    pub(super) fn put(&self, id: &str, name: &str, version: u64) {
        let row = json!({
            "id": id, "orgId": "o_1", "name": name, "email": "n@example.test", "role": "member",
            "active": true, "version": version, "updatedAt": "2026-01-01T00:00:00Z",
        });
        self.rows.lock().unwrap().insert(id.to_owned(), row);
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

/// A process, on a database and a legacy API that outlive it.
pub(super) struct Process {
    pub(super) mirror: Mirror,
    pub(super) caught_up: CaughtUp,
    pub(super) intents: Intents,
    pub(super) registry: PathRegistry,
    pub(super) reconcile: Reconcile,
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
        let example = include_str!("../../docs/crossfade.example.toml");
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
        };
        let mirror = Mirror::new(MirrorParts {
            rows: rows.clone(),
            caught_up: caught_up.clone(),
            intents: intents.clone(),
            owed,
            clock: clock.clone(),
        });
        let settle = vec![Duration::from_millis(50), Duration::from_millis(200)];
        let reconcile = Reconcile { rows, caught_up: caught_up.clone(), clock, settle };
        let (stop, stopping) = watch::channel(false);
        let running = tokio::spawn(run_owed_mirrors(mirror.clone(), stopping));
        Process { mirror, caught_up, intents, registry, reconcile, users, stop, running }
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
        let handle = self.registry.get(&PathId::new("org/o_1").unwrap()).await.unwrap();
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
        self.mirror.close().await;
    }
}

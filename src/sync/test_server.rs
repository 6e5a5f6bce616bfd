//! A sync server on a free port, with storage in memory and a door that is told whom to refuse: for the tests of both ends.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{State, WebSocketUpgrade};
use http::{HeaderMap, Uri};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::server::{
    Admission, NotAdmitted, Session, SocketLimits, SyncServer, SyncServerSettings,
};
use super::{MappedTables, PaceSettings, PathRegistry, RegistrySettings, Writer};
use crate::clock::{SharedClock, SystemClock, SystemEntropy};
use crate::identity::FollowedToken;
use crate::migration::{PathId, ResourceName};
use crate::resource::{
    CellSpec, CellType, Collation, CreateMode, Envelope, Nulls, PathTemplate, QuerySurface,
    Resource, Route, Routes, Schema, SortSpec,
};
use crate::storage::{Actor, MemoryStorage};

/// Bounds a wait that would never end if the code were wrong.
pub(super) const GUARD: Duration = Duration::from_secs(20);

fn users() -> Resource {
    let cell = |id: &str, kind, required| CellSpec {
        id: id.into(),
        kind,
        required,
        nullable: !required,
        read_only: false,
        unique: false,
        unique_in_path: false,
        generated: None,
        default: None,
        allowed: Vec::new(),
        references: None,
    };
    Resource {
        name: ResourceName::new("users"),
        table: "users".to_owned(),
        id: "id".into(),
        version: None,
        create: CreateMode::ClientId,
        path: PathTemplate::new("team", &BTreeMap::new(), &BTreeMap::new()).unwrap(),
        routes: Routes {
            list: Route::parse("GET /users", false).unwrap(),
            get: Route::parse("GET /users/{id}", true).unwrap(),
            create: None,
            update: None,
            delete: None,
            exclude: Vec::new(),
            harmless: Vec::new(),
        },
        envelope: Envelope::default(),
        schema: Schema::new([
            cell("name", CellType::String, true),
            cell("age", CellType::Number, false),
        ]),
        query: QuerySurface {
            filters: Vec::new(),
            sort: SortSpec {
                param: None,
                keys: Vec::new(),
                default: Vec::new(),
                tie_breaker: "id".into(),
                collation: Collation::default(),
                nulls: Nulls::default(),
            },
            page: None,
            indexes: Vec::new(),
        },
        compare: crate::compare::RuleSettings::default(),
        write: None,
        tail: None,
    }
}

/// Admits everyone, after refusing as many as it was told to; notes the subprotocols offered.
#[derive(Debug, Default)]
pub(super) struct Door {
    pub(super) refuse: AtomicUsize,
    pub(super) off: AtomicBool,
    pub(super) offered: Mutex<Vec<Option<String>>>,
    /// The token of whoever comes, where it may be revoked.
    pub(super) token: Mutex<Option<FollowedToken>>,
}

impl Admission for Door {
    fn authenticate(&self, headers: &HeaderMap, _: &Uri) -> Result<Session, NotAdmitted> {
        let offered = headers.get("sec-websocket-protocol").map(|v| v.to_str().unwrap().to_owned());
        self.offered.lock().unwrap().push(offered);
        let less = |left: usize| left.checked_sub(1);
        if self.refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
            return Err(NotAdmitted::Unauthenticated("not yet".to_owned()));
        }
        let actor = Actor { user: "u".to_owned(), org_id: None, org_role: None };
        let writer = Arc::new(Writer::new(actor));
        let paths = ["team", "other"].map(|path| PathId::new(path).unwrap());
        let token = self.token.lock().unwrap().clone();
        Ok(Session { writer, expires_ms: None, paths: paths.to_vec(), token })
    }

    fn is_mapped(&self, path: &PathId) -> bool {
        matches!(path.as_str(), "team" | "other" | "secret")
    }

    fn is_off(&self) -> bool {
        self.off.load(Ordering::SeqCst)
    }
}

pub(super) struct TestServer {
    pub(super) url: Uri,
    pub(super) storage: MemoryStorage,
    pub(super) registry: PathRegistry,
    pub(super) door: Arc<Door>,
    task: JoinHandle<()>,
}

impl TestServer {
    pub(super) async fn start() -> Self {
        Self::with(false, SocketLimits::default()).await
    }

    pub(super) async fn with(relay_unmapped: bool, limits: SocketLimits) -> Self {
        Self::made(relay_unmapped, limits, Arc::new(SystemClock)).await
    }

    pub(super) async fn with_clock(clock: SharedClock) -> Self {
        Self::made(false, SocketLimits::default(), clock).await
    }

    async fn made(relay_unmapped: bool, limits: SocketLimits, clock: SharedClock) -> Self {
        let storage = MemoryStorage::default();
        let registry = PathRegistry::new(RegistrySettings {
            storage: Arc::new(storage.clone()),
            tables: Arc::new(MappedTables::new(&[Arc::new(users())])),
            clock,
            entropy: Arc::new(SystemEntropy),
            unique_id: "server".into(),
            durability: crate::config::Durability::Committed,
            idle_unload: Duration::from_secs(300),
            pace: PaceSettings::default(),
            max_cell_bytes: 1 << 20,
        });
        let door = Arc::new(Door::default());
        let sync = SyncServer::new(SyncServerSettings {
            registry: registry.clone(),
            admission: door.clone(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            relay_unmapped,
            limits,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/sync/team", listener.local_addr().unwrap()).parse().unwrap();
        let upgrade = |State(sync): State<SyncServer>,
                       headers: HeaderMap,
                       uri: Uri,
                       upgrade: WebSocketUpgrade| async move {
            let path = uri.path().strip_prefix("/sync").unwrap();
            sync.upgrade(path.trim_start_matches('/'), &headers, &uri, upgrade).await
        };
        let router = axum::Router::new().fallback(axum::routing::get(upgrade)).with_state(sync);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, storage, registry, door, task }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) async fn guard<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(GUARD, future).await {
        Ok(done) => done,
        Err(_) => panic!("still waiting: {what}"),
    }
}

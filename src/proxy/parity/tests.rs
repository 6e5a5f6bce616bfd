//! Which rows both sides show a user, against a small legacy API that hides rows from some.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::{Path, Query, State};
use axum::routing::get;
use http::{HeaderValue, header};
use serde_json::Value;

use super::*;
use crate::clock::{SystemClock, SystemEntropy};
use crate::compare::ErrorSide;
use crate::config::{Config, Durability};
use crate::flags::{Evaluation, FixedToggles, NoInterlock, RollbackSwitch};
use crate::gate::{GateVerdict, MismatchGate};
use crate::legacy::LegacySettings;
use crate::migration::UserId;
use crate::record::{RecorderSettings, Recording};
use crate::storage::{Actor, MemoryStorage, NewEntry, Op};
use crate::sync::{LegacyRow, MappedTables, Missed, PaceSettings, RegistrySettings, Source};

/// A legacy API of users; rows may be hidden from one of its callers.
#[derive(Debug, Clone, Default)]
struct Legacy {
    rows: Arc<Mutex<BTreeMap<String, Value>>>,
    /// Caller and row.
    hidden: Arc<Mutex<HashSet<(String, String)>>>,
    /// Left out of lists, and shown by themselves.
    unlisted: Arc<Mutex<HashSet<String>>>,
    status: Arc<Mutex<Option<StatusCode>>>,
    /// Requests, and those among them that said why they were made.
    asked: Arc<AtomicUsize>,
    for_parity: Arc<AtomicUsize>,
}

type Answered = (StatusCode, String);

impl Legacy {
    /// Whom the request shows itself to be from, or how it is refused.
    fn caller(&self, headers: &HeaderMap) -> Result<String, Answered> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if headers.get("crossfade-purpose").is_some_and(|purpose| purpose == "parity") {
            self.for_parity.fetch_add(1, Ordering::SeqCst);
        }
        if let Some(status) = *self.status.lock().unwrap() {
            return Err((status, String::new()));
        }
        let token = crate::identity::session_token(headers);
        token.map(str::to_owned).ok_or((StatusCode::UNAUTHORIZED, String::new()))
    }

    fn shows(&self, caller: &str, row: &str) -> bool {
        !self.hidden.lock().unwrap().contains(&(caller.to_owned(), row.to_owned()))
    }

    fn hide(&self, caller: &str, row: &str) {
        self.hidden.lock().unwrap().insert((caller.to_owned(), row.to_owned()));
    }
}

async fn one(State(legacy): State<Legacy>, Path(id): Path<String>, headers: HeaderMap) -> Answered {
    let caller = match legacy.caller(&headers) {
        Ok(caller) => caller,
        Err(refused) => return refused,
    };
    let row = legacy.rows.lock().unwrap().get(&id).cloned();
    match row.filter(|_| legacy.shows(&caller, &id)) {
        Some(row) => (StatusCode::OK, row.to_string()),
        None => (StatusCode::NOT_FOUND, String::new()),
    }
}

async fn list(
    State(legacy): State<Legacy>,
    Query(query): Query<BTreeMap<String, usize>>,
    headers: HeaderMap,
) -> Answered {
    let caller = match legacy.caller(&headers) {
        Ok(caller) => caller,
        Err(refused) => return refused,
    };
    let rows = legacy.rows.lock().unwrap();
    let unlisted = legacy.unlisted.lock().unwrap();
    let listed = |id: &&String| legacy.shows(&caller, id) && !unlisted.contains(*id);
    let (limit, offset) = (query["limit"], query.get("offset").copied().unwrap_or(0));
    let ids: Vec<_> = rows.keys().filter(listed).collect();
    // Whoever may not see all of a row's cells sees its id.
    let data = ids.iter().skip(offset).take(limit).map(|id| json!({ "id": id }));
    let page = json!({
        "data": data.collect::<Vec<_>>(), "total": ids.len(), "limit": limit, "offset": offset,
    });
    (StatusCode::OK, page.to_string())
}

struct World {
    legacy: Legacy,
    storage: MemoryStorage,
    parity: Parity,
    users: Arc<Resource>,
    recordings: std::path::PathBuf,
    _directory: tempfile::TempDir,
}

const PATH: &str = "org/o_1";

impl World {
    async fn new() -> Self {
        let legacy = Legacy::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new()
            .route("/users/{id}", get(one))
            .route("/users", get(list))
            .with_state(legacy.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let example = include_str!("../../../docs/crossfade.example.toml");
        let config = Config::parse(example, std::path::Path::new("."), "example").unwrap();
        let users = config.resources[0].clone();
        let clock: SharedClock = Arc::new(SystemClock);
        let storage = MemoryStorage::default();
        let shared: SharedStorage = Arc::new(storage.clone());
        let registry = PathRegistry::new(RegistrySettings {
            storage: shared.clone(),
            tables: Arc::new(MappedTables::new(&config.resources)),
            clock: clock.clone(),
            entropy: Arc::new(SystemEntropy),
            unique_id: "server".into(),
            durability: Durability::Committed,
            idle_unload: Duration::from_secs(300),
            pace: PaceSettings::default(),
            max_cell_bytes: 1 << 20,
        });
        let caught_up = CaughtUp::load(shared.clone(), 0, Duration::ZERO).await.unwrap();
        let begun = caught_up.begin(&users.name, u64::MAX);
        assert!(caught_up.finish(&users.name, begun).await.unwrap());
        let timeout = Duration::from_secs(10);
        let client = LegacyClient::new(LegacySettings {
            base_url,
            connect_timeout: timeout,
            timeout,
            compare_timeout: timeout,
            service_token: Some("service".to_owned()),
            max_body_bytes: 1 << 20,
        });
        let toggles = FixedToggles::new("crossfade", clock.clone()).toggles();
        let evaluation = Evaluation::new(toggles, "crossfade", vec![users.name.clone()]);
        let switch = Arc::new(RollbackSwitch::default());
        let known = [(users.name.clone(), Stage::Shadow)];
        let stages = StageDecider::new(evaluation, switch, Arc::new(NoInterlock), known);
        let directory = tempfile::tempdir().unwrap();
        let recordings = directory.path().join("recordings.db");
        let tallies = Tallies::new(MismatchGate::new(0.01).unwrap());
        tallies.begin(&users.name, Stage::Shadow, 1);
        let parity = Parity::new(ParityParts {
            settings: ParitySettings { sample: 1.0, settle: vec![Duration::from_millis(20)] },
            resources: config.resources.clone(),
            stages: Arc::new(stages),
            registry,
            caught_up,
            storage: shared,
            legacy: client.unwrap(),
            recorder: Recorder::open(&recordings, &RecorderSettings::default()).await.unwrap(),
            redactor: Redactor::new(&[1; 32]),
            tallies,
            clock,
            entropy: Arc::new(SystemEntropy),
        });
        Self { legacy, storage, parity, users, recordings, _directory: directory }
    }

    /// Rows that legacy has; those for which it holds are in the store, too.
    async fn rows(&self, ids: impl IntoIterator<Item = u32>, in_store: impl Fn(u32) -> bool) {
        let mut rows = Vec::new();
        for id in ids {
            let name = format!("u{id:04}");
            let row = json!({
                "id": name, "orgId": "o_1", "name": "N", "email": "n@example.test",
                "role": "member", "active": true, "version": 1,
                "updatedAt": "2026-01-01T00:00:00Z",
            });
            if in_store(id) {
                let cells = self.users.schema.row_from_json(&row).unwrap().cells;
                rows.push(LegacyRow { row: RowId::new(name.as_str()), now: Some(cells) });
            }
            self.legacy.rows.lock().unwrap().insert(name, row);
        }
        let path = self.parity.parts.registry.get(&PathId::new(PATH).unwrap()).await.unwrap();
        let source = Source::Read { asked_ms: self.parity.parts.clock.now_ms() };
        path.apply(self.users.name.clone(), rows, source).await.unwrap();
    }

    async fn check(&self, caller: &str) -> Result<Outcome, Verdict> {
        let caller = CallerHeaders::of(&bearer(caller));
        let as_user =
            AsUser { client: &self.parity.parts.legacy, caller: &caller, resource: &self.users };
        let path = PathId::new(PATH).unwrap();
        let check = Check { parts: &self.parity.parts, resource: &self.users, path, as_user };
        check.run().await
    }

    async fn verdict(&self, caller: &str) -> Verdict {
        self.check(caller).await.map_or_else(|verdict| verdict, |outcome| outcome.verdict)
    }

    /// What is recorded, by verdict.
    async fn recorded(&self) -> BTreeMap<&'static str, u64> {
        self.parity.parts.recorder.flush().await.unwrap();
        let recording = Recording::open_read(&self.recordings).await.unwrap();
        let verdicts = recording.verdicts().await.unwrap();
        verdicts.into_iter().map(|one| (one.verdict.as_str(), one.count)).collect()
    }
}

fn bearer(caller: &str) -> HeaderMap {
    let value = HeaderValue::from_str(&format!("Bearer {caller}")).unwrap();
    HeaderMap::from_iter([(header::AUTHORIZATION, value)])
}

fn ann() -> Identity {
    Identity {
        user: UserId::new("ann"),
        org_id: Some("o_1".to_owned()),
        org_slug: None,
        org_role: None,
        permissions: Vec::new(),
        session_id: None,
        issued_at_ms: None,
        expires_at_ms: u64::MAX,
    }
}

fn row(id: u32) -> RowId {
    RowId::new(format!("u{id:04}"))
}

#[tokio::test]
async fn a_row_that_legacy_hides_from_one_user_is_an_overshare_for_that_user_alone() {
    let world = World::new().await;
    // More than two pages.
    world.rows(1..=250, |_| true).await;
    assert_eq!(world.verdict("ann").await, Verdict::Match);
    world.legacy.hide("bob", "u0007");
    let found = world.check("bob").await.unwrap();
    assert_eq!((found.verdict, found.over), (Verdict::Overshare, vec![row(7)]));
    assert_eq!(world.verdict("ann").await, Verdict::Match);
    // Everything that is asked says why.
    let count = |of: &AtomicUsize| of.load(Ordering::SeqCst);
    assert_eq!(count(&world.legacy.asked), count(&world.legacy.for_parity));
}

#[tokio::test]
async fn a_row_that_the_store_lacks_is_an_undershare() {
    let world = World::new().await;
    world.rows(1..=5, |id| id != 3).await;
    let found = world.check("ann").await.unwrap();
    assert_eq!((found.verdict, found.under), (Verdict::Undershare, vec![row(3)]));
    // What shows too much weighs more.
    world.legacy.hide("ann", "u0001");
    let found = world.check("ann").await.unwrap();
    assert_eq!(
        (found.verdict, found.over, found.under),
        (Verdict::Overshare, vec![row(1)], vec![row(3)])
    );
}

#[tokio::test]
async fn what_is_on_its_way_to_either_side_is_lag() {
    let world = World::new().await;
    world.rows(1..=3, |id| id != 3).await;
    let caught_up = &world.parity.parts.caught_up;
    // The third one is being mirrored: first as a row that has no name yet, then by its name.
    let creating = caught_up.open(&world.users.name, None, None);
    assert!(matches!(world.verdict("ann").await, Verdict::Lag(_)));
    let mirroring = caught_up.open(&world.users.name, Some(row(3)), None);
    drop(creating);
    assert!(matches!(world.verdict("ann").await, Verdict::Lag(_)));
    drop(mirroring);
    assert_eq!(world.verdict("ann").await, Verdict::Undershare);
    world.legacy.rows.lock().unwrap().remove("u0003");
    // The second one was made by a sync client, and legacy does not have it yet.
    world.legacy.rows.lock().unwrap().remove("u0002");
    let entry = NewEntry {
        path: PathId::new(PATH).unwrap(),
        resource: world.users.name.clone(),
        row: row(2),
        cells: Vec::new(),
        actor: Actor { user: "bob".to_owned(), org_id: None, org_role: None },
        accepted_ms: 1,
    };
    let storage: &dyn crate::storage::Storage = &world.storage;
    let seqs = storage.commit(vec![Op::Owe(entry)]).await.unwrap();
    assert!(matches!(world.verdict("ann").await, Verdict::Lag(_)));
    storage.commit(vec![Op::Settle(seqs[0])]).await.unwrap();
    assert_eq!(world.verdict("ann").await, Verdict::Overshare);
}

#[tokio::test]
async fn a_row_that_the_list_leaves_out_and_a_get_shows_is_no_overshare() {
    let world = World::new().await;
    world.rows(1..=5, |_| true).await;
    world.legacy.unlisted.lock().unwrap().insert("u0004".to_owned());
    assert_eq!(world.verdict("ann").await, Verdict::Match);
}

#[tokio::test]
async fn what_cannot_be_told_is_no_finding() {
    let world = World::new().await;
    world.rows(1..=3, |_| true).await;
    world.legacy.hide("ann", "u0001");
    for (status, verdict) in [
        (401, Verdict::Incomparable(Reason::Token)),
        (429, Verdict::Incomparable(Reason::Unavailable)),
        (503, Verdict::Error(ErrorSide::LegacyOnly)),
    ] {
        *world.legacy.status.lock().unwrap() = StatusCode::from_u16(status).ok();
        assert_eq!(world.verdict("ann").await, verdict, "{status}");
    }
    // Whoever may not list at all may not see any of the rows.
    *world.legacy.status.lock().unwrap() = Some(StatusCode::FORBIDDEN);
    assert_eq!(world.check("ann").await.unwrap().over.len(), 3);
    *world.legacy.status.lock().unwrap() = None;
    world.parity.parts.caught_up.lose(&world.users.name, Missed::default());
    assert_eq!(world.verdict("ann").await, Verdict::Incomparable(Reason::Unavailable));
}

#[tokio::test]
async fn one_overshare_is_kept_without_ids_and_fails_the_gate_and_matches_do_not_pass_it() {
    let world = World::new().await;
    world.rows(1..=3, |_| true).await;
    world.parity.submit(&ann(), &bearer("ann"));
    world.parity.idle().await;
    let gate = || world.parity.parts.tallies.judge(&world.users.name, Stage::Shadow);
    assert_eq!((gate().verdict, gate().tally.compared), (GateVerdict::Insufficient, 0));
    world.legacy.hide("ann", "u0002");
    world.parity.submit(&ann(), &bearer("ann"));
    world.parity.idle().await;
    assert_eq!((gate().verdict, gate().tally.overshared), (GateVerdict::Fail, 1));
    assert_eq!(world.recorded().await, BTreeMap::from([("match", 1), ("overshare", 1)]));
    let recording = Recording::open_read(&world.recordings).await.unwrap();
    let signatures = recording.signatures().await.unwrap();
    let [signature] = &signatures[..] else { panic!("{signatures:?}") };
    assert_eq!(signature.signature.parts.route, "parity GET /users");
    let sample = serde_json::to_string(&signature.samples[0].sample).unwrap();
    assert!(sample.contains("<string") && !sample.contains("u0002"), "{sample}");
}

#[tokio::test]
async fn nobody_is_asked_about_where_the_store_is_not_caught_up_and_too_many_at_once_are_shed() {
    let world = World::new().await;
    world.rows(1..=3, |_| true).await;
    let held = world.parity.checking.acquire_many(4).await.unwrap();
    world.parity.submit(&ann(), &bearer("ann"));
    drop(held);
    world.parity.idle().await;
    assert_eq!(world.recorded().await, BTreeMap::from([("shed", 1)]));
    world.parity.submit(&Identity { org_id: None, ..ann() }, &bearer("ann"));
    world.parity.parts.caught_up.lose(&world.users.name, Missed::default());
    world.parity.submit(&ann(), &bearer("ann"));
    world.parity.idle().await;
    assert_eq!(world.recorded().await, BTreeMap::from([("shed", 1)]));
    assert_eq!(world.legacy.asked.load(Ordering::SeqCst), 0);
}

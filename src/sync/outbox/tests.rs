use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::clock::{SystemClock, SystemEntropy};
use crate::legacy::LegacySettings;
use crate::storage::{MemoryStorage, OutboxSummary, Seq, Storage as _};
use crate::sync::path::tests::world::{World, now, random, read, user};
use crate::sync::row_traffic::RowTraffic;

#[test]
fn an_outage_of_any_length_does_not_use_up_the_budget() {
    let after = |tries, from, max| (0..tries).fold(from, |n, _| unanswered(n, max));
    assert_eq!(after(1, 0, 50), 1);
    assert_eq!(after(1_000, 0, 50), 10);
    assert_eq!(after(1_000, 0, 3), 2);
    assert_eq!(after(1_000, 40, 50), 40, "what answers used up stays used up");
}

#[test]
fn waits_double_up_to_the_bound_and_jitter_stays_in_the_upper_half() {
    let settings = OutboxSettings {
        concurrency: 1,
        initial_backoff: Duration::from_millis(200),
        max_backoff: Duration::from_secs(30),
        max_attempts: 5,
    };
    let wait = |attempts, unit| backoff(&settings, attempts, unit).as_millis();
    assert_eq!(wait(1, 0.0), 100);
    assert_eq!(wait(2, 0.0), 200);
    assert_eq!(wait(3, 0.999), 799);
    assert_eq!(wait(60, 0.0), 15_000);
    assert_eq!(wait(u32::MAX, 0.0), 15_000);
}

const REQUESTS: usize = 2;
/// What may be in hand, with so many requests.
const LIMIT: usize = REQUESTS * IN_HAND;

/// A legacy API that answers nobody until it is told to; then it takes what it is sent.
#[derive(Debug, Clone)]
struct Legacy {
    asked: Arc<AtomicUsize>,
    gate: watch::Sender<bool>,
    /// What it answers writes with.
    status: Arc<AtomicU16>,
    /// Its only row.
    row: Arc<Mutex<Option<Value>>>,
}

async fn answer(
    State(legacy): State<Legacy>,
    method: Method,
    body: String,
) -> (StatusCode, String) {
    if method == Method::GET {
        let row = legacy.row.lock().unwrap().clone();
        return match row {
            Some(row) => (StatusCode::OK, row.to_string()),
            None => (StatusCode::NOT_FOUND, String::new()),
        };
    }
    legacy.asked.fetch_add(1, Ordering::SeqCst);
    let _ = legacy.gate.subscribe().wait_for(|open| *open).await;
    (StatusCode::from_u16(legacy.status.load(Ordering::SeqCst)).unwrap(), body)
}

#[derive(Debug)]
struct Nobody;

impl OnBehalfOf for Nobody {
    fn sign(&self, _: &Actor, _: u64) -> Result<String, String> {
        Ok("somebody".to_owned())
    }
}

/// A path that owes so many rows, and a worker that has not looked yet.
async fn owing(rows: usize) -> (Worker, Legacy, MemoryStorage) {
    let world = World::new();
    let mut client = world.client("writer").await;
    let edit = client.engine.edit(now(), &mut random(), |tx| {
        for number in 0..rows {
            let id = format!("u{number}");
            for (cell, value) in [("id", id.as_str()), ("orgId", "org_1"), ("name", "N")] {
                tx.set_cell("users", &id, cell, value)?;
            }
            tx.set_cell("users", &id, "email", "n@example.test")?;
            tx.set_cell("users", &id, "role", "member")?;
            tx.set_cell("users", &id, "active", true)?;
        }
        Ok::<(), mergeable_store::EditError>(())
    });
    client.send(edit.unwrap().1).await;
    client.path.settled().await.unwrap();

    let status = Arc::new(AtomicU16::new(201));
    let legacy = Legacy {
        asked: Arc::default(),
        gate: watch::Sender::new(false),
        status,
        row: Arc::default(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = LegacySettings {
        base_url: format!("http://{}", listener.local_addr().unwrap()),
        connect_timeout: Duration::from_secs(20),
        timeout: Duration::from_secs(20),
        compare_timeout: Duration::from_secs(20),
        service_token: Some("service".to_owned()),
        max_body_bytes: 65_536,
    };
    let app = Router::new().fallback(answer).with_state(legacy.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let storage: crate::storage::SharedStorage = Arc::new(world.storage.clone());
    let caught_up = crate::sync::CaughtUp::load(storage.clone(), 0, Duration::ZERO).await.unwrap();
    let intents = Intents::new(crate::sync::IntentParts {
        storage: storage.clone(),
        caught_up,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        settle: Duration::from_millis(1),
    });
    let worker = Worker::new(OutboxContext {
        storage,
        intents,
        owed: OwedMirrors::default(),
        registry: world.registry.clone(),
        legacy: LegacyClient::new(settings).unwrap(),
        traffic: RowTraffic::default(),
        on_behalf_of: Arc::new(Nobody),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        settings: OutboxSettings {
            concurrency: REQUESTS,
            initial_backoff: Duration::from_millis(1),
            max_backoff: Duration::from_secs(30),
            max_attempts: 1,
        },
    });
    (worker, legacy, world.storage)
}

/// Waits for a condition; the deadline guards against hanging.
async fn until(condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    waited.await.unwrap();
}

#[tokio::test]
async fn no_more_is_in_hand_than_may_be_and_half_of_it_ends_before_the_next_look() {
    let (mut worker, legacy, storage) = owing(LIMIT * 3).await;
    assert_eq!(storage.due_entries(now(), 1000).await.unwrap().len(), LIMIT * 3);
    worker.look().await;
    assert_eq!(worker.in_hand.len(), LIMIT);
    until(|| legacy.asked.load(Ordering::SeqCst) == REQUESTS).await;
    assert_eq!(worker.requests.available_permits(), 0);
    let in_hand: Vec<_> = worker.in_hand.iter().cloned().collect();
    let (first, second) = in_hand.split_at(LIMIT / 2);
    for key in first {
        assert_eq!(worker.look().await, BUSY);
        assert!(worker.in_hand.len() <= LIMIT);
        worker.end(Ok((key.clone(), Delivered::Later)));
    }
    assert_eq!(worker.in_hand.len(), LIMIT / 2, "no look before half of it has ended");
    worker.end(Ok((second[0].clone(), Delivered::Later)));
    worker.look().await;
    assert_eq!(worker.in_hand.len(), LIMIT, "then as much as there is room for");
    assert_eq!(legacy.asked.load(Ordering::SeqCst), REQUESTS);
}

#[tokio::test]
async fn what_has_begun_is_brought_to_its_end_and_nothing_begins_once_the_process_ends() {
    let (mut worker, legacy, storage) = owing(LIMIT * 3).await;
    worker.look().await;
    until(|| legacy.asked.load(Ordering::SeqCst) == REQUESTS).await;
    // The first of the two goes as far as it can before the other begins.
    tokio::join!(biased; worker.finish(), async { legacy.gate.send_replace(true) });
    assert_eq!(legacy.asked.load(Ordering::SeqCst), REQUESTS);
    let left = storage.outbox_summary(1000).await.unwrap().entries.len();
    assert_eq!(left, LIMIT * 3 - REQUESTS);
}

#[tokio::test]
async fn all_that_is_owed_is_delivered_by_a_worker_that_is_told_once() {
    let (worker, legacy, storage) = owing(LIMIT * 3).await;
    legacy.gate.send_replace(true);
    let context = (*worker.context).clone();
    let (shutdown, told) = watch::channel(false);
    let running = tokio::spawn(run(context, told));
    let guard = tokio::time::timeout(Duration::from_secs(20), async {
        while !storage.outbox_summary(1).await.unwrap().entries.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    guard.await.unwrap();
    shutdown.send_replace(true);
    running.await.unwrap();
    assert_eq!(legacy.asked.load(Ordering::SeqCst), LIMIT * 3);
}

/// Runs deliveries until what is stored is as wanted.
async fn delivered(context: &OutboxContext, wanted: impl Fn(&OutboxSummary) -> bool) {
    let (shutdown, told) = watch::channel(false);
    let running = tokio::spawn(run(context.clone(), told));
    let guard = tokio::time::timeout(Duration::from_secs(20), async {
        while !wanted(&context.storage.outbox_summary(100).await.unwrap()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    guard.await.unwrap();
    shutdown.send_replace(true);
    running.await.unwrap();
}

/// A path with two dead letters, in a process that has just started.
async fn with_dead_letters() -> (OutboxContext, World, Legacy, Vec<Seq>) {
    let (worker, legacy, storage) = owing(2).await;
    legacy.gate.send_replace(true);
    legacy.status.store(503, Ordering::SeqCst);
    let context = (*worker.context).clone();
    delivered(&context, |owed| owed.dead == 2 && owed.pending == 0).await;
    let dead = storage.dead_letters(10).await.unwrap();
    let world = World::on(storage);
    let context = OutboxContext { registry: world.registry.clone(), ..context };
    (context, world, legacy, dead.iter().map(|entry| entry.seq).collect())
}

#[tokio::test]
async fn a_dead_letter_stays_owed_over_a_restart_and_is_delivered_when_it_is_tried_again() {
    let (context, world, legacy, dead) = with_dead_letters().await;
    // What legacy says of the row does not take away what legacy still lacks.
    world.apply(Some(user("Legacy's", 1.0)), read()).await;
    assert_eq!(world.cell("name").await, Some("N".into()));
    *legacy.row.lock().unwrap() = Some(json!({
        "id": "u1", "orgId": "org_1", "name": "N", "email": "n@example.test", "role": "member",
        "active": true, "version": 2,
    }));
    legacy.status.store(201, Ordering::SeqCst);
    for seq in &dead {
        retry(&context, *seq).await.unwrap();
    }
    assert!(matches!(retry(&context, dead[0]).await, Err(DeadLetterError::Alive(_))));
    delivered(&context, |owed| owed.dead == 0 && owed.pending == 0).await;
    assert_eq!(world.cell("name").await, Some("N".into()));
    assert!(matches!(retry(&context, dead[0]).await, Err(DeadLetterError::Unknown(_))));
}

#[tokio::test]
async fn a_dead_letter_that_is_discarded_returns_to_what_legacy_has() {
    let (context, world, _legacy, dead) = with_dead_letters().await;
    let entry = context.storage.outbox_entry(dead[1]).await.unwrap().unwrap();
    assert_eq!(entry.entry.row.as_str(), "u1");
    let mut client = world.client("watching").await;
    client.sees("name", Some("N")).await;
    discard(&context, dead[1]).await.unwrap();
    // Legacy has no such row: nobody has it any more.
    client.sees("name", None).await;
    let owed = context.storage.outbox_summary(10).await.unwrap();
    assert_eq!((owed.pending, owed.dead), (0, 1));
    assert!(matches!(discard(&context, dead[1]).await, Err(DeadLetterError::Unknown(_))));
}

/// Waits until the entry of a row waits for the rest of it.
async fn until_it_waits(storage: &MemoryStorage, row: &str) {
    let guard = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let owed = storage.outbox_summary(100).await.unwrap().entries;
            let of_row = owed.iter().find(|one| one.entry.row.as_str() == row);
            if of_row.is_some_and(|one| {
                one.last_error.as_deref() == Some("the row has not come whole yet")
            }) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    guard.await.unwrap();
}

#[tokio::test]
async fn a_row_that_has_come_in_part_is_not_made_in_legacy_before_the_rest_is_there() {
    let (worker, legacy, storage) = owing(0).await;
    legacy.gate.send_replace(true);
    let context = (*worker.context).clone();
    let world = World::on(storage.clone());
    let context = OutboxContext { registry: world.registry.clone(), ..context };
    let mut client = world.client("a").await;
    client.set("name", "Ada").await;
    client.path.settled().await.unwrap();
    let (shutdown, told) = watch::channel(false);
    let running = tokio::spawn(run(context.clone(), told));
    until_it_waits(&storage, "u1").await;
    assert_eq!(legacy.asked.load(Ordering::SeqCst), 0);
    client.make("Ada").await;
    let guard = tokio::time::timeout(Duration::from_secs(20), async {
        while !storage.outbox_summary(1).await.unwrap().entries.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    guard.await.unwrap();
    assert_eq!(legacy.asked.load(Ordering::SeqCst), 1, "made once, and whole");
    shutdown.send_replace(true);
    running.await.unwrap();
}

#[tokio::test]
async fn what_legacy_may_know_a_default_for_is_not_waited_for_long() {
    let (worker, legacy, storage) = owing(0).await;
    legacy.gate.send_replace(true);
    let world = World::on(storage);
    let mut client = world.client("a").await;
    client.set("id", "u1").await;
    client.path.settled().await.unwrap();
    let context = OutboxContext {
        registry: world.registry.clone(),
        clock: Arc::new(Later),
        ..(*worker.context).clone()
    };
    delivered(&context, |owed| owed.pending == 0).await;
    assert_eq!(legacy.asked.load(Ordering::SeqCst), 1);
}

/// Over a minute after the edits were made.
#[derive(Debug)]
struct Later;

impl crate::clock::Clock for Later {
    fn now_ms(&self) -> u64 {
        SystemClock.now_ms() + 61_000
    }
}

fn row(id: &str) -> (ResourceName, Option<RowId>) {
    (ResourceName::new("users"), Some(RowId::new(id)))
}

#[tokio::test]
async fn a_delivery_waits_for_what_a_request_is_doing_to_its_row() {
    let (mut worker, legacy, storage) = owing(2).await;
    legacy.gate.send_replace(true);
    let context = (*worker.context).clone();
    let (users, u0) = row("u0");
    let request = context.intents.open(&users, u0.clone(), None).await;
    worker.look().await;
    until(|| legacy.asked.load(Ordering::SeqCst) == 1).await;
    let (key, delivered) = worker.tasks.join_next().await.unwrap().unwrap();
    assert_eq!((key.2.as_str(), &delivered), ("u1", &Delivered::Done));
    worker.end(Ok((key, delivered)));
    assert_eq!(legacy.asked.load(Ordering::SeqCst), 1);
    // While that one waits, another request begins; once both are in the store it goes.
    let second = context.intents.open(&users, u0, None).await;
    request.done();
    assert!(!context.intents.row_closed(&users, &RowId::new("u0"), Duration::ZERO).await);
    second.done();
    let (key, delivered) = worker.tasks.join_next().await.unwrap().unwrap();
    assert_eq!((key.2.as_str(), &delivered), ("u0", &Delivered::Done));
    assert!(storage.outbox_summary(1).await.unwrap().entries.is_empty());
}

#[tokio::test]
async fn where_there_is_always_a_request_a_delivery_waits_for_a_minute_and_then_legacy_is_asked() {
    let (worker, legacy, _storage) = owing(1).await;
    legacy.gate.send_replace(true);
    let context = OutboxContext { clock: Arc::new(Later), ..(*worker.context).clone() };
    // Somebody else has made the row meanwhile, and changed it; the edits made before that yield.
    *legacy.row.lock().unwrap() = Some(json!({
        "id": "u0", "orgId": "org_1", "name": "Legacy's", "email": "n@example.test",
        "role": "member", "active": true, "version": 2,
    }));
    let (users, u0) = row("u0");
    let request = context.intents.open(&users, u0, None).await;
    delivered(&context, |owed| owed.pending == 0).await;
    assert_eq!(legacy.asked.load(Ordering::SeqCst), 0, "nothing was left to send");
    let path = context.registry.get(&PathId::new("org/org_1").unwrap()).await.unwrap();
    let name = |store: &mergeable_store::MergeableStore| {
        store.get_cell("users", "u0", "name").map(mergeable_store::CellRef::to_cell)
    };
    assert_eq!(path.read(name).await.unwrap(), Some("Legacy's".into()));
    request.done();
}

//! Deliveries to a legacy API that makes ids: lost answers, aliases, references.

use std::sync::Mutex;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use mergeable_store::{Cell, CellRef, MergeableStore};
use serde_json::{Map, Value, json};

use super::*;
use crate::clock::{SystemClock, SystemEntropy};
use crate::legacy::{LegacyRequest, LegacyTransport};
use crate::migration::{Answer, Body, Failure};
use crate::storage::{BoxFuture, EntryState, MemoryStorage};
use crate::sync::path::tests::world::{Client, World, now, random};
use crate::sync::path::{LegacyRow, Source};
use crate::sync::row_traffic::RowTraffic;
use crate::sync::simulation::creates::Creates;

/// Which answers to creates are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Lost {
    #[default]
    None,
    /// Legacy has done it.
    Answer,
    /// Legacy never heard of it.
    Request,
}

#[derive(Debug, Default)]
struct Told {
    rows: Vec<Map<String, Value>>,
    /// Every create that it heard of: the key, and the body.
    creates: Vec<(String, Value)>,
    lost: Lost,
    /// What it answers creates of this name with.
    refuses: Option<(&'static str, u16)>,
    honours_keys: bool,
}

#[derive(Debug, Clone, Default)]
struct Legacy(Arc<Mutex<Told>>);

fn answer(status: u16, body: &Value) -> Answer {
    let status = StatusCode::from_u16(status).unwrap();
    Answer { status, headers: HeaderMap::new(), body: Body::Whole(Bytes::from(body.to_string())) }
}

impl Told {
    fn create(&mut self, key: String, body: &Value) -> Result<Answer, Failure> {
        let lost = Err(Failure::Timeout(Duration::ZERO));
        if std::mem::take(&mut self.lost) == Lost::Request {
            return lost;
        }
        if let Some((name, status)) = self.refuses
            && body["name"] == name
        {
            return Ok(answer(status, &Value::Null));
        }
        let known = self.creates.iter().position(|(of, _)| *of == key);
        self.creates.push((key, body.clone()));
        if let Some(place) = known.filter(|_| self.honours_keys) {
            let status = if self.creates[place].1 == *body { 201 } else { 422 };
            return Ok(answer(status, &json!(self.rows[place])));
        }
        if self.rows.iter().any(|row| row["email"] == body["email"]) {
            return Ok(answer(409, &Value::Null));
        }
        let mut row = body.as_object().unwrap().clone();
        row.insert("id".to_owned(), json!(format!("L{}", self.rows.len() + 1)));
        row.insert("version".to_owned(), json!(1));
        self.rows.push(row.clone());
        Ok(answer(201, &json!(row)))
    }

    fn one(&mut self, method: &Method, id: &str, body: Option<Value>) -> Answer {
        let Some(row) = self.rows.iter_mut().find(|row| row["id"] == id) else {
            return answer(404, &Value::Null);
        };
        if let (&Method::PATCH, Some(Value::Object(changes))) = (method, body) {
            row.extend(changes);
            row["version"] = json!(row["version"].as_u64().unwrap() + 1);
        }
        answer(200, &json!(row))
    }
}

impl LegacyTransport for Legacy {
    fn exchange(&self, request: LegacyRequest) -> BoxFuture<'_, Result<Answer, Failure>> {
        Box::pin(async move {
            let told = &mut *self.0.lock().unwrap();
            let (path, query) =
                request.path_and_query.split_once('?').unwrap_or((&request.path_and_query, ""));
            match path.strip_prefix("/users/") {
                Some(id) => Ok(told.one(&request.method, id, request.body)),
                None if request.method == Method::POST => {
                    let loses = told.lost == Lost::Answer;
                    let key = request.idempotency_key.unwrap();
                    let answered = told.create(key, &request.body.unwrap());
                    if loses { Err(Failure::Timeout(Duration::ZERO)) } else { answered }
                }
                None => {
                    let email = query.strip_prefix("email=").unwrap();
                    let email = email.split('&').next().unwrap().replace("%40", "@");
                    let of = |row: &&Map<String, Value>| row["email"] == email.as_str();
                    let data: Vec<_> = told.rows.iter().filter(of).collect();
                    Ok(answer(200, &json!({ "data": data, "total": data.len() })))
                }
            }
        })
    }
}

#[derive(Debug)]
struct Plain;

impl OnBehalfOf for Plain {
    fn sign(&self, actor: &Actor, _: u64) -> Result<String, String> {
        Ok(actor.user.clone())
    }
}

/// A path, a client of it, and legacy.
struct Run {
    world: World,
    client: Client,
    legacy: Legacy,
    context: OutboxContext,
}

impl Run {
    async fn new(creates: Creates) -> Self {
        let storage = MemoryStorage::default();
        let clock: SharedClock = Arc::new(SystemClock);
        let durability = crate::config::Durability::Committed;
        let world = World::of(storage.clone(), clock.clone(), durability, creates.resource());
        let client = world.client("writer").await;
        let legacy = Legacy::default();
        legacy.0.lock().unwrap().honours_keys = creates == Creates::Key;
        let storage: SharedStorage = Arc::new(storage);
        let caught_up = crate::sync::CaughtUp::load(storage.clone(), 0, Duration::ZERO);
        let intents = Intents::new(crate::sync::IntentParts {
            storage: storage.clone(),
            caught_up: caught_up.await.unwrap(),
            clock: clock.clone(),
            entropy: Arc::new(SystemEntropy),
            settle: Duration::from_millis(1),
        });
        let context = OutboxContext {
            storage,
            registry: world.registry.clone(),
            legacy: LegacyClient::over(Arc::new(legacy.clone())),
            traffic: RowTraffic::default(),
            intents,
            owed: OwedMirrors::default(),
            on_behalf_of: Arc::new(Plain),
            clock,
            entropy: Arc::new(SystemEntropy),
            settings: OutboxSettings {
                concurrency: 4,
                initial_backoff: Duration::from_millis(1),
                max_backoff: Duration::from_millis(10),
                max_attempts: 20,
            },
        };
        Self { world, client, legacy, context }
    }

    /// The client makes or changes a row.
    async fn edit(&mut self, row: &str, cells: &[(&str, &str)]) {
        let edit = self.client.engine.edit(now(), &mut random(), |tx| {
            cells.iter().try_for_each(|(cell, value)| tx.set_cell("users", row, *cell, *value))
        });
        self.client.send(edit.unwrap().1).await;
        self.client.path.settled().await.unwrap();
    }

    async fn make(&mut self, row: &str, name: &str, manager: Option<&str>) {
        let edit = self.client.engine.edit(now(), &mut random(), |tx| {
            let email = format!("{row}@example.test");
            for (cell, value) in [("orgId", "org_1"), ("name", name), ("email", &email)] {
                tx.set_cell("users", row, cell, value)?;
            }
            tx.set_cell("users", row, "role", "member")?;
            if let Some(manager) = manager {
                tx.set_cell("users", row, "managerId", manager)?;
            }
            tx.set_cell("users", row, "active", true)
        });
        self.client.send(edit.unwrap().1).await;
        self.client.path.settled().await.unwrap();
    }

    /// One try of each row that is due.
    async fn deliver(&self) {
        let requests = Semaphore::new(4);
        let due = self.context.storage.due_entries(u64::MAX, 100).await.unwrap();
        for entry in due {
            attempt(&self.context, &requests, entry).await;
        }
    }

    /// Tries until nothing is pending.
    async fn delivered(&self) {
        for _ in 0..100 {
            self.deliver().await;
            if self.context.storage.outbox_summary(1).await.unwrap().pending == 0 {
                return;
            }
            // Until a request could not be under way any more.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("{:?}", self.context.storage.outbox_summary(10).await);
    }

    async fn cell(&self, row: &'static str, cell: &'static str) -> Option<Cell> {
        let read =
            move |store: &MergeableStore| store.get_cell("users", row, cell).map(CellRef::to_cell);
        self.world.path().await.read(read).await.unwrap()
    }

    async fn rows(&self) -> Vec<String> {
        let read = |store: &MergeableStore| {
            let ids = store.row_ids("users");
            ids.iter().map(|id| id.to_string_lossy().into_owned()).collect()
        };
        self.world.path().await.read(read).await.unwrap()
    }

    async fn legacy_id(&self, row: &str) -> Option<RowId> {
        let name = self.world.users.name.clone();
        self.context.storage.legacy_id(name, RowId::new(row)).await.unwrap()
    }

    fn lose(&self, lost: Lost) {
        self.legacy.0.lock().unwrap().lost = lost;
    }

    fn creates(&self) -> usize {
        self.legacy.0.lock().unwrap().creates.len()
    }

    fn legacy_row(&self, place: usize) -> Map<String, Value> {
        self.legacy.0.lock().unwrap().rows[place].clone()
    }

    async fn dead(&self) -> Vec<String> {
        let dead = self.context.storage.dead_letters(10).await.unwrap();
        assert!(dead.iter().all(|entry| entry.state == EntryState::Dead));
        dead.into_iter().filter_map(|entry| entry.last_error).collect()
    }
}

#[tokio::test]
async fn a_row_keeps_its_id_and_gets_legacys_into_its_id_cell() {
    for creates in [Creates::Key, Creates::Probe] {
        let mut run = Run::new(creates).await;
        run.make("r1", "Ada", None).await;
        run.delivered().await;
        assert_eq!(run.rows().await, ["r1"]);
        assert_eq!(run.cell("r1", "id").await, Some("L1".into()));
        assert_eq!(run.legacy_id("r1").await, Some(RowId::new("L1")));
        // What comes after it goes to legacy under its id.
        run.edit("r1", &[("name", "Ada L.")]).await;
        run.delivered().await;
        assert_eq!(run.legacy_row(0)["name"], "Ada L.");
        assert_eq!(run.creates(), 1);
        let asked =
            run.context.storage.asked_create(run.world.users.name.clone(), RowId::new("r1"));
        assert_eq!(asked.await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_create_whose_answer_is_lost_is_found_by_its_unique_cell() {
    let mut run = Run::new(Creates::Probe).await;
    run.make("r1", "Ada", None).await;
    run.lose(Lost::Answer);
    run.deliver().await;
    // The row is edited before it is known that it was made.
    run.edit("r1", &[("name", "Ada L.")]).await;
    run.delivered().await;
    assert_eq!(run.creates(), 1, "it is not asked for again");
    assert_eq!(run.cell("r1", "id").await, Some("L1".into()));
    assert_eq!(run.legacy_row(0)["name"], "Ada L.");
    assert!(run.dead().await.is_empty());
}

#[tokio::test]
async fn a_create_that_legacy_never_heard_of_is_asked_for_again() {
    for creates in [Creates::Key, Creates::Probe] {
        let mut run = Run::new(creates).await;
        run.make("r1", "Ada", None).await;
        run.lose(Lost::Request);
        run.delivered().await;
        assert_eq!(run.creates(), 1);
        assert_eq!(run.cell("r1", "id").await, Some("L1".into()));
    }
}

#[tokio::test]
async fn with_anothers_row_in_its_place_a_create_is_refused() {
    let mut run = Run::new(Creates::Probe).await;
    let other = json!({
        "id": "L9", "orgId": "org_1", "name": "Other", "email": "r1@example.test", "role": "admin",
        "active": true, "version": 3,
    });
    run.legacy.0.lock().unwrap().rows.push(other.as_object().unwrap().clone());
    run.make("r1", "Ada", None).await;
    // The 409 is lost.
    run.lose(Lost::Answer);
    run.delivered().await;
    assert!(run.rows().await.is_empty());
    assert!(run.dead().await.is_empty());
    assert_eq!(run.legacy_id("r1").await, None);
}

#[tokio::test]
async fn what_cannot_be_told_is_a_dead_letter() {
    let mut run = Run::new(Creates::Probe).await;
    run.make("r1", "Ada", None).await;
    run.lose(Lost::Answer);
    run.deliver().await;
    let twice = run.legacy_row(0);
    run.legacy.0.lock().unwrap().rows.push(twice);
    run.delivered().await;
    assert_eq!(run.dead().await, ["several rows of legacy have the unique value"]);
    assert_eq!(run.creates(), 1);
}

#[tokio::test]
async fn the_same_request_is_repeated_under_its_key_whatever_happened_to_the_row() {
    let mut run = Run::new(Creates::Key).await;
    run.make("r1", "Ada", None).await;
    run.lose(Lost::Answer);
    run.deliver().await;
    run.edit("r1", &[("name", "Ada L.")]).await;
    run.delivered().await;
    let creates = run.legacy.0.lock().unwrap().creates.clone();
    assert_eq!(creates.len(), 2);
    assert_eq!(creates[0], creates[1]);
    assert_eq!(run.legacy_row(0)["name"], "Ada L.");
    assert_eq!(run.cell("r1", "name").await, Some("Ada L.".into()));
    assert_eq!(run.rows().await, ["r1"]);
    assert!(run.dead().await.is_empty());
}

#[tokio::test]
async fn a_row_that_is_deleted_before_its_answer_is_known_is_deleted_in_legacy_too() {
    for creates in [Creates::Key, Creates::Probe] {
        let mut run = Run::new(creates).await;
        run.make("r1", "Ada", None).await;
        run.lose(Lost::Answer);
        run.deliver().await;
        let edit = run.client.engine.edit(now(), &mut random(), |tx| tx.del_row("users", "r1"));
        run.client.send(edit.unwrap().1).await;
        run.client.path.settled().await.unwrap();
        run.delivered().await;
        assert_eq!(run.legacy_id("r1").await, Some(RowId::new("L1")));
        assert!(run.rows().await.is_empty());
    }
}

#[tokio::test]
async fn a_row_that_was_read_under_legacys_id_first_becomes_one_with_its_own() {
    let mut run = Run::new(Creates::Probe).await;
    run.make("r1", "Ada", None).await;
    run.lose(Lost::Answer);
    run.deliver().await;
    let users = run.world.users.clone();
    let now_there = users.schema.row_from_json(&json!(run.legacy_row(0))).unwrap().cells;
    let row = LegacyRow { row: RowId::new("L1"), now: Some(now_there) };
    let source = Source::Read { asked_ms: now() + 1_000 };
    run.world
        .path()
        .await
        .apply(users.name.clone(), vec![row.clone()], source.clone())
        .await
        .unwrap();
    assert_eq!(run.rows().await.len(), 2);
    run.delivered().await;
    assert_eq!(run.rows().await, ["r1"]);
    // One that was read before comes later: it is known whose it is.
    run.world.path().await.apply(users.name.clone(), vec![row], source).await.unwrap();
    assert_eq!(run.rows().await, ["r1"]);
    assert_eq!(run.cell("r1", "id").await, Some("L1".into()));
}

#[tokio::test]
async fn an_entry_waits_for_the_create_of_the_row_that_it_refers_to() {
    let mut run = Run::new(Creates::Probe).await;
    run.legacy.0.lock().unwrap().refuses = Some(("Ada", 503));
    run.make("r1", "Ada", None).await;
    run.make("r2", "Bob", Some("r1")).await;
    run.deliver().await;
    run.deliver().await;
    assert_eq!(run.creates(), 0);
    let owed = run.context.storage.outbox_summary(10).await.unwrap().entries;
    let waiting = owed.iter().find(|one| one.entry.row.as_str() == "r2").unwrap();
    let reason = waiting.last_error.as_deref();
    assert_eq!(reason, Some("waits for the create of a row that it refers to"));
    run.legacy.0.lock().unwrap().refuses = None;
    run.delivered().await;
    let bob = run.legacy_row(1);
    assert_eq!((bob["name"].as_str(), bob["managerId"].as_str()), (Some("Bob"), Some("L1")));
    assert_eq!(run.cell("r2", "managerId").await, Some("r1".into()), "the store has row ids");
    assert_eq!(run.creates(), 2);
}

#[tokio::test]
async fn an_entry_falls_with_the_create_of_the_row_that_it_refers_to() {
    let mut run = Run::new(Creates::Probe).await;
    run.legacy.0.lock().unwrap().refuses = Some(("Ada", 422));
    run.make("r1", "Ada", None).await;
    run.make("r2", "Bob", Some("r1")).await;
    run.make("r3", "Cleo", Some("r2")).await;
    run.make("r4", "Dan", None).await;
    run.delivered().await;
    assert_eq!(run.rows().await, ["r4"], "and so does what refers to that");
    assert_eq!(run.creates(), 1);
    // Later, from a client that had not heard of it.
    run.edit("r4", &[("managerId", "r2")]).await;
    run.delivered().await;
    assert_eq!(run.cell("r4", "managerId").await, None);
    assert_eq!(run.legacy_row(0)["id"], "L1");
}

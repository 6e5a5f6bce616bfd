//! Writes that the store answers, against real paths.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::clock::{SystemClock, SystemEntropy};
use crate::config::Durability;
use crate::resource::{Cell, CellId};
use crate::storage::{Actor, MemoryStorage, OutboxEntry, Seq, Storage as _};
use crate::sync::authority::StoreDecides;
use crate::sync::path::tests::world::{World, ramped, user};
use crate::sync::{Outcome, Prepared, Settled};

struct Ramp {
    world: World,
    writer: StoreWriter,
}

async fn ramp() -> Ramp {
    let storage = MemoryStorage::default();
    let clock: SharedClock = Arc::new(SystemClock);
    let mut world = World::of(storage.clone(), clock.clone(), Durability::Committed, ramped());
    world.registry = world.registry.decided_by(Arc::new(StoreDecides));
    let storage: SharedStorage = Arc::new(storage);
    let caught_up = CaughtUp::load(storage.clone(), 0, Duration::ZERO).await.unwrap();
    let users = &world.users.name;
    assert!(caught_up.finish(users, caught_up.begin(users, u64::MAX)).await.unwrap());
    let (registry, entropy) = (world.registry.clone(), Arc::new(SystemEntropy));
    let waits = OwedWaits::default();
    let writer = StoreWriter { registry, storage, caught_up, clock, entropy, waits };
    Ramp { world, writer }
}

fn path() -> PathId {
    PathId::new("org/org_1").unwrap()
}

impl Ramp {
    fn asked(&self, kind: WriteKind, fields: Value) -> RestWrite {
        let actor = Actor {
            user: "ada".to_owned(),
            org_id: Some("org_1".to_owned()),
            org_role: Some("org:admin".to_owned()),
        };
        RestWrite {
            resource: self.world.users.clone(),
            kind,
            fields: fields.as_object().cloned().unwrap_or_default(),
            path: path(),
            writer: Arc::new(Writer::new(actor)),
            key: None,
        }
    }

    async fn create(&self, fields: Value) -> Result<StoreAnswer, Elsewhere> {
        self.writer.write(self.asked(WriteKind::Create, fields)).await
    }

    async fn update(&self, row: &str, fields: Value) -> Result<StoreAnswer, Elsewhere> {
        self.writer.write(self.asked(WriteKind::Update(RowId::new(row)), fields)).await
    }

    async fn delete(&self, row: &str) -> Result<StoreAnswer, Elsewhere> {
        self.writer.write(self.asked(WriteKind::Delete(RowId::new(row)), Value::Null)).await
    }

    /// A row `u1` that both sides have.
    async fn seeded(self) -> Self {
        let read = crate::sync::path::tests::world::read();
        self.world.apply(Some(user("Ada", 1.0)), read).await;
        self
    }

    async fn owed(&self) -> Vec<OutboxEntry> {
        self.world.storage.outbox_summary(100).await.unwrap().entries
    }

    async fn cell(&self, cell: &'static str) -> Value {
        self.world.cell(cell).await.map_or(Value::Null, |cell| cell.to_json())
    }
}

fn new_user(id: &str, email: &str) -> Value {
    json!({"id": id, "email": email, "name": "New"})
}

fn taken(cell: &str) -> Result<StoreAnswer, Elsewhere> {
    Ok(StoreAnswer::Refused(StoreRefusal::Taken(CellId::from(cell))))
}

#[tokio::test]
async fn a_new_row_is_made_whole_owed_with_its_commit_and_broadcast() {
    let ramp = ramp().await;
    let mut client = ramp.world.client_as("bob", Some("admin")).await;
    let Ok(StoreAnswer::Created(row, now)) = ramp.create(new_user("u1", "n@example.test")).await
    else {
        panic!("is made")
    };
    assert_eq!(row.as_str(), "u1");
    assert_eq!(now.get("orgId"), Some(&"org_1".into()));
    assert_eq!(now.get("version"), Some(&Cell::Number(1.0)));
    assert!(now.get("createdAt").is_some() && now.get("createdAt") == now.get("updatedAt"));
    let owed = ramp.owed().await;
    let cells: Vec<_> = owed[0].entry.cells.iter().map(|(cell, _)| cell.as_str()).collect();
    assert_eq!(cells.len(), 6, "what legacy makes is not owed: {cells:?}");
    assert_eq!(owed[0].entry.actor.user, "ada");
    let Prepared::Create(body) = ramp.world.prepare(owed[0].seq).await else {
        panic!("is to be made")
    };
    assert_eq!((&body["role"], body.get("version")), (&json!("member"), None));
    client.sees("name", Some("New")).await;
}

#[tokio::test]
async fn what_legacy_makes_is_the_stores_until_the_last_write_is_delivered() {
    let ramp = ramp().await.seeded().await;
    for name in ["A", "B"] {
        assert!(matches!(
            ramp.update("u1", json!({"name": name})).await,
            Ok(StoreAnswer::Updated(_))
        ));
    }
    let age = ramp.update("u1", json!({"age": 7})).await;
    assert!(
        matches!(age, Ok(StoreAnswer::Updated(now)) if now.get("version") == Some(&Cell::Number(4.0)))
    );
    let seqs: Vec<Seq> = ramp.owed().await.iter().map(|one| one.seq).collect();
    // The first has nothing left to send; the second is one change to legacy.
    assert_eq!(ramp.world.prepare(seqs[0]).await, Prepared::Superseded);
    ramp.world.settle(seqs[0], Outcome::Superseded).await;
    let mut legacy = user("B", 2.0);
    ramp.world.settle(seqs[1], Outcome::Delivered(Some(legacy.clone()))).await;
    assert_eq!(ramp.cell("version").await, json!(4), "an age is still owed");
    legacy.insert("age", Cell::Number(7.0));
    legacy.insert("version", Cell::Number(3.0));
    ramp.world.settle(seqs[2], Outcome::Delivered(Some(legacy))).await;
    assert_eq!(ramp.cell("version").await, json!(3));
    assert_eq!(ramp.cell("updatedAt").await, json!("2026-01-01T00:00:00.000Z"));
    assert_eq!(ramp.cell("age").await, json!(7));
}

#[tokio::test]
async fn a_write_that_leaves_nothing_to_send_leaves_the_sides_equal() {
    let ramp = ramp().await.seeded().await;
    assert!(matches!(ramp.update("u1", json!({"name": "Ada"})).await, Ok(StoreAnswer::Updated(_))));
    assert_eq!(ramp.cell("version").await, json!(2));
    let seq = ramp.owed().await[0].seq;
    assert_eq!(ramp.world.prepare(seq).await, Prepared::Superseded);
    assert_eq!(ramp.world.settle(seq, Outcome::Superseded).await, Settled::Done);
    assert_eq!((ramp.cell("version").await, ramp.owed().await.len()), (json!(1), 0));
}

#[tokio::test]
async fn a_refused_write_takes_what_the_store_made_along() {
    let ramp = ramp().await.seeded().await;
    assert!(ramp.update("u1", json!({"name": "Not for legacy"})).await.is_ok());
    let seq = ramp.owed().await[0].seq;
    ramp.world.settle(seq, Outcome::Refused(Some(user("Ada", 1.0)))).await;
    assert_eq!((ramp.cell("name").await, ramp.cell("version").await), (json!("Ada"), json!(1)));
}

#[tokio::test]
async fn the_same_value_again_is_a_write_too_for_an_older_edit_must_not_win_over_it() {
    let ramp = ramp().await.seeded().await;
    let stamp = || async {
        let read =
            |store: &mergeable_store::MergeableStore| store.stamp("users", "u1", "name").unwrap().1;
        ramp.world.path().await.read(read).await.unwrap()
    };
    let before = stamp().await;
    assert!(ramp.update("u1", json!({"name": "Ada"})).await.is_ok());
    assert!(stamp().await > before);
}

#[tokio::test]
async fn a_deleted_row_is_gone_at_once_although_legacy_still_has_it() {
    let ramp = ramp().await.seeded().await;
    assert_eq!(ramp.delete("u1").await, Ok(StoreAnswer::Deleted));
    assert_eq!(ramp.world.prepare(ramp.owed().await[0].seq).await, Prepared::Delete);
    let missing = Ok(StoreAnswer::Refused(StoreRefusal::NoSuchRow));
    assert_eq!(ramp.update("u1", json!({"name": "x"})).await, missing);
    assert_eq!(ramp.delete("u1").await, missing);
    // It may be made anew: legacy then gets the difference.
    assert!(matches!(
        ramp.create(new_user("u1", "n@example.test")).await,
        Ok(StoreAnswer::Created(..))
    ));
    for owed in ramp.owed().await {
        assert!(matches!(ramp.world.prepare(owed.seq).await, Prepared::Update(_)));
    }
}

#[tokio::test]
async fn what_is_unique_is_enforced_for_rest_and_sync_alike() {
    let ramp = ramp().await.seeded().await;
    assert_eq!(ramp.create(new_user("u1", "other@example.test")).await, taken("id"));
    assert_eq!(ramp.create(new_user("u2", "u1@example.test")).await, taken("email"));
    assert!(ramp.create(new_user("u2", "u2@example.test")).await.is_ok());
    assert_eq!(ramp.update("u2", json!({"email": "u1@example.test"})).await, taken("email"));
    assert!(ramp.update("u1", json!({"email": "u1@example.test"})).await.is_ok(), "its own");
    let mut client = ramp.world.client_as("bob", Some("admin")).await;
    client.sees("name", Some("Ada")).await;
    client.set("email", "u2@example.test").await;
    client.sees("email", Some("u1@example.test")).await;
    // Free again, once its row is gone.
    assert_eq!(ramp.delete("u2").await, Ok(StoreAnswer::Deleted));
    assert!(ramp.update("u1", json!({"email": "u2@example.test"})).await.is_ok());
}

#[tokio::test]
async fn an_edit_of_a_sync_client_gets_what_legacy_made_before() {
    let ramp = ramp().await;
    let mut client = ramp.world.client_as("bob", Some("admin")).await;
    client.make("By sync").await;
    client.until(|engine| engine.store().get_cell("users", "u1", "version").is_some()).await;
    assert_eq!(ramp.cell("version").await, json!(1));
    let made = ramp.cell("createdAt").await;
    client.set("name", "Again").await;
    let second = |engine: &mergeable_store::Synchronizer| {
        engine.store().get_cell("users", "u1", "version") == Some(Cell::Number(2.0).view())
    };
    client.until(second).await;
    assert_eq!(ramp.cell("createdAt").await, made);
}

#[tokio::test]
async fn roles_are_asked_as_for_sync_edits() {
    let ramp = ramp().await.seeded().await;
    let by = |role: &str, mut write: RestWrite| {
        let actor = Actor { org_role: Some(role.to_owned()), ..write.writer.actor.clone() };
        write.writer = Arc::new(Writer::new(actor));
        ramp.writer.write(write)
    };
    let denied = |why| Ok(StoreAnswer::Refused(StoreRefusal::Denied(why)));
    let update = |fields| ramp.asked(WriteKind::Update(RowId::new("u1")), fields);
    assert!(
        by("org:editor", update(json!({"name": "E"})))
            .await
            .is_ok_and(|a| matches!(a, StoreAnswer::Updated(_)))
    );
    let role = by("org:editor", update(json!({"role": "admin"}))).await;
    assert_eq!(role, denied("role-may-not-write-cell"));
    assert_eq!(by("org:viewer", update(json!({"name": "V"}))).await, denied("role-may-not-write"));
    let delete = ramp.asked(WriteKind::Delete(RowId::new("u1")), Value::Null);
    assert_eq!(by("org:editor", delete).await, denied("role-may-not-delete"));
    let create = ramp.asked(WriteKind::Create, new_user("u2", "e@example.test"));
    assert_eq!(by("org:editor", create).await, denied("role-may-not-create"));
    assert_eq!(ramp.owed().await.len(), 1, "what was refused is not owed");
}

#[tokio::test]
async fn a_create_that_is_repeated_with_its_key_makes_one_row() {
    let ramp = ramp().await;
    let asked = |key: &str, fields| RestWrite {
        key: Some(key.to_owned()),
        ..ramp.asked(WriteKind::Create, fields)
    };
    let body = json!({"email": "k@example.test", "name": "Keyed"});
    let Ok(StoreAnswer::Created(row, _)) = ramp.writer.write(asked("k1", body.clone())).await
    else {
        panic!("is made")
    };
    let again = ramp.writer.write(asked("k1", body.clone())).await;
    assert!(matches!(&again, Ok(StoreAnswer::Repeated(same, _)) if *same == row), "{again:?}");
    assert_eq!(ramp.writer.write(asked("k2", body.clone())).await, taken("email"));
    assert_eq!(ramp.delete(row.as_str()).await, Ok(StoreAnswer::Deleted));
    assert_eq!(ramp.writer.write(asked("k1", body)).await, taken("id"), "it does not come back");
    let own = new_user("u9", "nine@example.test");
    assert!(matches!(
        ramp.writer.write(asked("k3", own.clone())).await,
        Ok(StoreAnswer::Created(..))
    ));
    assert!(matches!(
        ramp.writer.write(asked("k3", own.clone())).await,
        Ok(StoreAnswer::Repeated(..))
    ));
    assert_eq!(ramp.create(own.clone()).await, taken("id"), "without a key it is another request");
    assert!(ramp.update("u9", json!({"name": "Moved on"})).await.is_ok());
    assert_eq!(ramp.writer.write(asked("k3", own)).await, taken("id"));
}

#[tokio::test]
async fn what_the_store_cannot_know_goes_elsewhere_and_nothing_has_happened() {
    let ramp = ramp().await.seeded().await;
    let elsewhere = |why| Err(Elsewhere(why));
    assert_eq!(ramp.update("u2", json!({"name": "x"})).await, elsewhere("no-row"));
    assert_eq!(ramp.update("u1", json!({})).await, elsewhere("no-field"));
    assert_eq!(ramp.update("u1", json!({"nick": "x"})).await, elsewhere("unknown-field"));
    assert_eq!(
        ramp.update("u1", json!({"orgId": "org_2"})).await,
        elsewhere("row-of-another-path")
    );
    assert_eq!(ramp.update("u1", json!({"id": "u7"})).await, elsewhere("id-differs-from-row-id"));
    assert!(matches!(ramp.update("u1", json!({"name": 1})).await, Ok(StoreAnswer::Invalid(_))));
    let mirror = ramp.writer.caught_up.open(&ramp.world.users.name, None, Some(path()));
    assert_eq!(ramp.update("u1", json!({"name": "x"})).await, elsewhere("mirror-under-way"));
    drop(mirror);
    let other = RestWrite {
        path: PathId::new("org/org_2").unwrap(),
        ..ramp.asked(WriteKind::Create, new_user("u1", "n@x.test"))
    };
    assert_eq!(ramp.writer.write(other).await, elsewhere("row-of-another-path"));
    let without = crate::resource::Resource { write: None, ..(*ramp.world.users).clone() };
    let unjudged = RestWrite {
        resource: Arc::new(without),
        ..ramp.asked(WriteKind::Create, new_user("u3", "m@x.test"))
    };
    assert_eq!(ramp.writer.write(unjudged).await, elsewhere("no-permissions"));
    let missed = crate::sync::Missed::default();
    ramp.writer.caught_up.lose(&ramp.world.users.name, missed);
    assert_eq!(ramp.update("u1", json!({"name": "x"})).await, elsewhere("not-caught-up"));
    assert_eq!(ramp.owed().await.len(), 0);
}

#[tokio::test]
async fn a_write_that_is_not_kept_is_not_answered_as_done_nor_left_to_legacy() {
    let ramp = ramp().await.seeded().await;
    ramp.world.path().await;
    ramp.world.storage.fail_commits(1);
    let failed = ramp.update("u1", json!({"name": "lost"})).await;
    assert!(matches!(failed, Ok(StoreAnswer::NotKept(_))), "{failed:?}");
    assert_eq!((ramp.cell("name").await, ramp.owed().await.len()), (json!("Ada"), 0));
}

#[tokio::test(start_paused = true)]
async fn a_write_for_legacy_waits_for_what_is_owed_of_its_row() {
    let ramp = ramp().await.seeded().await;
    let (users, u1) = (ramp.world.users.name.clone(), RowId::new("u1"));
    assert!(ramp.writer.owes_nothing(&users, &u1).await);
    assert!(ramp.update("u1", json!({"name": "owed"})).await.is_ok());
    assert!(!ramp.writer.owes_nothing(&users, &u1).await);
    let seq = ramp.owed().await[0].seq;
    let bury = crate::storage::Op::Bury { seq, error: "given up".to_owned() };
    ramp.world.storage.commit(vec![bury]).await.unwrap();
    assert!(
        ramp.writer.owes_nothing(&users, &u1).await,
        "what was given up is waited for by nobody"
    );
    let (writer, waiting) = (ramp.writer.clone(), users.clone());
    ramp.world.settle(seq, Outcome::Superseded).await;
    assert!(writer.owes_nothing(&waiting, &u1).await);
}

#[tokio::test(start_paused = true)]
async fn so_many_writes_wait_for_what_is_owed_and_one_more_is_told_at_once() {
    let mut ramp = ramp().await.seeded().await;
    ramp.writer.waits = OwedWaits(Arc::new(Semaphore::new(1)));
    let (users, u1) = (ramp.world.users.name.clone(), RowId::new("u1"));
    assert!(ramp.update("u1", json!({"name": "owed"})).await.is_ok());
    let begun = Instant::now();
    let (one, two) =
        tokio::join!(ramp.writer.owes_nothing(&users, &u1), ramp.writer.owes_nothing(&users, &u1));
    assert!(!one && !two);
    let full = ramp.writer.waits.0.clone().try_acquire_owned().unwrap();
    let waited = begun.elapsed();
    assert!(!ramp.writer.owes_nothing(&users, &u1).await);
    assert_eq!(begun.elapsed(), waited, "it did not wait");
    drop(full);
}

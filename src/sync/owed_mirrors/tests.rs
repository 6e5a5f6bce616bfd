//! Rows that are owed to the store: while legacy is away, after a kill, and while a request is out of sight.

use super::*;
use crate::clock::{Clock as _, SystemClock};
use crate::storage::{IntentId, Op};
use crate::sync::caught_up::Standing;
use crate::sync::mirror::Request;
use crate::sync::test_legacy::{World, until};

#[tokio::test]
async fn an_outage_of_legacy_loses_nothing_and_holds_the_answers_back() {
    let world = World::new(Duration::from_secs(30)).await;
    let process = world.process().await;
    world.legacy.put("u1", "Ada", 1);
    world.legacy.away(true);
    let intent = process.open("u1").await;
    process.mirror.reread(process.users.clone(), RowId::new("u1"), intent, (0, Request::Over));
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
    let intent = next.open("u1").await;
    next.mirror.reread(next.users.clone(), RowId::new("u1"), intent, (0, Request::Over));
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
        requested: None,
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
        let (once_more_ms, requested) = (None, None);
        owed.owe(OwedMirror { resource, row, intent, due_ms: 0, once_more_ms, requested });
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

#[tokio::test]
async fn a_row_is_owed_for_so_many_writes_and_a_backfill_mends_the_rest() {
    let world = World::new(Duration::from_secs(30)).await;
    let process = world.process().await;
    process.stop.send(true).unwrap();
    let owed = OwedMirrors::default();
    for number in 0..=MAX_WRITES {
        assert!(process.caught_up.is(&process.users.name), "{number}");
        let (resource, row, intent) =
            (process.users.clone(), RowId::new("u1"), process.open("u1").await);
        let (due_ms, once_more_ms) = (0, None);
        let requested = Some(Requested { fields: None, sent_ms: 1 });
        owed.owe(OwedMirror { resource, row, intent, due_ms, once_more_ms, requested });
    }
    assert_eq!(owed.len(), 1);
    assert!(matches!(process.caught_up.standing(&process.users.name), Standing::Mending { .. }));
    owed.leave();
}

//! A path with real TinyBase clients (the engine's own) and storage in memory.

mod indexed;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mergeable_store::{Cell, CellRef, ClientId, ConnectionId, MergeableStore, Synchronizer};

use super::sink::{ClientSource, client_channel};
use super::*;
use crate::clock::{SharedClock, SystemClock, SystemEntropy};
use crate::config::{Config, Durability};
use crate::resource::{Resource, RowCells};
use crate::storage::{Actor, MemoryStorage, Storage};
use crate::sync::mapped::MappedTables;
use crate::sync::random::StarRandom;
use crate::sync::registry::{PathRegistry, RegistrySettings};
use world::*;

#[tokio::test]
async fn a_legacy_row_reaches_clients_live_and_is_not_owed_back() {
    let world = World::new();
    let mut client = world.client("a").await;
    assert_eq!(world.apply(Some(user("Ada", 1.0)), read()).await, Applied::Taken);
    client.sees("name", Some("Ada")).await;
    assert_eq!(world.pending().await, []);
    let late = world.client("b").await;
    assert_eq!(late.engine.store().hashes(), client.engine.store().hashes());
}

#[tokio::test]
async fn an_edit_is_owed_in_the_transaction_that_accepts_it_and_survives_a_kill() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let (mut a, mut b) = (world.client("a").await, world.client("b").await);
    a.set("name", "Grace").await;
    // What another client sees is acknowledged: it must be committed, with what it owes.
    b.sees("name", Some("Grace")).await;
    let after_kill = World::on(world.storage.clone());
    assert_eq!(after_kill.cell("name").await, Some("Grace".into()));
    let pending = after_kill.pending().await;
    assert_eq!(pending.len(), 1);
    let body = serde_json::json!({"name": "Grace"});
    assert_eq!(after_kill.prepare(pending[0]).await, Prepared::Update(body));
}

#[tokio::test]
async fn what_cannot_be_kept_is_shown_to_nobody() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let (mut a, mut b) = (world.client("a").await, world.client("b").await);
    world.storage.fail_commits(1);
    a.set("name", "Grace").await;
    assert_eq!(b.closed().await, CloseReason::not_kept());
    assert_eq!(a.closed().await, CloseReason::not_kept());
    assert_eq!(world.cell("name").await, Some("Ada".into()));
    assert_eq!(world.pending().await, []);
}

#[tokio::test]
async fn an_owed_cell_keeps_its_value_until_a_request_writes_that_very_cell() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let mut a = world.client("a").await;
    a.set("name", "Grace").await;
    world.path().await.settled().await.unwrap();
    // Somebody changed another cell over REST: the answer still has the old name.
    world.apply(Some(with(user("Ada", 2.0), "role", "admin")), request(&["role"])).await;
    assert_eq!(world.cell("name").await, Some("Grace".into()));
    assert_eq!(world.cell("role").await, Some("admin".into()));
    // A later request wrote the name: it is newer than the owed edit, which it supersedes.
    world.apply(Some(with(user("Edith", 3.0), "role", "admin")), request(&["name"])).await;
    assert_eq!(world.cell("name").await, Some("Edith".into()));
    let pending = world.pending().await;
    assert_eq!(world.prepare(pending[0]).await, Prepared::Superseded);
}

fn with(mut row: RowCells, cell: &'static str, value: &str) -> RowCells {
    row.insert(cell, value.into());
    row
}

#[tokio::test]
async fn answers_about_a_row_are_ordered_by_its_version() {
    let world = World::new();
    world.apply(Some(user("new", 5.0)), read()).await;
    let late = world.apply(Some(user("old", 4.0)), request(&["name"])).await;
    assert_eq!(late, Applied::Stale);
    assert_eq!(world.cell("name").await, Some("new".into()));
}

#[tokio::test]
async fn a_page_read_before_a_deletion_does_not_bring_the_row_back() {
    let world = World::new();
    let asked_ms = now();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    world.apply(None, request(&[])).await;
    let page = world.apply(Some(user("Ada", 1.0)), Source::Read { asked_ms }).await;
    assert_eq!(page, Applied::Stale);
    assert_eq!(world.cell("name").await, None);
}

#[tokio::test]
async fn a_page_read_before_a_deletion_was_delivered_does_not_bring_the_row_back() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let mut a = world.client("a").await;
    let edit = a.engine.edit(now(), &mut random(), |tx| tx.del_row("users", "u1")).unwrap();
    a.send(edit.1).await;
    a.path.settled().await.unwrap();
    // The page is asked for after the edit's stamp, and before legacy knows of it.
    let asked_ms = (1..).map(|_| now()).find(|now| *now > edit_time(&a)).unwrap();
    let seq = world.pending().await[0];
    assert_eq!(world.prepare(seq).await, Prepared::Delete);
    world.settle(seq, Outcome::Delivered(None)).await;
    let page = world.apply(Some(user("Ada", 1.0)), Source::Read { asked_ms }).await;
    assert_eq!(page, Applied::Stale);
    assert_eq!(world.cell("name").await, None);
}

fn edit_time(client: &Client) -> u64 {
    let (_, hlc) = client.engine.store().stamp("users", "u1", "name").unwrap();
    hlc.time_ms()
}

#[tokio::test]
async fn an_update_that_was_answered_before_a_deletion_does_not_bring_the_row_back() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let update = |sent_ms| {
        let wrote = Wrote::Cells(BTreeSet::from(["name".to_owned()]));
        Source::Request { wrote, sent_ms }
    };
    let sent_ms = now();
    world.apply(None, request(&[])).await;
    let late = world.apply(Some(user("Grace", 2.0)), update(sent_ms)).await;
    assert_eq!(late, Applied::Stale);
    assert_eq!(world.cell("name").await, None);
    let again = Source::Request { wrote: Wrote::All, sent_ms };
    assert_eq!(world.apply(Some(user("Ada", 1.0)), again).await, Applied::Taken);
}

#[tokio::test]
async fn a_delivered_edit_takes_legacys_canonical_values() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let mut a = world.client("a").await;
    a.set("name", " Grace ").await;
    a.path.settled().await.unwrap();
    let seq = world.pending().await[0];
    world.settle(seq, Outcome::Delivered(Some(user("Grace", 2.0)))).await;
    a.sees("name", Some("Grace")).await;
    assert_eq!(world.pending().await, []);
}

#[tokio::test]
async fn a_refused_edit_goes_back_to_what_legacy_has() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let mut a = world.client("a").await;
    a.set("name", "Grace").await;
    a.path.settled().await.unwrap();
    let seq = world.pending().await[0];
    world.settle(seq, Outcome::Refused(Some(user("Ada", 1.0)))).await;
    a.sees("name", Some("Ada")).await;
    assert_eq!(world.pending().await, []);
}

#[tokio::test]
async fn a_refused_create_leaves_tombstones() {
    let world = World::new();
    let mut a = world.client("a").await;
    a.make("Nobody").await;
    a.path.settled().await.unwrap();
    let seq = world.pending().await[0];
    assert!(matches!(world.prepare(seq).await, Prepared::Create(_)));
    world.settle(seq, Outcome::Refused(None)).await;
    a.sees("name", None).await;
}

#[tokio::test]
async fn two_edits_of_a_row_are_delivered_in_order_and_the_older_one_drops_what_is_superseded() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let mut a = world.client("a").await;
    a.set("name", "first").await;
    a.set("role", "admin").await;
    a.set("name", "second").await;
    a.path.settled().await.unwrap();
    let pending = world.pending().await;
    assert_eq!(pending.len(), 3);
    let update = |body| Prepared::Update(body);
    assert_eq!(world.prepare(pending[0]).await, Prepared::Superseded);
    assert_eq!(world.prepare(pending[1]).await, update(serde_json::json!({"role": "admin"})));
    assert_eq!(world.prepare(pending[2]).await, update(serde_json::json!({"name": "second"})));
}

#[tokio::test]
async fn delete_wins_over_an_edit_that_leaves_a_row_without_required_cells() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let mut a = world.client("a").await;
    let edit =
        a.engine.edit(now(), &mut random(), |tx| tx.del_cell("users", "u1", "email")).unwrap();
    a.send(edit.1).await;
    a.sees("name", None).await;
    let seq = world.pending().await[0];
    assert_eq!(world.prepare(seq).await, Prepared::Delete);
}

#[tokio::test]
async fn what_only_legacy_writes_stays_when_a_client_replaces_the_row_and_goes_with_the_row() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let (mut a, mut b) = (world.client("a").await, world.client("b").await);
    // As `setRow` does: what it is not given is cleared.
    let edit = a.engine.edit(now(), &mut random(), |tx| {
        tx.del_cell("users", "u1", "version")?;
        tx.set_cell("users", "u1", "name", "Ada, replaced")
    });
    a.send(edit.unwrap().1).await;
    b.sees("name", Some("Ada, replaced")).await;
    a.until(|engine| engine.store().get_cell("users", "u1", "version").is_some()).await;
    let seq = world.pending().await[0];
    let name = serde_json::json!({"name": "Ada, replaced"});
    assert_eq!(world.prepare(seq).await, Prepared::Update(name));
    world.settle(seq, Outcome::Delivered(Some(user("Ada, replaced", 2.0)))).await;
    // With the row it goes.
    let edit = a.engine.edit(now(), &mut random(), |tx| tx.del_row("users", "u1"));
    a.send(edit.unwrap().1).await;
    b.sees("name", None).await;
    assert_eq!(world.cell("version").await, None);
    assert_eq!(world.prepare(world.pending().await[0]).await, Prepared::Delete);
}

#[tokio::test]
async fn what_the_schema_forbids_goes_back_by_itself() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let (mut a, b) = (world.client("a").await, world.client("b").await);
    let before = b.engine.store().hashes();
    for (cell, value) in [("role", "emperor"), ("orgId", "org_2"), ("version", "9"), ("shoe", "x")]
    {
        a.set(cell, value).await;
    }
    a.sees("role", Some("member")).await;
    a.sees("orgId", Some("org_1")).await;
    a.sees("shoe", None).await;
    assert_eq!(world.cell("version").await, Some(1.0.into()));
    assert_eq!(world.pending().await, []);
    // Another table, and a value.
    let edit = a.engine.edit(now(), &mut random(), |tx| {
        tx.set_cell("secrets", "s", "c", "x")?;
        tx.set_value("v", "x")
    });
    a.send(edit.unwrap().1).await;
    a.until(|engine| engine.store().get_value("v").is_none()).await;
    assert_eq!(world.pending().await, []);
    assert_ne!(world.path().await.hashes().await.unwrap(), before, "tombstones are in the hashes");
}

#[tokio::test]
async fn a_drained_client_hands_over_what_it_has_and_is_closed() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let mut a = world.client("a").await;
    // Made while the connection is up, but not sent: only a pull can bring it.
    let _unsent =
        a.engine.edit(now(), &mut random(), |tx| tx.set_cell("users", "u1", "name", "late"));
    world.path().await.drain().await.unwrap();
    let reason = loop {
        if let Some(reason) = a.next().await {
            break reason;
        }
    };
    assert_eq!(reason, CloseReason::drained());
    assert_eq!(world.cell("name").await, Some("late".into()));
    assert_eq!(world.pending().await.len(), 1);
}

/// Goes with the runtime's clock, which a test can pause.
#[derive(Debug)]
struct RuntimeClock(tokio::time::Instant);

impl crate::clock::Clock for RuntimeClock {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000 + u64::try_from(self.0.elapsed().as_millis()).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_comes_to_rest_is_closed_all_the_same() {
    let start = tokio::time::Instant::now();
    let world = World::with(MemoryStorage::default(), Arc::new(RuntimeClock(start)));
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let path = world.path().await;
    let (sink, mut source) = client_channel();
    let actor = Actor { user: "mute".to_owned(), org_id: None, org_role: None };
    let writer = Arc::new(Writer::new(actor));
    path.connect(ConnectionId::from("mute"), writer, sink, true).await.unwrap();
    // Being told to drain once more does not prolong it.
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    path.drain().await.unwrap();
    let mut frames = 0;
    let reason = loop {
        match source.next().await {
            Outbound::Frames(lot) => frames += lot.len(),
            Outbound::Close(reason) => break reason,
        }
    };
    assert_eq!(reason, CloseReason::not_drained());
    assert!(frames > 2, "it was asked again and again");
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn a_row_of_another_organisation_never_gets_in_whoever_names_its_id() {
    let world = World::new();
    let mut a = world.client("a").await;
    a.make("Mine").await;
    a.path.settled().await.unwrap();
    let seq = world.pending().await[0];
    assert!(matches!(world.prepare(seq).await, Prepared::Create(_)));
    // Legacy has the row, in another organisation, and shows it to crossfade's own credential.
    let foreign = with(user("Secret", 1.0), "orgId", "org_2");
    world.settle(seq, Outcome::Refused(Some(foreign.clone()))).await;
    a.sees("id", None).await;
    assert_eq!(world.cell("name").await, None);
    world.apply(Some(foreign), read()).await;
    assert_eq!(world.cell("name").await, None);
}

#[tokio::test]
async fn after_a_lost_answer_legacy_is_asked_before_an_entry_counts_as_superseded() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let mut a = world.client("a").await;
    a.set("name", "Grace").await;
    a.path.settled().await.unwrap();
    let first = world.pending().await[0];
    // Sent, taken by legacy, and the answer lost; meanwhile the user changes it back.
    assert!(matches!(world.prepare(first).await, Prepared::Update(_)));
    a.set("name", "Ada").await;
    a.path.settled().await.unwrap();
    assert!(matches!(world.prepare(first).await, Prepared::Reread { .. }));
    world.settle(first, Outcome::Delivered(Some(user("Grace", 2.0)))).await;
    let second = world.pending().await[0];
    let body = serde_json::json!({"name": "Ada"});
    assert_eq!(world.prepare(second).await, Prepared::Update(body));
}

#[tokio::test]
async fn a_refused_edit_does_not_take_away_what_somebody_else_is_owed() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let (mut a, mut b) = (world.client("a").await, world.client("b").await);
    a.set("role", "admin").await;
    b.sees("role", Some("admin")).await;
    b.set("role", "emperor").await;
    b.sees("role", Some("admin")).await;
    let pending = world.pending().await;
    let mut prepared = Vec::new();
    for seq in &pending {
        prepared.push(world.prepare(*seq).await);
    }
    let body = serde_json::json!({"role": "admin"});
    assert_eq!(prepared.last(), Some(&Prepared::Update(body)), "{prepared:?}");
    let entries = world.storage.outbox_summary(9).await.unwrap().entries;
    assert!(entries.iter().all(|entry| entry.entry.actor.user == "a"), "{entries:?}");
}

#[tokio::test]
async fn an_answer_that_was_overtaken_leaves_what_still_differs_owed() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let mut a = world.client("a").await;
    a.set("name", "edit").await;
    a.path.settled().await.unwrap();
    let seq = world.pending().await[0];
    assert!(matches!(world.prepare(seq).await, Prepared::Update(_)));
    // Legacy took the edit as version 2 and then a REST write as version 3, whose mirror comes first.
    let sent_ms = now() - 1_000;
    let wrote = Wrote::Cells(["name".to_owned()].into());
    world.apply(Some(user("rest", 3.0)), Source::Request { wrote, sent_ms }).await;
    assert_eq!(world.cell("name").await, Some("edit".into()));
    let settled = world.settle(seq, Outcome::Delivered(Some(user("edit", 2.0)))).await;
    assert_eq!(settled, Settled::Again);
    let body = serde_json::json!({"name": "edit"});
    assert_eq!(world.prepare(seq).await, Prepared::Update(body));
}

#[tokio::test]
async fn what_a_request_wrote_is_taken_even_where_legacy_had_it_before() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let mut a = world.client("a").await;
    a.set("name", "Grace").await;
    a.path.settled().await.unwrap();
    // A later REST write sets what legacy still has: it is acknowledged, and newer than the edit.
    world.apply(Some(user("Ada", 2.0)), request(&["name"])).await;
    assert_eq!(world.cell("name").await, Some("Ada".into()));
    // Legacy's own spelling of a delivered value, equal to what it had before.
    a.sees("name", Some("Ada")).await;
    a.set("name", "ADA").await;
    a.path.settled().await.unwrap();
    let seq = *world.pending().await.last().unwrap();
    world.settle(seq, Outcome::Delivered(Some(user("Ada", 3.0)))).await;
    assert_eq!(world.cell("name").await, Some("Ada".into()));
}

#[tokio::test]
async fn delete_wins_over_an_edit_that_arrives_after_it() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let (mut a, mut b) = (world.client("a").await, world.client("b").await);
    // Made by an offline client, and brought after the row is gone.
    let edit =
        b.engine.edit(now() + 1, &mut random(), |tx| tx.set_cell("users", "u1", "name", "B"));
    let gone = a.engine.edit(now(), &mut random(), |tx| tx.del_row("users", "u1"));
    a.send(gone.unwrap().1).await;
    a.path.settled().await.unwrap();
    b.send(edit.unwrap().1).await;
    b.sees("name", None).await;
    assert_eq!(world.cell("name").await, None);
    let pending = world.pending().await;
    assert_eq!(world.prepare(pending[0]).await, Prepared::Delete);
    assert_eq!(world.prepare(pending[1]).await, Prepared::Superseded, "b has deleted nothing");
}

#[tokio::test]
async fn a_newer_version_is_taken_even_from_a_client_clock_that_is_ahead() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let mut a = world.client("a").await;
    let ahead = now() + 50_000;
    let edit =
        a.engine.edit(ahead, &mut random(), |tx| tx.set_cell("users", "u1", "role", "admin"));
    a.send(edit.unwrap().1).await;
    a.path.settled().await.unwrap();
    let seq = world.pending().await[0];
    let taken = with(user("Ada", 2.0), "role", "admin");
    world.settle(seq, Outcome::Delivered(Some(taken))).await;
    let page = with(user("Ada", 3.0), "role", "viewer");
    world.apply(Some(page), Source::Read { asked_ms: now() }).await;
    assert_eq!(world.cell("role").await, Some("viewer".into()));
}

#[tokio::test]
async fn a_clock_that_is_far_ahead_is_told_and_changes_nothing() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let mut a = world.client("a").await;
    let later = now() + 61_000;
    let edit =
        a.engine.edit(later, &mut random(), |tx| tx.set_cell("users", "u1", "name", "future"));
    a.send(edit.unwrap().1).await;
    assert_eq!(a.closed().await, CloseReason::clock_skew());
    assert_eq!(world.cell("name").await, Some("Ada".into()));
    assert_eq!(world.pending().await, []);
}

mod memory;
mod rebuild;
mod refused;
mod turns;
pub(in crate::sync) mod world;

//! Rebuilding a path: what stays, what goes, and what a kill leaves behind.

use mergeable_store::{Hlc, Text};

use super::*;
use crate::storage::{
    Base, CHUNK_RECORDS, CellRecord, Generation, NewEntry, Op, PathChunk, Standing, ValueRecord,
};
use crate::sync::RebuildError;

fn org() -> PathId {
    PathId::new("org/org_1").unwrap()
}

fn stamp(age_ms: u64, counter: u32) -> Hlc {
    Hlc::new(now() - age_ms, counter, ClientId::from_unique_id("long ago"))
}

fn put(row: &str, cell: &str, value: Option<&str>, hlc: Hlc) -> Op {
    let (table, row, cell) = ("users".into(), row.into(), cell.into());
    Op::PutCell(org(), CellRecord { table, row, cell, value: value.map(str::to_owned), hlc })
}

const HOUR: u64 = 3_600_000;

/// A path with more than a chunk of deleted rows, one that lives, and three tombstones that must stay: one
/// that is owed, one of a dead letter, and a young one.
async fn world() -> (World, [Hlc; 3]) {
    let storage = MemoryStorage::default();
    let mut ops: Vec<Op> = (0..CHUNK_RECORDS + 100)
        .map(|n| put(&format!("gone{n}"), "name", None, stamp(HOUR, n as u32)))
        .collect();
    let (owed, dead, young) = (stamp(HOUR, 9000), stamp(HOUR, 9001), stamp(60_000, 9002));
    for (cell, value) in user("Ada", 1.0).iter() {
        ops.push(put("u1", cell, Some(&value.encoded()), stamp(HOUR, 9003)));
    }
    ops.push(put("u1", "age", None, owed));
    ops.push(put("u2", "name", None, dead));
    ops.push(put("u3", "name", None, young));
    let value = ValueRecord { id: "v".into(), value: Some("1".to_owned()), hlc: stamp(HOUR, 9004) };
    ops.push(Op::PutValue(org(), value));
    let entry = |row: &str, cell: &str, hlc: Hlc| {
        Op::Owe(NewEntry {
            path: org(),
            resource: ResourceName::new("users"),
            row: RowId::new(row),
            cells: vec![(cell.to_owned(), hlc.to_string())],
            actor: Actor { user: "ann".to_owned(), org_id: None, org_role: None },
            accepted_ms: 0,
        })
    };
    ops.extend([entry("u1", "age", owed), entry("u2", "name", dead)]);
    let mut known = user("Ada", 1.0);
    known.insert("age", 36.into());
    let cells = known.iter().map(|(id, cell)| (id.to_string(), cell.to_json()));
    let base = Base { cells: cells.collect() };
    let (resource, row) = (ResourceName::new("users"), RowId::new("u1"));
    ops.push(Op::PutBase { path: org(), resource, row, base });
    let seqs = storage.commit(ops).await.unwrap();
    storage.commit(vec![Op::Bury { seq: seqs[1], error: "no".to_owned() }]).await.unwrap();
    (World::on(storage), [owed, dead, young])
}

async fn records(storage: &MemoryStorage) -> PathChunk {
    let (mut all, mut after) = (PathChunk::default(), None);
    loop {
        let chunk = storage.read_path(org(), None, after).await.unwrap();
        all.cells.extend(chunk.cells);
        all.values.extend(chunk.values);
        after = chunk.next;
        if after.is_none() {
            return all;
        }
    }
}

async fn standings(storage: &MemoryStorage) -> Vec<(u32, Standing)> {
    let all = storage.generations(Some(org())).await.unwrap();
    all.iter().map(|one| (one.generation.number(), one.standing)).collect()
}

/// Tombstones that stay, by row.
async fn tombstones(storage: &MemoryStorage) -> Vec<(Text, Hlc)> {
    let all = records(storage).await.cells.into_iter();
    all.filter(|r| r.value.is_none()).map(|r| (r.row, r.hlc)).collect()
}

#[tokio::test]
async fn what_lives_and_what_is_owed_stays_and_old_tombstones_go() {
    let (world, [owed, dead, young]) = world().await;
    let before = world.path().await.hashes().await.unwrap();
    let rebuilt = world.registry.rebuild(&org()).await.unwrap();
    assert_eq!((rebuilt.generation.number(), rebuilt.kept, rebuilt.tombstones_kept), (2, 10, 3));
    assert_eq!(rebuilt.tombstones_dropped, CHUNK_RECORDS as u64 + 100);
    assert_eq!(world.registry.name_of(&org()).to_string(), "org/org_1@2");

    let stay = [("u1".into(), owed), ("u2".into(), dead), ("u3".into(), young)];
    assert_eq!(tombstones(&world.storage).await, stay);
    assert_eq!(world.cell("name").await, Some("Ada".into()));
    let hashes = world.path().await.hashes().await.unwrap();
    assert_ne!(hashes, before);
    // The deletion of a cell that is owed is found by its tombstone.
    let pending = world.pending().await;
    let removed = serde_json::json!({ "age": null });
    assert_eq!(world.prepare(pending[0]).await, Prepared::Update(removed));

    // It is the same after a restart, which learns the name.
    let again = World::on(world.storage.clone());
    again.registry.learn_generations().await.unwrap();
    assert_eq!(again.registry.name_of(&org()), world.registry.name_of(&org()));
    assert_eq!(again.path().await.hashes().await.unwrap(), hashes);

    // The former generation stays until the next rebuild.
    assert_eq!(standings(&world.storage).await, [(1, Standing::Former), (2, Standing::Current)]);
    world.registry.rebuild(&org()).await.unwrap();
    assert_eq!(standings(&world.storage).await, [(2, Standing::Former), (3, Standing::Current)]);
}

#[tokio::test]
async fn a_kill_at_any_step_leaves_the_one_generation_or_the_other() {
    for steps in 0.. {
        let (killed, _) = world().await;
        let before = records(&killed.storage).await;
        killed.storage.allow_commits(Some(steps));
        let outcome = killed.registry.rebuild(&org()).await;
        killed.storage.allow_commits(None);
        let next = World::on(killed.storage.clone());
        next.registry.learn_generations().await.unwrap();
        let name = next.registry.name_of(&org());
        if outcome.is_ok() {
            assert_eq!(name.generation.number(), 2);
            assert!(steps >= 4, "it took fewer steps than there are chunks");
            return;
        }
        assert!(matches!(outcome, Err(RebuildError::Storage(_))), "{outcome:?}");
        assert_eq!((name.generation, records(&next.storage).await), (Generation::FIRST, before));
        // What the kill has left does not matter to the next one, nor to who goes on without.
        assert_eq!(next.cell("name").await, Some("Ada".into()));
        next.registry.rebuild(&org()).await.unwrap();
        assert_eq!(tombstones(&next.storage).await.len(), 3);
        assert_eq!(standings(&next.storage).await.len(), 2);
        // The process that was not killed after all goes on with what there was.
        assert_eq!(killed.path().await.read(|store| store.row_count("users")).await.unwrap(), 1);
    }
}

/// Takes part in a drain until the connection is closed, then lets it go as its socket does.
async fn drained(client: &mut Client) -> CloseReason {
    loop {
        if let Some(reason) = client.next().await {
            client.path.disconnect(client.id.clone()).await.ok();
            return reason;
        }
    }
}

#[tokio::test]
async fn clients_are_drained_and_who_wants_the_path_meanwhile_waits() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let mut a = world.client("a").await;
    let before = world.path().await;
    a.set("name", "Grace").await;
    let path = org();
    let mut rebuilding = std::pin::pin!(world.registry.rebuild(&path));
    // It waits for the client, which does not answer yet; and others wait for it.
    while !world.registry.loaded().is_empty() {
        assert!(futures_util::poll!(&mut rebuilding).is_pending());
        tokio::task::yield_now().await;
    }
    let mut waiting = std::pin::pin!(world.registry.get(&path));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    let another = world.registry.rebuild(&path);
    let (rebuilt, next, reason) = tokio::join!(rebuilding, waiting, drained(&mut a));
    rebuilt.unwrap();
    assert_eq!(reason, CloseReason::drained());
    let next = next.unwrap();
    assert!(next.hashes().await.is_ok());
    assert_eq!(world.registry.name_of(&path).generation.number(), 2);

    assert_eq!(world.cell("name").await, Some("Grace".into()));
    let body = serde_json::json!({"name": "Grace"});
    assert_eq!(world.prepare(world.pending().await[0]).await, Prepared::Update(body));
    // Who still holds the former task is told.
    assert!(matches!(before.hashes().await, Err(PathError::Gone)));
    another.await.unwrap();
    assert_eq!(world.registry.name_of(&path).generation.number(), 3);
}

/// Who wrote what is told, and an edit that came too late is a conflict.
#[tokio::test]
async fn a_path_tells_its_writers_its_connections_and_its_conflicts() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let (mut a, mut b) = (world.client("a").await, world.client("b").await);
    // Two edits that cross on their way: the earlier one arrives later.
    let edit = b.engine.edit(now(), &mut random(), |tx| tx.set_cell("users", "u1", "name", "B"));
    let crossing = edit.unwrap().1;
    let (_, lost) = b.engine.store().stamp("users", "u1", "name").unwrap();
    let at = (1..).map(|_| now()).find(|now| *now > lost.time_ms()).unwrap();
    let edit = a.engine.edit(at, &mut random(), |tx| tx.set_cell("users", "u1", "name", "A"));
    a.send(edit.unwrap().1).await;
    let (_, won) = a.engine.store().stamp("users", "u1", "name").unwrap();
    b.send(crossing.clone()).await;
    // Told once more, it is no news.
    b.send(crossing).await;
    b.sees("name", Some("A")).await;
    let path = world.path().await;
    let report = path.report(10).await.unwrap();
    assert_eq!(report.conflicts_ever, 1, "{report:?}");
    let conflict = &report.conflicts[0];
    assert_eq!((conflict.winner, conflict.loser), (won, lost));
    assert_eq!(conflict.through.user, "b");
    let client = ClientId::from_unique_id("a");
    let seen = report.writers.iter().find(|(id, _)| *id == client).map(|(_, seen)| seen);
    let seen = seen.unwrap();
    assert_eq!((seen.newest, seen.through.as_ref().unwrap().user.as_str()), (won, "a"));
    assert_eq!(report.connections.len(), 2);

    // Asked for their hashes, both turn out to have everything.
    path.ask_hashes().await.unwrap();
    loop {
        let report = path.report(0).await.unwrap();
        if report.connections.iter().all(|lag| lag.edits_behind == 0 && lag.equal_ms.is_some()) {
            break;
        }
        for client in [&mut a, &mut b] {
            // Whoever has nothing to hear is not waited for.
            let next = tokio::time::timeout(Duration::from_millis(1), client.next());
            assert_eq!(next.await.ok().flatten(), None, "closed instead");
        }
    }
    b.path.disconnect(b.id.clone()).await.unwrap();
    assert_eq!(path.report(0).await.unwrap().connections.len(), 1);
}

//! Both sides compared in full, against a small legacy API.

use super::*;
use crate::migration::ResourceName;
use crate::storage::{Actor, NewEntry, Op};
use crate::sync::Missed;
use crate::sync::test_legacy::{Process, World};

async fn world() -> (World, Process) {
    let world = World::new(Duration::from_secs(30)).await;
    for (id, name) in [("u1", "Ada"), ("u2", "Bob"), ("u3", "Cleo")] {
        world.legacy.put(id, name, 1);
    }
    let process = world.process().await;
    (world, process)
}

async fn reconcile(process: &Process, repair: Option<Authority>) -> Reconciliation {
    process.reconcile.run(&process.users, repair, |_| {}).await.unwrap()
}

fn kinds(found: &Reconciliation) -> Vec<(&str, DifferenceKind)> {
    found.differences.iter().map(|one| (one.row.as_str(), one.kind)).collect()
}

#[tokio::test]
async fn what_differs_is_listed_and_repaired_and_then_both_sides_agree() {
    use DifferenceKind::{Different, Extra, Missing};
    let (world, process) = world().await;
    let found = reconcile(&process, None).await;
    assert_eq!(kinds(&found), [("u1", Missing), ("u2", Missing), ("u3", Missing)]);
    assert_eq!((found.diverged(), found.repaired, found.legacy_rows), (3, 0, 3));
    assert_eq!(process.caught_up.last_reconciled(&process.users.name).unwrap().differ, 3);
    assert_eq!(reconcile(&process, Some(Authority::Legacy)).await.repaired, 3);
    let clean = reconcile(&process, None).await;
    assert_eq!((clean.diverged(), clean.store_rows, clean.differences.len()), (0, 3, 0));
    assert_eq!(process.caught_up.last_reconciled(&process.users.name).unwrap().differ, 0);

    // Behind crossfade's back: a change, a deletion, a row that is new.
    world.legacy.put("u1", "Ada B.", 2);
    world.legacy.rows.lock().unwrap().remove("u2");
    world.legacy.put("u4", "Dora", 1);
    let found = reconcile(&process, Some(Authority::Legacy)).await;
    assert_eq!(kinds(&found), [("u1", Different), ("u2", Extra), ("u4", Missing)]);
    assert_eq!(found.differences[0].cells, ["name", "version"]);
    assert_eq!((found.diverged(), found.repaired), (3, 3));
    assert_eq!(process.name("u1").await.as_deref(), Some("Ada B."));
    assert_eq!(process.name("u2").await, None);
    assert_eq!(reconcile(&process, None).await.diverged(), 0);
    process.stop().await;
}

#[tokio::test]
async fn legacy_is_right_also_where_the_base_says_otherwise() {
    let (world, process) = world().await;
    reconcile(&process, Some(Authority::Legacy)).await;
    // As if legacy was restored from a backup: its version goes back, and the base is ahead of it.
    world.legacy.put("u1", "Ada of tomorrow", 7);
    reconcile(&process, Some(Authority::Legacy)).await;
    assert_eq!(process.name("u1").await.as_deref(), Some("Ada of tomorrow"));
    world.legacy.put("u1", "Ada", 1);
    assert_eq!(reconcile(&process, Some(Authority::Legacy)).await.repaired, 1);
    assert_eq!(process.name("u1").await.as_deref(), Some("Ada"));
    process.stop().await;
}

#[tokio::test]
async fn what_is_on_its_way_lagged_and_has_not_diverged() {
    let (world, process) = world().await;
    reconcile(&process, Some(Authority::Legacy)).await;
    world.legacy.put("u1", "Ada B.", 2);
    // The mirror of that write comes while the row is being looked at again.
    let looks = world.legacy.reads.load(std::sync::atomic::Ordering::SeqCst);
    let mirror = async {
        world.legacy.read(looks + 1).await;
        process.mirror.read(&process.users, RowId::new("u1"), &[]).await.unwrap();
    };
    let (found, ()) = tokio::join!(reconcile(&process, None), mirror);
    assert_eq!((found.lagged, found.diverged()), (1, 0));
    process.stop().await;
}

#[tokio::test]
async fn what_is_owed_is_told_as_owed_and_not_repaired() {
    let (world, process) = world().await;
    reconcile(&process, Some(Authority::Legacy)).await;
    let entry = |row: &str| NewEntry {
        path: PathId::new("org/o_1").unwrap(),
        resource: ResourceName::new("users"),
        row: RowId::new(row),
        cells: Vec::new(),
        actor: Actor { user: "user_1".to_owned(), org_id: None, org_role: None },
        accepted_ms: 1,
    };
    let seqs =
        world.storage.commit(vec![Op::Owe(entry("u1")), Op::Owe(entry("u2"))]).await.unwrap();
    let bury = Op::Bury { seq: seqs[1], error: "no".to_owned() };
    world.storage.commit(vec![bury]).await.unwrap();
    world.legacy.put("u1", "Ada B.", 2);
    world.legacy.put("u2", "Bob B.", 2);
    let found = reconcile(&process, Some(Authority::Legacy)).await;
    let causes: Vec<_> = found.differences.iter().map(|one| one.cause).collect();
    assert_eq!(causes, [DifferenceCause::Owed, DifferenceCause::DeadLetter]);
    assert_eq!((found.owed, found.dead_letters, found.repaired, found.diverged()), (1, 1, 0, 1));
    process.stop().await;
}

#[tokio::test]
async fn a_row_of_another_path_is_missing_there_and_extra_here() {
    let (world, process) = world().await;
    reconcile(&process, Some(Authority::Legacy)).await;
    let moved = |row: &mut serde_json::Value| row["orgId"] = "o_2".into();
    moved(world.legacy.rows.lock().unwrap().get_mut("u1").unwrap());
    let found = reconcile(&process, Some(Authority::Legacy)).await;
    let paths: Vec<_> = found.differences.iter().map(|one| (one.path.as_str(), one.kind)).collect();
    assert_eq!(paths, [("org/o_1", DifferenceKind::Extra), ("org/o_2", DifferenceKind::Missing)]);
    assert_eq!(process.name("u1").await, None);
    assert_eq!(reconcile(&process, None).await.diverged(), 0);
    process.stop().await;
}

#[tokio::test]
async fn a_write_that_is_lost_meanwhile_takes_the_result_with_it() {
    let (_world, process) = world().await;
    let users = process.users.name.clone();
    let lose = || process.caught_up.lose_for_now(&users, Missed::default());
    process.reconcile.run(&process.users, None, |_| lose()).await.unwrap();
    assert_eq!(process.caught_up.last_reconciled(&users), None);
    process.stop().await;
}

#[tokio::test]
async fn more_than_are_looked_at_again_are_counted_and_never_clean() {
    let (world, process) = world().await;
    for n in 0..MAX_SUSPECTS {
        world.legacy.put(&format!("v{n}"), "V", 1);
    }
    let found = reconcile(&process, None).await;
    assert_eq!((found.unverified, found.missing), (3, MAX_SUSPECTS as u64));
    assert_eq!(found.differences.len(), MAX_LISTED);
    assert_eq!(found.diverged(), 3 + MAX_SUSPECTS as u64);
    process.stop().await;
}

use super::*;
use crate::storage::MemoryStorage;

async fn load(storage: &SharedStorage, now_ms: u64) -> CaughtUp {
    CaughtUp::load(storage.clone(), now_ms, Duration::from_millis(5)).await.unwrap()
}

fn by(settled_ms: u64) -> Missed {
    Missed { done_ms: 0, settled_ms }
}

#[tokio::test]
async fn a_store_answers_only_while_nothing_is_missing() {
    let storage: SharedStorage = Arc::new(MemoryStorage::default());
    let (users, org) = (ResourceName::new("users"), PathId::new("org/o_1").unwrap());
    let caught_up = load(&storage, 0).await;
    assert!(!caught_up.may_answer(&users, &org));
    assert!(caught_up.finish(&users, caught_up.begin(&users, u64::MAX)).await.unwrap());
    assert!(caught_up.may_answer(&users, &org));
    // A mirror under way in this path, in another one, and in one that nobody knows.
    let mirror = caught_up.open(&users, None, Some(org.clone()));
    assert!(!caught_up.may_answer(&users, &org));
    drop(mirror);
    let elsewhere = caught_up.open(&users, None, Some(PathId::new("org/o_2").unwrap()));
    assert!(caught_up.may_answer(&users, &org));
    drop(elsewhere);
    let unknown = caught_up.open(&users, None, None);
    assert!(!caught_up.may_answer(&users, &org));
    drop(unknown);
    caught_up.close().await;
    assert!(load(&storage, 0).await.may_answer(&users, &org));
    // A write that was not mirrored, in the middle of a backfill.
    let begun = caught_up.begin(&users, u64::MAX);
    caught_up.lose(&users, Missed::default());
    assert!(!caught_up.may_answer(&users, &org));
    assert!(!caught_up.finish(&users, begun).await.unwrap());
    caught_up.keep(&users).await.unwrap();
    assert!(!load(&storage, 0).await.is(&users));
}

#[tokio::test]
async fn a_process_that_was_killed_with_writes_unrecorded_is_not_believed() {
    let storage: SharedStorage = Arc::new(MemoryStorage::default());
    let users = ResourceName::new("users");
    let killed = load(&storage, 0).await;
    assert!(killed.finish(&users, killed.begin(&users, u64::MAX)).await.unwrap());
    killed.unrecorded(&users);
    killed.idle().await;
    let next = load(&storage, 2).await;
    assert_eq!(next.standing(&users), Standing::Mending { after_ms: 7 });
    // The mark is gone, the loss is not.
    let third = load(&storage, 4).await;
    assert_eq!(third.standing(&users), Standing::Mending { after_ms: 7 });
    // A backfill mends it, and a clean stop leaves it mended.
    assert!(third.finish(&users, third.begin(&users, u64::MAX)).await.unwrap());
    third.unrecorded(&users);
    third.close().await;
    assert!(load(&storage, 0).await.is(&users));
}

#[tokio::test]
async fn a_backfill_that_began_while_a_request_was_out_of_sight_is_done_again() {
    let storage: SharedStorage = Arc::new(MemoryStorage::default());
    let users = ResourceName::new("users");
    let caught_up = load(&storage, 0).await;
    caught_up.lose(&users, Missed::default());
    caught_up.lose_for_now(&users, by(50));
    caught_up.idle().await;
    // Also by the next process.
    let next = load(&storage, 0).await;
    assert!(next.finish(&users, next.begin(&users, 49)).await.unwrap());
    assert_eq!(next.standing(&users), Standing::Mending { after_ms: 50 });
    let came_to = Reconciled { at_ms: 49, rows: 1, differ: 0 };
    next.reconciled(&users, next.begin(&users, 49), came_to).await.unwrap();
    assert_eq!(next.last_reconciled(&users), None);
    assert!(next.finish(&users, next.begin(&users, 50)).await.unwrap());
    assert!(next.is(&users));
}

#[tokio::test]
async fn what_an_operator_has_to_begin_is_not_mended_by_itself() {
    let storage: SharedStorage = Arc::new(MemoryStorage::default());
    let users = ResourceName::new("users");
    let caught_up = load(&storage, 0).await;
    caught_up.lose_for_now(&users, by(5));
    assert_eq!(caught_up.standing(&users), Standing::Unfinished);
    assert!(caught_up.finish(&users, caught_up.begin(&users, u64::MAX)).await.unwrap());
    caught_up.lose_for_now(&users, by(5));
    caught_up.lose_for_now(&users, by(3));
    assert_eq!(caught_up.standing(&users), Standing::Mending { after_ms: 5 });
    caught_up.lose(&users, Missed::default());
    assert_eq!(caught_up.standing(&users), Standing::Unfinished);
}

#[tokio::test(start_paused = true)]
async fn what_was_lost_is_kept_even_if_the_database_fails_at_first() {
    let memory = MemoryStorage::default();
    let storage: SharedStorage = Arc::new(memory.clone());
    let users = ResourceName::new("users");
    let caught_up = load(&storage, 0).await;
    assert!(caught_up.finish(&users, caught_up.begin(&users, u64::MAX)).await.unwrap());
    memory.fail_commits(3);
    caught_up.lose(&users, Missed::default());
    caught_up.idle().await;
    assert!(!load(&storage, 0).await.is(&users));
}

#[tokio::test]
async fn a_kill_while_writes_pass_the_store_by_is_known_to_the_next_process_and_a_stop_is_exact() {
    let storage: SharedStorage = Arc::new(MemoryStorage::default());
    let users = ResourceName::new("users");
    let killed = load(&storage, 0).await;
    let missed = |done_ms| Missed { done_ms, settled_ms: done_ms };
    for done_ms in 10..500 {
        killed.lose(&users, missed(done_ms));
    }
    killed.idle().await;
    let kept = missed(1_010).and(by(1_015));
    assert_eq!(load(&storage, 600).await.missed(&users), kept);
    // Nothing more was kept since the first of them.
    killed.lose(&users, missed(1_009));
    killed.idle().await;
    assert_eq!(load(&storage, 600).await.missed(&users), kept);
    killed.lose(&users, missed(1_011));
    killed.idle().await;
    assert_eq!(load(&storage, 2_000).await.missed(&users), missed(2_011).and(by(2_016)));
    killed.close().await;
    assert_eq!(load(&storage, 2_000).await.missed(&users), missed(1_011));
}

#[tokio::test]
async fn a_backfill_beside_a_write_that_passes_the_store_by_is_done_again() {
    let storage: SharedStorage = Arc::new(MemoryStorage::default());
    let users = ResourceName::new("users");
    let caught_up = load(&storage, 0).await;
    let passing = caught_up.pass_by(&users, 20);
    assert!(caught_up.finish(&users, caught_up.begin(&users, 21)).await.unwrap());
    // It may be done until 25, and this process may be killed before it hears of it.
    assert_eq!(caught_up.standing(&users), Standing::Mending { after_ms: 25 });
    assert_eq!(load(&storage, 22).await.standing(&users), Standing::Mending { after_ms: 25 });
    // Its answer does not ask an operator for what is done anyhow.
    caught_up.lose_for_now(&users, Missed { done_ms: 24, settled_ms: 24 });
    drop(passing);
    assert_eq!(caught_up.standing(&users), Standing::Mending { after_ms: 25 });
    assert!(caught_up.finish(&users, caught_up.begin(&users, 25)).await.unwrap());
    assert!(caught_up.is(&users));
}

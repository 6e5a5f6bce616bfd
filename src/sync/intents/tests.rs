//! What is kept of writes under way, with a database that is fast, slow, broken.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::clock::{SystemClock, SystemEntropy};
use crate::storage::MemoryStorage;
use crate::sync::caught_up::Standing;

struct World {
    memory: MemoryStorage,
    storage: SharedStorage,
    caught_up: CaughtUp,
    intents: Intents,
    users: ResourceName,
}

async fn world() -> World {
    let memory = MemoryStorage::default();
    let storage: SharedStorage = Arc::new(memory.clone());
    let users = ResourceName::new("users");
    let caught_up = CaughtUp::load(storage.clone(), 0, Duration::ZERO).await.unwrap();
    assert!(caught_up.finish(&users, caught_up.begin(&users, u64::MAX)).await.unwrap());
    let intents = Intents::new(IntentParts {
        storage: storage.clone(),
        caught_up: caught_up.clone(),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        settle: Duration::from_secs(30),
    });
    World { memory, storage, caught_up, intents, users }
}

impl World {
    async fn kept(&self) -> Vec<Option<RowId>> {
        let open = self.storage.open_intents(10).await.unwrap();
        open.into_iter().map(|intent| intent.row).collect()
    }

    async fn open(&self, row: &str) -> OpenIntent {
        self.intents.open(&self.users, Some(RowId::new(row)), None).await
    }

    /// What the next process makes of it.
    async fn next(&self) -> Standing {
        self.caught_up.idle().await;
        let next = CaughtUp::load(self.storage.clone(), 0, Duration::ZERO).await.unwrap();
        next.standing(&self.users)
    }
}

#[tokio::test(start_paused = true)]
async fn an_intent_is_kept_until_its_mirror_is_done() {
    let world = world().await;
    let org = PathId::new("org/o_1").unwrap();
    let (one, other) = (world.open("a").await, world.intents.open(&world.users, None, None).await);
    assert_eq!(world.kept().await.len(), 2);
    assert!(!world.caught_up.may_answer(&world.users, &org));
    one.done();
    world.intents.idle().await;
    assert_eq!(world.kept().await, [None]);
    assert!(!world.caught_up.may_answer(&world.users, &org), "the other one is under way");
    other.done();
    world.intents.idle().await;
    assert_eq!(world.kept().await, []);
    assert!(world.caught_up.may_answer(&world.users, &org));
    assert_eq!(world.next().await, Standing::Finished);
}

#[tokio::test(start_paused = true)]
async fn a_slow_database_holds_nobody_and_the_write_is_marked_instead() {
    let world = world().await;
    let held = world.memory.hold_commits().await;
    let before = tokio::time::Instant::now();
    let open = world.open("a").await;
    assert_eq!(before.elapsed(), KEEP_WAIT, "simulated time");
    assert_eq!(world.kept().await, []);
    drop(held);
    world.caught_up.idle().await;
    assert!(matches!(world.next().await, Standing::Mending { .. }), "a kill now is told");
    open.done();
    world.intents.idle().await;
    assert_eq!(world.kept().await, []);
}

#[tokio::test(start_paused = true)]
async fn so_many_wait_for_a_database_that_hangs_and_no_more() {
    let world = world().await;
    let held = world.memory.hold_commits().await;
    let mut open = Vec::new();
    for row in 0..=MAX_KEEPING {
        open.push(world.open(&row.to_string()).await);
    }
    let before = tokio::time::Instant::now();
    open.push(world.open("one more").await);
    assert_eq!(before.elapsed(), Duration::ZERO, "nothing to wait for");
    drop(held);
    open.into_iter().for_each(OpenIntent::done);
    world.intents.idle().await;
    assert_eq!(world.kept().await, []);
}

#[tokio::test(start_paused = true)]
async fn done_intents_are_taken_out_once_the_database_can_be_written() {
    let world = world().await;
    let open = world.open("a").await;
    world.memory.fail_commits(3);
    open.done();
    world.intents.idle().await;
    assert_eq!(world.kept().await, []);
}

#[tokio::test(start_paused = true)]
async fn of_what_nobody_says_a_word_the_store_is_not_believed() {
    let world = world().await;
    drop(world.open("a").await);
    assert!(matches!(world.caught_up.standing(&world.users), Standing::Mending { .. }));
    // Left to the next process, which reads the row again.
    assert!(
        world
            .caught_up
            .finish(&world.users, world.caught_up.begin(&world.users, u64::MAX))
            .await
            .unwrap()
    );
    world.open("b").await.leave();
    world.intents.idle().await;
    assert_eq!(world.kept().await, [Some(RowId::new("b"))]);
    assert_eq!(world.next().await, Standing::Finished);
}

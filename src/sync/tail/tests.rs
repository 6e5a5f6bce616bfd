//! Writes past crossfade, against a small legacy API.

use std::sync::atomic::Ordering;

use http::{HeaderMap, StatusCode};

use super::poll::Kept;
use super::*;
use crate::migration::{Answer, Body, Failure};
use crate::resource::{FollowSpec, Version};
use crate::storage::{Actor, NewEntry, Op};
use crate::sync::Standing;
use crate::sync::test_legacy::{Process, World, until};

const TAIL: &str = "\n[resource.tail]\nby = \"updatedAt\"\npoll_ms = 5\nsweep_s = 3600\n";
const NOON: &str = "2026-01-01T12:00:00.000Z";

fn config() -> String {
    format!("{}{TAIL}", include_str!("../../../docs/crossfade.example.toml"))
}

async fn world() -> (World, Process) {
    let world = World::new(Duration::from_secs(30)).await;
    for (id, name) in [("u1", "Ada"), ("u2", "Bob"), ("u3", "Cleo")] {
        world.legacy.put_at(id, name, 1, NOON);
    }
    let process = world.process_of(&config()).await;
    (world, process)
}

impl Process {
    fn follow(&self) -> FollowSpec {
        self.users.tail.as_ref().unwrap().follow.clone().unwrap()
    }

    async fn poll(&self) -> bool {
        self.tail.poll(&self.users, &self.follow(), &mut Kept::read_already()).await
    }

    async fn sweep(&self) -> bool {
        self.tail.sweep(&self.users).await
    }

    fn told(&self) -> TailState {
        self.tail.states()[&self.users.name].clone()
    }

    fn counts(&self) -> [u64; 5] {
        let TailProgress { made, changed, gone, left, stale, .. } = self.told().progress;
        [made, changed, gone, left, stale]
    }

    async fn unmapped(&self, row: Option<&str>, outcome: Result<u16, Failure>) {
        let name = &self.users.name;
        let row = match row {
            Some(row) => Some((RowId::new(row), self.open(row).await)),
            None => None,
        };
        let of_rows = self.intents.open(name, None, None).await;
        let answer = outcome.map(|status| Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Body::Whole("{}".into()),
        });
        let tapped = Tapped::of("".into(), &answer);
        let write = UnmappedWrite { resource: self.users.clone(), row, of_rows, sent_ms: 0 };
        self.tail.unmapped(write, &tapped);
    }
}

#[tokio::test]
async fn a_poll_sees_what_is_new_and_what_is_changed_and_asks_for_no_more_than_that() {
    let (world, process) = world().await;
    assert!(process.sweep().await && process.poll().await);
    assert_eq!(process.counts(), [3, 0, 0, 0, 0]);
    assert_eq!(process.told().progress.watermark.as_deref(), Some(NOON));
    world.legacy.put_at("u1", "Ada B.", 2, "2026-01-01T12:00:01.000Z");
    world.legacy.put_at("u4", "Dora", 1, "2026-01-01T12:00:02.000Z");
    assert!(process.poll().await);
    assert_eq!(process.name("u1").await.as_deref(), Some("Ada B."));
    assert_eq!(process.name("u4").await.as_deref(), Some("Dora"));
    assert_eq!(process.counts(), [4, 1, 0, 0, 0]);
    // What was seen within the overlap costs the paths nothing.
    assert!(process.poll().await);
    assert_eq!(process.counts(), [4, 1, 0, 0, 0]);
    let lists = world.legacy.lists.lock().unwrap().clone();
    let (polls, sweeps): (Vec<_>, Vec<_>) =
        lists.iter().partition(|list| list.contains("limit=20"));
    assert!(polls.iter().all(|list| list.ends_with("offset=0&sort=-updatedAt")), "{polls:?}");
    assert_eq!((polls.len(), sweeps.len()), (3, 1));
    process.stop().await;
}

#[tokio::test]
async fn a_poll_goes_back_as_far_as_the_watermark_and_the_overlap_and_no_further() {
    let (world, process) = world().await;
    for n in 0..300 {
        world.legacy.put_at(&format!("z{n}"), "Z", 1, "2026-01-01T09:00:00.000Z");
    }
    assert!(process.sweep().await && process.poll().await);
    for n in 0..130 {
        let at = format!("2026-01-01T12:{:02}:{:02}.000Z", 10 + n / 60, n % 60);
        world.legacy.put_at(&format!("v{n}"), "V", 1, &at);
    }
    // Committed late: older than what is known, and within the overlap.
    world.legacy.put_at("late", "Late", 1, "2026-01-01T11:59:56.000Z");
    // Older than that: a sweep's.
    world.legacy.put_at("z299", "Z B.", 2, "2026-01-01T08:00:00.000Z");
    let before = world.legacy.lists.lock().unwrap().len();
    assert!(process.poll().await);
    assert_eq!(process.counts(), [303 + 131, 0, 0, 0, 0]);
    assert_eq!(process.name("late").await.as_deref(), Some("Late"));
    let polls = world.legacy.lists.lock().unwrap()[before..].to_vec();
    let offsets: Vec<_> = polls.iter().filter_map(|list| list.split('&').nth(1)).collect();
    assert_eq!(offsets, ["offset=0", "offset=12", "offset=104"], "each begins in the one before");
    assert_eq!(process.name("z299").await.as_deref(), Some("Z"));
    assert!(process.sweep().await);
    assert_eq!(process.name("z299").await.as_deref(), Some("Z B."));
    process.stop().await;
}

#[tokio::test]
async fn a_sweep_takes_out_what_is_gone_and_leaves_what_is_owed_or_under_way() {
    let (world, process) = world().await;
    assert!(process.sweep().await);
    for row in ["u1", "u2", "u3"] {
        world.legacy.delete(row);
    }
    let mirror = process.open("u2").await;
    let name = process.users.name.clone();
    let (path, row) = (crate::migration::PathId::new("org/o_1").unwrap(), RowId::new("u3"));
    let entry = NewEntry {
        path: path.clone(),
        resource: name.clone(),
        row,
        cells: Vec::new(),
        actor: Actor { user: "ada".to_owned(), org_id: None, org_role: None },
        accepted_ms: 0,
    };
    let seq = world.storage.commit(vec![Op::Owe(entry)]).await.unwrap()[0];
    assert!(process.sweep().await);
    assert_eq!(process.counts(), [3, 0, 1, 2, 0]);
    assert_eq!(process.name("u1").await, None);
    assert_eq!(process.name("u2").await.as_deref(), Some("Bob"));
    assert_eq!(process.name("u3").await.as_deref(), Some("Cleo"));
    mirror.done();
    world.storage.commit(vec![Op::Settle(seq)]).await.unwrap();
    assert!(process.sweep().await);
    assert_eq!((process.name("u2").await, process.name("u3").await), (None, None));
    process.stop().await;
}

#[tokio::test]
async fn a_row_that_moves_to_another_path_leaves_the_one_that_it_was_in() {
    let (world, process) = world().await;
    assert!(process.sweep().await && process.poll().await);
    world.legacy.put_in("o_2", ("u1", "Ada", 2), "2026-01-01T12:00:01.000Z");
    assert!(process.poll().await);
    assert_eq!(process.name("u1").await, None);
    assert_eq!(process.name_in("o_2", "u1").await.as_deref(), Some("Ada"));
    process.stop().await;
}

#[tokio::test]
async fn another_process_goes_on_where_this_one_was() {
    let (world, process) = world().await;
    let mut kept = Kept::default();
    assert!(process.tail.poll(&process.users, &process.follow(), &mut kept).await);
    kept.keep(&process.tail, &process.users, &process.follow(), Duration::ZERO).await;
    process.stop().await;
    let next = world.process_of(&config()).await;
    let polls = world.legacy.lists.lock().unwrap().len();
    let mut kept = Kept::default();
    world.legacy.put_at("u1", "Ada B.", 2, "2026-01-01T12:00:01.000Z");
    assert!(next.tail.poll(&next.users, &next.follow(), &mut kept).await);
    assert_eq!(world.legacy.lists.lock().unwrap().len(), polls + 1);
    let at = next.told().progress.watermark;
    assert_eq!(at.as_deref(), Some("2026-01-01T12:00:01.000Z"));
    // Of another cell than it was kept for it says nothing.
    let other = FollowSpec { by: "createdAt".into(), ..next.follow() };
    let mut kept = Kept::default();
    kept.read(&next.tail, &next.users, &other).await.unwrap();
    assert_eq!(next.told().progress.watermark, None);
    next.stop().await;
}

#[tokio::test]
async fn a_list_that_is_not_sorted_is_not_believed_and_a_row_from_the_future_hides_nothing() {
    let (world, process) = world().await;
    assert!(process.sweep().await && process.poll().await);
    world.legacy.put_at("u3", "Cleo, of tomorrow", 2, "2999-01-01T00:00:00.000Z");
    assert!(process.poll().await);
    let watermark = process.told().progress.watermark.unwrap();
    assert!(Version::of_text(&watermark) < Version::of_text("2999-01-01T00:00:00Z"));
    world.legacy.sorts.store(false, Ordering::SeqCst);
    assert!(!process.poll().await);
    assert!(process.told().error.unwrap().contains("not sorted by `updatedAt`"));
    world.legacy.sorts.store(true, Ordering::SeqCst);
    assert!(process.poll().await);
    assert_eq!(process.told().error, None);
    process.stop().await;
}

#[tokio::test]
async fn where_the_list_cannot_be_sorted_a_filter_leaves_out_what_is_old() {
    let world = World::new(Duration::from_secs(30)).await;
    world.legacy.sorts.store(false, Ordering::SeqCst);
    for n in 0..10 {
        world.legacy.put_at(&format!("u{n}"), "U", 1, NOON);
    }
    let filter = "  { param = \"since\", cell = \"updatedAt\", op = \"ge\" },\n  { param = \"q\"";
    let unsorted = config().replace(", \"updatedAt\"]", "]").replace("  { param = \"q\"", filter);
    let process = world.process_of(&unsorted).await;
    assert!(process.poll().await);
    assert_eq!(process.counts(), [10, 0, 0, 0, 0], "the first look of all reads everything");
    world.legacy.put_at("u5", "U5", 2, "2026-01-01T13:00:00.000Z");
    for _ in 0..2 {
        assert!(process.poll().await);
        assert_eq!(process.counts(), [10, 1, 0, 0, 0]);
    }
    let last = world.legacy.lists.lock().unwrap().last().unwrap().clone();
    assert!(last.ends_with("&since=2026-01-01T12%3A59%3A55.000Z"), "{last}");
    process.stop().await;
}

#[tokio::test]
async fn a_list_that_lacks_most_rows_is_taken_for_a_fault() {
    let (world, process) = world().await;
    for n in 0..40 {
        world.legacy.put_at(&format!("v{n}"), "V", 1, NOON);
    }
    assert!(process.sweep().await);
    let rows = world.legacy.rows.lock().unwrap().split_off("u3");
    assert!(!process.sweep().await);
    let error = process.told().error.unwrap();
    assert!(error.contains("41 of the store's 43 rows") && error.contains("crossfade backfill"));
    assert_eq!(process.counts()[2], 0);
    world.legacy.rows.lock().unwrap().extend(rows.into_iter().skip(25));
    assert!(!process.sweep().await, "25 of 43");
    for n in 0..6 {
        world.legacy.put_at(&format!("v{n}"), "V", 1, NOON);
    }
    assert!(process.sweep().await);
    assert_eq!(process.told().error, None);
    process.stop().await;
}

#[tokio::test]
async fn a_row_that_the_store_cannot_take_takes_it_out_of_service() {
    let (world, process) = world().await;
    assert!(process.sweep().await && process.poll().await);
    world.legacy.put_at("u4", "Dora", 1, "2026-01-01T12:00:01.000Z");
    world.legacy.rows.lock().unwrap().get_mut("u4").unwrap()["active"] = "perhaps".into();
    assert!(!process.poll().await);
    assert_eq!(process.caught_up.standing(&process.users.name), Standing::Unfinished);
    assert_eq!(process.tail.may_look(&process.users.name), Err(TailWait::Backfill));
    process.stop().await;
}

#[tokio::test]
async fn an_unmapped_write_has_the_list_read_and_nobody_is_answered_before() {
    let (world, process) = world().await;
    assert!(process.sweep().await && process.poll().await);
    process.unmapped(None, Ok(200)).await;
    assert!(!process.may_answer());
    world.legacy.put_at("u4", "Dora", 1, NOON);
    world.legacy.delete("u1");
    let (stop, stopping) = watch::channel(false);
    let running = tokio::spawn(run(process.tail.clone(), stopping));
    until(|| process.may_answer()).await;
    assert_eq!(process.name("u4").await.as_deref(), Some("Dora"));
    assert_eq!(process.name("u1").await, None);
    // What legacy refused has changed nothing.
    process.unmapped(None, Ok(422)).await;
    assert!(process.may_answer());
    stop.send(true).unwrap();
    running.await.unwrap();
    process.stop().await;
}

#[tokio::test]
async fn a_path_that_names_a_row_has_that_one_read_and_one_that_only_seems_to_has_the_list_read() {
    let (world, process) = world().await;
    assert!(process.sweep().await && process.poll().await);
    let lists = world.legacy.lists.lock().unwrap().len();
    world.legacy.put_at("u1", "Ada B.", 2, NOON);
    process.unmapped(Some("u1"), Ok(204)).await;
    until(|| process.may_answer()).await;
    assert_eq!(process.name("u1").await.as_deref(), Some("Ada B."));
    assert_eq!(world.legacy.lists.lock().unwrap().len(), lists);
    // As in `POST /users/import`.
    process.unmapped(Some("import"), Ok(200)).await;
    until(|| process.told().progress.asked == 1).await;
    assert!(!process.may_answer());
    assert!(process.sweep().await);
    assert!(process.may_answer());
    process.stop().await;
}

#[tokio::test]
async fn a_write_of_which_nobody_knows_what_became_has_the_store_mended() {
    let (_world, process) = world().await;
    let lost = Failure::Timeout(Duration::from_secs(1));
    process.unmapped(None, Err(lost)).await;
    assert!(matches!(process.caught_up.standing(&process.users.name), Standing::Mending { .. }));
    process.stop().await;
}

#[tokio::test]
async fn so_many_writes_wait_for_a_sweep_and_a_backfill_mends_for_the_rest() {
    let (world, process) = world().await;
    for _ in 0..4 {
        process.unmapped(None, Ok(200)).await;
    }
    assert_eq!(process.told().progress.asked, 4);
    assert!(process.caught_up.is(&process.users.name));
    process.unmapped(None, Ok(200)).await;
    assert!(matches!(process.caught_up.standing(&process.users.name), Standing::Mending { .. }));
    // While the store is not believed anyhow, one stands for all.
    process.unmapped(None, Ok(200)).await;
    assert_eq!(process.told().progress.asked, 1);
    process.stop().await;
    // What was asked for is left to the next process, which mends the store.
    let next = world.process_of(&config()).await;
    assert!(matches!(next.caught_up.standing(&next.users.name), Standing::Mending { .. }));
    next.stop().await;
}

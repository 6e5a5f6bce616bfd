//! What is refused of a user, how much of it, and what is left of it.

use mergeable_store::Changes;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::*;
use crate::sync::refusals::ALLOWED;

/// Counts what happens in this thread, in which the test and its path run, while the guard lives.
macro_rules! counting {
    ($counts:ident) => {
        let recorder = PrometheusBuilder::new().build_recorder();
        let $counts = Counts(recorder.handle());
        let _guard = metrics::set_default_local_recorder(&recorder);
    };
}

struct Counts(PrometheusHandle);

impl Counts {
    fn assert(&self, counter: &str, count: usize) {
        let all = self.0.render();
        assert!(all.contains(&format!("{counter} {count}\n")), "{counter} {count}: {all}");
    }
}

const TOO_LARGE: &str = "crossfade_sync_refused_cells_total{reason=\"cell-too-large\"}";
const UNKNOWN_CELL: &str = "crossfade_sync_refused_cells_total{reason=\"cell-not-mapped\"}";

impl Client {
    /// Writes what the schema does not know, in one message.
    async fn set_unknown(&mut self, cells: usize) {
        let edit = self.engine.edit(now(), &mut random(), |tx| {
            (0..cells).try_for_each(|n| tx.set_cell("users", "u1", format!("c{n}"), "x"))
        });
        self.send(edit.unwrap().1).await;
    }
}

#[tokio::test]
async fn a_cell_of_the_greatest_size_is_taken_and_a_longer_one_goes_back() {
    counting!(counts);
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let (mut a, mut b) = (world.client("a").await, world.client("b").await);
    let greatest = "é".repeat(1 << 19);
    a.set("name", &greatest).await;
    b.sees("name", Some(&greatest)).await;
    a.set("name", &format!("{greatest}x")).await;
    a.sees("name", Some(&greatest)).await;
    counts.assert(TOO_LARGE, 1);
    // Both go on.
    a.set("name", "Grace").await;
    b.sees("name", Some("Grace")).await;
    b.set("name", "Joan").await;
    a.sees("name", Some("Joan")).await;
    assert_eq!(world.cell("name").await, Some("Joan".into()));
}

#[tokio::test]
async fn an_id_that_is_too_long_closes_its_client_and_leaves_nothing() {
    counting!(counts);
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let (longest, long) = ("é".repeat(512), "é".repeat(513));
    let before = world.path().await.hashes().await.unwrap();
    for [table, row, cell] in [["users", "u1", &long], ["users", &long, "name"], [&long, "r", "c"]]
    {
        let mut a = world.client("a").await;
        let edit = a.engine.edit(now(), &mut random(), |tx| {
            tx.set_cell("users", "u1", "name", "Grace")?;
            tx.set_cell(table, row, cell, "x")
        });
        a.send(edit.unwrap().1).await;
        assert_eq!(a.closed().await, CloseReason::id_too_long());
        a.path.disconnect(a.id.clone()).await.unwrap();
    }
    assert_eq!(world.path().await.hashes().await.unwrap(), before);
    counts.assert("crossfade_sync_long_ids_total", 3);
    // One that is not goes the way of what is unknown.
    let mut a = world.client("a").await;
    let edit =
        a.engine.edit(now(), &mut random(), |tx| tx.set_cell("users", "u1", longest.as_str(), "x"));
    a.send(edit.unwrap().1).await;
    a.sees(&longest, None).await;
    counts.assert(UNKNOWN_CELL, 1);
}

#[tokio::test]
async fn who_has_more_refused_than_may_be_is_closed_and_may_not_write_for_a_while() {
    counting!(counts);
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let mut b = world.client("b").await;
    let before = world.path().await.hashes().await.unwrap();
    let mut a = world.client("a").await;
    a.set_unknown(ALLOWED + 1).await;
    assert_eq!(a.closed().await, CloseReason::too_many_refused());
    assert_eq!(world.path().await.hashes().await.unwrap(), before, "nothing of it is merged");
    counts.assert("crossfade_sync_suspended_total", 1);
    a.path.disconnect(a.id.clone()).await.unwrap();

    // On another connection too, and whatever it writes; but it may read.
    let mut again = world.client("a").await;
    b.set("name", "Grace").await;
    again.sees("name", Some("Grace")).await;
    again.set("name", "Mallory").await;
    assert_eq!(again.closed().await, CloseReason::too_many_refused());
    counts.assert("crossfade_sync_suspended_total", 1);
    // Others are not concerned.
    b.set_unknown(3).await;
    b.sees("c2", None).await;
    b.set("name", "Joan").await;
    let mut c = world.client("c").await;
    c.sees("name", Some("Joan")).await;
}

#[tokio::test]
async fn what_is_refused_adds_up_over_messages() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let mut a = world.client("a").await;
    a.set_unknown(ALLOWED).await;
    a.sees(&format!("c{}", ALLOWED - 1), None).await;
    // One or two may be allowed again by now, not so many.
    a.set_unknown(ALLOWED / 2).await;
    assert_eq!(a.closed().await, CloseReason::too_many_refused());
}

/// Another content under the stamp of somebody else's edit: the edit stays, and stays owed.
#[tokio::test]
async fn a_forged_stamp_does_not_take_away_what_somebody_else_is_owed() {
    counting!(counts);
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let (mut a, mut b) = (world.client("a").await, world.client("b").await);
    a.set("name", "Grace").await;
    b.sees("name", Some("Grace")).await;
    let (_, stamp) = b.engine.store().stamp("users", "u1", "name").unwrap();
    let mut forged = Changes::new();
    forged.set_cell("users", "u1", "name", Some("Mallory".into()), stamp);
    b.send(vec![format!("\n[\"abcdefghijk\",3,{}]", forged.to_json())]).await;
    a.until(|engine| engine.store().stamp("users", "u1", "name").unwrap().1 > stamp).await;
    counts.assert("crossfade_sync_refused_cells_total{reason=\"stamp-taken\"}", 1);
    assert_eq!(world.cell("name").await, Some("Grace".into()));
    let pending = world.pending().await;
    let mut prepared = Vec::new();
    for seq in &pending {
        prepared.push(world.prepare(*seq).await);
    }
    let body = serde_json::json!({"name": "Grace"});
    assert_eq!(prepared.last(), Some(&Prepared::Update(body)), "{prepared:?}");
}

/// What a role may not write comes back to its client, and is neither owed nor shown to others.
#[tokio::test]
async fn a_client_whose_role_may_not_write_goes_back_by_itself() {
    counting!(counts);
    let users = resource_with(
        "\n[resource.write.roles]\nadmin = { cells = [\"*\"], create = true, delete = true }\n",
    );
    let storage = MemoryStorage::default();
    let world = World::of(storage, Arc::new(SystemClock), Durability::Committed, users);
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let mut admin = world.client_as("admin", Some("org:admin")).await;
    let mut viewer = world.client_as("viewer", Some("org:viewer")).await;
    viewer.set("name", "Mallory").await;
    viewer.sees("name", Some("Ada")).await;
    let deletion = viewer.engine.edit(now(), &mut random(), |tx| tx.del_row("users", "u1"));
    viewer.send(deletion.unwrap().1).await;
    viewer.sees("name", Some("Ada")).await;
    let creation =
        viewer.engine.edit(now(), &mut random(), |tx| tx.set_cell("users", "u9", "name", "New"));
    viewer.send(creation.unwrap().1).await;
    viewer.until(|engine| !engine.store().has_row("users", "u9")).await;
    // One edit, ten cells of the deleted row, one of the new one.
    counts.assert("crossfade_sync_refused_cells_total{reason=\"role-may-not-write\"}", 12);
    assert_eq!(world.pending().await, []);
    admin.set("name", "Grace").await;
    viewer.sees("name", Some("Grace")).await;
    admin.until(|engine| engine.store().has_row("users", "u1")).await;
    assert_eq!(world.pending().await.len(), 1);
    assert_eq!(viewer.engine.store().hashes(), world.path().await.hashes().await.unwrap());
}

//! Batches, their commits, and who is told what before and after.

use futures_util::FutureExt as _;

use super::*;

/// Lets the path's task do what it can.
async fn turn() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

/// Takes part in the exchange until nobody has anything to say.
async fn quiet(client: &mut Client) {
    let mut told = true;
    while std::mem::take(&mut told) {
        client.path.settled().await.unwrap();
        while let Some(end) = client.next().now_or_never() {
            assert_eq!(end, None);
            told = true;
        }
    }
}

async fn stored_name(world: &World) -> Option<String> {
    let path = PathId::new("org/org_1").unwrap();
    let stored = world.storage.read_path(path, None, None).await.unwrap();
    let name = stored.cells.into_iter().find(|record| record.cell == "name");
    name.and_then(|record| record.value)
}

fn relaxed() -> World {
    World::made(MemoryStorage::default(), Arc::new(SystemClock), Durability::Relaxed)
}

#[tokio::test]
async fn what_came_during_a_commit_is_one_batch_and_leaves_in_one_frame() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let (mut a, mut b) = (world.client("a").await, world.client("b").await);
    let mut c = world.client("c").await;
    quiet(&mut c).await;
    let frames = c.frames;
    let held = world.storage.hold_commits().await;
    a.set("name", "first").await;
    turn().await;
    for name in ["second", "third"] {
        a.set("name", name).await;
        b.set("role", "admin").await;
        b.set("email", &format!("{name}@example.test")).await;
    }
    turn().await;
    drop(held);
    c.sees("name", Some("third")).await;
    c.sees("role", Some("admin")).await;
    c.sees("email", Some("third@example.test")).await;
    assert_eq!(c.frames - frames, 2);
    a.sees("role", Some("admin")).await;
    b.sees("name", Some("third")).await;
    let hashes = world.path().await.hashes().await.unwrap();
    for client in [&a, &b, &c] {
        assert_eq!(client.engine.store().hashes(), hashes);
    }
}

#[tokio::test]
async fn a_read_shows_what_is_committed_and_does_not_wait_for_what_came_before_it() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let mut a = world.client("a").await;
    let held = world.storage.hold_commits().await;
    a.set("name", "first").await;
    turn().await;
    a.set("name", "second").await;
    let path = world.path().await;
    let name = |store: &MergeableStore| store.get_cell("users", "u1", "name").map(CellRef::to_cell);
    let reading = tokio::spawn(async move { path.read(name).await });
    turn().await;
    assert!(!reading.is_finished(), "memory holds what is not durable");
    drop(held);
    assert_eq!(reading.await.unwrap().unwrap(), Some("first".into()));
    a.path.settled().await.unwrap();
    assert_eq!(world.cell("name").await, Some("second".into()));
}

#[tokio::test]
async fn committed_nobody_is_told_before_the_commit() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let (mut a, mut b) = (world.client("a").await, world.client("b").await);
    quiet(&mut b).await;
    let held = world.storage.hold_commits().await;
    a.set("name", "Grace").await;
    turn().await;
    assert!(b.source.next().now_or_never().is_none());
    drop(held);
    b.sees("name", Some("Grace")).await;
    assert_eq!(stored_name(&world).await.as_deref(), Some(r#""Grace""#));
}

#[tokio::test]
async fn relaxed_clients_are_told_at_once_and_the_commits_follow_in_order() {
    let world = relaxed();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let (mut a, mut b) = (world.client("a").await, world.client("b").await);
    quiet(&mut b).await;
    let held = world.storage.hold_commits().await;
    for name in ["first", "second", "third"] {
        a.set("name", name).await;
        b.sees("name", Some(name)).await;
    }
    assert_eq!(stored_name(&world).await.as_deref(), Some(r#""Ada""#));
    // A REST answer waits, whatever the durability: 2xx is a promise.
    let path = world.path().await;
    let row = LegacyRow { row: RowId::new("u1"), now: Some(user("Ada", 2.0)) };
    let name = world.users.name.clone();
    let applying =
        tokio::spawn(async move { path.apply(name, vec![row], request(&["age"])).await });
    turn().await;
    assert!(!applying.is_finished());
    drop(held);
    assert_eq!(applying.await.unwrap().unwrap(), [Applied::Taken]);
    assert_eq!(stored_name(&world).await.as_deref(), Some(r#""third""#));
    // Each edit is owed under the number that its own commit gave it.
    let pending = world.pending().await;
    assert_eq!(pending.len(), 3);
    assert_eq!(world.prepare(pending[0]).await, Prepared::Superseded);
    let body = serde_json::json!({"name": "third"});
    assert_eq!(world.prepare(pending[2]).await, Prepared::Update(body));
}

#[tokio::test]
async fn relaxed_a_failed_commit_drops_memory_and_closes_everybody() {
    let world = relaxed();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let (mut a, mut b) = (world.client("a").await, world.client("b").await);
    quiet(&mut b).await;
    let held = world.storage.hold_commits().await;
    world.storage.fail_commits(1);
    a.set("name", "first").await;
    b.sees("name", Some("first")).await;
    a.set("name", "second").await;
    let path = world.path().await;
    let settling = tokio::spawn(async move { path.settled().await });
    turn().await;
    drop(held);
    assert!(settling.await.unwrap().is_err(), "what was merged since is not kept either");
    assert_eq!(a.closed().await, CloseReason::not_kept());
    assert_eq!(b.closed().await, CloseReason::not_kept());
    assert_eq!(world.cell("name").await, Some("Ada".into()));
    assert_eq!(world.pending().await, []);
}

#[tokio::test]
async fn frames_wait_while_the_path_has_too_many_bytes_to_take() {
    let world = World::new();
    let a = world.client("a").await;
    a.path.settled().await.unwrap();
    let held = world.storage.hold_commits().await;
    let mut b = world.client("b").await;
    b.set("name", "Ada").await;
    turn().await;
    // Too long to be valid: a connection that sends it is closed, but only once it is looked at.
    let long = "x".repeat(QUEUE_BYTES as usize / 2 + 1);
    a.path.frame(a.id.clone(), &long).await.unwrap();
    let (path, id) = (a.path.clone(), a.id.clone());
    let waiting = tokio::spawn(async move { path.frame(id, &long).await });
    turn().await;
    assert!(!waiting.is_finished());
    drop(held);
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_loads_a_large_store_holds_up_nobody() {
    let world = World::new();
    let path = world.path().await;
    for part in 0..20 {
        let rows = (0..500).map(|n| {
            let id = format!("u{part}-{n}");
            let mut cells = user(&"x".repeat(100), 1.0);
            cells.insert("id", id.as_str().into());
            LegacyRow { row: RowId::new(id), now: Some(cells) }
        });
        path.apply(world.users.name.clone(), rows.collect(), read()).await.unwrap();
    }
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let mut a = world.client("a").await;
    quiet(&mut a).await;
    // The newcomer has its first answer, and takes nothing more for now.
    let newcomer = world.client("b").await;
    a.set("name", "Grace").await;
    a.path.settled().await.unwrap();
    assert_eq!(world.cell("name").await, Some("Grace".into()));
    let rows = |client: &Client| client.engine.store().row_count("users");
    assert!(rows(&newcomer) > 0 && rows(&newcomer) < 10_001, "{}", rows(&newcomer));
    let hashes = path.hashes().await.unwrap();
    let mut newcomer = newcomer;
    newcomer.until(|engine| engine.store().hashes() == hashes).await;
    assert_eq!(rows(&newcomer), 10_001);
    assert_eq!(rows(&a), 10_001);
}

//! When a path is in memory, and when not.

use super::*;

const IDLE: Duration = Duration::from_secs(300);

#[tokio::test]
async fn many_who_want_a_path_load_it_once() {
    let world = World::new();
    let paths = futures_util::future::join_all((0..50).map(|_| world.path())).await;
    assert!(paths.iter().all(|path| Arc::ptr_eq(&path.0, &paths[0].0)));
}

#[tokio::test]
async fn a_path_that_loads_slowly_delays_no_other() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let held = world.storage.hold_loads().await;
    let (registry, slow) = (world.registry.clone(), PathId::new("org/slow").unwrap());
    let loading = tokio::spawn(async move { registry.get(&slow).await });
    tokio::task::yield_now().await;
    world.apply(Some(user("Grace", 2.0)), read()).await;
    assert_eq!(world.cell("name").await, Some("Grace".into()));
    assert!(!loading.is_finished());
    drop(held);
    loading.await.unwrap().unwrap();
}

async fn wait(duration: Duration) {
    tokio::time::sleep(duration).await;
    // The path's own timer may be due in the same moment.
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_path_that_nobody_uses_leaves_memory_and_comes_back_as_it_was() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    wait(IDLE / 2).await;
    assert_eq!(world.cell("name").await, Some("Ada".into()));
    wait(IDLE / 2).await;
    assert_eq!(world.registry.loaded().len(), 1, "it was used meanwhile");
    wait(IDLE).await;
    assert_eq!(world.registry.loaded().len(), 0);
    assert_eq!(world.cell("name").await, Some("Ada".into()));
}

#[tokio::test(start_paused = true)]
async fn a_path_stays_in_memory_while_somebody_holds_it_or_something_is_owed() {
    let world = World::new();
    world.apply(Some(user("Ada", 1.0)), read()).await;
    let held = world.path().await;
    wait(IDLE * 2).await;
    held.hashes().await.unwrap();
    drop(held);
    let mut a = world.client("a").await;
    wait(IDLE * 2).await;
    a.set("name", "Grace").await;
    a.path.settled().await.unwrap();
    let Client { path, id, .. } = a;
    path.disconnect(id).await.unwrap();
    drop(path);
    wait(IDLE * 2).await;
    assert_eq!(world.registry.loaded().len(), 1, "the edit is owed");
    let seq = world.pending().await[0];
    world.settle(seq, Outcome::Delivered(Some(user("Grace", 2.0)))).await;
    wait(IDLE).await;
    assert_eq!(world.registry.loaded().len(), 0);
}

#[tokio::test]
async fn many_unused_paths_leave_before_their_time() {
    let world = World::new();
    for n in 0..1_100 {
        let path = PathId::new(&format!("org/{n}")).unwrap();
        world.registry.get(&path).await.unwrap().hashes().await.unwrap();
    }
    let loaded = world.registry.loaded().len();
    assert!((1_000..=1_025).contains(&loaded), "{loaded} in memory");
}

//! Sockets whose other end is gone, or says and takes nothing.

use std::time::Duration;

use super::world::{World, limited};

fn quick(config: &mut toml::Table) {
    let sync = config["sync"].as_table_mut().unwrap();
    for (key, ms) in [("ping_ms", 200), ("silence_ms", 1500), ("send_timeout_ms", 1500)] {
        sync.insert(key.to_owned(), ms.into());
    }
    // The honest ones and one more.
    sync.insert("max_connections".to_owned(), 3.into());
}

/// A half-open socket: it answers no ping, because nobody reads it.
#[tokio::test]
async fn a_socket_that_answers_no_ping_is_dropped() {
    let world = World::start_with(quick).await;
    world
        .during(async {
            let attacker = world.attacker().await;
            attacker.dropped().await;
            assert_place_is_free(&world).await;
        })
        .await;
    world.stop().await;
}

/// Returns once the server has let go of the one socket that it takes from strangers.
async fn assert_place_is_free(world: &World) {
    let free = async {
        while world.try_attacker().await.is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    limited(free).await;
}

/// It keeps talking, so that it does not count as silent, and never takes what it is sent.
#[tokio::test]
async fn a_socket_that_takes_nothing_is_dropped_though_it_talks() {
    let world = World::start_with(quick).await;
    let name = "x".repeat(512 << 10);
    world.write("honest", &name);
    world.acknowledged().await;
    world
        .during(async {
            let mut attacker = world.attacker().await;
            assert!(world.try_attacker().await.is_none(), "its place is taken");
            for _ in 0..200 {
                attacker.send("\n[\"abcdefghijk.abcd\",4,{}]").await;
            }
            // Its own end does not notice: what it did not take is in the way.
            assert_place_is_free(&world).await;
            drop(attacker);
        })
        .await;
    world.stop().await;
}

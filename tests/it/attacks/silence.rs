//! Sockets whose other end is gone, or says and takes nothing.

use std::time::Duration;

use super::world::{World, limited};

/// Short times, but no shorter than an honest client under load may need; and room for the honest ones and one more.
const QUICK: [(&str, i64); 4] = [
    ("ping_ms", 1000),
    ("silence_ms", 20_000),
    ("send_timeout_ms", 20_000),
    ("max_connections", 3),
];

/// A half-open socket: it answers no ping, because nobody reads it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_answers_no_ping_is_dropped() {
    let world = World::start_sync(&QUICK).await;
    world
        .during(async {
            let attacker = world.attacker().await;
            assert!(world.try_attacker().await.is_none(), "its place is taken");
            assert_place_is_free(&world).await;
            drop(attacker);
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

/// It keeps asking for what is long, so that it is not silent, and never takes an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_takes_nothing_is_dropped_though_it_talks() {
    let world = World::start_sync(&QUICK).await;
    let name = "x".repeat(512 << 10);
    world.write("honest", &name);
    world.acknowledged().await;
    world
        .during(async {
            let mut attacker = world.attacker().await;
            assert!(world.try_attacker().await.is_none(), "its place is taken");
            for _ in 0..30 {
                attacker.send("\n[\"abcdefghijk.abcd\",4,{}]").await;
            }
            // Its own end does not notice: what it did not take is in the way.
            assert_place_is_free(&world).await;
            drop(attacker);
        })
        .await;
    world.stop().await;
}

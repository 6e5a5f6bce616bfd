//! Too much of what is allowed.

use super::world::{TOO_MUCH, World, limited};

#[tokio::test]
async fn a_slow_reader_is_closed_and_keeps_nobody_waiting() {
    let world = World::start().await;
    let mut attacker = world.attacker().await;
    world
        .during(async {
            // It reads nothing, while what it would have to read grows beyond all that sockets and queues hold.
            for round in 0..80 {
                world.write("honest", &format!("{round}{}", "x".repeat(512 << 10)));
                // One by one: writes of one cell that come together would leave as one; and at the pace of those
                // who do read.
                limited(world.acknowledged()).await;
                let seen = world.name("honest").await.unwrap();
                assert!(seen.starts_with(&format!("{round}x")), "{round}");
            }
        })
        .await;
    // By the bound of what may wait for it; or, on a slow machine, by that of how long a send may take, and then nothing
    // more reaches it, not even the reason.
    let closed = attacker.closed().await;
    let ways = [(TOO_MUCH.0, TOO_MUCH.1.to_owned()), (1006, String::new())];
    assert!(ways.contains(&closed), "{closed:?}");
    world.stop().await;
}

#[tokio::test]
async fn a_flood_of_requests_whose_answers_nobody_reads_is_held_back() {
    let world = World::start().await;
    let name = "x".repeat(512 << 10);
    world.write("honest", &name);
    limited(world.acknowledged()).await;
    let mut attacker = world.attacker().await;
    world
        .during(async {
            // Each is answered by all of the store. A socket that does not take its answers is not read, so
            // nothing piles up but what the network holds.
            for _ in 0..200 {
                attacker.send("\n[\"abcdefghijk.abcd\",4,{}]").await;
            }
        })
        .await;
    drop(attacker);
    world.stop().await;
}

#[tokio::test]
async fn a_flood_of_frames_is_taken_at_the_servers_pace() {
    let world = World::start().await;
    world
        .during(async {
            let mut attacker = world.attacker().await;
            for _ in 0..50 {
                for _ in 0..400 {
                    attacker.send("\n[null,2,[0,0]]").await;
                }
                attacker.assert_open().await;
            }
        })
        .await;
    world.stop().await;
}

#[tokio::test]
async fn many_connections_of_one_client_change_nothing_for_others() {
    let world = World::start().await;
    world
        .during(async {
            let mut attackers = Vec::new();
            for _ in 0..500 {
                attackers.push(world.attacker().await);
            }
            for attacker in &mut attackers {
                attacker.assert_open().await;
            }
        })
        .await;
    world.stop().await;
}

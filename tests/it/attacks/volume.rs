//! Too much of what is allowed.

use super::world::{PATIENT, TOO_MUCH, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_is_closed_and_keeps_nobody_waiting() {
    // Neither its silence nor the time that a frame may take ends it, but what waits behind that frame.
    let world = World::start_sync(&PATIENT).await;
    let mut attacker = world.attacker().await;
    world
        .during(async {
            // It reads nothing, while what it would have to read grows beyond all that sockets and queues hold.
            for round in 0..52 {
                let name = format!("{round} {}", "x".repeat(512 << 10));
                world.write("honest", &name);
                // At the pace of the one who does read.
                world.sees("honest", &name).await;
            }
        })
        .await;
    attacker.assert_closed(TOO_MUCH).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_requests_whose_answers_nobody_reads_is_held_back() {
    // No time ends it: either it is not read while it does not read, or too much waits for it.
    let world = World::start_sync(&PATIENT).await;
    let name = "x".repeat(512 << 10);
    world.write("honest", &name);
    world.sees("honest", &name).await;
    let mut attacker = world.attacker().await;
    let end = world
        .during(async {
            // Each is answered by all of the store.
            for _ in 0..100 {
                attacker.send("\n[\"abcdefghijk.abcd\",4,{}]").await;
            }
            attacker.send("\n[\"abcdefghijk.last\",1,\"\"]").await;
            // It reads only after the honest ones have gone on for a while.
            for round in 0..20 {
                let row = format!("honest between {round}");
                world.write(&row, &row);
                world.sees(&row, &row).await;
            }
            attacker.hears_or_closed("abcdefghijk.last").await
        })
        .await;
    assert!(end.is_none() || end == Some((TOO_MUCH.0, TOO_MUCH.1.to_owned())), "{end:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_frames_is_taken_at_the_servers_pace() {
    let world = World::start().await;
    world
        .during(async {
            let mut attacker = world.attacker().await;
            for _ in 0..25 {
                for _ in 0..400 {
                    attacker.send("\n[null,2,[0,0]]").await;
                }
                attacker.assert_open().await;
            }
        })
        .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_bounded_and_many_of_one_client_change_nothing_for_others() {
    const MAX: usize = 100;
    let world =
        World::start_sync(&[&PATIENT[..], &[("max_connections", MAX as i64)]].concat()).await;
    world
        .during(async {
            let mut attackers = Vec::new();
            while let Some(attacker) = world.try_attacker().await {
                attackers.push(attacker);
            }
            // The honest ones have the other two places.
            assert_eq!(attackers.len(), MAX - 2);
            for attacker in &mut attackers {
                attacker.assert_open().await;
            }
        })
        .await;
    world.stop().await;
}

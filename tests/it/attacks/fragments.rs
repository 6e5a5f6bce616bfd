//! Messages in pieces that never become whole.

use super::world::{FRAGMENTS, INVALID, World};

fn fragment(message: usize, index: usize, total: usize, text: &str) -> String {
    format!("\n{message:016}\n{index}\n{total}\n{text}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_messages_are_bounded_in_number_and_bytes() {
    let world = World::start().await;
    world
        .during(async {
            let mut attacker = world.attacker().await;
            // All within the second after which the first ones are dropped, or there never are that many.
            let many: String = "x".repeat(10);
            for message in 0..=100 {
                attacker.send(fragment(message, 0, 2, &many)).await;
            }
            attacker.assert_closed(FRAGMENTS).await;

            let mut attacker = world.attacker().await;
            attacker.send(fragment(0, 0, 1001, "x")).await;
            attacker.assert_closed(FRAGMENTS).await;

            let mut attacker = world.attacker().await;
            let half = "x".repeat(9 << 20);
            attacker.send(fragment(0, 0, 3, &half)).await;
            attacker.send(fragment(0, 1, 3, &half)).await;
            attacker.assert_closed(FRAGMENTS).await;

            for forged in [fragment(0, 2, 2, "x"), fragment(0, 0, 0, "x")] {
                let mut attacker = world.attacker().await;
                attacker.send(forged).await;
                attacker.assert_closed(INVALID).await;
            }
        })
        .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_stays_unfinished_is_forgotten_and_its_sender_may_go_on() {
    let world = World::start().await;
    world
        .during(async {
            let mut attacker = world.attacker().await;
            attacker.send(fragment(7, 0, 2, "[null,1,")).await;
            tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
            // The second half alone makes no message; were the first one still there, this would be an answer's worth.
            attacker.send(fragment(7, 1, 2, "\"\"]")).await;
            attacker.send(fragment(7, 0, 2, "[null,1,")).await;
            attacker.assert_open().await;
        })
        .await;
    world.stop().await;
}

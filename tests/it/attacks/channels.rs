//! Multiplexed sockets that open, and leave, more than one may.

use super::world::{CHANNELS, FRAGMENTS, INVALID, World};

fn subscribe(channel: &str) -> String {
    format!("S\n[\"sub\",-1,[1,\"{channel}\"]]")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_of_one_socket_are_bounded() {
    let relayed = |config: &mut toml::Table| {
        let sync = config["sync"].as_table_mut().unwrap();
        sync.insert("topology".to_owned(), "peer".into());
    };
    let world = World::start_with(relayed).await;
    world
        .during(async {
            // More at once than a socket may have.
            let mut attacker = world.multiplexed().await;
            for channel in 0..=100 {
                attacker.send(subscribe(&format!("flood/{channel}"))).await;
            }
            attacker.assert_closed(CHANNELS).await;
            // One after the other, each left at once: those are taken down as fast as they come, or it is closed.
            let mut attacker = world.multiplexed().await;
            for channel in 0..1000 {
                attacker.send(subscribe(&format!("flood/{channel}"))).await;
                attacker.send(format!("S\n[null,-1,[2,\"flood/{channel}\"]]")).await;
            }
            attacker.send("S\n[\"last\",-1,[0,1]]").await;
            let end = attacker.hears_or_closed("\"last\"").await;
            assert!(end.is_none() || end == Some((CHANNELS.0, CHANNELS.1.to_owned())), "{end:?}");
        })
        .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_that_may_not_be_opened_cost_nothing_and_those_that_cannot_be_close_the_socket() {
    let world = World::start().await;
    world
        .during(async {
            let mut attacker = world.multiplexed().await;
            for channel in 0..2000 {
                attacker.send(subscribe(&format!("other{channel}"))).await;
            }
            attacker.send(subscribe("o")).await;
            attacker.hears("[1,\"o\"]").await;
            for (frame, close) in [
                (subscribe(&"x".repeat(1025)), CHANNELS),
                (subscribe("a//b"), INVALID),
                (subscribe(".."), INVALID),
                ("M\nnobody\n\n[null,1,\"\"]".to_owned(), INVALID),
                ("\n[null,1,\"\"]".to_owned(), INVALID),
                ("S\n[\"a\",-1,[3,1]]".to_owned(), INVALID),
            ] {
                let mut attacker = world.multiplexed().await;
                attacker.send(frame).await;
                attacker.assert_closed(close).await;
            }
        })
        .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fragments_count_for_the_whole_socket() {
    let world = World::start().await;
    world
        .during(async {
            let mut attacker = world.multiplexed().await;
            attacker.send(subscribe("o")).await;
            for message in 0..=100 {
                attacker.send(format!("M\no\n\n{message:016}\n0\n2\n[")).await;
            }
            attacker.assert_closed(FRAGMENTS).await;
        })
        .await;
    world.stop().await;
}

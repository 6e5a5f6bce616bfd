//! Frames that are no messages.

use super::world::{INVALID, TOO_MUCH, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_frames_close_their_sender() {
    let world = World::start().await;
    world
        .during(async {
            for frame in [
                "no line end",
                "\n",
                "\nnot JSON",
                "\n[1,2,3]",
                "\n[null,8,{}]",
                "\n[null,3,[[{}],[{}],2]]",
                "\n[null,3,[[{\"users\":[{\"r\":[{\"name\":[\"x\",\"short\"]}]}]}],[{}],1]]",
                "\n[null,4,{\"users\":-1}]",
                "\n[null,2,[1e400,0]]",
            ] {
                let mut attacker = world.attacker().await;
                attacker.send(frame).await;
                attacker.assert_closed(INVALID).await;
            }
        })
        .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deep_json_closes_its_sender() {
    let world = World::start().await;
    world
        .during(async {
            for levels in [300, 4_000_000] {
                let mut attacker = world.attacker().await;
                let (open, close) = ("[".repeat(levels), "]".repeat(levels));
                attacker.send(format!("\n[null,3,{open}{close}]")).await;
                attacker.assert_closed(INVALID).await;
            }
            // The deepest that is read is a cell; it is none that the schema knows, and goes the way of those.
            let mut attacker = world.attacker().await;
            let cell = format!("{}1{}", "[".repeat(240), "]".repeat(240));
            let row = format!("{{\"name\":[{cell},\"----------------\"]}}");
            attacker
                .send(format!("\n[null,3,[[{{\"users\":[{{\"r\":[{row}]}}]}}],[{{}}],1]]"))
                .await;
            attacker.assert_open().await;
        })
        .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_utf_8_close_their_sender() {
    let world = World::start().await;
    world
        .during(async {
            let mut attacker = world.attacker().await;
            attacker.send_as_text(b"\n[null,1,\"\xFF\xFE\"]".to_vec()).await;
            let (code, _) = attacker.closed().await;
            assert_eq!(code, 1007);
            // Binary frames are read as text in which such bytes are U+FFFD.
            let mut attacker = world.attacker().await;
            attacker.send_binary(b"\n[null,1,\"\xFF\xFE\"]".to_vec()).await;
            attacker.assert_closed(INVALID).await;
            let mut attacker = world.attacker().await;
            attacker.send_binary(b"\n[\"\xFF\",1,\"\"]".to_vec()).await;
            attacker.assert_open().await;
        })
        .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oversize_frames_close_their_sender() {
    const LIMIT: usize = 16 << 20;
    let world = World::start().await;
    world
        .during(async {
            let mut attacker = world.attacker().await;
            attacker.send(format!("\n[null,1,\"{}\"]", "x".repeat(LIMIT))).await;
            attacker.assert_closed(TOO_MUCH).await;
            let mut attacker = world.attacker().await;
            let fragment = format!("\n0123456789abcdef\n0\n2\n{}", "x".repeat(LIMIT));
            attacker.send(fragment).await;
            attacker.assert_closed(super::world::FRAGMENTS).await;
            // So much longer that it is not even read.
            let mut attacker = world.attacker().await;
            attacker.send("x".repeat(2 * LIMIT)).await;
            attacker.assert_closed(TOO_MUCH).await;
        })
        .await;
    world.stop().await;
}

//! Edits that are well-formed and refused: too long, forged, or simply too many.

use crossfade::clock::{Clock as _, SystemClock};
use mergeable_store::{Changes, ClientId, Hlc};

use super::world::{ID_TOO_LONG, REFUSED, World};

/// The most that may be refused of a user.
const ALLOWED: usize = 1000;

/// A stamp of now.
fn stamp() -> Hlc {
    Hlc::new(SystemClock.now_ms(), 0, ClientId::from_unique_id("mallory"))
}

/// A ContentDiff of one cell.
fn diff(table: &str, row: &str, cell: &str, content: &str, hlc: Hlc) -> String {
    let mut changes = Changes::new();
    changes.set_cell(table, row, cell, Some(content.into()), hlc);
    format!("\n[null,3,{}]", changes.to_json())
}

/// As long as a frame lets it be, in a cell that everybody has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cells_that_are_too_long_go_back_and_nobody_is_sent_them() {
    let world = World::start().await;
    world.write("honest", "as it was");
    world.acknowledged().await;
    world
        .during(async {
            for content in ["x".repeat((1 << 20) + 1), "\u{1}".repeat(2 << 20)] {
                let mut attacker = world.attacker().await;
                for cell in ["name", "email"] {
                    attacker.send(diff("users", "honest", cell, &content, stamp())).await;
                }
                attacker.assert_open().await;
            }
        })
        .await;
    assert_eq!(world.name("honest").await.as_deref(), Some("as it was"));
    // The cells were there before: what was refused has left nothing but newer stamps.
    assert_eq!(world.stamps().await, world.honest_stamps());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_that_are_too_long_close_their_sender_and_leave_nothing() {
    let world = World::start().await;
    world
        .during(async {
            for length in [1025, 1 << 20, 12 << 20] {
                let id = "i".repeat(length);
                for [table, row, cell] in
                    [[&id, "r", "c"], ["users", &id, "name"], ["users", "r", &id]]
                {
                    let mut attacker = world.attacker().await;
                    attacker.send(diff(table, row, cell, "x", stamp())).await;
                    attacker.assert_closed(ID_TOO_LONG).await;
                }
            }
        })
        .await;
    assert_eq!(world.stamps().await, world.honest_stamps());
    world.stop().await;
}

/// One cell, refused again and again: it grows nothing, but everybody is told each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_refused_edits_closes_its_sender_and_suspends_its_user() {
    let world = World::start().await;
    world.write("honest", "as it was");
    world.acknowledged().await;
    world
        .during(async {
            let mut attacker = world.attacker().await;
            // Each newer than the stamp that the one before was refused with, and none too far ahead.
            let first = SystemClock.now_ms();
            for n in 0..2 * ALLOWED as u64 {
                let hlc = Hlc::new(first + 10 * n, 0, ClientId::from_unique_id("mallory"));
                attacker.send(diff("users", "honest", "role", "emperor", hlc)).await;
            }
            attacker.assert_closed(REFUSED).await;
            // It may come back and read; whatever it writes closes it, were it allowed otherwise.
            for _ in 0..3 {
                let mut attacker = world.attacker().await;
                attacker.assert_open().await;
                attacker.send(diff("users", "honest", "name", "mine", stamp())).await;
                attacker.assert_closed(REFUSED).await;
            }
        })
        .await;
    assert_eq!(world.name("honest").await.as_deref(), Some("as it was"));
    assert_eq!(world.stamps().await, world.honest_stamps());
    world.stop().await;
}

/// Another content under the stamp that a cell has already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_forged_stamps_closes_its_sender_and_changes_nothing() {
    let world = World::start().await;
    for row in 0..ALLOWED / 5 {
        world.write(&format!("honest-{row}"), "as it was");
    }
    world.acknowledged().await;
    world.sees(&format!("honest-{}", ALLOWED / 5 - 1), "as it was").await;
    world
        .during(async {
            let mut attacker = world.attacker().await;
            // Six cells a row; one message, so that all of it is forged.
            attacker.send(world.forged("honest-", "forged")).await;
            attacker.assert_closed(REFUSED).await;
        })
        .await;
    assert_eq!(world.name("honest-0").await.as_deref(), Some("as it was"));
    assert_eq!(world.stamps().await, world.honest_stamps());
    world.stop().await;
}

//! Stamps that would win for ever, and edits that leave something behind for ever.

use std::fmt::Write as _;

use crossfade::clock::{Clock as _, SystemClock};
use mergeable_store::{ClientId, Hlc};

use super::world::{CLOCK_SKEW, REFUSED, World};

/// The stamp of a client whose clock is so many milliseconds ahead.
fn ahead(ms: u64) -> Hlc {
    Hlc::new(SystemClock.now_ms() + ms, 0, ClientId::from_unique_id("mallory"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stamp_from_the_future_closes_its_sender_and_wins_nothing() {
    let world = World::start().await;
    world.write("honest", "as it was");
    world
        .during(async {
            for ms in [61_000, 3_600_000, 1 << 40] {
                let mut attacker = world.attacker().await;
                let row = format!("{{\"name\":[\"forged\",\"{}\"]}}", ahead(ms));
                let message = format!("[[{{\"users\":[{{\"honest\":[{row}]}}]}}],[{{}}],1]");
                attacker.send(format!("\n[null,3,{message}]")).await;
                attacker.assert_closed(CLOCK_SKEW).await;
            }
        })
        .await;
    assert_eq!(world.name("honest").await.as_deref(), Some("as it was"));
    world.stop().await;
}

/// A frame that writes one cell under each of these ids, made from `{at}`.
fn many(
    cells: std::ops::Range<usize>,
    one: impl Fn(usize) -> (String, String),
) -> (String, String) {
    let (mut tables, mut rows) = (String::new(), String::new());
    for at in cells {
        let comma = if tables.is_empty() { "" } else { "," };
        let (table, row) = one(at);
        let _ = write!(tables, "{comma}{table}");
        let _ = write!(rows, "{comma}{row}");
    }
    let frame = |tables: &str| format!("\n[null,3,[[{{{tables}}}],[{{}}],1]]");
    (frame(&tables), frame(&format!("\"users\":[{{{rows}}}]")))
}

/// The most that may be refused of a user: what it leaves behind.
const ALLOWED: usize = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_tiny_tables_or_rows_close_their_sender_and_leave_little_behind() {
    let world = World::start().await;
    world
        .during(async {
            let stamp = ahead(0);
            let tiny = |at: usize| {
                (
                    format!("\"t{at}\":[{{\"r\":[{{\"c\":[1,\"{stamp}\"]}}]}}]"),
                    format!("\"r{at}\":[{{\"unknown\":[1,\"{stamp}\"]}}]"),
                )
            };
            // In bits, which spend what is allowed; in one, which is not merged at all; and again and again.
            let mut attacker = world.attacker().await;
            for from in (0..2000).step_by(100) {
                let (tables, rows) = many(from..from + 50, tiny);
                attacker.send(tables).await;
                attacker.send(rows).await;
            }
            attacker.assert_closed(REFUSED).await;
            for part in 0..4 {
                let (tables, rows) = many(part * 125_000..(part + 1) * 125_000, tiny);
                for frame in [tables, rows] {
                    let mut attacker = world.attacker().await;
                    attacker.send(frame).await;
                    attacker.assert_closed(REFUSED).await;
                }
            }
        })
        .await;
    let left = world.stamps().await - world.honest_stamps();
    assert!((1..=ALLOWED).contains(&left), "{left} stamps were left");
    world.stop().await;
}

/// Tables without rows, and rows without cells, which no TinyBase client sends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_empty_tables_and_rows_leave_nothing_behind() {
    let world = World::start().await;
    world
        .during(async {
            let mut attacker = world.attacker().await;
            for part in 0..10 {
                let (mut tables, mut rows) = (String::new(), String::new());
                for at in 0..50_000 {
                    let comma = if at == 0 { "" } else { "," };
                    let _ = write!(tables, "{comma}\"t{part}.{at}\":[{{}}]");
                    let _ = write!(rows, "{comma}\"r{part}.{at}\":[{{}}]");
                }
                attacker.send(format!("\n[null,3,[[{{{tables}}}],[{{}}],1]]")).await;
                let rows = format!("{{\"users\":[{{{rows}}}]}}");
                attacker.send(format!("\n[null,3,[[{rows}],[{{}}],1]]")).await;
            }
            attacker.assert_open().await;
        })
        .await;
    assert_eq!(world.stamps().await, world.honest_stamps());
    world.stop().await;
}

//! Stamps that would win for ever, and edits that leave something behind for ever.

use std::fmt::Write as _;

use crossfade::clock::{Clock as _, SystemClock};
use mergeable_store::{ClientId, Hlc};

use super::world::{CLOCK_SKEW, World};

/// The stamp of a client whose clock is so many milliseconds ahead.
fn ahead(ms: u64) -> Hlc {
    Hlc::new(SystemClock.now_ms() + ms, 0, ClientId::from_unique_id("mallory"))
}

#[tokio::test]
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

/// Tables without rows, and rows without cells, which no TinyBase client sends.
#[tokio::test]
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

//! Whole dual runs in simulated time: random writers on both sides, faults, kills that keep committed bytes only, and at the
//! end the question whether anything was lost (design §1: nothing is).
//!
//! ```text
//! REST writers ─ intents ─ legacy (simulated) ─ mirror ─ paths ─ sync clients (the engine's own)
//!                              └──────────── outbox ──────┘
//! ```
//!
//! Everything between the two ends is the real code. Time is tokio's paused clock, so a schedule of minutes takes some
//! milliseconds. A seed gives the same actions, faults and latencies; which of several ready tasks runs first is left to
//! the runtime.

mod client;
pub(in crate::sync) mod creates;
mod history;
mod legacy;
mod process;
mod rest;
mod schedule;
mod tally;
mod world;

use std::sync::{Arc, Mutex};

use crate::clock::{Clock, Entropy};

/// Tells what happens, if the environment asks for it: for whoever looks for a seed's reason.
fn trace(clock: SimClock, what: impl FnOnce() -> String) {
    if std::env::var_os("CROSSFADE_TRACE").is_some() {
        eprintln!("{:>7} {}", clock.start.elapsed().as_millis(), what());
    }
}

/// When the simulated clock starts, in epoch milliseconds.
const EPOCH_MS: u64 = 1_800_000_000_000;

/// A clock that follows the runtime's paused time, ahead or behind by a skew.
#[derive(Debug, Clone, Copy)]
struct SimClock {
    start: tokio::time::Instant,
    skew_ms: i64,
}

impl SimClock {
    fn new() -> Self {
        Self { start: tokio::time::Instant::now(), skew_ms: 0 }
    }

    const fn skewed(self, skew_ms: i64) -> Self {
        Self { skew_ms, ..self }
    }
}

impl Clock for SimClock {
    fn now_ms(&self) -> u64 {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        (EPOCH_MS + elapsed).saturating_add_signed(self.skew_ms)
    }
}

/// Randomness by seed (SplitMix64).
#[derive(Debug, Clone)]
struct Seeded(Arc<Mutex<u64>>);

impl Seeded {
    fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(seed)))
    }

    fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    fn below(&self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True this often in a hundred times.
    fn percent(&self, often: u64) -> bool {
        self.below(100) < often
    }

    fn pick<'a, T>(&self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

impl Entropy for Seeded {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

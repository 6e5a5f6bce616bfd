//! How long broadcasts wait for each other: not at all while the whole server has few to send, longer the more there are.
//!
//! What a broadcast costs is its send to each client, hardly its bytes. So above a number of sends a second, what a path
//! has for all of its clients waits for what comes next, and leaves with it in one send to each. The wait grows evenly
//! with the load, so that nobody sees a step, and never beyond a bound.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// At so many times the load at which waiting begins, it is as long as it may be.
const LONGEST_AT: f64 = 5.0;
/// Over how long the load is averaged: what came so long ago counts for 1/e.
const WINDOW: Duration = Duration::from_secs(1);

/// How much is broadcast at once, and how long the rest may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaceSettings {
    /// Sends a second, over all paths, up to which none waits.
    pub broadcasts_per_s: u32,
    /// How long one waits at most: at five times as many. Zero: none waits, however many there are.
    pub broadcast_wait: Duration,
}

impl Default for PaceSettings {
    /// 5,000 a second; 175 ms.
    fn default() -> Self {
        Self { broadcasts_per_s: 5_000, broadcast_wait: Duration::from_millis(175) }
    }
}

/// The load that all paths of a process have together.
#[derive(Debug)]
pub(in crate::sync) struct Pace {
    settings: PaceSettings,
    load: Mutex<Load>,
}

#[derive(Debug)]
struct Load {
    /// Sends a second that there would be if none waited.
    rate: f64,
    at: Instant,
}

impl Load {
    fn add(&mut self, sends: usize) {
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.at);
        let window = WINDOW.as_secs_f64();
        self.rate *= (-passed.as_secs_f64() / window).exp();
        self.rate += f64::from(u32::try_from(sends).unwrap_or(u32::MAX)) / window;
        self.at = now;
    }
}

impl Pace {
    pub(in crate::sync) fn new(settings: PaceSettings) -> Arc<Self> {
        Arc::new(Self { settings, load: Mutex::new(Load { rate: 0.0, at: Instant::now() }) })
    }

    /// Notes a broadcast of so many sends; gives how long one that comes now waits.
    pub(super) fn wait(&self, sends: usize) -> Duration {
        let PaceSettings { broadcasts_per_s, broadcast_wait } = self.settings;
        if broadcast_wait.is_zero() {
            return broadcast_wait;
        }
        // Every change is one step, so a poisoned lock hides nothing half done.
        let mut load = self.load.lock().unwrap_or_else(PoisonError::into_inner);
        load.add(sends);
        let times = load.rate / f64::from(broadcasts_per_s.max(1));
        broadcast_wait.mul_f64(((times - 1.0) / (LONGEST_AT - 1.0)).clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn pace(broadcasts_per_s: u32, wait_ms: u32) -> Arc<Pace> {
        Pace::new(PaceSettings { broadcasts_per_s, broadcast_wait: MS * wait_ms })
    }

    /// The last wait after ten seconds of so many broadcasts a second, of ten sends each.
    async fn wait_at(pace: &Pace, broadcasts_per_s: u32) -> Duration {
        let mut wait = Duration::ZERO;
        for _ in 0..broadcasts_per_s * 10 {
            tokio::time::advance(Duration::from_secs(1) / broadcasts_per_s).await;
            wait = pace.wait(10);
        }
        wait
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_grows_evenly_from_none_to_the_bound() {
        let pace = pace(1_000, 100);
        for (broadcasts, expected) in
            [(10, 0), (90, 0), (200, 25), (300, 50), (500, 100), (5_000, 100)]
        {
            let wait = wait_at(&pace, broadcasts).await;
            assert!(wait.abs_diff(MS * expected) <= MS, "{broadcasts}: {wait:?}");
        }
        // A load that is over is forgotten.
        assert_eq!(wait_at(&pace, 10).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_costs_nobody_more_than_the_bound() {
        let pace = pace(1_000, 100);
        assert_eq!(pace.wait(usize::MAX), MS * 100);
        assert_eq!(pace.wait(1), MS * 100);
        tokio::time::advance(WINDOW * 30).await;
        assert_eq!(pace.wait(1), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn where_none_may_wait_none_does_and_where_none_is_free_all_do() {
        assert_eq!(pace(1, 0).wait(1_000_000), Duration::ZERO);
        assert_eq!(pace(0, 100).wait(5), MS * 100);
    }
}

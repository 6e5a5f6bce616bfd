//! When broadcasts leave: at once while the whole server has few to send, together under load.
//!
//! What a broadcast costs is its send to each client, hardly its bytes. So above a number of sends a second, what a path
//! has for all of its clients waits for what comes next, and leaves with it in one send to each: for as long
//! as the budget is spent, and never longer than a bound. What goes to one client alone (an answer) never waits, and takes along
//! what waits for that client.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The shortest wait before the budget is looked at again.
const SHORTEST: Duration = Duration::from_millis(1);

/// How much is broadcast at once, and how long the rest may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaceSettings {
    /// Sends a second, over all paths, up to which none waits.
    pub broadcasts_per_s: u32,
    /// How long one waits at most. Zero: none waits, however many there are.
    pub broadcast_wait: Duration,
}

impl Default for PaceSettings {
    /// 5,000 a second; 50 ms.
    fn default() -> Self {
        Self { broadcasts_per_s: 5_000, broadcast_wait: Duration::from_millis(50) }
    }
}

/// The budget of sends, shared by all paths of a process.
#[derive(Debug)]
pub(in crate::sync) struct Pace {
    settings: PaceSettings,
    bucket: Mutex<Bucket>,
}

/// Refilled evenly; below zero once more was sent than there was.
#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Pace {
    pub(in crate::sync) fn new(settings: PaceSettings) -> Arc<Self> {
        let mut pace =
            Self { settings, bucket: Mutex::new(Bucket { left: 0.0, at: Instant::now() }) };
        let most = pace.most();
        if let Ok(bucket) = pace.bucket.get_mut() {
            bucket.left = most;
        }
        Arc::new(pace)
    }

    fn rate(&self) -> f64 {
        f64::from(self.settings.broadcasts_per_s)
    }

    /// What is saved up at most, and owed at most: as much as comes in the longest wait, so that nobody pays for a burst
    /// for longer than that.
    fn most(&self) -> f64 {
        self.rate() * self.settings.broadcast_wait.as_secs_f64()
    }

    /// Takes so many sends out of the budget for a path whose oldest broadcast has waited since `since`; or tells how
    /// long to wait before asking again.
    fn take(&self, sends: usize, since: Instant) -> Result<(), Duration> {
        let now = Instant::now();
        let waited = now.saturating_duration_since(since);
        let longest = self.settings.broadcast_wait;
        // Every change is one step, so a poisoned lock hides nothing half done.
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(bucket.at);
        bucket.left = (bucket.left + passed.as_secs_f64() * self.rate()).min(self.most());
        bucket.at = now;
        if bucket.left <= 0.0 && waited < longest {
            let until = Duration::from_secs_f64(-bucket.left / self.rate());
            return Err(until.max(SHORTEST).min(longest - waited));
        }
        let sends = u32::try_from(sends).unwrap_or(u32::MAX);
        bucket.left = (bucket.left - f64::from(sends)).max(-self.most());
        Ok(())
    }
}

/// What a path has queued for all of its clients.
#[derive(Debug)]
pub(in crate::sync) struct Broadcasts {
    pace: Arc<Pace>,
    waiting: Option<Wait>,
}

#[derive(Debug, Clone, Copy)]
struct Wait {
    since: Instant,
    /// When to ask again.
    until: Instant,
}

impl Broadcasts {
    pub(in crate::sync) fn new(pace: Arc<Pace>) -> Self {
        Self { pace, waiting: None }
    }

    /// Notes that something was queued for all.
    pub(in crate::sync) fn queued(&mut self) {
        let now = Instant::now();
        self.waiting.get_or_insert(Wait { since: now, until: now });
    }

    /// When to ask again whether they may leave; `None` if nothing waits.
    pub(in crate::sync) fn next_look(&self) -> Option<Instant> {
        self.waiting.map(|wait| wait.until)
    }

    /// Whether what was queued leaves now, by so many sends.
    pub(in crate::sync) fn may_leave(&mut self, sends: usize) -> bool {
        let Some(wait) = &mut self.waiting else { return false };
        let now = Instant::now();
        if now < wait.until {
            return false;
        }
        match self.pace.take(sends, wait.since) {
            Ok(()) => {
                if wait.until > wait.since {
                    metrics::counter!("crossfade_sync_paced_total").increment(1);
                }
                self.waiting = None;
                true
            }
            Err(for_so_long) => {
                wait.until = now + for_so_long;
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn pace(broadcasts_per_s: u32, wait_ms: u32) -> Arc<Pace> {
        Pace::new(PaceSettings { broadcasts_per_s, broadcast_wait: MS * wait_ms })
    }

    /// Waits until what is queued may leave; how long that was.
    async fn left(broadcasts: &mut Broadcasts, sends: usize) -> Duration {
        let start = Instant::now();
        broadcasts.queued();
        while !broadcasts.may_leave(sends) {
            tokio::time::sleep_until(broadcasts.next_look().unwrap()).await;
        }
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn few_broadcasts_never_wait() {
        let mut broadcasts = Broadcasts::new(pace(1_000, 100));
        for _ in 0..100 {
            assert_eq!(left(&mut broadcasts, 50).await, Duration::ZERO);
            assert_eq!(broadcasts.next_look(), None);
            tokio::time::sleep(MS * 50).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_are_held_to_the_budget_and_none_longer_than_the_bound() {
        let pace = pace(1_000, 100);
        let mut paths: Vec<_> = (0..4).map(|_| Broadcasts::new(pace.clone())).collect();
        let (mut sent, start) = (0, Instant::now());
        while start.elapsed() < MS * 10_000 {
            for broadcasts in &mut paths {
                let waited = left(broadcasts, 25).await;
                assert!(waited <= MS * 101, "{waited:?}");
                sent += 25;
            }
        }
        assert!((9_900..=10_300).contains(&sent), "{sent}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_path_with_more_clients_than_the_budget_waits_for_the_bound_alone() {
        let mut broadcasts = Broadcasts::new(pace(1_000, 100));
        left(&mut broadcasts, 1_000_000).await;
        for _ in 0..10 {
            assert_eq!(left(&mut broadcasts, 1_000_000).await, MS * 100);
        }
        // The debt of a burst is paid off in as long.
        tokio::time::sleep(MS * 101).await;
        assert_eq!(left(&mut broadcasts, 1).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_wait_there_is_no_budget() {
        let mut broadcasts = Broadcasts::new(pace(1, 0));
        for _ in 0..100 {
            assert_eq!(left(&mut broadcasts, 1_000).await, Duration::ZERO);
        }
    }
}

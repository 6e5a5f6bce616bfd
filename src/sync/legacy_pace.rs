//! How fast legacy is read in bulk: backfills, reconciles and tails of all resources share one rate, so that together they
//! never ask for more than its owner allows. What a user's own write has crossfade read, and deliveries, do not wait for it.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Turns at legacy, evenly spaced, first come, first served. As many wait as there are jobs that ask.
#[derive(Debug, Clone)]
pub struct LegacyPace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    gap: Duration,
    /// When the next turn is free.
    next: Mutex<Instant>,
}

impl LegacyPace {
    /// At most so many requests a second.
    #[must_use]
    pub fn new(requests_per_s: NonZeroU32) -> Self {
        let gap = Duration::from_secs(1) / requests_per_s.get();
        Self(Arc::new(Inner { gap, next: Mutex::new(Instant::now()) }))
    }

    /// Waits for the caller's turn.
    pub(super) async fn turn(&self) {
        let now = Instant::now();
        let at = {
            // Every change is one step, so a poisoned lock hides nothing half done.
            let mut next = self.0.next.lock().unwrap_or_else(PoisonError::into_inner);
            let at = (*next).max(now);
            *next = at + self.0.gap;
            at
        };
        if at > now {
            metrics::counter!("crossfade_backfill_paced_total").increment(1);
            tokio::time::sleep_until(at).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn turns_are_spaced_whoever_takes_them_and_what_was_not_used_is_not_saved_up() {
        let pace = LegacyPace::new(NonZeroU32::new(10).unwrap());
        let begun = Instant::now();
        let mut takers = tokio::task::JoinSet::new();
        for _ in 0..5 {
            let pace = pace.clone();
            takers.spawn(async move {
                pace.turn().await;
                pace.turn().await;
            });
        }
        takers.join_all().await;
        assert_eq!(
            begun.elapsed(),
            Duration::from_millis(900),
            "the first of ten waits for nothing"
        );
        tokio::time::sleep(Duration::from_secs(60)).await;
        let later = Instant::now();
        pace.turn().await;
        pace.turn().await;
        assert_eq!(later.elapsed(), Duration::from_millis(100));
    }
}

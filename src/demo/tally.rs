//! What people did and what came back, counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::migration::Origin;

/// How many texts of failures are kept.
const MAX_FAILURES: usize = 5;

/// Counters that everybody adds to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    requests: AtomicU64,
    from_store: AtomicU64,
    failed: AtomicU64,
    edits: AtomicU64,
    after_switch: AtomicU64,
    store_after_switch: AtomicU64,
    switched: Mutex<Option<Instant>>,
    failures: Mutex<Vec<String>>,
}

/// The counters at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// REST requests that were answered.
    pub(super) requests: u64,
    /// Those that the store answered.
    pub(super) from_store: u64,
    /// Those that failed: no answer, or a status that nobody meant to cause.
    pub(super) failed: u64,
    /// Edits of sync clients.
    pub(super) edits: u64,
    /// Requests begun after the rollback's answer.
    pub(super) after_switch: u64,
    /// Those of them that the store answered: there must be none.
    pub(super) store_after_switch: u64,
}

impl Tally {
    /// A request that was answered.
    pub(super) fn answered(&self, begun: Instant, by: Origin) {
        let from_store = u64::from(by == Origin::Sync);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.from_store.fetch_add(from_store, Ordering::Relaxed);
        let switched = *self.switched.lock().unwrap_or_else(PoisonError::into_inner);
        if switched.is_some_and(|at| begun > at) {
            self.after_switch.fetch_add(1, Ordering::Relaxed);
            self.store_after_switch.fetch_add(from_store, Ordering::Relaxed);
        }
    }

    /// A request that failed; the text says how, without any value.
    pub(super) fn failed(&self, how: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() < MAX_FAILURES {
            failures.push(how);
        }
    }

    /// An edit of a sync client.
    pub(super) fn edited(&self) {
        self.edits.fetch_add(1, Ordering::Relaxed);
    }

    /// The rollback's answer is there: what is begun from now on is on the legacy path.
    pub(super) fn switched(&self) {
        *self.switched.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// The first failures, for people.
    pub(super) fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            requests: read(&self.requests),
            from_store: read(&self.from_store),
            failed: read(&self.failed),
            edits: read(&self.edits),
            after_switch: read(&self.after_switch),
            store_after_switch: read(&self.store_after_switch),
        }
    }
}

//! Answers about one row that overtake each other.
//!
//! An answer that has the row, to a request that was sent before the row's deletion was answered, may be
//! older than the deletion: no version says so, for a deleted row has none. Such an answer is not
//! believed; the row is read again. And a deletion that finds no row in the store waits for answers that
//! are on their way in.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::migration::{ResourceName, RowId};

/// Deletions remembered at most, and rows made. At the bound the oldest is forgotten and counted: only an answer that
/// took longer than that many deletions could then bring its row back, until the next backfill.
const MAX_NOTED: usize = 65_536;

type Key = (ResourceName, RowId);

/// What is happening to rows.
#[derive(Debug, Clone, Default)]
pub struct RowTraffic {
    state: Arc<Mutex<State>>,
    done: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    /// When each deletion was answered, in epoch milliseconds.
    deletions: Noted,
    /// When it was answered that a row was made, in epoch milliseconds.
    made: Noted,
    /// Answers on their way into the store.
    arriving: HashMap<Key, u32>,
    /// When a write was answered that any row may have been changed or deleted by, in epoch milliseconds.
    any_row: HashMap<ResourceName, u64>,
}

/// Rows with a time, as many as are remembered.
#[derive(Debug, Default)]
struct Noted {
    at: HashMap<Key, u64>,
    /// The same, oldest first; an entry that was overtaken by a newer one of its row counts for nothing.
    order: VecDeque<(Key, u64)>,
}

impl Noted {
    fn note(&mut self, key: Key, now_ms: u64) {
        self.at.insert(key.clone(), now_ms);
        self.order.push_back((key, now_ms));
        while self.order.len() > MAX_NOTED {
            let Some((key, at)) = self.order.pop_front() else { break };
            if self.at.get(&key) == Some(&at) {
                self.at.remove(&key);
                metrics::counter!("crossfade_deletions_forgotten_total").increment(1);
            }
        }
    }

    /// Whether it was noted at this time or after it.
    fn since(&self, key: &Key, at_ms: u64) -> bool {
        self.at.get(key).is_some_and(|noted| *noted >= at_ms)
    }
}

/// The row was deleted after the request was sent: read it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeletedMeanwhile;

/// An answer on its way into the store.
#[derive(Debug)]
pub(crate) struct Arriving {
    traffic: RowTraffic,
    key: Key,
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let mut state = self.traffic.lock();
        if let Some(count) = state.arriving.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                state.arriving.remove(&self.key);
            }
        }
        drop(state);
        self.traffic.done.notify_waiters();
    }
}

impl RowTraffic {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is one step, so a poisoned lock hides nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that legacy answered a deletion at `now_ms`.
    pub(crate) fn deleted(&self, resource: &ResourceName, row: &RowId, now_ms: u64) {
        self.lock().deletions.note((resource.clone(), row.clone()), now_ms);
    }

    /// Notes that legacy answered a write at `now_ms` that may have changed or deleted any row.
    pub(crate) fn any_row(&self, resource: &ResourceName, now_ms: u64) {
        let mut state = self.lock();
        let at = state.any_row.entry(resource.clone()).or_default();
        *at = now_ms.max(*at);
    }

    /// When the last such write was answered, in epoch milliseconds.
    pub(crate) fn last_any_row(&self, resource: &ResourceName) -> Option<u64> {
        self.lock().any_row.get(resource).copied()
    }

    /// Whether the row was deleted at this time or later, as far as legacy said so.
    pub(crate) fn deleted_since(&self, resource: &ResourceName, row: &RowId, sent_ms: u64) -> bool {
        self.lock().deletions.since(&(resource.clone(), row.clone()), sent_ms)
    }

    /// Notes that legacy answered at `now_ms` that it made the row.
    pub(crate) fn made(&self, resource: &ResourceName, row: &RowId, now_ms: u64) {
        self.lock().made.note((resource.clone(), row.clone()), now_ms);
    }

    /// Whether the row was made at this time or later: an answer that was asked for before, and does not have it, says nothing.
    pub(crate) fn made_since(&self, resource: &ResourceName, row: &RowId, asked_ms: u64) -> bool {
        self.lock().made.since(&(resource.clone(), row.clone()), asked_ms)
    }

    /// Lets an answer in that has the row, if its request was sent after the row's last deletion, and after whatever may have
    /// deleted it.
    pub(crate) fn arrive(
        &self,
        resource: &ResourceName,
        row: &RowId,
        sent_ms: u64,
    ) -> Result<Arriving, DeletedMeanwhile> {
        let key = (resource.clone(), row.clone());
        let mut state = self.lock();
        let any_row_ms = state.any_row.get(resource);
        if state.deletions.since(&key, sent_ms) || any_row_ms.is_some_and(|at| *at >= sent_ms) {
            metrics::counter!("crossfade_overtaken_answers_total").increment(1);
            return Err(DeletedMeanwhile);
        }
        *state.arriving.entry(key.clone()).or_default() += 1;
        Ok(Arriving { traffic: self.clone(), key })
    }

    /// Waits until no answer that has the row is on its way into the store.
    pub(crate) async fn settled(&self, resource: &ResourceName, row: &RowId) {
        let key = (resource.clone(), row.clone());
        loop {
            // Registered before the look, so that no end in between is missed.
            let done = self.done.notified();
            tokio::pin!(done);
            done.as_mut().enable();
            if !self.lock().arriving.contains_key(&key) {
                return;
            }
            done.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: usize) -> (ResourceName, RowId) {
        (ResourceName::new("users"), RowId::new(id.to_string()))
    }

    #[test]
    fn an_answer_sent_before_a_deletion_is_not_believed() {
        let (traffic, (users, one)) = (RowTraffic::default(), row(1));
        assert!(traffic.arrive(&users, &one, 10).is_ok());
        traffic.deleted(&users, &one, 20);
        assert!(traffic.arrive(&users, &one, 20).is_err(), "within the same millisecond, too");
        assert!(traffic.arrive(&users, &one, 21).is_ok());
        assert!(traffic.arrive(&users, &row(2).1, 10).is_ok());
    }

    #[test]
    fn nor_is_one_sent_before_a_write_that_may_have_deleted_any_row() {
        let (traffic, (users, one)) = (RowTraffic::default(), row(1));
        traffic.any_row(&users, 20);
        traffic.any_row(&users, 10);
        assert!(traffic.arrive(&users, &one, 20).is_err());
        assert!(traffic.arrive(&users, &one, 21).is_ok());
        assert!(traffic.arrive(&ResourceName::new("notes"), &one, 20).is_ok());
        assert!(!traffic.deleted_since(&users, &one, 10), "nobody said that this one is gone");
    }

    #[tokio::test]
    async fn a_deletion_waits_for_what_is_on_its_way_in() {
        let (traffic, (users, one)) = (RowTraffic::default(), row(1));
        let arriving = traffic.arrive(&users, &one, 10).unwrap();
        let waiting = {
            let (t, u, o) = (traffic.clone(), users.clone(), one.clone());
            tokio::spawn(async move { t.settled(&u, &o).await })
        };
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(arriving);
        waiting.await.unwrap();
        traffic.settled(&users, &one).await;
    }

    #[test]
    fn the_memory_of_deletions_is_bounded() {
        let (traffic, (users, first)) = (RowTraffic::default(), row(0));
        for id in 0..=MAX_NOTED {
            traffic.deleted(&users, &row(id).1, 5);
        }
        assert_eq!(traffic.lock().deletions.at.len(), MAX_NOTED);
        assert!(traffic.arrive(&users, &first, 1).is_ok(), "the oldest is forgotten");
        assert!(traffic.arrive(&users, &row(MAX_NOTED).1, 1).is_err());
    }
}

//! The durable note that a request to legacy is under way whose mirror will be owed (design §5).
//!
//! It is kept before the request goes, and taken out once the store has what the request did. A process that is killed in
//! between leaves it behind, and the next one reads the row again. The request waits for it for 5 ms at most: a database
//! that is slow must not make legacy slow. Then the write is unrecorded, which is kept in its place (see
//! [`CaughtUp::unrecorded`]).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::caught_up::{CaughtUp, Missed, OpenMirror};
use crate::clock::{SharedClock, SharedEntropy};
use crate::migration::{PathId, ResourceName, RowId};
use crate::storage::{Intent, IntentId, Op, SharedStorage};

/// How long a request waits for its intent (design §5).
const KEEP_WAIT: Duration = Duration::from_millis(5);
/// Intents on their way into the database at most. At the bound a write goes unrecorded, at once.
const MAX_KEEPING: usize = 1024;
/// How long done intents are gathered: many are taken out by one commit.
const GATHER: Duration = Duration::from_millis(50);
/// Done intents that wait for being taken out at most. At the bound one is left in the database: the next process reads
/// its row once for nothing.
const MAX_DONE: usize = 65_536;
/// How often done intents are taken out, while the database cannot be written; then they are left in it.
const CLOSE_TRIES: u32 = 10;
/// Wait after each failure.
const CLOSE_WAIT: Duration = Duration::from_millis(500);

/// What intents are made of.
#[derive(Debug)]
pub struct IntentParts {
    /// Where they are kept.
    pub storage: SharedStorage,
    /// Which stores hold all that legacy has.
    pub caught_up: CaughtUp,
    /// Wall time.
    pub clock: SharedClock,
    /// Randomness, for their numbers.
    pub entropy: SharedEntropy,
    /// How long a request that crossfade lost sight of may still change legacy.
    pub settle: Duration,
}

/// Opens intents and takes them out again.
#[derive(Debug, Clone)]
pub struct Intents(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    parts: IntentParts,
    keeping: Arc<Semaphore>,
    done: Mutex<Done>,
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct Done {
    ids: Vec<IntentId>,
    /// Whether a task is there that takes them out.
    closing: bool,
}

/// A write that legacy was asked to do and that the store may not have yet. Dropping it without a word says that nobody
/// knows what became of it: a backfill has to mend the store then.
#[derive(Debug)]
#[must_use = "dropping it says that nobody knows what became of the write"]
pub struct OpenIntent {
    intents: Intents,
    id: IntentId,
    resource: ResourceName,
    /// Holds the store's answers back.
    guard: Option<OpenMirror>,
    /// Whether the database has it for certain.
    kept: bool,
    told: bool,
}

impl Intents {
    /// No intents yet.
    #[must_use]
    pub fn new(parts: IntentParts) -> Self {
        Self(Arc::new(Inner {
            parts,
            keeping: Arc::new(Semaphore::new(MAX_KEEPING)),
            done: Mutex::default(),
            tasks: TaskTracker::new(),
        }))
    }

    /// Whether the store of a resource has all that legacy has, but for what is on its way.
    pub(super) fn is_caught_up(&self, resource: &ResourceName) -> bool {
        self.0.parts.caught_up.is(resource)
    }

    /// Until when legacy has taken writes that the store does not know of, in epoch milliseconds.
    pub(super) fn missed_ms(&self, resource: &ResourceName) -> u64 {
        self.0.parts.caught_up.missed(resource).done_ms
    }

    /// Waits until no REST write of the row is under way that the store does not have yet; `false` if one still is when
    /// the time is up.
    pub(super) async fn row_closed(
        &self,
        resource: &ResourceName,
        row: &RowId,
        limit: Duration,
    ) -> bool {
        self.0.parts.caught_up.row_closed(resource, row, limit).await
    }

    /// Notes that a store may lack writes, and has it mended.
    pub(super) fn lose_for_now(&self, resource: &ResourceName, now_ms: u64) {
        self.0.parts.caught_up.lose_for_now(resource, self.missed(now_ms));
    }

    /// What the store may lack if a request is lost sight of at `now_ms` (epoch milliseconds).
    fn missed(&self, now_ms: u64) -> Missed {
        Missed { done_ms: now_ms, settled_ms: self.settled_ms(now_ms) }
    }

    /// When a request that was sent at `sent_ms` can no longer change legacy, in epoch milliseconds.
    pub(super) fn settled_ms(&self, sent_ms: u64) -> u64 {
        let settle = u64::try_from(self.0.parts.settle.as_millis()).unwrap_or(u64::MAX);
        sent_ms.saturating_add(settle)
    }

    /// Notes that legacy is about to be asked to write `row`, if the request says which; `path` is the one that the
    /// writer may read. Waits until that is kept, 5 ms at most.
    pub async fn open(
        &self,
        resource: &ResourceName,
        row: Option<RowId>,
        path: Option<PathId>,
    ) -> OpenIntent {
        let parts = &self.0.parts;
        let guard = Some(parts.caught_up.open(resource, row.clone(), path));
        let id = IntentId(parts.entropy.next_u64().cast_signed());
        let opened_ms = parts.clock.now_ms();
        let intent = Intent { id, resource: resource.clone(), row, opened_ms };
        let kept = self.keep(intent).await;
        if !kept {
            parts.caught_up.unrecorded(resource);
        }
        let (intents, resource) = (self.clone(), resource.clone());
        OpenIntent { intents, id, resource, guard, kept, told: false }
    }

    /// Whether it is kept by now. If it is not, it may be yet.
    async fn keep(&self, intent: Intent) -> bool {
        let Ok(place) = self.0.keeping.clone().try_acquire_owned() else { return false };
        let storage = self.0.parts.storage.clone();
        let keeping = self.0.tasks.spawn(async move {
            let kept = storage.commit(vec![Op::OpenIntent(intent)]).await;
            drop(place);
            if let Err(error) = &kept {
                tracing::warn!(%error, "an intent is not kept");
            }
            kept.is_ok()
        });
        matches!(tokio::time::timeout(KEEP_WAIT, keeping).await, Ok(Ok(true)))
    }

    /// An intent that another process has left behind.
    pub(super) fn left_behind(&self, intent: &Intent) -> OpenIntent {
        // Which path the writer may read is not known any more: none of them answers.
        let guard = Some(self.0.parts.caught_up.open(&intent.resource, intent.row.clone(), None));
        let (id, resource) = (intent.id, intent.resource.clone());
        OpenIntent { intents: self.clone(), id, resource, guard, kept: true, told: false }
    }

    /// Takes an intent out, soon.
    fn close(&self, id: IntentId) {
        let mut done = self.lock();
        if done.ids.len() >= MAX_DONE {
            metrics::counter!("crossfade_intents_left_total").increment(1);
            return;
        }
        done.ids.push(id);
        if !std::mem::replace(&mut done.closing, true) {
            let intents = self.clone();
            self.0.tasks.spawn(async move { intents.close_all().await });
        }
    }

    async fn close_all(&self) {
        let mut tries = 0;
        loop {
            tokio::time::sleep(if tries == 0 { GATHER } else { CLOSE_WAIT }).await;
            let ids = std::mem::take(&mut self.lock().ids);
            let close = ids.iter().copied().map(Op::CloseIntent).collect();
            let closed = self.0.parts.storage.commit(close).await;
            let mut done = self.lock();
            match closed {
                Ok(_) => tries = 0,
                Err(_) if tries == CLOSE_TRIES => {
                    metrics::counter!("crossfade_intents_left_total").increment(ids.len() as u64);
                    tries = 0;
                }
                Err(error) => {
                    tracing::warn!(%error, "done intents are not taken out yet");
                    done.ids.extend(ids);
                    tries += 1;
                }
            }
            if done.ids.is_empty() {
                done.closing = false;
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Done> {
        // Every change is one step, so a poisoned lock hides nothing half done.
        self.0.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the database was told of everything so far. New ones may still be opened.
    pub async fn idle(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.tasks.reopen();
    }
}

impl OpenIntent {
    /// The store has what the request did, or it did nothing.
    pub fn done(mut self) {
        self.told = true;
        self.intents.close(self.id);
    }

    /// When a request that was sent at `sent_ms` can no longer change legacy, in epoch milliseconds.
    pub(super) fn settled_ms(&self, sent_ms: u64) -> u64 {
        self.intents.settled_ms(sent_ms)
    }

    /// Lets the store answer again, while the row is to be looked at once more: the caller has no answer that says that
    /// its write was done, so no answer without it is wrong.
    pub(super) fn let_answer(&mut self) {
        self.guard = None;
    }

    /// Leaves it to the next process: as it is in the database, or by having the store mended.
    pub(super) fn leave(mut self) {
        self.told = self.kept;
    }
}

impl Drop for OpenIntent {
    fn drop(&mut self) {
        if self.told {
            return;
        }
        let (intents, id, resource) = (self.intents.clone(), self.id, self.resource.clone());
        let parts = &self.intents.0.parts;
        let missed = intents.missed(parts.clock.now_ms());
        parts.caught_up.lose_for_now(&resource, missed);
        self.intents.0.tasks.spawn(async move {
            // Kept otherwise, it would have the store mended at each start; taken out before that is kept, nobody would.
            for _ in 0..CLOSE_TRIES {
                if intents.0.parts.caught_up.keep(&resource).await.is_ok() {
                    return intents.close(id);
                }
                tokio::time::sleep(CLOSE_WAIT).await;
            }
            metrics::counter!("crossfade_intents_left_total").increment(1);
        });
    }
}

#[cfg(test)]
mod tests;

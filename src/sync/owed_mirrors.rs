//! Mirrors that are owed to the store: rows that a write may have changed in legacy and that could not be read yet, or whose
//! request crossfade lost sight of. Each is read again until it could be; nothing is given up.
//!
//! The queue is in memory, and each row in it holds the intents of its writes, which are in the database: the next process
//! takes them up where this one was killed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Notify, watch};

use super::intents::{Intents, OpenIntent};
use super::legacy_rows::Requested;
use super::mapped::MappedTables;
use super::mirror::Mirror;
use crate::migration::{ResourceName, RowId};
use crate::resource::Resource;
use crate::storage::{Intent, SharedStorage, StorageError};

/// Rows at most. At the bound a row's store is mended by a backfill instead, and that is counted.
const MAX_ROWS: usize = 10_000;
/// Writes that one row is owed for at most. At the bound a backfill mends the store instead, counted as well.
const MAX_WRITES: usize = 64;
/// Deliveries that another process may have had in hand at most.
const MAX_IN_HAND: usize = 256;
/// Rows that are read at once.
const TOGETHER: usize = 16;
/// Wait after a row could not be read; doubled each time.
const FIRST_WAIT_MS: u64 = 500;
/// The longest wait.
const MAX_WAIT_MS: u64 = 30_000;
/// How long to wait when nothing is due: a new row comes earlier.
const IDLE: Duration = Duration::from_secs(60);

/// The queue.
#[derive(Debug, Clone, Default)]
pub struct OwedMirrors(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    rows: Mutex<BTreeMap<Key, Owed>>,
    changed: Notify,
}

type Key = (ResourceName, RowId);

/// A row to be read again.
#[derive(Debug)]
struct Owed {
    resource: Arc<Resource>,
    /// The writes that it is read for.
    intents: Vec<OpenIntent>,
    /// When, in epoch milliseconds.
    due_ms: u64,
    /// When once more, because a request that crossfade lost sight of may change legacy until then.
    once_more_ms: Option<u64>,
    /// What requests asked to be written, as far as that is known.
    requested: Vec<Requested>,
    tries: u32,
}

impl Owed {
    /// Has it read at these times too: at the first of all, and not for the last time before the last of all.
    fn look_at(&mut self, due_ms: u64, once_more_ms: Option<u64>) {
        let (first, later) = (self.due_ms.min(due_ms), self.due_ms.max(due_ms));
        let last = self.once_more_ms.max(once_more_ms).max(Some(later));
        (self.due_ms, self.once_more_ms) = (first, last.filter(|last| *last > first));
    }
}

/// What is to be read, and for which write.
#[derive(Debug)]
pub(super) struct OwedMirror {
    pub(super) resource: Arc<Resource>,
    pub(super) row: RowId,
    pub(super) intent: OpenIntent,
    /// When, in epoch milliseconds.
    pub(super) due_ms: u64,
    /// When once more, if the request's outcome is unknown.
    pub(super) once_more_ms: Option<u64>,
    /// What the request asked to be written, if that is known.
    pub(super) requested: Option<Requested>,
}

impl OwedMirrors {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Owed>> {
        // Every change is one step, so a poisoned lock hides nothing half done.
        self.0.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many rows are owed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Owes a row to the store.
    pub(super) fn owe(&self, one: OwedMirror) {
        let OwedMirror { resource, row, intent, due_ms, once_more_ms, requested } = one;
        let key = (resource.name.clone(), row);
        let mut rows = self.lock();
        let full = match rows.get(&key) {
            Some(owed) => owed.intents.len() >= MAX_WRITES,
            None => rows.len() >= MAX_ROWS,
        };
        if full {
            drop(rows);
            metrics::counter!("crossfade_mirrors_shed_total").increment(1);
            // Without a word: a backfill mends the store.
            drop(intent);
            return;
        }
        let new = || Owed {
            resource,
            intents: Vec::new(),
            due_ms,
            once_more_ms: None,
            requested: Vec::new(),
            tries: 0,
        };
        let owed = rows.entry(key).or_insert_with(new);
        owed.intents.push(intent);
        owed.requested.extend(requested);
        owed.look_at(due_ms, once_more_ms);
        drop(rows);
        self.0.changed.notify_one();
    }

    /// Has a row read once more when a request of `sent_ms` (epoch milliseconds), whose answer is lost, can no longer be under
    /// way. Until then the store may answer: nobody was told that the request is done.
    pub(super) fn look_once_more(
        &self,
        resource: Arc<Resource>,
        row: RowId,
        mut intent: OpenIntent,
        sent_ms: u64,
        requested: Option<Requested>,
    ) {
        let due_ms = intent.settled_ms(sent_ms);
        intent.let_answer();
        metrics::counter!("crossfade_mirror_looked_once_more_total").increment(1);
        let once_more_ms = None;
        self.owe(OwedMirror { resource, row, intent, due_ms, once_more_ms, requested });
    }

    /// Takes up what a process that was killed has left behind: its intents, and deliveries that it may have had in hand. To be called before a store answers.
    ///
    /// # Errors
    /// [`StorageError`] if the database cannot be read.
    pub async fn take_up(
        &self,
        storage: &SharedStorage,
        intents: &Intents,
        tables: &MappedTables,
        now_ms: u64,
    ) -> Result<(), StorageError> {
        let left = storage.open_intents(MAX_ROWS + 1).await?;
        self.look_after_deliveries(storage, intents, tables, now_ms).await?;
        if !left.is_empty() {
            tracing::info!(intents = left.len(), "requests were under way when it was stopped");
        }
        if left.len() > MAX_ROWS {
            // Whoever the rest are of: their rows are not read one by one.
            tables.resources().for_each(|one| intents.lose_for_now(&one.name, now_ms));
        }
        metrics::counter!("crossfade_intents_taken_up_total").increment(left.len() as u64);
        for intent in left {
            let open = intents.left_behind(&intent);
            let Some(resource) = tables.named(&intent.resource).cloned() else {
                // It is configured no more, so no store of it is believed either.
                open.done();
                continue;
            };
            self.take_up_one(resource, intent, open, intents, now_ms);
        }
        Ok(())
    }

    /// What was in hand is among what has been due for longest.
    async fn look_after_deliveries(
        &self,
        storage: &SharedStorage,
        intents: &Intents,
        tables: &MappedTables,
        now_ms: u64,
    ) -> Result<(), StorageError> {
        let in_hand = storage.due_entries(u64::MAX, MAX_IN_HAND).await?;
        let looks = in_hand.into_iter().filter_map(|entry| {
            let resource = tables.named(&entry.entry.resource).cloned()?;
            Some((resource, entry.entry.row))
        });
        // Kept, for by the time that they are looked at the entries may be done, and this process killed.
        let opened = looks.map(|(resource, row)| async move {
            let intent = intents.open(&resource.name, Some(row.clone()), None).await;
            self.look_once_more(resource, row, intent, now_ms, None);
        });
        join_all(opened).await;
        Ok(())
    }

    fn take_up_one(
        &self,
        resource: Arc<Resource>,
        intent: Intent,
        open: OpenIntent,
        intents: &Intents,
        now_ms: u64,
    ) {
        let Intent { row, opened_ms, .. } = intent;
        match row {
            Some(row) => {
                // Not longer than a request may take, should a clock have been set back meanwhile.
                let once_more_ms = intents.settled_ms(opened_ms).min(intents.settled_ms(now_ms));
                let once_more_ms = Some(once_more_ms).filter(|at| *at > now_ms);
                let requested = Some(Requested { fields: None, sent_ms: opened_ms });
                let (intent, due_ms) = (open, now_ms);
                self.owe(OwedMirror { resource, row, intent, due_ms, once_more_ms, requested });
            }
            // Which row it made, if it made one, only the list tells.
            None => drop(open),
        }
    }

    /// Takes out the rows that are due, as many as are read at once.
    fn due(&self, now_ms: u64) -> Vec<(RowId, Owed)> {
        let mut rows = self.lock();
        let due = rows.iter().filter(|(_, owed)| owed.due_ms <= now_ms);
        let keys: Vec<Key> = due.take(TOGETHER).map(|(key, _)| key.clone()).collect();
        let taken = keys.into_iter().filter_map(|key| Some((rows.remove(&key)?, key.1)));
        taken.map(|(owed, row)| (row, owed)).collect()
    }

    fn next_due_ms(&self) -> Option<u64> {
        self.lock().values().map(|owed| owed.due_ms).min()
    }

    /// Puts a row back, beside what was owed of it meanwhile.
    fn put_back(&self, row: RowId, owed: Owed) {
        let key = (owed.resource.name.clone(), row);
        match self.lock().entry(key) {
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(owed);
            }
            std::collections::btree_map::Entry::Occupied(mut there) => {
                let there = there.get_mut();
                there.intents.extend(owed.intents);
                there.requested.extend(owed.requested);
                there.look_at(owed.due_ms, owed.once_more_ms);
            }
        }
    }

    /// Leaves all rows to the next process.
    pub(super) fn leave(&self) {
        let rows = std::mem::take(&mut *self.lock());
        rows.into_values().flat_map(|owed| owed.intents).for_each(OpenIntent::leave);
    }
}

/// Reads owed rows until `shutdown` turns true; what is left then is left to the next process.
pub async fn run(mirror: Mirror, mut shutdown: watch::Receiver<bool>) {
    let owed = mirror.owed();
    while !*shutdown.borrow() {
        let due = owed.due(mirror.now_ms());
        let reading = due.into_iter().map(|(row, one)| read(&mirror, row, one));
        let read = join_all(reading).await.len();
        metrics::gauge!("crossfade_mirrors_owed").set(owed.len() as f64);
        if read > 0 {
            continue;
        }
        let wait = owed.next_due_ms().map_or(IDLE, |due_ms| {
            Duration::from_millis(due_ms.saturating_sub(mirror.now_ms()).max(1))
        });
        tokio::select! {
            () = tokio::time::sleep(wait.min(IDLE)) => {}
            () = owed.0.changed.notified() => {}
            stopped = shutdown.changed() => {
                if stopped.is_err() {
                    break;
                }
            }
        }
    }
    owed.leave();
}

/// Reads a row, and puts it back unless it is through.
async fn read(mirror: &Mirror, row: RowId, mut one: Owed) {
    let read = mirror.read(&one.resource, row.clone(), &one.requested).await;
    let now_ms = mirror.now_ms();
    match (read, one.once_more_ms.take()) {
        (Ok(()), Some(at)) if at > now_ms => {
            one.intents.iter_mut().for_each(OpenIntent::let_answer);
            metrics::counter!("crossfade_mirror_looked_once_more_total").increment(1);
            (one.due_ms, one.tries) = (at, 0);
            mirror.owed().put_back(row, one);
        }
        (Ok(()), _) => one.intents.into_iter().for_each(OpenIntent::done),
        (Err(error), once_more_ms) if error.may_pass() => {
            metrics::counter!("crossfade_mirror_retries_total").increment(1);
            tracing::warn!(resource = %one.resource.name, %error, "a row is still owed to the store");
            let wait = FIRST_WAIT_MS.saturating_mul(1 << one.tries.min(10)).min(MAX_WAIT_MS);
            one.tries += 1;
            (one.due_ms, one.once_more_ms) = (now_ms + wait, once_more_ms);
            mirror.owed().put_back(row, one);
        }
        (Err(error), _) => {
            mirror.failed(&one.resource, &error);
            one.intents.into_iter().for_each(OpenIntent::done);
        }
    }
}

#[cfg(test)]
mod tests;

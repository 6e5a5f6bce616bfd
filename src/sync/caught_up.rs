//! Which stores hold all that legacy has: one that is not caught up answers no reads.
//!
//! A path is caught up in a resource while the resource's backfill is finished, no write reached legacy
//! that is not mirrored, and no mirror is under way.

mod standing;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::migration::{PathId, ResourceName, RowId};
use crate::storage::{ControlOp, SharedStorage, StorageError};

pub use standing::{Missed, Standing};

/// How often the database is told that a store is not caught up, while it cannot be written.
const KEEP_TRIES: u32 = 10;
/// Wait after each failure.
const KEEP_WAIT: Duration = Duration::from_millis(500);

/// For how long ahead it is kept that writes pass the store by: of many in a row, one a second is kept.
const KEPT_AHEAD_MS: u64 = 1_000;

/// How often the database is told that writes went unrecorded, while it cannot be written.
const MARK_TRIES: u32 = 20;
/// Wait after the first failure; doubled each time.
const FIRST_MARK_WAIT: Duration = Duration::from_millis(10);

/// Control keys that say whether writes went to legacy before an intent told of them; still `yes` at a start, the
/// process was killed, and nobody knows whether their mirrors were done.
const UNRECORDED: &str = "unrecorded.";
const YES: &str = "yes";
const NO: &str = "no";
const PREFIX: &str = "backfill.";
const RECONCILED: &str = "reconcile.";

/// What comparing both sides in full came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Reconciled {
    /// When it began, in epoch milliseconds.
    pub at_ms: u64,
    /// Rows that were compared.
    pub rows: u64,
    /// Rows that have diverged and were not repaired.
    pub differ: u64,
}

/// What is known of each resource; whether a backfill is finished is kept in the database.
#[derive(Debug, Clone)]
pub struct CaughtUp {
    storage: SharedStorage,
    state: Arc<Mutex<State>>,
    /// How long a request that crossfade lost sight of may still change legacy, in milliseconds.
    settle_ms: u64,
    /// Woken when a mirror is no longer under way.
    closed: Arc<Notify>,
    /// What is being told to the database.
    keeping: TaskTracker,
}

#[derive(Debug, Default)]
struct State {
    resources: HashMap<ResourceName, Known>,
    /// Mirrors under way, by the path that the writer may read; `None` where nobody knows it.
    open: HashMap<(ResourceName, Option<PathId>), u64>,
    /// The same, by their rows, where these are known.
    rows: HashMap<RowKey, u64>,
    /// Writes under way that pass the store by.
    passing: HashMap<ResourceName, u64>,
}

type RowKey = (ResourceName, RowId);

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    standing: Standing,
    missed: Missed,
    /// What the database says of writes that pass the store by: a bit more, so that it need not be told of each.
    kept: Missed,
    /// Whether the database was told that writes went unrecorded.
    marked: bool,
    /// Times that it was lost: a backfill that began before the last one proves nothing.
    losses: u64,
    /// What the last reconcile came to, if nothing was lost since it began.
    reconciled: Option<Reconciled>,
}

/// A backfill or a reconcile under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    losses: u64,
    at_ms: u64,
}

/// A write that legacy was asked to do and that the store does not have yet. Dropping it says that the
/// store has it now, or that it never will.
#[derive(Debug)]
pub struct OpenMirror {
    state: Arc<Mutex<State>>,
    closed: Arc<Notify>,
    key: (ResourceName, Option<PathId>),
    row: Option<RowKey>,
}

impl Drop for OpenMirror {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        release(&mut state.open, &self.key);
        if let Some(row) = &self.row {
            release(&mut state.rows, row);
        }
        drop(state);
        self.closed.notify_waiters();
    }
}

/// A write on its way to legacy alone. To be dropped once its end was noted.
#[derive(Debug)]
pub struct PassingBy {
    state: Arc<Mutex<State>>,
    resource: ResourceName,
}

impl PassingBy {
    pub(super) const fn resource(&self) -> &ResourceName {
        &self.resource
    }
}

impl Drop for PassingBy {
    fn drop(&mut self) {
        release(&mut lock(&self.state).passing, &self.resource);
    }
}

fn release<K: std::hash::Hash + Eq>(open: &mut HashMap<K, u64>, key: &K) {
    if let Some(count) = open.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            open.remove(key);
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Every change is one step, so a poisoned lock hides nothing half done.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CaughtUp {
    /// As the database has it, at `now_ms` (epoch milliseconds); a request that crossfade lost sight of may change legacy
    /// for `settle` after it was sent.
    ///
    /// # Errors
    /// [`StorageError`] if it cannot be read.
    pub async fn load(
        storage: SharedStorage,
        now_ms: u64,
        settle: Duration,
    ) -> Result<Self, StorageError> {
        let stored = storage.controls(PREFIX.to_owned()).await?;
        let known = stored.into_iter().filter_map(|(key, value)| {
            let name = ResourceName::new(key.strip_prefix(PREFIX)?);
            let (standing, missed) = Standing::of_kept(&value);
            Some((name, Known { standing, missed, kept: missed, ..Known::default() }))
        });
        let mut resources: HashMap<_, _> = known.collect();
        for (key, value) in storage.controls(RECONCILED.to_owned()).await? {
            let Some(name) = key.strip_prefix(RECONCILED) else { continue };
            let known: &mut Known = resources.entry(ResourceName::new(name)).or_default();
            known.reconciled = serde_json::from_str(&value).ok();
        }
        let state = State { resources, ..State::default() };
        let caught_up = Self {
            storage,
            state: Arc::new(Mutex::new(state)),
            settle_ms: u64::try_from(settle.as_millis()).unwrap_or(u64::MAX),
            closed: Arc::default(),
            keeping: TaskTracker::new(),
        };
        caught_up.distrust_what_was_killed(now_ms).await?;
        Ok(caught_up)
    }

    /// A process that was killed while writes were on their way that no intent tells of may have left legacy with a
    /// write that the store lacks: nobody knows, so the resource is not taken as caught up.
    async fn distrust_what_was_killed(&self, now_ms: u64) -> Result<(), StorageError> {
        let missed = Missed { done_ms: now_ms, settled_ms: now_ms.saturating_add(self.settle_ms) };
        for (key, value) in self.storage.controls(UNRECORDED.to_owned()).await? {
            let Some(name) = key.strip_prefix(UNRECORDED).filter(|_| value == YES) else {
                continue;
            };
            let resource = ResourceName::new(name);
            self.lose_for_now(&resource, missed);
            self.idle().await;
            // From here on the loss is kept, and the mark speaks of this process.
            self.mark(&resource, NO).await;
        }
        Ok(())
    }

    /// Where the resource stands.
    #[must_use]
    pub fn standing(&self, resource: &ResourceName) -> Standing {
        lock(&self.state).resources.get(resource).copied().unwrap_or_default().standing
    }

    /// How many writes legacy was asked to do that the store may not have yet.
    #[must_use]
    pub fn under_way(&self, resource: &ResourceName) -> u64 {
        let state = lock(&self.state);
        state.open.iter().filter(|((of, _), _)| of == resource).map(|(_, count)| count).sum()
    }

    /// Writes that legacy may have taken and the store does not know of.
    #[must_use]
    pub fn missed(&self, resource: &ResourceName) -> Missed {
        lock(&self.state).resources.get(resource).map(|known| known.missed).unwrap_or_default()
    }

    /// Whether the resource's backfill is finished and holds.
    #[must_use]
    pub fn is(&self, resource: &ResourceName) -> bool {
        self.standing(resource) == Standing::Finished
    }

    /// Whether the store of `path` may answer reads of the resource now.
    #[must_use]
    pub fn may_answer(&self, resource: &ResourceName, path: &PathId) -> bool {
        let state = lock(&self.state);
        let open =
            |path: Option<&PathId>| state.open.contains_key(&(resource.clone(), path.cloned()));
        let known = state.resources.get(resource).copied().unwrap_or_default();
        known.standing == Standing::Finished && !open(Some(path)) && !open(None)
    }

    /// Notes that legacy is being asked to write `row`, if the request says which; `path` is the one that the writer may
    /// read. For requests of clients, [`Intents::open`](super::Intents::open) does it, and has it kept.
    #[must_use]
    pub fn open(
        &self,
        resource: &ResourceName,
        row: Option<RowId>,
        path: Option<PathId>,
    ) -> OpenMirror {
        let key = (resource.clone(), path);
        let row = row.map(|row| (resource.clone(), row));
        let mut state = lock(&self.state);
        *state.open.entry(key.clone()).or_default() += 1;
        if let Some(row) = &row {
            *state.rows.entry(row.clone()).or_default() += 1;
        }
        drop(state);
        OpenMirror { state: self.state.clone(), closed: self.closed.clone(), key, row }
    }

    /// Whether a mirror is under way of which nobody knows the row, as of one that is being made.
    #[must_use]
    pub fn is_unknown_row_open(&self, resource: &ResourceName) -> bool {
        let state = lock(&self.state);
        let all = state.open.iter().filter(|((of, _), _)| of == resource);
        let known = state.rows.iter().filter(|((of, _), _)| of == resource);
        all.map(|(_, count)| count).sum::<u64>() > known.map(|(_, count)| count).sum::<u64>()
    }

    /// Whether a mirror of the row is under way.
    #[must_use]
    pub fn is_row_open(&self, resource: &ResourceName, row: &RowId) -> bool {
        lock(&self.state).rows.contains_key(&(resource.clone(), row.clone()))
    }

    /// Waits until no mirror of the row is under way; `false` if one still is when the time is up.
    pub(super) async fn row_closed(
        &self,
        resource: &ResourceName,
        row: &RowId,
        limit: Duration,
    ) -> bool {
        let key = (resource.clone(), row.clone());
        let closed = async {
            loop {
                // Registered before the look, so that no end in between is missed.
                let closed = self.closed.notified();
                tokio::pin!(closed);
                closed.as_mut().enable();
                if !lock(&self.state).rows.contains_key(&key) {
                    return;
                }
                closed.await;
            }
        };
        tokio::time::timeout(limit, closed).await.is_ok()
    }

    /// Notes that a write is on its way to legacy of which no intent is kept: should this process be killed, the next
    /// one does not believe the store. Told to the database in the background, once.
    pub fn unrecorded(&self, resource: &ResourceName) {
        metrics::counter!("crossfade_writes_unrecorded_total").increment(1);
        let marked = {
            let mut state = lock(&self.state);
            let known = state.resources.entry(resource.clone()).or_default();
            std::mem::replace(&mut known.marked, true)
        };
        if !marked {
            let (caught_up, resource) = (self.clone(), resource.clone());
            self.keeping.spawn(async move { caught_up.mark(&resource, YES).await });
        }
    }

    /// Until it is kept: a kill before that goes unnoticed.
    async fn mark(&self, resource: &ResourceName, value: &str) {
        let put =
            ControlOp::Put { key: format!("{UNRECORDED}{resource}"), value: value.to_owned() };
        let mut wait = FIRST_MARK_WAIT;
        for _ in 0..MARK_TRIES {
            let Err(error) = self.storage.commit_control(vec![put.clone()]).await else { return };
            tracing::warn!(%resource, %error, "it is not kept that writes went unrecorded");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(KEEP_WAIT);
        }
        // The next one tries again.
        lock(&self.state).resources.entry(resource.clone()).or_default().marked = false;
    }

    /// Keeps what holds exactly, and that no write is unrecorded: for a stop, when no mirror is under way and none will
    /// come.
    pub async fn close(&self) {
        self.idle().await;
        let (mut exactly, mut marked) = (Vec::new(), Vec::new());
        for (resource, known) in &mut lock(&self.state).resources {
            if known.kept != known.missed {
                known.kept = known.missed;
                exactly.push(resource.clone());
            }
            if known.marked {
                marked.push(resource.clone());
            }
        }
        for resource in exactly {
            self.keep_at_last(&resource).await;
        }
        for resource in marked {
            self.mark(&resource, NO).await;
        }
    }

    /// Notes that a write passes the store by: legacy alone is asked for it, at `now_ms` (epoch milliseconds). While it is
    /// under way no backfill is believed that might miss it.
    #[must_use]
    pub fn pass_by(&self, resource: &ResourceName, now_ms: u64) -> PassingBy {
        self.lose(resource, Missed { done_ms: now_ms, settled_ms: now_ms });
        *lock(&self.state).passing.entry(resource.clone()).or_default() += 1;
        PassingBy { state: self.state.clone(), resource: resource.clone() }
    }

    /// Notes that legacy has writes, or may have them, that the store will not get. The database is told in the background,
    /// so that, should this process be killed, the next one believes no backfill that began while requests of this one
    /// could still be under way.
    pub fn lose(&self, resource: &ResourceName, missed: Missed) {
        if self.leave(resource, missed, |_| Standing::Unfinished) {
            tracing::warn!(%resource, "its store is not caught up any more: run `crossfade backfill`");
        }
    }

    /// Notes that the store may lack writes that it was to get, and that a backfill mends it once they are settled. What an
    /// operator has to begin stays as it is. The database is told in the background.
    pub fn lose_for_now(&self, resource: &ResourceName, missed: Missed) {
        let after_ms = missed.settled_ms;
        let mending = |standing| match standing {
            Standing::Unfinished => Standing::Unfinished,
            Standing::Finished => Standing::Mending { after_ms },
            Standing::Mending { after_ms: at } => Standing::Mending { after_ms: at.max(after_ms) },
        };
        if self.leave(resource, missed, mending) {
            tracing::warn!(%resource, "its store may lack a write; a backfill will mend it");
        }
    }

    /// Leaves a standing for another. Gives whether the store was caught up before.
    fn leave(
        &self,
        resource: &ResourceName,
        missed: Missed,
        to: impl Fn(Standing) -> Standing,
    ) -> bool {
        let (before, after, news) = {
            let mut state = lock(&self.state);
            let known = state.resources.entry(resource.clone()).or_default();
            known.losses += 1;
            let before = known.standing;
            known.standing = to(before);
            known.missed = known.missed.and(missed);
            let later = known.kept.and(missed) != known.kept;
            if later {
                let more_will_come = known.standing == Standing::Unfinished
                    && known.missed.done_ms > known.kept.done_ms;
                known.kept =
                    if more_will_come { self.ahead_of(known.missed) } else { known.missed };
            }
            let changed = before != known.standing || known.reconciled.take().is_some();
            (before, known.standing, changed || later)
        };
        if news {
            let (caught_up, resource) = (self.clone(), resource.clone());
            self.keeping.spawn(async move { caught_up.keep_at_last(&resource).await });
        }
        let lost = before == Standing::Finished && after != Standing::Finished;
        if lost {
            metrics::counter!("crossfade_caught_up_lost_total").increment(1);
        }
        lost
    }

    /// What is kept of `missed`, so that more of the same need not be kept for a while; and should this process be killed,
    /// its requests are out of sight.
    fn ahead_of(&self, missed: Missed) -> Missed {
        self.lost_sight_of(missed, missed.done_ms.saturating_add(KEPT_AHEAD_MS))
    }

    /// The same once requests that were sent by `done_ms` (epoch milliseconds) are out of sight.
    fn lost_sight_of(&self, missed: Missed, done_ms: u64) -> Missed {
        missed.and(Missed { done_ms, settled_ms: done_ms.saturating_add(self.settle_ms) })
    }

    /// Waits until the database was told of everything so far.
    pub async fn idle(&self) {
        self.keeping.close();
        self.keeping.wait().await;
        self.keeping.reopen();
    }

    /// A store that is believed after a restart, and lacks writes, would be wrong in silence.
    async fn keep_at_last(&self, resource: &ResourceName) {
        for _ in 0..KEEP_TRIES {
            let Err(error) = self.keep(resource).await else { return };
            tracing::error!(%resource, %error, "that the store is not caught up is not kept yet");
            tokio::time::sleep(KEEP_WAIT).await;
        }
    }

    /// Begins a backfill or a reconcile, at `now_ms` (epoch milliseconds).
    #[must_use]
    pub fn begin(&self, resource: &ResourceName, now_ms: u64) -> Begun {
        let known = lock(&self.state).resources.get(resource).copied().unwrap_or_default();
        Begun { losses: known.losses, at_ms: now_ms }
    }

    /// Keeps that the resource's backfill is finished. `false` if a write was lost since it began: then
    /// it has to be done again. If a request that crossfade lost sight of could still change legacy when it began, or
    /// a write passes the store by now, the store is [`Standing::Mending`] afterwards.
    ///
    /// # Errors
    /// [`StorageError`] if it cannot be kept; then it is not taken as finished.
    pub async fn finish(
        &self,
        resource: &ResourceName,
        begun: Begun,
    ) -> Result<bool, StorageError> {
        let before;
        {
            let mut state = lock(&self.state);
            let is_passed_by = state.passing.contains_key(resource);
            let known = state.resources.entry(resource.clone()).or_default();
            if known.losses != begun.losses {
                return Ok(false);
            }
            if is_passed_by {
                known.missed = self.lost_sight_of(known.missed, known.missed.done_ms);
            }
            known.kept = known.missed;
            let settled = known.missed.settled_ms <= begun.at_ms;
            let mending = Standing::Mending { after_ms: known.missed.settled_ms };
            let standing = if settled { Standing::Finished } else { mending };
            before = std::mem::replace(&mut known.standing, standing);
        }
        let kept = self.keep(resource).await;
        if kept.is_err() {
            lock(&self.state).resources.entry(resource.clone()).or_default().standing = before;
        }
        kept.map(|()| true)
    }

    /// What the last reconcile came to, if nothing was lost since it began.
    #[must_use]
    pub fn last_reconciled(&self, resource: &ResourceName) -> Option<Reconciled> {
        lock(&self.state).resources.get(resource)?.reconciled
    }

    /// Keeps what a reconcile came to; not, if a write was lost since it began.
    ///
    /// # Errors
    /// [`StorageError`] if it cannot be kept; it holds until the next start all the same.
    pub async fn reconciled(
        &self,
        resource: &ResourceName,
        begun: Begun,
        came_to: Reconciled,
    ) -> Result<(), StorageError> {
        {
            let mut state = lock(&self.state);
            let known = state.resources.entry(resource.clone()).or_default();
            if known.losses != begun.losses || known.missed.settled_ms > begun.at_ms {
                return Ok(());
            }
            known.reconciled = Some(came_to);
        }
        self.keep(resource).await
    }

    /// Keeps what is known now. Whoever changed it last writes last: it is read when it is written.
    pub(super) async fn keep(&self, resource: &ResourceName) -> Result<(), StorageError> {
        let known = lock(&self.state).resources.get(resource).copied().unwrap_or_default();
        // An empty text stands for none: one that is not known any more must not be found again.
        let reconciled =
            known.reconciled.map(|one| serde_json::to_string(&one).unwrap_or_default());
        let put =
            |prefix: &str, value| ControlOp::Put { key: format!("{prefix}{resource}"), value };
        let standing = put(PREFIX, known.standing.to_kept(known.kept));
        let reconciled = put(RECONCILED, reconciled.unwrap_or_default());
        self.storage.commit_control(vec![standing, reconciled]).await
    }
}

#[cfg(test)]
mod tests;

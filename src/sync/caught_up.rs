//! Which stores hold all that legacy has: one that is not caught up answers no reads.
//!
//! A path is caught up in a resource while the resource's backfill is finished, no write reached legacy
//! that is not mirrored, and no mirror is under way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::task::TaskTracker;

use crate::migration::{PathId, ResourceName};
use crate::storage::{ControlOp, SharedStorage, StorageError};

/// How often the database is told that a store is not caught up, while it cannot be written.
const KEEP_TRIES: u32 = 10;
/// Wait after each failure.
const KEEP_WAIT: Duration = Duration::from_millis(500);

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
const FINISHED: &str = "finished";
const LOST: &str = "lost.";
const MENDING: &str = "mending.";

/// Whether a resource's store holds all that legacy has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// No: nobody has run a backfill, or writes passed it by that crossfade was not to mirror. An operator runs one.
    #[default]
    Unfinished,
    /// Not for now: a write may be missing that crossfade was to mirror. It runs a backfill by itself, not before
    /// this time in epoch milliseconds, when no request that may still change legacy is under way any more.
    Mending {
        /// When, at the earliest.
        after_ms: u64,
    },
    /// Yes: its backfill is finished, and no write was missed since.
    Finished,
}

impl Standing {
    fn to_kept(self, settled_ms: u64) -> String {
        match self {
            Self::Unfinished => format!("{LOST}{settled_ms}"),
            Self::Mending { after_ms } => format!("{MENDING}{after_ms}"),
            Self::Finished => FINISHED.to_owned(),
        }
    }

    /// With the time from which on a backfill can be believed.
    fn of_kept(kept: &str) -> (Self, u64) {
        let after = |prefix: &str| kept.strip_prefix(prefix)?.parse().ok();
        match (kept, after(MENDING)) {
            (FINISHED, _) => (Self::Finished, 0),
            (_, Some(after_ms)) => (Self::Mending { after_ms }, after_ms),
            // Also what nobody can read: a store is not believed by mistake.
            _ => (Self::Unfinished, after(LOST).unwrap_or(0)),
        }
    }
}

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
    /// What is being told to the database.
    keeping: TaskTracker,
}

#[derive(Debug, Default)]
struct State {
    resources: HashMap<ResourceName, Known>,
    /// Mirrors under way, by the path that the writer may read; `None` where nobody knows it.
    open: HashMap<(ResourceName, Option<PathId>), u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    standing: Standing,
    /// Until then (epoch milliseconds) a request that crossfade lost sight of may change legacy: no backfill that ends
    /// before is believed.
    settled_ms: u64,
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
    key: (ResourceName, Option<PathId>),
}

impl Drop for OpenMirror {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        if let Some(count) = state.open.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                state.open.remove(&self.key);
            }
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Every change is one step, so a poisoned lock hides nothing half done.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CaughtUp {
    /// As the database has it. Requests of a process that was killed may change legacy until `settled_ms`, in epoch
    /// milliseconds.
    ///
    /// # Errors
    /// [`StorageError`] if it cannot be read.
    pub async fn load(storage: SharedStorage, settled_ms: u64) -> Result<Self, StorageError> {
        let stored = storage.controls(PREFIX.to_owned()).await?;
        let known = stored.into_iter().filter_map(|(key, value)| {
            let name = ResourceName::new(key.strip_prefix(PREFIX)?);
            let (standing, settled_ms) = Standing::of_kept(&value);
            Some((name, Known { standing, settled_ms, ..Known::default() }))
        });
        let mut resources: HashMap<_, _> = known.collect();
        for (key, value) in storage.controls(RECONCILED.to_owned()).await? {
            let Some(name) = key.strip_prefix(RECONCILED) else { continue };
            let known: &mut Known = resources.entry(ResourceName::new(name)).or_default();
            known.reconciled = serde_json::from_str(&value).ok();
        }
        let state = State { resources, open: HashMap::new() };
        let caught_up =
            Self { storage, state: Arc::new(Mutex::new(state)), keeping: TaskTracker::new() };
        caught_up.distrust_what_was_killed(settled_ms).await?;
        Ok(caught_up)
    }

    /// A process that was killed while writes were on their way that no intent tells of may have left legacy with a
    /// write that the store lacks: nobody knows, so the resource is not taken as caught up.
    async fn distrust_what_was_killed(&self, settled_ms: u64) -> Result<(), StorageError> {
        for (key, value) in self.storage.controls(UNRECORDED.to_owned()).await? {
            let Some(name) = key.strip_prefix(UNRECORDED).filter(|_| value == YES) else {
                continue;
            };
            let resource = ResourceName::new(name);
            self.lose_for_now(&resource, settled_ms);
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

    /// Until when legacy may have taken writes that the store does not know of, in epoch milliseconds.
    #[must_use]
    pub fn settled_ms(&self, resource: &ResourceName) -> u64 {
        lock(&self.state).resources.get(resource).map_or(0, |known| known.settled_ms)
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

    /// Notes that legacy is being asked to write; `path` is the one that the writer may read. For requests of clients,
    /// [`Intents::open`](super::Intents::open) does it, and has it kept.
    #[must_use]
    pub fn open(&self, resource: &ResourceName, path: Option<PathId>) -> OpenMirror {
        let key = (resource.clone(), path);
        *lock(&self.state).open.entry(key.clone()).or_default() += 1;
        OpenMirror { state: self.state.clone(), key }
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

    /// Keeps that no write is unrecorded: for a stop, when no mirror is under way and none will come.
    pub async fn close(&self) {
        self.idle().await;
        let marked: Vec<_> = {
            let state = lock(&self.state);
            let marked = state.resources.iter().filter(|(_, known)| known.marked);
            marked.map(|(resource, _)| resource.clone()).collect()
        };
        for resource in marked {
            self.mark(&resource, NO).await;
        }
    }

    /// Notes that legacy has a write, done at `now_ms` (epoch milliseconds) or before, that the store will not get; the database is told in the background.
    pub fn lose(&self, resource: &ResourceName, now_ms: u64) {
        // Of many in a row, while nothing is mirrored, the first is kept.
        if self.leave(resource, now_ms, false, |_| Standing::Unfinished) {
            tracing::warn!(%resource, "its store is not caught up any more: run `crossfade backfill`");
        }
    }

    /// Notes that the store may lack a write that it was to get, and that a backfill mends it, from `after_ms` on (epoch
    /// milliseconds). What an operator has to begin stays as it is. The database is told in the background.
    pub fn lose_for_now(&self, resource: &ResourceName, after_ms: u64) {
        let mending = |standing| match standing {
            Standing::Unfinished => Standing::Unfinished,
            Standing::Finished => Standing::Mending { after_ms },
            Standing::Mending { after_ms: at } => Standing::Mending { after_ms: at.max(after_ms) },
        };
        if self.leave(resource, after_ms, true, mending) {
            tracing::warn!(%resource, "its store may lack a write; a backfill will mend it");
        }
    }

    /// Leaves a standing for another. Gives whether the store was caught up before.
    fn leave(
        &self,
        resource: &ResourceName,
        settled_ms: u64,
        keep_time: bool,
        to: impl Fn(Standing) -> Standing,
    ) -> bool {
        let (before, after, news) = {
            let mut state = lock(&self.state);
            let known = state.resources.entry(resource.clone()).or_default();
            known.losses += 1;
            let before = known.standing;
            known.standing = to(before);
            let later = settled_ms > known.settled_ms;
            known.settled_ms = known.settled_ms.max(settled_ms);
            let changed = before != known.standing || known.reconciled.take().is_some();
            (before, known.standing, changed || (later && keep_time))
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
    /// it has to be done again. If a request that crossfade lost sight of could still change legacy when it began, the
    /// store is [`Standing::Mending`] afterwards.
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
            let known = state.resources.entry(resource.clone()).or_default();
            if known.losses != begun.losses {
                return Ok(false);
            }
            let settled = known.settled_ms <= begun.at_ms;
            let mending = Standing::Mending { after_ms: known.settled_ms };
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
            if known.losses != begun.losses || known.settled_ms > begun.at_ms {
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
        let standing = put(PREFIX, known.standing.to_kept(known.settled_ms));
        let reconciled = put(RECONCILED, reconciled.unwrap_or_default());
        self.storage.commit_control(vec![standing, reconciled]).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    #[tokio::test]
    async fn a_store_answers_only_while_nothing_is_missing() {
        let storage: SharedStorage = Arc::new(MemoryStorage::default());
        let (users, org) = (ResourceName::new("users"), PathId::new("org/o_1").unwrap());
        let caught_up = CaughtUp::load(storage.clone(), 0).await.unwrap();
        assert!(!caught_up.may_answer(&users, &org));
        assert!(caught_up.finish(&users, caught_up.begin(&users, u64::MAX)).await.unwrap());
        assert!(caught_up.may_answer(&users, &org));
        // A mirror under way in this path, in another one, and in one that nobody knows.
        let mirror = caught_up.open(&users, Some(org.clone()));
        assert!(!caught_up.may_answer(&users, &org));
        drop(mirror);
        let elsewhere = caught_up.open(&users, Some(PathId::new("org/o_2").unwrap()));
        assert!(caught_up.may_answer(&users, &org));
        drop(elsewhere);
        let unknown = caught_up.open(&users, None);
        assert!(!caught_up.may_answer(&users, &org));
        drop(unknown);
        caught_up.close().await;
        assert!(CaughtUp::load(storage.clone(), 0).await.unwrap().may_answer(&users, &org));
        // A write that was not mirrored, in the middle of a backfill.
        let begun = caught_up.begin(&users, u64::MAX);
        caught_up.lose(&users, 0);
        assert!(!caught_up.may_answer(&users, &org));
        assert!(!caught_up.finish(&users, begun).await.unwrap());
        caught_up.keep(&users).await.unwrap();
        assert!(!CaughtUp::load(storage, 0).await.unwrap().is(&users));
    }

    #[tokio::test]
    async fn a_process_that_was_killed_with_writes_unrecorded_is_not_believed() {
        let storage: SharedStorage = Arc::new(MemoryStorage::default());
        let users = ResourceName::new("users");
        let killed = CaughtUp::load(storage.clone(), 0).await.unwrap();
        assert!(killed.finish(&users, killed.begin(&users, u64::MAX)).await.unwrap());
        killed.unrecorded(&users);
        killed.idle().await;
        let next = CaughtUp::load(storage.clone(), 7).await.unwrap();
        assert_eq!(next.standing(&users), Standing::Mending { after_ms: 7 });
        // The mark is gone, the loss is not.
        let third = CaughtUp::load(storage.clone(), 9).await.unwrap();
        assert_eq!(third.standing(&users), Standing::Mending { after_ms: 7 });
        // A backfill mends it, and a clean stop leaves it mended.
        assert!(third.finish(&users, third.begin(&users, u64::MAX)).await.unwrap());
        third.unrecorded(&users);
        third.close().await;
        assert!(CaughtUp::load(storage, 0).await.unwrap().is(&users));
    }

    #[tokio::test]
    async fn a_backfill_that_began_while_a_request_was_out_of_sight_is_done_again() {
        let storage: SharedStorage = Arc::new(MemoryStorage::default());
        let users = ResourceName::new("users");
        let caught_up = CaughtUp::load(storage.clone(), 0).await.unwrap();
        caught_up.lose(&users, 0);
        caught_up.lose_for_now(&users, 50);
        caught_up.idle().await;
        // Also by the next process.
        let next = CaughtUp::load(storage, 0).await.unwrap();
        assert!(next.finish(&users, next.begin(&users, 49)).await.unwrap());
        assert_eq!(next.standing(&users), Standing::Mending { after_ms: 50 });
        let came_to = Reconciled { at_ms: 49, rows: 1, differ: 0 };
        next.reconciled(&users, next.begin(&users, 49), came_to).await.unwrap();
        assert_eq!(next.last_reconciled(&users), None);
        assert!(next.finish(&users, next.begin(&users, 50)).await.unwrap());
        assert!(next.is(&users));
    }

    #[tokio::test]
    async fn what_an_operator_has_to_begin_is_not_mended_by_itself() {
        let storage: SharedStorage = Arc::new(MemoryStorage::default());
        let users = ResourceName::new("users");
        let caught_up = CaughtUp::load(storage, 0).await.unwrap();
        caught_up.lose_for_now(&users, 5);
        assert_eq!(caught_up.standing(&users), Standing::Unfinished);
        assert!(caught_up.finish(&users, caught_up.begin(&users, u64::MAX)).await.unwrap());
        caught_up.lose_for_now(&users, 5);
        caught_up.lose_for_now(&users, 3);
        assert_eq!(caught_up.standing(&users), Standing::Mending { after_ms: 5 });
        caught_up.lose(&users, 0);
        assert_eq!(caught_up.standing(&users), Standing::Unfinished);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_lost_is_kept_even_if_the_database_fails_at_first() {
        let memory = MemoryStorage::default();
        let storage: SharedStorage = Arc::new(memory.clone());
        let users = ResourceName::new("users");
        let caught_up = CaughtUp::load(storage.clone(), 0).await.unwrap();
        assert!(caught_up.finish(&users, caught_up.begin(&users, u64::MAX)).await.unwrap());
        memory.fail_commits(3);
        caught_up.lose(&users, 0);
        caught_up.idle().await;
        assert!(!CaughtUp::load(storage, 0).await.unwrap().is(&users));
    }
}

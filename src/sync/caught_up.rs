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

/// How long a write waits for the database to know that mirrors are under way (design §5, intents).
const MARK_WAIT: Duration = Duration::from_millis(5);

/// Control keys that say whether a process mirrors; still `yes` at a start, it was killed.
const MIRRORING: &str = "mirroring.";
const YES: &str = "yes";
const NO: &str = "no";
const PREFIX: &str = "backfill.";
const FINISHED: &str = "finished";
const LOST: &str = "lost";

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
    finished: bool,
    /// Whether the database was told that this process mirrors.
    marked: bool,
    /// Times that it was lost: a backfill that began before the last one proves nothing.
    losses: u64,
}

/// A backfill under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    losses: u64,
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
    /// As the database has it.
    ///
    /// # Errors
    /// [`StorageError`] if it cannot be read.
    pub async fn load(storage: SharedStorage) -> Result<Self, StorageError> {
        let stored = storage.controls(PREFIX.to_owned()).await?;
        let known = stored.into_iter().filter_map(|(key, value)| {
            let name = ResourceName::new(key.strip_prefix(PREFIX)?);
            Some((name, Known { finished: value == FINISHED, ..Known::default() }))
        });
        let state = State { resources: known.collect(), open: HashMap::new() };
        let caught_up =
            Self { storage, state: Arc::new(Mutex::new(state)), keeping: TaskTracker::new() };
        caught_up.distrust_what_was_killed().await?;
        Ok(caught_up)
    }

    /// A process that was killed while it mirrored may have left legacy with a write that the store
    /// lacks: nobody knows, so the resource is not taken as caught up.
    async fn distrust_what_was_killed(&self) -> Result<(), StorageError> {
        for (key, value) in self.storage.controls(MIRRORING.to_owned()).await? {
            let Some(name) = key.strip_prefix(MIRRORING).filter(|_| value == YES) else { continue };
            self.lose(&ResourceName::new(name));
        }
        self.idle().await;
        Ok(())
    }

    /// Whether the resource's backfill is finished and holds.
    #[must_use]
    pub fn is(&self, resource: &ResourceName) -> bool {
        lock(&self.state).resources.get(resource).is_some_and(|known| known.finished)
    }

    /// Whether the store of `path` may answer reads of the resource now.
    #[must_use]
    pub fn may_answer(&self, resource: &ResourceName, path: &PathId) -> bool {
        let state = lock(&self.state);
        let open =
            |path: Option<&PathId>| state.open.contains_key(&(resource.clone(), path.cloned()));
        state.resources.get(resource).is_some_and(|known| known.finished)
            && !open(Some(path))
            && !open(None)
    }

    /// Notes that legacy is being asked to write; `path` is the one that the writer may read.
    ///
    /// The first time, the database is told that this process mirrors, and the caller waits for that, 5 ms
    /// at most: a database that is slow must not make legacy slow.
    pub async fn open(&self, resource: &ResourceName, path: Option<PathId>) -> OpenMirror {
        let key = (resource.clone(), path);
        let marked = {
            let mut state = lock(&self.state);
            *state.open.entry(key.clone()).or_default() += 1;
            let known = state.resources.entry(resource.clone()).or_default();
            std::mem::replace(&mut known.marked, true)
        };
        let open = OpenMirror { state: self.state.clone(), key };
        if !marked {
            let (caught_up, resource) = (self.clone(), resource.clone());
            let mark = self.keeping.spawn(async move { caught_up.mark(&resource, YES).await });
            let _ = tokio::time::timeout(MARK_WAIT, mark).await;
        }
        open
    }

    async fn mark(&self, resource: &ResourceName, value: &str) {
        let put = ControlOp::Put { key: format!("{MIRRORING}{resource}"), value: value.to_owned() };
        if let Err(error) = self.storage.commit_control(vec![put]).await {
            tracing::warn!(%resource, %error, "it is not kept that mirrors are under way");
            // The next write tries again.
            lock(&self.state).resources.entry(resource.clone()).or_default().marked = false;
        }
    }

    /// Keeps that no mirror is under way: for a stop, when none is and none will come.
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

    /// Notes that legacy has a write that the store will not get; the database is told in the background.
    pub fn lose(&self, resource: &ResourceName) {
        let was = {
            let mut state = lock(&self.state);
            let known = state.resources.entry(resource.clone()).or_default();
            known.losses += 1;
            std::mem::take(&mut known.finished)
        };
        if was {
            tracing::warn!(%resource, "its store is not caught up any more: run `crossfade backfill`");
            metrics::counter!("crossfade_caught_up_lost_total").increment(1);
            let (caught_up, resource) = (self.clone(), resource.clone());
            self.keeping.spawn(async move { caught_up.keep_at_last(&resource).await });
        }
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

    /// Begins a backfill.
    #[must_use]
    pub fn begin(&self, resource: &ResourceName) -> Begun {
        let known = lock(&self.state).resources.get(resource).copied().unwrap_or_default();
        Begun { losses: known.losses }
    }

    /// Keeps that the resource's backfill is finished. `false` if a write was lost since it began: then
    /// it has to be done again.
    ///
    /// # Errors
    /// [`StorageError`] if it cannot be kept; then it is not taken as finished.
    pub async fn finish(
        &self,
        resource: &ResourceName,
        begun: Begun,
    ) -> Result<bool, StorageError> {
        {
            let mut state = lock(&self.state);
            let known = state.resources.entry(resource.clone()).or_default();
            if known.losses != begun.losses {
                return Ok(false);
            }
            known.finished = true;
        }
        let kept = self.keep(resource).await;
        if kept.is_err() {
            lock(&self.state).resources.entry(resource.clone()).or_default().finished = false;
        }
        kept.map(|()| true)
    }

    /// Keeps what is known now. Whoever changed it last writes last: it is read when it is written.
    async fn keep(&self, resource: &ResourceName) -> Result<(), StorageError> {
        let value = if self.is(resource) { FINISHED } else { LOST };
        let op = ControlOp::Put { key: format!("{PREFIX}{resource}"), value: value.to_owned() };
        self.storage.commit_control(vec![op]).await
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
        let caught_up = CaughtUp::load(storage.clone()).await.unwrap();
        assert!(!caught_up.may_answer(&users, &org));
        assert!(caught_up.finish(&users, caught_up.begin(&users)).await.unwrap());
        assert!(caught_up.may_answer(&users, &org));
        // A mirror under way in this path, in another one, and in one that nobody knows.
        let mirror = caught_up.open(&users, Some(org.clone())).await;
        assert!(!caught_up.may_answer(&users, &org));
        drop(mirror);
        let elsewhere = caught_up.open(&users, Some(PathId::new("org/o_2").unwrap())).await;
        assert!(caught_up.may_answer(&users, &org));
        drop(elsewhere);
        let unknown = caught_up.open(&users, None).await;
        assert!(!caught_up.may_answer(&users, &org));
        drop(unknown);
        caught_up.close().await;
        assert!(CaughtUp::load(storage.clone()).await.unwrap().may_answer(&users, &org));
        // A write that was not mirrored, in the middle of a backfill.
        let begun = caught_up.begin(&users);
        caught_up.lose(&users);
        assert!(!caught_up.may_answer(&users, &org));
        assert!(!caught_up.finish(&users, begun).await.unwrap());
        caught_up.keep(&users).await.unwrap();
        assert!(!CaughtUp::load(storage).await.unwrap().is(&users));
    }

    #[tokio::test]
    async fn a_process_that_was_killed_while_it_mirrored_is_not_believed() {
        let storage: SharedStorage = Arc::new(MemoryStorage::default());
        let users = ResourceName::new("users");
        let killed = CaughtUp::load(storage.clone()).await.unwrap();
        assert!(killed.finish(&users, killed.begin(&users)).await.unwrap());
        let _never_done = killed.open(&users, None).await;
        killed.idle().await;
        let next = CaughtUp::load(storage.clone()).await.unwrap();
        assert!(!next.is(&users));
        // A backfill mends it, and a clean stop leaves it mended.
        assert!(next.finish(&users, next.begin(&users)).await.unwrap());
        drop(next.open(&users, None).await);
        next.close().await;
        assert!(CaughtUp::load(storage).await.unwrap().is(&users));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_lost_is_kept_even_if_the_database_fails_at_first() {
        let memory = MemoryStorage::default();
        let storage: SharedStorage = Arc::new(memory.clone());
        let users = ResourceName::new("users");
        let caught_up = CaughtUp::load(storage.clone()).await.unwrap();
        assert!(caught_up.finish(&users, caught_up.begin(&users)).await.unwrap());
        memory.fail_commits(3);
        caught_up.lose(&users);
        caught_up.idle().await;
        assert!(!CaughtUp::load(storage).await.unwrap().is(&users));
    }
}

//! Which resources' stores hold all that legacy has: a store that is not caught up answers no reads.
//!
//! A finished backfill makes a resource caught up. A write that reaches legacy and not the store (in
//! stage `off`, thus during a rollback) ends that, until the next backfill: the store must not answer
//! with what was true before.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::migration::ResourceName;
use crate::storage::{Op, SharedStorage, StorageError};

const PREFIX: &str = "backfill.";
const FINISHED: &str = "finished";
const MISSED: &str = "missed";

/// What is known of one resource.
#[derive(Debug, Clone, Copy)]
struct Known {
    finished: bool,
    /// Whether the database says the same.
    kept: bool,
    /// How often writes may have passed the store by.
    missed: u64,
}

impl Default for Known {
    fn default() -> Self {
        Self { finished: false, kept: true, missed: 0 }
    }
}

/// When a backfill began: it counts only if no write has passed the store by since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun(u64);

/// The resources whose backfill is finished; kept in the database.
#[derive(Debug, Clone)]
pub struct CaughtUp {
    storage: SharedStorage,
    resources: Arc<RwLock<HashMap<ResourceName, Known>>>,
}

impl CaughtUp {
    /// As the database has it.
    ///
    /// # Errors
    /// [`StorageError`] if it cannot be read.
    pub async fn load(storage: SharedStorage) -> Result<Self, StorageError> {
        let stored = storage.controls(PREFIX.to_owned()).await?;
        let finished = Known { finished: true, ..Known::default() };
        let known = stored.into_iter().filter(|(_, value)| value == FINISHED);
        let known = known
            .filter_map(|(key, _)| Some((ResourceName::new(key.strip_prefix(PREFIX)?), finished)));
        Ok(Self { storage, resources: Arc::new(RwLock::new(known.collect())) })
    }

    /// Whether the store of this resource holds all that legacy has.
    #[must_use]
    pub fn is(&self, resource: &ResourceName) -> bool {
        let known = self.resources.read().unwrap_or_else(PoisonError::into_inner);
        known.get(resource).is_some_and(|known| known.finished)
    }

    /// A backfill begins.
    #[must_use]
    pub fn begin(&self, resource: &ResourceName) -> Begun {
        Begun(self.change(resource, |known| known.missed))
    }

    /// Keeps that the backfill which began then is finished; `false` if a write has passed the store
    /// by since, so that it has to be run again.
    ///
    /// # Errors
    /// [`StorageError`] if it cannot be kept; then it is not taken as finished.
    pub async fn finish(
        &self,
        resource: &ResourceName,
        begun: Begun,
    ) -> Result<bool, StorageError> {
        if self.begin(resource) != begun {
            return Ok(false);
        }
        self.write(resource, FINISHED).await?;
        Ok(self.change(resource, |known| {
            let finished = known.missed == begun.0;
            (known.finished, known.kept) = (finished, finished);
            finished
        }))
    }

    /// A write may have reached legacy and not the store. Holds at once, in memory;
    /// [`CaughtUp::keep`] makes it last.
    pub fn missed(&self, resource: &ResourceName) {
        let was = self.change(resource, |known| {
            known.missed += 1;
            known.kept &= !known.finished;
            std::mem::take(&mut known.finished)
        });
        if was {
            tracing::warn!(%resource, "writes pass the store by: it answers nothing before the next `crossfade backfill`");
        }
    }

    /// Keeps what [`CaughtUp::missed`] was told since.
    ///
    /// # Errors
    /// [`StorageError`] if it cannot be kept; the next call tries again.
    pub async fn keep(&self) -> Result<(), StorageError> {
        for (resource, finished) in self.unkept() {
            self.write(&resource, if finished { FINISHED } else { MISSED }).await?;
            self.change(&resource, |known| known.kept = known.finished == finished);
        }
        Ok(())
    }

    fn unkept(&self) -> Vec<(ResourceName, bool)> {
        let known = self.resources.read().unwrap_or_else(PoisonError::into_inner);
        let unkept = known.iter().filter(|(_, known)| !known.kept);
        unkept.map(|(resource, known)| (resource.clone(), known.finished)).collect()
    }

    fn change<T>(&self, resource: &ResourceName, change: impl FnOnce(&mut Known) -> T) -> T {
        let mut known = self.resources.write().unwrap_or_else(PoisonError::into_inner);
        change(known.entry(resource.clone()).or_default())
    }

    async fn write(&self, resource: &ResourceName, value: &str) -> Result<(), StorageError> {
        let op = Op::PutControl { key: format!("{PREFIX}{resource}"), value: value.to_owned() };
        self.storage.commit(vec![op]).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    fn users() -> ResourceName {
        ResourceName::new("users")
    }

    async fn loaded(storage: &MemoryStorage) -> CaughtUp {
        CaughtUp::load(Arc::new(storage.clone())).await.unwrap()
    }

    #[tokio::test]
    async fn a_missed_write_ends_it_at_once_and_over_restarts() {
        let storage = MemoryStorage::default();
        let caught_up = loaded(&storage).await;
        assert!(!caught_up.is(&users()));
        assert!(caught_up.finish(&users(), caught_up.begin(&users())).await.unwrap());
        assert!(caught_up.is(&users()));
        assert!(loaded(&storage).await.is(&users()));

        caught_up.missed(&users());
        assert!(!caught_up.is(&users()));
        storage.fail_commits(1);
        assert!(caught_up.keep().await.is_err());
        caught_up.keep().await.unwrap();
        assert!(!loaded(&storage).await.is(&users()));
        // Nothing is left to be kept: a commit would fail.
        storage.fail_commits(1);
        caught_up.keep().await.unwrap();
    }

    #[tokio::test]
    async fn a_backfill_counts_only_if_no_write_was_missed_meanwhile() {
        let storage = MemoryStorage::default();
        let caught_up = loaded(&storage).await;
        let begun = caught_up.begin(&users());
        caught_up.missed(&users());
        assert!(!caught_up.finish(&users(), begun).await.unwrap());
        assert!(!caught_up.is(&users()));
        let begun = caught_up.begin(&users());
        storage.fail_commits(1);
        assert!(caught_up.finish(&users(), begun).await.is_err());
        assert!(!caught_up.is(&users()));
        assert!(caught_up.finish(&users(), begun).await.unwrap());
        assert!(caught_up.is(&users()));
    }
}

//! Which resources' stores hold all that legacy has: a store that is not caught up answers no reads.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use crate::migration::ResourceName;
use crate::storage::{Op, SharedStorage, StorageError};

const PREFIX: &str = "backfill.";
const FINISHED: &str = "finished";

/// The resources whose backfill is finished; kept in the database.
#[derive(Debug, Clone)]
pub struct CaughtUp {
    storage: SharedStorage,
    resources: Arc<RwLock<HashSet<ResourceName>>>,
}

impl CaughtUp {
    /// As the database has it.
    ///
    /// # Errors
    /// [`StorageError`] if it cannot be read.
    pub async fn load(storage: SharedStorage) -> Result<Self, StorageError> {
        let stored = storage.controls(PREFIX.to_owned()).await?;
        let finished = stored.into_iter().filter(|(_, value)| value == FINISHED);
        let names =
            finished.filter_map(|(key, _)| Some(ResourceName::new(key.strip_prefix(PREFIX)?)));
        Ok(Self { storage, resources: Arc::new(RwLock::new(names.collect())) })
    }

    /// Whether the resource's backfill is finished.
    #[must_use]
    pub fn is(&self, resource: &ResourceName) -> bool {
        self.resources.read().unwrap_or_else(PoisonError::into_inner).contains(resource)
    }

    /// Keeps that the resource's backfill is finished.
    ///
    /// # Errors
    /// [`StorageError`] if it cannot be kept; then it is not taken as finished.
    pub async fn finish(&self, resource: &ResourceName) -> Result<(), StorageError> {
        let key = format!("{PREFIX}{resource}");
        let op = Op::PutControl { key, value: FINISHED.to_owned() };
        self.storage.commit(vec![op]).await?;
        self.resources.write().unwrap_or_else(PoisonError::into_inner).insert(resource.clone());
        Ok(())
    }
}

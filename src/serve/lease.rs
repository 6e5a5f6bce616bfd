//! Who holds the database: the process that has its lock, and how the others reach it.
//!
//! The lock is the operating system's, on a file beside the database: it ends with its process, however that ends. So the
//! record here gives no right to anything; it says where to find who has it.

use serde::{Deserialize, Serialize};

use crate::storage::{ControlOp, Storage, StorageError};

/// Control key of the record.
const KEY: &str = "lease";

/// The process that holds the database, as it wrote when it began to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lease {
    /// How it is reached: the URL of its users' listener.
    pub(super) advertise: String,
    /// Grows with each process that takes the database.
    pub(super) epoch: u64,
}

/// Reads the record. `None` before any process has advertised itself.
///
/// # Errors
/// [`StorageError`] if the database cannot be read.
pub(super) async fn read(storage: &dyn Storage) -> Result<Option<Lease>, StorageError> {
    let Some(text) = storage.control(KEY.to_owned()).await? else { return Ok(None) };
    let damaged =
        |e: serde_json::Error| StorageError::Damaged { what: "lease", reason: e.to_string() };
    serde_json::from_str(&text).map(Some).map_err(damaged)
}

/// Writes that this process holds the database now. Only the process that has its lock may call it.
///
/// # Errors
/// [`StorageError`] if the database cannot be read or written.
pub(super) async fn take(storage: &dyn Storage, advertise: &str) -> Result<Lease, StorageError> {
    let epoch = read(storage).await?.map_or(1, |before| before.epoch.saturating_add(1));
    let lease = Lease { advertise: advertise.to_owned(), epoch };
    let value =
        serde_json::to_string(&lease).map_err(|e| StorageError::Failed(format!("lease: {e}")))?;
    storage.commit_control(vec![ControlOp::Put { key: KEY.to_owned(), value }]).await?;
    Ok(lease)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    #[tokio::test]
    async fn each_holder_has_a_higher_epoch_than_the_one_before() {
        let storage = MemoryStorage::default();
        assert_eq!(read(&storage).await.unwrap(), None);
        let one = take(&storage, "http://a").await.unwrap();
        assert_eq!(read(&storage).await.unwrap().as_ref(), Some(&one));
        let two = take(&storage, "http://b").await.unwrap();
        assert!(two.epoch > one.epoch);
        assert_eq!(read(&storage).await.unwrap(), Some(two));
    }
}

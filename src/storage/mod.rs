//! Control and store data, kept: cells, bases, what is owed, stages, the rollback switch.
//!
//! Everything that must survive a kill passes through one [`Storage::commit`]: a list of [`Op`]s that
//! becomes durable as a whole or not at all. An accepted edit and the entry that owes it to legacy
//! travel in one [`Transaction`], so that neither exists without the other. The trait is the seam for
//! simulated storage; [`LibsqlStorage`] is the real one. Control values (stages, the rollback switch) have
//! a door of their own, [`Storage::commit_control`]: another process may have to write them.

mod libsql;
mod memory;
mod path;
mod schema;
mod types;

pub use self::libsql::LibsqlStorage;
pub use memory::MemoryStorage;
pub use path::{
    CHUNK_BYTES, CHUNK_RECORDS, CellRecord, ContainerRecord, CountChunk, CountCursor, Generation,
    PathChunk, PathCursor, Standing, StoredGeneration, TableCount, ValueRecord,
};
pub use types::{
    Actor, AskedCreate, AuditEntry, AuditRecord, Base, ControlOp, EntryState, Intent, IntentId,
    NewEntry, Op, OutboxEntry, OutboxSummary, OwingPath, Seq, Transaction,
};

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::migration::{PathId, ResourceName, RowId};

/// A boxed future, so that storage can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Storage shared by all paths of a process.
pub type SharedStorage = Arc<dyn Storage>;

/// What can go wrong with the database.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StorageError {
    /// It could not be opened.
    #[error(
        "database {url} cannot be opened: {reason}. Check that the folder exists and can be written."
    )]
    Open {
        /// The configured URL, without credentials.
        url: String,
        /// What the driver said.
        reason: String,
    },
    /// Another process uses it.
    #[error(
        "database {url} is in use by another crossfade process. Stop that one, or talk to it through its admin address."
    )]
    InUse {
        /// The configured URL, without credentials.
        url: String,
    },
    /// It was written by a newer crossfade.
    #[error(
        "database {url} has schema version {found}, this crossfade knows up to {known}. It was left as it is: run the newer crossfade."
    )]
    Newer {
        /// The configured URL, without credentials.
        url: String,
        /// The version it has.
        found: i64,
        /// The newest version this build knows.
        known: i64,
    },
    /// A statement failed; the whole transaction was rolled back.
    #[error("database: {0}")]
    Failed(String),
    /// Something stored cannot be read back.
    #[error("database holds a damaged {what}: {reason}. It was left as it is.")]
    Damaged {
        /// Which kind of record.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A control value is no longer what its writer read; the whole transaction was rolled back.
    #[error("the database's `{0}` was changed meanwhile; read it again")]
    Changed(String),
    /// Another process has taken the database over the network; nothing of the transaction was kept.
    #[error("another process has taken the database, since this one was not heard of for too long")]
    Fenced,
    /// The database thread is gone; the process is shutting down.
    #[error("the database is closed")]
    Closed,
}

/// Durable storage.
pub trait Storage: Send + Sync + std::fmt::Debug {
    /// Makes `transaction` durable as a whole. Gives the sequence number of each [`Op::Owe`], in order.
    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Vec<Seq>, StorageError>>;

    /// Grows with each process that takes a database over the network for itself; `None` where a lock says who has it.
    fn epoch(&self) -> Option<u64> {
        None
    }

    /// Waits until another process has taken the database, which can happen over the network only. Nothing can be read or
    /// written any more then.
    fn fenced(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// Makes changes of control values durable, all of them or none.
    fn commit_control(&self, ops: Vec<ControlOp>) -> BoxFuture<'_, Result<(), StorageError>>;

    /// The records of a path behind `after` (`None`: from the beginning), as many as a chunk holds;
    /// of its current generation, or of one that is named.
    ///
    /// Other paths are written between chunks. Chunks of one path belong together only while nobody
    /// writes it: a path that is being loaded has no task yet, and its task is its only writer.
    fn read_path(
        &self,
        path: PathId,
        generation: Option<Generation>,
        after: Option<PathCursor>,
    ) -> BoxFuture<'_, Result<PathChunk, StorageError>>;

    /// The generations of a path, or of all (`None`), by path and number.
    fn generations(
        &self,
        of: Option<PathId>,
    ) -> BoxFuture<'_, Result<Vec<StoredGeneration>, StorageError>>;

    /// Counts what the path's current generation holds, some rows at a time: those behind `after`
    /// (`None`: from the beginning).
    fn count(
        &self,
        path: PathId,
        after: Option<CountCursor>,
    ) -> BoxFuture<'_, Result<CountChunk, StorageError>>;

    /// What the outbox has of a path, dead letters too, oldest first.
    fn entries_of(&self, path: PathId) -> BoxFuture<'_, Result<Vec<OutboxEntry>, StorageError>>;

    /// How many entries are pending of each path that has some.
    fn owed_counts(&self) -> BoxFuture<'_, Result<Vec<(PathId, u64)>, StorageError>>;

    /// Legacy's last known copies of these rows of a path; rows without one are left out.
    fn bases(
        &self,
        path: PathId,
        resource: ResourceName,
        rows: Vec<RowId>,
    ) -> BoxFuture<'_, Result<Vec<(RowId, Base)>, StorageError>>;

    /// The path whose base has this row, if one does.
    fn path_of_row(
        &self,
        resource: ResourceName,
        row: RowId,
    ) -> BoxFuture<'_, Result<Option<PathId>, StorageError>>;

    /// The path in which something of this row is in the outbox, if it is.
    fn path_of_owed_row(
        &self,
        resource: ResourceName,
        row: RowId,
    ) -> BoxFuture<'_, Result<Option<PathId>, StorageError>>;

    /// All rows of a resource that legacy was last known to have, with their paths.
    fn rows_with_base(
        &self,
        resource: ResourceName,
    ) -> BoxFuture<'_, Result<Vec<(PathId, RowId)>, StorageError>>;

    /// The id that legacy gave a row, if that is another than the row's.
    fn legacy_id(
        &self,
        resource: ResourceName,
        row: RowId,
    ) -> BoxFuture<'_, Result<Option<RowId>, StorageError>>;

    /// The row to which legacy gave this id, if the row's is another.
    fn row_of_legacy_id(
        &self,
        resource: ResourceName,
        legacy_id: RowId,
    ) -> BoxFuture<'_, Result<Option<RowId>, StorageError>>;

    /// The create that legacy was asked for of this row, if it is not known how it ended.
    fn asked_create(
        &self,
        resource: ResourceName,
        row: RowId,
    ) -> BoxFuture<'_, Result<Option<AskedCreate>, StorageError>>;

    /// Whether legacy refused to make this row, as far as that is remembered.
    fn is_create_refused(
        &self,
        resource: ResourceName,
        row: RowId,
    ) -> BoxFuture<'_, Result<bool, StorageError>>;

    /// The oldest pending entry of each row that is due at `now_ms`, at most `limit`, those first that
    /// have been due for longest.
    fn due_entries(
        &self,
        now_ms: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<OutboxEntry>, StorageError>>;

    /// When the next pending entry is due, if one is pending.
    fn next_due_ms(&self) -> BoxFuture<'_, Result<Option<u64>, StorageError>>;

    /// What is owed: counts, and the oldest entries, at most `limit`.
    fn outbox_summary(&self, limit: usize) -> BoxFuture<'_, Result<OutboxSummary, StorageError>>;

    /// An entry of the outbox, if it is there.
    fn outbox_entry(&self, seq: Seq) -> BoxFuture<'_, Result<Option<OutboxEntry>, StorageError>>;

    /// Dead letters, the oldest first, at most `limit`.
    fn dead_letters(&self, limit: usize) -> BoxFuture<'_, Result<Vec<OutboxEntry>, StorageError>>;

    /// How many entries wait that were accepted at `accepted_ms` or before.
    fn owed_since(&self, accepted_ms: u64) -> BoxFuture<'_, Result<u64, StorageError>>;

    /// The paths that owe, at most `limit`, those first that have owed for longest.
    fn owing_paths(&self, limit: usize) -> BoxFuture<'_, Result<Vec<OwingPath>, StorageError>>;

    /// Intents that are open, the oldest first, at most `limit`.
    fn open_intents(&self, limit: usize) -> BoxFuture<'_, Result<Vec<Intent>, StorageError>>;

    /// The newest entries of the audit log before number `before` (`None`: of all), at most `limit`, the newest first.
    fn audit(
        &self,
        before: Option<i64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AuditRecord>, StorageError>>;

    /// A control value, by key.
    fn control(&self, key: String) -> BoxFuture<'_, Result<Option<String>, StorageError>>;

    /// All control values whose key starts with `prefix`.
    fn controls(
        &self,
        prefix: String,
    ) -> BoxFuture<'_, Result<Vec<(String, String)>, StorageError>>;
}

#[cfg(test)]
mod tests;

//! What is stored, as plain data.

use super::path::{CellRecord, ContainerRecord, Generation, PathChunk, ValueRecord};
use crate::migration::{PathId, ResourceName, RowId, UserId};

/// An outbox entry's place in the order of acceptance.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Seq(pub i64);

/// An intent's number: random, so that processes need not agree on a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IntentId(pub i64);

/// The durable note that a request to legacy is under way whose mirror will be owed (design §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Its number.
    pub id: IntentId,
    /// The resource that is written.
    pub resource: ResourceName,
    /// The row, where the request says which.
    pub row: Option<RowId>,
    /// When the request was about to be sent, in epoch milliseconds.
    pub opened_ms: u64,
}

/// A list of changes that becomes durable as a whole.
pub type Transaction = Vec<Op>;

/// One durable change.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Stores a cell's newest stamp.
    PutCell(PathId, CellRecord),
    /// Stores a value's newest stamp.
    PutValue(PathId, ValueRecord),
    /// Stores a container's HLC (only old TinyBase versions send one).
    PutContainer(PathId, ContainerRecord),
    /// Puts records into a path's next generation, which nobody reads before it is started.
    Prepare(PathId, Generation, PathChunk),
    /// Makes the path's prepared generation the one that is read and written; the one before becomes
    /// its former one. It must be the next one, else the whole transaction fails with
    /// [`StorageError::Changed`](super::StorageError::Changed).
    Start(PathId, Generation),
    /// Removes at most this many records of a generation that is not the current one, and the
    /// generation itself once none is left.
    Erase(PathId, Generation, usize),
    /// Owes an accepted edit to legacy.
    Owe(NewEntry),
    /// The entry is done: delivered, superseded, refused or discarded.
    Settle(Seq),
    /// The entry is tried again later.
    Postpone {
        /// Which entry.
        seq: Seq,
        /// Tries so far.
        attempts: u32,
        /// When it is due again, in epoch milliseconds.
        due_ms: u64,
        /// Why the last try failed; no personal data.
        error: String,
    },
    /// The entry is given up until somebody looks at it.
    Bury {
        /// Which entry.
        seq: Seq,
        /// Why; no personal data.
        error: String,
    },
    /// Stores legacy's last known copy of a row.
    PutBase {
        /// The row's path.
        path: PathId,
        /// The row's resource.
        resource: ResourceName,
        /// The row.
        row: RowId,
        /// The copy.
        base: Base,
    },
    /// Notes that a request to legacy is under way.
    OpenIntent(Intent),
    /// The store has what the request did, or it did nothing.
    CloseIntent(IntentId),
    /// Legacy is about to be asked to make a row.
    AskCreate(AskedCreate),
    /// It is known how the create of this row ended.
    EndCreate {
        /// The row's resource.
        resource: ResourceName,
        /// The row.
        row: RowId,
    },
    /// Legacy refused to make a row that others may refer to.
    RefuseCreate {
        /// The row's resource.
        resource: ResourceName,
        /// The row.
        row: RowId,
        /// When, in epoch milliseconds.
        at_ms: u64,
        /// What was refused before this is forgotten, in epoch milliseconds.
        forget_before_ms: u64,
    },
    /// Legacy has the row under an id of its own.
    Alias {
        /// The row's resource.
        resource: ResourceName,
        /// The row, as the store has it.
        row: RowId,
        /// Its id in legacy.
        legacy_id: RowId,
    },
    /// Legacy no longer has the row.
    DropBase {
        /// The row's path.
        path: PathId,
        /// The row's resource.
        resource: ResourceName,
        /// The row.
        row: RowId,
    },
}

/// A create that legacy was asked for, and of which it is not known how it ended.
#[derive(Debug, Clone, PartialEq)]
pub struct AskedCreate {
    /// The row's resource.
    pub resource: ResourceName,
    /// The row.
    pub row: RowId,
    /// The entry that it was first asked for: its idempotency key comes from that.
    pub seq: Seq,
    /// The body that was sent.
    pub body: serde_json::Value,
    /// When it was last sent, in epoch milliseconds.
    pub asked_ms: u64,
}

/// A durable change of a control value. Control values are kept apart from the rest, so that they can be
/// written beside the process that has the paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlOp {
    /// Sets a control value, if it still is what the writer read; else all that was to be kept with it fails
    /// with [`StorageError::Changed`](super::StorageError::Changed).
    Swap {
        /// Its key.
        key: String,
        /// What the writer read.
        from: Option<String>,
        /// Its new value.
        to: String,
    },
    /// Sets a control value.
    Put {
        /// Its key.
        key: String,
        /// Its value.
        value: String,
    },
    /// Writes down what somebody did.
    Audit(AuditEntry),
}

/// What somebody did who may change what crossfade does: an operator, or a flag. The database takes none of them back.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AuditEntry {
    /// When, in epoch milliseconds.
    pub at_ms: u64,
    /// Who: the operator's name as the command told it, `flags`, or `rollback-file`.
    pub actor: String,
    /// What: `rollback`, `lift`, `stage`, or the order to the operators' listener (`POST /backfill`).
    pub action: String,
    /// To what: a resource, `*` for all, or the order's parameters.
    pub subject: String,
    /// Why, where it was said.
    pub reason: String,
    /// At which process: where its users' listener is.
    pub process: String,
}

/// An entry with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AuditRecord {
    /// Its number; the next entry has a higher one.
    pub number: i64,
    /// The entry.
    #[serde(flatten)]
    pub entry: AuditEntry,
}

/// Legacy's last known copy of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Base {
    /// Its mapped cells, as JSON.
    pub cells: serde_json::Map<String, serde_json::Value>,
}

/// Who made an edit, for the request that delivers it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Actor {
    /// The user's id.
    pub user: String,
    /// The organisation's id.
    pub org_id: Option<String>,
    /// The role in it.
    pub org_role: Option<String>,
}

impl Actor {
    /// The user's id as its type.
    #[must_use]
    pub fn user_id(&self) -> UserId {
        UserId::new(self.user.as_str())
    }
}

/// An accepted edit of one row, to be owed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// The row's path.
    pub path: PathId,
    /// The row's resource.
    pub resource: ResourceName,
    /// The row.
    pub row: RowId,
    /// The cells that won, each with its stamp's HLC.
    pub cells: Vec<(String, String)>,
    /// Who made the edit.
    pub actor: Actor,
    /// When it was accepted, in epoch milliseconds.
    pub accepted_ms: u64,
}

/// Where an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryState {
    /// Waits to be delivered.
    Pending,
    /// Given up until somebody retries or discards it.
    Dead,
}

/// An owed edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Its place in the order.
    pub seq: Seq,
    /// What is owed.
    pub entry: NewEntry,
    /// Where it stands.
    pub state: EntryState,
    /// Tries so far.
    pub attempts: u32,
    /// When it is due, in epoch milliseconds.
    pub due_ms: u64,
    /// Why the last try failed.
    pub last_error: Option<String>,
}

/// What a path owes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct OwingPath {
    /// The path.
    pub path: PathId,
    /// Entries waiting.
    pub pending: u64,
    /// Entries given up.
    pub dead: u64,
    /// When the oldest of all of them was accepted, in epoch milliseconds.
    pub oldest_ms: u64,
}

/// What is owed, in short.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutboxSummary {
    /// Entries waiting.
    pub pending: u64,
    /// Entries given up.
    pub dead: u64,
    /// When the oldest waiting entry was accepted, in epoch milliseconds.
    pub oldest_ms: Option<u64>,
    /// The oldest entries.
    pub entries: Vec<OutboxEntry>,
}

//! A user's REST write that the store does itself (stage `rampdown` and later), and what became of it.

use std::sync::Arc;

use crate::migration::RowId;
use crate::resource::{CellId, RowCells, WrittenFields};
use crate::sync::policy::Writer;

/// A write, for a row of the path.
#[derive(Debug, Clone)]
pub struct StoreWrite {
    /// The row.
    pub row: RowId,
    /// What is to be done.
    pub deed: StoreDeed,
    /// Who wants it.
    pub writer: Arc<Writer>,
}

/// What a write does to its row.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreDeed {
    /// Makes it, of these cells and what the store makes itself.
    Create {
        /// All cells but those that the store makes.
        cells: RowCells,
        /// Those that tell a repetition of the request from another one; `None`: it is never taken for one. Empty: the row's id
        /// tells it.
        same: Option<RowCells>,
    },
    /// Changes these cells.
    Update(WrittenFields),
    /// Removes it.
    Delete,
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreWritten {
    /// It is in the store, and kept together with what legacy is owed for it: the row as it is now, or none any more.
    Done(Option<RowCells>),
    /// The row is there, made by the same request before.
    Repeated(RowCells),
    /// It is not allowed.
    Refused(StoreRefusal),
    /// The store cannot tell: legacy is to be asked. The word is one of a small fixed set.
    Elsewhere(&'static str),
}

/// Why a write was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreRefusal {
    /// No role of the writer allows it: the word that refused sync edits have.
    Denied(&'static str),
    /// Another row has the same in this cell.
    Taken(CellId),
    /// There is no such row (any more).
    NoSuchRow,
    /// A value is too long, or does not fit.
    Unfit(CellId),
}

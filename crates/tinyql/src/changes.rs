//! What changed in results.

use mergeable_store::{Cell, Text};

/// What changed in the result of one query.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultChange {
    /// The query.
    pub query: Text,
    /// Its rows that differ, in the order in which they were touched.
    pub rows: Vec<RowChange>,
}

/// What changed in one row of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct RowChange {
    /// Row id.
    pub row: Text,
    /// Whether the row itself came or went.
    pub kind: RowChangeKind,
    /// Its cells that differ, in the order in which they were touched; never none.
    pub cells: Vec<ResultCellChange>,
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowChangeKind {
    /// It was not there.
    Added,
    /// It is not there any more.
    Removed,
    /// It was there and is.
    Changed,
}

/// A cell of a result that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultCellChange {
    /// Cell id.
    pub cell: Text,
    /// What was there.
    pub old: Option<Cell>,
    /// What is there now; not the same as `old`.
    pub new: Option<Cell>,
}

//! Rows of a store, seen as rows of a resource.

use mergeable_store::{AsText, MergeableStore, Text};

use super::{CellRef, RowView};

/// A live row of a store.
#[derive(Debug, Clone)]
pub struct StoreRow<'a, Id = Text> {
    store: &'a MergeableStore,
    table: &'a str,
    row: Id,
}

impl<'a> StoreRow<'a> {
    /// The row, if it has live cells.
    pub fn of(store: &'a MergeableStore, table: &'a str, row: &str) -> Option<Self> {
        store.has_row(table, row).then(|| Self { store, table, row: row.into() })
    }
}

impl<'a, Id: AsText> StoreRow<'a, Id> {
    /// A row that is known to have live cells.
    pub(super) const fn new(store: &'a MergeableStore, table: &'a str, row: Id) -> Self {
        Self { store, table, row }
    }
}

impl<'a, Id: AsText> RowView<'a> for StoreRow<'a, Id> {
    fn cell(&self, id: &str) -> Option<CellRef<'a>> {
        self.store.get_cell(self.table, &self.row, id)
    }
}

/// All live rows of a table, each with its id.
pub fn store_rows<'a>(
    store: &'a MergeableStore,
    table: &'a str,
) -> impl Iterator<Item = (Text, StoreRow<'a>)> {
    let rows = store.row_ids(table).into_iter();
    rows.map(move |row| (row.clone(), StoreRow { store, table, row }))
}

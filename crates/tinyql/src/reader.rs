//! Reading a query's sources: tables of the store and results of other queries.

use mergeable_store::{Cell, CellRef, MergeableStore, Text};

use crate::js::compare_text;
use crate::table::ResultTable;

/// A source, resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Table(Text),
    /// The number of the query among all.
    Query(usize),
}

/// Everything that a query can read. Its own result is not there while it is made: no query reads itself.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) store: &'a MergeableStore,
    pub(crate) results: &'a [ResultTable],
}

impl<'a> Reader<'a> {
    pub(crate) fn cell(&self, of: &Place, row: &Text, cell: &Text) -> Option<CellRef<'a>> {
        match of {
            Place::Table(table) => self.store.get_cell(table, row, cell),
            Place::Query(query) => self.results[*query].cell(row, cell).map(Cell::view),
        }
    }

    pub(crate) fn has_row(&self, of: &Place, row: &Text) -> bool {
        match of {
            Place::Table(table) => self.store.has_row(table, row),
            Place::Query(query) => self.results[*query].has_row(row),
        }
    }

    pub(crate) fn row_ids(&self, of: &Place) -> Vec<Text> {
        match of {
            Place::Table(table) => self.store.row_ids(table),
            Place::Query(query) => self.results[*query].row_ids().cloned().collect(),
        }
    }

    /// A row's cell ids, in JavaScript's order of strings.
    pub(crate) fn cell_ids(&self, of: &Place, row: &Text) -> Vec<Text> {
        let mut ids = match of {
            Place::Table(table) => self.store.cell_ids(table, row),
            Place::Query(query) => {
                self.results[*query].row(row).map(|(id, _)| id.clone()).collect()
            }
        };
        ids.sort_by(compare_text);
        ids
    }
}

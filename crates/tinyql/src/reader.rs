//! Reading a query's sources: tables of the store and results of other queries.

use mergeable_store::{AsText, Cell, CellName, CellRef, MergeableStore, RowRef, Text};

use crate::js::compare_text;
use crate::table::{ResultRow, ResultTable};

/// A source, resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Table(Text),
    /// The number of the query among all.
    Query(usize),
}

/// Everything that a query can read: not its own result, which it is about to change.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) store: &'a MergeableStore,
    /// Results of the queries before and after the reading one.
    pub(crate) results: (&'a [ResultTable], &'a [ResultTable]),
}

/// A row of a source, found once to read its cells.
#[derive(Clone, Copy)]
pub(crate) enum SourceRow<'a> {
    Table(RowRef<'a>),
    Query(ResultRow<'a>),
}

impl<'a> Reader<'a> {
    fn result(&self, query: usize) -> Option<&'a ResultTable> {
        let (before, after) = self.results;
        match query.checked_sub(before.len()) {
            None => before.get(query),
            Some(at) => after.get(at.checked_sub(1)?),
        }
    }

    pub(crate) fn row(&self, of: &Place, row: &Text) -> Option<SourceRow<'a>> {
        match of {
            Place::Table(table) => self.store.table(table)?.row(row).map(SourceRow::Table),
            Place::Query(query) => self.result(*query)?.find_row(row).map(SourceRow::Query),
        }
    }

    /// All rows, in the source's order.
    pub(crate) fn rows(&self, of: &Place) -> impl Iterator<Item = (Text, SourceRow<'a>)> + use<'a> {
        let (table, result) = match of {
            Place::Table(table) => (self.store.table(table), None),
            Place::Query(query) => (None, self.result(*query)),
        };
        let stored = table.into_iter().flat_map(|table| table.rows());
        let stored = stored.map(|(id, row)| (id.to_text(), SourceRow::Table(row)));
        let found = result.into_iter().flat_map(ResultTable::all_rows);
        stored.chain(found.map(|row| (row.id().clone(), SourceRow::Query(row))))
    }
}

impl<'a> SourceRow<'a> {
    pub(crate) fn cell(&self, cell: &CellName) -> Option<CellRef<'a>> {
        match self {
            Self::Table(row) => row.cell(cell),
            Self::Query(row) => row.cell(cell.text()).map(Cell::view),
        }
    }

    /// As [`SourceRow::cell`], by an id that was not looked up before.
    pub(crate) fn get_cell(&self, cell: impl AsText) -> Option<CellRef<'a>> {
        match self {
            Self::Table(row) => row.get_cell(cell),
            Self::Query(row) => row.cell(cell).map(Cell::view),
        }
    }

    /// All cells, in JavaScript's order of their ids.
    pub(crate) fn cells(&self) -> Vec<(Text, CellRef<'a>)> {
        let mut cells: Vec<_> = match self {
            Self::Table(row) => row.cells().map(|(id, cell)| (id.to_text(), cell)).collect(),
            Self::Query(row) => row.cells().map(|(id, cell)| (id.clone(), cell.view())).collect(),
        };
        cells.sort_by(|(a, _), (b, _)| compare_text(a, b));
        cells
    }
}

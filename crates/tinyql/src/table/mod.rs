//! A query's result: rows in TinyBase's order, written in transactions that tell what they changed.

mod finish;
#[cfg(test)]
mod tests;
mod transaction;
mod write;

use std::collections::HashMap;

use indexmap::IndexSet;
use mergeable_store::{AsText, Cell, Text};

pub(crate) use self::finish::Net;
use self::transaction::Transaction;
use crate::js::SortKey;
use crate::pool::IdPool;
use crate::sort::{Entry, Page, SortedRows, sorted};

/// A cell id, numbered within its table.
pub(crate) type Column = u32;

/// The rows of a result. It is changed by its query only.
#[derive(Clone, Debug, Default)]
pub struct ResultTable {
    columns: IndexSet<Text>,
    /// How many rows have a cell of each column.
    live: Vec<u32>,
    /// In the table's order; those that left have a gap until there are too many of them.
    rows: Vec<Option<Row>>,
    places: HashMap<Text, usize>,
    next_order: u64,
    pool: IdPool,
    sorted: Vec<(Option<Column>, SortedRows)>,
    transaction: Transaction,
}

#[derive(Clone, Debug)]
struct Row {
    id: Text,
    order: u64,
    cells: Vec<(Column, Cell)>,
}

impl ResultTable {
    pub(crate) fn find_row(&self, row: &Text) -> Option<ResultRow<'_>> {
        self.row_at(row.as_wtf8()).map(|row| ResultRow { table: self, row })
    }

    pub(crate) fn all_rows(&self) -> impl Iterator<Item = ResultRow<'_>> {
        self.rows.iter().flatten().map(|row| ResultRow { table: self, row })
    }

    /// How many rows there are.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.places.len()
    }

    /// Row ids in the result's order.
    pub fn row_ids(&self) -> impl Iterator<Item = &Text> {
        self.rows.iter().flatten().map(|row| &row.id)
    }

    /// Whether there is such a row.
    #[must_use]
    pub fn has_row(&self, row: impl AsText) -> bool {
        self.places.contains_key(row.wtf8())
    }

    /// A cell.
    #[must_use]
    pub fn cell(&self, row: impl AsText, cell: impl AsText) -> Option<&Cell> {
        let column = self.columns.get_index_of(cell.wtf8())? as Column;
        self.row_at(row.wtf8())?.cell(column)
    }

    /// A row's cells, in the order in which they came; none if there is no such row.
    pub fn row(&self, row: impl AsText) -> impl Iterator<Item = (&Text, &Cell)> {
        let cells = self.row_at(row.wtf8()).map_or(&[][..], |row| &row.cells);
        cells.iter().map(|(column, cell)| (self.name(*column), cell))
    }

    /// The ids of all cells that some row has.
    pub fn table_cell_ids(&self) -> impl Iterator<Item = &Text> {
        let used = self.columns.iter().zip(&self.live).filter(|(_, live)| **live > 0);
        used.map(|(id, _)| id)
    }

    /// Row ids by a cell, or by themselves, as TinyBase's `getResultSortedRowIds`. A page of an order that
    /// [`Queries::keep_sorted`](crate::Queries::keep_sorted) keeps costs what the page costs; else all rows are sorted.
    #[must_use]
    pub fn sorted_row_ids(&self, cell: Option<&str>, page: Page) -> Vec<Text> {
        let column =
            cell.map(|cell| self.columns.get_index_of(cell.as_bytes()).map(|at| at as Column));
        let kept = match column {
            None => self.kept(None),
            Some(column) => column.and_then(|column| self.kept(Some(column))),
        };
        if let Some(kept) = kept {
            return kept.page(page);
        }
        let key = |row: &Row| match column {
            None => SortKey::Text(row.id.clone()),
            Some(column) => SortKey::of(column.and_then(|column| row.cell(column)).map(Cell::view)),
        };
        let rows = self.rows.iter().flatten().map(|row| (key(row), row.id.clone()));
        sorted(rows.collect(), page)
    }

    fn kept(&self, by: Option<Column>) -> Option<&SortedRows> {
        self.sorted.iter().find(|(kept, _)| *kept == by).map(|(_, rows)| rows)
    }

    /// From now on keeps the rows in the order of a cell, or of their ids.
    pub(crate) fn keep_sorted(&mut self, cell: Option<&str>) {
        let by = cell.map(|cell| self.column(&Text::from(cell)));
        if self.kept(by).is_none() {
            let entries = self.rows.iter().flatten();
            let entries = entries.map(|row| row.entry(by, |column| row.cell(column)));
            self.sorted.push((by, SortedRows::from_entries(entries.collect())));
        }
    }

    /// Keeps no order any more: [`ResultTable::sorted_row_ids`] of this copy sorts all rows.
    pub fn forget_sorted(&mut self) {
        self.sorted.clear();
    }

    pub(crate) fn column(&mut self, name: &Text) -> Column {
        let at = match self.columns.get_index_of(name) {
            Some(at) => at,
            None => {
                self.live.push(0);
                self.columns.insert_full(name.clone()).0
            }
        };
        at as Column
    }

    pub(crate) fn name(&self, column: Column) -> &Text {
        &self.columns[column as usize]
    }

    pub(crate) fn cell_at(&self, row: &Text, column: Column) -> Option<&Cell> {
        self.row_at(row.as_wtf8())?.cell(column)
    }

    fn row_at(&self, row: &[u8]) -> Option<&Row> {
        self.rows[*self.places.get(row)?].as_ref()
    }
}

/// A row of a result, found once to read its cells.
#[derive(Clone, Copy)]
pub(crate) struct ResultRow<'a> {
    table: &'a ResultTable,
    row: &'a Row,
}

impl<'a> ResultRow<'a> {
    pub(crate) fn id(&self) -> &'a Text {
        &self.row.id
    }

    pub(crate) fn cell(&self, cell: impl AsText) -> Option<&'a Cell> {
        self.row.cell(self.table.columns.get_index_of(cell.wtf8())? as Column)
    }

    pub(crate) fn cells(&self) -> impl Iterator<Item = (&'a Text, &'a Cell)> + use<'a> {
        let table = self.table;
        self.row.cells.iter().map(|(column, cell)| (table.name(*column), cell))
    }
}

impl Row {
    fn cell(&self, column: Column) -> Option<&Cell> {
        self.cells.iter().find(|(there, _)| *there == column).map(|(_, cell)| cell)
    }

    fn entry<'a>(&self, by: Option<Column>, cell: impl Fn(Column) -> Option<&'a Cell>) -> Entry {
        entry(&self.id, self.order, by, cell)
    }
}

fn entry<'a>(
    id: &Text,
    order: u64,
    by: Option<Column>,
    cell: impl Fn(Column) -> Option<&'a Cell>,
) -> Entry {
    let key = match by {
        None => SortKey::Text(id.clone()),
        Some(column) => SortKey::of(cell(column).map(Cell::view)),
    };
    Entry { key, order, row: id.clone() }
}

//! A query's result: rows in TinyBase's order, written in transactions that tell what they changed.

mod transaction;

use std::collections::HashMap;

use indexmap::{IndexMap, IndexSet};
use mergeable_store::{AsText, Cell, Text};

use self::transaction::{Before, Touched, TouchedRows, Transaction};
use crate::changes::{ResultCellChange, RowChange, RowChangeKind};
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

/// What a transaction came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Net {
    /// Rows with a cell that differs, in order of first touch.
    pub(crate) rows: Vec<RowChange>,
    /// Whether a cell id is new to the table, or gone from it.
    pub(crate) cell_ids_changed: bool,
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

    /// Sets a cell; the row is made at the end if need be.
    pub(crate) fn set_cell(&mut self, id: &Text, column: Column, cell: Cell) {
        let Some(place) = self.places.get(id).copied() else {
            self.push_row(id, vec![(column, cell)]);
            return;
        };
        let Some(row) = &mut self.rows[place] else { return };
        let before = match row.cells.iter_mut().find(|(there, _)| *there == column) {
            Some((_, there)) if there.reads_like(&cell) => return,
            Some((_, there)) => Some(std::mem::replace(there, cell)),
            None => {
                row.cells.push((column, cell));
                self.transaction.count(&mut self.live, column, 1);
                None
            }
        };
        let order = row.order;
        self.transaction.touch(id, order, column, before);
    }

    /// Sets or deletes cells one by one.
    pub(crate) fn write_cells(
        &mut self,
        id: &Text,
        cells: impl Iterator<Item = (Column, Option<Cell>)>,
    ) {
        if self.places.contains_key(id) {
            for (column, cell) in cells {
                match cell {
                    Some(cell) => self.set_cell(id, column, cell),
                    None => self.del_cell(id, column),
                }
            }
        } else {
            // No column comes twice, so that what is deleted was not set before.
            self.add_cells(id, cells);
        }
    }

    /// Deletes a cell; the row goes with its last one.
    pub(crate) fn del_cell(&mut self, id: &Text, column: Column) {
        let Some(place) = self.places.get(id).copied() else { return };
        let Some(row) = &mut self.rows[place] else { return };
        let Some(at) = row.cells.iter().position(|(there, _)| *there == column) else { return };
        let (_, before) = row.cells.remove(at);
        let (order, empty) = (row.order, row.cells.is_empty());
        if empty {
            // What went can come back at another place, which is not that of its first touch.
            self.transaction.list(self.rows.iter().flatten().map(|row| &row.id));
        }
        self.transaction.count(&mut self.live, column, -1);
        self.transaction.touch(id, order, column, Some(before));
        if empty {
            self.rows[place] = None;
            self.places.remove(id);
            if self.places.is_empty() {
                self.pool = IdPool::default();
            }
        }
    }

    /// Sets the cells given and then deletes the others; without any, nothing happens.
    pub(crate) fn set_row(&mut self, id: &Text, cells: Vec<(Column, Cell)>) {
        if cells.is_empty() {
            return;
        }
        if !self.places.contains_key(id) {
            self.push_row(id, cells);
            return;
        }
        let keep: Vec<Column> = cells.iter().map(|(column, _)| *column).collect();
        for (column, cell) in cells {
            self.set_cell(id, column, cell);
        }
        for column in self.columns_of(id) {
            if !keep.contains(&column) {
                self.del_cell(id, column);
            }
        }
    }

    /// Adds a row under an id of the pool; without cells, nothing happens.
    pub(crate) fn add_row(&mut self, cells: Vec<(Column, Cell)>) -> Option<Text> {
        if cells.is_empty() {
            return None;
        }
        let mut id = self.pool.take();
        while self.places.contains_key(&id) {
            id = self.pool.take();
        }
        self.set_row(&id, cells);
        Some(id)
    }

    /// Deletes a row, if it is there. Its id goes to the pool.
    pub(crate) fn del_row(&mut self, id: &Text) {
        if self.places.contains_key(id) {
            self.pool.release(id);
            for column in self.columns_of(id) {
                self.del_cell(id, column);
            }
        }
    }

    /// Deletes all rows.
    pub(crate) fn clear(&mut self) {
        if self.places.is_empty() {
            self.transaction.fill();
        }
        let ids: Vec<Text> = self.row_ids().cloned().collect();
        for id in &ids {
            self.del_row(id);
        }
    }

    fn columns_of(&self, id: &Text) -> Vec<Column> {
        let row = self.row_at(id.as_wtf8());
        row.map_or_else(Vec::new, |row| row.cells.iter().map(|(column, _)| *column).collect())
    }

    /// Adds a row that is known not to be there, unless it would have no cells. No column comes twice.
    pub(crate) fn add_cells(
        &mut self,
        id: &Text,
        cells: impl Iterator<Item = (Column, Option<Cell>)>,
    ) {
        let mut there = Vec::with_capacity(cells.size_hint().1.unwrap_or(0));
        there.extend(cells.filter_map(|(column, cell)| Some((column, cell?))));
        if !there.is_empty() {
            self.push_row(id, there);
        }
    }

    /// Adds a row that is not there, at the end.
    fn push_row(&mut self, id: &Text, cells: Vec<(Column, Cell)>) {
        let (place, order) = (self.rows.len(), self.next_order);
        self.next_order += 1;
        for (column, _) in &cells {
            self.transaction.count(&mut self.live, *column, 1);
        }
        self.transaction.came(id, cells.iter().map(|(column, _)| *column));
        self.rows.push(Some(Row { id: id.clone(), order, cells }));
        self.places.insert(id.clone(), place);
    }

    /// Ends the transaction: what changed in total. Orders are brought up to date.
    pub(crate) fn finish(&mut self) -> Net {
        let Touched { rows: touched, columns } = self.transaction.end();
        let mut cell_ids = columns.into_iter();
        let cell_ids_changed =
            cell_ids.any(|(column, was)| (self.live[column as usize] > 0) != was);
        let rows = match touched {
            TouchedRows::AllNew => self.all_rows_came(),
            TouchedRows::Listed(touched) => self.differing(touched),
        };
        if self.rows.len() > 32 && self.rows.len() > 2 * self.places.len() {
            self.close_gaps();
        }
        Net { rows, cell_ids_changed }
    }

    fn all_rows_came(&mut self) -> Vec<RowChange> {
        for (by, sorted) in &mut self.sorted {
            let entries = self.rows.iter().flatten();
            let entries = entries.map(|row| row.entry(*by, |column| row.cell(column)));
            *sorted = SortedRows::from_entries(entries.collect());
        }
        let rows = self.rows.iter().flatten();
        rows.map(|row| self.row_came(row)).collect()
    }

    fn row_came(&self, row: &Row) -> RowChange {
        let cells = row.cells.iter().map(|(column, cell)| ResultCellChange {
            cell: self.name(*column).clone(),
            old: None,
            new: Some(cell.clone()),
        });
        RowChange { row: row.id.clone(), kind: RowChangeKind::Added, cells: cells.collect() }
    }

    fn differing(&mut self, touched: IndexMap<Text, Before>) -> Vec<RowChange> {
        let mut rows = Vec::new();
        for (id, before) in touched {
            let place = self.places.get(&id).copied();
            self.resort(&id, place, &before);
            let now = place.and_then(|place| self.rows[place].as_ref());
            if before.order.is_none() {
                rows.extend(now.map(|row| self.row_came(row)));
                continue;
            }
            let cells = before.cells.into_iter();
            let cells = cells.filter_map(|(column, old)| self.cell_change(column, old, now));
            let cells: Vec<_> = cells.collect();
            if !cells.is_empty() {
                let kind =
                    if now.is_some() { RowChangeKind::Changed } else { RowChangeKind::Removed };
                rows.push(RowChange { row: id, kind, cells });
            }
        }
        rows
    }

    fn cell_change(
        &self,
        column: Column,
        old: Option<Cell>,
        now: Option<&Row>,
    ) -> Option<ResultCellChange> {
        let new = now.and_then(|row| row.cell(column));
        let same = match (&old, new) {
            (Some(old), Some(new)) => old.reads_like(new),
            (old, new) => old.is_none() && new.is_none(),
        };
        let cell = || self.name(column).clone();
        (!same).then(|| ResultCellChange { cell: cell(), old, new: new.cloned() })
    }

    fn resort(&mut self, id: &Text, place: Option<usize>, before: &Before) {
        let now = place.and_then(|place| self.rows[place].as_ref());
        let was = |column: Column| {
            let touched = before.cells.iter().find(|(there, _)| *there == column);
            match touched {
                Some((_, old)) => old.as_ref(),
                None => now.and_then(|row| row.cell(column)),
            }
        };
        for (by, rows) in &mut self.sorted {
            let old = before.order.map(|order| entry(id, order, *by, was));
            let new = now.map(|row| row.entry(*by, |column| row.cell(column)));
            if old.as_ref() != new.as_ref() {
                if let Some(old) = &old {
                    rows.remove(old);
                }
                if let Some(new) = new {
                    rows.insert(new);
                }
            }
        }
    }

    fn close_gaps(&mut self) {
        self.rows.retain(Option::is_some);
        for (place, row) in self.rows.iter().enumerate() {
            if let Some(there) = row.as_ref().and_then(|row| self.places.get_mut(&row.id)) {
                *there = place;
            }
        }
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

#[cfg(test)]
mod tests;

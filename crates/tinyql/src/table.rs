//! A query's result: rows in TinyBase's order, written in transactions that tell what they changed.

use std::collections::HashMap;

use indexmap::{IndexMap, IndexSet};
use mergeable_store::{AsText, Cell, Text};

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

/// What has been touched since the last [`ResultTable::finish`], in order, with what was there before.
#[derive(Clone, Debug, Default)]
struct Transaction {
    rows: IndexMap<Text, Before>,
    columns: HashMap<Column, bool>,
}

/// A row as it was.
#[derive(Clone, Debug)]
struct Before {
    /// `None`: it was not there; then no cells are noted.
    order: Option<u64>,
    cells: Vec<(Column, Option<Cell>)>,
}

/// What a transaction came to for one row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NetRow {
    pub(crate) row: Text,
    pub(crate) existed: bool,
    pub(crate) exists: bool,
    pub(crate) cells: Vec<NetCell>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NetCell {
    pub(crate) column: Column,
    pub(crate) old: Option<Cell>,
    pub(crate) new: Option<Cell>,
}

/// What a transaction came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Net {
    /// Rows with a cell that differs, in order of first touch.
    pub(crate) rows: Vec<NetRow>,
    /// Whether a cell id is new to the table, or gone from it.
    pub(crate) cell_ids_changed: bool,
}

impl ResultTable {
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
            let cells: Vec<_> = cells.filter_map(|(column, cell)| Some((column, cell?))).collect();
            if !cells.is_empty() {
                self.push_row(id, cells);
            }
        }
    }

    /// Deletes a cell; the row goes with its last one.
    pub(crate) fn del_cell(&mut self, id: &Text, column: Column) {
        let Some(place) = self.places.get(id).copied() else { return };
        let Some(row) = &mut self.rows[place] else { return };
        let Some(at) = row.cells.iter().position(|(there, _)| *there == column) else { return };
        let (_, before) = row.cells.remove(at);
        let (order, empty) = (row.order, row.cells.is_empty());
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

    pub(crate) fn clear(&mut self) {
        let ids: Vec<Text> = self.row_ids().cloned().collect();
        for id in &ids {
            self.del_row(id);
        }
    }

    fn columns_of(&self, id: &Text) -> Vec<Column> {
        let row = self.row_at(id.as_wtf8());
        row.map_or_else(Vec::new, |row| row.cells.iter().map(|(column, _)| *column).collect())
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
        let touched = std::mem::take(&mut self.transaction);
        let cell_ids_changed =
            touched.columns.iter().any(|(column, was)| (self.live[*column as usize] > 0) != *was);
        let mut rows = Vec::new();
        for (id, before) in touched.rows {
            self.resort(&id, &before);
            if let Some(net) = self.net(id, before) {
                rows.push(net);
            }
        }
        if self.rows.len() > 32 && self.rows.len() > 2 * self.places.len() {
            self.close_gaps();
        }
        Net { rows, cell_ids_changed }
    }

    fn net(&self, row: Text, before: Before) -> Option<NetRow> {
        let now = self.row_at(row.as_wtf8());
        let cells: Vec<NetCell> = match (before.order, now) {
            (None, now) => {
                let cells = now.into_iter().flat_map(|row| &row.cells);
                let came = |(column, cell): &(Column, Cell)| NetCell {
                    column: *column,
                    old: None,
                    new: Some(cell.clone()),
                };
                cells.map(came).collect()
            }
            (Some(_), now) => {
                let cells = before.cells.into_iter();
                cells.filter_map(|(column, old)| net_cell(column, old, now)).collect()
            }
        };
        let (existed, exists) = (before.order.is_some(), now.is_some());
        (!cells.is_empty()).then_some(NetRow { row, existed, exists, cells })
    }

    fn resort(&mut self, id: &Text, before: &Before) {
        if self.sorted.is_empty() {
            return;
        }
        let now = self.places.get(id).and_then(|place| self.rows[*place].as_ref());
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

fn net_cell(column: Column, old: Option<Cell>, now: Option<&Row>) -> Option<NetCell> {
    let new = now.and_then(|row| row.cell(column));
    let same = match (&old, new) {
        (Some(old), Some(new)) => old.reads_like(new),
        (old, new) => old.is_none() && new.is_none(),
    };
    (!same).then(|| NetCell { column, new: new.cloned(), old })
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

impl Before {
    fn note(&mut self, column: Column, cell: Option<Cell>) {
        if self.order.is_some() && !self.cells.iter().any(|(there, _)| *there == column) {
            self.cells.push((column, cell));
        }
    }
}

impl Transaction {
    /// Notes a cell of a row that is there as it was, at its first touch.
    fn touch(&mut self, row: &Text, order: u64, column: Column, cell: Option<Cell>) {
        match self.rows.get_mut(row) {
            Some(before) => before.note(column, cell),
            None => {
                let before = Before { order: Some(order), cells: vec![(column, cell)] };
                self.rows.insert(row.clone(), before);
            }
        }
    }

    /// Notes that a row came, with these cells; if it had been there before, these may be new to it.
    fn came(&mut self, row: &Text, columns: impl Iterator<Item = Column>) {
        match self.rows.get_mut(row) {
            Some(before) => columns.for_each(|column| before.note(column, None)),
            None => {
                self.rows.insert(row.clone(), Before { order: None, cells: Vec::new() });
            }
        }
    }

    fn count(&mut self, live: &mut [u32], column: Column, by: i32) {
        let live = &mut live[column as usize];
        let was = *live > 0;
        *live = live.saturating_add_signed(by);
        if was != (*live > 0) {
            self.columns.entry(column).or_insert(was);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(table: &ResultTable) -> Vec<String> {
        table.row_ids().map(ToString::to_string).collect()
    }

    #[test]
    fn a_row_that_leaves_and_returns_goes_to_the_end_without_a_net_change() {
        let mut table = ResultTable::default();
        table.keep_sorted(Some("n"));
        let n = table.column(&"n".into());
        for id in ["a", "b"] {
            table.set_cell(&id.into(), n, Cell::Number(1.0));
        }
        assert_eq!(table.finish().rows.len(), 2);
        table.del_cell(&"a".into(), n);
        table.set_cell(&"a".into(), n, Cell::Number(1.0));
        assert_eq!(table.finish(), Net::default());
        assert_eq!(ids(&table), ["b", "a"]);
        assert_eq!(table.sorted_row_ids(Some("n"), Page::default()), ["b", "a"]);
    }

    #[test]
    fn ids_come_from_the_pool_and_counting_starts_again_when_the_table_is_empty() {
        let mut table = ResultTable::default();
        let n = table.column(&"n".into());
        let add = |table: &mut ResultTable| table.add_row(vec![(n, Cell::Null)]).unwrap();
        let made: Vec<Text> = (0..3).map(|_| add(&mut table)).collect();
        assert_eq!(made, ["0", "1", "2"]);
        table.del_row(&"1".into());
        table.del_row(&"0".into());
        assert_eq!(
            (add(&mut table), add(&mut table), add(&mut table)),
            ("1".into(), "0".into(), "3".into())
        );
        table.clear();
        assert_eq!(add(&mut table), "0");
    }

    #[test]
    fn gaps_are_closed_and_rows_found_afterwards() {
        let mut table = ResultTable::default();
        let n = table.column(&"n".into());
        for at in 0..100 {
            table.set_cell(&at.to_string().into(), n, Cell::Number(f64::from(at)));
        }
        table.finish();
        for at in 0..90 {
            table.del_row(&at.to_string().into());
        }
        table.finish();
        assert!(table.rows.len() < 40);
        assert_eq!(table.cell("95", "n"), Some(&Cell::Number(95.0)));
        assert_eq!(ids(&table).len(), 10);
    }
}

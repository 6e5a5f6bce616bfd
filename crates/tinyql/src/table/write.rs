//! Changing a result's cells and rows.

use mergeable_store::{Cell, Text};

use super::{Column, ResultTable, Row};
use crate::pool::IdPool;

impl ResultTable {
    /// Sets a cell; the row is made at the end if need be.
    pub(crate) fn set_cell(&mut self, id: &Text, column: Column, cell: Cell) {
        match self.places.get(id) {
            Some(place) => self.set_at(*place, column, cell),
            None => self.push_row(id, vec![(column, cell)]),
        }
    }

    /// As [`ResultTable::set_cell`], of the row at a place.
    fn set_at(&mut self, place: usize, column: Column, cell: Cell) {
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
        self.transaction.touch(&row.id, row.order, column, before);
    }

    /// Deletes a cell of the row at a place; the row goes with its last one.
    fn del_at(&mut self, place: usize, column: Column) {
        let Some(row) = &mut self.rows[place] else { return };
        let Some(at) = row.cells.iter().position(|(there, _)| *there == column) else { return };
        let (_, before) = row.cells.remove(at);
        self.transaction.count(&mut self.live, column, -1);
        self.transaction.touch(&row.id, row.order, column, Some(before));
        if row.cells.is_empty() {
            self.remove_row(place);
        }
    }

    /// Takes away a row without cells.
    fn remove_row(&mut self, place: usize) {
        // It can come back at another place, which is not that of its first touch.
        self.transaction.list(self.rows.iter().flatten().map(|row| &row.id));
        if let Some(row) = self.rows[place].take() {
            self.places.remove(&row.id);
        }
        if self.places.is_empty() {
            self.pool = IdPool::default();
        }
    }

    /// Sets or deletes cells one by one. No column comes twice.
    pub(crate) fn write_cells(
        &mut self,
        id: &Text,
        cells: impl Iterator<Item = (Column, Option<Cell>)>,
    ) {
        let Some(place) = self.places.get(id).copied() else {
            self.add_cells(id, cells);
            return;
        };
        for (column, cell) in cells {
            // A row that has gone with its last cell comes back at another place.
            let is_there = self.rows[place].is_some();
            match cell {
                Some(cell) if is_there => self.set_at(place, column, cell),
                Some(cell) => self.set_cell(id, column, cell),
                None if is_there => self.del_at(place, column),
                // What is deleted was not set before.
                None => {}
            }
        }
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

    /// Sets the cells given and then deletes the others; without any, nothing happens.
    pub(crate) fn set_row(&mut self, id: &Text, cells: Vec<(Column, Cell)>) {
        if cells.is_empty() {
            return;
        }
        let Some(place) = self.places.get(id).copied() else {
            self.push_row(id, cells);
            return;
        };
        let keep: Vec<Column> = cells.iter().map(|(column, _)| *column).collect();
        for (column, cell) in cells {
            self.set_at(place, column, cell);
        }
        for column in self.columns_at(place) {
            if !keep.contains(&column) {
                self.del_at(place, column);
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
        self.push_row(&id, cells);
        Some(id)
    }

    /// Deletes a row, if it is there. Its id goes to the pool.
    pub(crate) fn del_row(&mut self, id: &Text) {
        if let Some(place) = self.places.get(id).copied() {
            self.pool.release(id);
            for column in self.columns_at(place) {
                self.del_at(place, column);
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

    fn columns_at(&self, place: usize) -> Vec<Column> {
        let row = self.rows[place].as_ref();
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
}

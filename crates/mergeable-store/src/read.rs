//! Reading many rows or cells: a table, and a row in it, found once.

use std::fmt;

use crate::content::Table;
use crate::ids::{Id, Ids};
use crate::row::Row;
use crate::{AsText, CellRef, MergeableStore, Text, TextRef};

/// A table of a store.
#[derive(Clone, Copy)]
pub struct TableRef<'a> {
    ids: &'a Ids,
    table: &'a Table,
}

/// A live row of a store.
#[derive(Clone, Copy)]
pub struct RowRef<'a> {
    ids: &'a Ids,
    row: &'a Row,
}

/// A cell id to read from many rows, with the number that a store knows it by as far as that was looked up.
///
/// The number is only a guess, checked at each read: a cell read by a name that was never looked up, or in another store, is
/// the right one still, found more slowly.
#[derive(Clone, Debug)]
pub struct CellName {
    text: Text,
    guess: Id,
}

impl CellName {
    /// A name that was not looked up.
    pub fn new(cell: impl AsText) -> Self {
        Self { text: cell.to_text(), guess: Id::MAX }
    }

    /// The cell id.
    #[must_use]
    pub const fn text(&self) -> &Text {
        &self.text
    }

    fn number(&self, ids: &Ids) -> Option<Id> {
        let cell = self.text.as_wtf8();
        if ids.is_at(self.guess as usize, cell) { Some(self.guess) } else { ids.find(cell) }
    }

    /// Looks the name up in a store, so that cells are found quickly there.
    pub fn look_up(&mut self, store: &MergeableStore) {
        self.guess = self.number(&store.ids).unwrap_or(Id::MAX);
    }
}

impl MergeableStore {
    /// A table, to read many of its rows; `None` if there never was one of this id.
    #[must_use]
    pub fn table(&self, table: impl AsText) -> Option<TableRef<'_>> {
        Some(TableRef { ids: &self.ids, table: self.content.table(table.wtf8())? })
    }
}

impl<'a> TableRef<'a> {
    /// A live row.
    #[must_use]
    pub fn row(&self, row: impl AsText) -> Option<RowRef<'a>> {
        let row = self.table.entries.find(row.wtf8()).filter(|row| row.live() > 0)?;
        Some(RowRef { ids: self.ids, row })
    }

    /// The live rows with their ids, as they came to life.
    pub fn rows(self) -> impl Iterator<Item = (TextRef<'a>, RowRef<'a>)> {
        let rows = self.table.entries.ordered().filter(|(_, row)| row.live() > 0);
        rows.map(move |(id, row)| (id, RowRef { ids: self.ids, row }))
    }
}

impl<'a> RowRef<'a> {
    /// A live cell.
    #[must_use]
    pub fn cell(&self, cell: &CellName) -> Option<CellRef<'a>> {
        self.row.thing(cell.number(self.ids)?)
    }

    /// As [`RowRef::cell`], by an id that is read only once.
    #[must_use]
    pub fn get_cell(&self, cell: impl AsText) -> Option<CellRef<'a>> {
        self.row.thing(self.ids.find(cell.wtf8())?)
    }

    /// The live cells with their ids, as they came to life.
    pub fn cells(self) -> impl Iterator<Item = (TextRef<'a>, CellRef<'a>)> {
        self.row.living().map(move |(id, cell)| (self.ids.text(id), cell))
    }
}

impl fmt::Debug for TableRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.rows()).finish()
    }
}

impl fmt::Debug for RowRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.cells()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cell, ClientId, EditError};

    fn store(cells: &[&str]) -> MergeableStore {
        let mut store = MergeableStore::new(ClientId::from_unique_id("a"));
        let filled = store.edit(1, |tx| {
            for (at, cell) in (0..).zip(cells) {
                for row in ["r1", "r2"] {
                    tx.set_cell("t", row, *cell, Cell::Number(f64::from(at)))?;
                }
            }
            tx.del_row("t", "r1")
        });
        filled.unwrap();
        store
    }

    #[test]
    fn live_rows_and_cells_are_read_by_handle() {
        let store = store(&["a", "b"]);
        assert!(store.table("none").is_none());
        let table = store.table("t").unwrap();
        assert!(table.row("r1").is_none() && table.row("r3").is_none());
        let rows: Vec<_> = table.rows().collect();
        assert_eq!(rows.len(), 1);
        assert!(rows[0].0 == "r2");
        let row = table.row("r2").unwrap();
        assert_eq!(row.get_cell("b"), Some(CellRef::Number(1.0)));
        assert_eq!(row.get_cell("c"), None);
        assert_eq!(format!("{table:?}"), "{\"r2\": {\"a\": Number(0.0), \"b\": Number(1.0)}}");
    }

    #[test]
    fn a_number_from_elsewhere_or_before_a_rollback_is_not_believed() {
        let mut one = store(&["a", "b"]);
        let mut name = CellName::new("b");
        let read = |store: &MergeableStore, name: &CellName| {
            store.table("t").unwrap().row("r2").unwrap().cell(name).map(CellRef::to_cell)
        };
        assert_eq!(read(&one, &name), Some(Cell::Number(1.0)));
        name.look_up(&one);
        assert_eq!(read(&one, &name), Some(Cell::Number(1.0)));
        assert_eq!(read(&store(&["b", "a"]), &name), Some(Cell::Number(0.0)));
        assert_eq!(read(&store(&["a", "c"]), &name), None);

        let mut late = CellName::new("late");
        let refused = one.edit(2, |tx| {
            tx.set_cell("t", "r2", "late", true)?;
            tx.set_cell("t", "r2", "late", Cell::Number(f64::NAN))
        });
        assert!(matches!(refused, Err(EditError::Cell { .. })));
        late.look_up(&one);
        one.edit(3, |tx| tx.set_cell("t", "r2", "other", true)).unwrap();
        assert_eq!(read(&one, &late), None);
        one.edit(4, |tx| tx.set_cell("t", "r2", "late", false)).unwrap();
        assert_eq!(read(&one, &late), Some(Cell::Bool(false)));
    }
}

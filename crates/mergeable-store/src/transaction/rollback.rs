//! Taking a failed transaction back.

use indexmap::IndexMap;

use super::Transaction;
use super::log::{Touched, Write};
use super::write::same;
use crate::Cell;
use crate::content::Stamped;
use crate::store::Put;

impl Transaction<'_> {
    /// Undoes all writes. TinyBase does it by writing the old content back, which uses a clock reading for each cell and
    /// value that differs, and moves what was deleted to the end of its order; both are repeated here.
    pub(super) fn roll_back(mut self) {
        let (cells, values) = self.touched();
        let revived = self.plan_cells(&cells);
        let revived_values = self.plan_values(&values);
        for write in std::mem::take(&mut self.log).into_iter().rev() {
            match write {
                Write::Cell(put) => self.undo_cell(put),
                Write::Value { at, old, hash } => self.undo_value(at, old, hash),
            }
        }
        let tables = &mut self.store.content.tables;
        for place in revived {
            match place {
                Revived::Table(table) => tables.entries.revive(table),
                Revived::Row(table, row) => tables.entries.get_mut(table).entries.revive(row),
                Revived::Cell(table, row, cell) => {
                    tables.entries.get_mut(table).entries.get_mut(row).entries.revive(cell);
                }
            }
        }
        for value in revived_values {
            self.store.content.values.entries.revive(value);
        }
    }

    /// Uses the clock as writing the old cells back would, and lists what that would bring back to life, in order.
    fn plan_cells(&mut self, touched: &Touched) -> Vec<Revived> {
        let mut revived = Vec::new();
        for (table_at, rows) in touched {
            let table = &self.store.content.tables.entries.get(*table_at).value;
            let mut live_rows = table.live;
            for (row_at, cells) in rows {
                let row = &table.entries.get(*row_at).value;
                let mut live_cells = row.live;
                for (cell_at, old) in cells {
                    let there = row.entries.get(*cell_at).value.thing.as_ref();
                    if !same(there.map(Cell::view), old.as_ref()) {
                        self.store.clock.next(self.now);
                    }
                    match (there.is_some(), old.is_some()) {
                        (false, true) => {
                            if live_rows == 0 {
                                revived.push(Revived::Table(*table_at));
                            }
                            if live_cells == 0 {
                                revived.push(Revived::Row(*table_at, *row_at));
                                live_rows += 1;
                            }
                            live_cells += 1;
                            revived.push(Revived::Cell(*table_at, *row_at, *cell_at));
                        }
                        (true, false) => {
                            live_cells -= 1;
                            live_rows -= u32::from(live_cells == 0);
                        }
                        _ => {}
                    }
                }
            }
        }
        revived
    }

    fn plan_values(&mut self, touched: &IndexMap<usize, Option<Cell>>) -> Vec<usize> {
        let mut revived = Vec::new();
        for (at, old) in touched {
            let there = self.store.content.values.entries.get(*at).value.thing.as_ref();
            if !same(there.map(Cell::view), old.as_ref()) {
                self.store.clock.next(self.now);
            }
            if there.is_none() && old.is_some() {
                revived.push(*at);
            }
        }
        revived
    }

    fn undo_cell(&mut self, put: Put) {
        let [table_at, row_at, cell_at] = put.at;
        let tables = &mut self.store.content.tables;
        let table = tables.entries.get_mut(table_at);
        let table_lived = table.live > 0;
        let row = table.entries.get_mut(row_at);
        let row_lived = row.live > 0;
        let cell_lived = row.entries.get(cell_at).value.thing.is_some();
        let cell_lives = put.old.as_ref().is_some_and(|old| old.thing.is_some());
        match put.old {
            Some(old) => *row.entries.get_mut(cell_at) = old,
            None => row.entries.pop(),
        }
        [tables.hash, table.hash, row.hash] = put.hashes;
        recount(&mut row.live, cell_lived, cell_lives);
        let row_lives = row.live > 0;
        recount(&mut table.live, row_lived, row_lives);
        let table_lives = table.live > 0;
        recount(&mut tables.live, table_lived, table_lives);
        if put.made_row {
            table.entries.pop();
        }
        if put.made_table {
            tables.entries.pop();
        }
    }

    fn undo_value(&mut self, at: usize, old: Option<Stamped>, hash: u32) {
        let values = &mut self.store.content.values;
        let lived = values.entries.get(at).value.thing.is_some();
        recount(&mut values.live, lived, old.as_ref().is_some_and(|old| old.thing.is_some()));
        match old {
            Some(old) => *values.entries.get_mut(at) = old,
            None => values.entries.pop(),
        }
        values.hash = hash;
    }
}

/// What a rollback brings back to life: positions of table, row, cell.
enum Revived {
    Table(usize),
    Row(usize, usize),
    Cell(usize, usize, usize),
}

fn recount(live: &mut u32, lived: bool, lives: bool) {
    match (lived, lives) {
        (false, true) => *live += 1,
        (true, false) => *live -= 1,
        _ => {}
    }
}

//! Taking a failed transaction back.

use indexmap::IndexMap;

use super::Transaction;
use super::log::{Touched, Write};
use super::write::same;
use crate::Cell;
use crate::ids::Id;
use crate::row::{Stamped, recount};
use crate::store::Put;

impl Transaction<'_> {
    /// Undoes all writes. TinyBase does it by writing the old content back, which uses a clock reading for each cell and
    /// value that differs, and moves what was deleted to the end of its order; both are repeated here.
    pub(super) fn roll_back(mut self) {
        if let Some(schema) = self.schema_before.take() {
            self.store.schema = schema;
        }
        let (cells, values) = self.touched();
        let revived = self.plan_cells(&cells);
        let revived_values = self.plan_values(&values);
        for write in std::mem::take(&mut self.log).into_iter().rev() {
            match write {
                Write::Cell(put) => self.undo_cell(put),
                Write::Value { id, old, hash } => {
                    let old = old.as_ref().map(Stamped::view);
                    self.store.content.values.undo(id, old, hash);
                }
            }
        }
        let tables = &mut self.store.content.tables;
        for place in revived {
            match place {
                Revived::Table(table) => tables.entries.revive(table),
                Revived::Row(table, row) => tables.entries.get_mut(table).entries.revive(row),
                Revived::Cell(table, row, cell) => {
                    tables.entries.get_mut(table).entries.get_mut(row).revive(cell);
                }
            }
        }
        for value in revived_values {
            self.store.content.values.revive(value);
        }
    }

    /// Uses the clock as writing the old cells back would, and lists what that would bring back to life, in order.
    fn plan_cells(&mut self, touched: &Touched) -> Vec<Revived> {
        let mut revived = Vec::new();
        for (table_at, rows) in touched {
            let table = self.store.content.tables.entries.get(*table_at);
            let mut live_rows = table.live;
            for (row_at, cells) in rows {
                let row = table.entries.get(*row_at);
                let mut live_cells = row.live();
                for (cell, old) in cells {
                    let there = row.get(*cell).and_then(|stamp| stamp.thing);
                    if !same(there, old.as_ref()) {
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
                            revived.push(Revived::Cell(*table_at, *row_at, *cell));
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

    fn plan_values(&mut self, touched: &IndexMap<Id, Option<Cell>>) -> Vec<Id> {
        let mut revived = Vec::new();
        for (id, old) in touched {
            let there = self.store.content.values.get(*id).and_then(|stamp| stamp.thing);
            if !same(there, old.as_ref()) {
                self.store.clock.next(self.now);
            }
            if there.is_none() && old.is_some() {
                revived.push(*id);
            }
        }
        revived
    }

    fn undo_cell(&mut self, put: Put) {
        let tables = &mut self.store.content.tables;
        let table = tables.entries.get_mut(put.table);
        let table_lived = table.live > 0;
        let row = table.entries.get_mut(put.row);
        let row_lived = row.live() > 0;
        let [tables_hash, table_hash, row_hash] = put.hashes;
        row.undo(put.cell, put.old.as_ref().map(Stamped::view), row_hash);
        (tables.hash, table.hash) = (tables_hash, table_hash);
        let row_lives = row.live() > 0;
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
}

/// What a rollback brings back to life: position of the table, of the row, number of the cell's id.
enum Revived {
    Table(usize),
    Row(usize, usize),
    Cell(usize, usize, Id),
}

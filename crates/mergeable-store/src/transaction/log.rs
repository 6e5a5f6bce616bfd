//! What a transaction has written, and what it amounts to.

use indexmap::IndexMap;

use super::Transaction;
use crate::ids::Id;
use crate::row::Stamped;
use crate::store::Put;
use crate::{AsText as _, Cell, CellChange, CellRef, Merged, ValueChange, Writer};

/// A write of the transaction, as it can be undone.
pub(super) enum Write {
    Cell(Put),
    Value { id: Id, old: Option<Stamped>, hash: u32 },
}

/// The cells touched, in order of first touch, grouped by table and row, with what was there before.
pub(super) type Touched = IndexMap<usize, IndexMap<usize, IndexMap<Id, Option<Cell>>>>;

impl Transaction<'_> {
    /// What was there before the first touch of each cell and value.
    pub(super) fn touched(&self) -> (Touched, IndexMap<Id, Option<Cell>>) {
        let (mut cells, mut values) = (Touched::new(), IndexMap::new());
        let thing = |old: &Option<Stamped>| old.as_ref().and_then(|old| old.thing.clone());
        for write in &self.log {
            match write {
                Write::Cell(put) => {
                    let row = cells.entry(put.table).or_default().entry(put.row).or_default();
                    row.entry(put.cell).or_insert_with(|| thing(&put.old));
                }
                Write::Value { id, old, .. } => {
                    values.entry(*id).or_insert_with(|| thing(old));
                }
            }
        }
        (cells, values)
    }

    pub(super) fn finish(self) -> Merged {
        let (cells, values) = self.touched();
        let (ids, content) = (&self.store.ids, &self.store.content);
        let (invalid_cells, invalid_values) = (self.invalid_cells, self.invalid_values);
        let mut merged = Merged { invalid_cells, invalid_values, ..Merged::default() };
        for (table_at, rows) in cells {
            let table = content.tables.entries.get(table_at);
            let table_id = content.tables.entries.id(table_at).to_text();
            for (row_at, cells) in rows {
                let row = table.entries.get(row_at);
                let row_id = table.entries.id(row_at).to_text();
                for (cell, old) in cells {
                    let Some(there) = row.get(cell) else { continue };
                    merged.cells.push(CellChange {
                        table: table_id.clone(),
                        row: row_id.clone(),
                        cell: ids.text(cell).to_text(),
                        old,
                        new: there.thing.map(CellRef::to_cell),
                        hlc: there.hlc,
                        by: Writer::Store,
                    });
                }
            }
        }
        for (value, old) in values {
            let Some(there) = content.values.get(value) else { continue };
            merged.values.push(ValueChange {
                value: ids.text(value).to_text(),
                old,
                new: there.thing.map(CellRef::to_cell),
                hlc: there.hlc,
                by: Writer::Store,
            });
        }
        merged
    }
}

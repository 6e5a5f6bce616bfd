//! What a transaction has written, and what it amounts to.

use indexmap::IndexMap;

use super::Transaction;
use crate::content::Stamped;
use crate::store::Put;
use crate::{Cell, CellChange, Merged, ValueChange, Writer};

/// A write of the transaction, as it can be undone.
pub(super) enum Write {
    Cell(Put),
    Value { at: usize, old: Option<Stamped>, hash: u32 },
}

/// The cells touched, in order of first touch, grouped by table and row, with what was there before.
pub(super) type Touched = IndexMap<usize, IndexMap<usize, IndexMap<usize, Option<Cell>>>>;

impl Transaction<'_> {
    /// What was there before the first touch of each cell and value.
    pub(super) fn touched(&self) -> (Touched, IndexMap<usize, Option<Cell>>) {
        let (mut cells, mut values) = (Touched::new(), IndexMap::new());
        let thing = |old: &Option<Stamped>| old.as_ref().and_then(|old| old.thing.clone());
        for write in &self.log {
            match write {
                Write::Cell(put) => {
                    let [table, row, cell] = put.at;
                    let row = cells.entry(table).or_default().entry(row).or_default();
                    row.entry(cell).or_insert_with(|| thing(&put.old));
                }
                Write::Value { at, old, .. } => {
                    values.entry(*at).or_insert_with(|| thing(old));
                }
            }
        }
        (cells, values)
    }

    pub(super) fn finish(self) -> Merged {
        let (cells, values) = self.touched();
        let (ids, content) = (&self.store.ids, &self.store.content);
        let mut merged = Merged::default();
        for (table, rows) in cells {
            let table = content.tables.entries.get(table);
            for (row, cells) in rows {
                let row = table.value.entries.get(row);
                for (cell, old) in cells {
                    let cell = row.value.entries.get(cell);
                    merged.cells.push(CellChange {
                        table: ids.text(table.id).clone(),
                        row: ids.text(row.id).clone(),
                        cell: ids.text(cell.id).clone(),
                        old,
                        new: cell.value.thing.clone(),
                        hlc: cell.value.hlc,
                        by: Writer::Store,
                    });
                }
            }
        }
        for (value, old) in values {
            let value = content.values.entries.get(value);
            merged.values.push(ValueChange {
                value: ids.text(value.id).clone(),
                old,
                new: value.value.thing.clone(),
                hlc: value.value.hlc,
                by: Writer::Store,
            });
        }
        merged
    }
}

//! Which cells the rows of a table have at all, counted, for queries whose columns depend on it.

use std::collections::HashMap;

use mergeable_store::{AsText as _, CellChange, MergeableStore, TableRef, Text};

/// Counts of the live cells of some tables, by cell id.
#[derive(Default)]
pub(crate) struct TableCellIds {
    tables: HashMap<Text, HashMap<Text, usize>>,
}

impl TableCellIds {
    /// Counts the cells of exactly these tables from now on. A new one costs a pass over its rows.
    pub(crate) fn watch(&mut self, store: &MergeableStore, tables: &[Text]) {
        self.tables.retain(|table, _| tables.contains(table));
        for table in tables {
            self.tables.entry(table.clone()).or_insert_with(|| {
                let mut counts = HashMap::new();
                let rows = store.table(table).into_iter().flat_map(TableRef::rows);
                for (cell, _) in rows.flat_map(|(_, row)| row.cells()) {
                    match counts.get_mut(cell.as_wtf8()) {
                        Some(count) => *count += 1,
                        None => {
                            counts.insert(cell.to_text(), 1);
                        }
                    }
                }
                counts
            });
        }
    }

    /// A watched table's cell ids.
    pub(crate) fn of(&self, table: &Text) -> impl Iterator<Item = &Text> {
        self.tables.get(table).into_iter().flatten().map(|(cell, _)| cell)
    }

    /// Counts what changed; the tables that have a cell id more or less than before.
    pub(crate) fn apply(&mut self, changes: &[CellChange]) -> Vec<Text> {
        if self.tables.is_empty() {
            return Vec::new();
        }
        let mut before: HashMap<(&Text, &Text), bool> = HashMap::new();
        for change in changes {
            let Some(counts) = self.tables.get_mut(&change.table) else { continue };
            let count = counts.entry(change.cell.clone()).or_default();
            before.entry((&change.table, &change.cell)).or_insert(*count > 0);
            match (&change.old, &change.new) {
                (None, Some(_)) => *count += 1,
                (Some(_), None) => *count = count.saturating_sub(1),
                _ => {}
            }
            if *count == 0 {
                counts.remove(&change.cell);
            }
        }
        let mut changed = Vec::new();
        for ((table, cell), was) in before {
            let is = self.tables.get(table).is_some_and(|counts| counts.contains_key(cell));
            if is != was && !changed.contains(table) {
                changed.push(table.clone());
            }
        }
        changed
    }
}

//! The ladder by which two stores find what differs: hashes of tables, then rows, then cells; and of values.

use indexmap::IndexMap;

use crate::content::{Row, Table};
use crate::entries::{Entries, Entry, Id};
use crate::store::stamp_of;
use crate::{Changes, MergeableStore, RowChanges, TableChanges, Text};

/// Table id to hash.
pub type TableHashes = IndexMap<Text, u32>;
/// Table id to row id to hash.
pub type RowHashes = IndexMap<Text, IndexMap<Text, u32>>;
/// Table id to row id to cell id to hash.
pub type CellHashes = IndexMap<Text, RowHashes>;
/// Value id to hash.
pub type ValueHashes = IndexMap<Text, u32>;

impl MergeableStore {
    /// The hash of each table: what a store asks another's tables with.
    #[must_use]
    pub fn table_hashes(&self) -> TableHashes {
        self.hashes_of(&self.content.tables.entries, |table| table.hash)
    }

    /// Answers [`MergeableStore::table_hashes`] of another store: the tables that it lacks, and the own hashes of those that
    /// differ.
    #[must_use]
    pub fn table_diff(&self, asker: &TableHashes) -> (Changes, TableHashes) {
        let mut changes = Changes { tables_hlc: self.content.tables.hlc, ..Changes::default() };
        let mut differing = TableHashes::new();
        for (id, table) in self.named(&self.content.tables.entries) {
            match asker.get(id) {
                None => {
                    changes.tables.insert(id.clone(), self.table_changes(table));
                }
                Some(hash) if *hash != table.hash => {
                    differing.insert(id.clone(), table.hash);
                }
                Some(_) => {}
            }
        }
        (changes, differing)
    }

    /// The hash of each row, in those tables whose hash differs from the other store's.
    #[must_use]
    pub fn row_hashes(&self, differing: &TableHashes) -> RowHashes {
        let mut hashes = RowHashes::new();
        for (id, other) in differing {
            if let Some(table) =
                self.content.table(&self.ids, id.as_wtf8()).filter(|table| table.hash != *other)
            {
                hashes.insert(id.clone(), self.hashes_of(&table.entries, |row| row.hash));
            }
        }
        hashes
    }

    /// Answers [`MergeableStore::row_hashes`]: the rows that the asker lacks, and the own hashes of those that differ.
    #[must_use]
    pub fn row_diff(&self, asker: &RowHashes) -> (Changes, RowHashes) {
        let mut changes = Changes { tables_hlc: self.content.tables.hlc, ..Changes::default() };
        let mut differing = RowHashes::new();
        for (table_id, asked) in asker {
            let Some(table) = self.content.table(&self.ids, table_id.as_wtf8()) else {
                continue;
            };
            for (id, row) in self.named(&table.entries) {
                match asked.get(id) {
                    None => {
                        let table: &mut TableChanges =
                            changes.tables.entry(table_id.clone()).or_default();
                        table.rows.insert(id.clone(), self.row_changes(row));
                    }
                    Some(hash) if *hash != row.hash => {
                        differing.entry(table_id.clone()).or_default().insert(id.clone(), row.hash);
                    }
                    Some(_) => {}
                }
            }
        }
        (changes, differing)
    }

    /// The hash of each cell, in those rows whose hash differs from the other store's.
    #[must_use]
    pub fn cell_hashes(&self, differing: &RowHashes) -> CellHashes {
        let mut hashes = CellHashes::new();
        for (table_id, rows) in differing {
            for (id, other) in rows {
                let row = self.content.row(&self.ids, table_id.as_wtf8(), id.as_wtf8());
                if let Some(row) = row.filter(|row| row.hash != *other) {
                    let cells = self.hashes_of(&row.entries, |cell| cell.hash);
                    hashes.entry(table_id.clone()).or_default().insert(id.clone(), cells);
                }
            }
        }
        hashes
    }

    /// Answers [`MergeableStore::cell_hashes`]: the cells that the asker lacks or that differ.
    #[must_use]
    pub fn cell_diff(&self, asker: &CellHashes) -> Changes {
        let mut changes = Changes { tables_hlc: self.content.tables.hlc, ..Changes::default() };
        for (table_id, rows) in asker {
            let Some(table) = self.content.table(&self.ids, table_id.as_wtf8()) else {
                continue;
            };
            for (row_id, asked) in rows {
                let Some(row) =
                    self.ids.find(row_id.as_wtf8()).and_then(|id| table.entries.find(id))
                else {
                    continue;
                };
                for (id, cell) in self.named(&row.entries) {
                    if asked.get(id) == Some(&cell.hash) {
                        continue;
                    }
                    let table_changes = changes.tables.entry(table_id.clone()).or_default();
                    table_changes.hlc = table.hlc;
                    let row_changes = table_changes.rows.entry(row_id.clone()).or_default();
                    row_changes.hlc = row.hlc;
                    row_changes.cells.insert(id.clone(), stamp_of(cell));
                }
            }
        }
        changes
    }

    /// The hash of each value.
    #[must_use]
    pub fn value_hashes(&self) -> ValueHashes {
        self.hashes_of(&self.content.values.entries, |value| value.hash)
    }

    /// Answers [`MergeableStore::value_hashes`]: the values that the asker lacks or that differ.
    #[must_use]
    pub fn value_diff(&self, asker: &ValueHashes) -> Changes {
        let values = self
            .named(&self.content.values.entries)
            .filter(|(id, value)| asker.get(*id) != Some(&value.hash))
            .map(|(id, value)| (id.clone(), stamp_of(value)))
            .collect();
        Changes { values, values_hlc: self.content.values.hlc, ..Changes::default() }
    }

    fn named<'a, V>(&'a self, entries: &'a Entries<V>) -> impl Iterator<Item = (&'a Text, &'a V)> {
        entries.iter().map(|Entry { id, value, .. }: &Entry<V>| (self.name(*id), value))
    }

    fn name(&self, id: Id) -> &Text {
        self.ids.text(id)
    }

    fn hashes_of<V>(&self, entries: &Entries<V>, hash: impl Fn(&V) -> u32) -> IndexMap<Text, u32> {
        self.named(entries).map(|(id, value)| (id.clone(), hash(value))).collect()
    }

    fn table_changes(&self, table: &Table) -> TableChanges {
        let rows = self
            .named(&table.entries)
            .map(|(id, row)| (id.clone(), self.row_changes(row)))
            .collect();
        TableChanges { rows, hlc: table.hlc }
    }

    fn row_changes(&self, row: &Row) -> RowChanges {
        let cells =
            self.named(&row.entries).map(|(id, cell)| (id.clone(), stamp_of(cell))).collect();
        RowChanges { cells, hlc: row.hlc }
    }
}

//! The ladder by which two stores find what differs: hashes of tables, then rows, then cells; and of values.

use indexmap::IndexMap;

use crate::changes::{RowChanges, TableChanges};
use crate::content::Table;
use crate::map::Map;
use crate::row::{Row, StampRef};
use crate::store::stamp_of;
use crate::{AsText as _, Changes, MergeableStore, Stamp, Text, TextRef};

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
        let tables = self.content.tables.entries.iter();
        tables.map(|(id, table)| (id.to_text(), table.hash)).collect()
    }

    /// Answers [`MergeableStore::table_hashes`] of another store: the tables that it lacks, and the own hashes of those that
    /// differ.
    #[must_use]
    pub fn table_diff(&self, asker: &TableHashes) -> (Changes, TableHashes) {
        let mut changes = Changes { tables_hlc: self.content.tables.hlc, ..Changes::default() };
        let mut differing = TableHashes::new();
        for (id, table) in self.content.tables.entries.iter() {
            match asker.get(id.as_wtf8()) {
                None => changes.tables.insert(id, self.table_changes(table)),
                Some(hash) if *hash != table.hash => {
                    differing.insert(id.to_text(), table.hash);
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
            let table = self.content.table(id.as_wtf8());
            if let Some(table) = table.filter(|table| table.hash != *other) {
                let rows = table.entries.iter();
                hashes
                    .insert(id.clone(), rows.map(|(id, row)| (id.to_text(), row.hash())).collect());
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
            let Some(table) = self.content.table(table_id.as_wtf8()) else {
                continue;
            };
            for (id, row) in table.entries.iter() {
                match asked.get(id.as_wtf8()) {
                    None => {
                        changes.tables.entry(table_id).rows.insert(id, self.row_changes(row));
                    }
                    Some(hash) if *hash != row.hash() => {
                        let rows = differing.entry(table_id.clone()).or_default();
                        rows.insert(id.to_text(), row.hash());
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
                let row = self.content.row(table_id.as_wtf8(), id.as_wtf8());
                if let Some(row) = row.filter(|row| row.hash() != *other) {
                    let cells = self.things_hashes(row);
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
            let Some(table) = self.content.table(table_id.as_wtf8()) else {
                continue;
            };
            for (row_id, asked) in rows {
                let Some(row) = table.entries.find(row_id.as_wtf8()) else {
                    continue;
                };
                let cells = self.differing(row, asked);
                if !cells.is_empty() {
                    let table_changes = changes.tables.entry(table_id);
                    table_changes.hlc = table.hlc;
                    table_changes.rows.insert(row_id, RowChanges { cells, hlc: row.hlc() });
                }
            }
        }
        changes
    }

    /// The hash of each value.
    #[must_use]
    pub fn value_hashes(&self) -> ValueHashes {
        self.things_hashes(&self.content.values)
    }

    /// Answers [`MergeableStore::value_hashes`]: the values that the asker lacks or that differ.
    #[must_use]
    pub fn value_diff(&self, asker: &ValueHashes) -> Changes {
        let (values, values_hlc) = (&self.content.values, self.content.values.hlc());
        Changes { values: self.differing(values, asker), values_hlc, ..Changes::default() }
    }

    fn things_hashes(&self, row: &Row) -> IndexMap<Text, u32> {
        row.iter().map(|(id, stamp)| (self.ids.text(id).to_text(), stamp.hash())).collect()
    }

    fn differing(&self, row: &Row, asked: &IndexMap<Text, u32>) -> Map<Stamp> {
        let differs =
            |id: TextRef<'_>, stamp: &StampRef<'_>| asked.get(id.as_wtf8()) != Some(&stamp.hash());
        let all = row.iter().map(|(id, stamp)| (self.ids.text(id), stamp));
        let differing = all.filter(|(id, stamp)| differs(*id, stamp));
        differing.map(|(id, stamp)| (id.to_text(), stamp_of(stamp))).collect()
    }

    fn table_changes(&self, table: &Table) -> TableChanges {
        let rows = table.entries.iter();
        let rows = rows.map(|(id, row)| (id.to_text(), self.row_changes(row))).collect();
        TableChanges { rows, hlc: table.hlc }
    }

    fn row_changes(&self, row: &Row) -> RowChanges {
        let cells = row.iter().map(|(id, stamp)| (self.ids.text(id).to_text(), stamp_of(stamp)));
        RowChanges { cells: cells.collect(), hlc: row.hlc() }
    }
}

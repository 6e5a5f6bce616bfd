//! The obvious store: sorted maps of stamps, hashes computed from scratch by the published formulas.

use std::collections::BTreeMap;

use mergeable_store::{
    Cell, Changes, Container, ContentHashes, Hlc, MergeableStore, Stamp, Text, hash_in_parent,
    hash_stamp, hash_text,
};

/// What a store holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    tables: BTreeMap<Text, Table>,
    tables_hlc: Hlc,
    values: Row,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Table {
    rows: BTreeMap<Text, Row>,
    hlc: Hlc,
}

/// Cells of a row, or all values.
#[derive(Clone, Debug, Default, PartialEq)]
struct Row {
    stamps: BTreeMap<Text, Stamp>,
    hlc: Hlc,
}

impl Row {
    /// Whether a stamp was replaced by another.
    fn merge(&mut self, id: &Text, stamp: &Stamp) -> bool {
        let there = self.stamps.get(id);
        let wins = there.is_none_or(|there| there.hlc.is_empty() || stamp.hlc > there.hlc);
        let replaced = wins && there != Some(stamp);
        if wins {
            self.stamps.insert(id.clone(), stamp.clone());
        }
        replaced
    }

    fn hash(&self) -> u32 {
        let shares = self.stamps.iter().map(|(id, stamp)| {
            let hash = hash_stamp(stamp.thing.as_ref(), stamp.hlc);
            hash_in_parent(id, hash) ^ hash_in_parent(id, 0)
        });
        shares.fold(of_hlc(self.hlc), |all, share| all ^ share)
    }

    fn live(&self) -> BTreeMap<&Text, &Cell> {
        self.stamps.iter().filter_map(|(id, stamp)| Some((id, stamp.thing.as_ref()?))).collect()
    }
}

fn of_hlc(hlc: Hlc) -> u32 {
    if hlc.is_empty() { 0 } else { hash_text(hlc.to_string()) }
}

impl Model {
    /// What a store says that it holds.
    pub(crate) fn of(store: &MergeableStore) -> Self {
        let mut model = Self::default();
        model.merge(&store.to_changes());
        model
    }

    /// Returns how many stamps were replaced by others.
    pub(crate) fn merge(&mut self, changes: &Changes) -> usize {
        for (container, hlc) in changes.containers() {
            let there = match container {
                Container::Tables => &mut self.tables_hlc,
                Container::Values => &mut self.values.hlc,
                Container::Table(table) => &mut self.tables.entry(table).or_default().hlc,
                Container::Row(table, row) => {
                    &mut self.tables.entry(table).or_default().rows.entry(row).or_default().hlc
                }
            };
            *there = hlc.max(*there);
        }
        let mut replaced = 0;
        for (table, row, cell, stamp) in changes.cells() {
            let rows = &mut self.tables.entry(table.clone()).or_default().rows;
            replaced += usize::from(rows.entry(row.clone()).or_default().merge(cell, stamp));
        }
        for (value, stamp) in changes.values() {
            replaced += usize::from(self.values.merge(value, stamp));
        }
        replaced
    }

    pub(crate) fn hashes(&self) -> ContentHashes {
        let tables = self.tables.iter().map(|(id, table)| {
            let rows = table.rows.iter().map(|(id, row)| hash_in_parent(id, row.hash()));
            hash_in_parent(id, rows.fold(of_hlc(table.hlc), |all, share| all ^ share))
        });
        let tables = tables.fold(of_hlc(self.tables_hlc), |all, share| all ^ share);
        ContentHashes { tables, values: self.values.hash() }
    }

    /// The same but for what the protocol cannot tell: TinyBase's hash of a tombstone is that of a null with the same stamp.
    /// Only a forged stamp has both contents.
    pub(crate) fn without_nulls(mut self) -> Self {
        let rows = self.tables.values_mut().flat_map(|table| table.rows.values_mut());
        for stamp in rows.chain([&mut self.values]).flat_map(|row| row.stamps.values_mut()) {
            stamp.thing = stamp.thing.take().filter(|thing| *thing != Cell::Null);
        }
        self
    }

    /// How many stamps there are, tombstones included.
    pub(crate) fn stamps(&self) -> usize {
        let rows = self.tables.values().flat_map(|table| table.rows.values());
        rows.chain([&self.values]).map(|row| row.stamps.len()).sum()
    }

    /// The store holds this, computed from scratch its hashes are these, and what it shows as live is what has content.
    ///
    /// `exact`: nothing without content has arrived; such rows toggle a kept hash, as in TinyBase.
    pub(crate) fn check(&self, store: &MergeableStore, exact: bool) {
        assert_eq!(&Self::of(store), self);
        assert_eq!(store.computed_hashes(), self.hashes());
        if exact {
            assert_eq!(store.hashes(), self.hashes());
        }
        self.check_live(store);
    }

    fn check_live(&self, store: &MergeableStore) {
        let mut live_tables = Vec::new();
        for (table_id, table) in &self.tables {
            let mut live_rows = Vec::new();
            for (row_id, row) in &table.rows {
                let live = row.live();
                let cells: Vec<(Text, Cell)> = store.row(table_id, row_id).collect();
                assert_eq!(
                    cells.iter().map(|(id, cell)| (id, cell)).collect::<BTreeMap<_, _>>(),
                    live
                );
                assert_eq!(cells.len(), live.len());
                assert_eq!(store.has_row(table_id, row_id), !live.is_empty());
                if !live.is_empty() {
                    live_rows.push(row_id.clone());
                }
            }
            let mut rows = store.row_ids(table_id);
            rows.sort();
            assert_eq!(rows, live_rows);
            assert_eq!(store.row_count(table_id), live_rows.len());
            if !live_rows.is_empty() {
                live_tables.push(table_id.clone());
            }
        }
        let mut tables = store.table_ids();
        tables.sort();
        assert_eq!(tables, live_tables);
        let mut values = store.value_ids();
        values.sort();
        assert_eq!(values, self.values.live().into_keys().cloned().collect::<Vec<_>>());
    }
}

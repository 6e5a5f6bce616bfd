//! The store: what it holds and how it is read.

use crate::content::{ChildRule, Content, Row, Stamped};
use crate::entries::{Entries, Ids};
use crate::hash::ContentHashes;
use crate::hlc::Clock;
use crate::{AsText, Cell, CellRef, Changes, ClientId, Container, Hlc, Millis, Stamp, Text};

/// Tables of rows of cells, and values, each with the stamp of its latest write, so that any two stores can be merged.
///
/// Reading shows what is live; deleted cells stay as tombstones and are seen by [`MergeableStore::stamp`] only.
#[derive(Clone, Debug)]
pub struct MergeableStore {
    pub(crate) ids: Ids,
    pub(crate) content: Content,
    pub(crate) clock: Clock,
}

impl MergeableStore {
    /// An empty store that writes as `client`.
    #[must_use]
    pub fn new(client: ClientId) -> Self {
        Self { ids: Ids::default(), content: Content::default(), clock: Clock::new(client) }
    }

    /// The client id in the stamps of this store's own writes.
    #[must_use]
    pub fn client(&self) -> ClientId {
        self.clock.client()
    }

    /// The hashes of all content, tombstones included; kept at every write.
    #[must_use]
    pub fn hashes(&self) -> ContentHashes {
        self.content.hashes()
    }

    /// The hashes computed anew from every stamp, in time proportional to the store. They differ from
    /// [`MergeableStore::hashes`] only where rows or tables without content have arrived.
    #[must_use]
    pub fn computed_hashes(&self) -> ContentHashes {
        self.content.computed_hashes(&self.ids)
    }

    /// A new HLC, greater than all that this store has seen.
    pub fn next_hlc(&mut self, now: Millis) -> Hlc {
        self.clock.next(now)
    }

    /// A live cell.
    #[must_use]
    pub fn get_cell(
        &self,
        table: impl AsText,
        row: impl AsText,
        cell: impl AsText,
    ) -> Option<CellRef<'_>> {
        let stamped = self.content.cell(&self.ids, table.wtf8(), row.wtf8(), cell.wtf8())?;
        stamped.thing.as_ref().map(Cell::view)
    }

    /// A live value.
    #[must_use]
    pub fn get_value(&self, value: impl AsText) -> Option<CellRef<'_>> {
        self.content.value(&self.ids, value.wtf8())?.thing.as_ref().map(Cell::view)
    }

    /// A cell's stamp: its content (`None` for a tombstone) and HLC. `None` if it was never written.
    #[must_use]
    pub fn stamp(
        &self,
        table: impl AsText,
        row: impl AsText,
        cell: impl AsText,
    ) -> Option<(Option<Cell>, Hlc)> {
        let stamped = self.content.cell(&self.ids, table.wtf8(), row.wtf8(), cell.wtf8())?;
        Some((stamped.thing.clone(), stamped.hlc))
    }

    /// A value's stamp, as [`MergeableStore::stamp`].
    #[must_use]
    pub fn value_stamp(&self, value: impl AsText) -> Option<(Option<Cell>, Hlc)> {
        let stamped = self.content.value(&self.ids, value.wtf8())?;
        Some((stamped.thing.clone(), stamped.hlc))
    }

    /// Ids of the tables that have live rows, in TinyBase's order: as they came to life.
    #[must_use]
    pub fn table_ids(&self) -> Vec<Text> {
        self.live(&self.content.tables.entries, |table| table.live > 0)
    }

    /// Ids of a table's live rows, as they came to life.
    #[must_use]
    pub fn row_ids(&self, table: impl AsText) -> Vec<Text> {
        self.content
            .table(&self.ids, table.wtf8())
            .map_or_else(Vec::new, |table| self.live(&table.entries, |row| row.live > 0))
    }

    /// Ids of a row's live cells, as they came to life.
    #[must_use]
    pub fn cell_ids(&self, table: impl AsText, row: impl AsText) -> Vec<Text> {
        self.content
            .row(&self.ids, table.wtf8(), row.wtf8())
            .map_or_else(Vec::new, |row| self.live(&row.entries, |cell| cell.thing.is_some()))
    }

    /// Ids of the live values, as they came to life.
    #[must_use]
    pub fn value_ids(&self) -> Vec<Text> {
        self.live(&self.content.values.entries, |value| value.thing.is_some())
    }

    fn live<V>(&self, entries: &Entries<V>, lives: impl Fn(&V) -> bool) -> Vec<Text> {
        let positions = entries.positions().into_iter().map(|at| entries.get(at));
        positions
            .filter(|entry| lives(&entry.value))
            .map(|entry| self.ids.text(entry.id).clone())
            .collect()
    }

    /// A row's live cells, as they came to life; none if there is no such row.
    pub fn row(
        &self,
        table: impl AsText,
        row: impl AsText,
    ) -> impl Iterator<Item = (Text, Cell)> + '_ {
        self.content.row(&self.ids, table.wtf8(), row.wtf8()).into_iter().flat_map(|row: &Row| {
            row.entries.positions().into_iter().filter_map(|at| {
                let entry = row.entries.get(at);
                Some((self.ids.text(entry.id).clone(), entry.value.thing.clone()?))
            })
        })
    }

    /// Whether a row has live cells.
    #[must_use]
    pub fn has_row(&self, table: impl AsText, row: impl AsText) -> bool {
        self.content.row(&self.ids, table.wtf8(), row.wtf8()).is_some_and(|row| row.live > 0)
    }

    /// How many live rows a table has; kept at every write.
    #[must_use]
    pub fn row_count(&self, table: impl AsText) -> usize {
        self.content.table(&self.ids, table.wtf8()).map_or(0, |table| table.live as usize)
    }

    /// All cell stamps, tombstones included, in the order of their first arrival: for a full export.
    pub fn cell_stamps(&self) -> impl Iterator<Item = (&Text, &Text, &Text, Stamp)> {
        self.content.tables.entries.iter().flat_map(move |table| {
            table.value.entries.iter().flat_map(move |row| {
                row.value.entries.iter().map(move |cell| {
                    (
                        self.ids.text(table.id),
                        self.ids.text(row.id),
                        self.ids.text(cell.id),
                        stamp_of(&cell.value),
                    )
                })
            })
        })
    }

    /// All value stamps, tombstones included.
    pub fn value_stamps(&self) -> impl Iterator<Item = (&Text, Stamp)> {
        self.content
            .values
            .entries
            .iter()
            .map(|value| (self.ids.text(value.id), stamp_of(&value.value)))
    }

    /// A container's own HLC; empty where there is none, and for containers that are not there.
    #[must_use]
    pub fn container_hlc(&self, container: &Container) -> Hlc {
        match container {
            Container::Tables => self.content.tables.hlc,
            Container::Values => self.content.values.hlc,
            Container::Table(table) => {
                self.content.table(&self.ids, table.as_wtf8()).map_or(Hlc::EMPTY, |table| table.hlc)
            }
            Container::Row(table, row) => self
                .content
                .row(&self.ids, table.as_wtf8(), row.as_wtf8())
                .map_or(Hlc::EMPTY, |row| row.hlc),
        }
    }

    /// All containers that loading the cells and values would not bring back: those with an HLC, and those without content.
    #[must_use]
    pub fn container_stamps(&self) -> Vec<(Container, Hlc)> {
        let mut stamps = Vec::new();
        for (container, hlc) in [
            (Container::Tables, self.content.tables.hlc),
            (Container::Values, self.content.values.hlc),
        ] {
            if !hlc.is_empty() {
                stamps.push((container, hlc));
            }
        }
        for table in self.content.tables.entries.iter() {
            if !table.value.hlc.is_empty() || table.value.entries.len() == 0 {
                stamps.push((Container::Table(self.ids.text(table.id).clone()), table.value.hlc));
            }
            for row in table.value.entries.iter() {
                if !row.value.hlc.is_empty() || row.value.entries.len() == 0 {
                    let (table, row_id) =
                        (self.ids.text(table.id).clone(), self.ids.text(row.id).clone());
                    stamps.push((Container::Row(table, row_id), row.value.hlc));
                }
            }
        }
        stamps
    }

    /// The whole content as changes that another store can merge.
    #[must_use]
    pub fn to_changes(&self) -> Changes {
        let mut changes = Changes::new();
        for (container, hlc) in self.container_stamps() {
            changes.set_container(&container, hlc);
        }
        for (table, row, cell, stamp) in self.cell_stamps() {
            changes.set_cell(table, row, cell, stamp.thing, stamp.hlc);
        }
        for (value, stamp) in self.value_stamps() {
            changes.set_value(value, stamp.thing, stamp.hlc);
        }
        changes
    }

    /// Puts a cell's stamp in place, with everything that depends on it.
    pub(crate) fn put_cell(
        &mut self,
        [table, row, cell]: [u32; 3],
        stamped: Stamped,
        rule: ChildRule,
    ) -> Put {
        let (ids, tables) = (&self.ids, &mut self.content.tables);
        let (table_at, made_table) = tables.child(table);
        let table_was = tables.before(table_at, made_table, rule);
        let tables_hash = tables.hash;
        let table = tables.entries.get_mut(table_at);
        let (row_at, made_row) = table.child(row);
        let row_was = table.before(row_at, made_row, rule);
        let table_hash = table.hash;
        let row = table.entries.get_mut(row_at);
        let row_hash = row.hash;
        let (cell_at, old) = row.put(ids, cell, stamped);
        table.child_changed(ids, row_at, row_was);
        tables.child_changed(ids, table_at, table_was);
        Put {
            at: [table_at, row_at, cell_at],
            made_table,
            made_row,
            old,
            hashes: [tables_hash, table_hash, row_hash],
        }
    }
}

/// What putting a cell's stamp did, so that it can be undone.
#[derive(Debug)]
pub(crate) struct Put {
    pub(crate) at: [usize; 3],
    pub(crate) made_table: bool,
    pub(crate) made_row: bool,
    pub(crate) old: Option<Stamped>,
    /// Hashes of tables, table and row before.
    pub(crate) hashes: [u32; 3],
}

pub(crate) fn stamp_of(stamped: &Stamped) -> Stamp {
    Stamp { thing: stamped.thing.clone(), hlc: stamped.hlc }
}

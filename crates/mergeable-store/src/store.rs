//! The store: what it holds and how it is read.

use crate::content::{ChildRule, Content};
use crate::hash::ContentHashes;
use crate::hlc::Clock;
use crate::ids::{Id, Ids};
use crate::row::{Row, Rule, StampRef, Stamped};
use crate::schema::Schema;
use crate::{
    AsText, Cell, CellRef, Changes, ClientId, Container, Hlc, Millis, Stamp, TablesSchema, Text,
    TextRef, ValuesSchema,
};

/// Tables of rows of cells, and values, each with the stamp of its latest write, so that any two stores can be merged.
///
/// Reading shows what is live; deleted cells stay as tombstones and are seen by [`MergeableStore::stamp`] only.
#[derive(Clone, Debug)]
pub struct MergeableStore {
    /// The ids of cells and values; tables and rows are named where they are.
    pub(crate) ids: Ids,
    pub(crate) content: Content,
    pub(crate) clock: Clock,
    pub(crate) schema: Schema,
    /// Where rows are rewritten.
    pub(crate) scratch: Vec<u8>,
}

impl MergeableStore {
    /// An empty store that writes as `client`.
    #[must_use]
    pub fn new(client: ClientId) -> Self {
        Self {
            ids: Ids::default(),
            content: Content::default(),
            clock: Clock::new(client),
            schema: Schema::default(),
            scratch: Vec::new(),
        }
    }

    /// The client id in the stamps of this store's own writes.
    #[must_use]
    pub fn client(&self) -> ClientId {
        self.clock.client()
    }

    /// What the store's own writes may set in tables; `None`: anything.
    #[must_use]
    pub fn tables_schema(&self) -> Option<&TablesSchema> {
        self.schema.tables.as_ref()
    }

    /// What the store's own writes may set as values; `None`: anything.
    #[must_use]
    pub fn values_schema(&self) -> Option<&ValuesSchema> {
        self.schema.values.as_ref()
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
        let row = self.content.row(table.wtf8(), row.wtf8())?;
        row.thing(self.ids.find(cell.wtf8())?)
    }

    /// A live value.
    #[must_use]
    pub fn get_value(&self, value: impl AsText) -> Option<CellRef<'_>> {
        self.content.value(&self.ids, value.wtf8())?.thing
    }

    /// A cell's stamp: its content (`None` for a tombstone) and HLC. `None` if it was never written.
    #[must_use]
    pub fn stamp(
        &self,
        table: impl AsText,
        row: impl AsText,
        cell: impl AsText,
    ) -> Option<(Option<Cell>, Hlc)> {
        self.stamp_ref(table, row, cell).map(|stamp| (stamp.thing.map(CellRef::to_cell), stamp.hlc))
    }

    pub(crate) fn stamp_ref(
        &self,
        table: impl AsText,
        row: impl AsText,
        cell: impl AsText,
    ) -> Option<StampRef<'_>> {
        self.content.cell(&self.ids, table.wtf8(), row.wtf8(), cell.wtf8())
    }

    /// A value's stamp, as [`MergeableStore::stamp`].
    #[must_use]
    pub fn value_stamp(&self, value: impl AsText) -> Option<(Option<Cell>, Hlc)> {
        let stamp = self.content.value(&self.ids, value.wtf8())?;
        Some((stamp.thing.map(CellRef::to_cell), stamp.hlc))
    }

    /// Ids of the tables that have live rows, in TinyBase's order: as they came to life.
    #[must_use]
    pub fn table_ids(&self) -> Vec<Text> {
        let tables = self.content.tables.entries.ordered();
        tables.filter(|(_, table)| table.live > 0).map(|(id, _)| id.to_text()).collect()
    }

    /// Ids of a table's live rows, as they came to life.
    #[must_use]
    pub fn row_ids(&self, table: impl AsText) -> Vec<Text> {
        let rows = self.content.table(table.wtf8()).into_iter();
        let rows = rows.flat_map(|table| table.entries.ordered());
        rows.filter(|(_, row)| row.live() > 0).map(|(id, _)| id.to_text()).collect()
    }

    /// Ids of a row's live cells, as they came to life.
    #[must_use]
    pub fn cell_ids(&self, table: impl AsText, row: impl AsText) -> Vec<Text> {
        self.cells(table, row).map(|(id, _)| id.to_text()).collect()
    }

    /// Ids of the live values, as they came to life.
    #[must_use]
    pub fn value_ids(&self) -> Vec<Text> {
        self.values().map(|(id, _)| id.to_text()).collect()
    }

    /// A row's live cells, as they came to life; none if there is no such row.
    pub fn cells(
        &self,
        table: impl AsText,
        row: impl AsText,
    ) -> impl Iterator<Item = (TextRef<'_>, CellRef<'_>)> {
        let row = self.content.row(table.wtf8(), row.wtf8()).into_iter();
        row.flat_map(Row::living).map(|(id, cell)| (self.ids.text(id), cell))
    }

    /// The live values, as they came to life.
    pub fn values(&self) -> impl Iterator<Item = (TextRef<'_>, CellRef<'_>)> {
        self.content.values.living().map(|(id, value)| (self.ids.text(id), value))
    }

    /// As [`MergeableStore::cells`], owned.
    pub fn row(
        &self,
        table: impl AsText,
        row: impl AsText,
    ) -> impl Iterator<Item = (Text, Cell)> + '_ {
        let row = self.content.row(table.wtf8(), row.wtf8()).into_iter();
        row.flat_map(Row::living).map(|(id, cell)| (self.ids.text(id).to_text(), cell.to_cell()))
    }

    /// Whether a row has live cells.
    #[must_use]
    pub fn has_row(&self, table: impl AsText, row: impl AsText) -> bool {
        self.content.row(table.wtf8(), row.wtf8()).is_some_and(|row| row.live() > 0)
    }

    /// How many live rows a table has; kept at every write.
    #[must_use]
    pub fn row_count(&self, table: impl AsText) -> usize {
        self.content.table(table.wtf8()).map_or(0, |table| table.live as usize)
    }

    /// All cell stamps, tombstones included, in the order of their first arrival: for a full export.
    pub fn cell_stamps(
        &self,
    ) -> impl Iterator<Item = (TextRef<'_>, TextRef<'_>, TextRef<'_>, Stamp)> {
        self.content.tables.entries.iter().flat_map(move |(table_id, table)| {
            table.entries.iter().flat_map(move |(row_id, row)| {
                row.iter().map(move |(cell, stamp)| {
                    (table_id, row_id, self.ids.text(cell), stamp_of(stamp))
                })
            })
        })
    }

    /// All value stamps, tombstones included.
    pub fn value_stamps(&self) -> impl Iterator<Item = (TextRef<'_>, Stamp)> {
        self.content.values.iter().map(|(value, stamp)| (self.ids.text(value), stamp_of(stamp)))
    }

    /// A container's own HLC; empty where there is none, and for containers that are not there.
    #[must_use]
    pub fn container_hlc(&self, container: &Container) -> Hlc {
        match container {
            Container::Tables => self.content.tables.hlc,
            Container::Values => self.content.values.hlc(),
            Container::Table(table) => {
                self.content.table(table.as_wtf8()).map_or(Hlc::EMPTY, |table| table.hlc)
            }
            Container::Row(table, row) => {
                self.content.row(table.as_wtf8(), row.as_wtf8()).map_or(Hlc::EMPTY, Row::hlc)
            }
        }
    }

    /// All containers that loading the cells and values would not bring back: those with an HLC, and those without content.
    #[must_use]
    pub fn container_stamps(&self) -> Vec<(Container, Hlc)> {
        let all = [
            (Container::Tables, self.content.tables.hlc),
            (Container::Values, self.content.values.hlc()),
        ];
        let mut stamps: Vec<_> = all.into_iter().filter(|(_, hlc)| !hlc.is_empty()).collect();
        for (table_id, table) in self.content.tables.entries.iter() {
            if !table.hlc.is_empty() || table.entries.len() == 0 {
                stamps.push((Container::Table(table_id.to_text()), table.hlc));
            }
            for (row_id, row) in table.entries.iter() {
                if !row.hlc().is_empty() || row.len() == 0 {
                    let container = Container::Row(table_id.to_text(), row_id.to_text());
                    stamps.push((container, row.hlc()));
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

    /// Puts a cell's stamp (by table, row and cell id) in place if it wins by the rule, with everything that depends on it.
    pub(crate) fn put_cell(
        &mut self,
        [table, row, cell]: [&[u8]; 3],
        stamp: StampRef<'_>,
        rule: Rule,
        child_rule: ChildRule,
    ) -> Put {
        let cell = self.ids.intern(cell).0;
        let tables = &mut self.content.tables;
        let (table_at, made_table) = tables.entries.entry(table);
        let table_was = tables.before(table_at, made_table, child_rule);
        let tables_hash = tables.hash;
        let table = tables.entries.get_mut(table_at);
        let (row_at, made_row) = table.entries.entry(row);
        let row_was = table.before(row_at, made_row, child_rule);
        let table_hash = table.hash;
        let row = table.entries.get_mut(row_at);
        let row_hash = row.hash();
        let old = row.put(&self.ids, (cell, stamp), rule, &mut self.scratch);
        table.child_changed(row_at, row_was);
        tables.child_changed(table_at, table_was);
        let hashes = [tables_hash, table_hash, row_hash];
        Put { table: table_at, row: row_at, cell, made_table, made_row, old, hashes }
    }
}

/// What putting a cell's stamp did, so that it can be undone.
#[derive(Debug)]
pub(crate) struct Put {
    /// Position of the table.
    pub(crate) table: usize,
    /// Position of the row in the table.
    pub(crate) row: usize,
    pub(crate) cell: Id,
    pub(crate) made_table: bool,
    pub(crate) made_row: bool,
    pub(crate) old: Option<Stamped>,
    /// Hashes of tables, table and row before.
    pub(crate) hashes: [u32; 3],
}

pub(crate) fn stamp_of(stamp: StampRef<'_>) -> Stamp {
    Stamp { thing: stamp.thing.map(CellRef::to_cell), hlc: stamp.hlc }
}

//! Mergeable changes: stamps without hashes, as they travel between stores.

mod read;
mod tree;

pub(crate) use self::read::read_content_diff;
pub(crate) use self::tree::read_hlc;

use crate::cell::{CellError, write_thing};
use crate::hash::Sink;
use crate::json::{self, JsonError};
use crate::map::Map;
use crate::{AsText, Cell, Hlc, Text};

/// A cell or value and when it was written. No thing: a tombstone.
#[derive(Clone, Debug, PartialEq)]
pub struct Stamp {
    /// The content; `None` when deleted.
    pub thing: Option<Cell>,
    /// When and by whom.
    pub hlc: Hlc,
}

/// Names a part of the content that has a stamp of its own besides cells and values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Container {
    /// All tables.
    Tables,
    /// One table.
    Table(Text),
    /// One row: table id, row id.
    Row(Text, Text),
    /// All values.
    Values,
}

/// The changes of one row: cell id to stamp.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RowChanges {
    pub(crate) cells: Map<Stamp>,
    /// The row's own HLC; only old clients set one.
    pub(crate) hlc: Hlc,
}

/// The changes of one table: row id to changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TableChanges {
    pub(crate) rows: Map<RowChanges>,
    /// The table's own HLC; only old clients set one.
    pub(crate) hlc: Hlc,
}

/// What one store tells another: stamps of cells and values, grouped as TinyBase's mergeable changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    pub(crate) tables: Map<TableChanges>,
    /// The HLC of all tables; only old clients set one.
    pub(crate) tables_hlc: Hlc,
    pub(crate) values: Map<Stamp>,
    /// The HLC of all values; only old clients set one.
    pub(crate) values_hlc: Hlc,
}

/// A JSON value is not mergeable changes.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ChangesError {
    /// Not JSON at all.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// JSON of another shape.
    #[error("expected {0}")]
    Shape(&'static str),
    /// A cell or value that cannot be stored.
    #[error(transparent)]
    Cell(#[from] CellError),
    /// A malformed stamp.
    #[error(transparent)]
    Hlc(#[from] crate::HlcError),
}

/// Whether the stamps read may carry a third element, their hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StampForm {
    /// On the wire: one or two elements.
    Wire,
    /// Wherever else changes come from: a hash is allowed and ignored.
    Loose,
}

impl Changes {
    /// Changes of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether applying this anywhere would do nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
            && self.values.is_empty()
            && self.tables_hlc.is_empty()
            && self.values_hlc.is_empty()
    }

    /// Adds a cell's stamp, in place of an earlier one of the same cell.
    pub fn set_cell(
        &mut self,
        table: impl AsText,
        row: impl AsText,
        cell: impl AsText,
        thing: Option<Cell>,
        hlc: Hlc,
    ) {
        self.row_mut(table, row).cells.insert(cell, Stamp { thing, hlc });
    }

    /// Adds a value's stamp, in place of an earlier one of the same value.
    pub fn set_value(&mut self, value: impl AsText, thing: Option<Cell>, hlc: Hlc) {
        self.values.insert(value, Stamp { thing, hlc });
    }

    /// Adds a container, with its HLC if that is greater than an earlier one.
    pub fn set_container(&mut self, container: &Container, hlc: Hlc) {
        let there = match container {
            Container::Tables => &mut self.tables_hlc,
            Container::Table(table) => &mut self.table_mut(table).hlc,
            Container::Row(table, row) => &mut self.row_mut(table, row).hlc,
            Container::Values => &mut self.values_hlc,
        };
        *there = hlc.max(*there);
    }

    fn table_mut(&mut self, table: impl AsText) -> &mut TableChanges {
        self.tables.entry(table)
    }

    fn row_mut(&mut self, table: impl AsText, row: impl AsText) -> &mut RowChanges {
        self.table_mut(table).rows.entry(row)
    }

    /// All cells: table id, row id, cell id, stamp.
    pub fn cells(&self) -> impl Iterator<Item = (&Text, &Text, &Text, &Stamp)> {
        self.tables.iter().flat_map(|(table, changes)| {
            changes.rows.iter().flat_map(move |(row, changes)| {
                changes.cells.iter().map(move |(cell, stamp)| (table, row, cell, stamp))
            })
        })
    }

    /// A cell's stamp, if these changes have one.
    #[must_use]
    pub fn cell(&self, table: impl AsText, row: impl AsText, cell: impl AsText) -> Option<&Stamp> {
        self.tables.get(table.wtf8())?.rows.get(row.wtf8())?.cells.get(cell.wtf8())
    }

    /// All values: value id, stamp.
    pub fn values(&self) -> impl Iterator<Item = (&Text, &Stamp)> {
        self.values.iter()
    }

    /// All containers that are named, each with its own HLC, which is most often empty.
    pub fn containers(&self) -> impl Iterator<Item = (Container, Hlc)> {
        let tables = self.tables.iter().flat_map(|(table, changes)| {
            let rows = changes.rows.iter().map(move |(row, changes)| {
                (Container::Row(table.clone(), row.clone()), changes.hlc)
            });
            std::iter::once((Container::Table(table.clone()), changes.hlc)).chain(rows)
        });
        let all = [(Container::Tables, self.tables_hlc), (Container::Values, self.values_hlc)];
        all.into_iter().chain(tables)
    }

    /// Every stamp's HLC, those of containers included.
    pub(crate) fn hlcs(&self) -> impl Iterator<Item = Hlc> {
        let tables = self.tables.values().flat_map(|table| {
            std::iter::once(table.hlc).chain(table.rows.values().map(|row| row.hlc))
        });
        [self.tables_hlc, self.values_hlc]
            .into_iter()
            .chain(tables)
            .chain(self.cells().map(|(_, _, _, stamp)| stamp.hlc))
            .chain(self.values.values().map(|stamp| stamp.hlc))
    }

    /// Takes in the stamps of `other`: cells and values replace, container HLCs grow.
    pub(crate) fn extend(&mut self, other: Self) {
        self.tables_hlc = self.tables_hlc.max(other.tables_hlc);
        self.values_hlc = self.values_hlc.max(other.values_hlc);
        self.values.extend(other.values);
        for (table, changes) in other.tables {
            let table = self.tables.entry(table);
            table.hlc = table.hlc.max(changes.hlc);
            for (row, changes) in changes.rows {
                let row = table.rows.entry(row);
                row.hlc = row.hlc.max(changes.hlc);
                row.cells.extend(changes.cells);
            }
        }
    }

    /// The body of a ContentDiff: `[tablesStamp,valuesStamp,1]`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = Vec::new();
        self.write(&mut out);
        json::into_string(out)
    }

    /// Reads `[tablesStamp,valuesStamp]`, with or without a third element 1. Hashes in stamps are allowed and ignored.
    ///
    /// # Errors
    /// Anything of another shape: changes are taken whole or not at all.
    pub fn from_json(text: &str) -> Result<Self, ChangesError> {
        Self::parse(text, StampForm::Loose)
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        self.write_tables(out);
        out.push(b',');
        self.write_values(out);
        out.extend_from_slice(b",1]");
    }

    /// Writes the tables stamp.
    pub(crate) fn write_tables(&self, out: &mut Vec<u8>) {
        write_container(self.tables.iter(), self.tables_hlc, out, |table, out| {
            write_container(table.rows.iter(), table.hlc, out, |row, out| {
                write_container(row.cells.iter(), row.hlc, out, write_stamp);
            });
        });
    }

    /// Writes the values stamp.
    pub(crate) fn write_values(&self, out: &mut Vec<u8>) {
        write_container(self.values.iter(), self.values_hlc, out, write_stamp);
    }
}

fn write_container<'a, V: 'a>(
    entries: impl Iterator<Item = (&'a Text, &'a V)>,
    hlc: Hlc,
    out: &mut Vec<u8>,
    write_value: impl FnMut(&'a V, &mut Vec<u8>),
) {
    out.push(b'[');
    json::write_object(entries, out, write_value);
    write_hlc(hlc, out);
}

fn write_stamp(stamp: &Stamp, out: &mut Vec<u8>) {
    out.push(b'[');
    write_thing(stamp.thing.as_ref().map(Cell::view), out);
    write_hlc(stamp.hlc, out);
}

fn write_hlc(hlc: Hlc, out: &mut Vec<u8>) {
    if !hlc.is_empty() {
        out.push(b',');
        out.push(b'"');
        hlc.write(out);
        out.push(b'"');
    }
    Sink::push(out, b"]");
}

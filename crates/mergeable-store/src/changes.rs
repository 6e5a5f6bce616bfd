//! Mergeable changes: stamps without hashes, as they travel between stores.

use indexmap::IndexMap;

use crate::cell::{CellError, write_thing};
use crate::hash::Sink;
use crate::json::{self, Json, JsonError};
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

/// The changes of one row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowChanges {
    /// Cell id to stamp.
    pub cells: IndexMap<Text, Stamp>,
    /// The row's own HLC; only old clients set one.
    pub hlc: Hlc,
}

/// The changes of one table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableChanges {
    /// Row id to changes.
    pub rows: IndexMap<Text, RowChanges>,
    /// The table's own HLC; only old clients set one.
    pub hlc: Hlc,
}

/// What one store tells another: stamps of cells and values, grouped as TinyBase's mergeable changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Table id to changes.
    pub tables: IndexMap<Text, TableChanges>,
    /// The HLC of all tables; only old clients set one.
    pub tables_hlc: Hlc,
    /// Value id to stamp.
    pub values: IndexMap<Text, Stamp>,
    /// The HLC of all values; only old clients set one.
    pub values_hlc: Hlc,
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
#[derive(Clone, Copy, PartialEq, Eq)]
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
        self.row_mut(table, row).cells.insert(cell.to_text(), Stamp { thing, hlc });
    }

    /// Adds a value's stamp, in place of an earlier one of the same value.
    pub fn set_value(&mut self, value: impl AsText, thing: Option<Cell>, hlc: Hlc) {
        self.values.insert(value.to_text(), Stamp { thing, hlc });
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
        self.tables.entry(table.to_text()).or_default()
    }

    fn row_mut(&mut self, table: impl AsText, row: impl AsText) -> &mut RowChanges {
        self.table_mut(table).rows.entry(row.to_text()).or_default()
    }

    /// All cells: table id, row id, cell id, stamp.
    pub fn cells(&self) -> impl Iterator<Item = (&Text, &Text, &Text, &Stamp)> {
        self.tables.iter().flat_map(|(table, changes)| {
            changes.rows.iter().flat_map(move |(row, changes)| {
                changes.cells.iter().map(move |(cell, stamp)| (table, row, cell, stamp))
            })
        })
    }

    /// All values: value id, stamp.
    pub fn values(&self) -> impl Iterator<Item = (&Text, &Stamp)> {
        self.values.iter()
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
            let table = self.tables.entry(table).or_default();
            table.hlc = table.hlc.max(changes.hlc);
            for (row, changes) in changes.rows {
                let row = table.rows.entry(row).or_default();
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
        Self::read(&Json::parse(text)?, StampForm::Loose)
    }

    pub(crate) fn read(value: &Json, form: StampForm) -> Result<Self, ChangesError> {
        let (tables, values) = match value {
            Json::Array(parts) => match parts.as_slice() {
                [tables, values] => (tables, values),
                [tables, values, Json::Number(1.0)] => (tables, values),
                _ => {
                    return Err(ChangesError::Shape("[tables, values] or [tables, values, 1]"));
                }
            },
            _ => return Err(ChangesError::Shape("an array of tables and values")),
        };
        let mut changes = Self::read_tables(tables, form)?;
        let values = Self::read_values(values, form)?;
        changes.values = values.values;
        changes.values_hlc = values.values_hlc;
        Ok(changes)
    }

    /// Reads a tables stamp.
    pub(crate) fn read_tables(value: &Json, form: StampForm) -> Result<Self, ChangesError> {
        let mut changes = Self::default();
        let (tables, hlc) = read_container(value, form)?;
        changes.tables_hlc = hlc;
        for (table, value) in tables {
            let (rows, hlc) = read_container(value, form)?;
            let mut table_changes = TableChanges { rows: IndexMap::with_capacity(rows.len()), hlc };
            for (row, value) in rows {
                let (cells, hlc) = read_container(value, form)?;
                let cells = read_things(cells, form)?;
                table_changes.rows.insert(row.clone(), RowChanges { cells, hlc });
            }
            changes.tables.insert(table.clone(), table_changes);
        }
        Ok(changes)
    }

    /// Reads a values stamp.
    pub(crate) fn read_values(value: &Json, form: StampForm) -> Result<Self, ChangesError> {
        let (values, values_hlc) = read_container(value, form)?;
        Ok(Self { values: read_things(values, form)?, values_hlc, ..Self::default() })
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
    write_thing(stamp.thing.as_ref(), out);
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

/// A stamp's thing and HLC.
pub(crate) fn read_stamp(value: &Json, form: StampForm) -> Result<(&Json, Hlc), ChangesError> {
    let Json::Array(parts) = value else {
        return Err(ChangesError::Shape("a stamp, which is an array"));
    };
    let (thing, hlc) = match parts.as_slice() {
        [thing] => (thing, Hlc::EMPTY),
        [thing, hlc] => (thing, read_hlc(hlc)?),
        [thing, hlc, Json::Number(hash)] if form == StampForm::Loose && hash.is_finite() => {
            (thing, read_hlc(hlc)?)
        }
        _ => return Err(ChangesError::Shape("a stamp of a thing and an HLC")),
    };
    Ok((thing, hlc))
}

pub(crate) fn read_hlc(value: &Json) -> Result<Hlc, ChangesError> {
    match value {
        Json::String(text) => Ok(Hlc::from_text(text)?),
        _ => Err(ChangesError::Shape("an HLC, which is a string")),
    }
}

fn read_container(
    value: &Json,
    form: StampForm,
) -> Result<(&IndexMap<Text, Json>, Hlc), ChangesError> {
    match read_stamp(value, form)? {
        (Json::Object(entries), hlc) => Ok((entries, hlc)),
        _ => Err(ChangesError::Shape("an object of stamps")),
    }
}

fn read_things(
    entries: &IndexMap<Text, Json>,
    form: StampForm,
) -> Result<IndexMap<Text, Stamp>, ChangesError> {
    entries
        .iter()
        .map(|(id, value)| {
            let (thing, hlc) = read_stamp(value, form)?;
            Ok((id.clone(), Stamp { thing: Cell::from_wire(thing)?, hlc }))
        })
        .collect()
}

//! What is stored of a path: records, read in chunks, and the path's generations.

use std::fmt;

use mergeable_store::{Container, Hlc, Text};

use crate::migration::PathId;

/// Records of one chunk at most.
pub const CHUNK_RECORDS: usize = 4096;
/// Bytes of values after which a chunk ends, so that a few large values do not add up.
pub const CHUNK_BYTES: usize = 4 * 1024 * 1024;

/// A stored cell: its encoded value and its stamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellRecord {
    /// Table id.
    pub table: Text,
    /// Row id.
    pub row: Text,
    /// Cell id.
    pub cell: Text,
    /// TinyBase's encoded JSON text of the value; `None` is a tombstone.
    pub value: Option<String>,
    /// The stamp's HLC; may be empty.
    pub hlc: Hlc,
}

/// A stored value of the store's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueRecord {
    /// Value id.
    pub id: Text,
    /// TinyBase's encoded JSON text of the value; `None` is a tombstone.
    pub value: Option<String>,
    /// The stamp's HLC; may be empty.
    pub hlc: Hlc,
}

/// A container's HLC (only old TinyBase versions send one).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRecord {
    /// Which one.
    pub container: Container,
    /// Its HLC.
    pub hlc: Hlc,
}

/// Which store a path's name stands for by now: each rebuild starts the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct Generation(u32);

impl Generation {
    /// The one that a path begins with.
    pub const FIRST: Self = Self(1);

    /// A generation by its number, which begins with 1.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if number == 0 { None } else { Some(Self(number)) }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a generation is to its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It is read and written.
    Current,
    /// It was, before a rebuild.
    Former,
    /// A rebuild is making it, or was when it was killed.
    Prepared,
}

/// A generation that has records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGeneration {
    /// Whose.
    pub path: PathId,
    /// Which.
    pub generation: Generation,
    /// What it is to its path.
    pub standing: Standing,
}

/// Where a chunk ended: the next one begins behind it. One order of all records of a path, which is
/// the storage's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathCursor {
    /// Behind this cell (table, row, cell).
    Cell(Text, Text, Text),
    /// Behind all cells, and behind this value.
    Value(Option<Text>),
    /// Behind all values, and behind this container.
    Container(Option<Container>),
}

/// Some records of a path.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PathChunk {
    /// Cells and tombstones; those of a row follow each other.
    pub cells: Vec<CellRecord>,
    /// Values and tombstones.
    pub values: Vec<ValueRecord>,
    /// Container HLCs.
    pub containers: Vec<ContainerRecord>,
    /// Where it ended, if there may be more.
    pub next: Option<PathCursor>,
}

impl PathChunk {
    /// How many records it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.len() + self.values.len() + self.containers.len()
    }

    /// Whether it has none. There may be more behind it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What is stored of a table, counted.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TableCount {
    /// Table id; what is no Unicode in it is shown as `�`.
    pub table: String,
    /// Rows with a live cell.
    pub rows: u64,
    /// Live cells.
    pub cells: u64,
    /// Deleted cells that are remembered.
    pub tombstones: u64,
    /// Bytes of row ids, values and stamps; not of the database's own structures.
    pub bytes: u64,
    /// The latest stamp's time, in epoch milliseconds.
    pub last_write_ms: u64,
}

impl TableCount {
    /// Nothing of this table yet.
    #[must_use]
    pub const fn new(table: String) -> Self {
        Self { table, rows: 0, cells: 0, tombstones: 0, bytes: 0, last_write_ms: 0 }
    }
}

/// Where counting got to: behind this row (table, row).
pub type CountCursor = (Text, Text);

/// Some rows of a path, counted by table. A table may be in several chunks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CountChunk {
    /// By table.
    pub tables: Vec<TableCount>,
    /// Where it ended, if there may be more.
    pub next: Option<CountCursor>,
}

impl CountChunk {
    /// Adds up what a further chunk counted.
    pub fn add(&mut self, more: Self) {
        for one in more.tables {
            match self.tables.iter_mut().find(|known| known.table == one.table) {
                None => self.tables.push(one),
                Some(known) => {
                    known.rows += one.rows;
                    known.cells += one.cells;
                    known.tombstones += one.tombstones;
                    known.bytes += one.bytes;
                    known.last_write_ms = known.last_write_ms.max(one.last_write_ms);
                }
            }
        }
        self.next = more.next;
    }
}

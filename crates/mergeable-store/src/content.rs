//! The mergeable content: stamps of all tables, rows, cells and values, with their hashes kept up to date.

use crate::Hlc;
use crate::entries::Entries;
use crate::hash::ContentHashes;
use crate::ids::Ids;
use crate::row::{Row, StampRef, raised, recount};

/// What tables and the whole of them have in common: an HLC that only old clients set, and a hash over everything inside.
#[derive(Clone, Debug)]
pub(crate) struct Group<V> {
    pub(crate) entries: Entries<V>,
    pub(crate) hlc: Hlc,
    pub(crate) hash: u32,
    /// How many entries have anything living inside.
    pub(crate) live: u32,
}

impl<V> Default for Group<V> {
    fn default() -> Self {
        Self { entries: Entries::default(), hlc: Hlc::EMPTY, hash: 0, live: 0 }
    }
}

pub(crate) type Table = Group<Row>;
pub(crate) type Tables = Group<Table>;

/// What a group holds.
pub(crate) trait Child: Default {
    fn hash(&self) -> u32;
    fn live(&self) -> u32;
}

impl Child for Row {
    fn hash(&self) -> u32 {
        self.hash()
    }

    fn live(&self) -> u32 {
        self.live()
    }
}

impl Child for Table {
    fn hash(&self) -> u32 {
        self.hash
    }

    fn live(&self) -> u32 {
        self.live
    }
}

impl<V: Child> Group<V> {
    /// Takes over a container HLC if it is greater; says whether it was.
    pub(crate) fn raise(&mut self, hlc: Hlc) -> bool {
        if hlc <= self.hlc {
            return false;
        }
        self.hash ^= raised(self.hlc, hlc);
        self.hlc = hlc;
        true
    }

    /// A child may have changed: brings the own hash and the count of the living up to date.
    pub(crate) fn child_changed(&mut self, at: usize, was: ChildWas) {
        let child = self.entries.get(at);
        let (hash, lives) = (child.hash(), child.live() > 0);
        if was.counted {
            self.hash ^= self.entries.share(at, was.hash);
        }
        self.hash ^= self.entries.share(at, hash);
        recount(&mut self.live, was.live, lives);
        if lives && !was.live {
            self.entries.revive(at);
        }
    }

    /// TinyBase applies a merge cell by cell: a child that died and lives again has moved to the end of the living. Says
    /// whether nothing lived here meanwhile.
    pub(crate) fn came_back(&mut self, at: usize, died: bool) -> bool {
        let lives = self.entries.get(at).live() > 0;
        if died && lives {
            self.entries.revive(at);
        }
        died && self.live == u32::from(lives)
    }

    /// What [`Group::child_changed`] needs to know of a child before it changes.
    pub(crate) fn before(&self, at: usize, made: bool, rule: ChildRule) -> ChildWas {
        let child = self.entries.get(at);
        let counted = match rule {
            ChildRule::TinyBase => child.hash() != 0,
            ChildRule::Exact => !made,
        };
        ChildWas { hash: child.hash(), counted, live: child.live() > 0 }
    }
}

/// How a child container's former hash leaves its parent's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChildRule {
    /// As TinyBase: a former hash of zero counts as "was not there", so that a row without cells toggles its table's hash on
    /// every arrival.
    TinyBase,
    /// By whether the child was there: gives what computing from scratch gives.
    Exact,
}

/// A child container before a change.
pub(crate) struct ChildWas {
    hash: u32,
    counted: bool,
    live: bool,
}

/// Tables and values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    pub(crate) tables: Tables,
    pub(crate) values: Row,
}

impl Content {
    pub(crate) fn hashes(&self) -> ContentHashes {
        ContentHashes { tables: self.tables.hash, values: self.values.hash() }
    }

    pub(crate) fn table(&self, table: &[u8]) -> Option<&Table> {
        self.tables.entries.find(table)
    }

    pub(crate) fn row(&self, table: &[u8], row: &[u8]) -> Option<&Row> {
        self.table(table)?.entries.find(row)
    }

    pub(crate) fn cell(
        &self,
        ids: &Ids,
        table: &[u8],
        row: &[u8],
        cell: &[u8],
    ) -> Option<StampRef<'_>> {
        self.row(table, row)?.get(ids.find(cell)?)
    }

    pub(crate) fn value(&self, ids: &Ids, value: &[u8]) -> Option<StampRef<'_>> {
        self.values.get(ids.find(value)?)
    }

    /// The hashes computed anew from all stamps; equal to [`Content::hashes`] but for rows and tables without content that
    /// arrived more than once.
    pub(crate) fn computed_hashes(&self, ids: &Ids) -> ContentHashes {
        let table_hash = |table: &Table| fold(table, |row| row.computed_hash(ids));
        let tables = fold(&self.tables, table_hash);
        ContentHashes { tables, values: self.values.computed_hash(ids) }
    }
}

fn fold<V>(group: &Group<V>, hash_of: impl Fn(&V) -> u32) -> u32 {
    (0..group.entries.len()).fold(raised(Hlc::EMPTY, group.hlc), |hash, at| {
        hash ^ group.entries.share(at, hash_of(group.entries.get(at)))
    })
}

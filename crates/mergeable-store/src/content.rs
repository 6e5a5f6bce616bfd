//! The mergeable content: stamps of all tables, rows, cells and values, with their hashes kept up to date.

use crate::cell::hash_stamp;
use crate::entries::{Entries, Id, Ids};
use crate::hash::{ContentHashes, hash_text};
use crate::{Cell, Hlc};

/// A cell or value with its stamp. No thing: deleted, or never there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stamped {
    pub(crate) thing: Option<Cell>,
    pub(crate) hlc: Hlc,
    pub(crate) hash: u32,
}

impl Stamped {
    pub(crate) fn new(thing: Option<Cell>, hlc: Hlc) -> Self {
        let hash = hash_stamp(thing.as_ref(), hlc);
        Self { thing, hlc, hash }
    }
}

/// What tables, rows and values have in common: an HLC that only old clients set, and a hash over everything inside.
#[derive(Clone, Debug)]
pub(crate) struct Container<V> {
    pub(crate) entries: Entries<V>,
    pub(crate) hlc: Hlc,
    pub(crate) hash: u32,
    /// How many entries live: have a thing, or anything living inside.
    pub(crate) live: u32,
}

impl<V> Default for Container<V> {
    fn default() -> Self {
        Self { entries: Entries::default(), hlc: Hlc::EMPTY, hash: 0, live: 0 }
    }
}

pub(crate) type Row = Container<Stamped>;
pub(crate) type Table = Container<Row>;
pub(crate) type Tables = Container<Table>;
pub(crate) type Values = Container<Stamped>;

impl<V> Container<V> {
    /// Takes over a container HLC if it is greater; says whether it was.
    pub(crate) fn raise(&mut self, hlc: Hlc) -> bool {
        if hlc <= self.hlc {
            return false;
        }
        if !self.hlc.is_empty() {
            self.hash ^= hash_text(self.hlc.to_string());
        }
        self.hash ^= hash_text(hlc.to_string());
        self.hlc = hlc;
        true
    }
}

impl<V> Container<Container<V>> {
    /// The position of the child with this id, made if need be, and whether it was made.
    pub(crate) fn child(&mut self, id: Id) -> (usize, bool) {
        match self.entries.position(id) {
            Some(at) => (at, false),
            None => (self.entries.push(id, Container::default()), true),
        }
    }

    /// A child may have changed: brings the own hash and the count of the living up to date.
    pub(crate) fn child_changed(&mut self, ids: &Ids, at: usize, was: ChildWas) {
        let child = self.entries.get(at);
        let (id, hash, lives) = (child.id, child.value.hash, child.value.live > 0);
        if was.counted {
            self.hash ^= ids.share(id, was.hash);
        }
        self.hash ^= ids.share(id, hash);
        self.count(at, was.live, lives);
    }

    /// What [`Container::child_changed`] needs to know of a child before it changes.
    pub(crate) fn before(&self, at: usize, made: bool, rule: ChildRule) -> ChildWas {
        let child = &self.entries.get(at).value;
        let counted = match rule {
            ChildRule::TinyBase => child.hash != 0,
            ChildRule::Exact => !made,
        };
        ChildWas { hash: child.hash, counted, live: child.live > 0 }
    }
}

impl<V> Container<V> {
    pub(crate) fn count(&mut self, at: usize, was_live: bool, lives: bool) {
        match (was_live, lives) {
            (false, true) => {
                self.live += 1;
                self.entries.revive(at);
            }
            (true, false) => self.live -= 1,
            _ => {}
        }
    }
}

impl<V> Container<Container<V>> {
    /// TinyBase applies a merge cell by cell: a child that died and lives again has moved to the end of the living. Says
    /// whether nothing lived here meanwhile.
    pub(crate) fn came_back(&mut self, at: usize, died: bool) -> bool {
        let lives = self.entries.get(at).value.live > 0;
        if died && lives {
            self.entries.revive(at);
        }
        died && self.live == u32::from(lives)
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

impl Container<Stamped> {
    /// Whether a stamp wins over what is there: there is no HLC yet, or a lower one.
    pub(crate) fn wins(&self, at: Option<usize>, hlc: Hlc) -> bool {
        at.is_none_or(|at| {
            let there = self.entries.get(at).value.hlc;
            there.is_empty() || hlc > there
        })
    }

    /// Puts a stamp in place of what is there, whichever is newer; the position and what was there.
    pub(crate) fn put(&mut self, ids: &Ids, id: Id, stamped: Stamped) -> (usize, Option<Stamped>) {
        let lives = stamped.thing.is_some();
        let hash = stamped.hash;
        let (at, old) = match self.entries.position(id) {
            Some(at) => (at, Some(std::mem::replace(self.entries.get_mut(at), stamped))),
            None => (self.entries.push(id, stamped), None),
        };
        self.hash ^= ids.share(id, old.as_ref().map_or(0, |old| old.hash)) ^ ids.share(id, hash);
        self.count(at, old.as_ref().is_some_and(|old| old.thing.is_some()), lives);
        (at, old)
    }
}

/// Tables and values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    pub(crate) tables: Tables,
    pub(crate) values: Values,
}

impl Content {
    pub(crate) fn hashes(&self) -> ContentHashes {
        ContentHashes { tables: self.tables.hash, values: self.values.hash }
    }

    pub(crate) fn table(&self, ids: &Ids, table: &[u8]) -> Option<&Table> {
        self.tables.entries.find(ids.find(table)?)
    }

    pub(crate) fn row(&self, ids: &Ids, table: &[u8], row: &[u8]) -> Option<&Row> {
        self.table(ids, table)?.entries.find(ids.find(row)?)
    }

    pub(crate) fn cell(
        &self,
        ids: &Ids,
        table: &[u8],
        row: &[u8],
        cell: &[u8],
    ) -> Option<&Stamped> {
        self.row(ids, table, row)?.entries.find(ids.find(cell)?)
    }

    pub(crate) fn value(&self, ids: &Ids, value: &[u8]) -> Option<&Stamped> {
        self.values.entries.find(ids.find(value)?)
    }

    /// The hashes computed anew from all stamps; equal to [`Content::hashes`] but for rows and tables without content that
    /// arrived more than once.
    pub(crate) fn computed_hashes(&self, ids: &Ids) -> ContentHashes {
        let tables = fold(&self.tables, |id, table| {
            let table = fold(table, |id, row| ids.share(id, leaf_hash(ids, row)));
            ids.share(id, table)
        });
        ContentHashes { tables, values: leaf_hash(ids, &self.values) }
    }
}

fn fold<V>(container: &Container<V>, share: impl Fn(Id, &V) -> u32) -> u32 {
    let own = if container.hlc.is_empty() { 0 } else { hash_text(container.hlc.to_string()) };
    container.entries.iter().fold(own, |hash, entry| hash ^ share(entry.id, &entry.value))
}

fn leaf_hash(ids: &Ids, container: &Container<Stamped>) -> u32 {
    fold(container, |id, stamped| {
        ids.share(id, hash_stamp(stamped.thing.as_ref(), stamped.hlc)) ^ ids.share(id, 0)
    })
}

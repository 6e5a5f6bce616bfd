//! What legacy said about rows, brought into the store (design rule 2).
//!
//! An answer is applied as the difference from base to answer. A cell that is owed keeps the store's
//! value, unless the very request that was answered wrote that cell after the owed edit was made.
//! Answers about one row are ordered by its version column. What is merged here has origin `legacy`
//! and is never owed back: only edits of connections are.

use std::collections::BTreeSet;
use std::sync::Arc;

use mergeable_store::{Cell, CellRef, EditError, Hlc, MergeableStore, Transaction};

use super::delivery::row_cells;
use super::gone::Gone;
use super::owed::{Owed, RowKey};
use crate::migration::RowId;
use crate::resource::{Changes, Resource, RowCells};
use crate::storage::AskedCreate;

/// What legacy said about one row.
#[derive(Debug, Clone)]
pub struct LegacyRow {
    /// The row.
    pub row: RowId,
    /// Its cells; `None` if legacy has no such row.
    pub now: Option<RowCells>,
}

/// How an answer came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A user's REST write: these cells are its own (all of them for a create).
    Request {
        /// The cells that the request wrote.
        wrote: Wrote,
        /// When it was sent, in epoch milliseconds.
        sent_ms: u64,
    },
    /// A page of the backfill, or a row read again.
    Read {
        /// When it was asked for, in epoch milliseconds: cells changed since keep their value.
        asked_ms: u64,
    },
    /// A row read while the store may lack writes that legacy took: what has changed there since it was last known is not
    /// overwritten by an owed edit from that time (design rule 7, compare-and-send).
    Compare {
        /// When it was asked for, in epoch milliseconds: cells changed since keep their value.
        asked_ms: u64,
        /// Until when legacy has taken such writes, in epoch milliseconds.
        missed_ms: u64,
    },
    /// A row read again because the sides' copies have diverged: all of its cells count, whatever the base says.
    Repair {
        /// When it was asked for, in epoch milliseconds: cells changed since keep their value.
        asked_ms: u64,
    },
    /// The answer to a delivery.
    Delivery {
        /// The delivered entry's cells that still carry its stamps.
        cells: BTreeSet<String>,
    },
}

impl Source {
    /// When the request was sent, in epoch milliseconds. A delivery's answer is looked at by its sender.
    pub(crate) const fn sent_ms(&self) -> u64 {
        match self {
            Self::Request { sent_ms, .. } => *sent_ms,
            Self::Read { asked_ms }
            | Self::Compare { asked_ms, .. }
            | Self::Repair { asked_ms } => *asked_ms,
            Self::Delivery { .. } => u64::MAX,
        }
    }
}

/// Which cells a request wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrote {
    /// All of the row.
    All,
    /// These.
    Cells(BTreeSet<String>),
    /// Nobody knows: those whose value in legacy is neither the one that was known nor one that a delivery can have brought.
    Changed,
}

/// What became of an answer about one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It is now the base, and in the store as far as nothing newer is owed.
    Taken,
    /// A newer answer was there first.
    Stale,
}

/// One answer on its way into the store.
pub(super) struct Application<'a> {
    pub(super) resource: &'a Arc<Resource>,
    pub(super) row: &'a LegacyRow,
    pub(super) base: Option<&'a RowCells>,
    pub(super) source: &'a Source,
    pub(super) owed: &'a Owed,
    pub(super) gone: &'a Gone,
    /// The create that legacy was asked for, if this is the first that is known of its row there.
    pub(super) asked: Option<&'a AskedCreate>,
}

impl Application<'_> {
    /// Whether this answer is older than the base, or than what the store knows of the row.
    pub(super) fn is_stale(&self, store: &MergeableStore) -> bool {
        let version = |cells: &RowCells| self.resource.version(cells);
        match (self.base, &self.row.now, self.source) {
            // Its version plays no part: legacy may have been restored from a backup.
            (_, _, Source::Repair { asked_ms }) => {
                self.stamps(store).any(|(_, hlc)| hlc.time_ms() >= *asked_ms)
                    || self.gone.after(&self.key(), *asked_ms)
            }
            (Some(base), Some(now), _) => {
                matches!((version(base), version(now)), (Some(b), Some(n)) if n < b)
            }
            // Read before a deletion that is known by now: the row must not come back.
            (None, Some(_), Source::Read { asked_ms } | Source::Compare { asked_ms, .. }) => {
                let changed_since = |hlc: Hlc| hlc.time_ms() >= *asked_ms;
                let deleted_since = !store.has_row(self.table(), self.row.row.as_str())
                    && self.stamps(store).any(|(_, hlc)| changed_since(hlc));
                // A client's deletion has the stamp of when it was made, which may be long before
                // legacy was told.
                deleted_since || self.gone.after(&self.key(), *asked_ms)
            }
            // Only a row that is there can be updated: it was deleted afterwards. A create says of
            // itself that the row was not there.
            (None, Some(_), Source::Request { wrote: Wrote::Cells(_), sent_ms }) => {
                self.gone.after(&self.key(), *sent_ms)
            }
            _ => false,
        }
    }

    /// How many owed cells yield to what legacy took while the store was passed by.
    pub(super) fn yields(&self, store: &MergeableStore) -> usize {
        let Source::Compare { missed_ms, .. } = self.source else { return 0 };
        let key = self.key();
        let yields = |(cell, hlc): &(&str, Hlc)| {
            let there = store.get_cell(self.table(), self.row.row.as_str(), *cell);
            let differs =
                self.row.now.as_ref().is_some_and(|now| now.get(cell).map(Cell::view) != there);
            differs
                && self.owed.owes(&key, cell, *hlc)
                && hlc.time_ms() < *missed_ms
                && self.wrote(cell)
                && self.may_write(store, &key, cell)
        };
        self.stamps(store).filter(yields).count()
    }

    /// Brings the difference into the store.
    pub(super) fn write(&self, tx: &mut Transaction<'_>) -> Result<(), EditError> {
        let (table, row) = (self.table(), self.row.row.as_str());
        let Some(now) = &self.row.now else { return tx.del_row(table, row) };
        let key = self.key();
        if !tx.store().has_row(table, row) && self.owes_a_deletion(tx.store(), &key) {
            // It wins over whatever legacy changed in the row.
            return Ok(());
        }
        let nothing = RowCells::new();
        let mut changes = match self.source {
            Source::Repair { .. } => self.all_that_differs(tx.store(), now),
            _ => self.base.unwrap_or(&nothing).changes_to(now),
        };
        // What the very request wrote is taken even where legacy had it before: the store may not.
        for spec in self.resource.schema.cells() {
            if let Some(value) = now.get(&spec.id).filter(|_| self.wrote(&spec.id)) {
                changes.set.insert(spec.id.clone(), value.clone());
            }
        }
        for (cell, value) in changes.set.iter() {
            if self.may_write(tx.store(), &key, cell)
                && !self.is_the_stores(&key, cell)
                && tx.get_cell(table, row, &**cell) != Some(value.view())
            {
                tx.set_cell(table, row, &**cell, value.clone())?;
            }
        }
        for cell in &changes.removed {
            if self.may_write(tx.store(), &key, cell) && tx.get_cell(table, row, &**cell).is_some()
            {
                tx.del_cell(table, row, &**cell)?;
            }
        }
        Ok(())
    }

    fn wrote(&self, cell: &str) -> bool {
        match self.source {
            Source::Request { wrote: Wrote::All, .. } => true,
            Source::Request { wrote: Wrote::Cells(cells), .. } => cells.contains(cell),
            Source::Request { wrote: Wrote::Changed, .. } | Source::Compare { .. } => {
                self.changed_by_nobody_known(cell)
            }
            Source::Delivery { cells } => cells.contains(cell),
            Source::Read { .. } | Source::Repair { .. } => false,
        }
    }

    /// Whether legacy has another value of a cell than it was known to have, and at most one edit of the cell is owed: with
    /// more, the value may be that of one whose delivery was not answered.
    fn changed_by_nobody_known(&self, cell: &str) -> bool {
        let known = self.base.and_then(|base| base.get(cell));
        let now = self.row.now.as_ref().and_then(|now| now.get(cell));
        known != now && self.owed.times(&self.key(), cell) <= 1
    }

    /// From the store's copy to what legacy has.
    fn all_that_differs(&self, store: &MergeableStore, now: &RowCells) -> Changes {
        row_cells(self.resource, &self.row.row, store).changes_to(now)
    }

    /// Whether the version column says that this answer is newer than the base.
    fn is_newer(&self) -> bool {
        let version = |cells: &RowCells| self.resource.version(cells);
        match (self.base, &self.row.now) {
            (Some(base), Some(now)) => {
                matches!((version(base), version(now)), (Some(b), Some(n)) if n > b)
            }
            _ => false,
        }
    }

    /// Whether a cell is one that legacy makes, of a row with a write that legacy lacks: until it has all of them, the row is
    /// as the store made it.
    fn is_the_stores(&self, key: &RowKey, cell: &str) -> bool {
        self.owed.has(key) && self.resource.made_by_legacy().any(|spec| *spec.id == *cell)
    }

    fn may_write(&self, store: &MergeableStore, key: &RowKey, cell: &str) -> bool {
        let Some((_, hlc)) = store.stamp(self.table(), self.row.row.as_str(), cell) else {
            return true;
        };
        let owed =
            self.owed.owes(key, cell, hlc) && !self.went_with_the_create(store, key, cell, hlc);
        match self.source {
            Source::Request { sent_ms, .. } => {
                !owed || (self.wrote(cell) && hlc.time_ms() < *sent_ms)
            }
            // A version is proof; without one, a cell that was written since keeps its value.
            Source::Read { asked_ms } => !owed && (self.is_newer() || hlc.time_ms() < *asked_ms),
            Source::Compare { asked_ms, missed_ms } => {
                let yields = self.wrote(cell) && hlc.time_ms() < *missed_ms;
                (!owed || yields) && (self.is_newer() || hlc.time_ms() < *asked_ms)
            }
            Source::Repair { asked_ms } => !owed && hlc.time_ms() < *asked_ms,
            Source::Delivery { .. } => !owed,
        }
    }

    /// Whether legacy got what a cell holds with the create that made the row. The answer to that is lost, so nothing took the
    /// cell off what is owed; but what legacy has by now, under whatever name it was read, comes after it.
    fn went_with_the_create(
        &self,
        store: &MergeableStore,
        key: &RowKey,
        cell: &str,
        hlc: Hlc,
    ) -> bool {
        let Some(asked) = self.asked else { return false };
        let Some(sent) = asked.body.get(cell) else { return false };
        let is = |(id, stamp): &(String, Hlc)| id == cell && *stamp == hlc;
        if self.owed.get(key, asked.seq).is_some_and(|entry| entry.cells.iter().any(is)) {
            return true;
        }
        // A later edit, which the create took along if it was there in time.
        let there = store.get_cell(self.table(), key.1.as_str(), cell).map(CellRef::to_cell);
        hlc.time_ms() < asked.asked_ms && there.is_some_and(|there| there.to_json() == *sent)
    }

    /// Whether a tombstone of the row waits to be delivered.
    fn owes_a_deletion(&self, store: &MergeableStore, key: &RowKey) -> bool {
        self.stamps(store).any(|(cell, hlc)| self.owed.owes(key, cell, hlc))
    }

    fn stamps<'s>(&'s self, store: &'s MergeableStore) -> impl Iterator<Item = (&'s str, Hlc)> {
        let row = self.row.row.as_str();
        self.resource.schema.cells().iter().filter_map(move |spec| {
            let (_, hlc) = store.stamp(self.table(), row, &*spec.id)?;
            Some((&*spec.id, hlc))
        })
    }

    fn key(&self) -> RowKey {
        (self.resource.name.clone(), self.row.row.clone())
    }

    fn table(&self) -> &str {
        self.resource.table.as_str()
    }
}

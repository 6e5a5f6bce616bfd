//! What an owed entry asks of legacy, and what its answer does to the store.

use std::collections::BTreeSet;
use std::sync::Arc;

use mergeable_store::{CellRef, MergeableStore};
use serde_json::Value;

use super::answer::LegacyRow;
use super::owed::Pending;
use crate::migration::RowId;
use crate::resource::{Changes, Resource, RowCells};

/// What to send for an owed entry, decided from base against store (design rule 2).
#[derive(Debug, Clone, PartialEq)]
pub enum Prepared {
    /// Nothing is left of it: newer edits took its cells, or legacy has them already.
    Superseded,
    /// Nothing is left of it, but an earlier try may have reached legacy: what legacy has must be looked
    /// at, for what comes after it is decided from that.
    Reread {
        /// When legacy may last have been asked, in epoch milliseconds.
        sent_ms: u64,
    },
    /// Legacy lacks the row.
    Create(Value),
    /// Legacy has other values in these cells.
    Update(Value),
    /// The store no longer has the row.
    Delete,
}

/// How an owed entry ends.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Nothing had to be sent.
    Superseded,
    /// Legacy took it and now has this (`None`: no such row any more).
    Delivered(Option<RowCells>),
    /// Legacy refused it and has this instead.
    Refused(Option<RowCells>),
    /// Legacy has the row that was to be made: the entry goes on as a change of this.
    Found(RowCells),
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It is done.
    Done,
    /// It is still owed: what legacy has is known better now, and something is left to send.
    Again,
}

impl Outcome {
    /// What legacy has after it, if it was asked.
    pub(super) fn answer(&self, row: &RowId) -> Option<LegacyRow> {
        match self {
            Self::Superseded => None,
            Self::Found(now) => Some(LegacyRow { row: row.clone(), now: Some(now.clone()) }),
            Self::Delivered(now) | Self::Refused(now) => {
                Some(LegacyRow { row: row.clone(), now: now.clone() })
            }
        }
    }
}

/// Decides what `entry` asks of legacy.
pub(super) fn prepare(
    resource: &Arc<Resource>,
    row: &RowId,
    entry: &Pending,
    base: Option<&RowCells>,
    store: &MergeableStore,
) -> Prepared {
    let table = resource.table.as_str();
    let reread = |sent_ms| Prepared::Reread { sent_ms };
    let nothing_left = entry.sent_ms.map_or(Prepared::Superseded, reread);
    match (base, store.has_row(table, row.as_str())) {
        (None, false) => nothing_left,
        // Only who deleted the row may ask for it: another one's older edit does not carry their right along.
        (Some(_), false) if current_cells(resource, row, entry, store).is_empty() => nothing_left,
        (Some(_), false) => Prepared::Delete,
        (None, true) => Prepared::Create(resource.create_body(&row_cells(resource, row, store))),
        (Some(base), true) => {
            let changes = owed_changes(resource, row, entry, base, store);
            resource.update_body(&changes).map_or(nothing_left, Prepared::Update)
        }
    }
}

/// A row's mapped cells, as the store has them.
pub(in crate::sync) fn row_cells(
    resource: &Resource,
    row: &RowId,
    store: &MergeableStore,
) -> RowCells {
    let cell =
        |id: &str| store.get_cell(resource.table.as_str(), row.as_str(), id).map(CellRef::to_cell);
    let specs = resource.schema.cells().iter();
    specs.filter_map(|spec| Some((spec.id.clone(), cell(&spec.id)?))).collect()
}

/// The entry's cells that still carry its stamps.
pub(super) fn current_cells(
    resource: &Resource,
    row: &RowId,
    entry: &Pending,
    store: &MergeableStore,
) -> BTreeSet<String> {
    let stamp = |cell: &str| store.stamp(resource.table.as_str(), row.as_str(), cell);
    let current =
        entry.cells.iter().filter(|(cell, owed)| stamp(cell).is_some_and(|(_, hlc)| hlc == *owed));
    current.map(|(cell, _)| cell.clone()).collect()
}

/// The entry's cells that still carry its stamps and differ from what legacy has.
pub(super) fn owed_changes(
    resource: &Resource,
    row: &RowId,
    entry: &Pending,
    base: &RowCells,
    store: &MergeableStore,
) -> Changes {
    let mut changes = Changes::default();
    for (cell, owed) in &entry.cells {
        let stamp = store.stamp(resource.table.as_str(), row.as_str(), cell.as_str());
        let Some((thing, hlc)) = stamp.filter(|(_, hlc)| hlc == owed) else { continue };
        debug_assert_eq!(hlc, *owed);
        match thing {
            Some(value) if base.get(cell) != Some(&value) => {
                changes.set.insert(cell.as_str(), value);
            }
            None if base.get(cell).is_some() => changes.removed.push(cell.as_str().into()),
            _ => {}
        }
    }
    changes
}

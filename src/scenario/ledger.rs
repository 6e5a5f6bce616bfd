//! Every write that the actors made, so that none can be lost unnoticed.

use mergeable_store::{Cell, Hlc, MergeableStore};

use super::model::{ActorId, RowRef};
use super::world::Rows;
use crate::migration::PathId;

/// A write that an actor made.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Write {
    pub(super) actor: ActorId,
    pub(super) path: PathId,
    pub(super) table: String,
    pub(super) row: RowRef,
    pub(super) what: What,
    pub(super) by: By,
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    Cell { id: String, value: Option<Cell> },
    RowGone,
}

/// How it was written, and so how it is known to be acknowledged.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum By {
    /// A native client's edit with this number, and the cell's stamp.
    Edit { number: u64, hlc: Option<Hlc> },
    /// A REST request that was answered 2xx; whether it had to be mirrored into the store.
    Rest { mirrored: bool },
}

impl Write {
    /// What was written to, for people.
    pub(super) fn subject(&self) -> String {
        match &self.what {
            What::Cell { id, .. } => format!("{}/{id}", self.row),
            What::RowGone => format!("{} (deleted)", self.row),
        }
    }
}

/// All writes, in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    writes: Vec<Write>,
}

impl Ledger {
    pub(super) fn add(&mut self, write: Write) {
        self.writes.push(write);
    }

    pub(super) fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Whether the path's store has what was written, or something that was written later.
    pub(super) fn survived(&self, place: usize, store: &MergeableStore) -> bool {
        let Some(write) = self.writes.get(place) else { return true };
        let (table, row) = (write.table.as_str(), write.row.row.as_str());
        match &write.what {
            What::RowGone => !store.has_row(table, row) || self.overwritten(place),
            What::Cell { id, value } => {
                let stamp = store.stamp(table, row, id.as_str());
                match (&write.by, stamp) {
                    // The stamp decides: a greater one is a later write, whoever made it.
                    (By::Edit { hlc: Some(written), .. }, Some((_, there))) if there > *written => {
                        true
                    }
                    (By::Edit { hlc: Some(written), .. }, Some((thing, there))) => {
                        there == *written && thing == *value
                    }
                    (By::Edit { .. }, _) => false,
                    (By::Rest { .. }, stamp) => {
                        stamp.and_then(|(thing, _)| thing) == *value || self.overwritten(place)
                    }
                }
            }
        }
    }

    /// As [`Ledger::survived`], in legacy's rows of the path.
    pub(super) fn survived_in_legacy(&self, place: usize, rows: Option<&Rows>) -> bool {
        let Some(write) = self.writes.get(place) else { return true };
        let row = rows.and_then(|rows| rows.get(&write.row.row));
        let there = match (&write.what, row) {
            (What::RowGone, row) => row.is_none(),
            (What::Cell { id, value }, Some(row)) => row.get(id) == value.as_ref(),
            (What::Cell { .. }, None) => false,
        };
        there || self.overwritten(place)
    }

    /// Whether a later write is about the same cell or row.
    fn overwritten(&self, place: usize) -> bool {
        let Some(write) = self.writes.get(place) else { return false };
        self.writes.iter().skip(place + 1).any(|later| {
            later.row == write.row
                && later.path == write.path
                && match (&write.what, &later.what) {
                    (_, What::RowGone) | (What::RowGone, _) => true,
                    (What::Cell { id, .. }, What::Cell { id: later, .. }) => id == later,
                }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mergeable_store::{ClientId, EditError};

    fn write(cell: &str, value: &str, by: By) -> Write {
        Write {
            actor: ActorId(0),
            path: PathId::new("p").unwrap(),
            table: "users".to_owned(),
            row: RowRef { resource: "users".to_owned(), row: "r".to_owned() },
            what: What::Cell { id: cell.to_owned(), value: Some(value.into()) },
            by,
        }
    }

    fn set(store: &mut MergeableStore, now: u64, value: &str) -> Hlc {
        let edit = |tx: &mut mergeable_store::Transaction<'_>| {
            tx.set_cell("users", "r", "name", value)?;
            Ok::<_, EditError>(tx.store().stamp("users", "r", "name").unwrap().1)
        };
        store.transaction(now, edit).unwrap().0
    }

    #[test]
    fn an_edit_survives_as_itself_or_under_a_later_stamp() {
        let mut store = MergeableStore::new(ClientId::from_unique_id("a"));
        let hlc = set(&mut store, 1000, "Ada");
        let mut ledger = Ledger::default();
        ledger.add(write("name", "Ada", By::Edit { number: 1, hlc: Some(hlc) }));
        assert!(ledger.survived(0, &store));
        assert!(!ledger.survived(0, &MergeableStore::new(ClientId::from_unique_id("b"))), "lost");
        set(&mut store, 2000, "Grace");
        assert!(ledger.survived(0, &store), "overwritten later");
        let mut older = MergeableStore::new(ClientId::from_unique_id("c"));
        set(&mut older, 500, "Old");
        assert!(!ledger.survived(0, &older), "an older value is there");
    }

    #[test]
    fn a_rest_write_survives_as_itself_or_if_the_cell_was_written_again() {
        let mut store = MergeableStore::new(ClientId::from_unique_id("a"));
        set(&mut store, 1000, "Grace");
        let mut ledger = Ledger::default();
        ledger.add(write("name", "Ada", By::Rest { mirrored: true }));
        assert!(!ledger.survived(0, &store));
        ledger.add(write("age", "other", By::Rest { mirrored: true }));
        assert!(!ledger.survived(0, &store), "another cell does not count");
        ledger.add(write("name", "Grace", By::Rest { mirrored: true }));
        assert!(ledger.survived(0, &store) && ledger.survived(2, &store));
    }
}

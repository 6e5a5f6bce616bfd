//! What a path owes to legacy, as its task knows it: which cells of which rows, by which stamps.

use std::collections::HashMap;

use mergeable_store::Hlc;

use crate::migration::{ResourceName, RowId};
use crate::storage::{Actor, Seq};

/// A row of a resource.
pub(super) type RowKey = (ResourceName, RowId);

/// An entry of the outbox: pending, or a dead letter.
#[derive(Debug)]
pub(super) struct Pending {
    /// Its place in the order; unknown until its transaction is committed.
    seq: Option<Seq>,
    /// The cells that it owes, with the stamps that they had when it was accepted.
    pub(super) cells: Vec<(String, Hlc)>,
    /// Who made the edit.
    pub(super) actor: Actor,
    /// When legacy may last have been asked for it, in epoch milliseconds: its answer may have been lost, and then
    /// legacy's row is not what the base says.
    pub(super) sent_ms: Option<u64>,
}

/// All entries of a path.
#[derive(Debug, Default)]
pub(super) struct Owed {
    rows: HashMap<RowKey, Vec<Pending>>,
    /// Rows whose newest entries wait for their number, in the order of acceptance.
    fresh: Vec<RowKey>,
}

impl Owed {
    /// Takes up an entry that storage already knows. Another process may have sent it until now.
    pub(super) fn load(
        &mut self,
        key: RowKey,
        seq: Seq,
        cells: Vec<(String, Hlc)>,
        actor: Actor,
        now_ms: u64,
    ) {
        let entry = Pending { seq: Some(seq), cells, actor, sent_ms: Some(now_ms) };
        self.rows.entry(key).or_default().push(entry);
    }

    /// Takes up an entry of the transaction that is being made.
    pub(super) fn accept(&mut self, key: RowKey, cells: Vec<(String, Hlc)>, actor: Actor) {
        self.fresh.push(key.clone());
        let entry = Pending { seq: None, cells, actor, sent_ms: None };
        self.rows.entry(key).or_default().push(entry);
    }

    /// Numbers what a commit has kept, in the order of acceptance; later commits keep the rest.
    pub(super) fn number(&mut self, seqs: &[Seq]) {
        let kept = seqs.len().min(self.fresh.len());
        for (key, seq) in self.fresh.drain(..kept).zip(seqs) {
            let entries = self.rows.get_mut(&key).into_iter().flatten();
            if let Some(entry) = entries.into_iter().find(|entry| entry.seq.is_none()) {
                entry.seq = Some(*seq);
            }
        }
    }

    /// Whether nothing is owed.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether anything of a row is owed, dead letters included.
    pub(super) fn has(&self, key: &RowKey) -> bool {
        self.rows.contains_key(key)
    }

    /// An entry by its number.
    pub(super) fn get(&self, key: &RowKey, seq: Seq) -> Option<&Pending> {
        self.rows.get(key)?.iter().find(|entry| entry.seq == Some(seq))
    }

    /// Notes that legacy is about to be asked for an entry.
    pub(super) fn sending(&mut self, key: &RowKey, seq: Seq, now_ms: u64) {
        let mut entries = self.rows.get_mut(key).into_iter().flatten();
        if let Some(entry) = entries.find(|entry| entry.seq == Some(seq)) {
            entry.sent_ms = Some(now_ms);
        }
    }

    /// Who made the edit by which the cell has this stamp, if it waits to be delivered.
    pub(super) fn actor(&self, key: &RowKey, cell: &str, stamp: Hlc) -> Option<&Actor> {
        let owes =
            |entry: &&Pending| entry.cells.iter().any(|(id, hlc)| id == cell && *hlc == stamp);
        self.rows.get(key)?.iter().find(owes).map(|entry| &entry.actor)
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, key: &RowKey, seq: Seq) -> Option<Pending> {
        let entries = self.rows.get_mut(key)?;
        let place = entries.iter().position(|entry| entry.seq == Some(seq))?;
        let entry = entries.remove(place);
        if entries.is_empty() {
            self.rows.remove(key);
        }
        Some(entry)
    }

    /// How many entries of a cell wait to be delivered, whether or not they still carry its stamp.
    pub(super) fn times(&self, key: &RowKey, cell: &str) -> usize {
        let entries = self.rows.get(key).into_iter().flatten();
        entries.filter(|entry| entry.cells.iter().any(|(id, _)| id == cell)).count()
    }

    /// Whether anything of a row waits to be delivered, or is in a dead letter.
    pub(super) fn owes_row(&self, key: &RowKey) -> bool {
        self.rows.contains_key(key)
    }

    /// Whether a cell with this stamp waits to be delivered.
    pub(super) fn owes(&self, key: &RowKey, cell: &str, stamp: Hlc) -> bool {
        let mut cells = self.rows.get(key).into_iter().flatten().flat_map(|entry| &entry.cells);
        cells.any(|(id, hlc)| id == cell && *hlc == stamp)
    }
}

#[cfg(test)]
mod tests {
    use mergeable_store::ClientId;

    use super::*;

    #[test]
    fn entries_get_their_numbers_in_the_order_of_acceptance() {
        let hlc = |n| Hlc::new(n, 0, ClientId::from_unique_id("c"));
        let key = |row: &str| (ResourceName::new("users"), RowId::new(row));
        let actor = || Actor { user: "u".to_owned(), org_id: None, org_role: None };
        let mut owed = Owed::default();
        owed.load(key("a"), Seq(1), vec![("name".to_owned(), hlc(1))], actor(), 0);
        owed.accept(key("a"), vec![("name".to_owned(), hlc(2))], actor());
        owed.accept(key("b"), vec![("name".to_owned(), hlc(3))], actor());
        assert!(owed.owes(&key("a"), "name", hlc(2)));
        // One commit kept the first, the next one the second.
        owed.number(&[Seq(2)]);
        assert!(owed.get(&key("b"), Seq(3)).is_none());
        owed.number(&[Seq(3)]);
        assert!(owed.remove(&key("a"), Seq(1)).is_some());
        assert!(!owed.owes(&key("a"), "name", hlc(1)));
        assert!(owed.owes(&key("a"), "name", hlc(2)));
        assert!(owed.get(&key("b"), Seq(3)).is_some());
        assert!(owed.remove(&key("a"), Seq(2)).is_some());
        assert!(!owed.rows.contains_key(&key("a")));
    }
}

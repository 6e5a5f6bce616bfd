//! What a path owes to legacy, as its task knows it: which cells of which rows, by which stamps.

use std::collections::HashMap;

use mergeable_store::Hlc;

use crate::migration::{ResourceName, RowId};
use crate::storage::Seq;

/// A row of a resource.
pub(super) type RowKey = (ResourceName, RowId);

/// An entry of the outbox that is still pending.
#[derive(Debug)]
pub(super) struct Pending {
    /// Its place in the order; unknown until its transaction is committed.
    seq: Option<Seq>,
    /// The cells that it owes, with the stamps that they had when it was accepted.
    pub(super) cells: Vec<(String, Hlc)>,
}

/// All pending entries of a path.
#[derive(Debug, Default)]
pub(super) struct Owed {
    rows: HashMap<RowKey, Vec<Pending>>,
    /// Rows whose newest entries wait for their number, in the order of acceptance.
    fresh: Vec<RowKey>,
}

impl Owed {
    /// Takes up an entry that storage already knows.
    pub(super) fn load(&mut self, key: RowKey, seq: Seq, cells: Vec<(String, Hlc)>) {
        self.rows.entry(key).or_default().push(Pending { seq: Some(seq), cells });
    }

    /// Takes up an entry of the transaction that is being made.
    pub(super) fn accept(&mut self, key: RowKey, cells: Vec<(String, Hlc)>) {
        self.fresh.push(key.clone());
        self.rows.entry(key).or_default().push(Pending { seq: None, cells });
    }

    /// Numbers what was accepted since the last commit, in the order of acceptance.
    pub(super) fn number(&mut self, seqs: &[Seq]) {
        for (key, seq) in std::mem::take(&mut self.fresh).into_iter().zip(seqs) {
            let entries = self.rows.get_mut(&key).into_iter().flatten();
            if let Some(entry) = entries.into_iter().find(|entry| entry.seq.is_none()) {
                entry.seq = Some(*seq);
            }
        }
    }

    /// An entry by its number.
    pub(super) fn get(&self, key: &RowKey, seq: Seq) -> Option<&Pending> {
        self.rows.get(key)?.iter().find(|entry| entry.seq == Some(seq))
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

    /// Whether a cell with this stamp waits to be delivered.
    pub(super) fn owes(&self, key: &RowKey, cell: &str, stamp: Hlc) -> bool {
        let mut cells = self.rows.get(key).into_iter().flatten().flat_map(|entry| &entry.cells);
        cells.any(|(id, hlc)| id == cell && *hlc == stamp)
    }

    /// Whether anything of the row waits to be delivered.
    pub(super) fn owes_row(&self, key: &RowKey) -> bool {
        self.rows.contains_key(key)
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
        let mut owed = Owed::default();
        owed.load(key("a"), Seq(1), vec![("name".to_owned(), hlc(1))]);
        owed.accept(key("a"), vec![("name".to_owned(), hlc(2))]);
        owed.accept(key("b"), vec![("name".to_owned(), hlc(3))]);
        assert!(owed.owes(&key("a"), "name", hlc(2)));
        owed.number(&[Seq(2), Seq(3)]);
        assert!(owed.remove(&key("a"), Seq(1)).is_some());
        assert!(!owed.owes(&key("a"), "name", hlc(1)));
        assert!(owed.owes(&key("a"), "name", hlc(2)));
        assert!(owed.get(&key("b"), Seq(3)).is_some());
        assert!(owed.remove(&key("a"), Seq(2)).is_some());
        assert!(!owed.owes_row(&key("a")));
    }
}

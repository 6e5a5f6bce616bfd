//! Legacy's last known copies of rows, as far as a path's task has them in memory.

use std::collections::HashMap;

use super::owed::RowKey;
use crate::resource::RowCells;

/// Rows remembered; past it they are read anew. Enough for the rows that are being delivered.
const MAX_ROWS: usize = 256;

/// Bases that were read or written lately; `None`: legacy has no such row. The path's task is the only one that writes
/// bases, so what is here is right, also before it is durable: a task whose commit fails ends.
#[derive(Debug, Default)]
pub(super) struct KnownBases(HashMap<RowKey, Option<RowCells>>);

impl KnownBases {
    pub(super) fn get(&self, key: &RowKey) -> Option<&Option<RowCells>> {
        self.0.get(key)
    }

    pub(super) fn set(&mut self, key: RowKey, base: Option<RowCells>) {
        if self.0.len() >= MAX_ROWS && !self.0.contains_key(&key) {
            self.0.clear();
        }
        self.0.insert(key, base);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::{ResourceName, RowId};

    #[test]
    fn past_the_bound_all_are_forgotten_but_the_newest() {
        let key = |n: usize| (ResourceName::new("users"), RowId::new(n.to_string()));
        let mut bases = KnownBases::default();
        for n in 0..MAX_ROWS {
            bases.set(key(n), None);
        }
        bases.set(key(0), Some(RowCells::default()));
        assert_eq!(bases.0.len(), MAX_ROWS);
        assert_eq!(bases.get(&key(0)), Some(&Some(RowCells::default())));
        bases.set(key(MAX_ROWS), None);
        assert_eq!(bases.0.len(), 1);
        assert_eq!(bases.get(&key(MAX_ROWS)), Some(&None));
        assert_eq!(bases.get(&key(0)), None);
    }
}

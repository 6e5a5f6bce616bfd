//! Rows that legacy is known to have no more, and since when: an answer from before must not bring them
//! back. A version column orders answers about a row that is there; a row that is gone has none.

use std::collections::{HashMap, VecDeque};

use super::owed::RowKey;

/// How many are remembered. Only answers that are still under way need them, and a request lasts some
/// seconds; so at the bound the earliest is forgotten.
const MAX: usize = 10_000;

/// The latest deletions of a path.
#[derive(Debug, Default)]
pub(super) struct Gone {
    since: HashMap<RowKey, u64>,
    order: VecDeque<(u64, RowKey)>,
}

impl Gone {
    /// It was learned now that the row is gone.
    pub(super) fn note(&mut self, key: RowKey, now_ms: u64) {
        self.since.insert(key.clone(), now_ms);
        self.order.push_back((now_ms, key));
        if self.order.len() > MAX
            && let Some((at, key)) = self.order.pop_front()
            && self.since.get(&key) == Some(&at)
        {
            self.since.remove(&key);
        }
    }

    /// Whether an answer to what was asked at `asked_ms` may be from before the row was gone.
    pub(super) fn after(&self, key: &RowKey, asked_ms: u64) -> bool {
        self.since.get(key).is_some_and(|since| *since >= asked_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::{ResourceName, RowId};

    #[test]
    fn the_earliest_is_forgotten_at_the_bound_unless_it_was_noted_again() {
        let key = |n: usize| (ResourceName::new("users"), RowId::new(format!("u{n}")));
        let mut gone = Gone::default();
        for n in 0..MAX {
            gone.note(key(n), 5);
        }
        assert!(gone.after(&key(0), 5) && !gone.after(&key(0), 6));
        gone.note(key(0), 9);
        gone.note(key(MAX), 9);
        assert!(gone.after(&key(0), 9), "noted again");
        assert!(!gone.after(&key(1), 5), "forgotten");
        assert!(gone.after(&key(2), 5));
        assert_eq!(gone.order.len(), MAX);
    }
}

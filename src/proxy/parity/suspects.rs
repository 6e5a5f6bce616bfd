//! Which rows one side shows and the other does not, and what looking again at them comes to. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::migration::RowId;

/// Rows that are looked at again at most. What differs beyond them is counted and decides nothing.
pub(super) const MAX_SUSPECTS: usize = 64;
/// As often a row must be found alike, one time after the other, before it counts: what was on its way between the looks at
/// both sides is not there the second time.
const LOOKS: u32 = 2;

/// The side that shows a row, alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ShownBy {
    /// Sync, and legacy hides it: `overshare`.
    Sync,
    /// Legacy, and sync lacks it: `undershare`.
    Legacy,
}

/// What a look at a row found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Whether legacy showed it to the user.
    pub(super) in_legacy: bool,
    /// Whether the store had it, after legacy was asked.
    pub(super) in_store: bool,
    /// Whether a write of it was on its way to either side, as was known in between.
    pub(super) on_its_way: bool,
}

/// A row that may be shown by one side alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suspect {
    pub(super) shown_by: ShownBy,
    /// Times in a row that it was found so.
    found: u32,
}

/// The rows that may be shown by one side alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Suspects {
    rows: BTreeMap<RowId, Suspect>,
    /// How many more there were than are looked at.
    pub(super) beyond: u64,
    /// How many turned out to be on both sides, or on none.
    pub(super) cleared: u64,
}

impl Suspects {
    /// Those of two sets; those that sync alone shows come first, where there are too many.
    pub(super) fn of(legacy: &BTreeSet<RowId>, store: &BTreeSet<RowId>) -> Self {
        let alone = |shown_by, ours: &BTreeSet<RowId>, theirs: &BTreeSet<RowId>| {
            let suspect = |row: &RowId| (row.clone(), Suspect { shown_by, found: 0 });
            ours.difference(theirs).map(suspect).collect::<Vec<_>>()
        };
        let mut all = alone(ShownBy::Sync, store, legacy);
        all.extend(alone(ShownBy::Legacy, legacy, store));
        let beyond = all.len().saturating_sub(MAX_SUSPECTS) as u64;
        all.truncate(MAX_SUSPECTS);
        Self { rows: all.into_iter().collect(), beyond, cleared: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows that are still to be looked at.
    pub(super) fn rows(&self) -> Vec<RowId> {
        self.rows.keys().cloned().collect()
    }

    /// Takes in a look at them. A row of which nothing was found stays as it is.
    pub(super) fn looked(&mut self, found: &BTreeMap<RowId, Found>) {
        let before = self.rows.len();
        self.rows.retain(|row, suspect| {
            let Some(found) = found.get(row) else { return true };
            let alone = match suspect.shown_by {
                ShownBy::Sync => found.in_store && !found.in_legacy,
                ShownBy::Legacy => found.in_legacy && !found.in_store,
            };
            suspect.found = if alone && !found.on_its_way { suspect.found + 1 } else { 0 };
            alone || found.on_its_way
        });
        self.cleared += (before - self.rows.len()) as u64;
    }

    /// The rows that one side alone shows, for certain.
    pub(super) fn confirmed(&self, by: ShownBy) -> Vec<&RowId> {
        let is = |one: &Suspect| one.shown_by == by && one.found >= LOOKS;
        self.rows.iter().filter(|(_, one)| is(one)).map(|(row, _)| row).collect()
    }

    /// Rows that were on their way at the last look.
    pub(super) fn on_their_way(&self) -> u64 {
        self.rows.values().filter(|suspect| suspect.found < LOOKS).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(ids: impl IntoIterator<Item = u16>) -> BTreeSet<RowId> {
        ids.into_iter().map(|id| RowId::new(id.to_string())).collect()
    }

    fn look(suspects: &mut Suspects, found: Found) {
        let found = suspects.rows().into_iter().map(|row| (row, found)).collect();
        suspects.looked(&found);
    }

    const OVER: Found = Found { in_legacy: false, in_store: true, on_its_way: false };

    #[test]
    fn a_row_counts_once_it_was_found_alike_twice_in_a_row() {
        let mut suspects = Suspects::of(&rows([1]), &rows([1, 2]));
        look(&mut suspects, OVER);
        assert_eq!(suspects.confirmed(ShownBy::Sync).len(), 0);
        look(&mut suspects, Found { on_its_way: true, ..OVER });
        look(&mut suspects, OVER);
        assert_eq!((suspects.confirmed(ShownBy::Sync).len(), suspects.on_their_way()), (0, 1));
        look(&mut suspects, OVER);
        assert_eq!(suspects.confirmed(ShownBy::Sync), [&RowId::new("2")]);
        assert_eq!((suspects.confirmed(ShownBy::Legacy).len(), suspects.on_their_way()), (0, 0));
    }

    #[test]
    fn a_row_that_both_or_none_show_by_now_is_none() {
        for (in_legacy, in_store) in [(true, true), (false, false), (true, false)] {
            let mut suspects = Suspects::of(&rows([]), &rows([1]));
            look(&mut suspects, OVER);
            look(&mut suspects, Found { in_legacy, in_store, on_its_way: false });
            assert!(suspects.is_empty());
            assert_eq!(suspects.cleared, 1);
        }
    }

    #[test]
    fn what_is_on_its_way_stays_to_be_looked_at_and_never_counts() {
        let mut suspects = Suspects::of(&rows([1]), &rows([2]));
        for _ in 0..5 {
            look(&mut suspects, Found { in_legacy: true, in_store: false, on_its_way: true });
        }
        assert_eq!((suspects.rows().len(), suspects.on_their_way()), (2, 2));
        let of = |by| suspects.confirmed(by).len();
        assert_eq!((of(ShownBy::Sync), of(ShownBy::Legacy)), (0, 0));
    }

    #[test]
    fn of_too_many_those_that_legacy_hides_come_first() {
        let suspects = Suspects::of(&rows(0..100), &rows(1_000..1_010));
        assert_eq!((suspects.rows().len(), suspects.beyond), (MAX_SUSPECTS, 46));
        let by = |wanted| suspects.rows.values().filter(|one| one.shown_by == wanted).count();
        assert_eq!((by(ShownBy::Sync), by(ShownBy::Legacy)), (10, 54));
    }

    proptest! {
        /// Against an obvious count: of rows that do not move, exactly those are confirmed that one set has alone.
        #[test]
        fn sets_that_hold_still_are_told_apart(
            legacy in proptest::collection::btree_set(0..40_u16, 0..30),
            store in proptest::collection::btree_set(0..40_u16, 0..30),
        ) {
            let (legacy, store) = (rows(legacy), rows(store));
            let mut suspects = Suspects::of(&legacy, &store);
            prop_assert_eq!(suspects.beyond, 0);
            for _ in 0..LOOKS {
                let found = suspects.rows().into_iter().map(|row| {
                    let (in_legacy, in_store) = (legacy.contains(&row), store.contains(&row));
                    (row, Found { in_legacy, in_store, on_its_way: false })
                });
                let found = found.collect();
                suspects.looked(&found);
            }
            let over: Vec<_> = store.iter().filter(|row| !legacy.contains(*row)).collect();
            let under: Vec<_> = legacy.iter().filter(|row| !store.contains(*row)).collect();
            prop_assert_eq!(suspects.confirmed(ShownBy::Sync), over);
            prop_assert_eq!(suspects.confirmed(ShownBy::Legacy), under);
            prop_assert_eq!((suspects.cleared, suspects.on_their_way()), (0, 0));
        }

        /// Whatever the looks find: none is confirmed whose last two looks were not alike and at rest.
        #[test]
        fn no_row_is_confirmed_by_one_look(looks in proptest::collection::vec(any::<(bool, bool, bool)>(), 0..8)) {
            let mut suspects = Suspects::of(&rows([]), &rows([1]));
            for (in_legacy, in_store, on_its_way) in &looks {
                let found = Found { in_legacy: *in_legacy, in_store: *in_store, on_its_way: *on_its_way };
                look(&mut suspects, found);
            }
            if !suspects.confirmed(ShownBy::Sync).is_empty() {
                let last: Vec<_> = looks.iter().rev().take(2).copied().collect();
                prop_assert_eq!(last, [(false, true, false); 2]);
            }
        }
    }
}

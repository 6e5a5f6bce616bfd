//! How an index answers a question: which places of it, in which direction.

use std::ops::Range;

use super::ListIndex;
use super::key::{Part, RowKey, parts_len};
use crate::resource::list_query::{Filter, Test};
use crate::resource::{Cell, CellId, Collation, ListQuery};

/// The rows that answer a question, within an index.
pub(super) struct Scan<'a> {
    index: &'a ListIndex,
    /// The rows that pass the filters.
    places: Range<usize>,
    /// How many parts of the key run against the question's direction; rows that are equal in these do not.
    against: usize,
}

impl ListIndex {
    /// The rows that answer a question, if this index has them together and in order.
    pub(super) fn scan(&self, query: &ListQuery) -> Option<Scan<'_>> {
        let (eq, sort) = self.parts.split_at(self.eq);
        let mut prefix = Vec::new();
        for part in eq {
            part.push(&mut prefix, Some(equal_to(query, part)?.view()), self.nulls);
        }
        let against = direction(eq, sort, query)?;
        let is_eq = |filter: &Filter| eq.iter().any(|part| part.cell == filter.cell);
        let ranges: Vec<&Filter> = query.filters.iter().filter(|filter| !is_eq(filter)).collect();
        let mut places = self.before(&prefix)..self.after(&prefix);
        if !ranges.is_empty() {
            self.without_nulls(&mut places, &prefix, sort.first()?);
            for filter in ranges {
                self.narrow(&mut places, &prefix, sort.first()?, filter)?;
            }
        }
        places.end = places.end.max(places.start);
        Some(Scan { index: self, places, against })
    }

    /// How many keys are less than all that begin with `prefix`.
    fn before(&self, prefix: &[u8]) -> usize {
        self.keys.partition_point(|key| **key < *prefix)
    }

    /// How many keys are less, or begin with `prefix`.
    fn after(&self, prefix: &[u8]) -> usize {
        self.keys.partition_point(|key| **key < *prefix || key.starts_with(prefix))
    }

    /// As in SQL, no filter is passed by null.
    fn without_nulls(&self, places: &mut Range<usize>, prefix: &[u8], part: &Part) {
        let mut null = prefix.to_vec();
        part.push(&mut null, None, self.nulls);
        let (start, end) = (self.before(&null), self.after(&null));
        if start == places.start {
            places.start = end;
        } else {
            places.end = start;
        }
    }

    /// Takes a filter on the first cell of the order into account, if it is a range that the order knows.
    fn narrow(
        &self,
        places: &mut Range<usize>,
        prefix: &[u8],
        part: &Part,
        filter: &Filter,
    ) -> Option<()> {
        let (bound, less, equal) = match &filter.test {
            Test::Lt(bound) => (bound, true, false),
            Test::Le(bound) => (bound, true, true),
            Test::Gt(bound) => (bound, false, false),
            Test::Ge(bound) => (bound, false, true),
            Test::In(_) | Test::Contains(_) => return None,
        };
        // Filters compare text by its bytes, whatever the collation of the sort.
        let same_order = part.collation == Collation::Binary || !matches!(bound, Cell::String(_));
        if filter.cell != part.cell || !same_order {
            return None;
        }
        let mut key = prefix.to_vec();
        part.push(&mut key, Some(bound.view()), self.nulls);
        let up_to = less != part.descending;
        let place = if equal == up_to { self.after(&key) } else { self.before(&key) };
        if up_to {
            places.end = places.end.min(place);
        } else {
            places.start = places.start.max(place);
        }
        Some(())
    }
}

/// The value that the only filter on a cell wants it to equal.
fn equal_to<'q>(query: &'q ListQuery, part: &Part) -> Option<&'q Cell> {
    let mut filters = query.filters.iter().filter(|filter| filter.cell == part.cell);
    match (&filters.next()?.test, filters.next()) {
        (Test::In(values), None) => match values.as_slice() {
            [value] => Some(value),
            _ => None,
        },
        _ => None,
    }
}

/// Whether the index has the order that is asked for, and how many of its first parts run the other way.
fn direction(eq: &[Part], sort: &[Part], query: &ListQuery) -> Option<usize> {
    // A cell that is the same in all rows decides nothing.
    let bound = |cell: &CellId| eq.iter().any(|part| part.cell == *cell);
    let asked: Vec<_> = query.sort.iter().filter(|key| !bound(&key.cell)).collect();
    let same_cells = asked.len() == sort.len()
        && asked.iter().zip(sort).all(|(key, part)| key.cell == part.cell);
    if !same_cells {
        return None;
    }
    let mut turned = asked.iter().zip(sort).map(|(key, part)| key.descending != part.descending);
    let against = turned.by_ref().take_while(|turned| *turned).count();
    // `take_while` has swallowed the first part that is not turned.
    (!turned.any(|turned| turned)).then_some(against)
}

impl<'a> Scan<'a> {
    /// How many rows pass the filters.
    pub(super) fn total(&self) -> usize {
        self.places.len()
    }

    /// The rows at these places of the answer, in its order.
    pub(super) fn rows(&self, offset: usize, limit: Option<usize>) -> Vec<RowKey<'a>> {
        let total = self.total();
        let start = offset.min(total);
        let end = limit.map_or(total, |limit| start.saturating_add(limit).min(total));
        let first = self.places.start;
        if self.against == 0 {
            return self.keys_at(first + start..first + end).collect();
        }
        let mut rows = Vec::with_capacity(end - start);
        let mut at = start;
        while at < end {
            // Rows equal in the turned parts stand together; these groups come in reverse, the rows of each do not.
            let group = self.group_of(self.places.end - 1 - at);
            let before = self.places.end - group.end;
            let from = group.start + at.saturating_sub(before);
            let to = group.end.min(from + (end - at));
            rows.extend(self.keys_at(from..to));
            at += (to - from).max(1);
        }
        rows
    }

    fn group_of(&self, place: usize) -> Range<usize> {
        let Some(key) = self.index.keys.get(place) else { return place..place };
        let parts = &self.index.parts[..self.index.eq + self.against];
        let prefix = &key[..parts_len(parts, key).min(key.len())];
        let start = self.index.before(prefix).max(self.places.start);
        start..self.index.after(prefix).min(self.places.end)
    }

    fn keys_at(&self, places: Range<usize>) -> impl Iterator<Item = RowKey<'a>> + use<'a> {
        let index = self.index;
        index
            .keys
            .range(places)
            .map(|key| RowKey(key.get(parts_len(&index.parts, key)..).unwrap_or_default()))
    }
}

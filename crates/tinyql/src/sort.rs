//! Sorting as TinyBase does: `getSortedRowIds` and `getResultSortedRowIds`.

use std::cmp::Ordering;
use std::ops::Range;

use mergeable_store::Text;

use crate::RankedIndex;
use crate::js::{SortKey, is_less};

/// How sorted row ids are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Greatest first: exactly the reverse of the ascending order, rows with equal keys included.
    pub descending: bool,
    /// Rows to skip; negative: counted from the end, as JavaScript's `slice`.
    pub offset: i64,
    /// Rows to give; `None`: all. The end of the page, `offset + limit`, is counted from the end if it is negative.
    pub limit: Option<i64>,
}

impl Page {
    /// The places that it covers, of so many rows.
    pub(crate) fn places(&self, len: usize) -> Range<usize> {
        let place = |at: i64| {
            let from_end = usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX);
            if at < 0 { len.saturating_sub(from_end) } else { from_end.min(len) }
        };
        let end = self.limit.map_or(len, |limit| place(self.offset.saturating_add(limit)));
        let start = place(self.offset).min(end);
        start..end
    }
}

/// A row in a sorted index. Rows with equal keys stand in their table's order.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: SortKey,
    /// Unique in its table.
    pub(crate) order: u64,
    pub(crate) row: Text,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key).then(self.order.cmp(&other.order))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

/// Rows kept in the order of a key.
#[derive(Clone, Debug, Default)]
pub(crate) struct SortedRows {
    index: RankedIndex<Entry>,
    texts: usize,
}

impl SortedRows {
    pub(crate) fn from_entries(entries: Vec<Entry>) -> Self {
        let texts = entries.iter().filter(|entry| is_text(entry)).count();
        Self { index: RankedIndex::from_keys(entries), texts }
    }

    pub(crate) fn insert(&mut self, entry: Entry) {
        let text = is_text(&entry);
        if self.index.insert(entry) {
            self.texts += usize::from(text);
        }
    }

    pub(crate) fn remove(&mut self, entry: &Entry) {
        if self.index.remove(entry) {
            self.texts -= usize::from(is_text(entry));
        }
    }

    /// Costs what the page costs, unless numbers and text are mixed: those have no order that could be kept, and are
    /// sorted anew.
    pub(crate) fn page(&self, page: Page) -> Vec<Text> {
        let len = self.index.len();
        if self.texts != 0 && self.texts != len {
            let mut rows: Vec<_> = self.index.iter().collect();
            rows.sort_by_key(|entry| entry.order);
            let rows = rows.into_iter().map(|entry| (entry.key.clone(), entry.row.clone()));
            return sorted(rows.collect(), page);
        }
        let places = page.places(len);
        if page.descending {
            let mirrored = len - places.end..len - places.start;
            let mut ids: Vec<_> = self.ids(mirrored).collect();
            ids.reverse();
            ids
        } else {
            self.ids(places).collect()
        }
    }

    fn ids(&self, places: Range<usize>) -> impl Iterator<Item = Text> + '_ {
        self.index.range(places).map(|entry| entry.row.clone())
    }
}

fn is_text(entry: &Entry) -> bool {
    matches!(entry.key, SortKey::Text(_))
}

/// Sorts rows, given in their table's order, and gives a page of them.
pub(crate) fn sorted(mut rows: Vec<(SortKey, Text)>, page: Page) -> Vec<Text> {
    let texts = rows.iter().filter(|(key, _)| matches!(key, SortKey::Text(_))).count();
    if texts == 0 || texts == rows.len() {
        rows.sort_by(|(a, _), (b, _)| a.cmp(b));
        if page.descending {
            rows.reverse();
        }
    } else {
        crate::v8::sort(&mut rows, |(a, _), (b, _)| is_less(a, b) != page.descending);
    }
    let places = page.places(rows.len());
    rows.drain(places).map(|(_, row)| row).collect()
}

//! Lists answered by an index: a page of 100 rows costs what 100 rows cost, however many there are.

mod key;
mod scan;

use std::collections::HashMap;

use mergeable_store::{CellChange, MergeableStore, Text};
use serde_json::Value;
use tinyql::RankedIndex;

use self::key::Part;
use super::store::StoreRow;
use super::{CellId, CellRef, ListQuery, Nulls, Resource, SortKey};

/// An index over the rows of a resource, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexSpec {
    /// Cells that the question must want equal to one value each.
    pub eq: Vec<CellId>,
    /// The order of the rows; the tie-breaker follows. None of `eq` is in it.
    pub sort: Vec<SortKey>,
}

/// The indexes over one resource's rows in one store. They follow the store by [`ListIndexes::apply`].
#[derive(Debug, Clone)]
pub struct ListIndexes {
    table: String,
    indexes: Vec<ListIndex>,
}

/// The rows in the order of one index.
#[derive(Debug, Clone)]
struct ListIndex {
    /// First those that are wanted equal, then the order.
    parts: Vec<Part>,
    /// How many are wanted equal.
    eq: usize,
    nulls: Nulls,
    keys: RankedIndex<Box<[u8]>>,
}

impl ListIndexes {
    /// Indexes the rows of a store, if the resource wants that. Costs a pass over the rows and a sort.
    #[must_use]
    pub fn build(resource: &Resource, store: &MergeableStore) -> Option<Self> {
        if resource.query.indexes.is_empty() {
            return None;
        }
        let rows = store.row_ids(&resource.table);
        let indexes = resource.query.indexes.iter().map(|spec| {
            let mut index = ListIndex::new(spec, resource);
            let key = |row| index.key(row, |cell| store.get_cell(&resource.table, row, cell));
            index.keys = RankedIndex::from_keys(rows.iter().map(key).collect());
            index
        });
        Some(Self { table: resource.table.clone(), indexes: indexes.collect() })
    }

    /// Follows what changed in the store, which has happened there: all changes since the last call, oldest first.
    pub fn apply(&mut self, store: &MergeableStore, changed: &[CellChange]) {
        let mut rows: HashMap<&Text, Vec<&CellChange>> = HashMap::new();
        for change in changed.iter().filter(|change| change.table == *self.table) {
            rows.entry(&change.row).or_default().push(change);
        }
        for (row, changes) in rows {
            self.row_changed(store, row, &changes);
        }
    }

    fn row_changed(&mut self, store: &MergeableStore, row: &Text, changes: &[&CellChange]) {
        let first = |cell: &Text| changes.iter().find(|change| change.cell == *cell);
        let is_live = store.has_row(&self.table, row);
        let had_cell = |cell: &Text| first(cell).is_none_or(|change| change.old.is_some());
        let was_live = changes.iter().any(|change| had_cell(&change.cell))
            || (is_live && store.cell_ids(&self.table, row).iter().any(had_cell));
        let now = |cell: &str| store.get_cell(&self.table, row, cell);
        let before = |cell: &str| match changes.iter().find(|change| change.cell == *cell) {
            Some(change) => change.old.as_ref().map(super::Cell::view),
            None => now(cell),
        };
        for index in &mut self.indexes {
            let old = was_live.then(|| index.key(row, before));
            let new = is_live.then(|| index.key(row, now));
            if old == new {
                continue;
            }
            if let Some(old) = old {
                index.keys.remove(&old);
            }
            if let Some(new) = new {
                index.keys.insert(new);
            }
        }
    }

    /// Answers a list as [`Resource::answer_list`] does, if an index has the rows that are asked for together and in
    /// order. Costs the rows of the page.
    #[must_use]
    pub fn answer(
        &self,
        resource: &Resource,
        store: &MergeableStore,
        query: &ListQuery,
    ) -> Option<Value> {
        let scan = self.indexes.iter().find_map(|index| index.scan(query))?;
        let rows = scan
            .rows(query.offset, query.limit)
            .into_iter()
            .map(|row| resource.row_json(StoreRow::new(store, &resource.table, row), &row));
        let rows = rows.collect();
        Some(resource.envelope.wrap_list(rows, scan.total(), query.limit, query.offset))
    }

    /// The bytes that the indexes allocate, keys included.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let keys = |index: &ListIndex| index.keys.iter().map(|key| key.len()).sum::<usize>();
        self.indexes.iter().map(|index| index.keys.heap_bytes() + keys(index)).sum()
    }
}

impl ListIndex {
    fn new(spec: &IndexSpec, resource: &Resource) -> Self {
        let sort = &resource.query.sort;
        let part = |key: &SortKey| Part {
            cell: key.cell.clone(),
            descending: key.descending,
            collation: sort.collation_of(&key.cell),
        };
        let ascending = |cell: &CellId| SortKey { cell: cell.clone(), descending: false };
        // Filters compare by bytes.
        let eq = spec
            .eq
            .iter()
            .map(|cell| Part { collation: super::Collation::Binary, ..part(&ascending(cell)) });
        let mut parts: Vec<Part> = eq.chain(spec.sort.iter().map(part)).collect();
        if !parts.iter().any(|part| part.cell == sort.tie_breaker) {
            parts.push(part(&ascending(&sort.tie_breaker)));
        }
        Self { parts, eq: spec.eq.len(), nulls: sort.nulls, keys: RankedIndex::default() }
    }

    fn key<'a>(&self, row: &Text, cell: impl Fn(&str) -> Option<CellRef<'a>>) -> Box<[u8]> {
        let mut key = Vec::new();
        for part in &self.parts {
            part.push(&mut key, cell(&part.cell), self.nulls);
        }
        key.extend_from_slice(row.as_wtf8());
        key.into()
    }
}

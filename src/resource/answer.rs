//! The store's answer to a read, in the legacy API's own shape.

use std::cmp::Ordering;

use serde_json::Value;

use super::order::compare;
use super::{CellRef, ListQuery, Resource, RowView, Text};
use crate::migration::RowId;

impl Resource {
    /// Answers a list from the rows of a table: filter, sort, page, envelope.
    ///
    /// Each row comes with its row id; the order in which they come plays no part. Costs a pass over all rows,
    /// and a sort of the rows of the page.
    pub fn answer_list<'a, Id: Ord + OwnId, V: RowView<'a>>(
        &self,
        rows: impl IntoIterator<Item = (Id, V)>,
        query: &ListQuery,
    ) -> Value {
        let weigh = |(id, row): (Id, V)| {
            let first = query.sort.first().and_then(|key| row.cell(&key.cell));
            Candidate { id, row, first }
        };
        let mut found: Vec<_> =
            rows.into_iter().filter(|(_, row)| query.admits(row)).map(weigh).collect();
        let total = found.len();
        let page = page(&mut found, query);
        let rows = page.iter().map(|found| self.row_json(&found.row, &found.id)).collect();
        self.envelope.wrap_list(rows, total, query.limit, query.offset)
    }

    /// Answers a read of one row.
    pub fn answer_get<'a>(&self, row: impl RowView<'a>, id: &impl OwnId) -> Value {
        self.envelope.wrap_item(self.row_json(row, id))
    }

    /// A row as legacy spells it. One that legacy has not made yet shows the id that it has in the store.
    pub(super) fn row_json<'a>(&self, row: impl RowView<'a>, id: &impl OwnId) -> Value {
        if self.legacy_makes_ids() {
            self.schema.json_with_id(row, &self.id, || id.row_id())
        } else {
            self.schema.json_from_row(row)
        }
    }
}

/// What tells a row from others in an answer.
pub trait OwnId {
    /// The row's id, if that is Unicode text.
    fn row_id(&self) -> Option<RowId>;
}

impl OwnId for Text {
    fn row_id(&self) -> Option<RowId> {
        self.as_str().map(RowId::new)
    }
}

impl OwnId for Option<RowId> {
    fn row_id(&self) -> Option<RowId> {
        self.clone()
    }
}

impl OwnId for RowId {
    fn row_id(&self) -> Option<RowId> {
        Some(self.clone())
    }
}

#[cfg(test)]
impl OwnId for usize {
    fn row_id(&self) -> Option<RowId> {
        Some(RowId::new(self.to_string()))
    }
}

struct Candidate<'a, Id, V> {
    id: Id,
    row: V,
    /// The cell of the first sort key, which decides most comparisons.
    first: Option<CellRef<'a>>,
}

/// The rows of the page, sorted; the rest stays unsorted.
fn page<'s, 'a, Id: Ord, V: RowView<'a>>(
    found: &'s mut [Candidate<'a, Id, V>],
    query: &ListQuery,
) -> &'s [Candidate<'a, Id, V>] {
    let start = query.offset.min(found.len());
    let end = query.limit.map_or(found.len(), |limit| start.saturating_add(limit).min(found.len()));
    let order = |a: &Candidate<'a, Id, V>, b: &Candidate<'a, Id, V>| order(a, b, query);
    if start >= end {
        return &[];
    }
    if end < found.len() {
        found.select_nth_unstable_by(end, order);
    }
    let found = &mut found[..end];
    if start > 0 {
        found.select_nth_unstable_by(start, order);
    }
    let found = &mut found[start..];
    found.sort_unstable_by(order);
    found
}

fn order<'a, Id: Ord, V: RowView<'a>>(
    a: &Candidate<'a, Id, V>,
    b: &Candidate<'a, Id, V>,
    query: &ListQuery,
) -> Ordering {
    let keys = query.sort.iter().enumerate().map(|(place, key)| {
        let of = |one: &Candidate<'a, Id, V>| {
            if place == 0 { one.first } else { one.row.cell(&key.cell) }
        };
        let ordering = compare(of(a), of(b), query.collation(key), query.nulls);
        if key.descending { ordering.reverse() } else { ordering }
    });
    // The tie-breaker is unique in legacy; where it is not in the store, the row id keeps pages disjoint.
    keys.fold(Ordering::Equal, Ordering::then).then_with(|| a.id.cmp(&b.id))
}

//! The indexes that answer lists.

use crate::resource::{FilterSpec, IndexSpec, Op, SortSpec};

use super::super::key::Key;
use super::super::raw;
use super::Checker;
use super::rows::Cells;

/// Each costs memory for every row, and time at every edit of its cells.
const MAX_INDEXES: usize = 16;

impl Checker<'_> {
    pub(super) fn indexes(
        &mut self,
        key: &Key,
        raw: Vec<raw::Index>,
        surface: (&[FilterSpec], &SortSpec),
        cells: &Cells<'_>,
    ) -> Option<Vec<IndexSpec>> {
        if raw.len() > MAX_INDEXES {
            self.report(key, format!("has over {MAX_INDEXES} indexes"));
            return None;
        }
        let mut indexes: Vec<IndexSpec> = Vec::new();
        for (place, raw) in raw.into_iter().enumerate() {
            let key = key.index(place);
            let index = self.list_index(&key, raw, surface, cells)?;
            if indexes.contains(&index) {
                self.report(&key, "is there already");
                return None;
            }
            indexes.push(index);
        }
        Some(indexes)
    }

    fn list_index(
        &mut self,
        key: &Key,
        raw: raw::Index,
        (filters, sort): (&[FilterSpec], &SortSpec),
        cells: &Cells<'_>,
    ) -> Option<IndexSpec> {
        let eq_key = key.field("eq");
        let mut eq = Vec::new();
        for (place, name) in raw.eq.unwrap_or_default().iter().enumerate() {
            let key = eq_key.index(place);
            let cell = self.sortable(&key, name, cells)?;
            let mut asked = filters.iter().filter(|filter| filter.cell == cell);
            if !asked.any(|filter| matches!(filter.op, Op::Eq | Op::In)) {
                self.report(&key, format!("no filter asks cells.{name} with the op eq or in"));
                return None;
            }
            if eq.contains(&cell) {
                self.report(&key, format!("names cells.{name} twice"));
                return None;
            }
            eq.push(cell);
        }
        let sort_key = key.field("sort");
        let sort = match raw.sort {
            Some(text) => self.sort_keys(&sort_key, &text, cells)?,
            None => sort.default.iter().filter(|key| !eq.contains(&key.cell)).cloned().collect(),
        };
        if let Some(both) = sort.iter().find(|key| eq.contains(&key.cell)) {
            let both = both.cell.clone();
            self.report(
                &sort_key,
                format!("cells.{both} is in `eq` too, and so the same in all rows"),
            );
            return None;
        }
        Some(IndexSpec { eq, sort })
    }
}

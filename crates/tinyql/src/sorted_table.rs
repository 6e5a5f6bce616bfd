//! Rows of one of the store's tables, kept in order.

use std::collections::HashMap;

use indexmap::IndexSet;
use mergeable_store::{AsText, CellChange, CellName, CellRef, MergeableStore, TableRef, Text};

use crate::js::SortKey;
use crate::sort::{Entry, Page, SortedRows, sorted};

/// A table's rows in the order of a cell, or of their ids, as TinyBase's `getSortedRowIds`; kept up to date with
/// [`SortedTable::apply`], so that a page costs what the page costs.
///
/// Rows with equal keys stand as they came into the table. What a change list does not tell, and so is not followed: a row
/// deleted and made again with the same cells in one transaction, which in the store goes to the end.
#[derive(Clone, Debug)]
pub struct SortedTable {
    table: Text,
    cell: Option<Text>,
    rows: HashMap<Text, (SortKey, u64)>,
    sorted: SortedRows,
    next_order: u64,
}

impl SortedTable {
    /// The rows of a table by a cell; without one, by their ids. Costs a sort.
    #[must_use]
    pub fn new(store: &MergeableStore, table: impl AsText, cell: Option<&str>) -> Self {
        let mut sorted = Self {
            table: table.to_text(),
            cell: cell.map(Text::from),
            rows: HashMap::new(),
            sorted: SortedRows::default(),
            next_order: 0,
        };
        let rows = keyed(store, &sorted.table, cell).zip(0..);
        let entries: Vec<_> = rows.map(|((key, row), order)| Entry { key, order, row }).collect();
        sorted.next_order = entries.len() as u64;
        let known =
            entries.iter().map(|entry| (entry.row.clone(), (entry.key.clone(), entry.order)));
        sorted.rows = known.collect();
        sorted.sorted = SortedRows::from_entries(entries);
        sorted
    }

    /// Follows what one merge or transaction changed in the store, which has happened there.
    pub fn apply(&mut self, store: &MergeableStore, changed: &[CellChange]) {
        let ours = changed.iter().filter(|change| change.table == self.table);
        let rows: IndexSet<&Text> = ours.map(|change| &change.row).collect();
        for row in rows {
            self.row_changed(store, row);
        }
    }

    fn row_changed(&mut self, store: &MergeableStore, row: &Text) {
        let old = self.rows.get(row).cloned();
        if !store.has_row(&self.table, row) {
            if let Some((key, order)) = old {
                self.rows.remove(row);
                self.sorted.remove(&Entry { key, order, row: row.clone() });
            }
            return;
        }
        let key = self.key(store, row);
        let order = match old {
            Some((old, order)) => {
                if old == key {
                    return;
                }
                self.sorted.remove(&Entry { key: old, order, row: row.clone() });
                order
            }
            None => {
                self.next_order += 1;
                self.next_order - 1
            }
        };
        self.rows.insert(row.clone(), (key.clone(), order));
        self.sorted.insert(Entry { key, order, row: row.clone() });
    }

    fn key(&self, store: &MergeableStore, row: &Text) -> SortKey {
        key(self.cell.as_ref().map(|cell| store.get_cell(&self.table, row, cell)), row)
    }

    /// Row ids, in order.
    #[must_use]
    pub fn row_ids(&self, page: Page) -> Vec<Text> {
        self.sorted.page(page)
    }

    /// The same without an index: sorts all rows of a table.
    #[must_use]
    pub fn sort(
        store: &MergeableStore,
        table: impl AsText,
        cell: Option<&str>,
        page: Page,
    ) -> Vec<Text> {
        sorted(keyed(store, table, cell).collect(), page)
    }
}

/// A table's rows in its order, with their keys.
fn keyed(
    store: &MergeableStore,
    table: impl AsText,
    cell: Option<&str>,
) -> impl Iterator<Item = (SortKey, Text)> {
    let cell = cell.map(|cell| {
        let mut cell = CellName::new(cell);
        cell.look_up(store);
        cell
    });
    let rows = store.table(table).into_iter().flat_map(TableRef::rows);
    rows.map(move |(id, row)| {
        let id = id.to_text();
        (key(cell.as_ref().map(|cell| row.cell(cell)), &id), id)
    })
}

fn key(cell: Option<Option<CellRef<'_>>>, row: &Text) -> SortKey {
    match cell {
        None => SortKey::Text(row.clone()),
        Some(cell) => SortKey::of(cell),
    }
}

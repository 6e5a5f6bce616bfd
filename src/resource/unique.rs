//! Which rows of a store have which value in a unique cell.

use std::collections::HashMap;

use mergeable_store::{CellChange, MergeableStore, Text};

use super::{Cell, CellId, CellRef, Resource};

/// The unique cells of one resource's rows in one store. They follow the store by [`UniqueIndexes::apply`].
#[derive(Debug, Clone)]
pub struct UniqueIndexes {
    table: String,
    cells: Vec<(CellId, HashMap<String, Vec<Text>>)>,
}

impl UniqueIndexes {
    /// Indexes the rows of a store, if the resource has unique cells besides its id, and roles that may write: the store answers
    /// no writes of others. Costs a pass over the rows.
    #[must_use]
    pub fn build(resource: &Resource, store: &MergeableStore) -> Option<Self> {
        let unique = resource.schema.cells().iter().filter(|spec| resource.is_unique(spec));
        let cells: Vec<_> = unique.map(|spec| (spec.id.clone(), HashMap::new())).collect();
        if cells.is_empty() || resource.write.is_none() {
            return None;
        }
        let mut indexes = Self { table: resource.table.clone(), cells };
        for row in store.row_ids(&resource.table) {
            for (cell, rows) in &mut indexes.cells {
                let value = store.get_cell(&resource.table, &row, &**cell);
                if let Some(key) = value.and_then(key) {
                    rows.entry(key).or_default().push(row.clone());
                }
            }
        }
        Some(indexes)
    }

    /// Follows what changed in the store, oldest first.
    pub fn apply(&mut self, changed: &[CellChange]) {
        for change in changed.iter().filter(|change| change.table == *self.table) {
            let of_cell = self.cells.iter_mut().find(|(cell, _)| change.cell == **cell);
            let Some((_, rows)) = of_cell else { continue };
            if let Some(old) = change.old.as_ref().and_then(|old| key(old.view()))
                && let Some(there) = rows.get_mut(&old)
            {
                there.retain(|row| *row != change.row);
                if there.is_empty() {
                    rows.remove(&old);
                }
            }
            if let Some(new) = change.new.as_ref().and_then(|new| key(new.view())) {
                rows.entry(new).or_default().push(change.row.clone());
            }
        }
    }

    /// Whether another row than `row` has this value in this cell.
    #[must_use]
    pub fn is_taken(&self, cell: &str, value: &Cell, row: &str) -> bool {
        let of_cell = self.cells.iter().find(|(id, _)| **id == *cell);
        let rows = of_cell.and_then(|(_, rows)| rows.get(&key(value.view())?));
        rows.is_some_and(|rows| rows.iter().any(|there| *there != *row))
    }
}

/// A value as a key. As in SQL, null is not equal to null.
fn key(value: CellRef<'_>) -> Option<String> {
    (value != CellRef::Null).then(|| value.to_cell().encoded())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mergeable_store::ClientId;
    use proptest::prelude::*;

    use super::*;

    fn users() -> Resource {
        let text = include_str!("../../docs/crossfade.example.toml")
            .replace("#unique = true", "unique = true");
        let text = format!("{text}\n[resource.write.roles.admin]\ncells = [\"*\"]\n");
        let config =
            crate::config::Config::parse(&text, std::path::Path::new("."), "test").unwrap();
        (*config.resources[0]).clone()
    }

    #[test]
    fn without_unique_cells_or_roles_there_is_nothing_to_index() {
        let store = MergeableStore::new(ClientId::from_unique_id("s"));
        assert!(UniqueIndexes::build(&users(), &store).is_some());
        assert!(UniqueIndexes::build(&Resource { write: None, ..users() }, &store).is_none());
    }

    /// A row, and its email: none, null, or one of a few.
    fn edits() -> impl Strategy<Value = Vec<(u8, Option<Option<u8>>)>> {
        proptest::collection::vec(
            (0..5_u8, proptest::option::of(proptest::option::of(0..3_u8))),
            0..40,
        )
    }

    proptest! {
        #[test]
        fn it_says_what_a_pass_over_the_rows_says(edits in edits()) {
            let mut store = MergeableStore::new(ClientId::from_unique_id("s"));
            let users = users();
            let mut indexes = UniqueIndexes::build(&users, &store).unwrap();
            let mut rows: BTreeMap<String, Option<Cell>> = BTreeMap::new();
            for (now, (row, email)) in edits.into_iter().enumerate() {
                let row = format!("u{row}");
                let cell = email.map(|email| email.map_or(Cell::Null, |n| Cell::from(format!("e{n}").as_str())));
                let (_, merged) = store.edit(now as u64, |tx| match &cell {
                    Some(cell) => tx.set_cell("users", row.as_str(), "email", cell.clone()),
                    None => tx.del_row("users", row.as_str()),
                }).unwrap();
                rows.insert(row, cell);
                indexes.apply(&merged.cells);
                for n in 0..3 {
                    let email = Cell::from(format!("e{n}").as_str());
                    for row in ["u0", "u4", "other"] {
                        let taken = rows.iter().any(|(other, there)| other != row && there.as_ref() == Some(&email));
                        prop_assert_eq!(indexes.is_taken("email", &email, row), taken);
                    }
                }
                prop_assert!(!indexes.is_taken("email", &Cell::Null, "other"));
                let rebuilt = UniqueIndexes::build(&users, &store).unwrap();
                let sorted = |of: &UniqueIndexes| {
                    let mut all: Vec<_> = of.cells[0].1.iter().map(|(key, rows)| {
                        let mut rows: Vec<_> = rows.iter().map(|row| row.as_str().unwrap().to_owned()).collect();
                        rows.sort();
                        (key.clone(), rows)
                    }).collect();
                    all.sort();
                    all
                };
                prop_assert_eq!(sorted(&indexes), sorted(&rebuilt));
            }
        }
    }
}

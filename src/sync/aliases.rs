//! Rows that have another id in legacy than in the store, where legacy makes ids (design §5, "Ids never change").
//!
//! A row made by a client keeps its row id in the store; the store's id cell, and so every answer, has legacy's. The table of
//! aliases is in the database, and an alias is written in the transaction that ends the delivery. Here is what was looked
//! up lately, both ways; cells that refer to other rows are brought from one side's ids to the other's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mergeable_store::Cell;
use serde_json::Value;

use super::mapped::MappedTables;
use crate::migration::{ResourceName, RowId};
use crate::resource::{CellSpec, ListQuery, Resource, RowCells};
use crate::storage::{SharedStorage, StorageError};

/// Answers that are remembered, in each of two generations. At the bound the older one is forgotten: they are asked for anew.
const GENERATION: usize = 32_768;

/// From which side's id to which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Way {
    ToLegacy,
    ToStore,
}

type Key = (Way, ResourceName, RowId);

/// What the database said, lately.
#[derive(Debug, Default)]
struct Remembered {
    young: HashMap<Key, Option<RowId>>,
    old: HashMap<Key, Option<RowId>>,
}

impl Remembered {
    fn get(&self, key: &Key) -> Option<Option<RowId>> {
        self.young.get(key).or_else(|| self.old.get(key)).cloned()
    }

    fn put(&mut self, key: Key, id: Option<RowId>) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, id);
    }
}

/// The aliases of all resources.
#[derive(Debug, Clone)]
pub struct Aliases {
    storage: SharedStorage,
    tables: Arc<MappedTables>,
    remembered: Arc<Mutex<Remembered>>,
}

impl Aliases {
    pub(super) fn new(storage: SharedStorage, tables: Arc<MappedTables>) -> Self {
        Self { storage, tables, remembered: Arc::default() }
    }

    /// The id that legacy gave a row, if that is another one.
    ///
    /// # Errors
    /// [`StorageError`] if it cannot be looked up.
    pub async fn legacy_id(
        &self,
        resource: &Resource,
        row: &RowId,
    ) -> Result<Option<RowId>, StorageError> {
        self.other(Way::ToLegacy, resource, row).await
    }

    /// The row that an id of legacy's, or of the store's, means.
    ///
    /// # Errors
    /// [`StorageError`] if it cannot be looked up.
    pub async fn row_of(&self, resource: &Resource, id: &RowId) -> Result<RowId, StorageError> {
        let row = self.other(Way::ToStore, resource, id).await?;
        Ok(row.unwrap_or_else(|| id.clone()))
    }

    async fn other(
        &self,
        way: Way,
        resource: &Resource,
        id: &RowId,
    ) -> Result<Option<RowId>, StorageError> {
        if !resource.legacy_makes_ids() {
            return Ok(None);
        }
        let key = (way, resource.name.clone(), id.clone());
        if let Some(known) = self.lock().get(&key) {
            return Ok(known);
        }
        let (name, id) = (resource.name.clone(), id.clone());
        let found = match way {
            Way::ToLegacy => self.storage.legacy_id(name, id).await?,
            Way::ToStore => self.storage.row_of_legacy_id(name, id).await?,
        };
        let mut remembered = self.lock();
        // Learnt while the database was asked.
        if let Some(known) = remembered.get(&key) {
            return Ok(known);
        }
        remembered.put(key, found.clone());
        Ok(found)
    }

    /// The row to which legacy gave this id, as far as it was learnt or looked up lately.
    pub(super) fn known_row(&self, resource: &Resource, legacy_id: &RowId) -> Option<RowId> {
        if !resource.legacy_makes_ids() {
            return None;
        }
        self.lock().get(&(Way::ToStore, resource.name.clone(), legacy_id.clone()))?
    }

    /// Notes which id legacy gave a row, before that is kept: whatever comes under that id from now on is the row's.
    pub(super) fn learn(&self, resource: &ResourceName, row: &RowId, legacy_id: &RowId) {
        let mut remembered = self.lock();
        remembered.put((Way::ToLegacy, resource.clone(), row.clone()), Some(legacy_id.clone()));
        remembered.put((Way::ToStore, resource.clone(), legacy_id.clone()), Some(row.clone()));
    }

    /// Brings the cells of a row of legacy's that refer to other rows to the ids that these have in the store.
    ///
    /// # Errors
    /// [`StorageError`] if one cannot be looked up.
    pub(super) async fn to_store(
        &self,
        resource: &Resource,
        cells: &mut RowCells,
    ) -> Result<(), StorageError> {
        for (spec, of) in self.references(resource) {
            let Some(id) = cells.get(&spec.id).and_then(text_of) else { continue };
            if let Some(row) = self.other(Way::ToStore, of, &id).await? {
                cells.insert(spec.id.clone(), Cell::String(row.as_str().into()));
            }
        }
        Ok(())
    }

    /// Brings the fields of a row of the store's that refer to other rows to the ids that these have in legacy.
    ///
    /// # Errors
    /// [`StorageError`] if one cannot be looked up.
    pub async fn to_legacy(
        &self,
        resource: &Resource,
        row: &mut Value,
    ) -> Result<(), StorageError> {
        for (spec, of) in self.references(resource) {
            let Some(Value::String(id)) = row.get_mut(&*spec.id) else { continue };
            if let Some(theirs) = self.other(Way::ToLegacy, of, &RowId::new(id.as_str())).await? {
                *id = theirs.as_str().to_owned();
            }
        }
        Ok(())
    }

    /// Brings the values of a question about a list, whose filters ask for rows that refer to others, to the ids that these
    /// have in the store.
    ///
    /// # Errors
    /// [`StorageError`] if one cannot be looked up.
    pub async fn question_to_store(
        &self,
        resource: &Resource,
        query: &mut ListQuery,
    ) -> Result<(), StorageError> {
        for (spec, of) in self.references(resource) {
            for value in query.equal_values_mut(&spec.id) {
                let Some(id) = text_of(value) else { continue };
                if let Some(row) = self.other(Way::ToStore, of, &id).await? {
                    *value = Cell::String(row.as_str().into());
                }
            }
        }
        Ok(())
    }

    /// Whether a row of this resource may have another id of a row that it refers to than legacy has.
    #[must_use]
    pub fn refers(&self, resource: &Resource) -> bool {
        self.references(resource).next().is_some()
    }

    /// The cells that refer to rows whose ids legacy makes.
    fn references<'a>(
        &'a self,
        resource: &'a Resource,
    ) -> impl Iterator<Item = (&'a CellSpec, &'a Arc<Resource>)> {
        let of = |name| self.tables.named(name).filter(|of| of.legacy_makes_ids());
        resource.schema.references().filter_map(move |(spec, name)| Some((spec, of(name)?)))
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        // Every change is one step, so a poisoned lock hides nothing half done.
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text_of(cell: &Cell) -> Option<RowId> {
    match cell {
        Cell::String(text) => text.as_str().map(RowId::new),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::storage::{MemoryStorage, Op, Storage as _};
    use crate::sync::simulation::creates::Creates;

    fn aliases() -> (Aliases, MemoryStorage, Arc<Resource>) {
        let users = Creates::Key.resource();
        let storage = MemoryStorage::default();
        let tables = Arc::new(MappedTables::new(std::slice::from_ref(&users)));
        (Aliases::new(Arc::new(storage.clone()), tables), storage, users)
    }

    #[tokio::test]
    async fn what_was_not_there_is_known_once_it_is_learnt() {
        let (aliases, _storage, users) = aliases();
        let (row, theirs) = (RowId::new("r"), RowId::new("7"));
        assert_eq!(aliases.row_of(&users, &theirs).await.unwrap(), theirs);
        assert_eq!(aliases.known_row(&users, &theirs), None);
        aliases.learn(&users.name, &row, &theirs);
        assert_eq!(aliases.row_of(&users, &theirs).await.unwrap(), row);
        assert_eq!(aliases.known_row(&users, &theirs), Some(row.clone()));
        assert_eq!(aliases.legacy_id(&users, &row).await.unwrap(), Some(theirs));
        // Where legacy takes the caller's ids, nothing has two.
        let takes = Creates::ClientId.resource();
        assert_eq!(aliases.legacy_id(&takes, &row).await.unwrap(), None);
    }

    #[test]
    fn what_is_remembered_has_a_bound_and_what_is_new_is_kept() {
        let mut remembered = Remembered::default();
        let key = |n: usize| (Way::ToStore, ResourceName::new("users"), RowId::new(n.to_string()));
        for n in 0..3 * GENERATION {
            remembered.put(key(n), None);
            assert!(remembered.young.len() + remembered.old.len() <= 2 * GENERATION);
        }
        assert_eq!(remembered.get(&key(3 * GENERATION - 1)), Some(None));
        assert_eq!(remembered.get(&key(2 * GENERATION)), Some(None));
        assert_eq!(remembered.get(&key(0)), None);
    }

    proptest! {
        /// Whether an alias was learnt here, or by a process before, and in whatever order it is asked for.
        #[test]
        fn aliases_map_both_ways(
            kept in proptest::collection::btree_set(0_u16..40, 0..20),
            learnt in proptest::collection::btree_set(40_u16..60, 0..10),
            asked in proptest::collection::vec((any::<bool>(), 0_u16..80), 0..60),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (aliases, storage, users) = aliases();
                let (row, theirs) = (
                    |n: u16| RowId::new(format!("row-{n}")),
                    |n: u16| RowId::new(format!("{n}")),
                );
                let keep = |n: &u16| Op::Alias {
                    resource: users.name.clone(),
                    row: row(*n),
                    legacy_id: theirs(*n),
                };
                storage.commit(kept.iter().map(keep).collect()).await.unwrap();
                let (before, after) = asked.split_at(asked.len() / 2);
                for (part, known) in [(before, false), (after, true)] {
                    for (to_legacy, n) in part {
                        let has = kept.contains(n) || (known && learnt.contains(n));
                        if *to_legacy {
                            let found = aliases.legacy_id(&users, &row(*n)).await.unwrap();
                            assert_eq!(found, has.then(|| theirs(*n)));
                        } else {
                            let found = aliases.row_of(&users, &theirs(*n)).await.unwrap();
                            assert_eq!(found, if has { row(*n) } else { theirs(*n) });
                        }
                    }
                    learnt.iter().for_each(|n| aliases.learn(&users.name, &row(*n), &theirs(*n)));
                }
                // References there and back.
                for n in kept.iter().chain(&learnt) {
                    let mut json = serde_json::json!({ "managerId": row(*n).as_str() });
                    aliases.to_legacy(&users, &mut json).await.unwrap();
                    assert_eq!(json["managerId"], theirs(*n).as_str());
                    let cell = Cell::from_json(&json["managerId"]).unwrap();
                    let mut cells: RowCells = [("managerId", cell)].into_iter().collect();
                    aliases.to_store(&users, &mut cells).await.unwrap();
                    assert_eq!(cells.get("managerId").and_then(text_of), Some(row(*n)));
                }
            });
        }
    }
}

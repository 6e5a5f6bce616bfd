//! The indexes over a path's store, by which lists are answered.

use std::collections::HashMap;

use mergeable_store::{CellChange, MergeableStore};

use crate::migration::ResourceName;
use crate::resource::{Cell, ListIndexes, UniqueIndexes};
use crate::sync::mapped::MappedTables;

/// The indexes of all resources that have any. They follow the store change by change, before anybody reads it.
#[derive(Debug, Clone, Default)]
pub struct PathIndexes {
    by_resource: HashMap<ResourceName, ListIndexes>,
    unique: HashMap<ResourceName, UniqueIndexes>,
}

/// What a reader of a path sees.
#[derive(Debug, Clone, Copy)]
pub struct PathView<'a> {
    /// The store.
    pub store: &'a MergeableStore,
    /// Its indexes.
    pub indexes: &'a PathIndexes,
}

impl PathIndexes {
    /// Indexes a store that was just loaded.
    pub(super) fn build(tables: &MappedTables, store: &MergeableStore) -> Self {
        let indexes = tables.resources().filter_map(|resource| {
            Some((resource.name.clone(), ListIndexes::build(resource, store)?))
        });
        let unique = tables.resources().filter_map(|resource| {
            Some((resource.name.clone(), UniqueIndexes::build(resource, store)?))
        });
        Self { by_resource: indexes.collect(), unique: unique.collect() }
    }

    /// Follows what changed in the store, which has happened there.
    pub(super) fn apply(&mut self, store: &MergeableStore, changed: &[CellChange]) {
        for indexes in self.by_resource.values_mut() {
            indexes.apply(store, changed);
        }
        for unique in self.unique.values_mut() {
            unique.apply(changed);
        }
    }

    /// Whether another row of a resource has this value in a unique cell.
    pub(in crate::sync) fn is_taken(
        &self,
        resource: &ResourceName,
        cell: &str,
        value: &Cell,
        row: &str,
    ) -> bool {
        self.unique.get(resource).is_some_and(|unique| unique.is_taken(cell, value, row))
    }

    /// The indexes of a resource, if it has any.
    #[must_use]
    pub fn of(&self, resource: &ResourceName) -> Option<&ListIndexes> {
        self.by_resource.get(resource)
    }
}

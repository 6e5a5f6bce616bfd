//! A row's mapped cells in 64 bits. Two rows that differ have the same digest once in 2^64.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use mergeable_store::MergeableStore;

use crate::migration::RowId;
use crate::resource::{Resource, RowCells};
use crate::sync::path::row_cells;

/// The digest of a row. The hasher has no random key: digests of one process are compared with each other only.
pub(super) fn digest_of(resource: &Resource, cells: &RowCells) -> u64 {
    let mut hasher = DefaultHasher::new();
    for spec in resource.schema.cells() {
        // The text tells 1 from "1" and null from nothing.
        let text = cells.get(&spec.id).map(|cell| cell.to_json().to_string());
        text.hash(&mut hasher);
    }
    hasher.finish()
}

/// The digest of the store's copy, if it has the row.
pub(super) fn store_digest(
    resource: &Resource,
    row: &RowId,
    store: &MergeableStore,
) -> Option<u64> {
    let there = store.has_row(resource.table.as_str(), row.as_str());
    there.then(|| digest_of(resource, &row_cells(resource, row, store)))
}

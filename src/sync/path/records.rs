//! Between the store's stamps and what storage keeps.

use mergeable_store::{Cell, Container, Hlc, MergeableStore, Text};

use crate::storage::{CellRecord, ContainerRecord, StorageError, StoredPath, ValueRecord};

/// An id as JSON text: SQL text cannot hold the lone surrogates that a TinyBase id may have.
fn id_text(id: &Text) -> String {
    Cell::String(id.clone()).encoded()
}

fn id_of(text: &str) -> Result<Text, StorageError> {
    match Cell::from_encoded(text) {
        Ok(Cell::String(id)) => Ok(id),
        _ => Err(damaged("id", text)),
    }
}

fn damaged(what: &'static str, text: &str) -> StorageError {
    StorageError::Damaged { what, reason: format!("{} bytes that cannot be read", text.len()) }
}

/// A cell's newest stamp, to be kept.
pub(super) fn cell_record(ids: [&Text; 3], thing: Option<&Cell>, hlc: Hlc) -> CellRecord {
    let [table, row, cell] = ids.map(id_text);
    CellRecord { table, row, cell, value: thing.map(Cell::encoded), hlc: hlc.to_string() }
}

/// A value's newest stamp, to be kept.
pub(super) fn value_record(id: &Text, thing: Option<&Cell>, hlc: Hlc) -> ValueRecord {
    ValueRecord { id: id_text(id), value: thing.map(Cell::encoded), hlc: hlc.to_string() }
}

/// A container's HLC, to be kept.
pub(super) fn container_record(container: &Container, hlc: Hlc) -> ContainerRecord {
    let (kind, table, row) = match container {
        Container::Tables => ('t', String::new(), String::new()),
        Container::Table(table) => ('t', id_text(table), String::new()),
        Container::Row(table, row) => ('t', id_text(table), id_text(row)),
        Container::Values => ('v', String::new(), String::new()),
    };
    ContainerRecord { kind, table, row, hlc: hlc.to_string() }
}

/// Rebuilds a store from what was kept.
pub(super) fn load(store: &mut MergeableStore, stored: &StoredPath) -> Result<(), StorageError> {
    for r in &stored.cells {
        let thing = thing(r.value.as_deref())?;
        store.load_cell(id_of(&r.table)?, id_of(&r.row)?, id_of(&r.cell)?, thing, hlc(&r.hlc)?);
    }
    for r in &stored.values {
        store.load_value(id_of(&r.id)?, thing(r.value.as_deref())?, hlc(&r.hlc)?);
    }
    for r in &stored.containers {
        let container = match (r.kind, r.table.as_str(), r.row.as_str()) {
            ('v', ..) => Container::Values,
            (_, "", _) => Container::Tables,
            (_, table, "") => Container::Table(id_of(table)?),
            (_, table, row) => Container::Row(id_of(table)?, id_of(row)?),
        };
        store.load_container(&container, hlc(&r.hlc)?);
    }
    Ok(())
}

fn thing(value: Option<&str>) -> Result<Option<Cell>, StorageError> {
    value.map(|text| Cell::from_encoded(text).map_err(|_| damaged("cell", text))).transpose()
}

/// A kept stamp.
pub(super) fn hlc(text: &str) -> Result<Hlc, StorageError> {
    text.parse().map_err(|_| damaged("stamp", text))
}

//! Texts of the tables: ids, stamps and containers.

use mergeable_store::{Cell, Container, Hlc, Text};

use crate::storage::StorageError;

/// An id as JSON text: SQL text cannot hold the lone surrogates that a TinyBase id may have.
pub(super) fn encode(id: &Text) -> String {
    Cell::String(id.clone()).encoded()
}

pub(super) fn decode(text: &str) -> Result<Text, StorageError> {
    match Cell::from_encoded(text) {
        Ok(Cell::String(id)) => Ok(id),
        _ => Err(damaged("id", text)),
    }
}

/// A stored stamp: 16 characters or empty.
pub(super) fn hlc(text: &str) -> Result<Hlc, StorageError> {
    text.parse().map_err(|_| damaged("stamp", text))
}

/// A container as the columns `kind`, `table_id` and `row_id`.
pub(super) fn container_key(container: &Container) -> (&'static str, String, String) {
    match container {
        Container::Tables => ("t", String::new(), String::new()),
        Container::Table(table) => ("t", encode(table), String::new()),
        Container::Row(table, row) => ("t", encode(table), encode(row)),
        Container::Values => ("v", String::new(), String::new()),
    }
}

/// The container of these columns.
pub(super) fn container(kind: &str, table: &str, row: &str) -> Result<Container, StorageError> {
    Ok(match (kind, table, row) {
        ("v", ..) => Container::Values,
        (_, "", _) => Container::Tables,
        (_, table, "") => Container::Table(decode(table)?),
        (_, table, row) => Container::Row(decode(table)?, decode(row)?),
    })
}

fn damaged(what: &'static str, text: &str) -> StorageError {
    StorageError::Damaged { what, reason: format!("{} bytes that cannot be read", text.len()) }
}

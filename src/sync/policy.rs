//! What a client may write: judged cell by cell before anything is merged.

use std::sync::Arc;

use mergeable_store::{Cell, Close, Container, Edit, Hlc, Policy, Ruling, Target, Text};

use super::authority::Authority;
use super::mapped::MappedTables;
use super::path::{CloseReason, PathIndexes};
use super::permission::RowEdit;
use super::refusals::Allowance;
use super::vectors::Vectors;
use crate::migration::PathId;
use crate::resource::{CellSpec, Resource};
use crate::storage::Actor;

/// Longest id of a table, row, cell or value that a client may write, in bytes of UTF-8.
const MAX_ID_BYTES: usize = 1024;

/// Who is behind a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// For whom deliveries are made.
    pub actor: Actor,
    /// The permissions in the organisation, with Clerk's prefix (`org:<feature>:<permission>`).
    pub permissions: Vec<String>,
    /// Whether anything may be written at all, whatever the roles.
    pub may_write: bool,
}

impl Writer {
    /// A user without permissions of the organisation; what the role may write is the resource's matter.
    #[must_use]
    pub const fn new(actor: Actor) -> Self {
        Self { actor, permissions: Vec::new(), may_write: true }
    }

    /// Nobody, who may write nothing: for relayed paths, which ask for no writer.
    pub(super) fn nobody() -> Self {
        let actor = Actor { user: String::new(), org_id: None, org_role: None };
        Self { may_write: false, ..Self::new(actor) }
    }
}

/// The judge of one connection's edits to one path.
pub(super) struct Judge<'a> {
    pub(super) path: &'a PathId,
    pub(super) tables: &'a MappedTables,
    pub(super) writer: &'a Arc<Writer>,
    /// Where conflicts are noted.
    pub(super) vectors: &'a mut Vectors,
    /// Cells whose edit was refused, with the stamps that they had.
    pub(super) refused: Vec<RefusedCell>,
    /// How much more of the writer may be refused.
    pub(super) allowance: Allowance,
    /// Longest cell that is accepted, in bytes of its text.
    pub(super) max_cell_bytes: usize,
    /// Which values are taken.
    pub(super) indexes: &'a PathIndexes,
    /// Who decides whether a value may be there twice.
    pub(super) authority: &'a dyn Authority,
}

/// A cell whose edit was refused. It gets a newer stamp: whoever is owed by the one that it had must be
/// owed by the new one.
pub(super) struct RefusedCell {
    pub(super) table: Text,
    pub(super) row: Text,
    pub(super) cell: Text,
    pub(super) stamp: Hlc,
}

impl Policy for Judge<'_> {
    fn judge(&mut self, edit: &Edit<'_>) -> Ruling {
        if self.allowance.is_suspended() {
            return Ruling::Close(CloseReason::too_many_refused().into());
        }
        // Not refused: what is refused gets a stamp, under its id, for ever.
        if ids(&edit.target).into_iter().flatten().any(|id| id.as_wtf8().len() > MAX_ID_BYTES) {
            metrics::counter!("crossfade_sync_long_ids_total").increment(1);
            return Ruling::Close(CloseReason::id_too_long().into());
        }
        match self.reason_against(edit) {
            None => Ruling::Accept,
            Some(reason) => match self.refuse(edit, reason) {
                Ok(()) => Ruling::Refuse(reason.into()),
                Err(close) => Ruling::Close(close),
            },
        }
    }

    fn same_stamp(&mut self, edit: &Edit<'_>) -> Option<Close> {
        self.refuse(edit, "stamp-taken").err()
    }

    fn lost(&mut self, edit: &Edit<'_>, there: Hlc) {
        self.vectors.lost(&edit.target, there, edit.hlc, edit.writer, edit.now);
    }
}

impl Judge<'_> {
    /// Notes a refused edit, if one more may be refused.
    fn refuse(&mut self, edit: &Edit<'_>, reason: &'static str) -> Result<(), Close> {
        if !self.allowance.take() {
            return Err(CloseReason::too_many_refused().into());
        }
        if let Target::Cell { table, row, cell } = &edit.target
            && let Some((_, stamp)) = edit.store.stamp(table, row, cell)
        {
            let (table, row, cell) = (table.clone(), row.clone(), cell.clone());
            self.refused.push(RefusedCell { table, row, cell, stamp });
        }
        metrics::counter!("crossfade_sync_refused_cells_total", "reason" => reason).increment(1);
        Ok(())
    }

    /// Why an edit is not allowed.
    pub(super) fn reason_against(&self, edit: &Edit<'_>) -> Option<&'static str> {
        if !self.writer.may_write {
            return Some("role-may-not-write");
        }
        let Target::Cell { table, row, cell } = &edit.target else {
            return Some("values-not-mapped");
        };
        let Some(resource) = self.tables.resource(table) else { return Some("table-not-mapped") };
        let (Some(row), Some(cell)) = (row.as_str(), cell.as_str()) else {
            return Some("id-not-unicode");
        };
        if row.is_empty() {
            return Some("row-id-empty");
        }
        let Some(spec) = resource.schema.cell(cell) else { return Some("cell-not-mapped") };
        if let Some(permissions) = &resource.write {
            let fits =
                |spec: &CellSpec, new: &Cell| self.misfit(resource, spec, row, new).is_none();
            let asked = RowEdit { edit, resource, permissions, row, spec, fits: &fits };
            if let Some(denied) = asked.denied_to(self.writer) {
                return Some(denied.reason());
            }
        }
        // A tombstone may be part of deleting the row; a row that is left without a required cell is deleted whole (delete
        // wins). Of a row that stays, TinyBase's `setRow` clears what it is not given, among it what only legacy writes.
        match edit.new {
            None if spec.read_only && !is_deleted(resource, row, edit) => Some("cell-read-only"),
            None => None,
            Some(new) => self.misfit(resource, spec, row, new),
        }
    }

    /// Why a cell may not have a value, whoever writes it.
    fn misfit(
        &self,
        resource: &Resource,
        spec: &CellSpec,
        row: &str,
        new: &Cell,
    ) -> Option<&'static str> {
        if text(new).is_some_and(|text| text.as_wtf8().len() > self.max_cell_bytes) {
            return Some("cell-too-large");
        }
        if spec.read_only {
            return Some("cell-read-only");
        }
        if spec.check(new).is_err() {
            return Some("cell-type");
        }
        if *spec.id == *resource.id && !is_text(new, row) {
            return Some("id-differs-from-row-id");
        }
        if !resource.path.admits(self.path, &spec.id, new) {
            return Some("row-of-another-path");
        }
        if resource.is_unique(spec)
            && self.authority.store_decides(&resource.name)
            && self.indexes.is_taken(&resource.name, &spec.id, new, row)
        {
            return Some("unique-taken");
        }
        None
    }
}

/// Whether the row is deleted, by this message or before: a cell is that it cannot be without.
fn is_deleted(resource: &Resource, row: &str, edit: &Edit<'_>) -> bool {
    let table = resource.table.as_str();
    let mut telling = resource.schema.cells().iter().filter(|spec| resource.tells_deletion(spec));
    telling.any(|spec| {
        let brought = edit.changes.cell(table, row, &*spec.id);
        let there = edit.store.stamp(table, row, &*spec.id);
        brought.is_some_and(|stamp| stamp.thing.is_none())
            || there.is_some_and(|(thing, _)| thing.is_none())
    })
}

/// The ids that an edit names.
fn ids(target: &Target) -> [Option<&Text>; 3] {
    match target {
        Target::Cell { table, row, cell } => [Some(table), Some(row), Some(cell)],
        Target::Value { value } => [Some(value), None, None],
        Target::Container(Container::Table(table)) => [Some(table), None, None],
        Target::Container(Container::Row(table, row)) => [Some(table), Some(row), None],
        Target::Container(Container::Tables | Container::Values) => [None; 3],
    }
}

/// What is as long as its writer likes.
fn text(cell: &Cell) -> Option<&Text> {
    match cell {
        Cell::String(text) | Cell::Json(text) | Cell::RawJson(text) => Some(text),
        Cell::Number(_) | Cell::Bool(_) | Cell::Null => None,
    }
}

fn is_text(cell: &Cell, text: &str) -> bool {
    matches!(cell, Cell::String(value) if value.as_str() == Some(text))
}

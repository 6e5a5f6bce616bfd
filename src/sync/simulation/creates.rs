//! How legacy tells a create from its repetition, and whose ids it takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::history::Rows;
use crate::migration::ResourceName;
use crate::resource::{CellSpec, CellType, CreateMode, FilterSpec, Op, Resource, Schema};

/// What a run's legacy is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sync) enum Creates {
    /// It takes the caller's ids.
    ClientId,
    /// It makes ids, and honours `Idempotency-Key`.
    Key,
    /// It makes ids, and does not know a create again; the email tells.
    Probe,
}

impl Creates {
    pub(in crate::sync) fn makes_ids(self) -> bool {
        self != Self::ClientId
    }

    /// The example's resource, as such a legacy has it.
    pub(in crate::sync) fn resource(self) -> Arc<Resource> {
        let example = crate::sync::path::tests::world::resource();
        if !self.makes_ids() {
            return example;
        }
        let mut users = (*example).clone();
        users.create = if self == Self::Key { CreateMode::Key } else { CreateMode::Probe };
        let manager = CellSpec {
            id: "managerId".into(),
            kind: CellType::String,
            required: false,
            nullable: true,
            read_only: false,
            unique: false,
            unique_in_path: false,
            generated: None,
            default: None,
            allowed: Vec::new(),
            references: Some(ResourceName::new("users")),
        };
        let cells = users.schema.cells().iter().cloned().map(|cell| CellSpec {
            read_only: cell.read_only || *cell.id == *"id",
            unique: *cell.id == *"email",
            ..cell
        });
        users.schema = Schema::new(cells.chain([manager]).collect::<Vec<_>>());
        let (param, cell) = ("email".to_owned(), "email".into());
        users.query.filters.push(FilterSpec { param, cell, op: Op::Eq });
        Arc::new(users)
    }
}

/// What rows are called in the history, whichever id they go by: by the ids that legacy made.
pub(super) type Names = BTreeMap<String, String>;

/// The same rows under their names, and the cells that hold ids too. Two rows of one name are an error.
pub(super) fn named(rows: Rows, names: &Names) -> Result<Rows, String> {
    let name = |id: &str| names.get(id).cloned().unwrap_or_else(|| id.to_owned());
    let mut all = Rows::new();
    for (id, mut cells) in rows {
        for cell in ["id", "managerId"] {
            if let Some(Value::String(id)) = cells.get_mut(cell) {
                *id = name(id);
            }
        }
        if all.insert(name(&id), cells).is_some() {
            return Err(format!("{} is there twice, as {id} too", name(&id)));
        }
    }
    Ok(all)
}

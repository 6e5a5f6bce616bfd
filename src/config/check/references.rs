//! Cells that hold the ids of other resources' rows.

use std::sync::Arc;

use crate::resource::{CellSpec, CellType, Op, Resource};

use super::super::key::Key;
use super::Checker;

impl Checker<'_> {
    pub(super) fn references(&mut self, key: &Key, resources: &[Arc<Resource>]) {
        for (place, resource) in resources.iter().enumerate() {
            let cells = key.index(place).field("cells");
            for (spec, name) in resource.schema.references() {
                let key = cells.field(&spec.id).field("references");
                match resources.iter().find(|other| other.name == *name) {
                    Some(other) => self.reference(&key, resource, spec, other),
                    None => {
                        let names: Vec<_> = resources.iter().map(|one| one.name.as_str()).collect();
                        let names = names.join(", ");
                        self.report(
                            &key,
                            format!("there is no resource `{name}`; there are {names}"),
                        );
                    }
                }
            }
        }
    }

    fn reference(&mut self, key: &Key, resource: &Resource, spec: &CellSpec, other: &Resource) {
        let id = other.schema.cell(&other.id).map(|id| id.kind);
        if id != Some(spec.kind) {
            let kind = id.map_or("nothing", CellType::as_str);
            self.report(key, format!("the ids of `{}` are of type {kind}", other.name));
        }
        if spec.id == resource.id {
            self.report(key, "is the row's own id: take it out");
        }
        if !other.legacy_makes_ids() {
            return;
        }
        // The store has the row's id in it, and legacy its own.
        if spec.kind != CellType::String {
            self.report(
                key,
                format!(
                    "legacy makes the ids of `{}`: that needs type \"string\", here and there",
                    other.name
                ),
            );
        }
        if resource.path.uses(&spec.id) {
            self.report(key, "says where the row lives, which cannot change with an id");
        }
        let query = &resource.query;
        let sorts = query.sort.keys.contains(&spec.id)
            || query.sort.default.iter().any(|key| key.cell == spec.id)
            || query.sort.tie_breaker == spec.id
            || query.indexes.iter().any(|index| index.sort.iter().any(|key| key.cell == spec.id));
        if sorts {
            self.report(
                key,
                "cannot be sorted by: its order in the store is another than legacy's",
            );
        }
        let of_cell = query.filters.iter().filter(|filter| filter.cell == spec.id);
        if of_cell.into_iter().any(|filter| !matches!(filter.op, Op::Eq | Op::In)) {
            self.report(key, "can only be filtered by with the op eq or in");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Config, ConfigError};

    const EXAMPLE: &str = include_str!("../../../docs/crossfade.example.toml");

    /// The example with a cell that refers to users, whose ids legacy makes or takes.
    fn with_manager(cell: &str, makes_ids: bool, more: [&str; 2]) -> Result<Config, ConfigError> {
        let cell = format!("[resource.cells.managerId]\n{cell}\n\n[resource.cells.createdAt]");
        let mut text = EXAMPLE.replace("[resource.cells.createdAt]", &cell);
        if makes_ids {
            text = text.replace("create = \"client-id\"", "create = \"key\"").replace(
                "[resource.cells.id]\ntype = \"string\"",
                "[resource.cells.id]\ntype = \"string\"\nread_only = true",
            );
        }
        assert!(text.contains(more[0]));
        Config::parse(&text.replace(more[0], more[1]), Path::new("."), "crossfade.toml")
    }

    #[test]
    fn a_cell_may_refer_to_rows_of_any_resource() {
        let refers = "type = \"string\"\nreferences = \"users\"";
        for makes_ids in [false, true] {
            let config = with_manager(refers, makes_ids, ["[[", "[["]).unwrap();
            let users = &config.resources[0];
            assert_eq!(users.legacy_makes_ids(), makes_ids);
            let of: Vec<_> = users.schema.references().map(|(spec, of)| (&*spec.id, of)).collect();
            assert_eq!(of, [("managerId", &users.name)]);
        }
    }

    #[test]
    fn what_cannot_be_told_apart_by_row_ids_is_refused() {
        let refers = "type = \"string\"\nreferences = \"users\"";
        let cases = [
            (
                "type = \"string\"\nreferences = \"teams\"",
                false,
                ["[[", "[["],
                "no resource `teams`",
            ),
            ("type = \"number\"\nreferences = \"users\"", false, ["[[", "[["], "of type string"),
            (
                refers,
                true,
                ["keys = [\"name\"", "keys = [\"managerId\", \"name\""],
                "cannot be sorted by",
            ),
            (
                refers,
                true,
                ["param = \"q\", cell = \"name\"", "param = \"q\", cell = \"managerId\""],
                "only be filtered by",
            ),
        ];
        for (cell, makes_ids, more, told) in cases {
            let error = with_manager(cell, makes_ids, more).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
            assert!(error.contains("managerId.references"), "{error}");
        }
        // Where both sides have the same ids, it is a cell like any other.
        with_manager(refers, false, cases[2].2).unwrap();
    }
}

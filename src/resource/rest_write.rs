//! A REST write's body, read as what the store is to write in legacy's place.
//!
//! What only legacy can know (a field that is not mapped, one that it makes itself, a default that is not told) is left to
//! legacy; what breaks the schema is refused.

use serde_json::{Map, Value};

use super::{Cell, CellId, CellType, NewId, Resource, RowCells, RowProblem};
use crate::migration::{PathId, RowId};

/// The longest id of a new row, in bytes: as of a row that a sync client makes.
const MAX_ID_BYTES: usize = 1024;

/// The cells that a request writes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WrittenFields {
    /// Those that it sets.
    pub set: RowCells,
    /// Those that it takes away.
    pub removed: Vec<CellId>,
}

/// Why a body is not written into the store.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FieldsProblem {
    /// Only legacy can say what becomes of it. The word is one of a small fixed set.
    #[error("only legacy knows: {0}")]
    Unmapped(&'static str),
    /// It breaks the schema.
    #[error(transparent)]
    Invalid(#[from] RowProblem),
}

impl Resource {
    /// The cells that the fields of a request's body write.
    ///
    /// # Errors
    /// [`FieldsProblem`], of the first field that has one.
    pub fn written_fields(
        &self,
        body: &Map<String, Value>,
    ) -> Result<WrittenFields, FieldsProblem> {
        let mut fields = WrittenFields::default();
        for (name, value) in body {
            let spec = self.schema.cell(name).ok_or(FieldsProblem::Unmapped("unknown-field"))?;
            if spec.read_only {
                return Err(FieldsProblem::Unmapped("read-only-field"));
            }
            if value.is_null() && !spec.nullable && !spec.required {
                fields.removed.push(spec.id.clone());
            } else {
                fields.set.insert(spec.id.clone(), spec.read(value)?);
            }
        }
        Ok(fields)
    }

    /// The new row that a request makes in `path`: its own fields, and what it left to be filled in. What legacy makes is
    /// not in it yet.
    ///
    /// # Errors
    /// [`FieldsProblem`], where something is missing that cannot be filled in.
    pub fn new_row(
        &self,
        body: &Map<String, Value>,
        path: &PathId,
        new_id: NewId,
    ) -> Result<(RowId, RowCells), FieldsProblem> {
        let WrittenFields { set: mut row, .. } = self.written_fields(body)?;
        for spec in self.schema.cells().iter().filter(|spec| !spec.read_only) {
            if row.get(&spec.id).is_some() {
                continue;
            }
            let placed = || text_cell(self.path.value_in(path, &spec.id)?, spec.kind);
            let made = || spec.generated.as_ref()?.id(new_id);
            match placed().or_else(made).or_else(|| spec.default.clone()) {
                Some(cell) => drop(row.insert(spec.id.clone(), cell)),
                None if spec.id == self.id => return Err(FieldsProblem::Unmapped("no-id")),
                // Made with the row.
                None if spec.generated.is_some() => {}
                // Legacy may know a default, or says what is wrong.
                None if spec.required => return Err(FieldsProblem::Unmapped("missing-field")),
                None => {}
            }
        }
        let id = self.row_id(&row).ok_or(FieldsProblem::Unmapped("no-id"))?;
        if id.as_str().len() > MAX_ID_BYTES || self.routes.get.path.with_id(&id).is_none() {
            return Err(FieldsProblem::Unmapped("no-id"));
        }
        Ok((id, row))
    }
}

/// What a segment of a path is as a cell's value.
fn text_cell(text: &str, kind: CellType) -> Option<Cell> {
    match kind {
        CellType::String => Some(Cell::String(text.into())),
        CellType::Number => {
            text.parse::<i64>().ok().filter(|n| n.unsigned_abs() < 1 << 53).map(|number| {
                #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
                let number = number as f64;
                Cell::Number(number)
            })
        }
        CellType::Boolean | CellType::Json => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn users() -> Resource {
        let text = include_str!("../../docs/crossfade.example.toml")
            .replace("#generated", "generated")
            .replace("#default", "default");
        let config =
            crate::config::Config::parse(&text, std::path::Path::new("."), "test").unwrap();
        (*config.resources[0]).clone()
    }

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn made(body: Value) -> Result<(RowId, Value), FieldsProblem> {
        let users = users();
        let path = PathId::new("org/o_42").unwrap();
        let (id, row) = users.new_row(&object(body), &path, NewId::of_key([0; 16]))?;
        Ok((id, users.schema.json_from_row(&row)))
    }

    #[test]
    fn a_new_row_gets_what_its_request_left_out() {
        let (id, row) = made(json!({"email": "a@example.test", "name": "Ada"})).unwrap();
        assert_eq!(id.as_str(), "00000000-0000-8000-8000-000000000000");
        let expected = json!({
            "id": id, "orgId": "o_42", "name": "Ada", "email": "a@example.test", "role": "member", "age": null,
            "active": true,
        });
        assert_eq!(row, expected);
        let (id, _) = made(json!({"id": "u1", "email": "a@example.test", "name": "Ada"})).unwrap();
        assert_eq!(id.as_str(), "u1");
    }

    #[test]
    fn what_only_legacy_knows_is_left_to_it() {
        let unmapped = |body| match made(body) {
            Err(FieldsProblem::Unmapped(why)) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(unmapped(json!({"name": "Ada"})), "missing-field");
        assert_eq!(
            unmapped(json!({"name": "Ada", "email": "a", "nickname": "x"})),
            "unknown-field"
        );
        assert_eq!(unmapped(json!({"name": "Ada", "email": "a", "version": 7})), "read-only-field");
        for id in ["", ".", ".."] {
            assert_eq!(unmapped(json!({"id": id, "name": "Ada", "email": "a"})), "no-id");
        }
    }

    #[test]
    fn what_breaks_the_schema_is_refused() {
        let users = users();
        let refused = |body: Value| users.written_fields(&object(body)).unwrap_err();
        for body in [
            json!({"name": 1}),
            json!({"role": "boss"}),
            json!({"name": null}),
            json!({"age": "1"}),
        ] {
            assert!(matches!(refused(body.clone()), FieldsProblem::Invalid(_)), "{body}");
        }
        let fields = users.written_fields(&object(json!({"age": null, "name": "x"}))).unwrap();
        assert_eq!((fields.set.get("age"), fields.removed.len()), (Some(&Cell::Null), 0));
    }
}

//! A resource's cells: their types, and the way between a legacy JSON object and cells.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Cell, CellId, Generator, RowCells, RowView};
use crate::migration::{ResourceName, RowId};

/// The type of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "lowercase")]
pub enum CellType {
    /// A JSON string.
    String,
    /// A JSON number that a browser holds exactly.
    Number,
    /// `true` or `false`.
    Boolean,
    /// Any JSON value.
    Json,
}

impl CellType {
    /// The word used in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Json => "json",
        }
    }

    const fn admits(self, cell: &Cell) -> bool {
        match self {
            Self::String => matches!(cell, Cell::String(_)),
            Self::Number => matches!(cell, Cell::Number(_)),
            Self::Boolean => matches!(cell, Cell::Bool(_)),
            Self::Json => true,
        }
    }
}

impl std::fmt::Display for CellType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a cell may hold.
#[derive(Debug, Clone, PartialEq)]
pub struct CellSpec {
    /// The cell's id: the field's name in the legacy API's JSON.
    pub id: CellId,
    /// Its type.
    pub kind: CellType,
    /// A row is no row without it.
    pub required: bool,
    /// It may be null.
    pub nullable: bool,
    /// Legacy makes it; it is never sent there.
    pub read_only: bool,
    /// No two rows have the same value.
    pub unique: bool,
    /// Two rows of different paths may have the same all the same.
    pub unique_in_path: bool,
    /// What makes its value where the store answers writes, if something does.
    pub generated: Option<Generator>,
    /// What a new row gets where the store answers writes and its writer gives nothing.
    pub default: Option<Cell>,
    /// The only strings that it may hold; empty where any may be.
    pub allowed: Vec<String>,
    /// The resource whose rows' ids it holds.
    pub references: Option<ResourceName>,
}

/// A resource's cells, in the order of the configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Schema {
    cells: Vec<CellSpec>,
    places: BTreeMap<CellId, usize>,
}

/// Why a value does not fit its cell, or an object is no row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowProblem {
    /// Not an object at all.
    #[error("a row is a JSON object, not {found}")]
    NotAnObject {
        /// The JSON type that is there.
        found: &'static str,
    },
    /// A required field is not there.
    #[error("`{field}` is required and missing")]
    Missing {
        /// The field.
        field: CellId,
    },
    /// A field has another type than configured.
    #[error("`{field}` is configured as {expected} and holds {found}")]
    WrongType {
        /// The field.
        field: CellId,
        /// The type that the configuration gives.
        expected: CellType,
        /// The JSON type that is there.
        found: &'static str,
    },
    /// A field is null and may not be.
    #[error("`{field}` is null; if it may be, configure `nullable = true`")]
    Null {
        /// The field.
        field: CellId,
    },
    /// A string that is not among those allowed. The string itself is not told: it may be personal.
    #[error("`{field}` holds a string that its `enum` does not list")]
    NotAllowed {
        /// The field.
        field: CellId,
    },
    /// A number that changes on its way through a browser.
    #[error(
        "`{field}` holds a number that a 64-bit float cannot hold exactly; send it as a string"
    )]
    Inexact {
        /// The field.
        field: CellId,
    },
    /// The store has no cell for the value.
    #[error("`{field}` cannot be stored: {reason}")]
    Unstorable {
        /// The field.
        field: CellId,
        /// What the store says.
        reason: String,
    },
}

/// A legacy JSON object, read as a row.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadRow {
    /// The configured fields that it has.
    pub cells: RowCells,
    /// Fields that no cell is configured for. They are left out of the store.
    pub dropped: Vec<String>,
}

impl Schema {
    /// Takes the cells; of two with the same id the later one is dropped.
    #[must_use]
    pub fn new(cells: impl IntoIterator<Item = CellSpec>) -> Self {
        let mut schema = Self::default();
        for cell in cells {
            if !schema.places.contains_key(&cell.id) {
                schema.places.insert(cell.id.clone(), schema.cells.len());
                schema.cells.push(cell);
            }
        }
        schema
    }

    /// All cells, in the order of the configuration.
    #[must_use]
    pub fn cells(&self) -> &[CellSpec] {
        &self.cells
    }

    /// What the cell may hold, if it is configured.
    #[must_use]
    pub fn cell(&self, id: &str) -> Option<&CellSpec> {
        self.places.get(id).and_then(|&place| self.cells.get(place))
    }

    /// Reads a legacy JSON object as a row: a field that is missing gives no cell, a null one a null cell.
    ///
    /// # Errors
    /// The first [`RowProblem`], in the order of the configured cells.
    pub fn row_from_json(&self, value: &Value) -> Result<ReadRow, RowProblem> {
        let Value::Object(object) = value else {
            return Err(RowProblem::NotAnObject { found: json_type(value) });
        };
        let mut cells = RowCells::new();
        for spec in &self.cells {
            match object.get(&*spec.id) {
                Some(value) => {
                    cells.insert(spec.id.clone(), spec.read(value)?);
                }
                None if spec.required => {
                    return Err(RowProblem::Missing { field: spec.id.clone() });
                }
                None => {}
            }
        }
        let unknown = object.keys().filter(|field| !self.places.contains_key(field.as_str()));
        Ok(ReadRow { cells, dropped: unknown.cloned().collect() })
    }

    /// Copies the configured cells of a row, of a store's for example.
    pub fn copy_row<'a>(&self, row: impl RowView<'a>) -> RowCells {
        let cells = self.cells.iter();
        cells.filter_map(|spec| Some((spec.id.clone(), row.cell(&spec.id)?.to_cell()))).collect()
    }

    /// The row as the legacy API spells it, fields in the order of the configuration.
    ///
    /// A nullable cell that the row does not have is null, as a column without a value is; any other one is left out.
    pub fn json_from_row<'a>(&self, row: impl RowView<'a>) -> Value {
        let mut object = Map::new();
        for spec in &self.cells {
            match row.cell(&spec.id) {
                Some(cell) => {
                    object.insert(spec.id.to_string(), cell.to_json());
                }
                None if spec.nullable => {
                    object.insert(spec.id.to_string(), Value::Null);
                }
                None => {}
            }
        }
        Value::Object(object)
    }

    /// The cells that hold ids of other rows, each with the resource of these.
    pub fn references(&self) -> impl Iterator<Item = (&CellSpec, &ResourceName)> {
        self.cells.iter().filter_map(|spec| Some((spec, spec.references.as_ref()?)))
    }

    /// The row as [`Schema::json_from_row`] gives it; where it has no id of legacy's yet, with its own in that cell.
    pub(super) fn json_with_id<'a>(
        &self,
        row: impl RowView<'a>,
        id: &str,
        own: impl FnOnce() -> Option<RowId>,
    ) -> Value {
        let mut json = self.json_from_row(&row);
        if row.cell(id).is_none()
            && self.cell(id).is_some()
            && let (Value::Object(object), Some(own)) = (&mut json, own())
        {
            // In its place: fields come in the order of the configuration.
            let fields = std::mem::take(object);
            let mut rest = fields.into_iter().peekable();
            for spec in &self.cells {
                if *spec.id == *id {
                    object.insert(id.to_owned(), Value::String(own.as_str().to_owned()));
                } else if let Some((name, value)) = rest.next_if(|(name, _)| **name == *spec.id) {
                    object.insert(name, value);
                }
            }
        }
        json
    }

    /// The body that makes the row in legacy: every cell but the read-only ones.
    pub fn create_body<'a>(&self, row: impl RowView<'a>) -> Value {
        let sent = self.cells.iter().filter(|spec| !spec.read_only);
        let fields =
            sent.filter_map(|spec| Some((spec.id.to_string(), row.cell(&spec.id)?.to_json())));
        Value::Object(fields.collect())
    }
}

impl CellSpec {
    /// Checks that the cell may hold the value.
    ///
    /// # Errors
    /// What is wrong with it; never [`RowProblem::Missing`].
    pub fn check(&self, cell: &Cell) -> Result<(), RowProblem> {
        let field = || self.id.clone();
        match cell {
            Cell::Null if self.nullable => Ok(()),
            Cell::Null => Err(RowProblem::Null { field: field() }),
            other if !self.kind.admits(other) => Err(RowProblem::WrongType {
                field: field(),
                expected: self.kind,
                found: cell_type(other),
            }),
            Cell::String(text) if !self.allows(text.as_str()) => {
                Err(RowProblem::NotAllowed { field: field() })
            }
            _ => Ok(()),
        }
    }

    /// Whether the cell may hold the string, as far as its list of allowed strings goes.
    #[must_use]
    pub fn allows(&self, text: Option<&str>) -> bool {
        self.allowed.is_empty() || self.allowed.iter().any(|allowed| Some(allowed.as_str()) == text)
    }

    /// Reads a field's value as this cell.
    ///
    /// # Errors
    /// What is wrong with it; never [`RowProblem::Missing`].
    pub(crate) fn read(&self, value: &Value) -> Result<Cell, RowProblem> {
        if let Value::Number(number) = value
            && !is_exact(number)
        {
            return Err(RowProblem::Inexact { field: self.id.clone() });
        }
        let cell = Cell::from_json(value).map_err(|reason| RowProblem::Unstorable {
            field: self.id.clone(),
            reason: reason.to_string(),
        })?;
        self.check(&cell)?;
        Ok(cell)
    }
}

/// Whether an integer survives as a 64-bit float; fractions are what they are.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "that is the question"
)]
#[expect(clippy::cast_sign_loss, reason = "only for unsigned numbers")]
fn is_exact(number: &serde_json::Number) -> bool {
    match (number.as_u64(), number.as_i64()) {
        // `as` saturates: 2^64 - 1 would come back as itself, though the float is 2^64.
        (Some(n), _) => n < u64::MAX && (n as f64) as u64 == n,
        (None, Some(n)) => (n as f64) as i64 == n,
        (None, None) => true,
    }
}

const fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

const fn cell_type(cell: &Cell) -> &'static str {
    match cell {
        Cell::Null => "null",
        Cell::Bool(_) => "a boolean",
        Cell::Number(_) => "a number",
        Cell::String(_) => "a string",
        Cell::Json(_) | Cell::RawJson(_) => "an object or array",
    }
}

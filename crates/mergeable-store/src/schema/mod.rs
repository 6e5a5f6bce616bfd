//! Schemas: which tables, cells and values a store's own writes may set, of which type, and what they are when they are not
//! set; as TinyBase's `setTablesSchema` and `setValuesSchema`.
//!
//! A schema guards the store's own writes. What other stores wrote is merged as it is, because its stamps are part of the
//! hashes on which all have to agree.

mod read;

use std::sync::Arc;

use indexmap::IndexMap;

use crate::{Cell, JsonError, Text};

/// The type of a cell or value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellType {
    /// A string.
    String,
    /// A number.
    Number,
    /// A boolean.
    Boolean,
    /// A JSON object.
    Object,
    /// A JSON array.
    Array,
}

impl CellType {
    /// A cell's type; none for null, and for encoded text that is no JSON object or array.
    #[must_use]
    pub fn of(cell: &Cell) -> Option<Self> {
        match cell {
            Cell::String(_) => Some(Self::String),
            Cell::Number(_) => Some(Self::Number),
            Cell::Bool(_) => Some(Self::Boolean),
            Cell::Null => None,
            Cell::Json(text) | Cell::RawJson(text) => match text.as_wtf8().first() {
                Some(b'{') => Some(Self::Object),
                Some(b'[') => Some(Self::Array),
                _ => None,
            },
        }
    }
}

/// What a cell or value may be, other than null.
#[derive(Clone, Debug, PartialEq)]
pub enum Allowed {
    /// Anything of these types.
    Types(Vec<CellType>),
    /// One of these.
    Enum(Vec<Cell>),
}

impl Allowed {
    fn includes(&self, cell: &Cell) -> bool {
        match self {
            Self::Types(types) => CellType::of(cell).is_some_and(|type_| types.contains(&type_)),
            Self::Enum(cells) => cells.contains(cell),
        }
    }
}

/// What one cell or value may be.
#[derive(Clone, Debug, PartialEq)]
pub struct CellSchema {
    /// What is allowed.
    pub allowed: Allowed,
    /// What it is where nothing, or nothing allowed, is set; always allowed itself.
    pub default: Option<Cell>,
    /// Whether it may be null.
    pub allow_null: bool,
    /// Whether a row, or the values, cannot be set without it. Has no effect beside a default.
    pub required: bool,
}

impl CellSchema {
    /// Whether a cell fits.
    #[must_use]
    pub fn allows(&self, cell: &Cell) -> bool {
        match cell {
            Cell::Null => self.allow_null,
            cell => self.allowed.includes(cell),
        }
    }

    /// The cell if it fits, otherwise the default if there is one.
    fn fit(&self, cell: Cell) -> Fit {
        if self.allows(&cell) {
            return Fit { valid: Some(cell), refused: None };
        }
        Fit { valid: self.default.clone(), refused: Some(cell) }
    }
}

/// What became of a cell under a schema.
pub(crate) struct Fit {
    /// What to set: the cell itself or a default.
    pub(crate) valid: Option<Cell>,
    /// The cell, if it did not fit.
    pub(crate) refused: Option<Cell>,
}

/// What the cells of a row, or the values, may be.
pub(crate) type Schemas = IndexMap<Text, CellSchema>;

/// What a text is not, if it is no schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Not JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Nothing in it is a valid part of a schema.
    #[error(
        "no schema: expected an object with at least one valid part, such as {{\"open\": {{\"type\": \"boolean\"}}}}"
    )]
    Empty,
}

/// What the tables may hold: table id to cell id to what the cell may be. Cloning shares it.
#[derive(Clone, Debug, PartialEq)]
pub struct TablesSchema(Arc<IndexMap<Text, Schemas>>);

/// What the values may be: value id to what it may be. Cloning shares it.
#[derive(Clone, Debug, PartialEq)]
pub struct ValuesSchema(Arc<Schemas>);

impl TablesSchema {
    /// What a cell may be; `None` for cells and tables that the schema does not know, which cannot be set.
    #[must_use]
    pub fn cell(&self, table: &str, cell: &str) -> Option<&CellSchema> {
        self.0.get(table.as_bytes())?.get(cell.as_bytes())
    }

    pub(crate) fn cells(&self, table: &[u8]) -> Option<&Schemas> {
        self.0.get(table)
    }
}

impl ValuesSchema {
    /// What a value may be; `None` for values that the schema does not know, which cannot be set.
    #[must_use]
    pub fn value(&self, value: &str) -> Option<&CellSchema> {
        self.0.get(value.as_bytes())
    }

    pub(crate) fn values(&self) -> &Schemas {
        &self.0
    }
}

/// The schemas of a store.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Schema {
    pub(crate) tables: Option<TablesSchema>,
    pub(crate) values: Option<ValuesSchema>,
}

/// Whether something may be set under what the schema says of its kind.
pub(crate) fn fit(schemas: Option<&Schemas>, id: &[u8], cell: Cell) -> Fit {
    match schemas.and_then(|schemas| schemas.get(id)) {
        Some(schema) => schema.fit(cell),
        None => Fit { valid: None, refused: Some(cell) },
    }
}

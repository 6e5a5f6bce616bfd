//! Schemas out of JSON, as strict as TinyBase: what is invalid is left out, and nothing left is no schema.

use std::sync::Arc;

use super::{Allowed, CellSchema, CellType, SchemaError, Schemas, TablesSchema, ValuesSchema};
use crate::json::Json;
use crate::{Cell, Text};

impl TablesSchema {
    /// Reads `{table: {cell: {type, enum, default, allowNull, required}}}`. Parts that TinyBase would not take are left out:
    /// a cell of unknown type, a default that does not fit, a table without any valid cell.
    ///
    /// # Errors
    /// Text that is not JSON, and a schema of which nothing is left.
    pub fn from_json(text: &str) -> Result<Self, SchemaError> {
        let tables = entries(&Json::parse(text)?, read_schemas);
        if tables.is_empty() { Err(SchemaError::Empty) } else { Ok(Self(Arc::new(tables))) }
    }
}

impl ValuesSchema {
    /// Reads `{value: {type, enum, default, allowNull, required}}`, as [`TablesSchema::from_json`] reads a table's cells.
    ///
    /// # Errors
    /// Text that is not JSON, and a schema of which nothing is left.
    pub fn from_json(text: &str) -> Result<Self, SchemaError> {
        let values = read_schemas(&Json::parse(text)?).ok_or(SchemaError::Empty)?;
        Ok(Self(Arc::new(values)))
    }
}

fn read_schemas(value: &Json) -> Option<Schemas> {
    let schemas = entries(value, read_schema);
    (!schemas.is_empty()).then_some(schemas)
}

/// The valid entries of an object.
fn entries<V>(value: &Json, read: fn(&Json) -> Option<V>) -> indexmap::IndexMap<Text, V> {
    let Json::Object(entries) = value else {
        return indexmap::IndexMap::new();
    };
    entries.iter().filter_map(|(id, value)| Some((id.clone(), read(value)?))).collect()
}

fn read_schema(value: &Json) -> Option<CellSchema> {
    let Json::Object(parts) = value else {
        return None;
    };
    let part = |name: &str| parts.get(name.as_bytes());
    let allowed = match (part("type"), part("enum")) {
        (Some(types), None) => Allowed::Types(read_types(types)?),
        (None, Some(cells)) => Allowed::Enum(read_enum(cells)?),
        _ => return None,
    };
    let allow_null = part("allowNull").is_some_and(is_truthy);
    let required = part("required") == Some(&Json::Bool(true));
    let default = match part("default") {
        Some(Json::Null) if !allow_null => return None,
        Some(Json::Null) => Some(Cell::Null),
        Some(default) => read_cell(default).filter(|default| allowed.includes(default)),
        None => None,
    };
    Some(CellSchema { allowed, default, allow_null, required })
}

fn read_types(value: &Json) -> Option<Vec<CellType>> {
    match value {
        Json::Array(types) if !types.is_empty() => types.iter().map(read_type).collect(),
        one => Some(vec![read_type(one)?]),
    }
}

fn read_type(value: &Json) -> Option<CellType> {
    let Json::String(name) = value else {
        return None;
    };
    Some(match name.as_str()? {
        "string" => CellType::String,
        "number" => CellType::Number,
        "boolean" => CellType::Boolean,
        "object" => CellType::Object,
        "array" => CellType::Array,
        _ => return None,
    })
}

fn read_enum(value: &Json) -> Option<Vec<Cell>> {
    let Json::Array(cells) = value else {
        return None;
    };
    let simple =
        |cell: &Json| read_cell(cell).filter(|cell| !matches!(cell, Cell::Null | Cell::Json(_)));
    let cells: Vec<Cell> = cells.iter().map(simple).collect::<Option<_>>()?;
    (!cells.is_empty()).then_some(cells)
}

/// A cell that a store's own write could set.
fn read_cell(value: &Json) -> Option<Cell> {
    let cell = match value {
        Json::Null => Cell::Null,
        Json::Bool(bool) => Cell::Bool(*bool),
        Json::Number(number) => Cell::Number(*number),
        Json::String(text) => Cell::String(text.clone()),
        Json::Array(_) | Json::Object(_) => Cell::Json(value.stringify().into()),
    };
    cell.check().is_ok().then_some(cell)
}

/// JavaScript's idea of true.
fn is_truthy(value: &Json) -> bool {
    match value {
        Json::Null => false,
        Json::Bool(bool) => *bool,
        Json::Number(number) => *number != 0.0,
        Json::String(text) => !text.is_empty(),
        Json::Array(_) | Json::Object(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As seen in TinyBase 10.0.1: what `getTablesSchemaJson` shows after `setTablesSchema`.
    #[test]
    fn what_tinybase_leaves_out_is_left_out() {
        let none = Err(SchemaError::Empty);
        for text in ["{}", "[]", "1", "{\"a\":{}}", "{\"a\":{\"b\":{\"type\":\"foo\"}}}"] {
            assert_eq!(TablesSchema::from_json(text), none, "{text}");
        }
        let schema = TablesSchema::from_json(
            "{\"a\":{\"b\":{\"type\":\"number\",\"default\":null},
                     \"c\":{\"type\":\"number\",\"default\":null,\"allowNull\":true},
                     \"d\":{\"type\":\"number\",\"x\":1,\"default\":\"x\"},
                     \"e\":{\"enum\":[1,\"x\"],\"default\":\"x\",\"required\":true},
                     \"f\":{\"enum\":[1,null]},
                     \"g\":{\"type\":\"string\",\"enum\":[1]},
                     \"h\":{\"type\":[\"object\",\"array\"],\"default\":[1]}}}",
        )
        .unwrap();
        let ids: Vec<_> = schema.cells(b"a").unwrap().keys().map(ToString::to_string).collect();
        assert_eq!(ids, ["c", "d", "e", "h"]);
        let default = |cell: &str| schema.cell("a", cell).unwrap().default.clone();
        assert_eq!(default("c"), Some(Cell::Null));
        assert_eq!(default("d"), None);
        assert_eq!(default("e"), Some("x".into()));
        assert_eq!(default("h"), Some(Cell::Json("[1]".into())));
    }

    #[test]
    fn a_cell_fits_its_type_or_its_list() {
        let schema = ValuesSchema::from_json(
            "{\"n\":{\"type\":\"number\"},\"e\":{\"enum\":[1,\"x\"],\"allowNull\":true},
              \"j\":{\"type\":[\"array\",\"boolean\"]}}",
        )
        .unwrap();
        let allows = |value: &str, cell: Cell| schema.value(value).unwrap().allows(&cell);
        assert!(allows("n", 1.5.into()) && !allows("n", "1".into()) && !allows("n", Cell::Null));
        assert!(allows("e", 1.into()) && allows("e", Cell::Null) && !allows("e", 2.into()));
        assert!(allows("j", Cell::Json("[]".into())) && !allows("j", Cell::Json("{}".into())));
        assert!(allows("j", true.into()) && schema.value("other").is_none());
    }
}

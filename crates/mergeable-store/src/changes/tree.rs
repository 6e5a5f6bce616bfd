//! Changes out of a JSON value: the reader that says what is wrong, and that knows every form.

use indexmap::IndexMap;

use super::{Changes, ChangesError, RowChanges, Stamp, StampForm, TableChanges};
use crate::json::Json;
use crate::map::Map;
use crate::{Cell, Hlc, Text};

impl Changes {
    pub(crate) fn read(value: &Json, form: StampForm) -> Result<Self, ChangesError> {
        let (tables, values) = match value {
            Json::Array(parts) => match parts.as_slice() {
                [tables, values] => (tables, values),
                [tables, values, Json::Number(1.0)] => (tables, values),
                _ => {
                    return Err(ChangesError::Shape("[tables, values] or [tables, values, 1]"));
                }
            },
            _ => return Err(ChangesError::Shape("an array of tables and values")),
        };
        let mut changes = Self::read_tables(tables, form)?;
        let values = Self::read_values(values, form)?;
        changes.values = values.values;
        changes.values_hlc = values.values_hlc;
        Ok(changes)
    }

    /// Reads a tables stamp.
    pub(crate) fn read_tables(value: &Json, form: StampForm) -> Result<Self, ChangesError> {
        let mut changes = Self::default();
        let (tables, hlc) = read_container(value, form)?;
        changes.tables_hlc = hlc;
        for (table, value) in tables {
            let (rows, hlc) = read_container(value, form)?;
            let mut table_changes = TableChanges { rows: Map::with_capacity(rows.len()), hlc };
            for (row, value) in rows {
                let (cells, hlc) = read_container(value, form)?;
                let cells = read_things(cells, form)?;
                table_changes.rows.insert(row, RowChanges { cells, hlc });
            }
            changes.tables.insert(table, table_changes);
        }
        Ok(changes)
    }

    /// Reads a values stamp.
    pub(crate) fn read_values(value: &Json, form: StampForm) -> Result<Self, ChangesError> {
        let (values, values_hlc) = read_container(value, form)?;
        Ok(Self { values: read_things(values, form)?, values_hlc, ..Self::default() })
    }
}

/// A stamp's thing and HLC.
pub(crate) fn read_stamp(value: &Json, form: StampForm) -> Result<(&Json, Hlc), ChangesError> {
    let Json::Array(parts) = value else {
        return Err(ChangesError::Shape("a stamp, which is an array"));
    };
    let (thing, hlc) = match parts.as_slice() {
        [thing] => (thing, Hlc::EMPTY),
        [thing, hlc] => (thing, read_hlc(hlc)?),
        [thing, hlc, Json::Number(hash)] if form == StampForm::Loose && hash.is_finite() => {
            (thing, read_hlc(hlc)?)
        }
        _ => return Err(ChangesError::Shape("a stamp of a thing and an HLC")),
    };
    Ok((thing, hlc))
}

pub(crate) fn read_hlc(value: &Json) -> Result<Hlc, ChangesError> {
    match value {
        Json::String(text) => Ok(Hlc::from_text(text)?),
        _ => Err(ChangesError::Shape("an HLC, which is a string")),
    }
}

fn read_container(
    value: &Json,
    form: StampForm,
) -> Result<(&IndexMap<Text, Json>, Hlc), ChangesError> {
    match read_stamp(value, form)? {
        (Json::Object(entries), hlc) => Ok((entries, hlc)),
        _ => Err(ChangesError::Shape("an object of stamps")),
    }
}

fn read_things(
    entries: &IndexMap<Text, Json>,
    form: StampForm,
) -> Result<Map<Stamp>, ChangesError> {
    entries
        .iter()
        .map(|(id, value)| {
            let (thing, hlc) = read_stamp(value, form)?;
            Ok((id.clone(), Stamp { thing: Cell::from_wire(thing)?, hlc }))
        })
        .collect()
}

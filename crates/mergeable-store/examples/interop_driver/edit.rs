//! Carrying out edits, written as `[Store method, args...]`.

use mergeable_store::{Cell, ClientId, EditError, Json, MergeableStore, Text, Transaction};

use super::command::{DriverError, Fields};

/// Why a transaction was taken back.
pub(crate) enum Stop {
    /// The schedule wants it.
    Wanted,
    /// TinyBase's `tinybase:13`.
    Overtaken,
    /// The schedule cannot be read.
    Driver(DriverError),
}

impl From<DriverError> for Stop {
    fn from(error: DriverError) -> Self {
        Self::Driver(error)
    }
}

/// The store of a unique id; a lone surrogate in it counts as U+FFFD, as in JavaScript's own UTF-8 encoder.
pub(crate) fn new_store(unique_id: &Text) -> MergeableStore {
    MergeableStore::new(ClientId::from_unique_id(&unique_id.to_string_lossy()))
}

/// Carries out `ops` in one transaction, then takes it back if that is wanted.
pub(crate) fn carry_out(
    tx: &mut Transaction<'_>,
    ops: &[Json],
    roll_back: bool,
) -> Result<(), Stop> {
    for op in ops {
        one(tx, op)?;
    }
    if roll_back { Err(Stop::Wanted) } else { Ok(()) }
}

fn one(tx: &mut Transaction<'_>, op: &Json) -> Result<(), Stop> {
    match call(tx, op.items("op")?)? {
        Err(EditError::Overtaken) => Err(Stop::Overtaken),
        // TinyBase ignores a call with content that it does not take, and the transaction goes on.
        Ok(()) | Err(_) => Ok(()),
    }
}

fn call(tx: &mut Transaction<'_>, op: &[Json]) -> Result<Result<(), EditError>, DriverError> {
    let [method, args @ ..] = op else {
        return Err(DriverError::Field("method"));
    };
    let id = |at: usize| args.get(at).ok_or(DriverError::Field("id"))?.text("id");
    let arg = |at: usize| args.get(at).ok_or(DriverError::Field("argument"));
    let method = method.text("method")?.to_string_lossy();
    Ok(match &*method {
        "setCell" => tx.set_cell(id(0)?, id(1)?, id(2)?, cell(arg(3)?)),
        "setRow" => tx.set_row(id(0)?, id(1)?, cells(arg(2)?)?),
        "setPartialRow" => tx.set_partial_row(id(0)?, id(1)?, cells(arg(2)?)?),
        "setTable" => {
            let rows = arg(1)?.entries("table")?.into_iter();
            let rows = rows.map(|(row, value)| Ok((row, cells(value)?)));
            let mut rows = rows.collect::<Result<Vec<_>, DriverError>>()?;
            // TinyBase leaves out rows without cells.
            rows.retain(|(_, cells)| !cells.is_empty());
            tx.set_table(id(0)?, rows)
        }
        "delCell" => tx.del_cell(id(0)?, id(1)?, id(2)?),
        "delRow" => tx.del_row(id(0)?, id(1)?),
        "delTable" => tx.del_table(id(0)?),
        "delTables" => tx.del_tables(),
        "setValue" => tx.set_value(id(0)?, cell(arg(1)?)),
        "setValues" => tx.set_values(cells(arg(0)?)?),
        "setPartialValues" => tx.set_partial_values(cells(arg(0)?)?),
        "delValue" => tx.del_value(id(0)?),
        "delValues" => tx.del_values(),
        _ => return Err(DriverError::Unknown(method.into_owned())),
    })
}

/// The cell that a JavaScript value becomes when it is set through the Store API.
fn cell(value: &Json) -> Cell {
    match value {
        Json::Null => Cell::Null,
        Json::Bool(bool) => Cell::Bool(*bool),
        Json::Number(number) => Cell::Number(*number),
        Json::String(text) => Cell::String(text.clone()),
        Json::Array(_) | Json::Object(_) => Cell::Json(value.stringify().into()),
    }
}

fn cells(row: &Json) -> Result<Vec<(&Text, Cell)>, DriverError> {
    Ok(row.entries("cells")?.into_iter().map(|(id, value)| (id, cell(value))).collect())
}

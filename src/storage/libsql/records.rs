//! Records of cells, values and containers, written many at once.

use libsql::Value;

use super::database::Work;
use super::text;
use crate::storage::{CellRecord, ContainerRecord, StorageError, ValueRecord};

/// Records that a transaction has gathered, each with the number of its path's generation.
#[derive(Default)]
pub(super) struct Records<'a> {
    pub(super) cells: Vec<(i64, &'a CellRecord)>,
    pub(super) values: Vec<(i64, &'a ValueRecord)>,
    pub(super) containers: Vec<(i64, &'a ContainerRecord)>,
}

macro_rules! put_cells {
    ($rows:expr) => {
        concat!(
            "INSERT INTO crossfade_cells (path_id, table_id, row_id, cell_id, value, hlc) VALUES ",
            $rows,
            " ON CONFLICT (path_id, table_id, row_id, cell_id)
              DO UPDATE SET value = excluded.value, hlc = excluded.hlc"
        )
    };
}

macro_rules! eight {
    ($row:literal) => {
        concat!($row, ",", $row, ",", $row, ",", $row, ",", $row, ",", $row, ",", $row, ",", $row)
    };
}

/// How many cells a statement writes, longest first; what is left over takes the next.
const PUT_CELLS: [(usize, &str); 3] = [
    (
        64,
        put_cells!(concat!(
            eight!("(?,?,?,?,?,?)"),
            ",",
            eight!("(?,?,?,?,?,?)"),
            ",",
            eight!("(?,?,?,?,?,?)"),
            ",",
            eight!("(?,?,?,?,?,?)"),
            ",",
            eight!("(?,?,?,?,?,?)"),
            ",",
            eight!("(?,?,?,?,?,?)"),
            ",",
            eight!("(?,?,?,?,?,?)"),
            ",",
            eight!("(?,?,?,?,?,?)")
        )),
    ),
    (8, put_cells!(eight!("(?,?,?,?,?,?)"))),
    (1, put_cells!("(?,?,?,?,?,?)")),
];

/// Writes what was gathered, and leaves nothing gathered.
pub(super) async fn write(
    work: &mut Work<'_>,
    records: &mut Records<'_>,
) -> Result<(), StorageError> {
    let gathered = std::mem::take(&mut records.cells);
    let mut left = gathered.as_slice();
    for (size, sql) in PUT_CELLS {
        while let Some((now, later)) = left.split_at_checked(size) {
            let mut params = Vec::with_capacity(size * 6);
            for (path, record) in now {
                push_cell(work, &mut params, *path, record).await?;
            }
            work.execute(sql, params).await?;
            left = later;
        }
    }
    for (path, record) in std::mem::take(&mut records.values) {
        put_value(work, path, record).await?;
    }
    for (path, record) in std::mem::take(&mut records.containers) {
        put_container(work, path, record).await?;
    }
    Ok(())
}

async fn push_cell(
    work: &mut Work<'_>,
    params: &mut Vec<Value>,
    path: i64,
    record: &CellRecord,
) -> Result<(), StorageError> {
    let (table, cell) = (work.number(&record.table).await?, work.number(&record.cell).await?);
    params.extend([
        path.into(),
        table.into(),
        text::encode(&record.row).into(),
        cell.into(),
        record.value.clone().into(),
        record.hlc.to_string().into(),
    ]);
    Ok(())
}

async fn put_value(work: &mut Work<'_>, path: i64, r: &ValueRecord) -> Result<(), StorageError> {
    let sql = "INSERT INTO crossfade_values (path_id, value_id, value, hlc) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT (path_id, value_id)
               DO UPDATE SET value = excluded.value, hlc = excluded.hlc";
    let hlc = r.hlc.to_string();
    let params = vec![path.into(), text::encode(&r.id).into(), r.value.clone().into(), hlc.into()];
    work.execute(sql, params).await?;
    Ok(())
}

async fn put_container(
    work: &mut Work<'_>,
    path: i64,
    r: &ContainerRecord,
) -> Result<(), StorageError> {
    let (kind, table, row) = text::container_key(&r.container);
    let sql = "INSERT INTO crossfade_containers (path_id, kind, table_id, row_id, hlc)
               VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT (path_id, kind, table_id, row_id) DO UPDATE SET hlc = excluded.hlc";
    let hlc = r.hlc.to_string();
    let params = vec![path.into(), kind.into(), table.into(), row.into(), hlc.into()];
    work.execute(sql, params).await?;
    Ok(())
}

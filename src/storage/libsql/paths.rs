//! Paths: their records in chunks, their generations, and what they hold, counted.

use libsql::{Row, Value};
use mergeable_store::{Hlc, Text};

use super::database::Work;
use super::text;
use crate::migration::PathId;
use crate::storage::StorageError;
use crate::storage::path::{
    CHUNK_BYTES, CHUNK_RECORDS, CellRecord, ContainerRecord, CountChunk, CountCursor, Generation,
    PathChunk, PathCursor, Standing, StoredGeneration, TableCount, ValueRecord,
};

/// Rows that are counted in one go.
const COUNT_ROWS: i64 = 4096;

/// The chunk of a generation (`None`: the current one) behind `after`.
pub(super) async fn read_path(
    work: &mut Work<'_>,
    path: &PathId,
    generation: Option<Generation>,
    after: Option<PathCursor>,
) -> Result<PathChunk, StorageError> {
    let Some(number) = number_of(work, path, generation).await? else {
        return Ok(PathChunk::default());
    };
    match after {
        None => cells(work, number, None).await,
        Some(PathCursor::Cell(table, row, cell)) => {
            cells(work, number, Some((table, row, cell))).await
        }
        Some(PathCursor::Value(after)) => values(work, number, after).await,
        Some(PathCursor::Container(after)) => {
            let after = after.as_ref().map(text::container_key);
            containers(work, number, after).await
        }
    }
}

async fn number_of(
    work: &mut Work<'_>,
    path: &PathId,
    generation: Option<Generation>,
) -> Result<Option<i64>, StorageError> {
    let Some(generation) = generation else { return work.known_current(path).await };
    let sql = "SELECT id FROM crossfade_paths WHERE path = ?1 AND generation = ?2";
    let params = vec![path.as_str().into(), i64::from(generation.number()).into()];
    Ok(work.query(sql, params, |row| Ok(row.get::<i64>(0)?)).await?.pop())
}

/// Ends a chunk where it has become long enough.
#[derive(Default)]
struct Room {
    records: usize,
    bytes: usize,
}

impl Room {
    fn is_left_after(&mut self, value: Option<&String>) -> bool {
        self.records += 1;
        self.bytes += value.map_or(0, String::len);
        self.records < CHUNK_RECORDS && self.bytes < CHUNK_BYTES
    }
}

/// A cell with numbers in the place of ids.
struct Numbered {
    table: i64,
    row: Text,
    cell: i64,
    value: Option<String>,
    hlc: Hlc,
}

async fn cells(
    work: &mut Work<'_>,
    path: i64,
    after: Option<(Text, Text, Text)>,
) -> Result<PathChunk, StorageError> {
    let (mut found, mut room, mut more) = (Vec::new(), Room::default(), false);
    let mut last_row: Option<(String, Text)> = None;
    let read = |row: &Row| {
        let text: String = row.get(1)?;
        let row_id = match &last_row {
            // Those of a row follow each other: its id is decoded once, and shared.
            Some((known, id)) if *known == text => id.clone(),
            _ => text::decode(&text)?,
        };
        last_row = Some((text, row_id.clone()));
        let (table, cell, value) = (row.get(0)?, row.get(2)?, row.get::<Option<String>>(3)?);
        let hlc = text::hlc(&row.get::<String>(4)?)?;
        more = !room.is_left_after(value.as_ref());
        found.push(Numbered { table, row: row_id, cell, value, hlc });
        Ok(!more)
    };
    match after {
        None => {
            let sql = "SELECT table_id, row_id, cell_id, value, hlc FROM crossfade_cells
                       WHERE path_id = ?1 ORDER BY table_id, row_id, cell_id";
            work.each(sql, vec![path.into()], read).await?;
        }
        Some((table, row, cell)) => {
            let key = [work.known_number(&table).await?, work.known_number(&cell).await?];
            let [Some(table), Some(cell)] = key else { return Err(no_such_place()) };
            let sql = "SELECT table_id, row_id, cell_id, value, hlc FROM crossfade_cells
                       WHERE path_id = ?1 AND (table_id, row_id, cell_id) > (?2, ?3, ?4)
                       ORDER BY table_id, row_id, cell_id";
            let row = text::encode(&row);
            work.each(sql, vec![path.into(), table.into(), row.into(), cell.into()], read).await?;
        }
    }
    let mut chunk = PathChunk { cells: Vec::with_capacity(found.len()), ..PathChunk::default() };
    for one in found {
        let (table, cell) = (work.id(one.table).await?, work.id(one.cell).await?);
        let Numbered { row, value, hlc, .. } = one;
        chunk.cells.push(CellRecord { table, row, cell, value, hlc });
    }
    chunk.next = Some(match chunk.cells.last().filter(|_| more) {
        Some(last) => PathCursor::Cell(last.table.clone(), last.row.clone(), last.cell.clone()),
        None => PathCursor::Value(None),
    });
    Ok(chunk)
}

fn no_such_place() -> StorageError {
    let reason = "it was read up to a cell that is no longer known".to_owned();
    StorageError::Damaged { what: "path", reason }
}

async fn values(
    work: &mut Work<'_>,
    path: i64,
    after: Option<Text>,
) -> Result<PathChunk, StorageError> {
    let (mut chunk, mut room, mut more) = (PathChunk::default(), Room::default(), false);
    // No JSON text is empty: the empty text is before all.
    let after = after.as_ref().map(text::encode).unwrap_or_default();
    let sql = "SELECT value_id, value, hlc FROM crossfade_values
               WHERE path_id = ?1 AND value_id > ?2 ORDER BY value_id";
    work.each(sql, vec![path.into(), after.into()], |row| {
        let (id, value) = (text::decode(&row.get::<String>(0)?)?, row.get(1)?);
        let hlc = text::hlc(&row.get::<String>(2)?)?;
        let record = ValueRecord { id, value, hlc };
        more = !room.is_left_after(record.value.as_ref());
        chunk.values.push(record);
        Ok(!more)
    })
    .await?;
    chunk.next = Some(match chunk.values.last().filter(|_| more) {
        Some(last) => PathCursor::Value(Some(last.id.clone())),
        None => PathCursor::Container(None),
    });
    Ok(chunk)
}

async fn containers(
    work: &mut Work<'_>,
    path: i64,
    after: Option<(&'static str, String, String)>,
) -> Result<PathChunk, StorageError> {
    let (mut chunk, mut room, mut more) = (PathChunk::default(), Room::default(), false);
    let (kind, table, row) = after.unwrap_or_default();
    let sql = "SELECT kind, table_id, row_id, hlc FROM crossfade_containers
               WHERE path_id = ?1 AND (kind, table_id, row_id) > (?2, ?3, ?4)
               ORDER BY kind, table_id, row_id";
    let params: Vec<Value> = vec![path.into(), kind.into(), table.into(), row.into()];
    work.each(sql, params, |row| {
        let text = |column| row.get::<String>(column);
        let container = text::container(&text(0)?, &text(1)?, &text(2)?)?;
        chunk.containers.push(ContainerRecord { container, hlc: text::hlc(&text(3)?)? });
        more = !room.is_left_after(None);
        Ok(!more)
    })
    .await?;
    let last = chunk.containers.last().filter(|_| more);
    chunk.next = last.map(|last| PathCursor::Container(Some(last.container.clone())));
    Ok(chunk)
}

/// The generations of a path, or of all.
pub(super) async fn generations(
    work: &mut Work<'_>,
    of: Option<PathId>,
) -> Result<Vec<StoredGeneration>, StorageError> {
    let (sql, params) = match of {
        None => (
            "SELECT path, generation, standing FROM crossfade_paths ORDER BY path, generation",
            Vec::new(),
        ),
        Some(path) => (
            "SELECT path, generation, standing FROM crossfade_paths WHERE path = ?1
             ORDER BY generation",
            vec![path.as_str().into()],
        ),
    };
    work.query(sql, params, |row| {
        let generation = u32::try_from(row.get::<i64>(1)?).ok().and_then(Generation::new);
        let damaged = || StorageError::Damaged {
            what: "generation",
            reason: "its number is out of range".to_owned(),
        };
        Ok(StoredGeneration {
            path: super::read::path_id(&row.get::<String>(0)?)?,
            generation: generation.ok_or_else(damaged)?,
            standing: match row.get::<String>(2)?.as_str() {
                "current" => Standing::Current,
                "former" => Standing::Former,
                _ => Standing::Prepared,
            },
        })
    })
    .await
}

/// The number of a generation that is being prepared.
pub(super) async fn prepared(
    work: &mut Work<'_>,
    path: &PathId,
    generation: Generation,
) -> Result<i64, StorageError> {
    let sql = "INSERT INTO crossfade_paths (path, generation, standing) VALUES (?1, ?2, 'prepared')
               ON CONFLICT (path, generation) DO NOTHING";
    work.execute(sql, place(path, generation)).await?;
    let sql = "SELECT id FROM crossfade_paths
               WHERE path = ?1 AND generation = ?2 AND standing = 'prepared'";
    let found = work.query(sql, place(path, generation), |row| Ok(row.get::<i64>(0)?)).await?.pop();
    found.ok_or_else(|| changed(path))
}

/// Makes a prepared generation the current one.
pub(super) async fn start(
    work: &mut Work<'_>,
    path: &PathId,
    generation: Generation,
) -> Result<(), StorageError> {
    let before = work.current(path).await?;
    prepared(work, path, generation).await?;
    let sql = "UPDATE crossfade_paths SET standing = 'former' WHERE id = ?1 AND generation = ?2";
    let number_before = i64::from(generation.number()) - 1;
    if work.execute(sql, vec![before.into(), number_before.into()]).await? == 0 {
        return Err(changed(path));
    }
    let sql = "UPDATE crossfade_paths SET standing = 'current' WHERE path = ?1 AND generation = ?2";
    work.execute(sql, place(path, generation)).await?;
    work.forget_current(path);
    Ok(())
}

/// Removes records of a generation that is not current.
pub(super) async fn erase(
    work: &mut Work<'_>,
    path: &PathId,
    generation: Generation,
    limit: usize,
) -> Result<(), StorageError> {
    let sql = "SELECT id FROM crossfade_paths
               WHERE path = ?1 AND generation = ?2 AND standing <> 'current'";
    let found = work.query(sql, place(path, generation), |row| Ok(row.get::<i64>(0)?)).await?.pop();
    let Some(number) = found else { return Ok(()) };
    let mut left = i64::try_from(limit).unwrap_or(i64::MAX);
    for sql in [
        "DELETE FROM crossfade_cells WHERE path_id = ?1 AND (table_id, row_id, cell_id) IN
         (SELECT table_id, row_id, cell_id FROM crossfade_cells WHERE path_id = ?1 LIMIT ?2)",
        "DELETE FROM crossfade_values WHERE path_id = ?1 AND value_id IN
         (SELECT value_id FROM crossfade_values WHERE path_id = ?1 LIMIT ?2)",
        "DELETE FROM crossfade_containers WHERE path_id = ?1 AND (kind, table_id, row_id) IN
         (SELECT kind, table_id, row_id FROM crossfade_containers WHERE path_id = ?1 LIMIT ?2)",
    ] {
        let erased = work.execute(sql, vec![number.into(), left.into()]).await?;
        left -= i64::try_from(erased).unwrap_or(i64::MAX);
        if left <= 0 {
            return Ok(());
        }
    }
    work.execute("DELETE FROM crossfade_paths WHERE id = ?1", vec![number.into()]).await?;
    Ok(())
}

fn place(path: &PathId, generation: Generation) -> Vec<Value> {
    vec![path.as_str().into(), i64::from(generation.number()).into()]
}

fn changed(path: &PathId) -> StorageError {
    StorageError::Changed(format!("generation of {path}"))
}

/// Counts some rows of the current generation, those behind `after`.
pub(super) async fn count(
    work: &mut Work<'_>,
    path: &PathId,
    after: Option<CountCursor>,
) -> Result<CountChunk, StorageError> {
    let Some(number) = work.known_current(path).await? else { return Ok(CountChunk::default()) };
    let (table, row) = match &after {
        None => (i64::MIN, String::new()),
        Some((table, row)) => {
            let table = work.known_number(table).await?.ok_or_else(no_such_place)?;
            (table, text::encode(row))
        }
    };
    let sql = "SELECT table_id, row_id, sum(value IS NOT NULL), sum(value IS NULL),
                 sum(length(row_id) + coalesce(length(CAST(value AS BLOB)), 0) + length(hlc)), max(hlc)
               FROM crossfade_cells WHERE path_id = ?1 AND (table_id, row_id) > (?2, ?3)
               GROUP BY table_id, row_id ORDER BY table_id, row_id LIMIT ?4";
    let params = vec![number.into(), table.into(), row.into(), COUNT_ROWS.into()];
    let (mut counts, mut rows, mut last) = (Vec::<(i64, TableCount)>::new(), 0, None);
    work.each(sql, params, |row| {
        let count = |column| Ok::<_, StorageError>(super::read::from_sql(row.get(column)?));
        let table: i64 = row.get(0)?;
        if counts.last().is_none_or(|(known, _)| *known != table) {
            counts.push((table, TableCount::new(String::new())));
        }
        let Some((_, counted)) = counts.last_mut() else { return Ok(false) };
        let cells = count(2)?;
        counted.rows += u64::from(cells > 0);
        counted.cells += cells;
        counted.tombstones += count(3)?;
        counted.bytes += count(4)?;
        // Stamps are ordered as their texts are.
        let newest = text::hlc(&row.get::<String>(5)?)?.time_ms();
        counted.last_write_ms = counted.last_write_ms.max(newest);
        rows += 1;
        if rows == COUNT_ROWS {
            last = Some((table, row.get::<String>(1)?));
        }
        Ok(true)
    })
    .await?;
    let mut chunk = CountChunk::default();
    for (table, mut counted) in counts {
        counted.table = work.id(table).await?.to_string_lossy().into_owned();
        chunk.tables.push(counted);
    }
    if let Some((table, row)) = last {
        chunk.next = Some((work.id(table).await?, text::decode(&row)?));
    }
    Ok(chunk)
}

//! Questions to the database.

use libsql::{Connection, Row, params};

use super::ops::to_sql_ms;
use crate::migration::{PathId, ResourceName, RowId};
use crate::storage::StorageError;
use crate::storage::types::{
    Base, CellRecord, ContainerRecord, EntryState, NewEntry, OutboxEntry, OutboxSummary, Seq,
    StoredPath, ValueRecord,
};

const ENTRY: &str = "o.seq, o.path, o.resource, o.row_id, o.cells, o.actor, o.accepted_ms,
                     o.state, o.attempts, o.due_ms, o.last_error";

pub(super) async fn load_path(conn: &Connection, path: PathId) -> Result<StoredPath, StorageError> {
    let mut stored = StoredPath::default();
    let sql = "SELECT table_id, row_id, cell_id, value, hlc FROM crossfade_cells WHERE path = ?1";
    let mut rows = conn.query(sql, [path.as_str()]).await?;
    while let Some(row) = rows.next().await? {
        stored.cells.push(CellRecord {
            table: row.get(0)?,
            row: row.get(1)?,
            cell: row.get(2)?,
            value: row.get(3)?,
            hlc: row.get(4)?,
        });
    }
    let sql = "SELECT value_id, value, hlc FROM crossfade_values WHERE path = ?1";
    let mut rows = conn.query(sql, [path.as_str()]).await?;
    while let Some(row) = rows.next().await? {
        let (id, value, hlc) = (row.get(0)?, row.get(1)?, row.get(2)?);
        stored.values.push(ValueRecord { id, value, hlc });
    }
    let sql = "SELECT kind, table_id, row_id, hlc FROM crossfade_containers WHERE path = ?1";
    let mut rows = conn.query(sql, [path.as_str()]).await?;
    while let Some(row) = rows.next().await? {
        let kind = row.get::<String>(0)?.chars().next().unwrap_or('t');
        let (table, row_id, hlc) = (row.get(1)?, row.get(2)?, row.get(3)?);
        stored.containers.push(ContainerRecord { kind, table, row: row_id, hlc });
    }
    let sql = format!(
        "SELECT {ENTRY} FROM crossfade_outbox o WHERE o.path = ?1 AND o.state = 'pending' ORDER BY o.seq"
    );
    stored.owed = entries(conn.query(&sql, [path.as_str()]).await?).await?;
    Ok(stored)
}

pub(super) async fn bases(
    conn: &Connection,
    path: PathId,
    resource: ResourceName,
    rows: Vec<RowId>,
) -> Result<Vec<(RowId, Base)>, StorageError> {
    let mut found = Vec::new();
    let sql = "SELECT cells FROM crossfade_bases WHERE path = ?1 AND resource = ?2 AND row_id = ?3";
    for row_id in rows {
        let key = [path.as_str(), resource.as_str(), row_id.as_str()];
        let mut answer = conn.query(sql, key).await?;
        if let Some(row) = answer.next().await? {
            let cells = parse("base", &row.get::<String>(0)?)?;
            found.push((row_id, Base { cells }));
        }
    }
    Ok(found)
}

pub(super) async fn path_of_row(
    conn: &Connection,
    resource: ResourceName,
    row_id: RowId,
) -> Result<Option<PathId>, StorageError> {
    let sql = "SELECT path FROM crossfade_bases WHERE resource = ?1 AND row_id = ?2 LIMIT 1";
    let mut rows = conn.query(sql, [resource.as_str(), row_id.as_str()]).await?;
    let Some(row) = rows.next().await? else { return Ok(None) };
    path_id(&row.get::<String>(0)?).map(Some)
}

pub(super) async fn rows_with_base(
    conn: &Connection,
    resource: ResourceName,
) -> Result<Vec<(PathId, RowId)>, StorageError> {
    let sql = "SELECT path, row_id FROM crossfade_bases WHERE resource = ?1";
    let mut rows = conn.query(sql, [resource.as_str()]).await?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().await? {
        found.push((path_id(&row.get::<String>(0)?)?, RowId::new(row.get::<String>(1)?)));
    }
    Ok(found)
}

pub(super) async fn due_entries(
    conn: &Connection,
    now_ms: u64,
    limit: usize,
) -> Result<Vec<OutboxEntry>, StorageError> {
    let sql = format!(
        "SELECT {ENTRY} FROM crossfade_outbox o
         WHERE o.state = 'pending' AND o.due_ms <= ?1 AND NOT EXISTS (
           SELECT 1 FROM crossfade_outbox p
           WHERE p.path = o.path AND p.resource = o.resource AND p.row_id = o.row_id
             AND p.state = 'pending' AND p.seq < o.seq)
         ORDER BY o.seq LIMIT ?2"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    entries(conn.query(&sql, params![to_sql_ms(now_ms), limit]).await?).await
}

pub(super) async fn next_due_ms(conn: &Connection) -> Result<Option<u64>, StorageError> {
    let sql = "SELECT min(due_ms) FROM crossfade_outbox WHERE state = 'pending'";
    let mut rows = conn.query(sql, ()).await?;
    let Some(row) = rows.next().await? else { return Ok(None) };
    Ok(row.get::<Option<i64>>(0)?.map(from_sql_ms))
}

pub(super) async fn outbox_summary(
    conn: &Connection,
    limit: usize,
) -> Result<OutboxSummary, StorageError> {
    let sql = "SELECT count(*) FILTER (WHERE state = 'pending'),
                      count(*) FILTER (WHERE state = 'dead'),
                      min(accepted_ms) FILTER (WHERE state = 'pending') FROM crossfade_outbox";
    let mut summary = OutboxSummary::default();
    let mut rows = conn.query(sql, ()).await?;
    if let Some(row) = rows.next().await? {
        summary.pending = from_sql_ms(row.get(0)?);
        summary.dead = from_sql_ms(row.get(1)?);
        summary.oldest_ms = row.get::<Option<i64>>(2)?.map(from_sql_ms);
    }
    let sql = format!("SELECT {ENTRY} FROM crossfade_outbox o ORDER BY o.seq LIMIT ?1");
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    summary.entries = entries(conn.query(&sql, [limit]).await?).await?;
    Ok(summary)
}

pub(super) async fn control(
    conn: &Connection,
    key: String,
) -> Result<Option<String>, StorageError> {
    let sql = "SELECT value FROM crossfade_control WHERE key = ?1";
    let mut rows = conn.query(sql, [key.as_str()]).await?;
    let Some(row) = rows.next().await? else { return Ok(None) };
    Ok(Some(row.get(0)?))
}

pub(super) async fn controls(
    conn: &Connection,
    prefix: String,
) -> Result<Vec<(String, String)>, StorageError> {
    // substr instead of LIKE: a prefix may hold `%` or `_`.
    let sql = "SELECT key, value FROM crossfade_control
               WHERE substr(key, 1, length(?1)) = ?1 ORDER BY key";
    let mut rows = conn.query(sql, [prefix.as_str()]).await?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().await? {
        found.push((row.get(0)?, row.get(1)?));
    }
    Ok(found)
}

async fn entries(mut rows: libsql::Rows) -> Result<Vec<OutboxEntry>, StorageError> {
    let mut found = Vec::new();
    while let Some(row) = rows.next().await? {
        found.push(entry(&row)?);
    }
    Ok(found)
}

fn entry(row: &Row) -> Result<OutboxEntry, StorageError> {
    let new = NewEntry {
        path: path_id(&row.get::<String>(1)?)?,
        resource: ResourceName::new(row.get::<String>(2)?),
        row: RowId::new(row.get::<String>(3)?),
        cells: parse("outbox entry", &row.get::<String>(4)?)?,
        actor: parse("outbox entry", &row.get::<String>(5)?)?,
        accepted_ms: from_sql_ms(row.get(6)?),
    };
    let state =
        if row.get::<String>(7)? == "dead" { EntryState::Dead } else { EntryState::Pending };
    Ok(OutboxEntry {
        seq: Seq(row.get(0)?),
        entry: new,
        state,
        attempts: u32::try_from(row.get::<i64>(8)?).unwrap_or(u32::MAX),
        due_ms: from_sql_ms(row.get(9)?),
        last_error: row.get(10)?,
    })
}

fn from_sql_ms(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0)
}

fn path_id(text: &str) -> Result<PathId, StorageError> {
    PathId::new(text).map_err(|e| StorageError::Damaged { what: "path", reason: e.to_string() })
}

fn parse<T: serde::de::DeserializeOwned>(
    what: &'static str,
    text: &str,
) -> Result<T, StorageError> {
    serde_json::from_str(text).map_err(|e| StorageError::Damaged { what, reason: e.to_string() })
}

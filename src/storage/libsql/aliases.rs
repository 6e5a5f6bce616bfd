//! Which ids legacy gave rows, and which creates it was asked for.

use libsql::{Row, Value};

use super::database::Work;
use super::ops::to_sql;
use super::read::{from_sql, parse};
use crate::migration::{ResourceName, RowId};
use crate::storage::StorageError;
use crate::storage::types::{AskedCreate, Seq};

/// A statement with its values.
type Statement = (&'static str, Vec<Value>);

pub(super) fn alias(resource: &ResourceName, row: &RowId, legacy_id: &RowId) -> Statement {
    (
        "INSERT INTO crossfade_aliases (resource, row_id, legacy_id) VALUES (?1, ?2, ?3)
         ON CONFLICT (resource, row_id) DO UPDATE SET legacy_id = excluded.legacy_id",
        vec![resource.as_str().into(), row.as_str().into(), legacy_id.as_str().into()],
    )
}

pub(super) fn ask_create(asked: &AskedCreate) -> Statement {
    (
        "INSERT INTO crossfade_asked_creates (resource, row_id, seq, body, asked_ms)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (resource, row_id) DO UPDATE SET
           seq = excluded.seq, body = excluded.body, asked_ms = excluded.asked_ms",
        vec![
            asked.resource.as_str().into(),
            asked.row.as_str().into(),
            asked.seq.0.into(),
            asked.body.to_string().into(),
            to_sql(asked.asked_ms).into(),
        ],
    )
}

pub(super) fn end_create(resource: &ResourceName, row: &RowId) -> Statement {
    (
        "DELETE FROM crossfade_asked_creates WHERE resource = ?1 AND row_id = ?2",
        vec![resource.as_str().into(), row.as_str().into()],
    )
}

/// What was refused long ago goes, so that the table does not grow for ever.
pub(super) async fn refuse_create(
    work: &mut Work<'_>,
    (resource, row): (&ResourceName, &RowId),
    at_ms: u64,
    forget_before_ms: u64,
) -> Result<(), StorageError> {
    let sql = "DELETE FROM crossfade_refused_creates WHERE refused_ms < ?1";
    work.execute(sql, vec![to_sql(forget_before_ms).into()]).await?;
    let sql = "INSERT INTO crossfade_refused_creates (resource, row_id, refused_ms)
               VALUES (?1, ?2, ?3)
               ON CONFLICT (resource, row_id) DO UPDATE SET refused_ms = excluded.refused_ms";
    let row = vec![resource.as_str().into(), row.as_str().into(), to_sql(at_ms).into()];
    work.execute(sql, row).await?;
    Ok(())
}

pub(super) async fn is_create_refused(
    work: &mut Work<'_>,
    resource: ResourceName,
    row: RowId,
) -> Result<bool, StorageError> {
    let sql = "SELECT 1 FROM crossfade_refused_creates WHERE resource = ?1 AND row_id = ?2";
    let key = vec![resource.as_str().into(), row.as_str().into()];
    Ok(!work.query(sql, key, |_| Ok(())).await?.is_empty())
}

pub(super) async fn legacy_id(
    work: &mut Work<'_>,
    resource: ResourceName,
    row: RowId,
) -> Result<Option<RowId>, StorageError> {
    let sql = "SELECT legacy_id FROM crossfade_aliases WHERE resource = ?1 AND row_id = ?2";
    let key = vec![resource.as_str().into(), row.as_str().into()];
    Ok(work.query(sql, key, |row| Ok(RowId::new(row.get::<String>(0)?))).await?.pop())
}

pub(super) async fn row_of_legacy_id(
    work: &mut Work<'_>,
    resource: ResourceName,
    legacy_id: RowId,
) -> Result<Option<RowId>, StorageError> {
    let sql = "SELECT row_id FROM crossfade_aliases WHERE resource = ?1 AND legacy_id = ?2 LIMIT 1";
    let key = vec![resource.as_str().into(), legacy_id.as_str().into()];
    Ok(work.query(sql, key, |row| Ok(RowId::new(row.get::<String>(0)?))).await?.pop())
}

pub(super) async fn asked_create(
    work: &mut Work<'_>,
    resource: ResourceName,
    row_id: RowId,
) -> Result<Option<AskedCreate>, StorageError> {
    let sql = "SELECT seq, body, asked_ms FROM crossfade_asked_creates
               WHERE resource = ?1 AND row_id = ?2";
    let key = vec![resource.as_str().into(), row_id.as_str().into()];
    let read = |row: &Row| {
        Ok(AskedCreate {
            resource: resource.clone(),
            row: row_id.clone(),
            seq: Seq(row.get(0)?),
            body: parse("asked create", &row.get::<String>(1)?)?,
            asked_ms: from_sql(row.get(2)?),
        })
    };
    Ok(work.query(sql, key, read).await?.pop())
}

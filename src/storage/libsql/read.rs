//! Questions to the database.

use libsql::Row;

use super::database::Work;
use super::ops::to_sql;
use crate::migration::{PathId, ResourceName, RowId};
use crate::storage::StorageError;
use crate::storage::types::{
    AuditEntry, AuditRecord, Base, EntryState, Intent, IntentId, NewEntry, OutboxEntry,
    OutboxSummary, OwingPath, Seq,
};

/// A question for outbox entries: these columns, then what comes after them.
macro_rules! entries {
    ($rest:literal) => {
        concat!(
            "SELECT o.seq, o.path, o.resource, o.row_id, o.cells, o.actor, o.accepted_ms,
                    o.state, o.attempts, o.due_ms, o.last_error FROM crossfade_outbox o ",
            $rest
        )
    };
}

/// What of a path is in the outbox.
pub(super) async fn entries_of(
    work: &mut Work<'_>,
    path: PathId,
) -> Result<Vec<OutboxEntry>, StorageError> {
    let sql = entries!("WHERE o.path = ?1 ORDER BY o.seq");
    work.query(sql, vec![path.as_str().into()], entry).await
}

pub(super) async fn bases(
    work: &mut Work<'_>,
    path: PathId,
    resource: ResourceName,
    rows: Vec<RowId>,
) -> Result<Vec<(RowId, Base)>, StorageError> {
    let mut found = Vec::new();
    let sql = "SELECT cells FROM crossfade_bases WHERE path = ?1 AND resource = ?2 AND row_id = ?3";
    for row_id in rows {
        let key = vec![path.as_str().into(), resource.as_str().into(), row_id.as_str().into()];
        let read = |row: &Row| parse("base", &row.get::<String>(0)?);
        if let Some(cells) = work.query(sql, key, read).await?.pop() {
            found.push((row_id, Base { cells }));
        }
    }
    Ok(found)
}

pub(super) async fn path_of_row(
    work: &mut Work<'_>,
    resource: ResourceName,
    row_id: RowId,
) -> Result<Option<PathId>, StorageError> {
    let sql = "SELECT path FROM crossfade_bases WHERE resource = ?1 AND row_id = ?2 LIMIT 1";
    let params = vec![resource.as_str().into(), row_id.as_str().into()];
    Ok(work.query(sql, params, |row| path_id(&row.get::<String>(0)?)).await?.pop())
}

pub(super) async fn path_of_owed_row(
    work: &mut Work<'_>,
    resource: ResourceName,
    row_id: RowId,
) -> Result<Option<PathId>, StorageError> {
    let sql = "SELECT path FROM crossfade_outbox WHERE resource = ?1 AND row_id = ?2 LIMIT 1";
    let params = vec![resource.as_str().into(), row_id.as_str().into()];
    Ok(work.query(sql, params, |row| path_id(&row.get::<String>(0)?)).await?.pop())
}

pub(super) async fn rows_with_base(
    work: &mut Work<'_>,
    resource: ResourceName,
) -> Result<Vec<(PathId, RowId)>, StorageError> {
    let sql = "SELECT path, row_id FROM crossfade_bases WHERE resource = ?1";
    let read =
        |row: &Row| Ok((path_id(&row.get::<String>(0)?)?, RowId::new(row.get::<String>(1)?)));
    work.query(sql, vec![resource.as_str().into()], read).await
}

pub(super) async fn due_entries(
    work: &mut Work<'_>,
    now_ms: u64,
    limit: usize,
) -> Result<Vec<OutboxEntry>, StorageError> {
    // In the order of the index on state and due_ms, whose entries end with seq: the look ends with its limit,
    // however much is owed. `+ 0`: a bare parameter there has SQLite plan the statement anew for each value.
    let sql = entries!(
        "WHERE o.state = 'pending' AND o.due_ms <= ?1 + 0 AND NOT EXISTS (
           SELECT 1 FROM crossfade_outbox p
           WHERE p.path = o.path AND p.resource = o.resource AND p.row_id = o.row_id
             AND p.state = 'pending' AND p.seq < o.seq)
         ORDER BY o.due_ms, o.seq LIMIT ?2 + 0"
    );
    work.query(sql, vec![to_sql(now_ms).into(), rows(limit).into()], entry).await
}

pub(super) async fn next_due_ms(work: &mut Work<'_>) -> Result<Option<u64>, StorageError> {
    let sql = "SELECT min(due_ms) FROM crossfade_outbox WHERE state = 'pending'";
    let read = |row: &Row| Ok(row.get::<Option<i64>>(0)?.map(from_sql));
    Ok(work.query(sql, Vec::new(), read).await?.pop().flatten())
}

pub(super) async fn outbox_summary(
    work: &mut Work<'_>,
    limit: usize,
) -> Result<OutboxSummary, StorageError> {
    let sql = "SELECT count(*) FILTER (WHERE state = 'pending'),
                      count(*) FILTER (WHERE state = 'dead'),
                      min(accepted_ms) FILTER (WHERE state = 'pending') FROM crossfade_outbox";
    let read = |row: &Row| {
        Ok(OutboxSummary {
            pending: from_sql(row.get(0)?),
            dead: from_sql(row.get(1)?),
            oldest_ms: row.get::<Option<i64>>(2)?.map(from_sql),
            entries: Vec::new(),
        })
    };
    let mut summary = work.query(sql, Vec::new(), read).await?.pop().unwrap_or_default();
    let sql = entries!("ORDER BY o.seq LIMIT ?1");
    summary.entries = work.query(sql, vec![rows(limit).into()], entry).await?;
    Ok(summary)
}

pub(super) async fn outbox_entry(
    work: &mut Work<'_>,
    seq: Seq,
) -> Result<Option<OutboxEntry>, StorageError> {
    Ok(work.query(entries!("WHERE o.seq = ?1"), vec![seq.0.into()], entry).await?.pop())
}

pub(super) async fn dead_letters(
    work: &mut Work<'_>,
    limit: usize,
) -> Result<Vec<OutboxEntry>, StorageError> {
    let sql = entries!("WHERE o.state = 'dead' ORDER BY o.seq LIMIT ?1");
    work.query(sql, vec![rows(limit).into()], entry).await
}

pub(super) async fn owed_since(work: &mut Work<'_>, accepted_ms: u64) -> Result<u64, StorageError> {
    let sql = "SELECT count(*) FROM crossfade_outbox WHERE state = 'pending' AND accepted_ms <= ?1";
    let count = |row: &Row| Ok(from_sql(row.get(0)?));
    Ok(work.query(sql, vec![to_sql(accepted_ms).into()], count).await?.pop().unwrap_or_default())
}

pub(super) async fn open_intents(
    work: &mut Work<'_>,
    limit: usize,
) -> Result<Vec<Intent>, StorageError> {
    let sql = "SELECT id, resource, row_id, opened_ms FROM crossfade_intents
               ORDER BY opened_ms, id LIMIT ?1";
    let read = |row: &Row| {
        Ok(Intent {
            id: IntentId(row.get(0)?),
            resource: ResourceName::new(row.get::<String>(1)?),
            row: row.get::<Option<String>>(2)?.map(RowId::new),
            opened_ms: from_sql(row.get(3)?),
        })
    };
    work.query(sql, vec![rows(limit).into()], read).await
}

pub(super) async fn owing_paths(
    work: &mut Work<'_>,
    limit: usize,
) -> Result<Vec<OwingPath>, StorageError> {
    let sql = "SELECT path, count(*) FILTER (WHERE state = 'pending'),
                      count(*) FILTER (WHERE state = 'dead'), min(accepted_ms)
               FROM crossfade_outbox GROUP BY path ORDER BY 4, 1 LIMIT ?1";
    let read = |row: &Row| {
        Ok(OwingPath {
            path: path_id(&row.get::<String>(0)?)?,
            pending: from_sql(row.get(1)?),
            dead: from_sql(row.get(2)?),
            oldest_ms: from_sql(row.get(3)?),
        })
    };
    work.query(sql, vec![rows(limit).into()], read).await
}

/// Pending entries of each path that has some.
pub(super) async fn owed_counts(work: &mut Work<'_>) -> Result<Vec<(PathId, u64)>, StorageError> {
    let sql = "SELECT path, count(*) FROM crossfade_outbox WHERE state = 'pending' GROUP BY path";
    let read = |row: &Row| Ok((path_id(&row.get::<String>(0)?)?, from_sql(row.get(1)?)));
    work.query(sql, Vec::new(), read).await
}

pub(super) async fn control(
    work: &mut Work<'_>,
    key: String,
) -> Result<Option<String>, StorageError> {
    let sql = "SELECT value FROM crossfade_control WHERE key = ?1";
    Ok(work.query(sql, vec![key.into()], |row| Ok(row.get(0)?)).await?.pop())
}

pub(super) async fn controls(
    work: &mut Work<'_>,
    prefix: String,
) -> Result<Vec<(String, String)>, StorageError> {
    // substr instead of LIKE: a prefix may hold `%` or `_`.
    let sql = "SELECT key, value FROM crossfade_control
               WHERE substr(key, 1, length(?1)) = ?1 ORDER BY key";
    work.query(sql, vec![prefix.into()], |row| Ok((row.get(0)?, row.get(1)?))).await
}

pub(super) async fn audit(
    work: &mut Work<'_>,
    before: Option<i64>,
    limit: usize,
) -> Result<Vec<AuditRecord>, StorageError> {
    let sql = "SELECT number, at_ms, actor, action, subject, reason, process FROM crossfade_audit
               WHERE number < ?1 ORDER BY number DESC LIMIT ?2";
    let values = vec![before.unwrap_or(i64::MAX).into(), rows(limit).into()];
    let record = |row: &Row| {
        let entry = AuditEntry {
            at_ms: from_sql(row.get(1)?),
            actor: row.get(2)?,
            action: row.get(3)?,
            subject: row.get(4)?,
            reason: row.get(5)?,
            process: row.get(6)?,
        };
        Ok(AuditRecord { number: row.get(0)?, entry })
    };
    work.query(sql, values, record).await
}

fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn entry(row: &Row) -> Result<OutboxEntry, StorageError> {
    let new = NewEntry {
        path: path_id(&row.get::<String>(1)?)?,
        resource: ResourceName::new(row.get::<String>(2)?),
        row: RowId::new(row.get::<String>(3)?),
        cells: parse("outbox entry", &row.get::<String>(4)?)?,
        actor: parse("outbox entry", &row.get::<String>(5)?)?,
        accepted_ms: from_sql(row.get(6)?),
    };
    let state =
        if row.get::<String>(7)? == "dead" { EntryState::Dead } else { EntryState::Pending };
    Ok(OutboxEntry {
        seq: Seq(row.get(0)?),
        entry: new,
        state,
        attempts: u32::try_from(row.get::<i64>(8)?).unwrap_or(u32::MAX),
        due_ms: from_sql(row.get(9)?),
        last_error: row.get(10)?,
    })
}

pub(super) fn from_sql(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0)
}

pub(super) fn path_id(text: &str) -> Result<PathId, StorageError> {
    PathId::new(text).map_err(|e| StorageError::Damaged { what: "path", reason: e.to_string() })
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(
    what: &'static str,
    text: &str,
) -> Result<T, StorageError> {
    serde_json::from_str(text).map_err(|e| StorageError::Damaged { what, reason: e.to_string() })
}

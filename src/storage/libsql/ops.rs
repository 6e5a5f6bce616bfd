//! Durable changes as SQL.

use libsql::Value;

use super::database::{Work, Writable};
use super::records::Records;
use super::{aliases, paths, records};
use crate::storage::types::{AuditEntry, ControlOp, NewEntry, Op, Seq, Transaction};
use crate::storage::{Base, StorageError};

impl From<libsql::Error> for StorageError {
    fn from(error: libsql::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Applies all transactions as one: all of them are durable afterwards, or none.
pub(super) async fn apply_all(
    (database, lease): Writable<'_>,
    transactions: &[Transaction],
) -> Result<Vec<Vec<Seq>>, StorageError> {
    let mut work = database.begin().await?;
    if let Some(lease) = lease {
        lease.hold(&mut work).await?;
    }
    let mut all = Vec::with_capacity(transactions.len());
    // No other change depends on records of cells, values and containers: they are gathered, and written
    // many at once.
    let mut records = Records::default();
    for transaction in transactions {
        let mut seqs = Vec::new();
        for op in transaction {
            // An early return drops the work, which rolls back.
            if let Some(seq) = apply(&mut work, op, &mut records).await? {
                seqs.push(seq);
            }
        }
        all.push(seqs);
    }
    records::write(&mut work, &mut records).await?;
    work.commit().await?;
    Ok(all)
}

async fn apply<'a>(
    work: &mut Work<'_>,
    op: &'a Op,
    records: &mut Records<'a>,
) -> Result<Option<Seq>, StorageError> {
    match op {
        Op::PutCell(path, record) => records.cells.push((work.current(path).await?, record)),
        Op::PutValue(path, record) => records.values.push((work.current(path).await?, record)),
        Op::PutContainer(path, record) => {
            records.containers.push((work.current(path).await?, record));
        }
        Op::Prepare(path, generation, chunk) => {
            let number = paths::prepared(work, path, *generation).await?;
            records.cells.extend(chunk.cells.iter().map(|record| (number, record)));
            records.values.extend(chunk.values.iter().map(|record| (number, record)));
            records.containers.extend(chunk.containers.iter().map(|record| (number, record)));
        }
        Op::Start(path, generation) => {
            records::write(work, records).await?;
            paths::start(work, path, *generation).await?;
        }
        Op::Erase(path, generation, limit) => {
            records::write(work, records).await?;
            paths::erase(work, path, *generation, *limit).await?;
        }
        Op::RefuseCreate { resource, row, at_ms, forget_before_ms } => {
            aliases::refuse_create(work, (resource, row), *at_ms, *forget_before_ms).await?;
        }
        Op::Owe(entry) => return owe(work, entry).await.map(Some),
        op => apply_rest(work, op).await?,
    }
    Ok(None)
}

async fn apply_rest(work: &mut Work<'_>, op: &Op) -> Result<(), StorageError> {
    let (sql, params): (_, Vec<Value>) = match op {
        Op::Settle(seq) => ("DELETE FROM crossfade_outbox WHERE seq = ?1", vec![seq.0.into()]),
        Op::Postpone { seq, attempts, due_ms, error } => (
            "UPDATE crossfade_outbox SET attempts = ?2, due_ms = ?3, last_error = ?4,
             state = 'pending' WHERE seq = ?1",
            vec![
                seq.0.into(),
                i64::from(*attempts).into(),
                to_sql(*due_ms).into(),
                error.as_str().into(),
            ],
        ),
        Op::Bury { seq, error } => (
            "UPDATE crossfade_outbox SET state = 'dead', last_error = ?2 WHERE seq = ?1",
            vec![seq.0.into(), error.as_str().into()],
        ),
        Op::PutBase { path, resource, row, base } => (
            "INSERT INTO crossfade_bases (path, resource, row_id, cells) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (path, resource, row_id) DO UPDATE SET cells = excluded.cells",
            vec![
                path.as_str().into(),
                resource.as_str().into(),
                row.as_str().into(),
                base_text(base)?.into(),
            ],
        ),
        Op::DropBase { path, resource, row } => (
            "DELETE FROM crossfade_bases WHERE path = ?1 AND resource = ?2 AND row_id = ?3",
            vec![path.as_str().into(), resource.as_str().into(), row.as_str().into()],
        ),
        Op::OpenIntent(intent) => (
            "INSERT INTO crossfade_intents (id, resource, row_id, opened_ms) VALUES (?1, ?2, ?3, ?4)",
            vec![
                intent.id.0.into(),
                intent.resource.as_str().into(),
                intent.row.as_ref().map_or(Value::Null, |row| row.as_str().into()),
                to_sql(intent.opened_ms).into(),
            ],
        ),
        Op::AskCreate(asked) => aliases::ask_create(asked),
        Op::EndCreate { resource, row } => aliases::end_create(resource, row),
        Op::Alias { resource, row, legacy_id } => aliases::alias(resource, row, legacy_id),
        Op::CloseIntent(id) => ("DELETE FROM crossfade_intents WHERE id = ?1", vec![id.0.into()]),
        // Those that are gathered, or give something back, are done by the caller.
        Op::PutCell(..) | Op::PutValue(..) | Op::PutContainer(..) | Op::Owe(_) => return Ok(()),
        Op::Prepare(..) | Op::Start(..) | Op::Erase(..) | Op::RefuseCreate { .. } => return Ok(()),
    };
    work.execute(sql, params).await?;
    Ok(())
}

/// Applies changes of control values: all of them are durable afterwards, or none.
pub(super) async fn apply_control(
    (database, lease): Writable<'_>,
    ops: &[ControlOp],
) -> Result<(), StorageError> {
    let mut work = database.begin().await?;
    if let Some(lease) = lease {
        lease.hold(&mut work).await?;
    }
    for op in ops {
        // An early return drops the work, which rolls back.
        match op {
            ControlOp::Swap { key, from, to } => {
                swap_control(&mut work, key, from.as_deref(), to).await?;
            }
            ControlOp::Put { key, value } => {
                let sql = "INSERT INTO crossfade_control (key, value) VALUES (?1, ?2)
                           ON CONFLICT (key) DO UPDATE SET value = excluded.value";
                work.execute(sql, vec![key.as_str().into(), value.as_str().into()]).await?;
            }
            ControlOp::Audit(entry) => append(&mut work, entry).await?,
        }
    }
    work.commit().await
}

async fn append(work: &mut Work<'_>, entry: &AuditEntry) -> Result<(), StorageError> {
    let AuditEntry { at_ms, actor, action, subject, reason, process } = entry;
    let sql = "INSERT INTO crossfade_audit (at_ms, actor, action, subject, reason, process)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let texts = [actor, action, subject, reason, process].map(|text| text.as_str().into());
    let values = std::iter::once(to_sql(*at_ms).into()).chain(texts).collect();
    work.execute(sql, values).await?;
    Ok(())
}

async fn swap_control(
    work: &mut Work<'_>,
    key: &str,
    from: Option<&str>,
    to: &str,
) -> Result<(), StorageError> {
    let changed = match from {
        Some(from) => {
            let sql = "UPDATE crossfade_control SET value = ?3 WHERE key = ?1 AND value = ?2";
            work.execute(sql, vec![key.into(), from.into(), to.into()]).await?
        }
        None => {
            let sql = "INSERT INTO crossfade_control (key, value) VALUES (?1, ?2)
                       ON CONFLICT (key) DO NOTHING";
            work.execute(sql, vec![key.into(), to.into()]).await?
        }
    };
    if changed == 0 { Err(StorageError::Changed(key.to_owned())) } else { Ok(()) }
}

/// SQL integers are signed; a time beyond year 292 million stands for "never".
pub(super) fn to_sql(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

fn base_text(base: &Base) -> Result<String, StorageError> {
    serde_json::to_string(&base.cells)
        .map_err(|e| StorageError::Failed(format!("base cannot be encoded: {e}")))
}

async fn owe(work: &mut Work<'_>, entry: &NewEntry) -> Result<Seq, StorageError> {
    let encode = |e: serde_json::Error| StorageError::Failed(format!("entry: {e}"));
    let cells = serde_json::to_string(&entry.cells).map_err(encode)?;
    let actor = serde_json::to_string(&entry.actor).map_err(encode)?;
    let (path, resource, row) = (&entry.path, &entry.resource, &entry.row);
    let params: Vec<Value> = vec![
        path.as_str().into(),
        resource.as_str().into(),
        row.as_str().into(),
        cells.into(),
        actor.into(),
        to_sql(entry.accepted_ms).into(),
    ];
    work.execute(
        "INSERT INTO crossfade_outbox (path, resource, row_id, cells, actor, accepted_ms, due_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
        params,
    )
    .await?;
    Ok(Seq(work.last_insert_rowid()))
}

//! Durable changes as SQL.

use libsql::{Connection, TransactionBehavior, params};

use crate::storage::types::{
    CellRecord, ContainerRecord, NewEntry, Op, Seq, Transaction, ValueRecord,
};
use crate::storage::{Base, StorageError};

impl From<libsql::Error> for StorageError {
    fn from(error: libsql::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Applies all transactions as one: all of them are durable afterwards, or none.
pub(super) async fn apply_all(
    conn: &Connection,
    transactions: &[Transaction],
) -> Result<Vec<Vec<Seq>>, StorageError> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).await?;
    let mut all = Vec::with_capacity(transactions.len());
    for transaction in transactions {
        let mut seqs = Vec::new();
        for op in transaction {
            // An early return drops `tx`, which rolls back.
            if let Some(seq) = apply(&tx, op).await? {
                seqs.push(seq);
            }
        }
        all.push(seqs);
    }
    tx.commit().await?;
    Ok(all)
}

async fn apply(conn: &Connection, op: &Op) -> Result<Option<Seq>, StorageError> {
    match op {
        Op::PutCell(path, record) => put_cell(conn, path.as_str(), record).await?,
        Op::PutValue(path, record) => put_value(conn, path.as_str(), record).await?,
        Op::PutContainer(path, record) => put_container(conn, path.as_str(), record).await?,
        Op::Owe(entry) => return owe(conn, entry).await.map(Some),
        Op::Settle(seq) => {
            conn.execute("DELETE FROM crossfade_outbox WHERE seq = ?1", [seq.0]).await?;
        }
        Op::Postpone { seq, attempts, due_ms, error } => {
            conn.execute(
                "UPDATE crossfade_outbox SET attempts = ?2, due_ms = ?3, last_error = ?4,
                 state = 'pending' WHERE seq = ?1",
                params![seq.0, i64::from(*attempts), to_sql_ms(*due_ms), error.as_str()],
            )
            .await?;
        }
        Op::Bury { seq, error } => {
            conn.execute(
                "UPDATE crossfade_outbox SET state = 'dead', last_error = ?2 WHERE seq = ?1",
                params![seq.0, error.as_str()],
            )
            .await?;
        }
        Op::PutBase { path, resource, row, base } => {
            put_base(conn, [path.as_str(), resource.as_str(), row.as_str()], base).await?;
        }
        Op::DropBase { path, resource, row } => {
            conn.execute(
                "DELETE FROM crossfade_bases WHERE path = ?1 AND resource = ?2 AND row_id = ?3",
                [path.as_str(), resource.as_str(), row.as_str()],
            )
            .await?;
        }
        Op::SwapControl { key, from, to } => swap_control(conn, key, from.as_deref(), to).await?,
        Op::PutControl { key, value } => {
            conn.execute(
                "INSERT INTO crossfade_control (key, value) VALUES (?1, ?2)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                [key.as_str(), value.as_str()],
            )
            .await?;
        }
    }
    Ok(None)
}

async fn swap_control(
    conn: &Connection,
    key: &str,
    from: Option<&str>,
    to: &str,
) -> Result<(), StorageError> {
    let changed = match from {
        Some(from) => {
            let sql = "UPDATE crossfade_control SET value = ?3 WHERE key = ?1 AND value = ?2";
            conn.execute(sql, [key, from, to]).await?
        }
        None => {
            let sql = "INSERT INTO crossfade_control (key, value) VALUES (?1, ?2)
                       ON CONFLICT (key) DO NOTHING";
            conn.execute(sql, [key, to]).await?
        }
    };
    if changed == 0 { Err(StorageError::Changed(key.to_owned())) } else { Ok(()) }
}

/// SQL integers are signed; a time beyond year 292 million stands for "never".
pub(super) fn to_sql_ms(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

async fn put_cell(conn: &Connection, path: &str, r: &CellRecord) -> libsql::Result<()> {
    conn.execute(
        "INSERT INTO crossfade_cells (path, table_id, row_id, cell_id, value, hlc)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (path, table_id, row_id, cell_id)
         DO UPDATE SET value = excluded.value, hlc = excluded.hlc",
        params![
            path,
            r.table.as_str(),
            r.row.as_str(),
            r.cell.as_str(),
            r.value.as_deref(),
            r.hlc.as_str()
        ],
    )
    .await
    .map(drop)
}

async fn put_value(conn: &Connection, path: &str, r: &ValueRecord) -> libsql::Result<()> {
    conn.execute(
        "INSERT INTO crossfade_values (path, value_id, value, hlc) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (path, value_id) DO UPDATE SET value = excluded.value, hlc = excluded.hlc",
        params![path, r.id.as_str(), r.value.as_deref(), r.hlc.as_str()],
    )
    .await
    .map(drop)
}

async fn put_container(conn: &Connection, path: &str, r: &ContainerRecord) -> libsql::Result<()> {
    conn.execute(
        "INSERT INTO crossfade_containers (path, kind, table_id, row_id, hlc)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (path, kind, table_id, row_id) DO UPDATE SET hlc = excluded.hlc",
        params![path, r.kind.to_string(), r.table.as_str(), r.row.as_str(), r.hlc.as_str()],
    )
    .await
    .map(drop)
}

async fn put_base(conn: &Connection, key: [&str; 3], base: &Base) -> Result<(), StorageError> {
    let cells = serde_json::to_string(&base.cells)
        .map_err(|e| StorageError::Failed(format!("base cannot be encoded: {e}")))?;
    conn.execute(
        "INSERT INTO crossfade_bases (path, resource, row_id, cells) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (path, resource, row_id) DO UPDATE SET cells = excluded.cells",
        params![key[0], key[1], key[2], cells],
    )
    .await?;
    Ok(())
}

async fn owe(conn: &Connection, entry: &NewEntry) -> Result<Seq, StorageError> {
    let encode = |e: serde_json::Error| StorageError::Failed(format!("entry: {e}"));
    let cells = serde_json::to_string(&entry.cells).map_err(encode)?;
    let actor = serde_json::to_string(&entry.actor).map_err(encode)?;
    let ms = to_sql_ms(entry.accepted_ms);
    conn.execute(
        "INSERT INTO crossfade_outbox (path, resource, row_id, cells, actor, accepted_ms, due_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
        params![entry.path.as_str(), entry.resource.as_str(), entry.row.as_str(), cells, actor, ms],
    )
    .await?;
    Ok(Seq(conn.last_insert_rowid()))
}

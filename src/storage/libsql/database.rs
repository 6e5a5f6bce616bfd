//! A connection with what is kept beside it: prepared statements, and numbers of texts.

use std::collections::HashMap;

use libsql::{Connection, Row, Statement, Transaction, TransactionBehavior, Value};
use mergeable_store::Text;

use super::lease::Lease;
use super::text;
use crate::migration::PathId;
use crate::storage::{Generation, StorageError};

/// Numbers that are remembered of ids, and of paths; past it they are asked for anew.
const MAX_REMEMBERED: usize = 65_536;

/// A database with its one connection.
pub(super) struct Database {
    conn: Connection,
    /// Statements made ready once. Over the network none are: each transaction is a stream of its own.
    statements: Option<HashMap<&'static str, Statement>>,
    pub(super) numbers: Numbers,
    /// Something went wrong with the connection.
    failed: bool,
    /// The database handle must outlive its connection.
    database: libsql::Database,
}

/// What a storage has open.
pub(super) enum Databases {
    /// All in one: a file of an older version.
    One(Database),
    /// Over the network, for this process alone.
    Leased(Database, Lease),
    /// Over the network, beside the process that has it.
    BesideLeased(Database),
    /// The store file, and the control file beside it.
    Apart {
        /// Nobody else writes it.
        store: Database,
        /// Others may write it at any time.
        control: Database,
    },
    /// Beside the process that has the store file.
    Beside {
        /// Only to be read.
        store: Database,
        /// Also written by others.
        control: Database,
    },
}

impl Databases {
    /// Where everything is but control values.
    pub(super) fn store(&mut self) -> &mut Database {
        match self {
            Self::One(store)
            | Self::Leased(store, _)
            | Self::BesideLeased(store)
            | Self::Apart { store, .. }
            | Self::Beside { store, .. } => store,
        }
    }

    /// The same, to be written.
    pub(super) fn writable_store(&mut self) -> Result<Writable<'_>, StorageError> {
        match self {
            Self::One(store) | Self::Apart { store, .. } => Ok((store, None)),
            Self::Leased(store, lease) => Ok((store, Some(lease))),
            Self::Beside { .. } | Self::BesideLeased(_) => {
                let reason = "another process has it: only control values can be written beside it";
                Err(StorageError::Failed(reason.to_owned()))
            }
        }
    }

    /// Where control values are.
    pub(super) fn control(&mut self) -> &mut Database {
        match self {
            Self::One(all) | Self::Leased(all, _) | Self::BesideLeased(all) => all,
            Self::Apart { control, .. } | Self::Beside { control, .. } => control,
        }
    }

    /// The same, to be written.
    pub(super) fn writable_control(&mut self) -> Writable<'_> {
        match self {
            Self::Leased(all, lease) => (all, Some(lease)),
            Self::One(all) | Self::BesideLeased(all) => (all, None),
            Self::Apart { control, .. } | Self::Beside { control, .. } => (control, None),
        }
    }

    /// The epoch of this process, if it has the database over the network.
    pub(super) const fn epoch(&self) -> Option<u64> {
        match self {
            Self::Leased(_, lease) => Some(lease.epoch()),
            _ => None,
        }
    }

    /// Gives up what was taken over the network.
    pub(super) async fn release(self) {
        if let Self::Leased(database, lease) = self {
            lease.release(&database).await;
        }
    }

    /// When it is next to be said that this process is there.
    pub(super) fn due(&self) -> Option<tokio::time::Instant> {
        match self {
            Self::Leased(_, lease) => Some(lease.due()),
            _ => None,
        }
    }

    /// Says so, if it is time. A database that does not answer is asked again later: what is done meanwhile is fenced.
    ///
    /// # Errors
    /// [`StorageError::Fenced`] if another process has the database by now.
    pub(super) async fn say_if_due(&mut self) -> Result<(), StorageError> {
        let Self::Leased(database, lease) = self else { return Ok(()) };
        if lease.due() > tokio::time::Instant::now() {
            return Ok(());
        }
        match lease.say(database).await {
            Err(StorageError::Fenced) => Err(StorageError::Fenced),
            Err(error) => {
                tracing::debug!(%error, "the database does not hear that this process is there");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

/// A database, and what must be in force for it to be written.
pub(super) type Writable<'a> = (&'a mut Database, Option<&'a mut Lease>);

/// Numbers that stand for texts in the tables. A transaction that fails may have made some of them,
/// so they are forgotten with it.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    paths: HashMap<PathId, i64>,
    ids: HashMap<Text, i64>,
    texts: HashMap<i64, Text>,
}

impl Numbers {
    fn forget(&mut self) {
        *self = Self::default();
    }

    fn remember(&mut self, id: &Text, number: i64) {
        if self.ids.len() >= MAX_REMEMBERED || self.texts.len() >= MAX_REMEMBERED {
            self.ids.clear();
            self.texts.clear();
        }
        self.ids.insert(id.clone(), number);
        self.texts.insert(number, id.clone());
    }
}

impl Database {
    pub(super) fn new(database: libsql::Database, conn: Connection, is_local: bool) -> Self {
        let statements = is_local.then(HashMap::new);
        Self { conn, statements, numbers: Numbers::default(), failed: false, database }
    }

    pub(super) fn conn(&self) -> &Connection {
        &self.conn
    }

    /// Begins a unit of work: all of it becomes durable at its end, or nothing.
    pub(super) async fn begin(&mut self) -> Result<Work<'_>, StorageError> {
        self.renew();
        match self.conn.transaction_with_behavior(TransactionBehavior::Immediate).await {
            Ok(tx) => Ok(Work { database: self, tx: Some(tx) }),
            Err(error) => {
                self.failed = true;
                Err(error.into())
            }
        }
    }

    /// Reads outside of a transaction.
    pub(super) fn read(&mut self) -> Work<'_> {
        self.renew();
        Work { database: self, tx: None }
    }

    /// Over the network, a connection is a stream that its server knows: one that was started anew, or has given the stream up,
    /// answers nothing on it ever again.
    fn renew(&mut self) {
        if !self.failed || self.statements.is_some() {
            return;
        }
        match self.database.connect() {
            Ok(conn) => (self.conn, self.failed) = (conn, false),
            Err(error) => tracing::debug!(%error, "the database cannot be connected to again"),
        }
    }
}

/// Statements that belong together.
pub(super) struct Work<'a> {
    database: &'a mut Database,
    tx: Option<Transaction>,
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        // Not committed: what was numbered in it may be rolled back. Dropping `tx` does that.
        if self.tx.is_some() {
            self.database.numbers.forget();
        }
    }
}

impl Work<'_> {
    pub(super) async fn commit(mut self) -> Result<(), StorageError> {
        if let Some(tx) = self.tx.take() {
            let committed = tx.commit().await;
            if committed.is_err() {
                self.database.failed = true;
                self.database.numbers.forget();
            }
            committed?;
        }
        Ok(())
    }

    fn conn(&self) -> &Connection {
        self.tx.as_deref().unwrap_or(&self.database.conn)
    }

    /// Runs a statement that gives no rows; how many rows it changed.
    pub(super) async fn execute(
        &mut self,
        sql: &'static str,
        params: Vec<Value>,
    ) -> libsql::Result<u64> {
        let Some(statements) = &mut self.database.statements else {
            let done = self.conn().execute(sql, params).await;
            self.database.failed |= done.is_err();
            return done;
        };
        let statement = kept(statements, &self.database.conn, sql).await?;
        let done = statement.execute(params).await;
        statement.reset();
        done.map(|changed| changed as u64)
    }

    /// Runs a question, and reads each row of its answer.
    pub(super) async fn query<T>(
        &mut self,
        sql: &'static str,
        params: Vec<Value>,
        mut read: impl FnMut(&Row) -> Result<T, StorageError>,
    ) -> Result<Vec<T>, StorageError> {
        let mut found = Vec::new();
        self.each(sql, params, |row| {
            found.push(read(row)?);
            Ok(true)
        })
        .await?;
        Ok(found)
    }

    /// Runs a question, and reads rows of its answer as long as `read` says `true`.
    pub(super) async fn each(
        &mut self,
        sql: &'static str,
        params: Vec<Value>,
        mut read: impl FnMut(&Row) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        let Some(statements) = &mut self.database.statements else {
            let asking = async {
                let mut rows = self.conn().query(sql, params).await?;
                while let Some(row) = rows.next().await? {
                    if !read(&row)? {
                        break;
                    }
                }
                Ok(())
            };
            let asked = asking.await;
            self.database.failed |= asked.is_err();
            return asked;
        };
        let statement = kept(statements, &self.database.conn, sql).await?;
        let read_all = async {
            let mut rows = statement.query(params).await?;
            while let Some(row) = rows.next().await? {
                if !read(&row)? {
                    break;
                }
            }
            Ok(())
        };
        let done = read_all.await;
        // A statement that is not reset would keep its lock on the file.
        statement.reset();
        done
    }

    pub(super) fn last_insert_rowid(&self) -> i64 {
        self.conn().last_insert_rowid()
    }

    /// The number of a path's current generation, which is made if the path is new.
    pub(super) async fn current(&mut self, path: &PathId) -> Result<i64, StorageError> {
        if let Some(number) = self.known_current(path).await? {
            return Ok(number);
        }
        let sql = "INSERT INTO crossfade_paths (path, generation, standing)
                   VALUES (?1, ?2, 'current')";
        let generation = i64::from(Generation::FIRST.number());
        self.execute(sql, vec![path.as_str().into(), generation.into()]).await?;
        let number = self.last_insert_rowid();
        self.database.numbers.paths.insert(path.clone(), number);
        Ok(number)
    }

    /// The number of a path's current generation, if anything was ever stored of the path.
    pub(super) async fn known_current(
        &mut self,
        path: &PathId,
    ) -> Result<Option<i64>, StorageError> {
        if let Some(number) = self.database.numbers.paths.get(path) {
            return Ok(Some(*number));
        }
        let sql = "SELECT id FROM crossfade_paths WHERE path = ?1 AND standing = 'current'";
        let read = |row: &Row| Ok(row.get::<i64>(0)?);
        let found = self.query(sql, vec![path.as_str().into()], read).await?.pop();
        let paths = &mut self.database.numbers.paths;
        if let Some(number) = found {
            if paths.len() >= MAX_REMEMBERED {
                paths.clear();
            }
            paths.insert(path.clone(), number);
        }
        Ok(found)
    }

    /// Another generation of the path is current from now on.
    pub(super) fn forget_current(&mut self, path: &PathId) {
        self.database.numbers.paths.remove(path);
    }

    /// The number of an id, which is made if it is new.
    pub(super) async fn number(&mut self, id: &Text) -> Result<i64, StorageError> {
        if let Some(number) = self.known_number(id).await? {
            return Ok(number);
        }
        let sql = "INSERT INTO crossfade_ids (text) VALUES (?1)";
        self.execute(sql, vec![text::encode(id).into()]).await?;
        let number = self.last_insert_rowid();
        self.database.numbers.remember(id, number);
        Ok(number)
    }

    /// The number of an id, if it has one.
    pub(super) async fn known_number(&mut self, id: &Text) -> Result<Option<i64>, StorageError> {
        if let Some(number) = self.database.numbers.ids.get(id) {
            return Ok(Some(*number));
        }
        let sql = "SELECT id FROM crossfade_ids WHERE text = ?1";
        let read = |row: &Row| Ok(row.get::<i64>(0)?);
        let found = self.query(sql, vec![text::encode(id).into()], read).await?.pop();
        if let Some(number) = found {
            self.database.numbers.remember(id, number);
        }
        Ok(found)
    }

    /// The id that a number stands for.
    pub(super) async fn id(&mut self, number: i64) -> Result<Text, StorageError> {
        if let Some(id) = self.database.numbers.texts.get(&number) {
            return Ok(id.clone());
        }
        let sql = "SELECT text FROM crossfade_ids WHERE id = ?1";
        let read = |row: &Row| text::decode(&row.get::<String>(0)?);
        let found = self.query(sql, vec![number.into()], read).await?.pop();
        let id = found.ok_or_else(|| StorageError::Damaged {
            what: "id",
            reason: format!("number {number} stands for nothing"),
        })?;
        self.database.numbers.remember(&id, number);
        Ok(id)
    }
}

async fn kept<'a>(
    statements: &'a mut HashMap<&'static str, Statement>,
    conn: &Connection,
    sql: &'static str,
) -> libsql::Result<&'a Statement> {
    // Looked up twice when it is there: a borrow that leaves the function cannot end in one branch.
    if !statements.contains_key(sql) {
        statements.insert(sql, conn.prepare(sql).await?);
    }
    statements.get(sql).ok_or_else(|| libsql::Error::Misuse("statement not kept".to_owned()))
}

//! How databases are opened: which files there are, who may have them, and how older ones are brought up to date.
//!
//! A local database is two files. The *store file* (paths, bases, outbox) belongs to one process, which holds its lock
//! as long as it lives; it has a write-ahead log, since a commit is then one flush to disk instead of five. The SQLite
//! inside libSQL predates the fix of a bug that loses commits in that mode when two connections write or checkpoint
//! at the same time: here there is one such connection, others only read. The *control file* beside it (control values:
//! stages, the rollback switch) may be written by other processes at any time, and has a rollback journal.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libsql::{Builder, Connection, OpenFlags, TransactionBehavior};

use super::database::{Database, Databases};
use super::lease::{Lease, Timing};
use crate::storage::{StorageError, schema};

/// Every commit is flushed. What the log keeps of the disk when it is empty again has a bound.
const STORE_PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
     PRAGMA wal_autocheckpoint = 1000; PRAGMA journal_size_limit = 67108864;
     PRAGMA cache_size = -16384;";

/// The journal is cut to nothing rather than deleted, since with `FULL` only that is synchronised as well: a deletion
/// that a power cut undoes would bring the journal back, and take the last commit with it.
const CONTROL_PRAGMAS: &str = "PRAGMA journal_mode = TRUNCATE; PRAGMA synchronous = FULL;";

/// How long a file that another connection has is waited for.
const BUSY: Duration = Duration::from_secs(5);
/// Between two tries at a file that is locked.
const LOCKED_WAIT: Duration = Duration::from_millis(5);

/// The newest version in which control values were in the store file.
const LAST_WITH_CONTROL: i64 = 2;

/// Where a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Location {
    File(PathBuf),
    /// A file that another process may have.
    Beside(PathBuf),
    Remote {
        url: String,
        token: String,
    },
    /// The same, which another process may have.
    BesideRemote {
        url: String,
        token: String,
    },
}

impl Location {
    /// How it is called in messages: never with credentials.
    pub(super) fn url(&self) -> String {
        match self {
            Self::File(path) | Self::Beside(path) => path.display().to_string(),
            Self::Remote { url, .. } | Self::BesideRemote { url, .. } => url.clone(),
        }
    }
}

/// The file beside `path` whose name ends with `suffix` as well.
pub(super) fn companion(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Takes a local database for this process alone, as long as the file stays open.
pub(super) fn take_lock(path: &Path) -> Result<File, StorageError> {
    let url = path.display().to_string();
    let failed = |e: std::io::Error| StorageError::Open { url: url.clone(), reason: e.to_string() };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(companion(path, ".lock"))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StorageError::InUse { url }),
        Err(std::fs::TryLockError::Error(e)) => Err(failed(e)),
    }
}

/// Opens what there is at a location.
pub(super) async fn open(location: &Location) -> Result<Databases, StorageError> {
    let opening = Opening { url: location.url() };
    match location {
        Location::File(path) => opening.file(path).await,
        Location::Beside(path) => opening.beside(path).await,
        Location::Remote { url, token } => opening.remote(url, token).await,
        Location::BesideRemote { url, token } => opening.beside_remote(url, token).await,
    }
}

struct Opening {
    url: String,
}

impl Opening {
    fn failed(&self, error: libsql::Error) -> StorageError {
        StorageError::Open { url: self.url.clone(), reason: error.to_string() }
    }

    async fn file(&self, path: &Path) -> Result<Databases, StorageError> {
        self.may_open(self.version_without_a_trace(path).await)?;
        let (mut store, found) = self.unlocked(async || store(path).await).await?;
        self.may_open(found)?;
        let mut control = self.control(path).await?;
        move_control(&mut store, &mut control).await?;
        Ok(Databases::Apart { store, control })
    }

    /// The control file, and the store to be looked at. Before the process that has an older database has moved its
    /// control values, they are where that process looks for them.
    async fn beside(&self, path: &Path) -> Result<Databases, StorageError> {
        let store = match path.exists() {
            true => Some(self.unlocked(async || beside_store(path).await).await?),
            false => None,
        };
        let store = match store {
            Some((older, 1..=LAST_WITH_CONTROL)) => {
                self.prepare(older.conn(), CONTROL_PRAGMAS).await?;
                return Ok(Databases::One(older));
            }
            None | Some((_, 0)) => self.nothing().await?,
            Some((store, found)) => {
                self.may_open(found)?;
                store
            }
        };
        Ok(Databases::Beside { store, control: self.control(path).await? })
    }

    /// The version as somebody sees it who only reads: whoever might write would bring the end of the log into the file
    /// when closing it, also of a database that is too new. 0 if that tells nothing.
    async fn version_without_a_trace(&self, path: &Path) -> i64 {
        if !path.exists() {
            return 0;
        }
        match self.connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).await {
            Ok(store) => stored_version(store.conn()).await.unwrap_or(0),
            Err(_) => 0,
        }
    }

    /// A store without anything in it.
    async fn nothing(&self) -> Result<Database, StorageError> {
        let store = self.connect(Path::new(":memory:"), OpenFlags::default()).await?;
        self.upgrade(store.conn(), 0, &schema::STEPS).await?;
        Ok(store)
    }

    async fn remote(&self, url: &str, token: &str) -> Result<Databases, StorageError> {
        let (database, found) = self.connect_remote(url, token).await?;
        if found == 0 {
            self.upgrade(database.conn(), 0, &schema::STEPS).await?;
        }
        // Nobody brings a database up to date that another process has.
        let lease = Lease::take(&database, Timing::USUAL, &self.url).await?;
        let found = self.version(database.conn()).await?;
        self.upgrade(database.conn(), found, &schema::STEPS).await?;
        Ok(Databases::Leased(database, lease))
    }

    /// Control values can be written; they are the same in all versions.
    async fn beside_remote(&self, url: &str, token: &str) -> Result<Databases, StorageError> {
        let (database, found) = self.connect_remote(url, token).await?;
        if found == 0 {
            self.upgrade(database.conn(), 0, &schema::STEPS).await?;
        }
        Ok(Databases::BesideLeased(database))
    }

    async fn connect_remote(
        &self,
        url: &str,
        token: &str,
    ) -> Result<(Database, i64), StorageError> {
        let builder = Builder::new_remote(url.to_owned(), token.to_owned());
        let database = builder.build().await.map_err(|e| self.failed(e))?;
        let conn = database.connect().map_err(|e| self.failed(e))?;
        let found = self.version(&conn).await?;
        self.may_open(found)?;
        Ok((Database::new(database, conn, false), found))
    }

    /// Tries again while another connection has a file: other processes may be making it at the same time, and not all of that
    /// heeds the time for which SQLite waits for a lock.
    async fn unlocked<T>(
        &self,
        attempt: impl AsyncFn() -> libsql::Result<T>,
    ) -> Result<T, StorageError> {
        let begun = Instant::now();
        loop {
            match attempt().await {
                // This thread is the database's own.
                Err(error) if is_locked(&error) && begun.elapsed() < BUSY => {
                    std::thread::sleep(LOCKED_WAIT);
                }
                opened => return opened.map_err(|e| self.failed(e)),
            }
        }
    }

    async fn control(&self, path: &Path) -> Result<Database, StorageError> {
        let file = companion(path, ".control");
        self.unlocked(async || control(&file).await).await
    }

    async fn connect(&self, path: &Path, flags: OpenFlags) -> Result<Database, StorageError> {
        connect(path, flags).await.map_err(|e| self.failed(e))
    }

    async fn prepare(&self, conn: &Connection, pragmas: &str) -> Result<(), StorageError> {
        conn.execute_batch(pragmas).await.map(drop).map_err(|e| self.failed(e))
    }

    fn may_open(&self, found: i64) -> Result<(), StorageError> {
        if found > schema::VERSION {
            let known = schema::VERSION;
            return Err(StorageError::Newer { url: self.url.clone(), found, known });
        }
        Ok(())
    }

    async fn version(&self, conn: &Connection) -> Result<i64, StorageError> {
        stored_version(conn).await.map_err(|e| self.failed(e))
    }

    async fn upgrade(
        &self,
        conn: &Connection,
        found: i64,
        steps: &[&'static str],
    ) -> Result<(), StorageError> {
        upgrade(conn, found, steps).await.map_err(|e| self.failed(e))
    }
}

/// The store file, brought up to date, with the version that it had. One that is too new is left as it is.
async fn store(path: &Path) -> libsql::Result<(Database, i64)> {
    let store = connect(path, OpenFlags::default()).await?;
    let found = stored_version(store.conn()).await?;
    if found <= schema::VERSION {
        store.conn().execute_batch(STORE_PRAGMAS).await?;
        upgrade(store.conn(), found, &schema::STEPS).await?;
    }
    Ok((store, found))
}

/// The store file with its version: to be read only, unless it is an older one, in which control values are.
async fn beside_store(path: &Path) -> libsql::Result<(Database, i64)> {
    let store = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).await?;
    match stored_version(store.conn()).await {
        Ok(found) if found > LAST_WITH_CONTROL => Ok((store, found)),
        // Also one that a process left behind in the middle of a commit: only a writer can undo that.
        _ => {
            drop(store);
            let older = connect(path, OpenFlags::default()).await?;
            match stored_version(older.conn()).await? {
                found @ 0..=LAST_WITH_CONTROL => Ok((older, found)),
                // The first look failed for a moment. Its process alone may have it for writing.
                found => Ok((connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).await?, found)),
            }
        }
    }
}

async fn control(file: &Path) -> libsql::Result<Database> {
    let control = connect(file, OpenFlags::default()).await?;
    let found = stored_version(control.conn()).await?;
    control.conn().execute_batch(CONTROL_PRAGMAS).await?;
    upgrade(control.conn(), found, &schema::CONTROL_STEPS).await?;
    Ok(control)
}

async fn connect(path: &Path, flags: OpenFlags) -> libsql::Result<Database> {
    let database = Builder::new_local(path).flags(flags).build().await?;
    let conn = database.connect()?;
    conn.busy_timeout(BUSY)?;
    Ok(Database::new(database, conn, true))
}

/// A file with all tables that several connections may write, as a database over the network is.
#[cfg(test)]
pub(super) async fn shared_for_tests(path: &Path) -> Database {
    let shared = connect(path, OpenFlags::default()).await.unwrap();
    let found = stored_version(shared.conn()).await.unwrap();
    upgrade(shared.conn(), found, &schema::STEPS).await.unwrap();
    shared
}

/// Whether another connection has the file for now (`SQLITE_BUSY`, with or without an extended code).
const fn is_locked(error: &libsql::Error) -> bool {
    matches!(error, libsql::Error::SqliteFailure(code, _) if *code & 0xff == 5)
}

/// The version of the schema; 0 for an empty database. Reads only.
async fn stored_version(conn: &Connection) -> libsql::Result<i64> {
    let sql = "SELECT count(*) FROM sqlite_master WHERE name = 'crossfade_control'";
    let mut rows = conn.query(sql, ()).await?;
    let exists = matches!(rows.next().await?, Some(row) if row.get::<i64>(0)? > 0);
    if !exists {
        return Ok(0);
    }
    let sql = "SELECT value FROM crossfade_control WHERE key = 'schema_version'";
    let mut rows = conn.query(sql, ()).await?;
    let Some(row) = rows.next().await? else { return Ok(0) };
    Ok(row.get::<String>(0)?.parse().unwrap_or(i64::MAX))
}

/// All steps at once: who looks meanwhile must not take a database that is being made for one of an older version.
async fn upgrade(conn: &Connection, found: i64, steps: &[&'static str]) -> libsql::Result<()> {
    let newest = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    if found >= newest {
        return Ok(());
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).await?;
    // Another process may have done some of it in between.
    let found = stored_version(&tx).await?;
    for (_, script) in (0_i64..).zip(steps).skip_while(|(step, _)| *step < found) {
        tx.execute_batch(script).await?;
    }
    tx.execute(
        "INSERT INTO crossfade_control (key, value) VALUES ('schema_version', ?1)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        [found.max(newest).to_string()],
    )
    .await?;
    tx.commit().await
}

/// Brings control values from where an older version kept them, unless they are known already: they are there before
/// they are gone here, so that a kill in between does no harm.
async fn move_control(store: &mut Database, control: &mut Database) -> Result<(), StorageError> {
    let sql = "SELECT key, value FROM crossfade_control WHERE key <> 'schema_version'";
    let read = |row: &libsql::Row| Ok((row.get::<String>(0)?, row.get::<String>(1)?));
    let left = store.read().query(sql, Vec::new(), read).await?;
    if left.is_empty() {
        return Ok(());
    }
    let mut work = control.begin().await?;
    for (key, value) in left {
        let sql = "INSERT INTO crossfade_control (key, value) VALUES (?1, ?2)
                   ON CONFLICT (key) DO NOTHING";
        work.execute(sql, vec![key.into(), value.into()]).await?;
    }
    work.commit().await?;
    let mut work = store.begin().await?;
    let sql = "DELETE FROM crossfade_control WHERE key <> 'schema_version'";
    work.execute(sql, Vec::new()).await?;
    work.commit().await
}

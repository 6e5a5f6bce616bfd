//! [`Storage`] on libSQL: a local file, or Turso and sqld over the network.
//!
//! A local libSQL database works synchronously inside its futures, so it lives on a thread of its own,
//! the only writer. Commits that wait at the same time become one transaction (group commit).

mod database;
mod ops;
mod paths;
mod read;
mod records;
mod text;

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use database::{Database, Work};
use libsql::{Builder, Connection};
use tokio::sync::{mpsc, oneshot};

use super::path::{CountChunk, CountCursor, Generation, PathChunk, PathCursor, StoredGeneration};
use super::types::{Base, OutboxEntry, OutboxSummary, Seq, Transaction};
use super::{BoxFuture, Storage, StorageError, schema};
use crate::migration::{PathId, ResourceName, RowId};

/// Commits that may wait for the database thread; the next one waits for a place.
const QUEUE: usize = 1024;
/// Commits that become one transaction at most.
const GROUP: usize = 256;

/// A rollback journal: the SQLite inside predates the fix of a lost-commit bug in WAL mode. It is cut to
/// nothing rather than deleted, since with `FULL` only that is synchronised as well: a deletion that a
/// power cut undoes would bring the journal back, and take the last commit with it.
const PRAGMAS: &str =
    "PRAGMA journal_mode = TRUNCATE; PRAGMA synchronous = FULL; PRAGMA cache_size = -16384;";

type Reply<T> = oneshot::Sender<Result<T, StorageError>>;
type ReadJob = Box<dyn for<'a> FnOnce(&'a mut Work<'_>) -> BoxLocal<'a, ()> + Send>;
type BoxLocal<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + 'a>>;

enum Job {
    Commit(Transaction, Reply<Vec<Seq>>),
    Read(ReadJob),
}

/// Where a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Location {
    File(PathBuf),
    /// A file that another process may have.
    Beside(PathBuf),
    Remote {
        url: String,
        token: String,
    },
}

/// Storage in a libSQL database.
#[derive(Debug, Clone)]
pub struct LibsqlStorage {
    jobs: mpsc::Sender<Job>,
}

impl LibsqlStorage {
    /// Opens a local file, made when absent, and takes it for this process alone.
    ///
    /// # Errors
    /// [`StorageError::InUse`] if another process has it, [`StorageError::Newer`] if a newer version
    /// wrote it, [`StorageError::Open`] otherwise.
    pub async fn open_file(path: &Path) -> Result<Self, StorageError> {
        let url = path.display().to_string();
        let lock = take_lock(path, &url)?;
        Self::open(Location::File(path.to_owned()), url, Some(lock)).await
    }

    /// Opens a local file beside the process that has it, for a single control value. What that
    /// process keeps in memory must not be written through this. An older schema is left as it is, for an
    /// older process may be using it; control values are the same in all.
    ///
    /// # Errors
    /// As [`LibsqlStorage::open_file`], but never [`StorageError::InUse`].
    pub async fn open_beside(path: &Path) -> Result<Self, StorageError> {
        Self::open(Location::Beside(path.to_owned()), path.display().to_string(), None).await
    }

    /// Opens Turso or sqld over the network (`libsql://`, `https://`, `http://`).
    ///
    /// # Errors
    /// As [`LibsqlStorage::open_file`].
    pub async fn open_remote(url: &str, token: String) -> Result<Self, StorageError> {
        Self::open(Location::Remote { url: url.to_owned(), token }, url.to_owned(), None).await
    }

    async fn open(
        location: Location,
        url: String,
        lock: Option<File>,
    ) -> Result<Self, StorageError> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (opened, is_open) = oneshot::channel();
        let thread_url = url.clone();
        std::thread::Builder::new()
            .name("crossfade-db".to_owned())
            .spawn(move || run_thread(&location, thread_url, lock, queue, opened))
            .map_err(|e| StorageError::Open { url, reason: e.to_string() })?;
        is_open.await.map_err(|_| StorageError::Closed)??;
        Ok(Self { jobs })
    }

    async fn read<T, F>(&self, job: F) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Work<'_>) -> BoxLocal<'a, Result<T, StorageError>>
            + Send
            + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: ReadJob = Box::new(move |work| {
            Box::pin(async move {
                // A caller that went away does not want the answer any more.
                let _ = reply.send(job(work).await);
            })
        });
        self.jobs.send(Job::Read(job)).await.map_err(|_| StorageError::Closed)?;
        answer.await.map_err(|_| StorageError::Closed)?
    }
}

fn take_lock(path: &Path, url: &str) -> Result<File, StorageError> {
    let open_error =
        |e: std::io::Error| StorageError::Open { url: url.to_owned(), reason: e.to_string() };
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(PathBuf::from(name))
        .map_err(open_error)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StorageError::InUse { url: url.to_owned() }),
        Err(std::fs::TryLockError::Error(e)) => Err(open_error(e)),
    }
}

fn run_thread(
    location: &Location,
    url: String,
    // Held as long as the connection lives: two processes would each believe their memory.
    _lock: Option<File>,
    queue: mpsc::Receiver<Job>,
    opened: oneshot::Sender<Result<(), StorageError>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            let _ = opened.send(Err(StorageError::Open { url, reason: e.to_string() }));
            return;
        }
    };
    runtime.block_on(async move {
        match connect(location, &url).await {
            Ok(mut database) => {
                if opened.send(Ok(())).is_ok() {
                    serve(&mut database, queue).await;
                }
            }
            Err(e) => {
                let _ = opened.send(Err(e));
            }
        }
    });
}

async fn connect(location: &Location, url: &str) -> Result<Database, StorageError> {
    let failed =
        |e: libsql::Error| StorageError::Open { url: url.to_owned(), reason: e.to_string() };
    let database = match location {
        Location::File(path) | Location::Beside(path) => Builder::new_local(path).build().await,
        Location::Remote { url, token } => {
            Builder::new_remote(url.clone(), token.clone()).build().await
        }
    }
    .map_err(failed)?;
    let conn = database.connect().map_err(failed)?;
    let is_local = !matches!(location, Location::Remote { .. });
    if is_local {
        conn.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
    }
    let found = stored_version(&conn).await.map_err(failed)?;
    if found > schema::VERSION {
        return Err(StorageError::Newer { url: url.to_owned(), found, known: schema::VERSION });
    }
    if is_local {
        conn.execute_batch(PRAGMAS).await.map_err(failed)?;
    }
    if found == 0 || !matches!(location, Location::Beside(_)) {
        upgrade(&conn, found).await.map_err(failed)?;
    }
    Ok(Database::new(database, conn, is_local))
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

async fn upgrade(conn: &Connection, found: i64) -> libsql::Result<()> {
    for (step, script) in (0_i64..).zip(schema::STEPS).skip_while(|(step, _)| *step < found) {
        let tx = conn.transaction_with_behavior(libsql::TransactionBehavior::Immediate).await?;
        tx.execute_batch(script).await?;
        tx.execute(
            "INSERT INTO crossfade_control (key, value) VALUES ('schema_version', ?1)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [(step + 1).to_string()],
        )
        .await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Works until every handle is gone.
async fn serve(database: &mut Database, mut queue: mpsc::Receiver<Job>) {
    let mut next = queue.recv().await;
    while let Some(job) = next.take() {
        match job {
            Job::Read(read) => read(&mut database.read()).await,
            Job::Commit(transaction, reply) => {
                let mut group = vec![(transaction, reply)];
                while group.len() < GROUP {
                    match queue.try_recv() {
                        Ok(Job::Commit(transaction, reply)) => group.push((transaction, reply)),
                        // A read that arrived behind these commits must see them.
                        Ok(read) => {
                            next = Some(read);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                commit_group(database, group).await;
            }
        }
        if next.is_none() {
            next = queue.recv().await;
        }
    }
}

async fn commit_group(database: &mut Database, group: Vec<(Transaction, Reply<Vec<Seq>>)>) {
    let (transactions, replies): (Vec<_>, Vec<_>) = group.into_iter().unzip();
    metrics::histogram!("crossfade_commit_group_size").record(transactions.len() as f64);
    match ops::apply_all(database, &transactions).await {
        Ok(seqs) => {
            for (reply, seqs) in replies.into_iter().zip(seqs) {
                let _ = reply.send(Ok(seqs));
            }
        }
        // One bad transaction must not take its neighbours with it: each is tried alone.
        Err(_) if transactions.len() > 1 => {
            for (transaction, reply) in transactions.into_iter().zip(replies) {
                let alone = [transaction];
                let outcome = ops::apply_all(database, &alone).await;
                let _ = reply.send(outcome.map(|mut seqs| seqs.pop().unwrap_or_default()));
            }
        }
        Err(e) => {
            metrics::counter!("crossfade_commit_failed_total").increment(1);
            for reply in replies {
                let _ = reply.send(Err(e.clone()));
            }
        }
    }
}

impl Storage for LibsqlStorage {
    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Vec<Seq>, StorageError>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.jobs
                .send(Job::Commit(transaction, reply))
                .await
                .map_err(|_| StorageError::Closed)?;
            answer.await.map_err(|_| StorageError::Closed)?
        })
    }

    fn read_path(
        &self,
        path: PathId,
        generation: Option<Generation>,
        after: Option<PathCursor>,
    ) -> BoxFuture<'_, Result<PathChunk, StorageError>> {
        Box::pin(self.read(move |work| {
            Box::pin(async move { paths::read_path(work, &path, generation, after).await })
        }))
    }

    fn generations(
        &self,
        of: Option<PathId>,
    ) -> BoxFuture<'_, Result<Vec<StoredGeneration>, StorageError>> {
        Box::pin(self.read(|work| Box::pin(paths::generations(work, of))))
    }

    fn count(
        &self,
        path: PathId,
        after: Option<CountCursor>,
    ) -> BoxFuture<'_, Result<CountChunk, StorageError>> {
        Box::pin(
            self.read(move |work| Box::pin(async move { paths::count(work, &path, after).await })),
        )
    }

    fn entries_of(&self, path: PathId) -> BoxFuture<'_, Result<Vec<OutboxEntry>, StorageError>> {
        Box::pin(self.read(|work| Box::pin(read::entries_of(work, path))))
    }

    fn owed_counts(&self) -> BoxFuture<'_, Result<Vec<(PathId, u64)>, StorageError>> {
        Box::pin(self.read(|work| Box::pin(read::owed_counts(work))))
    }

    fn bases(
        &self,
        path: PathId,
        resource: ResourceName,
        rows: Vec<RowId>,
    ) -> BoxFuture<'_, Result<Vec<(RowId, Base)>, StorageError>> {
        Box::pin(self.read(|work| Box::pin(read::bases(work, path, resource, rows))))
    }

    fn path_of_row(
        &self,
        resource: ResourceName,
        row: RowId,
    ) -> BoxFuture<'_, Result<Option<PathId>, StorageError>> {
        Box::pin(self.read(|work| Box::pin(read::path_of_row(work, resource, row))))
    }

    fn rows_with_base(
        &self,
        resource: ResourceName,
    ) -> BoxFuture<'_, Result<Vec<(PathId, RowId)>, StorageError>> {
        Box::pin(self.read(|work| Box::pin(read::rows_with_base(work, resource))))
    }

    fn due_entries(
        &self,
        now_ms: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<OutboxEntry>, StorageError>> {
        Box::pin(self.read(move |work| Box::pin(read::due_entries(work, now_ms, limit))))
    }

    fn next_due_ms(&self) -> BoxFuture<'_, Result<Option<u64>, StorageError>> {
        Box::pin(self.read(|work| Box::pin(read::next_due_ms(work))))
    }

    fn outbox_summary(&self, limit: usize) -> BoxFuture<'_, Result<OutboxSummary, StorageError>> {
        Box::pin(self.read(move |work| Box::pin(read::outbox_summary(work, limit))))
    }

    fn control(&self, key: String) -> BoxFuture<'_, Result<Option<String>, StorageError>> {
        Box::pin(self.read(|work| Box::pin(read::control(work, key))))
    }

    fn controls(
        &self,
        prefix: String,
    ) -> BoxFuture<'_, Result<Vec<(String, String)>, StorageError>> {
        Box::pin(self.read(|work| Box::pin(read::controls(work, prefix))))
    }
}

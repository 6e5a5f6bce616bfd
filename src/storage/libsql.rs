//! [`Storage`] on libSQL: a local file, or Turso and sqld over the network.
//!
//! A local libSQL database works synchronously inside its futures, so it lives on a thread of its own,
//! the only writer. Commits that wait at the same time become one transaction (group commit).

mod aliases;
mod database;
mod lease;
mod open;
mod ops;
mod paths;
mod read;
mod records;
mod text;

use std::fs::File;
use std::path::Path;

use database::{Databases, Work};
use open::Location;
use tokio::sync::{mpsc, oneshot, watch};

use super::path::{CountChunk, CountCursor, Generation, PathChunk, PathCursor, StoredGeneration};
use super::types::{
    AskedCreate, AuditRecord, Base, ControlOp, Intent, OutboxEntry, OutboxSummary, OwingPath, Seq,
    Transaction,
};
use super::{BoxFuture, Storage, StorageError};
use crate::migration::{PathId, ResourceName, RowId};

/// Commits that may wait for the database thread; the next one waits for a place.
const QUEUE: usize = 1024;
/// Commits that become one transaction at most.
const GROUP: usize = 256;

type Reply<T> = oneshot::Sender<Result<T, StorageError>>;
type ReadJob = Box<dyn for<'a> FnOnce(&'a mut Work<'_>) -> BoxLocal<'a, ()> + Send>;
type BoxLocal<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + 'a>>;

enum Job {
    Commit(Transaction, Reply<Vec<Seq>>),
    Read(ReadJob),
    CommitControl(Vec<ControlOp>, Reply<()>),
    ReadControl(ReadJob),
}

/// Storage in a libSQL database.
#[derive(Debug, Clone)]
pub struct LibsqlStorage {
    jobs: mpsc::Sender<Job>,
    epoch: Option<u64>,
    fenced: watch::Receiver<bool>,
}

/// What the database's thread tells.
type Opened = oneshot::Sender<Result<Option<u64>, StorageError>>;

impl LibsqlStorage {
    /// Opens a local file, made when absent, and takes it for this process alone. Its control values are in a
    /// file beside it, `<file>.control`.
    ///
    /// # Errors
    /// [`StorageError::InUse`] if another process has it, [`StorageError::Newer`] if a newer version
    /// wrote it, [`StorageError::Open`] otherwise.
    pub async fn open_file(path: &Path) -> Result<Self, StorageError> {
        let lock = open::take_lock(path)?;
        Self::open(Location::File(path.to_owned()), Some(lock)).await
    }

    /// Opens a local file beside the process that has it: control values can be read and written, all else only
    /// read, and nothing if there is no such file yet. An older schema is left as it is, for an older process may
    /// be using it; control values are the same in all.
    ///
    /// # Errors
    /// As [`LibsqlStorage::open_file`], but never [`StorageError::InUse`].
    pub async fn open_beside(path: &Path) -> Result<Self, StorageError> {
        Self::open(Location::Beside(path.to_owned()), None).await
    }

    /// Opens Turso or sqld over the network (`libsql://`, `https://`, `http://`), and takes it for this process alone: another one
    /// that has it is watched until it has not been heard of for five seconds.
    ///
    /// # Errors
    /// As [`LibsqlStorage::open_file`].
    pub async fn open_remote(url: &str, token: String) -> Result<Self, StorageError> {
        Self::open(Location::Remote { url: url.to_owned(), token }, None).await
    }

    /// Opens a database over the network beside the process that has it: control values can be read and written, all else
    /// only read.
    ///
    /// # Errors
    /// As [`LibsqlStorage::open_file`], but never [`StorageError::InUse`].
    pub async fn open_remote_beside(url: &str, token: String) -> Result<Self, StorageError> {
        Self::open(Location::BesideRemote { url: url.to_owned(), token }, None).await
    }

    async fn open(location: Location, lock: Option<File>) -> Result<Self, StorageError> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (opened, is_open) = oneshot::channel();
        let (tell, fenced) = watch::channel(false);
        let url = location.url();
        std::thread::Builder::new()
            .name("crossfade-db".to_owned())
            .spawn(move || run_thread(&location, lock, queue, opened, &tell))
            .map_err(|e| StorageError::Open { url, reason: e.to_string() })?;
        let epoch = is_open.await.map_err(|_| StorageError::Closed)??;
        Ok(Self { jobs, epoch, fenced })
    }

    async fn read<T, F>(&self, job: F) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Work<'_>) -> BoxLocal<'a, Result<T, StorageError>>
            + Send
            + 'static,
    {
        self.ask(Job::Read, job).await
    }

    async fn ask<T, F>(&self, as_job: fn(ReadJob) -> Job, job: F) -> Result<T, StorageError>
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
        self.jobs.send(as_job(job)).await.map_err(|_| StorageError::Closed)?;
        answer.await.map_err(|_| StorageError::Closed)?
    }
}

fn run_thread(
    location: &Location,
    // Held as long as the connection lives: two processes would each believe their memory.
    _lock: Option<File>,
    queue: mpsc::Receiver<Job>,
    opened: Opened,
    fenced: &watch::Sender<bool>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            let url = location.url();
            let _ = opened.send(Err(StorageError::Open { url, reason: e.to_string() }));
            return;
        }
    };
    runtime.block_on(async move {
        match open::open(location).await {
            Ok(mut databases) => {
                if opened.send(Ok(databases.epoch())).is_ok() {
                    match serve(&mut databases, queue).await {
                        Ended::Unused => {}
                        Ended::Fenced => {
                            metrics::counter!("crossfade_storage_fenced_total").increment(1);
                            tracing::error!("{}", StorageError::Fenced);
                            fenced.send_replace(true);
                        }
                    }
                }
                databases.release().await;
            }
            Err(e) => {
                let _ = opened.send(Err(e));
            }
        }
    });
}

/// Why the database's thread does nothing any more.
enum Ended {
    /// Every handle is gone.
    Unused,
    /// Another process has the database.
    Fenced,
}

/// The next job; `None` if there is none any more. Meanwhile it is said that this process is there, if anybody is to know.
async fn next_job(
    databases: &mut Databases,
    queue: &mut mpsc::Receiver<Job>,
) -> Result<Option<Job>, StorageError> {
    loop {
        // First, also of a process that was stopped for a while: nothing is read that another one may have changed.
        databases.say_if_due().await?;
        let Some(due) = databases.due() else { return Ok(queue.recv().await) };
        tokio::select! {
            job = queue.recv() => return Ok(job),
            () = tokio::time::sleep_until(due) => {}
        }
    }
}

/// Works until every handle is gone, or the database is another's.
async fn serve(databases: &mut Databases, mut queue: mpsc::Receiver<Job>) -> Ended {
    let mut next = None;
    loop {
        let job = match next.take() {
            Some(job) => job,
            None => match next_job(databases, &mut queue).await {
                Ok(Some(job)) => job,
                Ok(None) => return Ended::Unused,
                Err(_) => return Ended::Fenced,
            },
        };
        // It may have waited for longer than another process does.
        if databases.say_if_due().await.is_err() {
            return Ended::Fenced;
        }
        match job {
            Job::Read(read) => read(&mut databases.store().read()).await,
            Job::ReadControl(read) => read(&mut databases.control().read()).await,
            Job::CommitControl(ops, reply) => {
                let done = ops::apply_control(databases.writable_control(), &ops).await;
                let is_fenced = matches!(done, Err(StorageError::Fenced));
                let _ = reply.send(done);
                if is_fenced {
                    return Ended::Fenced;
                }
            }
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
                if let Err(StorageError::Fenced) = commit_group(databases, group).await {
                    return Ended::Fenced;
                }
            }
        }
    }
}

/// Fails only if the database is another's.
async fn commit_group(
    databases: &mut Databases,
    group: Vec<(Transaction, Reply<Vec<Seq>>)>,
) -> Result<(), StorageError> {
    let (transactions, replies): (Vec<_>, Vec<_>) = group.into_iter().unzip();
    metrics::histogram!("crossfade_commit_group_size").record(transactions.len() as f64);
    match apply_all(databases, &transactions).await {
        Ok(seqs) => {
            for (reply, seqs) in replies.into_iter().zip(seqs) {
                let _ = reply.send(Ok(seqs));
            }
        }
        Err(StorageError::Fenced) => {
            for reply in replies {
                let _ = reply.send(Err(StorageError::Fenced));
            }
            return Err(StorageError::Fenced);
        }
        // One bad transaction must not take its neighbours with it: each is tried alone.
        Err(_) if transactions.len() > 1 => {
            for (transaction, reply) in transactions.into_iter().zip(replies) {
                let alone = [transaction];
                let outcome = apply_all(databases, &alone).await;
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
    Ok(())
}

async fn apply_all(
    databases: &mut Databases,
    transactions: &[Transaction],
) -> Result<Vec<Vec<Seq>>, StorageError> {
    ops::apply_all(databases.writable_store()?, transactions).await
}

impl Storage for LibsqlStorage {
    fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    fn fenced(&self) -> BoxFuture<'_, ()> {
        let mut fenced = self.fenced.clone();
        Box::pin(async move {
            // An error means that the thread ended otherwise.
            if fenced.wait_for(|fenced| *fenced).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }

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

    fn commit_control(&self, ops: Vec<ControlOp>) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let job = Job::CommitControl(ops, reply);
            self.jobs.send(job).await.map_err(|_| StorageError::Closed)?;
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

    fn path_of_owed_row(
        &self,
        resource: ResourceName,
        row: RowId,
    ) -> BoxFuture<'_, Result<Option<PathId>, StorageError>> {
        Box::pin(self.read(|work| Box::pin(read::path_of_owed_row(work, resource, row))))
    }

    fn rows_with_base(
        &self,
        resource: ResourceName,
    ) -> BoxFuture<'_, Result<Vec<(PathId, RowId)>, StorageError>> {
        Box::pin(self.read(|work| Box::pin(read::rows_with_base(work, resource))))
    }

    fn legacy_id(
        &self,
        resource: ResourceName,
        row: RowId,
    ) -> BoxFuture<'_, Result<Option<RowId>, StorageError>> {
        Box::pin(self.read(|work| Box::pin(aliases::legacy_id(work, resource, row))))
    }

    fn row_of_legacy_id(
        &self,
        resource: ResourceName,
        legacy_id: RowId,
    ) -> BoxFuture<'_, Result<Option<RowId>, StorageError>> {
        Box::pin(self.read(|work| Box::pin(aliases::row_of_legacy_id(work, resource, legacy_id))))
    }

    fn asked_create(
        &self,
        resource: ResourceName,
        row: RowId,
    ) -> BoxFuture<'_, Result<Option<AskedCreate>, StorageError>> {
        Box::pin(self.read(|work| Box::pin(aliases::asked_create(work, resource, row))))
    }

    fn is_create_refused(
        &self,
        resource: ResourceName,
        row: RowId,
    ) -> BoxFuture<'_, Result<bool, StorageError>> {
        Box::pin(self.read(|work| Box::pin(aliases::is_create_refused(work, resource, row))))
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

    fn outbox_entry(&self, seq: Seq) -> BoxFuture<'_, Result<Option<OutboxEntry>, StorageError>> {
        Box::pin(self.read(move |work| Box::pin(read::outbox_entry(work, seq))))
    }

    fn dead_letters(&self, limit: usize) -> BoxFuture<'_, Result<Vec<OutboxEntry>, StorageError>> {
        Box::pin(self.read(move |work| Box::pin(read::dead_letters(work, limit))))
    }

    fn owed_since(&self, accepted_ms: u64) -> BoxFuture<'_, Result<u64, StorageError>> {
        Box::pin(self.read(move |work| Box::pin(read::owed_since(work, accepted_ms))))
    }

    fn owing_paths(&self, limit: usize) -> BoxFuture<'_, Result<Vec<OwingPath>, StorageError>> {
        Box::pin(self.read(move |work| Box::pin(read::owing_paths(work, limit))))
    }

    fn open_intents(&self, limit: usize) -> BoxFuture<'_, Result<Vec<Intent>, StorageError>> {
        Box::pin(self.read(move |work| Box::pin(read::open_intents(work, limit))))
    }

    fn audit(
        &self,
        before: Option<i64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AuditRecord>, StorageError>> {
        Box::pin(self.ask(Job::ReadControl, move |work| Box::pin(read::audit(work, before, limit))))
    }

    fn control(&self, key: String) -> BoxFuture<'_, Result<Option<String>, StorageError>> {
        Box::pin(self.ask(Job::ReadControl, |work| Box::pin(read::control(work, key))))
    }

    fn controls(
        &self,
        prefix: String,
    ) -> BoxFuture<'_, Result<Vec<(String, String)>, StorageError>> {
        Box::pin(self.ask(Job::ReadControl, |work| Box::pin(read::controls(work, prefix))))
    }
}

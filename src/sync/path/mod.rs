//! One path: a store, its connections, and the task that owns both.
//!
//! Everything that happens to a path goes through its task, one command after the other, in batches: what
//! has come while the last batch was committed is the next one. What a batch changed is committed first,
//! and only then do frames, answers and hashes leave, one frame with all of its changes for everybody. So
//! nothing that a client was told can be lost by a kill (relaxed durability gives that up: frames leave
//! first, the commit follows at once).

mod answer;
mod bases;
mod batch;
mod broadcasts;
mod delivery;
mod gone;
mod indexes;
mod owed;
mod pace;
mod records;
mod sink;
mod task;
mod write;

pub use answer::{Applied, LegacyRow, Source, Wrote};
pub(super) use broadcasts::Broadcasts;
pub(super) use delivery::row_cells;
pub use delivery::{Outcome, Prepared, Settled};
pub use indexes::{PathIndexes, PathView};
pub(super) use pace::Pace;
pub use pace::PaceSettings;
pub(super) use records::load;
pub use sink::CloseReason;
pub(super) use sink::{ClientSink, ClientSource, Outbound, client_channel, client_channel_sharing};
pub(super) use task::{MAX_AHEAD_MS, PathContext, spawn};
pub use write::{StoreDeed, StoreRefusal, StoreWrite, StoreWritten};

use std::sync::Arc;

use mergeable_store::{ClientId, ConnectionId, ContentHashes, Inbound, MergeableStore};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::policy::Writer;
use super::vectors::{Conflict, Folded, Lag, SeenWriter};
use crate::migration::{PathId, ResourceName, RowId};
use crate::storage::Seq;

/// Commands that may wait for a path; the next sender waits for a place (back-pressure on sockets).
const QUEUE: usize = 1024;
/// Bytes of frames that may wait for a path; the next frame waits for a place.
const QUEUE_BYTES: u32 = 32 << 20;

/// Why a path did not do what it was told.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PathError {
    /// The path's task is gone; it is loaded again at the next use.
    #[error("the path was dropped from memory; try again")]
    Gone,
    /// Its change could not be kept, so it did not happen.
    #[error("the change could not be kept: {0}")]
    NotKept(#[from] crate::storage::StorageError),
    /// The store refused a write.
    #[error("the store refused the row: {0}")]
    Refused(String),
    /// No such resource.
    #[error("no resource `{0}` is configured")]
    UnknownResource(ResourceName),
}

/// A reader of the store, run by the path's task; it hands over its answer itself.
type Reader = Box<dyn FnOnce(PathView<'_>) + Send>;

enum Command {
    Connect {
        client: ConnectionId,
        writer: Arc<Writer>,
        sink: ClientSink,
        drain: bool,
    },
    Disconnect(ConnectionId),
    Frame {
        from: ConnectionId,
        frame: Inbound,
        /// Its bytes' place in the queue.
        place: OwnedSemaphorePermit,
    },
    Drain,
    Retire(oneshot::Sender<Result<bool, PathError>>),
    AskHashes,
    Report {
        writers: usize,
        reply: oneshot::Sender<Result<PathReport, PathError>>,
    },
    Settled(oneshot::Sender<Result<(), PathError>>),
    Unload,
    Read(Reader),
    Apply {
        resource: ResourceName,
        rows: Vec<LegacyRow>,
        source: Source,
        reply: oneshot::Sender<Result<Vec<Applied>, PathError>>,
    },
    Write {
        resource: ResourceName,
        write: Box<StoreWrite>,
        reply: oneshot::Sender<Result<StoreWritten, PathError>>,
    },
    Prepare {
        resource: ResourceName,
        row: RowId,
        seq: Seq,
        reply: oneshot::Sender<Result<Prepared, PathError>>,
    },
    Settle {
        resource: ResourceName,
        row: RowId,
        seq: Seq,
        outcome: Outcome,
        reply: oneshot::Sender<Result<Settled, PathError>>,
    },
    Close(CloseReason),
}

/// What is told of a path that is in memory (see [`Vectors`](super::vectors::Vectors)).
#[derive(Debug, Clone)]
pub struct PathReport {
    /// The store's hashes.
    pub hashes: ContentHashes,
    /// Its writers, latest first.
    pub writers: Vec<(ClientId, SeenWriter)>,
    /// How many there are that are told apart.
    pub writer_count: usize,
    /// Those that are not.
    pub folded: Folded,
    /// What each connection is known to have, the one that lacks most first.
    pub connections: Vec<Lag>,
    /// The latest conflicts, earliest first.
    pub conflicts: Vec<Conflict>,
    /// How many there were since the path was loaded.
    pub conflicts_ever: u64,
}

impl Command {
    /// Bytes of the frame that it brings.
    fn bytes(&self) -> usize {
        match self {
            Self::Frame { place, .. } => place.num_permits(),
            _ => 0,
        }
    }
}

/// A path that is in memory, and stays there while somebody holds this.
#[derive(Debug, Clone)]
pub struct PathHandle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathId,
    commands: mpsc::Sender<Command>,
    /// Room for the bytes of frames that wait.
    room: Arc<Semaphore>,
}

impl PathHandle {
    fn new(path: PathId, commands: mpsc::Sender<Command>) -> Self {
        let room = Arc::new(Semaphore::new(QUEUE_BYTES as usize));
        Self(Arc::new(Inner { path, commands, room }))
    }

    /// Which path it is.
    #[must_use]
    pub fn path(&self) -> &PathId {
        &self.0.path
    }

    pub(super) fn is_gone(&self) -> bool {
        self.0.commands.is_closed()
    }

    /// Whether this is the only handle.
    pub(super) fn is_unheld(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Asks the path to leave memory if nothing needs it; not heard while it is busy.
    pub(super) fn suggest_unload(&self) {
        // A path with a full queue is in use.
        let _ = self.0.commands.try_send(Command::Unload);
    }

    async fn tell(&self, command: Command) -> Result<(), PathError> {
        self.0.commands.send(command).await.map_err(|_| PathError::Gone)
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, PathError>>) -> Command,
    ) -> Result<T, PathError> {
        let (reply, answer) = oneshot::channel();
        self.tell(command(reply)).await?;
        answer.await.map_err(|_| PathError::Gone)?
    }

    /// Takes up a connection. With `drain` it may only hand over what it has, and is then closed.
    ///
    /// # Errors
    /// [`PathError::Gone`] if the path was just dropped.
    pub(super) async fn connect(
        &self,
        client: ConnectionId,
        writer: Arc<Writer>,
        sink: ClientSink,
        drain: bool,
    ) -> Result<(), PathError> {
        self.tell(Command::Connect { client, writer, sink, drain }).await
    }

    /// Lets a connection go.
    ///
    /// # Errors
    /// [`PathError::Gone`] if the path was just dropped.
    pub async fn disconnect(&self, client: ConnectionId) -> Result<(), PathError> {
        self.tell(Command::Disconnect(client)).await
    }

    /// A frame from a connection. It is read here, by the connection's own task, so that the path's task
    /// only has to merge; and it waits while too much is waiting already.
    ///
    /// # Errors
    /// [`PathError::Gone`] if the path was just dropped.
    pub async fn frame(&self, from: ConnectionId, text: &str) -> Result<(), PathError> {
        let bytes = u32::try_from(text.len()).unwrap_or(u32::MAX).clamp(1, QUEUE_BYTES);
        let room = self.0.room.clone().acquire_many_owned(bytes);
        let place = room.await.map_err(|_| PathError::Gone)?;
        let frame = Inbound::read(text);
        self.tell(Command::Frame { from, frame, place }).await
    }

    /// Waits until all that was sent before is merged and durable.
    ///
    /// # Errors
    /// [`PathError`] if it could not be kept.
    pub async fn settled(&self) -> Result<(), PathError> {
        self.ask(Command::Settled).await
    }

    /// Drains all connections: takes what they still have, then closes each (design rule 7).
    ///
    /// # Errors
    /// [`PathError::Gone`] if the path was just dropped.
    pub async fn drain(&self) -> Result<(), PathError> {
        self.tell(Command::Drain).await
    }

    /// Ends the path's task if it has no connection, and gives `true`: then nothing writes the path any
    /// more. Otherwise its connections are being drained: ask again.
    ///
    /// # Errors
    /// [`PathError`] if the task has ended by itself.
    pub(super) async fn retire(&self) -> Result<bool, PathError> {
        self.ask(Command::Retire).await
    }

    /// Asks connections for their hashes of which it is not known that they have everything.
    ///
    /// # Errors
    /// [`PathError::Gone`] if the path was just dropped.
    pub async fn ask_hashes(&self) -> Result<(), PathError> {
        self.tell(Command::AskHashes).await
    }

    /// What is told of the path, with at most so many of its writers.
    ///
    /// # Errors
    /// [`PathError::Gone`] if the path was just dropped.
    pub async fn report(&self, writers: usize) -> Result<PathReport, PathError> {
        self.ask(|reply| Command::Report { writers, reply }).await
    }

    /// Whether both are handles of one task.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Closes all connections.
    ///
    /// # Errors
    /// [`PathError::Gone`] if the path was just dropped.
    pub async fn close(&self, reason: CloseReason) -> Result<(), PathError> {
        self.tell(Command::Close(reason)).await
    }

    /// Reads the store, as it is committed; with relaxed durability, as it is merged. It does not wait for
    /// what was sent before it and is not yet merged.
    ///
    /// # Errors
    /// [`PathError::Gone`] if the path was dropped before it was read.
    pub async fn read<T: Send + 'static>(
        &self,
        reader: impl FnOnce(&MergeableStore) -> T + Send + 'static,
    ) -> Result<T, PathError> {
        self.view(|path| reader(path.store)).await
    }

    /// Reads the store and its indexes, as they are committed.
    ///
    /// # Errors
    /// As [`PathHandle::read`].
    pub async fn view<T: Send + 'static>(
        &self,
        reader: impl FnOnce(PathView<'_>) -> T + Send + 'static,
    ) -> Result<T, PathError> {
        self.ask(|reply| {
            Command::Read(Box::new(move |path| {
                // A reader that went away does not want the answer any more.
                if !reply.is_closed() {
                    let _ = reply.send(Ok(reader(path)));
                }
            }))
        })
        .await
    }

    /// The committed hashes.
    ///
    /// # Errors
    /// As [`PathHandle::read`].
    pub async fn hashes(&self) -> Result<ContentHashes, PathError> {
        self.read(MergeableStore::hashes).await
    }

    /// Brings what legacy said about rows into the store; broadcast to all connections.
    ///
    /// # Errors
    /// [`PathError`] if it could not be kept; then nothing of it happened.
    pub async fn apply(
        &self,
        resource: ResourceName,
        rows: Vec<LegacyRow>,
        source: Source,
    ) -> Result<Vec<Applied>, PathError> {
        self.ask(|reply| Command::Apply { resource, rows, source, reply }).await
    }

    /// Does a user's REST write in the store, and owes it to legacy; broadcast to all connections. It is kept when this
    /// returns.
    ///
    /// # Errors
    /// [`PathError::NotKept`] if it could not be kept, [`PathError::Refused`] if the store cannot hold it: then it did not
    /// happen. [`PathError::Gone`]: it may have.
    pub async fn write(
        &self,
        resource: ResourceName,
        write: StoreWrite,
    ) -> Result<StoreWritten, PathError> {
        let write = Box::new(write);
        self.ask(|reply| Command::Write { resource, write, reply }).await
    }

    /// Decides, from base against store, what an owed entry asks of legacy now.
    ///
    /// # Errors
    /// As [`PathHandle::apply`].
    pub async fn prepare(
        &self,
        resource: ResourceName,
        row: RowId,
        seq: Seq,
    ) -> Result<Prepared, PathError> {
        self.ask(|reply| Command::Prepare { resource, row, seq, reply }).await
    }

    /// Ends an owed entry by what legacy said to it.
    ///
    /// # Errors
    /// As [`PathHandle::apply`].
    pub async fn settle(
        &self,
        resource: ResourceName,
        row: RowId,
        seq: Seq,
        outcome: Outcome,
    ) -> Result<Settled, PathError> {
        self.ask(|reply| Command::Settle { resource, row, seq, outcome, reply }).await
    }
}

#[cfg(test)]
pub(in crate::sync) mod tests;

//! One path: a store, its connections, and the task that owns both.
//!
//! Everything that happens to a path goes through its task, one command after the other, in batches:
//! what a batch changed is committed first, and only then do frames, answers and hashes leave. So
//! nothing that a client was told can be lost by a kill.

mod answer;
mod batch;
mod delivery;
mod gone;
mod owed;
mod records;
mod sink;
mod task;

pub use answer::{Applied, LegacyRow, Source, Wrote};
pub use delivery::{Outcome, Prepared, Settled};
pub use sink::CloseReason;
pub(super) use sink::{ClientSink, ClientSource, Outbound, client_channel, client_channel_sharing};
pub(super) use task::{PathContext, spawn};

use std::sync::Arc;

use mergeable_store::{ConnectionId, ContentHashes, MergeableStore};
use tokio::sync::{mpsc, oneshot};

use super::policy::Writer;
use crate::migration::{PathId, ResourceName, RowId};
use crate::storage::Seq;

/// Commands that may wait for a path; the next sender waits for a place (back-pressure on sockets).
const QUEUE: usize = 256;

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

/// A reader of the store, run by the path's task; what it gives back hands over the answer.
type Reader = Box<dyn FnOnce(&MergeableStore) -> HandOver + Send>;
type HandOver = Box<dyn FnOnce() + Send>;

enum Command {
    Connect {
        client: ConnectionId,
        writer: Arc<Writer>,
        sink: ClientSink,
        drain: bool,
    },
    Disconnect(ConnectionId),
    Frame(ConnectionId, String),
    Drain,
    Read(Reader),
    Apply {
        resource: ResourceName,
        rows: Vec<LegacyRow>,
        source: Source,
        reply: oneshot::Sender<Result<Vec<Applied>, PathError>>,
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

/// A path that is in memory.
#[derive(Debug, Clone)]
pub struct PathHandle {
    path: PathId,
    commands: mpsc::Sender<Command>,
}

impl PathHandle {
    /// Which path it is.
    #[must_use]
    pub fn path(&self) -> &PathId {
        &self.path
    }

    pub(super) fn is_gone(&self) -> bool {
        self.commands.is_closed()
    }

    async fn tell(&self, command: Command) -> Result<(), PathError> {
        self.commands.send(command).await.map_err(|_| PathError::Gone)
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

    /// A frame from a connection.
    ///
    /// # Errors
    /// [`PathError::Gone`] if the path was just dropped.
    pub async fn frame(&self, client: ConnectionId, text: String) -> Result<(), PathError> {
        self.tell(Command::Frame(client, text)).await
    }

    /// Drains all connections: takes what they still have, then closes each (design rule 7).
    ///
    /// # Errors
    /// [`PathError::Gone`] if the path was just dropped.
    pub async fn drain(&self) -> Result<(), PathError> {
        self.tell(Command::Drain).await
    }

    /// Closes all connections.
    ///
    /// # Errors
    /// [`PathError::Gone`] if the path was just dropped.
    pub async fn close(&self, reason: CloseReason) -> Result<(), PathError> {
        self.tell(Command::Close(reason)).await
    }

    /// Reads the store, as it is committed.
    ///
    /// # Errors
    /// [`PathError::Gone`] if the path was dropped before it was read.
    pub async fn read<T: Send + 'static>(
        &self,
        reader: impl FnOnce(&MergeableStore) -> T + Send + 'static,
    ) -> Result<T, PathError> {
        self.ask(|reply| {
            Command::Read(Box::new(move |store| {
                let answer = reader(store);
                Box::new(move || {
                    // A reader that went away does not want the answer any more.
                    let _ = reply.send(Ok(answer));
                })
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
mod tests;

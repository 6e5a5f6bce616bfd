//! The commit of a batch, and what leaves with it.
//!
//! One commit is under way at a time, so that what is kept is kept in order. Under
//! [`Durability::Committed`] the next batch is merged only when the last one is durable: until then the
//! connections' own tasks read the frames that arrive, and whoever reads the store gets it between two
//! batches, where it holds what is committed and nothing else. Under [`Durability::Relaxed`] frames
//! leave as soon as they are merged, and merging goes on while a commit is under way.

use std::collections::HashMap;

use axum::extract::ws::Utf8Bytes;
use mergeable_store::{Outgoing, Recipients};
use tokio::time::Instant;

use super::PathTask;
use crate::config::Durability;
use crate::resource::RowCells;
use crate::storage::{BoxFuture, Seq, StorageError};
use crate::sync::path::batch::{Batch, Departures};
use crate::sync::path::owed::RowKey;
use crate::sync::path::sink::CloseReason;

/// Changes that may wait for the commit before theirs; then merging waits too. Only relaxed durability
/// comes to it, when the database is slower than the clients for long.
const MAX_PENDING_OPS: usize = 16_384;

/// A commit under way.
pub(super) struct InFlight {
    pub(super) outcome: BoxFuture<'static, Result<Vec<Seq>, StorageError>>,
    departures: Departures,
    bases: HashMap<RowKey, Option<RowCells>>,
}

impl PathTask {
    /// Whether commands may be merged now.
    pub(super) fn may_merge(&self) -> bool {
        self.in_flight.is_none()
            || self.context.durability == Durability::Relaxed
                && self.pending.len() < MAX_PENDING_OPS
    }

    /// Whether nothing is waiting to be kept.
    pub(super) fn is_kept(&self) -> bool {
        self.in_flight.is_none() && self.pending.is_empty()
    }

    /// Hands what was merged to storage, unless a commit is under way. What keeps nothing leaves at once.
    pub(super) fn start_commit(&mut self) {
        if self.context.durability == Durability::Relaxed {
            for outgoing in self.pending.take_sends() {
                self.send(&outgoing);
            }
        }
        let waits = self.pending.waits_until().is_some_and(|until| Instant::now() < until);
        if self.in_flight.is_some() || self.pending.is_empty() || waits {
            return;
        }
        self.commit_pending();
    }

    /// Hands what was merged to storage.
    fn commit_pending(&mut self) {
        let (ops, departures, bases) = std::mem::take(&mut self.pending).split();
        if ops.is_empty() {
            self.depart(departures);
            return;
        }
        metrics::histogram!("crossfade_sync_commit_ops").record(ops.len() as f64);
        let storage = self.context.storage.clone();
        let outcome = Box::pin(async move { storage.commit(ops).await });
        self.in_flight = Some(InFlight { outcome, departures, bases });
    }

    /// A commit has ended. After one that failed the path's memory is ahead of what is kept.
    pub(super) fn committed(
        &mut self,
        outcome: Result<Vec<Seq>, StorageError>,
    ) -> Result<(), StorageError> {
        let Some(InFlight { departures, .. }) = self.in_flight.take() else { return Ok(()) };
        match outcome {
            Ok(seqs) => {
                self.owed.number(&seqs);
                if departures.owes {
                    self.context.owed.notify_one();
                }
                self.depart(departures);
                Ok(())
            }
            Err(error) => {
                // What was merged since stands on what was not kept.
                let (_, since, _) = std::mem::take(&mut self.pending).split();
                for after in departures.after.into_iter().chain(since.after) {
                    after(Err(error.clone()));
                }
                Err(error)
            }
        }
    }

    /// Ends the commits under way and waiting, when there is nothing else to do any more.
    pub(super) async fn finish(&mut self) -> Result<(), StorageError> {
        loop {
            if self.in_flight.is_none() && !self.pending.is_empty() {
                self.commit_pending();
            }
            let Some(in_flight) = &mut self.in_flight else { return Ok(()) };
            let outcome = (&mut in_flight.outcome).await;
            self.committed(outcome)?;
        }
    }

    /// A base that is changed and not yet kept, or that was read lately.
    pub(super) fn base_in_memory(&self, batch: &Batch, key: &RowKey) -> Option<Option<RowCells>> {
        let in_flight = || self.in_flight.as_ref()?.bases.get(key);
        batch.base(key).or_else(in_flight).or_else(|| self.bases.get(key)).cloned()
    }

    fn depart(&mut self, departures: Departures) {
        for after in departures.after {
            after(Ok(()));
        }
        for outgoing in departures.sends {
            self.send(&outgoing);
        }
        for (client, reason) in departures.closes {
            if let Some(client) = self.clients.get_mut(&client) {
                self.broadcasts.close(&mut client.sink, reason);
            }
            self.disconnect(&client);
        }
    }

    /// Queues a frame for its recipients, who share its bytes.
    fn send(&mut self, outgoing: &Outgoing) {
        let frame = Utf8Bytes::from(&*outgoing.frame);
        match &outgoing.to {
            Recipients::One(id) => {
                if let Some(client) = self.clients.get_mut(id) {
                    self.broadcasts.send(&mut client.sink, frame);
                }
            }
            Recipients::All { except } => {
                let except = except.as_ref().and_then(|id| self.clients.get(id));
                let clients = self.clients.len();
                self.broadcasts.queue(except.map(|client| client.sink.id()), frame, clients);
            }
        }
    }

    /// Lets go of what is queued for all, if it is time.
    pub(super) fn send_broadcasts(&mut self) {
        self.broadcasts.leave(self.clients.values_mut().map(|client| &mut client.sink));
    }

    pub(super) fn close_all(&mut self, reason: &CloseReason) {
        for client in self.clients.values_mut() {
            self.broadcasts.close(&mut client.sink, reason.clone());
        }
    }
}

//! Clients that load a large store, a bit at a time.

use std::collections::HashMap;
use std::time::Duration;

use mergeable_store::ConnectionId;

use super::{Client, PathTask};
use crate::sync::path::batch::Batch;

/// A connection with more bytes waiting gets nothing of its backlog: what it lacks stays in the store,
/// not in a queue.
const ENOUGH_WAITING: usize = 1 << 20;
/// How often a connection is looked at that had enough waiting.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Whether a connection can take more. One that is gone can: then the star forgets it.
fn is_ready(clients: &HashMap<ConnectionId, Client>, id: &ConnectionId) -> bool {
    clients.get(id).is_none_or(|client| client.sink.waiting_bytes() < ENOUGH_WAITING)
}

impl PathTask {
    /// Whether a client can be sent more of what it lacks.
    pub(super) fn has_ready_backlog(&self) -> bool {
        self.star.backlogged().any(|id| is_ready(&self.clients, id))
    }

    /// When to look again at clients that had enough waiting.
    pub(super) fn backlog_wait(&self) -> Option<Duration> {
        self.star.backlogged().next().map(|_| LOOK_AGAIN)
    }

    pub(super) fn send_backlog(&mut self, batch: &mut Batch) {
        if self.star.backlogged().next().is_none() {
            return;
        }
        let (now, mut random) = (self.now(), self.random());
        let clients = &self.clients;
        let mut effects = self.star.send_backlog(now, &mut random, |id| is_ready(clients, id));
        self.take(&mut effects, batch);
    }
}

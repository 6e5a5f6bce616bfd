//! The task that owns a path.

mod rows;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use mergeable_store::{
    CellChange, ClientId, ConnectionId, Effects, Limits, Outgoing, Star, Writer as By,
};
use tokio::sync::{Notify, mpsc, oneshot};

use super::batch::Batch;
use super::gone::Gone;
use super::owed::Owed;
use super::sink::{ClientSink, CloseReason};
use super::{Command, PathError, PathHandle, QUEUE, records};
use crate::clock::{SharedClock, SharedEntropy};
use crate::migration::{PathId, RowId};
use crate::resource::Resource;
use crate::storage::{NewEntry, Op, SharedStorage, StorageError};
use crate::sync::mapped::MappedTables;
use crate::sync::policy::{Judge, RefusedCell, Writer};
use crate::sync::random::StarRandom;

/// A stamp further ahead of the server's clock than this closes its writer's connection, unmerged: merged,
/// it would win over everybody's edits until the clocks have caught up.
const MAX_AHEAD_MS: u64 = 60_000;
/// Commands that become one commit at most.
const BATCH: usize = 64;

/// How long a drain may take, in milliseconds. A client that never stops writing, or never answers,
/// has equal hashes at no time that anybody could see; it is closed then, and keeps what it has.
const DRAIN_LIMIT_MS: u64 = 10_000;

/// What every path needs from its process.
#[derive(Debug, Clone)]
pub(crate) struct PathContext {
    pub(crate) storage: SharedStorage,
    pub(crate) tables: Arc<MappedTables>,
    pub(crate) clock: SharedClock,
    pub(crate) entropy: SharedEntropy,
    /// The store's unique id, from which its stamps get their client part.
    pub(crate) unique_id: Arc<str>,
    /// Woken when something new is owed.
    pub(crate) owed: Arc<Notify>,
}

struct Client {
    sink: ClientSink,
    writer: Arc<Writer>,
    /// While draining: when it is closed even if it is not drained, in epoch milliseconds.
    drained_by: Option<u64>,
}

struct PathTask {
    path: PathId,
    context: PathContext,
    star: Star,
    owed: Owed,
    gone: Gone,
    clients: HashMap<ConnectionId, Client>,
}

/// Loads a path and starts its task.
pub(crate) async fn spawn(path: PathId, context: PathContext) -> Result<PathHandle, StorageError> {
    let client = ClientId::from_unique_id(&context.unique_id);
    let store = records::load(&*context.storage, &path, None, client, |_| {}).await?;
    let owed = records::owed(&*context.storage, &path).await?;
    let (commands, queue) = mpsc::channel(QUEUE);
    let limits = Limits {
        max_ahead_ms: MAX_AHEAD_MS,
        ahead_close: Some(CloseReason::clock_skew().into()),
        ..Limits::default()
    };
    let star = Star::new(store, limits);
    let task = PathTask {
        path: path.clone(),
        context,
        star,
        owed,
        gone: Gone::default(),
        clients: HashMap::new(),
    };
    tokio::spawn(task.run(queue));
    metrics::gauge!("crossfade_sync_paths").increment(1);
    Ok(PathHandle { path, commands })
}

impl PathTask {
    async fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        loop {
            let first = match self.next_deadline() {
                None => queue.recv().await.map(Some),
                Some(wait) => match tokio::time::timeout(wait, queue.recv()).await {
                    Ok(command) => command.map(Some),
                    Err(_) => Some(None),
                },
            };
            // All handles are gone: nobody can reach this path any more.
            let Some(first) = first else { break };
            let mut batch = Batch::default();
            match first {
                Some(command) => self.handle(command, &mut batch).await,
                None => self.tick(&mut batch),
            }
            for _ in 1..BATCH {
                let Ok(command) = queue.try_recv() else { break };
                self.handle(command, &mut batch).await;
            }
            self.end_drains(&mut batch);
            if let Err(error) = self.finish(batch).await {
                tracing::error!(path = %self.path, %error, "path dropped: its change was not kept");
                self.close_all(&CloseReason::not_kept());
                break;
            }
        }
        metrics::gauge!("crossfade_sync_paths").decrement(1);
        metrics::gauge!("crossfade_sync_clients").decrement(self.clients.len() as f64);
    }

    fn now(&self) -> u64 {
        self.context.clock.now_ms()
    }

    fn random(&self) -> StarRandom {
        StarRandom(self.context.entropy.clone())
    }

    fn next_deadline(&self) -> Option<Duration> {
        let drains = self.clients.values().filter_map(|client| client.drained_by);
        let deadline = self.star.next_deadline().into_iter().chain(drains).min()?;
        Some(Duration::from_millis(deadline.saturating_sub(self.now())))
    }

    fn tick(&mut self, batch: &mut Batch) {
        let (now, mut random) = (self.now(), self.random());
        let mut effects = self.star.tick(now, &mut random);
        self.take(&mut effects, batch);
    }

    /// Closes connections whose drain has taken too long.
    fn end_drains(&self, batch: &mut Batch) {
        let now = self.now();
        let overdue = |client: &Client| client.drained_by.is_some_and(|by| by <= now);
        for (id, _) in self.clients.iter().filter(|(_, client)| overdue(client)) {
            metrics::counter!("crossfade_sync_not_drained_total").increment(1);
            tracing::warn!(path = %self.path, "a client is not drained in time; it keeps what it has");
            batch.closes.push((id.clone(), CloseReason::not_drained()));
        }
    }

    async fn handle(&mut self, command: Command, batch: &mut Batch) {
        match command {
            Command::Connect { client, writer, sink, drain } => {
                self.connect(client, Client { sink, writer, drained_by: None }, drain, batch);
            }
            Command::Disconnect(client) => self.disconnect(&client),
            Command::Frame(client, text) => self.frame(&client, &text, batch),
            Command::Drain => {
                for client in self.clients.keys().cloned().collect::<Vec<_>>() {
                    self.drain(&client, batch);
                }
            }
            Command::Close(reason) => self.close_all(&reason),
            Command::Read(reader) => {
                // The reader sees edits of this batch: it gets its answer when they are durable, so
                // that nothing is shown that a kill could take back.
                let hand_over = reader(self.star.store());
                batch.afterwards(move |kept| {
                    if kept.is_ok() {
                        hand_over();
                    }
                });
            }
            Command::Apply { resource, rows, source, reply } => {
                let outcome = self.apply(&resource, &rows, &source, batch).await;
                reply_after(batch, reply, outcome);
            }
            Command::Prepare { resource, row, seq, reply } => {
                let outcome = self.prepare(&resource, &row, seq, batch).await;
                reply_after(batch, reply, outcome);
            }
            Command::Settle { resource, row, seq, outcome, reply } => {
                let outcome = self.settle(&resource, &row, seq, &outcome, batch).await;
                reply_after(batch, reply, outcome);
            }
        }
    }

    fn connect(&mut self, id: ConnectionId, client: Client, drain: bool, batch: &mut Batch) {
        let (now, mut random) = (self.now(), self.random());
        if let Some(former) = self.clients.insert(id.clone(), client) {
            // Two sockets with one key cannot be told apart: the newer one is the client's own.
            former.sink.close(CloseReason::new(1008, "crossfade:same-key"));
        } else {
            metrics::gauge!("crossfade_sync_clients").increment(1);
        }
        let mut effects = self.star.connect(now, id.clone(), &mut random);
        self.take(&mut effects, batch);
        if drain {
            self.drain(&id, batch);
        }
    }

    fn disconnect(&mut self, client: &ConnectionId) {
        self.star.disconnect(client);
        if self.clients.remove(client).is_some() {
            metrics::gauge!("crossfade_sync_clients").decrement(1);
        }
    }

    fn drain(&mut self, client: &ConnectionId, batch: &mut Batch) {
        let (now, mut random) = (self.now(), self.random());
        if let Some(client) = self.clients.get_mut(client) {
            client.drained_by.get_or_insert(now.saturating_add(DRAIN_LIMIT_MS));
        }
        let mut effects = self.star.drain(now, client, &mut random);
        self.take(&mut effects, batch);
    }

    fn frame(&mut self, from: &ConnectionId, text: &str, batch: &mut Batch) {
        let Some(client) = self.clients.get(from) else { return };
        let writer = client.writer.clone();
        let (now, mut random) = (self.now(), self.random());
        let (path, tables) = (&self.path, &self.context.tables);
        let mut judge = Judge { path, tables, writer: &writer, refused: Vec::new() };
        let received = self.star.receive(now, from, text, &mut judge, &mut random);
        let refused = judge.refused;
        match received {
            Ok(mut effects) => {
                self.take(&mut effects, batch);
                self.owe_again(&refused, batch);
            }
            Err(close) => {
                metrics::counter!("crossfade_sync_bad_frames_total").increment(1);
                batch.closes.push((from.clone(), close.into()));
            }
        }
    }

    /// Keeps and sends what the star did, owes what connections wrote, and completes deletions.
    fn take(&mut self, effects: &mut Effects, batch: &mut Batch) {
        batch.take(&self.path, effects);
        for refusal in &effects.refused {
            tracing::info!(path = %self.path, reason = %refusal.reason, "edit refused");
        }
        let incomplete = self.owe(&effects.changed, batch);
        if !incomplete.is_empty() {
            self.delete_incomplete(&incomplete, batch);
        }
    }

    /// Owes the cells that connections wrote, one entry a row. Gives the rows that lost a required cell.
    fn owe(&mut self, changed: &[CellChange], batch: &mut Batch) -> Vec<(Arc<Resource>, RowId)> {
        let mut rows: Vec<(Arc<Resource>, RowId, Vec<&CellChange>)> = Vec::new();
        for change in changed {
            let By::Connection(_) = &change.by else { continue };
            let Some(resource) = self.context.tables.resource(&change.table) else { continue };
            let Some(row) = change.row.as_str() else { continue };
            let same = |known: &&mut (Arc<Resource>, RowId, Vec<&CellChange>)| {
                Arc::ptr_eq(&known.0, resource) && known.1.as_str() == row
            };
            match rows.iter_mut().find(same) {
                Some((.., changes)) => changes.push(change),
                None => rows.push((resource.clone(), RowId::new(row), vec![change])),
            }
        }
        let mut incomplete = Vec::new();
        for (resource, row, changes) in rows {
            if self.is_incomplete(&resource, &row) {
                incomplete.push((resource.clone(), row.clone()));
            }
            self.owe_row(&resource, &row, &changes, batch);
        }
        incomplete
    }

    fn owe_row(
        &mut self,
        resource: &Arc<Resource>,
        row: &RowId,
        changes: &[&CellChange],
        batch: &mut Batch,
    ) {
        let writer = changes.iter().find_map(|change| match &change.by {
            By::Connection(client) => self.clients.get(client).map(|c| c.writer.clone()),
            By::Store => None,
        });
        let Some(writer) = writer else { return };
        let cells: Vec<_> = changes
            .iter()
            .filter_map(|change| Some((change.cell.as_str()?.to_owned(), change.hlc)))
            .collect();
        batch.keep(Op::Owe(NewEntry {
            path: self.path.clone(),
            resource: resource.name.clone(),
            row: row.clone(),
            cells: cells.iter().map(|(id, hlc)| (id.clone(), hlc.to_string())).collect(),
            actor: writer.actor.clone(),
            accepted_ms: self.now(),
        }));
        self.owed.accept((resource.name.clone(), row.clone()), cells, writer.actor.clone());
    }

    /// A refused edit restamped these cells: what was owed by the stamps that they had is owed by the new
    /// ones, for the same people.
    fn owe_again(&mut self, refused: &[RefusedCell], batch: &mut Batch) {
        for one in refused {
            let Some(resource) = self.context.tables.resource(&one.table).cloned() else {
                continue;
            };
            let (Some(row), Some(cell)) = (one.row.as_str(), one.cell.as_str()) else { continue };
            let key = (resource.name.clone(), RowId::new(row));
            let Some(actor) = self.owed.actor(&key, cell, one.stamp).cloned() else { continue };
            let stamp = self.star.store().stamp(&one.table, &one.row, &one.cell);
            let Some((_, hlc)) = stamp.filter(|(_, hlc)| *hlc != one.stamp) else { continue };
            batch.keep(Op::Owe(NewEntry {
                path: self.path.clone(),
                resource: resource.name.clone(),
                row: key.1.clone(),
                cells: vec![(cell.to_owned(), hlc.to_string())],
                actor: actor.clone(),
                accepted_ms: self.now(),
            }));
            self.owed.accept(key, vec![(cell.to_owned(), hlc)], actor);
        }
    }

    /// Whether a row is there of which a required cell was deleted: before or after the other edit.
    fn is_incomplete(&self, resource: &Resource, row: &RowId) -> bool {
        let (store, table) = (self.star.store(), resource.table.as_str());
        let mut required = resource.schema.cells().iter().filter(|spec| spec.required);
        store.has_row(table, row.as_str())
            && required.any(|spec| {
                let stamp = store.stamp(table, row.as_str(), &*spec.id);
                stamp.is_some_and(|(thing, _)| thing.is_none())
            })
    }

    /// Delete wins: what is left of a row without its required cells becomes tombstones.
    fn delete_incomplete(&mut self, rows: &[(Arc<Resource>, RowId)], batch: &mut Batch) {
        metrics::counter!("crossfade_sync_delete_wins_total").increment(rows.len() as u64);
        let (now, mut random) = (self.now(), self.random());
        let written = self.star.write(now, &mut random, |tx| {
            rows.iter().try_for_each(|(resource, row)| tx.del_row(&resource.table, row.as_str()))
        });
        match written {
            Ok(((), mut effects)) => batch.take(&self.path, &mut effects),
            Err(error) => tracing::error!(path = %self.path, %error, "incomplete row not deleted"),
        }
    }

    async fn finish(&mut self, batch: Batch) -> Result<(), StorageError> {
        let owes = batch.owes;
        let (ops, departures) = batch.split();
        let committed =
            if ops.is_empty() { Ok(Vec::new()) } else { self.context.storage.commit(ops).await };
        let outcome = committed.as_ref().map(drop).map_err(Clone::clone);
        for after in departures.after {
            after(outcome.clone());
        }
        self.owed.number(&committed?);
        if owes {
            self.context.owed.notify_one();
        }
        for outgoing in departures.sends {
            self.send(&outgoing);
        }
        for (client, reason) in departures.closes {
            if let Some(client) = self.clients.get(&client) {
                client.sink.close(reason);
            }
            self.disconnect(&client);
        }
        Ok(())
    }

    fn send(&self, outgoing: &Outgoing) {
        let frame = Utf8Bytes::from(&*outgoing.frame);
        for to in outgoing.to.iter() {
            if let Some(client) = self.clients.get(to) {
                client.sink.send(frame.clone());
            }
        }
    }

    fn close_all(&mut self, reason: &CloseReason) {
        for client in self.clients.values() {
            client.sink.close(reason.clone());
        }
    }
}

fn reply_after<T: Send + 'static>(
    batch: &mut Batch,
    reply: oneshot::Sender<Result<T, PathError>>,
    outcome: Result<T, PathError>,
) {
    batch.afterwards(move |kept| {
        // A caller that went away does not want the answer any more.
        let _ = reply.send(kept.map_err(PathError::NotKept).and(outcome));
    });
}

//! The task that owns a path.

mod alias;
mod backlog;
mod commit;
mod idle;
mod inspect;
mod owing;
mod rows;
mod write;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use mergeable_store::{ClientId, ConnectionId, Inbound, Limits, Star};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::bases::KnownBases;
use super::batch::Batch;
use super::broadcasts::Broadcasts;
use super::gone::Gone;
use super::indexes::{PathIndexes, PathView};
use super::owed::Owed;
use super::pace::Pace;
use super::sink::{ClientSink, CloseReason};
use super::{Command, PathError, PathHandle, QUEUE, records};
use crate::clock::{SharedClock, SharedEntropy};
use crate::config::Durability;
use crate::migration::PathId;
use crate::storage::{Seq, SharedStorage, StorageError};
use crate::sync::aliases::Aliases;
use crate::sync::authority::SharedAuthority;
use crate::sync::mapped::MappedTables;
use crate::sync::policy::{Judge, Writer};
use crate::sync::random::StarRandom;
use crate::sync::refusals::Refusals;
use crate::sync::registry::Paths;
use crate::sync::vectors::Vectors;
use commit::InFlight;

/// A stamp further ahead of the server's clock than this closes its writer's connection, unmerged: merged,
/// it would win over everybody's edits until the clocks have caught up.
pub(in crate::sync) const MAX_AHEAD_MS: u64 = 60_000;
/// Commands that become one commit at most: as many as can wait. A batch is what has come while the
/// last one was committed, so it grows with the load, and an idle path's first edit waits for nothing.
const BATCH: usize = QUEUE;
/// Bytes of frames that become one commit at most, unless one frame is longer.
const BATCH_BYTES: usize = 4 << 20;

/// How long a drain may take, in milliseconds. A client that never stops writing, or never answers,
/// has equal hashes at no time that anybody could see; it is closed then, and keeps what it has.
const DRAIN_LIMIT_MS: u64 = 10_000;

/// What every path needs from its process.
#[derive(Debug, Clone)]
pub(crate) struct PathContext {
    pub(crate) storage: SharedStorage,
    /// Which rows have another id in legacy.
    pub(crate) aliases: Aliases,
    pub(crate) tables: Arc<MappedTables>,
    pub(crate) clock: SharedClock,
    pub(crate) entropy: SharedEntropy,
    /// The store's unique id, from which its stamps get their client part.
    pub(crate) unique_id: Arc<str>,
    /// Woken when something new is owed.
    pub(crate) owed: Arc<Notify>,
    /// When a client is told of an edit: after its commit or before.
    pub(crate) durability: Durability,
    /// A path that nobody has used for so long is dropped from memory.
    pub(crate) idle_unload: Duration,
    /// Where the path is found while it is in memory.
    pub(crate) paths: Weak<Paths>,
    /// When broadcasts leave.
    pub(in crate::sync) pace: Arc<Pace>,
    /// How much of each user was refused lately, in whichever path.
    pub(crate) refusals: Arc<Refusals>,
    /// Longest cell that is accepted of a client, in bytes of its text.
    pub(crate) max_cell_bytes: usize,
    /// Who decides about writes.
    pub(crate) authority: SharedAuthority,
}

struct Client {
    sink: ClientSink,
    writer: Arc<Writer>,
}

impl Drop for Client {
    /// However the path lets go of a connection, even by a panic, the connection ends; a reason given before is
    /// the one told.
    fn drop(&mut self) {
        self.sink.close(CloseReason::not_kept());
    }
}

struct PathTask {
    path: PathId,
    context: PathContext,
    star: Star,
    indexes: PathIndexes,
    owed: Owed,
    bases: KnownBases,
    gone: Gone,
    vectors: Vectors,
    clients: HashMap<ConnectionId, Client>,
    /// Those under a drain: when they are closed even if they are not drained, in epoch milliseconds.
    draining: HashMap<ConnectionId, u64>,
    /// What is merged and not yet handed to storage.
    pending: Batch,
    in_flight: Option<InFlight>,
    /// What is queued for all clients and has not left.
    broadcasts: Broadcasts,
    last_used: Instant,
    /// Nobody may use the path any more: its task ends once all is kept.
    retired: bool,
}

/// What a path's task has to do next.
enum Event {
    Committed(Result<Vec<Seq>, StorageError>),
    Command(Command),
    Deadline,
    /// What is queued for all clients may be due.
    Broadcasts,
    /// What could wait for its commit has waited for long enough.
    CommitDue,
    /// Nothing else to do: a client can be sent more of what it lacks.
    Backlog,
    /// All handles are gone: nobody can reach this path any more.
    Unreachable,
}

/// Loads a path and starts its task.
pub(crate) async fn spawn(path: PathId, context: PathContext) -> Result<PathHandle, StorageError> {
    let client = ClientId::from_unique_id(&context.unique_id);
    let mut vectors = Vectors::default();
    let seen = |hlc| vectors.loaded(hlc);
    let store = records::load(&*context.storage, &path, None, client, seen).await?;
    let owed = records::owed(&*context.storage, &path, context.clock.now_ms()).await?;
    let (commands, queue) = mpsc::channel(QUEUE);
    let limits = Limits {
        max_ahead_ms: MAX_AHEAD_MS,
        ahead_close: Some(CloseReason::clock_skew().into()),
        coalesce: true,
        ..Limits::default()
    };
    let indexes = PathIndexes::build(&context.tables, &store);
    let star = Star::new(store, limits);
    let task = PathTask {
        path: path.clone(),
        broadcasts: Broadcasts::new(context.pace.clone()),
        context,
        star,
        indexes,
        owed,
        bases: KnownBases::default(),
        gone: Gone::default(),
        vectors,
        clients: HashMap::new(),
        draining: HashMap::new(),
        pending: Batch::default(),
        in_flight: None,
        last_used: Instant::now(),
        retired: false,
    };
    tokio::spawn(task.run(queue));
    metrics::gauge!("crossfade_sync_paths").increment(1);
    Ok(PathHandle::new(path, commands))
}

impl PathTask {
    async fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        if let Err(error) = self.serve(&mut queue).await {
            tracing::error!(path = %self.path, %error, "path dropped: its change was not kept");
            self.close_all(&CloseReason::not_kept());
        }
        metrics::gauge!("crossfade_sync_paths").decrement(1);
        metrics::gauge!("crossfade_sync_clients").decrement(self.clients.len() as f64);
    }

    async fn serve(&mut self, queue: &mut mpsc::Receiver<Command>) -> Result<(), StorageError> {
        loop {
            // Whoever made it retire reads what is kept, and must find all of it.
            if self.retired && self.is_kept() {
                return Ok(());
            }
            match self.next_event(queue).await {
                Event::Committed(outcome) => self.committed(outcome)?,
                Event::Command(first) => self.take_commands(first, queue).await,
                Event::Deadline => self.tick(),
                // As after every event: see below.
                Event::Broadcasts | Event::CommitDue => {}
                Event::Backlog => {
                    let batch = std::mem::take(&mut self.pending);
                    self.end_batch(batch);
                }
                Event::Unreachable => return self.finish().await,
            }
            self.start_commit();
            self.send_broadcasts();
        }
    }

    async fn next_event(&mut self, queue: &mut mpsc::Receiver<Command>) -> Event {
        let may_merge = self.may_merge() && !self.retired;
        let wait = self.next_deadline();
        let waits_until = self.pending.waits_until().filter(|_| self.in_flight.is_none());
        let unhurried = self.is_kept() || waits_until.is_some();
        let backlog = may_merge && unhurried && self.has_ready_backlog();
        let commit = async {
            match &mut self.in_flight {
                Some(in_flight) => (&mut in_flight.outcome).await,
                None => std::future::pending().await,
            }
        };
        let deadline = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        let broadcasts = async {
            match self.broadcasts.due() {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let commit_due = async {
            match waits_until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            outcome = commit => Event::Committed(outcome),
            () = commit_due => Event::CommitDue,
            () = broadcasts => Event::Broadcasts,
            () = deadline, if may_merge => Event::Deadline,
            command = queue.recv(), if may_merge => {
                command.map_or(Event::Unreachable, Event::Command)
            }
            () = std::future::ready(()), if backlog => Event::Backlog,
        }
    }

    /// Takes what has come: reads first, then the rest in its order.
    async fn take_commands(&mut self, first: Command, queue: &mut mpsc::Receiver<Command>) {
        self.last_used = Instant::now();
        let mut next = Some(first);
        let (mut commands, mut bytes) = (Vec::new(), 0);
        while let Some(command) = next {
            match command {
                // Nothing is merged yet that is not durable (unless durability is relaxed), so an answer
                // shows nothing that a kill could take back, and needs not wait.
                Command::Read(reader) => reader(self.view()),
                command => {
                    bytes += command.bytes();
                    commands.push(command);
                }
            }
            let full = commands.len() >= BATCH || bytes >= BATCH_BYTES;
            next = if full { None } else { queue.try_recv().ok() };
        }
        let mut batch = std::mem::take(&mut self.pending);
        for command in commands {
            self.handle(command, &mut batch).await;
        }
        self.end_batch(batch);
    }

    fn view(&self) -> PathView<'_> {
        PathView { store: self.star.store(), indexes: &self.indexes }
    }

    fn tick(&mut self) {
        let (now, mut random) = (self.now(), self.random());
        let mut batch = std::mem::take(&mut self.pending);
        let mut effects = self.star.tick(now, &mut random);
        self.take(&mut effects, &mut batch);
        self.end_batch(batch);
        self.unload_if_unused();
    }

    /// What was merged is broadcast once, to all; and whoever lacks much gets a bit of it, so that one
    /// who loads a large store holds up nobody, and is not held up for ever.
    fn end_batch(&mut self, mut batch: Batch) {
        let (now, mut random) = (self.now(), self.random());
        let mut effects = self.star.flush(now, &mut random);
        self.take(&mut effects, &mut batch);
        self.send_backlog(&mut batch);
        self.end_drains(&mut batch);
        self.pending = batch;
    }

    fn now(&self) -> u64 {
        self.context.clock.now_ms()
    }

    fn random(&self) -> StarRandom {
        StarRandom(self.context.entropy.clone())
    }

    fn next_deadline(&self) -> Option<Duration> {
        let star = self.star.next_deadline();
        let deadline = star.into_iter().chain(self.draining.values().copied()).min();
        let wait = deadline.map(|at| Duration::from_millis(at.saturating_sub(self.now())));
        wait.into_iter().chain(self.idle_wait()).chain(self.backlog_wait()).min()
    }

    /// Closes connections whose drain has taken too long.
    fn end_drains(&self, batch: &mut Batch) {
        if self.draining.is_empty() {
            return;
        }
        let now = self.now();
        for (id, _) in self.draining.iter().filter(|(_, by)| **by <= now) {
            metrics::counter!("crossfade_sync_not_drained_total").increment(1);
            tracing::warn!(path = %self.path, "a client is not drained in time; it keeps what it has");
            batch.closes.push((id.clone(), CloseReason::not_drained()));
        }
    }

    async fn handle(&mut self, command: Command, batch: &mut Batch) {
        match &command {
            Command::Settle { .. } => batch.may_wait(self.now()),
            Command::Prepare { .. } | Command::Read(_) => {}
            _ => batch.set_urgent(),
        }
        match command {
            Command::Connect { client, writer, sink, drain } => {
                self.connect(client, Client { sink, writer }, drain, batch);
            }
            Command::Disconnect(client) => self.disconnect(&client),
            Command::Frame { from, frame, .. } => self.frame(&from, frame, batch),
            Command::Drain => self.drain_all(batch),
            Command::Retire(reply) => {
                let retired = self.retire(batch);
                reply_after(batch, reply, Ok(retired));
            }
            Command::AskHashes => self.ask_hashes(batch),
            Command::Report { writers, reply } => {
                // A caller that went away does not want the answer any more.
                let _ = reply.send(Ok(self.report(writers)));
            }
            Command::Close(reason) => self.close_all(&reason),
            Command::Read(reader) => reader(self.view()),
            Command::Settled(reply) => reply_after(batch, reply, Ok(())),
            Command::Unload => self.unload(),
            Command::Apply { resource, rows, source, reply } => {
                let outcome = self.apply(&resource, &rows, &source, batch).await;
                reply_after(batch, reply, outcome);
            }
            Command::Write { resource, write, reply } => {
                let outcome = self.write(&resource, &write, batch);
                reply_after(batch, reply, outcome);
            }
            Command::Prepare { resource, row, seq, reply } => {
                let outcome = self.prepare(&resource, &row, seq, batch).await;
                if self.in_flight.is_none() && !batch.is_urgent() {
                    // All of the store is durable. A caller that went away does not want the answer any more.
                    let _ = reply.send(outcome);
                } else {
                    reply_after(batch, reply, outcome);
                }
            }
            Command::Settle { resource, row, seq, outcome, reply } => {
                let outcome = self.settle(&resource, &row, seq, &outcome, batch).await;
                reply_after(batch, reply, outcome);
            }
        }
    }

    fn connect(&mut self, id: ConnectionId, mut client: Client, drain: bool, batch: &mut Batch) {
        let (now, mut random) = (self.now(), self.random());
        let writer = client.writer.clone();
        self.broadcasts.joined(&mut client.sink);
        if let Some(former) = self.clients.insert(id.clone(), client) {
            // Two sockets with one key cannot be told apart: the newer one is the client's own.
            former.sink.close(CloseReason::new(1008, "crossfade:same-key"));
        } else {
            metrics::gauge!("crossfade_sync_clients").increment(1);
        }
        self.vectors.connected(id.clone(), writer, now);
        let mut effects = self.star.connect(now, id.clone(), &mut random);
        self.take(&mut effects, batch);
        if drain {
            self.drain(&id, batch);
        }
    }

    fn disconnect(&mut self, client: &ConnectionId) {
        self.star.disconnect(client);
        self.vectors.disconnected(client);
        self.draining.remove(client);
        if self.clients.remove(client).is_some() {
            metrics::gauge!("crossfade_sync_clients").decrement(1);
        }
    }

    fn drain(&mut self, client: &ConnectionId, batch: &mut Batch) {
        let (now, mut random) = (self.now(), self.random());
        if self.clients.contains_key(client) {
            let limit = now.saturating_add(DRAIN_LIMIT_MS);
            self.draining.entry(client.clone()).or_insert(limit);
        }
        let mut effects = self.star.drain(now, client, &mut random);
        self.take(&mut effects, batch);
    }

    fn frame(&mut self, from: &ConnectionId, frame: Inbound, batch: &mut Batch) {
        let Some(client) = self.clients.get(from) else { return };
        let writer = client.writer.clone();
        let (now, mut random) = (self.now(), self.random());
        let (path, tables) = (&self.path, &self.context.tables);
        let vectors = &mut self.vectors;
        let user = &writer.actor.user;
        let allowance = self.context.refusals.allowance(user, now);
        let mut judge = Judge {
            path,
            tables,
            writer: &writer,
            vectors,
            refused: Vec::new(),
            allowance,
            max_cell_bytes: self.context.max_cell_bytes,
            indexes: &self.indexes,
            authority: &*self.context.authority,
        };
        let received = self.star.receive_read(now, from, frame, &mut judge, &mut random);
        let (refused, allowance) = (judge.refused, judge.allowance);
        match received {
            Ok(mut effects) => {
                self.context.refusals.spend(user, now, effects.refused.len());
                self.take(&mut effects, batch);
                self.owe_again(&refused, batch);
            }
            Err(close) => {
                self.context.refusals.closed(user, now, allowance);
                metrics::counter!("crossfade_sync_bad_frames_total").increment(1);
                batch.closes.push((from.clone(), close.into()));
            }
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

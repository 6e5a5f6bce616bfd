//! Paths that belong to no resource, in peer topology: frames relayed between clients as TinyBase's own server does without a
//! persister. Nothing is judged, kept or owed; a path lives as long as it has clients.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use mergeable_store::{ConnectionId, Effects, Limits, Recipients, Relay};
use tokio::sync::{mpsc, oneshot};

use super::path::{Broadcasts, ClientSink, CloseReason, Pace, PathError};
use super::random::StarRandom;
use crate::clock::{SharedClock, SharedEntropy};

/// Commands that may wait for a path; the next sender waits for a place, a new client is turned away.
const QUEUE: usize = 256;

#[derive(Debug)]
enum Command {
    Connect(ConnectionId, ClientSink),
    Disconnect(ConnectionId),
    Frame(ConnectionId, String),
    WorkedOn(oneshot::Sender<()>),
    Close(CloseReason),
}

type Commands = mpsc::Sender<Command>;

/// The relayed paths of a process.
#[derive(Debug, Clone)]
pub(super) struct PeerPaths {
    paths: Arc<Mutex<HashMap<Arc<str>, Commands>>>,
    clock: SharedClock,
    entropy: SharedEntropy,
    pace: Arc<Pace>,
}

/// One of them, and a way to it once connected.
#[derive(Debug)]
pub(super) struct PeerPath {
    name: Arc<str>,
    paths: PeerPaths,
    commands: Option<Commands>,
}

impl PeerPaths {
    pub(super) fn new(clock: SharedClock, entropy: SharedEntropy, pace: Arc<Pace>) -> Self {
        Self { paths: Arc::default(), clock, entropy, pace }
    }

    /// The path of this name, which begins to live with its first client.
    pub(super) fn path(&self, name: Arc<str>) -> PeerPath {
        PeerPath { name, paths: self.clone(), commands: None }
    }

    /// Closes all connections.
    pub(super) async fn close_all(&self, reason: &CloseReason) {
        let paths: Vec<Commands> = self.lock().values().cloned().collect();
        for path in paths {
            // A path that is gone has no connections.
            let _ = path.send(Command::Close(reason.clone())).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Commands>> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PeerPath {
    /// Takes up a connection. Clients are taken up under the lock under which a path without clients ends, so that none is
    /// taken up by a path that is about to.
    pub(super) fn connect(
        &mut self,
        client: ConnectionId,
        sink: ClientSink,
    ) -> Result<(), PathError> {
        let mut paths = self.paths.lock();
        let commands = paths.entry(self.name.clone()).or_insert_with(|| {
            let (commands, queue) = mpsc::channel(QUEUE);
            let task = PeerTask {
                name: self.name.clone(),
                paths: self.paths.clone(),
                relay: Relay::new(&Limits::default()),
                sinks: HashMap::new(),
                broadcasts: Broadcasts::new(self.paths.pace.clone()),
            };
            tokio::spawn(task.run(queue));
            commands
        });
        commands.try_send(Command::Connect(client, sink)).map_err(|_| PathError::Gone)?;
        self.commands = Some(commands.clone());
        Ok(())
    }

    pub(super) async fn frame(&self, client: ConnectionId, text: String) -> Result<(), PathError> {
        self.tell(Command::Frame(client, text)).await
    }

    pub(super) async fn worked_on(&self) -> Result<(), PathError> {
        let (reply, answer) = oneshot::channel();
        self.tell(Command::WorkedOn(reply)).await?;
        answer.await.map_err(|_| PathError::Gone)
    }

    pub(super) async fn disconnect(&self, client: ConnectionId) -> Result<(), PathError> {
        self.tell(Command::Disconnect(client)).await
    }

    async fn tell(&self, command: Command) -> Result<(), PathError> {
        let commands = self.commands.as_ref().ok_or(PathError::Gone)?;
        commands.send(command).await.map_err(|_| PathError::Gone)
    }
}

struct PeerTask {
    name: Arc<str>,
    paths: PeerPaths,
    relay: Relay,
    sinks: HashMap<ConnectionId, ClientSink>,
    broadcasts: Broadcasts,
}

/// What a relayed path has to do next.
enum Event {
    Command(Command),
    Deadline,
    /// What is queued for all clients may be due.
    Broadcasts,
    /// All handles are gone: nobody can reach this path any more.
    Unreachable,
}

impl PeerTask {
    async fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        loop {
            match self.next_event(&mut queue).await {
                Event::Unreachable => break,
                Event::Command(command) => self.handle(command),
                Event::Deadline => {
                    let (now, mut random) = (self.paths.clock.now_ms(), self.random());
                    let effects = self.relay.tick(now, &mut random);
                    self.carry_out(effects);
                }
                // As after every event: see below.
                Event::Broadcasts => {}
            }
            self.broadcasts.leave(self.sinks.values_mut());
            if self.sinks.is_empty() && self.ends(&queue) {
                break;
            }
        }
    }

    async fn next_event(&self, queue: &mut mpsc::Receiver<Command>) -> Event {
        let deadline = async {
            match self.relay.next_deadline() {
                Some(at) => {
                    let wait = at.saturating_sub(self.paths.clock.now_ms());
                    tokio::time::sleep(Duration::from_millis(wait)).await;
                }
                None => std::future::pending().await,
            }
        };
        let broadcasts = async {
            match self.broadcasts.due() {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            command = queue.recv() => command.map_or(Event::Unreachable, Event::Command),
            () = deadline => Event::Deadline,
            () = broadcasts => Event::Broadcasts,
        }
    }

    /// Ends the path unless somebody is about to be taken up.
    fn ends(&self, queue: &mpsc::Receiver<Command>) -> bool {
        let mut paths = self.paths.lock();
        let ends = queue.is_empty();
        if ends {
            paths.remove(&self.name);
        }
        ends
    }

    fn random(&self) -> StarRandom {
        StarRandom(self.paths.entropy.clone())
    }

    fn handle(&mut self, command: Command) {
        let (now, mut random) = (self.paths.clock.now_ms(), self.random());
        match command {
            Command::Connect(client, mut sink) => {
                self.broadcasts.joined(&mut sink);
                self.sinks.insert(client.clone(), sink);
                let effects = self.relay.connect(now, client, &mut random);
                self.carry_out(effects);
            }
            Command::Disconnect(client) => {
                self.sinks.remove(&client);
                self.relay.disconnect(&client);
            }
            Command::Frame(client, text) => {
                match self.relay.receive(now, &client, &text, &mut random) {
                    Ok(effects) => self.carry_out(effects),
                    Err(close) => {
                        metrics::counter!("crossfade_sync_bad_frames_total").increment(1);
                        self.close(&client, close.into());
                    }
                }
            }
            // Whoever asked may have gone away.
            Command::WorkedOn(reply) => drop(reply.send(())),
            Command::Close(reason) => {
                for sink in self.sinks.values_mut() {
                    self.broadcasts.close(sink, reason.clone());
                }
            }
        }
    }

    fn carry_out(&mut self, effects: Effects) {
        for outgoing in effects.send {
            let frame = Utf8Bytes::from(&*outgoing.frame);
            match &outgoing.to {
                Recipients::One(id) => {
                    if let Some(sink) = self.sinks.get_mut(id) {
                        self.broadcasts.send(sink, frame);
                    }
                }
                Recipients::All { except } => {
                    let except = except.as_ref().and_then(|id| self.sinks.get(id));
                    let clients = self.sinks.len();
                    self.broadcasts.queue(except.map(ClientSink::id), frame, clients);
                }
            }
        }
        for (client, close) in effects.close {
            self.close(&client, close.into());
        }
    }

    fn close(&mut self, client: &ConnectionId, reason: CloseReason) {
        if let Some(mut sink) = self.sinks.remove(client) {
            self.broadcasts.close(&mut sink, reason);
        }
    }
}

//! Paths that belong to no resource, in peer topology: frames relayed between clients as TinyBase's own server does without a
//! persister. Nothing is judged, kept or owed; a path lives as long as it has clients.
//!
//! A frame is passed on by the task of the socket that it came through: to hand it to another task would cost more than the relay.
//! Only what waits is left to a task of the path.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use mergeable_store::{ConnectionId, Effects, Limits, Recipients, Relay};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::path::{Broadcasts, ClientSink, CloseReason, Pace};
use super::random::StarRandom;
use crate::clock::{SharedClock, SharedEntropy};

type Groups = HashMap<Arc<str>, Arc<Group>>;

/// The relayed paths of a process.
#[derive(Debug, Clone)]
pub(super) struct PeerPaths(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    groups: Mutex<Groups>,
    clock: SharedClock,
    entropy: SharedEntropy,
    pace: Arc<Pace>,
}

/// One of them, and the way to it once connected.
#[derive(Debug)]
pub(super) struct PeerPath {
    name: Arc<str>,
    paths: PeerPaths,
    group: Option<Arc<Group>>,
}

/// The clients of a path.
#[derive(Debug)]
struct Group {
    /// Taken by whoever has something for the path, and never held over an await. Who has to wait for it lets others work.
    state: tokio::sync::Mutex<State>,
    /// The path's task has something earlier to do than it knows, or is to end.
    earlier: Notify,
    clock: SharedClock,
    entropy: SharedEntropy,
}

#[derive(Debug)]
struct State {
    relay: Relay,
    sinks: HashMap<ConnectionId, ClientSink>,
    broadcasts: Broadcasts,
    /// When the path's task will look again.
    next_look: Option<Instant>,
    /// The last client has gone.
    ended: bool,
}

impl PeerPaths {
    pub(super) fn new(clock: SharedClock, entropy: SharedEntropy, pace: Arc<Pace>) -> Self {
        Self(Arc::new(Shared { groups: Mutex::default(), clock, entropy, pace }))
    }

    /// The path of this name, which begins to live with its first client.
    pub(super) fn path(&self, name: Arc<str>) -> PeerPath {
        PeerPath { name, paths: self.clone(), group: None }
    }

    /// Closes all connections.
    pub(super) async fn close_all(&self, reason: &CloseReason) {
        let groups: Vec<_> = self.lock().values().cloned().collect();
        for group in groups {
            let State { sinks, broadcasts, .. } = &mut *group.state.lock().await;
            for sink in sinks.values_mut() {
                broadcasts.close(sink, reason.clone());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Groups> {
        self.0.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The group of a path, which is made if there is none.
    fn group(&self, name: &Arc<str>) -> Arc<Group> {
        let made = || {
            let group = Arc::new(Group {
                state: tokio::sync::Mutex::new(State {
                    relay: Relay::new(&Limits::default()),
                    sinks: HashMap::new(),
                    broadcasts: Broadcasts::new(self.0.pace.clone()),
                    next_look: None,
                    ended: false,
                }),
                earlier: Notify::new(),
                clock: self.0.clock.clone(),
                entropy: self.0.entropy.clone(),
            });
            tokio::spawn(group.clone().watch());
            group
        };
        self.lock().entry(name.clone()).or_insert_with(made).clone()
    }
}

impl PeerPath {
    /// Takes up a connection.
    pub(super) async fn connect(&mut self, client: ConnectionId, mut sink: ClientSink) {
        loop {
            let group = self.paths.group(&self.name);
            let mut state = group.state.lock().await;
            if state.ended {
                // Its last client went just now; whoever ends it takes it out.
                drop(state);
                tokio::task::yield_now().await;
                continue;
            }
            state.broadcasts.joined(&mut sink);
            state.sinks.insert(client.clone(), sink);
            let effects = state.relay.connect(group.now(), client, &mut group.random());
            group.carry_out(&mut state, effects);
            drop(state);
            self.group = Some(group);
            return;
        }
    }

    pub(super) async fn frame(&self, client: &ConnectionId, text: &str) {
        let Some(group) = &self.group else { return };
        let mut state = group.state.lock().await;
        match state.relay.receive(group.now(), client, text, &mut group.random()) {
            Ok(effects) => group.carry_out(&mut state, effects),
            Err(close) => {
                metrics::counter!("crossfade_sync_bad_frames_total").increment(1);
                state.close(client, close.into());
            }
        }
    }

    /// Lets a connection go. The path ends with its last one.
    pub(super) async fn disconnect(&self, client: &ConnectionId) {
        let Some(group) = &self.group else { return };
        let mut state = group.state.lock().await;
        state.sinks.remove(client);
        state.relay.disconnect(client);
        if state.sinks.is_empty() && !state.ended {
            state.ended = true;
            drop(state);
            let mut groups = self.paths.lock();
            if groups.get(&self.name).is_some_and(|known| Arc::ptr_eq(known, group)) {
                groups.remove(&self.name);
            }
            drop(groups);
            group.earlier.notify_one();
        }
    }
}

impl Group {
    fn now(&self) -> u64 {
        self.clock.now_ms()
    }

    fn random(&self) -> StarRandom {
        StarRandom(self.entropy.clone())
    }

    /// The path's task: sends what has waited for long enough, gives up what was never finished.
    async fn watch(self: Arc<Self>) {
        loop {
            let mut state = self.state.lock().await;
            if state.ended {
                return;
            }
            if state.relay.next_deadline().is_some_and(|at| at <= self.now()) {
                let effects = state.relay.tick(self.now(), &mut self.random());
                self.carry_out(&mut state, effects);
            }
            state.release();
            let next = state.next(self.now());
            state.next_look = next;
            drop(state);
            let time = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = time => {}
                () = self.earlier.notified() => {}
            }
        }
    }

    /// Sends what a frame or the time led to, and has the rest sent in its time.
    fn carry_out(&self, state: &mut State, effects: Effects) {
        for outgoing in effects.send {
            let frame = Utf8Bytes::from(&*outgoing.frame);
            match &outgoing.to {
                Recipients::One(id) => {
                    if let Some(sink) = state.sinks.get_mut(id) {
                        state.broadcasts.send(sink, frame);
                    }
                }
                Recipients::All { except } => {
                    let except = except.as_ref().and_then(|id| state.sinks.get(id));
                    let (except, clients) = (except.map(ClientSink::id), state.sinks.len());
                    state.broadcasts.queue(except, frame, clients);
                }
            }
        }
        for (client, close) in effects.close {
            state.close(&client, close.into());
        }
        state.release();
        let next = state.next(self.now());
        if next.is_some_and(|next| state.next_look.is_none_or(|known| next < known)) {
            state.next_look = next;
            self.earlier.notify_one();
        }
    }
}

impl State {
    /// Lets go of what is queued for all, if it is time.
    fn release(&mut self) {
        self.broadcasts.leave(self.sinks.values_mut());
    }

    /// When there is something to do without a frame.
    fn next(&self, now: u64) -> Option<Instant> {
        let until = |at: u64| Instant::now() + Duration::from_millis(at.saturating_sub(now));
        let deadline = self.relay.next_deadline().map(until);
        self.broadcasts.due().into_iter().chain(deadline).min()
    }

    fn close(&mut self, client: &ConnectionId, reason: CloseReason) {
        if let Some(mut sink) = self.sinks.remove(client) {
            self.broadcasts.close(&mut sink, reason);
        }
    }
}

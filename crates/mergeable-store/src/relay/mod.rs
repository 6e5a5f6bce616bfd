//! A path as TinyBase's own server serves it: clients are each other's peers, and frames are passed on as they came.
//!
//! A broadcast goes to the server's own store first, if it has one, then to every other client, with the sender's id in front.
//! A directed frame goes to that client alone, even if it is the sender; a target that is not there drops it. Frames are
//! validated as strictly as a [`Star`](crate::Star) does, but nothing is judged: whoever may connect may write anything.
//!
//! With a store, the server is one more client, named `S`. It asks the first client that comes for its hashes, as TinyBase's
//! server does; unlike it, it answers that client at once, where TinyBase's keeps it waiting until its own request has timed out.

use std::collections::{BTreeMap, BTreeSet};

use crate::client::ClientEffects;
use crate::fragment::Reassembly;
use crate::star::{Effects, Limits, Outgoing, Recipients};
use crate::{
    Close, ConnectionId, Frame, MAX_FRAME_BYTES, MergeableStore, Message, Millis, Payload, Random,
    Synchronizer, Transaction, Writer,
};

/// The id of the server's own store among the clients.
const SERVER: &str = "S";

/// The clients of a path, and perhaps a store that is kept in step with them.
#[derive(Debug)]
pub struct Relay {
    server: Option<Box<Synchronizer>>,
    fragment_timeout_ms: Millis,
    peers: BTreeSet<ConnectionId>,
    /// Unfinished messages, of the clients that have some: an idle thousand costs nothing.
    unfinished: BTreeMap<ConnectionId, Reassembly>,
}

/// A frame to pass on: what stands behind the client id, in as many pieces as it came.
struct Passed<'a> {
    to: &'a str,
    remainders: &'a [&'a str],
}

impl Relay {
    /// A path that only passes frames on. Of the limits, only the time for unfinished messages has a meaning here.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            server: None,
            fragment_timeout_ms: limits.fragment_timeout_ms,
            peers: BTreeSet::new(),
            unfinished: BTreeMap::new(),
        }
    }

    /// A path with a store of its own, which sends in fragments if the limits say so.
    #[must_use]
    pub fn with_store(store: MergeableStore, limits: &Limits) -> Self {
        let server = Synchronizer::new(store);
        let server = match limits.fragment_bytes {
            Some(bytes) => server.with_fragment_bytes(bytes),
            None => server,
        };
        Self { server: Some(Box::new(server)), ..Self::new(limits) }
    }

    /// The server's own store, if it has one.
    #[must_use]
    pub fn store(&self) -> Option<&MergeableStore> {
        self.server.as_deref().map(Synchronizer::store)
    }

    /// The connections, in the order of their ids.
    pub fn connections(&self) -> impl ExactSizeIterator<Item = &ConnectionId> {
        self.peers.iter()
    }

    /// A client has connected. The first one is asked for its hashes, if the server has a store; later ones ask. An
    /// earlier connection of the same id is forgotten.
    pub fn connect(&mut self, now: Millis, id: ConnectionId, rng: &mut dyn Random) -> Effects {
        let first = self.peers.is_empty();
        self.unfinished.remove(&id);
        self.peers.insert(id);
        let mut effects = Effects::default();
        if first && let Some(server) = &mut self.server {
            let frames = server.connected(now, rng);
            self.send(&mut effects, frames);
        }
        effects
    }

    /// A connection is gone. With the last one the server's own synchronization ends; the next one begins it anew.
    pub fn disconnect(&mut self, id: &ConnectionId) {
        self.peers.remove(id);
        self.unfinished.remove(id);
        if self.peers.is_empty()
            && let Some(server) = &mut self.server
        {
            server.disconnected();
        }
    }

    /// A frame has arrived. Frames of connections that are not known, or were closed, are ignored.
    ///
    /// # Errors
    /// How the connection has to be closed; it is already forgotten, and nothing of the frame has counted.
    pub fn receive(
        &mut self,
        now: Millis,
        from: &ConnectionId,
        frame: &str,
        rng: &mut dyn Random,
    ) -> Result<Effects, Close> {
        self.take(now, from, frame, rng).inspect_err(|_| self.disconnect(from))
    }

    /// Time has passed: unfinished messages are dropped, the server's own requests given up.
    pub fn tick(&mut self, now: Millis, rng: &mut dyn Random) -> Effects {
        self.unfinished.retain(|_, messages| {
            messages.expire(now);
            messages.next_deadline().is_some()
        });
        let mut effects = Effects::default();
        if let Some(server) = &mut self.server {
            let told = server.tick(now, rng);
            self.tell(&mut effects, told, &Writer::Store);
        }
        effects
    }

    /// When [`Relay::tick`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Millis> {
        let unfinished = self.unfinished.values().filter_map(Reassembly::next_deadline);
        let server = self.server.as_ref().and_then(|server| server.next_deadline());
        unfinished.chain(server).min()
    }

    /// The server itself writes to its store, and tells all clients; `None` without a store.
    ///
    /// # Errors
    /// The closure's own; then nothing is written.
    pub fn write<T, E>(
        &mut self,
        now: Millis,
        rng: &mut dyn Random,
        edit: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<Option<(T, Effects)>, E> {
        let Some(server) = &mut self.server else {
            return Ok(None);
        };
        let (result, told) = server.write(now, rng, edit)?;
        let mut effects = Effects::default();
        self.tell(&mut effects, told, &Writer::Store);
        Ok(Some((result, effects)))
    }

    fn take(
        &mut self,
        now: Millis,
        from: &ConnectionId,
        frame: &str,
        rng: &mut dyn Random,
    ) -> Result<Effects, Close> {
        let mut effects = Effects::default();
        if !self.peers.contains(from) {
            return Ok(effects);
        }
        let frame = Frame::parse(frame)?;
        match &frame.payload {
            Payload::Message(message) => {
                let passed = Passed { to: frame.client, remainders: &[frame.remainder] };
                self.pass(&mut effects, now, from, &passed, message, rng);
            }
            Payload::Fragment(fragment) => {
                let messages = self.unfinished.entry(from.clone()).or_default();
                let whole = messages.take(now, self.fragment_timeout_ms, frame.client, fragment)?;
                if messages.next_deadline().is_none() {
                    self.unfinished.remove(from);
                }
                if let Some(whole) = whole {
                    let message = Message::parse(&whole.text).ok_or(Close::INVALID)?;
                    let remainders: Vec<&str> = whole.remainders.iter().map(|r| &**r).collect();
                    let passed = Passed { to: frame.client, remainders: &remainders };
                    self.pass(&mut effects, now, from, &passed, &message, rng);
                }
            }
        }
        Ok(effects)
    }

    /// Passes a message on that is whole and valid, to the server's own store first.
    fn pass(
        &mut self,
        effects: &mut Effects,
        now: Millis,
        from: &ConnectionId,
        passed: &Passed<'_>,
        message: &Message,
        rng: &mut dyn Random,
    ) {
        if matches!(passed.to, "" | SERVER)
            && let Some(server) = &mut self.server
        {
            let told = server.hear(now, from.as_str(), message, rng);
            self.tell(effects, told, &Writer::Connection(from.clone()));
        }
        if passed.to == SERVER {
            return;
        }
        for remainder in passed.remainders {
            if let Some(to) = self.recipients(passed.to, Some(from)) {
                self.queue(effects, to, format!("{from}\n{remainder}"));
            }
        }
    }

    /// What the server's own synchronizer wants done.
    fn tell(&mut self, effects: &mut Effects, told: ClientEffects, by: &Writer) {
        let ClientEffects { send, changed, changed_values, changed_containers, .. } = told;
        effects.changed.extend(changed.into_iter().map(|mut change| {
            change.by = by.clone();
            change
        }));
        effects.changed_values.extend(changed_values.into_iter().map(|mut change| {
            change.by = by.clone();
            change
        }));
        effects.changed_containers.extend(changed_containers.into_iter().map(|mut change| {
            change.by = by.clone();
            change
        }));
        self.send(effects, send);
    }

    /// Frames of the server's own synchronizer, to be passed on in its name.
    fn send(&mut self, effects: &mut Effects, frames: Vec<String>) {
        for frame in frames {
            if let Some((to, remainder)) = frame.split_once('\n')
                && let Some(to) = self.recipients(to, None)
            {
                self.queue(effects, to, format!("{SERVER}\n{remainder}"));
            }
        }
    }

    /// Who gets what is addressed like this; `None` for nobody.
    fn recipients(&self, to: &str, from: Option<&ConnectionId>) -> Option<Recipients> {
        if to.is_empty() {
            let mut others = self.peers.iter().filter(|id| Some(*id) != from);
            let all = Recipients::All { except: from.cloned() };
            return others.next().map(|_| all);
        }
        let to = ConnectionId::from(to);
        self.peers.contains(&to).then_some(Recipients::One(to))
    }

    /// A frame that has become too large by the id in front of it closes those who would get it.
    fn queue(&mut self, effects: &mut Effects, to: Recipients, frame: String) {
        if frame.len() <= MAX_FRAME_BYTES {
            effects.send.push(Outgoing { to, frame: frame.into() });
            return;
        }
        let to: Vec<_> = self.peers.iter().filter(|id| to.contains(id)).cloned().collect();
        for id in to {
            self.disconnect(&id);
            effects.close.push((id, Close::TOO_LARGE));
        }
    }
}

//! The server's end of a path: a star, in which the store `S` is each client's only peer.
//!
//! A client's broadcast is for `S`; a frame directed to another client is dropped, never relayed; an answer counts only
//! from the client that was asked. What clients send is judged, merged and committed by the caller before others see it.
//! Nothing here depends on earlier frames having been delivered: whoever missed some finds out by comparing hashes.

mod apply;
mod effects;
mod exchange;
mod policy;

use std::collections::{BTreeMap, BTreeSet};

pub use effects::{Effects, Limits, Outgoing, Recipients};
pub use policy::{Edit, Policy, Refusal, Ruling, Target};

use crate::fragment::Reassembly;
use crate::hash::ContentHashes;
use crate::message::{Body, Say};
use crate::pull::{self, Pull};
use crate::{
    Close, ConnectionId, Frame, MergeableStore, Message, Millis, Payload, Random, Text, Transaction,
};

/// How many requests in a row may stay unanswered before `S` no longer asks anew of its own accord.
const MAX_UNANSWERED: u8 = 3;

/// What `S` knows of a connection.
#[derive(Debug, Default)]
struct Peer {
    fragments: Reassembly,
    /// A request for the client's hashes under way: its id and when it is overdue.
    asked: Option<(Text, Millis)>,
    /// The one pull under way.
    pull: Option<Pull>,
    /// Hashes heard while pulling, to be looked at afterwards; the latest replace earlier ones.
    again: Option<ContentHashes>,
    draining: bool,
    /// When to ask for hashes again: while draining, and after a pull that was not answered in time.
    ask_at: Option<Millis>,
    /// Requests in a row that were not answered in time.
    unanswered: u8,
}

impl Peer {
    fn next_deadline(&self) -> Option<Millis> {
        let asked = self.asked.as_ref().map(|(_, deadline)| *deadline);
        let pull = self.pull.as_ref().map(|pull| pull.deadline);
        [asked, pull, self.ask_at, self.fragments.next_deadline()].into_iter().flatten().min()
    }
}

/// The store of a path and its connections.
#[derive(Debug)]
pub struct Star {
    store: MergeableStore,
    limits: Limits,
    peers: BTreeMap<ConnectionId, Peer>,
    /// Connections with a deadline, so that an idle thousand costs nothing.
    timed: BTreeSet<ConnectionId>,
}

/// A call under way: what every step needs.
struct Call<'a> {
    now: Millis,
    rng: &'a mut dyn Random,
    effects: Effects,
}

impl Star {
    /// A path around a store, without connections.
    #[must_use]
    pub fn new(store: MergeableStore, limits: Limits) -> Self {
        Self { store, limits, peers: BTreeMap::new(), timed: BTreeSet::new() }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &MergeableStore {
        &self.store
    }

    /// The connections, in the order of their ids.
    pub fn connections(&self) -> impl ExactSizeIterator<Item = &ConnectionId> {
        self.peers.keys()
    }

    /// A client has connected. `S` asks for its hashes at once, as TinyBase's server does, so that what it made offline comes
    /// without waiting for the client to have loaded. An earlier connection of the same id is forgotten.
    pub fn connect(&mut self, now: Millis, id: ConnectionId, rng: &mut dyn Random) -> Effects {
        self.peers.insert(id.clone(), Peer::default());
        let mut call = Call { now, rng, effects: Effects::default() };
        self.ask(&mut call, &id);
        self.finish(call, &id)
    }

    /// A connection is gone.
    pub fn disconnect(&mut self, id: &ConnectionId) {
        self.peers.remove(id);
        self.timed.remove(id);
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
        policy: &mut dyn Policy,
        rng: &mut dyn Random,
    ) -> Result<Effects, Close> {
        let mut call = Call { now, rng, effects: Effects::default() };
        match self.take(&mut call, from, frame, policy) {
            Ok(()) => Ok(self.finish(call, from)),
            Err(close) => {
                self.disconnect(from);
                Err(close)
            }
        }
    }

    /// Time has passed: gives up what is overdue, asks again where a drain waits.
    pub fn tick(&mut self, now: Millis, rng: &mut dyn Random) -> Effects {
        let mut call = Call { now, rng, effects: Effects::default() };
        let due = |id: &&ConnectionId| {
            self.peers
                .get(*id)
                .and_then(Peer::next_deadline)
                .is_some_and(|deadline| deadline <= now)
        };
        let due: Vec<ConnectionId> = self.timed.iter().filter(due).cloned().collect();
        for id in &due {
            self.expire(&mut call, id);
            self.note_deadline(id);
        }
        call.effects
    }

    /// When [`Star::tick`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Millis> {
        self.timed.iter().filter_map(|id| self.peers.get(id)?.next_deadline()).min()
    }

    /// The server itself writes, and tells all clients.
    ///
    /// # Errors
    /// The closure's own; then nothing is written.
    pub fn write<T, E>(
        &mut self,
        now: Millis,
        rng: &mut dyn Random,
        edit: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<(T, Effects), E> {
        let (result, merged) = self.store.edit(now, edit)?;
        let mut call = Call { now, rng, effects: Effects::default() };
        self.broadcast(&mut call, &merged.to_changes(), None);
        call.effects.record(merged);
        Ok((result, call.effects))
    }

    /// Begins to drain a client: asks for its hashes, pulls what it still has, and lets it pull what it lacks, until the
    /// hashes are equal; then some call's [`Effects::drained`] names it. The caller decides how long that may take.
    pub fn drain(&mut self, now: Millis, id: &ConnectionId, rng: &mut dyn Random) -> Effects {
        let mut call = Call { now, rng, effects: Effects::default() };
        if let Some(peer) = self.peers.get_mut(id) {
            peer.draining = true;
            self.ask(&mut call, id);
        }
        self.finish(call, id)
    }

    /// Asks a client for its hashes, unless it is being asked already: if it has everything, the
    /// [`Effects::equal`] of some later call says so.
    pub fn ask_hashes(&mut self, now: Millis, id: &ConnectionId, rng: &mut dyn Random) -> Effects {
        let mut call = Call { now, rng, effects: Effects::default() };
        if self.peers.get(id).is_some_and(|peer| peer.asked.is_none()) {
            self.ask(&mut call, id);
        }
        self.finish(call, id)
    }

    fn finish(&mut self, call: Call<'_>, id: &ConnectionId) -> Effects {
        self.note_deadline(id);
        call.effects
    }

    fn note_deadline(&mut self, id: &ConnectionId) {
        if self.peers.get(id).and_then(Peer::next_deadline).is_some() {
            self.timed.insert(id.clone());
        } else {
            self.timed.remove(id);
        }
    }

    fn take(
        &mut self,
        call: &mut Call<'_>,
        from: &ConnectionId,
        frame: &str,
        policy: &mut dyn Policy,
    ) -> Result<(), Close> {
        let Some(peer) = self.peers.get_mut(from) else {
            return Ok(());
        };
        let frame = Frame::parse(frame)?;
        let message = match frame.payload {
            Payload::Message(message) => message,
            Payload::Fragment(fragment) => {
                let timeout = self.limits.fragment_timeout_ms;
                match peer.fragments.take(call.now, timeout, frame.client, &fragment)? {
                    Some(whole) => Message::parse(&whole.text).ok_or(Close::INVALID)?,
                    None => return Ok(()),
                }
            }
        };
        // Validated all the same; but clients never hear each other directly.
        if !matches!(frame.client, "" | "S") {
            return Ok(());
        }
        self.handle(call, from, &message, policy)
    }

    fn handle(
        &mut self,
        call: &mut Call<'_>,
        from: &ConnectionId,
        message: &Message,
        policy: &mut dyn Policy,
    ) -> Result<(), Close> {
        let request = message.request.as_ref();
        match &message.body {
            Body::Response(body) => self.answered(call, from, request, body, policy)?,
            Body::GetContentHashes => {
                let remainder = Say::AnswerHashes(self.store.hashes()).remainder(request);
                self.send(call, from, remainder);
            }
            Body::ContentHashes(hashes) => self.heard(call, from, *hashes, request),
            Body::ContentDiff(Some(changes)) => self.apply(call, from, changes, policy)?,
            Body::ContentDiff(None) => {}
            body => {
                if let Some(remainder) = pull::answer_diff(&self.store, request, body) {
                    self.send(call, from, remainder);
                }
            }
        }
        Ok(())
    }
}

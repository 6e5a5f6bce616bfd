//! The server's end of a path: a star, in which the store `S` is each client's only peer.
//!
//! A client's broadcast is for `S`; a frame directed to another client is dropped, never relayed; an answer counts only
//! from the client that was asked. What clients send is judged, merged and committed by the caller before others see it.
//! Nothing here depends on earlier frames having been delivered: whoever missed some finds out by comparing hashes.

mod answer;
mod apply;
mod backlog;
mod effects;
mod exchange;
mod inbound;
mod peer;
mod policy;
mod unsent;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use effects::{Effects, Limits, Outgoing, Recipients};
pub use inbound::Inbound;
pub use policy::{Edit, Policy, Refusal, Ruling, Target};

use crate::message::{Body, Say};
use crate::pull;
use crate::{Close, ConnectionId, MergeableStore, Message, Millis, Random, Transaction};
use inbound::Content;
use peer::Peer;
use unsent::Unsent;

/// How many requests in a row may stay unanswered before `S` no longer asks anew of its own accord.
const MAX_UNANSWERED: u8 = 3;

/// The store of a path and its connections.
#[derive(Debug)]
pub struct Star {
    store: MergeableStore,
    limits: Limits,
    peers: BTreeMap<ConnectionId, Peer>,
    /// Connections with a deadline, by it, so that an idle thousand costs nothing.
    timed: BTreeSet<(Millis, ConnectionId)>,
    unsent: Unsent,
    /// Connections that are being sent what they lack, the next first.
    backlogged: VecDeque<ConnectionId>,
    /// Rows that all backlogs name.
    backlog_rows: usize,
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
        let (peers, timed, unsent) = (BTreeMap::new(), BTreeSet::new(), Unsent::default());
        let (backlogged, backlog_rows) = (VecDeque::new(), 0);
        Self { store, limits, peers, timed, unsent, backlogged, backlog_rows }
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
        self.disconnect(&id);
        self.peers.insert(id.clone(), Peer::default());
        let mut call = Call { now, rng, effects: Effects::default() };
        self.ask(&mut call, &id);
        self.finish(call, &id)
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
        self.receive_read(now, from, Inbound::read(frame), policy, rng)
    }

    /// A frame has arrived that was read elsewhere, as [`Star::receive`].
    ///
    /// # Errors
    /// As [`Star::receive`].
    pub fn receive_read(
        &mut self,
        now: Millis,
        from: &ConnectionId,
        frame: Inbound,
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
        let due = self.timed.iter().take_while(|(deadline, _)| *deadline <= now);
        let due: Vec<ConnectionId> = due.map(|(_, id)| id.clone()).collect();
        for id in &due {
            self.expire(&mut call, id);
            self.note(id);
        }
        call.effects
    }

    /// When [`Star::tick`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Millis> {
        self.timed.first().map(|(deadline, _)| *deadline)
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
        self.unsent.add(merged.to_changes(), None);
        self.broadcast(&mut call);
        call.effects.record(merged);
        Ok((result, call.effects))
    }

    /// Sends what was merged and waits to be broadcast, under [`Limits::coalesce`]: all of it in one frame for everybody. What
    /// tells a client the own hashes is sent behind it, so that hashes never speak of content that is still to come.
    pub fn flush(&mut self, now: Millis, rng: &mut dyn Random) -> Effects {
        let mut call = Call { now, rng, effects: Effects::default() };
        self.send_unsent(&mut call);
        call.effects
    }

    /// Begins to drain a client: asks for its hashes, pulls what it still has, and lets it pull what it lacks, until the
    /// hashes are equal; then some call's [`Effects::drained`] names it. The caller decides how long that may take.
    pub fn drain(&mut self, now: Millis, id: &ConnectionId, rng: &mut dyn Random) -> Effects {
        let mut call = Call { now, rng, effects: Effects::default() };
        if let Some(peer) = self.peers.get_mut(id) {
            peer.state().draining = true;
            self.ask(&mut call, id);
        }
        self.finish(call, id)
    }

    /// Asks a client for its hashes, unless it is being asked already: if it has everything, the
    /// [`Effects::equal`] of some later call says so.
    pub fn ask_hashes(&mut self, now: Millis, id: &ConnectionId, rng: &mut dyn Random) -> Effects {
        let mut call = Call { now, rng, effects: Effects::default() };
        if self.peers.get_mut(id).is_some_and(|peer| peer.state().asked.is_none()) {
            self.ask(&mut call, id);
        }
        self.finish(call, id)
    }

    fn take(
        &mut self,
        call: &mut Call<'_>,
        from: &ConnectionId,
        frame: Inbound,
        policy: &mut dyn Policy,
    ) -> Result<(), Close> {
        let Some(peer) = self.peers.get_mut(from) else {
            return Ok(());
        };
        let message = match frame.0? {
            Content::Message(message) => *message,
            Content::Fragment(piece) => {
                let timeout = self.limits.fragment_timeout_ms;
                let (client, fragment) = (&*piece.client, piece.fragment()?);
                match peer.state().fragments.take(call.now, timeout, client, &fragment)? {
                    Some(whole) if !inbound::is_for_server(client) => {
                        return Message::parse(&whole.text).map(drop).ok_or(Close::INVALID);
                    }
                    Some(whole) => Message::parse(&whole.text).ok_or(Close::INVALID)?,
                    None => return Ok(()),
                }
            }
            // Validated all the same; but clients never hear each other directly.
            Content::ForAnother => return Ok(()),
        };
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
                self.send_unsent(call);
                let remainder = Say::AnswerHashes(self.store.hashes()).remainder(request);
                self.send(call, from, remainder);
            }
            Body::ContentHashes(hashes) => {
                self.release(from);
                self.heard(call, from, *hashes, request);
            }
            Body::ContentDiff(Some(changes)) => self.apply(call, from, changes, policy)?,
            Body::ContentDiff(None) => {}
            body if self.answer(call, from, request, body) => {}
            body => {
                if let Some(remainder) = pull::answer_diff(&self.store, request, body) {
                    self.send(call, from, remainder);
                }
            }
        }
        Ok(())
    }
}

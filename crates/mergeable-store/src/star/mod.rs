//! The server's end of a path: a star, in which the store `S` is each client's only peer.
//!
//! A client's broadcast is for `S`; a frame directed to another client is dropped, never relayed; an answer counts only
//! from the client that was asked. What clients send is judged, merged and committed by the caller before others see it.
//! Nothing here depends on earlier frames having been delivered: whoever missed some finds out by comparing hashes.

mod effects;
mod policy;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use effects::{Effects, Limits, Outgoing, Recipients};
pub use policy::{Edit, Policy, Refusal, Ruling, Target};

use crate::fragment::{self, Reassembly};
use crate::hash::ContentHashes;
use crate::json::Json;
use crate::message::{Body, Say};
use crate::pull::{self, Next, Pull};
use crate::{
    Changes, Close, ConnectionId, EditError, Frame, Hlc, MAX_AHEAD_MS, MAX_FRAME_BYTES,
    MergeableStore, Merged, Message, Millis, Payload, Random, Text, Transaction, Writer,
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
                    Some(remainder) => Message::parse(&remainder).ok_or(Close::INVALID)?,
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

    /// An answer counts only if this client was asked and this is the request.
    fn answered(
        &mut self,
        call: &mut Call<'_>,
        from: &ConnectionId,
        request: Option<&Text>,
        body: &Json,
        policy: &mut dyn Policy,
    ) -> Result<(), Close> {
        let Some(peer) = self.peers.get_mut(from) else {
            return Ok(());
        };
        if let Some((asked, _)) = &peer.asked
            && request == Some(asked)
        {
            (peer.asked, peer.unanswered) = (None, 0);
            match crate::message::read_content_hashes(body) {
                Some(hashes) => self.heard(call, from, hashes, None),
                None => {
                    peer.ask_at = peer.draining.then_some(call.now + self.limits.drain_pause_ms)
                }
            }
            return Ok(());
        }
        let Some(pull) = peer.pull.as_mut().filter(|pull| pull.awaits(request)) else {
            return Ok(());
        };
        peer.unanswered = 0;
        let deadline = call.now + self.limits.request_timeout_ms;
        match pull.answer(&self.store, body, deadline, call.rng) {
            Next::Ask(remainder) => self.send(call, from, remainder),
            Next::Failed => self.pulled(call, from),
            Next::Done(changes) => {
                self.apply(call, from, &changes, policy)?;
                self.pulled(call, from);
            }
        }
        Ok(())
    }

    /// A client has told its hashes.
    fn heard(
        &mut self,
        call: &mut Call<'_>,
        from: &ConnectionId,
        hashes: ContentHashes,
        request: Option<&Text>,
    ) {
        let Some(peer) = self.peers.get_mut(from) else {
            return;
        };
        if hashes == self.store.hashes() {
            peer.again = None;
            if peer.pull.is_none() {
                Self::settled(call, from, peer);
            }
            return;
        }
        if peer.pull.is_some() {
            peer.again = Some(hashes);
            return;
        }
        let transaction = pull::transaction_of(request, call.rng);
        let deadline = call.now + self.limits.request_timeout_ms;
        if let Some((pull, remainder)) =
            Pull::start(&self.store, hashes, transaction, deadline, call.rng)
        {
            peer.pull = Some(pull);
            self.send(call, from, remainder);
        }
    }

    /// A pull is over, with or without success.
    fn pulled(&mut self, call: &mut Call<'_>, from: &ConnectionId) {
        let Some(peer) = self.peers.get_mut(from) else {
            return;
        };
        let announced = peer.pull.take().map(|pull| pull.announced);
        if let Some(hashes) = peer.again.take() {
            return self.heard(call, from, hashes, None);
        }
        let own = self.store.hashes();
        if announced == Some(own) {
            return Self::settled(call, from, peer);
        }
        // The client lacks something, perhaps because it arrived while it was still loading: let it look.
        peer.ask_at = peer.draining.then_some(call.now + self.limits.drain_pause_ms);
        let transaction = pull::transaction_id(call.rng);
        self.send(call, from, Say::ContentHashes(own).remainder(Some(&transaction)));
    }

    fn settled(call: &mut Call<'_>, id: &ConnectionId, peer: &mut Peer) {
        if std::mem::take(&mut peer.draining) {
            peer.ask_at = None;
            call.effects.drained.push(id.clone());
        }
    }

    fn ask(&mut self, call: &mut Call<'_>, id: &ConnectionId) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        let request = pull::request_id(&pull::transaction_id(call.rng), call.rng);
        let remainder = Say::GetContentHashes.remainder(Some(&request));
        peer.asked = Some((request, call.now + self.limits.request_timeout_ms));
        peer.ask_at = None;
        self.send(call, id, remainder);
    }

    fn expire(&mut self, call: &mut Call<'_>, id: &ConnectionId) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        peer.fragments.expire(call.now);
        let asked = peer.asked.take_if(|(_, deadline)| *deadline <= call.now).is_some();
        let pull = peer.pull.take_if(|pull| pull.deadline <= call.now).is_some();
        if asked || pull {
            call.effects.timed_out.push(id.clone());
            peer.unanswered = peer.unanswered.saturating_add(1);
            let again = peer.draining || peer.unanswered < MAX_UNANSWERED;
            if again && peer.asked.is_none() {
                peer.ask_at = Some(call.now);
            }
        }
        let due = peer.ask_at.is_some_and(|at| at <= call.now);
        if let Some(hashes) = peer.again.take_if(|_| pull) {
            self.heard(call, id, hashes, None);
        }
        if due {
            self.ask(call, id);
        }
    }

    /// Judges, merges and passes on what a client sent or was asked for.
    fn apply(
        &mut self,
        call: &mut Call<'_>,
        from: &ConnectionId,
        changes: &Changes,
        policy: &mut dyn Policy,
    ) -> Result<(), Close> {
        let limit = call.now.saturating_add(self.limits.max_ahead_ms.min(MAX_AHEAD_MS));
        if changes.hlcs().any(|hlc| hlc.time_ms() > limit) {
            return self.limits.ahead_close.clone().map_or(Ok(()), Err);
        }
        let judged = policy::judge(&self.store, call.now, from, changes, policy);
        // The one reason for which a merge is refused was looked at above.
        let Ok(merged) = self.store.merge(call.now, &judged.accepted) else {
            return Ok(());
        };
        let merged = merged.by(&Writer::Connection(from.clone()));
        let restamped = self.restamp(call.now, &judged.refused);
        let mut for_others = merged.to_changes();
        if !restamped.is_empty() {
            let restamped = restamped.to_changes();
            for_others.extend(restamped.clone());
            let transaction = pull::transaction_id(call.rng);
            self.send(call, from, Say::ContentDiff(&restamped).remainder(Some(&transaction)));
        }
        self.broadcast(call, &for_others, Some(from));
        call.effects.record(merged);
        call.effects.record(restamped);
        call.effects.refused.extend(judged.refused);
        Ok(())
    }

    /// Gives what was kept a stamp newer than the refused one.
    fn restamp(&mut self, now: Millis, refused: &[Refusal]) -> Merged {
        let highest = refused.iter().map(|refusal| refusal.hlc).max().unwrap_or(Hlc::EMPTY);
        if highest.is_empty() && refused.is_empty() {
            return Merged::default();
        }
        self.store.clock.seen(now, highest);
        let result = self.store.edit(now, |tx| {
            refused.iter().try_for_each(|refusal| match &refusal.target {
                Target::Cell { table, row, cell } => tx.restamp_cell(table, row, cell),
                Target::Value { value } => tx.restamp_value(value),
                Target::Container(_) => Ok(()),
            })
        });
        result.map_or_else(|_: EditError| Merged::default(), |((), merged)| merged)
    }

    fn broadcast(&mut self, call: &mut Call<'_>, changes: &Changes, except: Option<&ConnectionId>) {
        let to: Arc<[ConnectionId]> =
            self.peers.keys().filter(|id| Some(*id) != except).cloned().collect();
        if changes.is_empty() || to.is_empty() {
            return;
        }
        let transaction = pull::transaction_id(call.rng);
        let remainder = Say::ContentDiff(changes).remainder(Some(&transaction));
        self.send_to(call, &Recipients::Many(to), remainder);
    }

    fn send(&mut self, call: &mut Call<'_>, to: &ConnectionId, remainder: String) {
        self.send_to(call, &Recipients::One(to.clone()), remainder);
    }

    fn send_to(&mut self, call: &mut Call<'_>, to: &Recipients, remainder: String) {
        let pieces = fragment::split(remainder, self.limits.fragment_bytes, call.rng);
        if pieces.iter().any(|piece| piece.len() + 2 > MAX_FRAME_BYTES) {
            for id in to.iter() {
                self.disconnect(id);
                call.effects.close.push((id.clone(), Close::TOO_LARGE));
            }
            return;
        }
        let frames = pieces
            .into_iter()
            .map(|piece| Outgoing { to: to.clone(), frame: format!("S\n{piece}").into() });
        call.effects.send.extend(frames);
    }
}

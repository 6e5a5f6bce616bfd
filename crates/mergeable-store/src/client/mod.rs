//! A client's end of a connection: TinyBase's WebSocket synchronizer without the socket.
//!
//! [`Synchronizer`] is one store on a connection of its own; [`MultiplexedClient`] has several, each on a channel of one
//! shared connection.
//!
//! What TinyBase's client bounds is bounded here by what is kept at all. Nothing is queued while there is no connection: what
//! was edited meanwhile is found by comparing hashes. At most one request and one pull are under way, far below
//! TinyBase's hundred pending requests; hashes heard meanwhile wait, the latest of each peer, for [`MAX_PEERS`] of them.

mod exchange;
mod multiplexed;

pub use multiplexed::{ChannelsEffects, ChannelsError, MultiplexedClient, OnChannel, Unanswered};

use indexmap::IndexMap;

use crate::fragment::{self, Reassembly};
use crate::hash::ContentHashes;
use crate::message::{Body, Say};
use crate::pull::{self, Pull};
use crate::{
    CellChange, Changes, Close, ContainerChange, Frame, MergeableStore, Merged, Message, Millis,
    Payload, Random, Text, Transaction, ValueChange,
};

/// TinyBase's default for requests and for unfinished fragmented messages.
pub(crate) const TIMEOUT_MS: Millis = 1000;
/// Peers whose hashes wait to be looked at: TinyBase's bound on pending requests. One more is left to its next broadcast.
pub const MAX_PEERS: usize = 100;

/// What the owner of a [`Synchronizer`] has to carry out or may want to know.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "frames have to be sent"]
pub struct ClientEffects {
    /// Frames, in order.
    pub send: Vec<String>,
    /// Cells that others changed.
    pub changed: Vec<CellChange>,
    /// Values that others changed.
    pub changed_values: Vec<ValueChange>,
    /// Containers to which others gave a new HLC.
    pub changed_containers: Vec<ContainerChange>,
    /// An answer did not come in time (`tinybase:3`); the synchronizer goes on without it.
    pub timed_out: bool,
}

impl ClientEffects {
    fn record(&mut self, merged: Merged) {
        self.changed.extend(merged.cells);
        self.changed_values.extend(merged.values);
        self.changed_containers.extend(merged.containers);
    }
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Offline,
    /// Waiting for anybody's hashes.
    Asking,
    /// The first pull.
    Loading,
    Live,
}

/// A request for hashes under way.
#[derive(Clone, Debug)]
struct Asked {
    request: Text,
    /// Whom; `None`: everybody, so the first to answer counts.
    to: Option<String>,
    deadline: Millis,
}

/// A pull under way, and from whom.
#[derive(Clone, Debug)]
struct PullFrom {
    peer: String,
    pull: Pull,
    /// Own hashes follow if they still differ afterwards: the peer may lack something.
    announce: bool,
}

/// A call under way: what every step needs.
struct Call<'a> {
    now: Millis,
    rng: &'a mut dyn Random,
    effects: ClientEffects,
}

impl<'a> Call<'a> {
    fn new(now: Millis, rng: &'a mut dyn Random) -> Self {
        Self { now, rng, effects: ClientEffects::default() }
    }
}

/// A store kept in step with others over a connection that comes and goes.
///
/// Edits made offline stay in the store; the next connection brings them. The peer is `S` at a [`Star`](crate::Star), or
/// other clients at a relay.
#[derive(Clone, Debug)]
pub struct Synchronizer {
    store: MergeableStore,
    state: State,
    fragment_bytes: Option<usize>,
    fragments: Reassembly,
    asked: Option<Asked>,
    pull: Option<PullFrom>,
    /// Hashes heard while busy, to be looked at afterwards, by whose they are.
    again: IndexMap<Box<str>, ContentHashes>,
    last_peer_hashes: Option<ContentHashes>,
}

impl Synchronizer {
    /// A synchronizer that is not connected.
    #[must_use]
    pub fn new(store: MergeableStore) -> Self {
        Self {
            store,
            state: State::Offline,
            fragment_bytes: None,
            fragments: Reassembly::default(),
            asked: None,
            pull: None,
            again: IndexMap::new(),
            last_peer_hashes: None,
        }
    }

    /// Sends messages longer than this many bytes in fragments.
    #[must_use]
    pub fn with_fragment_bytes(mut self, bytes: usize) -> Self {
        self.fragment_bytes = Some(bytes);
        self
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &MergeableStore {
        &self.store
    }

    /// Gives the store back.
    #[must_use]
    pub fn into_store(self) -> MergeableStore {
        self.store
    }

    /// Whether the first exchange of this connection is over, so that edits are sent at once.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.state == State::Live
    }

    /// Whether an answer to a request for hashes is awaited.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    /// The hashes that a peer told last, in this connection.
    #[must_use]
    pub fn last_peer_hashes(&self) -> Option<ContentHashes> {
        self.last_peer_hashes
    }

    /// Whether the own hashes equal the last that a peer told. After an edit they do not, until the peer has told newer ones:
    /// see [`Synchronizer::request_hashes`].
    #[must_use]
    pub fn caught_up(&self) -> bool {
        self.last_peer_hashes == Some(self.store.hashes())
    }

    /// Writes to the store; the frames to send, none while not live.
    ///
    /// # Errors
    /// The closure's own; then nothing is written.
    pub fn edit<T, E>(
        &mut self,
        now: Millis,
        rng: &mut dyn Random,
        edit: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<(T, Vec<String>), E> {
        let (result, changes) = self.store.transaction(now, edit)?;
        let mut call = Call::new(now, rng);
        self.tell(&mut call, &changes);
        Ok((result, call.effects.send))
    }

    /// Tells everybody what was edited, while live; otherwise the next exchange of hashes brings it.
    fn tell(&self, call: &mut Call<'_>, changes: &Changes) {
        if self.is_live() && !changes.is_empty() {
            let transaction = pull::transaction_id(call.rng);
            self.send(call, "", Say::ContentDiff(changes).remainder(Some(&transaction)));
        }
    }

    /// A connection is there: asks everybody for their hashes.
    #[must_use = "frames have to be sent"]
    pub fn connected(&mut self, now: Millis, rng: &mut dyn Random) -> Vec<String> {
        self.disconnected();
        self.state = State::Asking;
        let mut call = Call::new(now, rng);
        self.ask(&mut call, None);
        call.effects.send
    }

    /// The connection is gone.
    pub fn disconnected(&mut self) {
        self.state = State::Offline;
        self.fragments = Reassembly::default();
        self.again = IndexMap::new();
        (self.asked, self.pull, self.last_peer_hashes) = (None, None, None);
    }

    /// Asks `S` for its hashes anew; nothing while not live. If they differ, what is missing on either side follows.
    #[must_use = "frames have to be sent"]
    pub fn request_hashes(&mut self, now: Millis, rng: &mut dyn Random) -> Vec<String> {
        let mut call = Call::new(now, rng);
        if self.is_live() {
            self.ask(&mut call, Some("S"));
        }
        call.effects.send
    }

    /// A frame has arrived; ignored while not connected.
    ///
    /// # Errors
    /// How the connection has to be closed, after a frame that is no valid message.
    pub fn receive(
        &mut self,
        now: Millis,
        frame: &str,
        rng: &mut dyn Random,
    ) -> Result<ClientEffects, Close> {
        let mut call = Call::new(now, rng);
        if self.state == State::Offline {
            return Ok(call.effects);
        }
        let frame = Frame::parse(frame)?;
        let message = match frame.payload {
            Payload::Message(message) => message,
            Payload::Fragment(fragment) => {
                match self.fragments.take(now, TIMEOUT_MS, frame.client, &fragment)? {
                    Some(whole) => Message::parse(&whole.text).ok_or(Close::INVALID)?,
                    None => return Ok(call.effects),
                }
            }
        };
        self.handle(&mut call, frame.client, &message);
        Ok(call.effects)
    }

    /// A message that somebody else has read and validated; ignored while not connected.
    pub(crate) fn hear(
        &mut self,
        now: Millis,
        from: &str,
        message: &Message,
        rng: &mut dyn Random,
    ) -> ClientEffects {
        let mut call = Call::new(now, rng);
        if self.state != State::Offline {
            self.handle(&mut call, from, message);
        }
        call.effects
    }

    /// Writes to the store as [`Synchronizer::edit`] does; also says what was written.
    pub(crate) fn write<T, E>(
        &mut self,
        now: Millis,
        rng: &mut dyn Random,
        edit: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<(T, ClientEffects), E> {
        let (result, merged) = self.store.edit(now, edit)?;
        let mut call = Call::new(now, rng);
        self.tell(&mut call, &merged.to_changes());
        call.effects.record(merged);
        Ok((result, call.effects))
    }

    /// Time has passed: goes on without answers that are overdue.
    pub fn tick(&mut self, now: Millis, rng: &mut dyn Random) -> ClientEffects {
        let mut call = Call::new(now, rng);
        self.fragments.expire(now);
        if self.asked.take_if(|asked| asked.deadline <= now).is_some() {
            call.effects.timed_out = true;
            if self.state == State::Asking {
                self.go_live(&mut call);
            }
        }
        if self.pull.as_ref().is_some_and(|pull| pull.pull.deadline <= now) {
            call.effects.timed_out = true;
            self.pulled(&mut call);
        }
        call.effects
    }

    /// When [`Synchronizer::tick`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Millis> {
        let asked = self.asked.as_ref().map(|asked| asked.deadline);
        let pull = self.pull.as_ref().map(|pull| pull.pull.deadline);
        [asked, pull, self.fragments.next_deadline()].into_iter().flatten().min()
    }

    fn handle(&mut self, call: &mut Call<'_>, from: &str, message: &Message) {
        let request = message.request.as_ref();
        match &message.body {
            Body::Response(body) => self.answered(call, from, request, body),
            Body::GetContentHashes => {
                self.send(call, from, Say::AnswerHashes(self.store.hashes()).remainder(request));
            }
            Body::ContentHashes(hashes) => {
                self.last_peer_hashes = Some(*hashes);
                self.heard(call, from, *hashes, request);
            }
            Body::ContentDiff(Some(changes)) => self.merge(call, changes),
            Body::ContentDiff(None) => {}
            body => {
                if let Some(remainder) = pull::answer_diff(&self.store, request, body) {
                    self.send(call, from, remainder);
                }
            }
        }
    }

    /// Changes that cannot be merged are ignored, as TinyBase does.
    fn merge(&mut self, call: &mut Call<'_>, changes: &Changes) {
        if let Ok(merged) = self.store.merge(call.now, changes) {
            call.effects.record(merged);
        }
    }

    fn send(&self, call: &mut Call<'_>, to: &str, remainder: String) {
        let pieces = fragment::split(remainder, self.fragment_bytes, call.rng);
        call.effects.send.extend(pieces.into_iter().map(|piece| format!("{to}\n{piece}")));
    }
}

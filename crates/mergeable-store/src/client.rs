//! A client's end of a connection: TinyBase's WebSocket synchronizer without the socket.

use crate::fragment::{self, Reassembly};
use crate::hash::ContentHashes;
use crate::json::Json;
use crate::message::{self, Body, Say};
use crate::pull::{self, Next, Pull};
use crate::{
    CellChange, Changes, Close, Frame, MergeableStore, Message, Millis, Payload, Random, Text,
    Transaction, ValueChange,
};

/// TinyBase's default for requests and for unfinished fragmented messages.
const TIMEOUT_MS: Millis = 1000;

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
    /// An answer did not come in time (`tinybase:3`); the synchronizer goes on without it.
    pub timed_out: bool,
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
    /// Hashes heard while busy, to be looked at afterwards: from whom.
    again: Option<(String, ContentHashes)>,
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
            again: None,
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
        let mut effects = ClientEffects::default();
        if self.is_live() && !changes.is_empty() {
            let transaction = pull::transaction_id(rng);
            self.send(
                &mut effects,
                rng,
                "",
                Say::ContentDiff(&changes).remainder(Some(&transaction)),
            );
        }
        Ok((result, effects.send))
    }

    /// A connection is there: asks everybody for their hashes.
    #[must_use = "frames have to be sent"]
    pub fn connected(&mut self, now: Millis, rng: &mut dyn Random) -> Vec<String> {
        self.disconnected();
        self.state = State::Asking;
        let mut effects = ClientEffects::default();
        self.ask(now, rng, None, &mut effects);
        effects.send
    }

    /// The connection is gone.
    pub fn disconnected(&mut self) {
        self.state = State::Offline;
        self.fragments = Reassembly::default();
        (self.asked, self.pull, self.again, self.last_peer_hashes) = (None, None, None, None);
    }

    /// Asks `S` for its hashes anew; nothing while not live. If they differ, what is missing on either side follows.
    #[must_use = "frames have to be sent"]
    pub fn request_hashes(&mut self, now: Millis, rng: &mut dyn Random) -> Vec<String> {
        let mut effects = ClientEffects::default();
        if self.is_live() {
            self.ask(now, rng, Some("S"), &mut effects);
        }
        effects.send
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
        let mut effects = ClientEffects::default();
        if self.state == State::Offline {
            return Ok(effects);
        }
        let frame = Frame::parse(frame)?;
        let message = match frame.payload {
            Payload::Message(message) => message,
            Payload::Fragment(fragment) => {
                match self.fragments.take(now, TIMEOUT_MS, frame.client, &fragment)? {
                    Some(remainder) => Message::parse(&remainder).ok_or(Close::INVALID)?,
                    None => return Ok(effects),
                }
            }
        };
        self.handle(now, rng, frame.client, &message, &mut effects);
        Ok(effects)
    }

    /// Time has passed: goes on without answers that are overdue.
    pub fn tick(&mut self, now: Millis, rng: &mut dyn Random) -> ClientEffects {
        let mut effects = ClientEffects::default();
        self.fragments.expire(now);
        if self.asked.take_if(|asked| asked.deadline <= now).is_some() {
            effects.timed_out = true;
            if self.state == State::Asking {
                self.go_live(now, rng, &mut effects);
            }
        }
        if self.pull.take_if(|pull| pull.pull.deadline <= now).is_some() {
            effects.timed_out = true;
            self.pulled(now, rng, &mut effects);
        }
        effects
    }

    /// When [`Synchronizer::tick`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Millis> {
        let asked = self.asked.as_ref().map(|asked| asked.deadline);
        let pull = self.pull.as_ref().map(|pull| pull.pull.deadline);
        [asked, pull, self.fragments.next_deadline()].into_iter().flatten().min()
    }

    fn handle(
        &mut self,
        now: Millis,
        rng: &mut dyn Random,
        from: &str,
        message: &Message,
        effects: &mut ClientEffects,
    ) {
        let request = message.request.as_ref();
        match &message.body {
            Body::Response(body) => self.answered(now, rng, from, request, body, effects),
            Body::GetContentHashes => {
                let remainder = Say::AnswerHashes(self.store.hashes()).remainder(request);
                self.send(effects, rng, from, remainder);
            }
            Body::ContentHashes(hashes) => {
                self.last_peer_hashes = Some(*hashes);
                self.heard(now, rng, from, *hashes, request, effects);
            }
            Body::ContentDiff(Some(changes)) => self.merge(now, changes, effects),
            Body::ContentDiff(None) => {}
            body => {
                if let Some(remainder) = pull::answer_diff(&self.store, request, body) {
                    self.send(effects, rng, from, remainder);
                }
            }
        }
    }

    fn answered(
        &mut self,
        now: Millis,
        rng: &mut dyn Random,
        from: &str,
        request: Option<&Text>,
        body: &Json,
        effects: &mut ClientEffects,
    ) {
        let is_answer = |asked: &mut Asked| {
            request == Some(&asked.request) && asked.to.as_ref().is_none_or(|to| to == from)
        };
        if let Some(asked) = self.asked.take_if(is_answer) {
            let hashes = message::read_content_hashes(body);
            self.last_peer_hashes = hashes.or(self.last_peer_hashes);
            match (hashes, self.state == State::Asking) {
                (Some(hashes), _) => {
                    self.pull_from(now, rng, from, hashes, None, asked.to.is_some(), effects)
                }
                (None, true) => self.go_live(now, rng, effects),
                (None, false) => {}
            }
            return;
        }
        let awaited = |pull: &&mut PullFrom| pull.peer == from && pull.pull.awaits(request);
        let Some(pull) = self.pull.as_mut().filter(awaited) else {
            return;
        };
        match pull.pull.answer(&self.store, body, now + TIMEOUT_MS, rng) {
            Next::Ask(remainder) => self.send(effects, rng, from, remainder),
            Next::Failed => self.pulled(now, rng, effects),
            Next::Done(changes) => {
                self.merge(now, &changes, effects);
                self.pulled(now, rng, effects);
            }
        }
    }

    /// Somebody has told hashes; they are looked at once nothing else is under way.
    fn heard(
        &mut self,
        now: Millis,
        rng: &mut dyn Random,
        from: &str,
        hashes: ContentHashes,
        request: Option<&Text>,
        effects: &mut ClientEffects,
    ) {
        if self.is_live() && self.pull.is_none() {
            self.pull_from(now, rng, from, hashes, request, false, effects);
        } else {
            self.again = Some((from.to_owned(), hashes));
        }
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "the state of one exchange, taken apart by its only two callers"
    )]
    fn pull_from(
        &mut self,
        now: Millis,
        rng: &mut dyn Random,
        from: &str,
        hashes: ContentHashes,
        request: Option<&Text>,
        announce: bool,
        effects: &mut ClientEffects,
    ) {
        let transaction = pull::transaction_of(request, rng);
        if self.state == State::Asking {
            self.state = State::Loading;
        }
        match Pull::start(&self.store, hashes, transaction, now + TIMEOUT_MS, rng) {
            Some((pull, remainder)) => {
                self.pull = Some(PullFrom { peer: from.to_owned(), pull, announce });
                self.send(effects, rng, from, remainder);
            }
            None => self.pulled(now, rng, effects),
        }
    }

    /// A pull is over, with or without success.
    fn pulled(&mut self, now: Millis, rng: &mut dyn Random, effects: &mut ClientEffects) {
        let pull = self.pull.take();
        if self.state == State::Loading {
            return self.go_live(now, rng, effects);
        }
        if pull.is_some_and(|pull| pull.announce && pull.pull.announced != self.store.hashes()) {
            self.announce(rng, effects);
        }
        self.look_again(now, rng, effects);
    }

    fn go_live(&mut self, now: Millis, rng: &mut dyn Random, effects: &mut ClientEffects) {
        self.state = State::Live;
        self.announce(rng, effects);
        self.look_again(now, rng, effects);
    }

    fn look_again(&mut self, now: Millis, rng: &mut dyn Random, effects: &mut ClientEffects) {
        if let Some((from, hashes)) = self.again.take() {
            self.heard(now, rng, &from, hashes, None, effects);
        }
    }

    fn announce(&mut self, rng: &mut dyn Random, effects: &mut ClientEffects) {
        let transaction = pull::transaction_id(rng);
        let remainder = Say::ContentHashes(self.store.hashes()).remainder(Some(&transaction));
        self.send(effects, rng, "", remainder);
    }

    fn ask(
        &mut self,
        now: Millis,
        rng: &mut dyn Random,
        to: Option<&str>,
        effects: &mut ClientEffects,
    ) {
        let request = pull::request_id(&pull::transaction_id(rng), rng);
        let remainder = Say::GetContentHashes.remainder(Some(&request));
        self.asked = Some(Asked { request, to: to.map(str::to_owned), deadline: now + TIMEOUT_MS });
        self.send(effects, rng, to.unwrap_or_default(), remainder);
    }

    /// Changes that cannot be merged are ignored, as TinyBase does.
    fn merge(&mut self, now: Millis, changes: &Changes, effects: &mut ClientEffects) {
        if let Ok(merged) = self.store.merge(now, changes) {
            effects.changed.extend(merged.cells);
            effects.changed_values.extend(merged.values);
        }
    }

    fn send(&self, effects: &mut ClientEffects, rng: &mut dyn Random, to: &str, remainder: String) {
        let pieces = fragment::split(remainder, self.fragment_bytes, rng);
        effects.send.extend(pieces.into_iter().map(|piece| format!("{to}\n{piece}")));
    }
}

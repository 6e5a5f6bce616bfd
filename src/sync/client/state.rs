//! What the client's handle and its task share.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mergeable_store::{
    ClientEffects, ClientId, Close, ContentHashes, MergeableStore, Synchronizer, Transaction,
};
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::Instant;

use super::settings::ClientSettings;
use super::{Seen, Status};
use crate::clock::{SharedClock, SharedEntropy};
use crate::sync::random::StarRandom;

/// Frames that may wait for the socket, and their bytes. At the bound the connection is dropped and
/// counted: the next one brings what is missing, found by comparing hashes, so nothing is lost.
const MAX_FRAMES: usize = 4096;
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// The wait after asking for hashes, before asking again; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Whether the owner wants a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Online,
    Offline,
}

pub(super) struct State {
    pub(super) sync: Synchronizer,
    pub(super) status: Status,
    frames: VecDeque<String>,
    frame_bytes: usize,
    overflowed: bool,
    /// Edits so far, and how many of them the server is known to have.
    edits: u64,
    acknowledged: u64,
    /// The last question for hashes: how many edits there were, and the own hashes.
    asked: Option<(u64, ContentHashes)>,
    /// When to ask, or to ask again.
    ask_at: Option<Instant>,
    pause: Duration,
    /// Callers that wait for proof.
    waiting: usize,
    /// Answers to questions for hashes at which the client was caught up.
    proofs: u64,
}

impl State {
    fn queue(&mut self, frames: Vec<String>) {
        for frame in frames {
            if self.frames.len() >= MAX_FRAMES || self.frame_bytes + frame.len() > MAX_BYTES {
                self.overflowed = true;
                return;
            }
            self.frame_bytes += frame.len();
            self.frames.push_back(frame);
        }
    }

    fn forget_frames(&mut self) {
        self.frames.clear();
        (self.frame_bytes, self.overflowed) = (0, false);
    }

    /// Notes what the server's hashes prove.
    fn prove(&mut self) {
        if self.sync.caught_up() {
            self.acknowledged = self.edits;
        } else if let Some((edits, hashes)) = self.asked
            && self.sync.last_peer_hashes() == Some(hashes)
        {
            self.acknowledged = self.acknowledged.max(edits);
        }
    }

    fn wants_proof(&self) -> bool {
        let unsure = self.acknowledged < self.edits && !self.sync.caught_up();
        self.sync.is_live() && (unsure || self.waiting > 0)
    }
}

/// The shared part of a client.
pub(super) struct Shared {
    state: Mutex<State>,
    clock: SharedClock,
    entropy: SharedEntropy,
    confirm_after: Duration,
    /// Counts up at every change of the state.
    version: watch::Sender<u64>,
    pub(super) wanted: watch::Sender<Wanted>,
    pub(super) changes: broadcast::Sender<Seen>,
    /// Frames wait for the socket.
    pub(super) outgoing: Notify,
    /// The next deadline has moved.
    pub(super) rearm: Notify,
    /// The owner wants the present connection gone.
    pub(super) cut: Notify,
}

/// What the socket has to do.
pub(super) enum Send {
    Frames(VecDeque<String>),
    /// The queue was full: it has a hole.
    Overflowed,
}

impl Shared {
    pub(super) fn new(settings: &ClientSettings, store: Option<MergeableStore>) -> Arc<Self> {
        let client = ClientId::from_unique_id(&settings.unique_id);
        let store = store.unwrap_or_else(|| MergeableStore::new(client));
        Arc::new(Self {
            state: Mutex::new(State {
                sync: Synchronizer::new(store),
                status: Status::Connecting,
                frames: VecDeque::new(),
                frame_bytes: 0,
                overflowed: false,
                edits: 0,
                acknowledged: 0,
                asked: None,
                ask_at: None,
                pause: FIRST_PAUSE,
                waiting: 0,
                proofs: 0,
            }),
            clock: settings.clock.clone(),
            entropy: settings.entropy.clone(),
            confirm_after: settings.confirm_after,
            version: watch::Sender::new(0),
            wanted: watch::Sender::new(Wanted::Online),
            changes: broadcast::Sender::new(settings.changes_kept.max(1)),
            outgoing: Notify::new(),
            rearm: Notify::new(),
            cut: Notify::new(),
        })
    }

    /// Never held over an await; what is done under it is bounded by the store's own work.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn random(&self) -> StarRandom {
        StarRandom(self.entropy.clone())
    }

    pub(super) fn unit(&self) -> f64 {
        self.entropy.unit()
    }

    /// Tells everyone who waits for a condition to look again.
    fn announce(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub(super) fn set_status(&self, status: Status) {
        self.lock().status = status;
        self.announce();
    }

    /// Offline, if that is what the owner wants; decided under the lock, as [`Shared::want`] is, so
    /// that the status never says `Offline` of a client that is about to connect.
    pub(super) fn stay_offline(&self) -> bool {
        let offline = {
            let mut state = self.lock();
            let offline = *self.wanted.borrow() == Wanted::Offline;
            if offline {
                state.status = Status::Offline;
            }
            offline
        };
        self.announce();
        offline
    }

    pub(super) fn want(&self, wanted: Wanted) {
        {
            let mut state = self.lock();
            self.wanted.send_replace(wanted);
            if wanted == Wanted::Online && state.status == Status::Offline {
                state.status = Status::Connecting;
            }
        }
        self.announce();
    }

    pub(super) fn edit<T, E>(
        &self,
        edit: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let result = {
            let state = &mut *self.lock();
            let (result, frames) =
                state.sync.edit(self.clock.now_ms(), &mut self.random(), edit)?;
            state.edits += 1;
            state.queue(frames);
            state.pause = FIRST_PAUSE;
            state.ask_at = Some(Instant::now() + self.confirm_after);
            result
        };
        self.outgoing.notify_one();
        self.rearm.notify_one();
        self.announce();
        Ok(result)
    }

    /// A socket is there.
    pub(super) fn connected(&self) {
        {
            let mut state = self.lock();
            state.forget_frames();
            let frames = state.sync.connected(self.clock.now_ms(), &mut self.random());
            state.queue(frames);
            state.status = Status::Syncing;
        }
        self.outgoing.notify_one();
        self.announce();
    }

    /// The socket is gone.
    pub(super) fn disconnected(&self) {
        let mut state = self.lock();
        state.sync.disconnected();
        state.forget_frames();
        (state.asked, state.ask_at) = (None, None);
    }

    pub(super) fn received(&self, frame: &str) -> Result<(), Close> {
        let effects = {
            let state = &mut *self.lock();
            let (was_live, was_asking) = (state.sync.is_live(), state.sync.is_asking());
            let mut effects = state.sync.receive(self.clock.now_ms(), frame, &mut self.random())?;
            self.follow(state, &mut effects, was_live);
            if was_asking && !state.sync.is_asking() && state.sync.caught_up() {
                state.proofs += 1;
            }
            effects
        };
        self.tell(effects);
        Ok(())
    }

    /// What follows from the engine's effects, under the lock.
    fn follow(&self, state: &mut State, effects: &mut ClientEffects, was_live: bool) {
        state.queue(std::mem::take(&mut effects.send));
        state.prove();
        let live = state.sync.is_live();
        if live && !was_live {
            state.status = Status::Live;
        }
        if !effects.changed.is_empty() || (live && !was_live) {
            state.pause = FIRST_PAUSE;
            let quiet = if state.waiting > 0 { Duration::ZERO } else { self.confirm_after };
            state.ask_at = Some(Instant::now() + quiet);
        }
    }

    fn tell(&self, effects: ClientEffects) {
        self.outgoing.notify_one();
        self.rearm.notify_one();
        if self.changes.receiver_count() > 0 {
            let at = Instant::now();
            for change in effects.changed {
                // Without receivers there is nobody to tell.
                let _ = self.changes.send(Seen { change, at });
            }
        }
        self.announce();
    }

    /// How long the engine has nothing to do by itself; `None`: until something happens.
    pub(super) fn idle(&self) -> Option<Duration> {
        let state = self.lock();
        let now = self.clock.now_ms();
        let engine =
            state.sync.next_deadline().map(|at| Duration::from_millis(at.saturating_sub(now)));
        let ask = state.ask_at.filter(|_| state.wants_proof());
        let ask = ask.map(|at| at.saturating_duration_since(Instant::now()));
        [engine, ask].into_iter().flatten().min()
    }

    /// Time has passed: overdue answers are given up, and proof is asked for where it is wanted.
    pub(super) fn tick(&self) {
        let effects = {
            let state = &mut *self.lock();
            let was_live = state.sync.is_live();
            let now = self.clock.now_ms();
            let mut effects = state.sync.tick(now, &mut self.random());
            self.follow(state, &mut effects, was_live);
            if state.wants_proof() && state.ask_at.is_some_and(|at| at <= Instant::now()) {
                state.asked = Some((state.edits, state.sync.store().hashes()));
                let frames = state.sync.request_hashes(now, &mut self.random());
                state.queue(frames);
                state.ask_at = Some(Instant::now() + state.pause);
                state.pause = (state.pause * 2).min(LONGEST_PAUSE);
            }
            effects
        };
        self.tell(effects);
    }

    pub(super) fn take_frames(&self) -> Send {
        let mut state = self.lock();
        if state.overflowed {
            return Send::Overflowed;
        }
        state.frame_bytes = 0;
        Send::Frames(std::mem::take(&mut state.frames))
    }

    /// Edits so far that the server is not known to have.
    pub(super) fn unacknowledged(&self) -> u64 {
        let state = self.lock();
        state.edits - state.acknowledged
    }

    pub(super) fn proofs(&self) -> u64 {
        self.lock().proofs
    }

    pub(super) fn edits(&self) -> u64 {
        self.lock().edits
    }

    pub(super) fn has_acknowledged(&self, edits: u64) -> bool {
        self.lock().acknowledged >= edits
    }

    /// Asks for proof at once, and as long as the guard lives.
    pub(super) fn demand_proof(self: &Arc<Self>) -> Demand {
        {
            let mut state = self.lock();
            state.waiting += 1;
            state.pause = FIRST_PAUSE;
            state.ask_at = Some(Instant::now());
        }
        self.rearm.notify_one();
        Demand(self.clone())
    }
}

/// Keeps asking the server for its hashes until dropped.
pub(super) struct Demand(Arc<Shared>);

impl Drop for Demand {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

//! What the handles of a connection and its task share.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mergeable_store::{
    ClientEffects, Close, MergeableStore, Synchronizer, Transaction, Unanswered,
};
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::engine::{Engine, StoreKey, Told};
use super::proof::Proof;
use super::settings::ClientSettings;
use super::{Seen, Status};
use crate::clock::{SharedClock, SharedEntropy};
use crate::sync::random::StarRandom;

/// Frames that may wait for the socket, and their bytes. At the bound the connection is dropped and
/// counted: the next one brings what is missing, found by comparing hashes, so nothing is lost.
const MAX_FRAMES: usize = 4096;
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Whether the owner wants a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Online,
    Offline,
}

/// What is kept beside each store.
pub(super) struct StoreState {
    pub(super) proof: Proof,
    /// The server has not confirmed its channel in this connection.
    not_opened: bool,
    changes: broadcast::Sender<Seen>,
}

pub(super) struct State {
    engine: Engine,
    stores: BTreeMap<StoreKey, StoreState>,
    /// Of the connection; [`Status::Syncing`] stands for any that is made.
    status: Status,
    frames: VecDeque<String>,
    frame_bytes: usize,
    overflowed: bool,
    /// The server has not answered Hello.
    not_multiplexed: bool,
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
        (self.frame_bytes, self.overflowed, self.not_multiplexed) = (0, false, false);
    }

    /// The status of one store.
    pub(super) fn status(&self, key: &StoreKey) -> Status {
        let live = || self.engine.sync(key).is_some_and(Synchronizer::is_live);
        match &self.status {
            Status::Syncing if live() => Status::Live,
            Status::Syncing if self.stores.get(key).is_some_and(|store| store.not_opened) => {
                Status::NotOpened
            }
            status => status.clone(),
        }
    }

    pub(super) fn sync(&self, key: &StoreKey) -> Option<&Synchronizer> {
        self.engine.sync(key)
    }
}

/// The shared part of a connection.
pub(super) struct Shared {
    state: Mutex<State>,
    clock: SharedClock,
    entropy: SharedEntropy,
    confirm_after: Duration,
    /// Counts up at every change of the state.
    version: watch::Sender<u64>,
    pub(super) wanted: watch::Sender<Wanted>,
    /// Frames wait for the socket.
    pub(super) outgoing: Notify,
    /// The next deadline has moved.
    pub(super) rearm: Notify,
    /// The owner wants the present connection gone.
    pub(super) cut: Notify,
    /// The last store has left.
    pub(super) stop: CancellationToken,
}

/// What the socket has to do.
pub(super) enum Send {
    Frames(VecDeque<String>),
    /// The queue was full: it has a hole.
    Overflowed,
}

impl Shared {
    pub(super) fn new(settings: &ClientSettings, engine: Engine, keys: &[StoreKey]) -> Arc<Self> {
        let stores = keys.iter().map(|key| {
            let changes = broadcast::Sender::new(settings.changes_kept.max(1));
            (key.clone(), StoreState { proof: Proof::default(), not_opened: false, changes })
        });
        Arc::new(Self {
            state: Mutex::new(State {
                engine,
                stores: stores.collect(),
                status: Status::Connecting,
                frames: VecDeque::new(),
                frame_bytes: 0,
                overflowed: false,
                not_multiplexed: false,
            }),
            clock: settings.clock.clone(),
            entropy: settings.entropy.clone(),
            confirm_after: settings.confirm_after,
            version: watch::Sender::new(0),
            wanted: watch::Sender::new(Wanted::Online),
            outgoing: Notify::new(),
            rearm: Notify::new(),
            cut: Notify::new(),
            stop: CancellationToken::new(),
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

    pub(super) fn is_multiplexed(&self) -> bool {
        self.lock().engine.is_multiplexed()
    }

    /// Tells everyone who waits for a condition to look again.
    fn announce(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub(super) fn changes(&self, key: &StoreKey) -> broadcast::Receiver<Seen> {
        match self.lock().stores.get(key) {
            Some(store) => store.changes.subscribe(),
            // Closed: nothing will ever come.
            None => broadcast::Sender::new(1).subscribe(),
        }
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
        key: &StoreKey,
        edit: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let result = {
            let state = &mut *self.lock();
            let now = self.clock.now_ms();
            let (result, frames) = state.engine.edit(now, key, &mut self.random(), edit)?;
            state.queue(frames);
            if let Some(store) = state.stores.get_mut(key) {
                store.proof.edits += 1;
                store.proof.ask_after(self.confirm_after);
            }
            result
        };
        self.outgoing.notify_one();
        self.rearm.notify_one();
        self.announce();
        Ok(result)
    }

    /// Takes a store off the connection; the last one takes the connection with it.
    pub(super) fn leave(&self, key: &StoreKey) {
        {
            let state = &mut *self.lock();
            state.stores.remove(key);
            if state.stores.is_empty() {
                self.stop.cancel();
            } else {
                let frames = state.engine.leave(key);
                state.queue(frames);
            }
        }
        self.outgoing.notify_one();
    }

    /// Whether no other store is on the connection.
    pub(super) fn is_last(&self) -> bool {
        self.lock().stores.len() <= 1
    }

    /// A socket is there.
    pub(super) fn connected(&self) {
        {
            let mut state = self.lock();
            state.forget_frames();
            let frames = state.engine.connected(self.clock.now_ms(), &mut self.random());
            state.queue(frames);
            state.status = Status::Syncing;
        }
        self.outgoing.notify_one();
        self.announce();
    }

    /// The socket is gone.
    pub(super) fn disconnected(&self) {
        let mut state = self.lock();
        state.engine.disconnected();
        state.forget_frames();
        for store in state.stores.values_mut() {
            store.proof.forget_questions();
            store.not_opened = false;
        }
    }

    pub(super) fn received(&self, frame: &str) -> Result<(), Close> {
        let now = self.clock.now_ms();
        self.step(|engine, rng| engine.receive(now, frame, rng))
    }

    /// Lets the engine do something, and follows what it tells.
    fn step(
        &self,
        step: impl FnOnce(&mut Engine, &mut StarRandom) -> Result<Told, Close>,
    ) -> Result<(), Close> {
        let changed = {
            let state = &mut *self.lock();
            let keys: Vec<StoreKey> = state.stores.keys().cloned().collect();
            let is = |engine: &Engine, key: &StoreKey| {
                engine.sync(key).map_or((false, false), |s| (s.is_live(), s.is_asking()))
            };
            let before: Vec<_> = keys.iter().map(|key| is(&state.engine, key)).collect();
            let told = step(&mut state.engine, &mut self.random())?;
            let mut changed = self.follow(state, told);
            for (key, (was_live, was_asking)) in keys.iter().zip(before) {
                let touched = changed.iter().any(|(other, ..)| other == key);
                let State { engine, stores, .. } = state;
                let (Some(sync), Some(store)) = (engine.sync(key), stores.get_mut(key)) else {
                    continue;
                };
                store.proof.note(sync);
                if touched || (sync.is_live() && !was_live) {
                    let waited_for = store.proof.waiting > 0;
                    store.proof.ask_after(if waited_for {
                        Duration::ZERO
                    } else {
                        self.confirm_after
                    });
                }
                if was_asking && !sync.is_asking() && sync.caught_up() {
                    store.proof.proofs += 1;
                }
            }
            changed.retain(|(_, changes, _)| changes.receiver_count() > 0);
            changed
        };
        self.outgoing.notify_one();
        self.rearm.notify_one();
        let at = Instant::now();
        for (_, changes, effects) in changed {
            for change in effects.changed {
                // Without receivers there is nobody to tell.
                let _ = changes.send(Seen { change, at });
            }
        }
        self.announce();
        Ok(())
    }

    /// What follows from what the engine told, under the lock: the stores whose cells have changed.
    fn follow(
        &self,
        state: &mut State,
        told: Told,
    ) -> Vec<(StoreKey, broadcast::Sender<Seen>, ClientEffects)> {
        state.queue(told.send);
        for unanswered in told.unanswered {
            match unanswered {
                Unanswered::Hello => state.not_multiplexed = true,
                Unanswered::Subscribe(id) => {
                    metrics::counter!("crossfade_sync_client_not_opened_total").increment(1);
                    if let Some(store) = state.stores.get_mut(&Some(id)) {
                        store.not_opened = true;
                    }
                }
            }
        }
        let changed = told.stores.into_iter().filter(|(_, effects)| !effects.changed.is_empty());
        let changed = changed.filter_map(|(key, effects)| {
            let changes = state.stores.get(&key)?.changes.clone();
            Some((key, changes, effects))
        });
        changed.collect()
    }

    /// How long the engine has nothing to do by itself; `None`: until something happens.
    pub(super) fn idle(&self) -> Option<Duration> {
        let state = self.lock();
        let now = self.clock.now_ms();
        let engine = state.engine.next_deadline();
        let engine = engine.map(|at| Duration::from_millis(at.saturating_sub(now)));
        let due = |(key, store): (&StoreKey, &StoreState)| {
            let at = store.proof.due(state.engine.sync(key)?)?;
            Some(at.saturating_duration_since(Instant::now()))
        };
        state.stores.iter().filter_map(due).chain(engine).min()
    }

    /// Time has passed: overdue answers are given up, and proof is asked for where it is wanted. Whether the connection is
    /// still of use.
    pub(super) fn tick(&self) -> bool {
        let now = self.clock.now_ms();
        // Nothing is received here, so nothing can be wrong with it.
        let _ = self.step(|engine, rng| Ok(engine.tick(now, rng)));
        let state = &mut *self.lock();
        let keys: Vec<StoreKey> = state.stores.keys().cloned().collect();
        for key in keys {
            let State { engine, stores, .. } = state;
            let (Some(sync), Some(store)) = (engine.sync(&key), stores.get_mut(&key)) else {
                continue;
            };
            if store.proof.due(sync).is_some_and(|at| at <= Instant::now()) {
                store.proof.asking(sync.store().hashes());
                let frames = engine.request_hashes(now, &key, &mut self.random());
                state.queue(frames);
                self.outgoing.notify_one();
            }
        }
        !state.not_multiplexed
    }

    pub(super) fn take_frames(&self) -> Send {
        let mut state = self.lock();
        if state.overflowed {
            return Send::Overflowed;
        }
        state.frame_bytes = 0;
        Send::Frames(std::mem::take(&mut state.frames))
    }

    /// What is known of a store's edits; of one that is not here any more, nothing.
    pub(super) fn proof<T: Default>(&self, key: &StoreKey, look: impl FnOnce(&Proof) -> T) -> T {
        self.lock().stores.get(key).map(|store| look(&store.proof)).unwrap_or_default()
    }

    pub(super) fn read<T>(&self, key: &StoreKey, reader: impl FnOnce(&MergeableStore) -> T) -> T {
        self.lock().engine.read(key, reader)
    }

    /// Asks for proof at once, and as long as the guard lives.
    pub(super) fn demand_proof(self: &Arc<Self>, key: &StoreKey) -> Demand {
        if let Some(store) = self.lock().stores.get_mut(key) {
            store.proof.waiting += 1;
            store.proof.ask_after(Duration::ZERO);
        }
        self.rearm.notify_one();
        Demand(self.clone(), key.clone())
    }
}

/// Keeps asking the server for its hashes until dropped.
pub(super) struct Demand(Arc<Shared>, StoreKey);

impl Drop for Demand {
    fn drop(&mut self) {
        if let Some(store) = self.0.lock().stores.get_mut(&self.1) {
            store.proof.waiting = store.proof.waiting.saturating_sub(1);
        }
    }
}

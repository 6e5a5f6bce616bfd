//! Many light clients on some paths, and a constant load of edits.
//!
//! The load is open: an edit is due at its time whether or not the server keeps up, and its latency counts
//! from that time, so that a server which stands still is not asked less. The edits' times are `begun` plus
//! number times interval: a client that is shown an edit knows from its number when it was due.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use mergeable_store::{ClientId, MergeableStore};
use tokio::task::JoinSet;

use super::light::{EditNumber, LightClient, PathHashes};
use super::server::Server;
use super::wire;
use crate::bench::stats::Samples;
use crate::bench::{BenchError, recipe};
use crate::clock::SharedClock;

/// Connections that are opened at the same time.
const CONNECTING: usize = 32;
/// Locks that the clients' samples are spread over.
const SHARDS: usize = 16;
/// A path has to be ready, and its first edit through, in this time.
const READY: Duration = Duration::from_secs(60);
/// After the last edit was due: how long deliveries may pause before those missing are given up, and how
/// long it may take altogether.
const PAUSE: Duration = Duration::from_secs(5);
const GRACE: Duration = Duration::from_secs(15);

/// Who is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) paths: usize,
    /// Clients of each path.
    pub(super) clients: usize,
    /// Rows of each path, which are there before the load begins. Edits go round them.
    pub(super) rows: u32,
}

impl Shape {
    /// Clients that an edit reaches.
    pub(super) const fn fan_out(self) -> usize {
        self.clients.saturating_sub(1)
    }

    /// The path that the load's edit of this number goes to, and how many went there before.
    const fn turn(self, edit: u32) -> (usize, usize) {
        (edit as usize % self.paths, edit as usize / self.paths)
    }

    /// The place in its path of the client that makes the edit.
    const fn writer(self, edit: u32) -> usize {
        self.turn(edit).1 % self.clients
    }
}

/// What a load came to.
pub(super) struct Delivered {
    /// Deliveries that they had to lead to: one to each other client of the path.
    pub(super) expected: u64,
    /// Deliveries that there were.
    pub(super) received: u64,
    /// Times that a client was shown an edit again.
    pub(super) repeated: u64,
    /// From when an edit was due to when another client was shown it.
    pub(super) latency: Samples,
}

impl Delivered {
    pub(super) fn share(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let share = self.received as f64 / self.expected.max(1) as f64;
        share
    }
}

#[derive(Debug, Clone, Copy)]
struct Phase {
    number: u32,
    begun: Instant,
    interval: Duration,
    edits: u32,
}

struct Shared {
    phase: RwLock<Phase>,
    received: AtomicU64,
    repeated: AtomicU64,
    samples: Vec<Mutex<Samples>>,
    hashes: Vec<PathHashes>,
    /// What `S` said last when asked.
    told: Vec<PathHashes>,
}

/// Which edits of a load a client has been shown, as bits.
#[derive(Default)]
struct Shown {
    phase: u32,
    edits: Vec<u64>,
}

impl Shown {
    /// Notes an edit, by its number among those of the path; `false` if it was noted before.
    fn note(&mut self, phase: u32, edit: usize) -> bool {
        if self.phase != phase {
            (self.phase, self.edits) = (phase, Vec::new());
        }
        let (word, bit) = (edit / 64, 1 << (edit % 64));
        if self.edits.len() <= word {
            self.edits.resize(word + 1, 0);
        }
        let new = self.edits[word] & bit == 0;
        self.edits[word] |= bit;
        new
    }
}

impl Shared {
    /// A client was shown edits: those of the load under way count, each once.
    fn shown<'a>(
        &self,
        shard: usize,
        edits: impl Iterator<Item = &'a EditNumber>,
        before: &mut Shown,
    ) {
        let now = Instant::now();
        let phase = *self.phase.read().unwrap_or_else(PoisonError::into_inner);
        let mut samples = self.samples[shard].lock().unwrap_or_else(PoisonError::into_inner);
        let (mut new, mut repeated) = (0, 0);
        for edit in edits.filter(|e| e.phase == phase.number && e.edit < phase.edits) {
            if before.note(phase.number, edit.edit as usize / self.hashes.len()) {
                let due = phase.begun + phase.interval * edit.edit;
                samples.add(now.saturating_duration_since(due));
                new += 1;
            } else {
                repeated += 1;
            }
        }
        self.received.fetch_add(new, Ordering::Relaxed);
        self.repeated.fetch_add(repeated, Ordering::Relaxed);
    }
}

/// The clients of one server. Their connections end when it is dropped.
pub(super) struct Crowd {
    shape: Shape,
    /// Path by path.
    clients: Arc<Vec<Arc<LightClient>>>,
    shared: Arc<Shared>,
    clock: SharedClock,
    listening: JoinSet<()>,
}

impl Crowd {
    /// Connects all, writes the rows, and returns when the first edits have got through everywhere.
    pub(super) async fn gather(
        server: &Server,
        shape: Shape,
        clock: SharedClock,
    ) -> Result<Self, BenchError> {
        let samples = (0..SHARDS).filter_map(|_| Samples::new()).map(Mutex::new).collect();
        let per_path = || (0..shape.paths).map(|_| PathHashes::default()).collect();
        let idle = Phase { number: 0, begun: Instant::now(), interval: Duration::ZERO, edits: 0 };
        let shared = Arc::new(Shared {
            phase: RwLock::new(idle),
            received: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            samples,
            hashes: per_path(),
            told: per_path(),
        });
        let mut crowd =
            Self { shape, clients: Arc::default(), shared, clock, listening: JoinSet::new() };
        let firsts = crowd.connect(server, 0..1).await?;
        if shape.rows > 0 {
            crowd.write_rows(&firsts, server).await?;
        }
        let others = crowd.connect(server, 1..shape.clients).await?;
        let mut clients = firsts;
        clients.extend(others);
        clients.sort_by_key(|client| (client.path, client.place));
        crowd.clients = Arc::new(clients);
        Ok(crowd)
    }

    /// Opens these clients of every path.
    async fn connect(
        &mut self,
        server: &Server,
        which: std::ops::Range<usize>,
    ) -> Result<Vec<Arc<LightClient>>, BenchError> {
        let all = which.flat_map(|client| (0..self.shape.paths).map(move |path| (path, client)));
        let opened: Vec<_> = stream::iter(all)
            .map(|(path, client)| async move {
                let number = (path * 100_000 + client) as u64;
                let target = server.target(&org(path));
                let (stream, incoming) = wire::open(server.address(), &target, number).await?;
                Ok::<_, BenchError>((Arc::new(LightClient::new(path, client, stream)), incoming))
            })
            .buffer_unordered(CONNECTING)
            .try_collect()
            .await?;
        let mut clients = Vec::new();
        for (at, (client, incoming)) in opened.into_iter().enumerate() {
            let (listener, shared, shape) = (client.clone(), self.shared.clone(), self.shape);
            self.listening.spawn(async move {
                let path = listener.path;
                let mut before = Shown::default();
                let shown = |edits: &[EditNumber]| {
                    // A server that sends an edit back to its writer has not delivered it to anybody.
                    let others = |edit: &&EditNumber| shape.writer(edit.edit) != listener.place;
                    shared.shown(at % SHARDS, edits.iter().filter(others), &mut before);
                };
                let told = |[tables, values]: [u32; 2]| shared.told[path].set(tables, values);
                listener.listen(incoming, &shared.hashes[path], shown, told).await;
            });
            clients.push(client);
        }
        Ok(clients)
    }

    /// One client of each path writes its rows; a server with a store has them when this returns.
    async fn write_rows(
        &self,
        firsts: &[Arc<LightClient>],
        server: &Server,
    ) -> Result<(), BenchError> {
        for client in firsts {
            let mut store = MergeableStore::new(ClientId::from_unique_id("path"));
            let changes = client.send_rows(&org(client.path), self.shape.rows, &self.clock);
            let merged = store.merge(self.clock.now_ms(), &changes);
            merged.map_err(|error| BenchError::Wrong(error.to_string()))?;
            let hashes = store.hashes();
            self.shared.hashes[client.path].set(hashes.tables, hashes.values);
        }
        if !server.side().keeps() {
            return Ok(());
        }
        let begun = Instant::now();
        for client in firsts {
            let (wanted, told) = (&self.shared.hashes[client.path], &self.shared.told[client.path]);
            while told.get() != wanted.get() {
                if client.is_gone() {
                    let text = "a connection was closed while the first rows were written";
                    return Err(BenchError::Wrong(text.to_owned()));
                }
                if begun.elapsed() > READY {
                    return Err(BenchError::TooSlow("taking the first rows".to_owned()));
                }
                client.ask_hashes();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// Clients whose connection has ended.
    pub(super) fn gone(&self) -> usize {
        self.clients.iter().filter(|client| client.is_gone()).count()
    }

    /// Offers `rate` edits a second, over all paths, for `time`; returns when all are delivered, or when no
    /// more come.
    pub(super) async fn load(&self, rate: f64, time: Duration) -> Result<Delivered, BenchError> {
        let wrong = |what: &str| BenchError::Wrong(format!("the load generator: {what}"));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
        let edits = (rate * time.as_secs_f64()).ceil().clamp(1.0, 9e7) as u32;
        let interval = time / edits;
        for samples in &self.shared.samples {
            let mut samples = samples.lock().unwrap_or_else(PoisonError::into_inner);
            *samples = Samples::new().ok_or_else(|| wrong("no histogram"))?;
        }
        self.shared.received.store(0, Ordering::Relaxed);
        self.shared.repeated.store(0, Ordering::Relaxed);
        let phase = {
            let mut phase = self.shared.phase.write().unwrap_or_else(PoisonError::into_inner);
            let number = (phase.number + 1) % 10_000;
            *phase = Phase { number, begun: Instant::now(), interval, edits };
            *phase
        };
        let (clients, clock, shape) = (self.clients.clone(), self.clock.clone(), self.shape);
        // A thread of its own: the runtime's timers are too coarse for a steady load.
        let paced = tokio::task::spawn_blocking(move || {
            pace(&clients, shape, phase, &clock);
        });
        paced.await.map_err(|_| wrong("its thread stopped"))?;
        let expected = u64::from(edits) * self.shape.fan_out() as u64;
        self.wait_for(expected).await;
        let mut latency = Samples::new().ok_or_else(|| wrong("no histogram"))?;
        for samples in &self.shared.samples {
            latency.absorb(&samples.lock().unwrap_or_else(PoisonError::into_inner));
        }
        let received = self.shared.received.load(Ordering::Relaxed);
        let repeated = self.shared.repeated.load(Ordering::Relaxed);
        Ok(Delivered { expected, received, repeated, latency })
    }

    /// Until so many deliveries have come, or none came for a while.
    async fn wait_for(&self, expected: u64) {
        let (begun, mut last) = (Instant::now(), (0, Instant::now()));
        loop {
            let received = self.shared.received.load(Ordering::Relaxed);
            if received != last.0 {
                last = (received, Instant::now());
            }
            let over = last.1.elapsed() > PAUSE || begun.elapsed() > GRACE;
            if received >= expected || over {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The organisation of a path: its only segment of its own.
pub(super) fn org(path: usize) -> String {
    format!("o_{path}")
}

/// Sends each edit when it is due; late ones at once. Gives up when the server has stood still for as long
/// as the load should have lasted, and a grace.
fn pace(clients: &[Arc<LightClient>], shape: Shape, phase: Phase, clock: &SharedClock) {
    let edits = phase.edits;
    let mut waiting: Vec<&Arc<LightClient>> = Vec::new();
    let limit = phase.interval * edits * 2 + GRACE;
    let mut next = 0;
    loop {
        let elapsed = phase.begun.elapsed();
        while next < edits && phase.interval * next <= elapsed {
            let (path, turn) = shape.turn(next);
            let client = &clients[path * shape.clients + shape.writer(next)];
            #[expect(clippy::cast_possible_truncation, reason = "below the rows, which are u32")]
            let row = (turn % shape.rows.max(1) as usize) as u32;
            let edit = EditNumber { phase: phase.number, edit: next };
            if !client.send_edit(&recipe::synced_row_id(&org(path), row), edit, clock) {
                waiting.push(client);
            }
            next += 1;
        }
        waiting.retain(|client| !client.flush());
        if (next == edits && waiting.is_empty()) || elapsed > limit {
            return;
        }
        let until = (phase.interval * next).saturating_sub(phase.begun.elapsed());
        let most = Duration::from_millis(if waiting.is_empty() { 100 } else { 1 });
        std::thread::sleep(until.clamp(Duration::from_micros(20), most));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_is_new_once_in_each_load() {
        let mut shown = Shown::default();
        for edit in [0, 63, 64, 1000] {
            assert!(shown.note(1, edit) && !shown.note(1, edit));
        }
        assert!(shown.note(2, 64) && shown.note(2, 65) && !shown.note(2, 64));
    }
}

//! The one writer of a recording: a thread of its own, fed by a bounded channel.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use libsql::{TransactionBehavior, params};
use tokio::sync::{Notify, mpsc, oneshot};

use super::batch::Batch;
use super::schema::{Database, doing};
use super::{Event, RecordError};
use crate::compare::Signature;

/// At most so many events go into one transaction.
const MAX_BATCH: usize = 4_096;
/// The writer waits so long for more events before it commits what it has.
const LINGER: Duration = Duration::from_millis(100);
/// A signature with four samples gets another one no sooner than this after the last.
const SAMPLE_EVERY_MS: u64 = 60_000;
/// Signatures whose samples are counted in memory; further ones are always sampled.
const MAX_SAMPLED: usize = 2_000;

/// How a recorder is bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecorderSettings {
    /// Events that may wait to be written (default 16,384). Further ones are dropped and counted.
    pub queue: usize,
    /// Counters and histograms are kept for each span of this length (default one minute). Ten
    /// seconds show a short run in more detail, and take six times the space.
    pub grain: Duration,
    /// How far back counters are kept, measured from the latest event (default 30 days).
    pub keep: Duration,
}

impl Default for RecorderSettings {
    fn default() -> Self {
        Self {
            queue: 16_384,
            grain: Duration::from_secs(60),
            keep: Duration::from_secs(30 * 24 * 3_600),
        }
    }
}

/// Takes events; cheap to clone. A process that ends without [`Recorder::close`] or a kill loses
/// at most what came in the last tenth of a second. Recording never waits: at the bound events are dropped, counted,
/// and the count is recorded as `events_dropped` with the next ones that fit.
#[derive(Debug, Clone)]
pub struct Recorder {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// Tells the writer not to wait for more: somebody waits for it, or the queue is half full.
    urgent: Notify,
    /// Events that did not fit the queue, or came after the end.
    dropped: AtomicU64,
    /// Events whose transaction failed.
    lost: AtomicU64,
    sampled: Mutex<HashMap<String, Sampled>>,
}

#[derive(Debug, Clone, Copy)]
struct Sampled {
    count: u32,
    last_ms: u64,
}

#[derive(Debug)]
enum Command {
    Event(Event),
    Flush(oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

impl Recorder {
    /// Opens a recording, or makes it, and starts its writer thread. The thread ends after
    /// [`Recorder::close`], or when the last handle is gone.
    ///
    /// # Errors
    /// [`RecordError::Newer`] or [`RecordError::NotARecording`] if the file is not to be touched,
    /// [`RecordError::Database`] if it cannot be opened.
    pub async fn open(path: &Path, settings: &RecorderSettings) -> Result<Self, RecordError> {
        let (commands, queue) = mpsc::channel(settings.queue.max(1));
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            urgent: Notify::new(),
            dropped: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            sampled: Mutex::new(HashMap::new()),
        });
        let keep = Keep {
            grain_ms: milliseconds(settings.grain).max(1),
            keep_ms: milliseconds(settings.keep),
        };
        let (ready, opened) = oneshot::channel();
        let thread_shared = Arc::clone(&shared);
        let gone = |reason: String| RecordError::Thread { path: path.to_owned(), reason };
        std::thread::Builder::new()
            .name("crossfade-recorder".to_owned())
            .spawn(move || write_on_this_thread(&thread_shared, queue, keep, ready))
            .map_err(|error| gone(error.to_string()))?;
        opened.await.map_err(|_| gone("the writer ended before it began".to_owned()))??;
        Ok(Self { commands, shared })
    }

    /// Hands an event to the writer; drops and counts it if the queue is full. Never waits.
    pub fn record(&self, event: impl Into<Event>) {
        if self.commands.try_send(Command::Event(event.into())).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
        if self.commands.capacity() < self.commands.max_capacity() / 2 {
            self.shared.urgent.notify_one();
        }
    }

    /// Events dropped at the bound and not yet recorded as such.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Events lost since the start because their transaction failed.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Whether a sample of this signature is worth making at this time: yes for its first four,
    /// then once a minute. Saying yes counts as having made one.
    #[must_use]
    pub fn wants_sample(&self, signature: &Signature, at_ms: u64) -> bool {
        let mut sampled = self.shared.sampled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = sampled.get_mut(&signature.id) {
            let wanted = known.count < 4 || at_ms.saturating_sub(known.last_ms) >= SAMPLE_EVERY_MS;
            if wanted {
                *known = Sampled { count: known.count.saturating_add(1), last_ms: at_ms };
            }
            return wanted;
        }
        if sampled.len() < MAX_SAMPLED {
            sampled.insert(signature.id.clone(), Sampled { count: 1, last_ms: at_ms });
        }
        true
    }

    /// Waits until everything recorded so far is committed.
    ///
    /// # Errors
    /// [`RecordError::Lost`] if events could not be written since the recorder was opened,
    /// [`RecordError::Thread`] if it is closed.
    pub async fn flush(&self) -> Result<(), RecordError> {
        self.ask(Command::Flush).await
    }

    /// Commits everything recorded so far and closes the file. Later events are dropped.
    ///
    /// # Errors
    /// As [`Recorder::flush`].
    pub async fn close(&self) -> Result<(), RecordError> {
        self.ask(Command::Close).await
    }

    async fn ask(&self, command: fn(oneshot::Sender<()>) -> Command) -> Result<(), RecordError> {
        let (reply, done) = oneshot::channel();
        let path = || self.shared.path.clone();
        let closed =
            || RecordError::Thread { path: path(), reason: "the recorder is closed".to_owned() };
        self.commands.send(command(reply)).await.map_err(|_| closed())?;
        self.shared.urgent.notify_one();
        done.await.map_err(|_| closed())?;
        match self.lost() {
            0 => Ok(()),
            lost => Err(RecordError::Lost { path: path(), lost }),
        }
    }
}

/// libSQL works inside its futures and blocks whoever polls them: this thread polls nothing else.
fn write_on_this_thread(
    shared: &Shared,
    queue: mpsc::Receiver<Command>,
    keep: Keep,
    ready: oneshot::Sender<Result<(), RecordError>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let path = shared.path.clone();
            let _ = ready.send(Err(RecordError::Thread { path, reason: error.to_string() }));
            return;
        }
    };
    runtime.block_on(async {
        match Database::create(&shared.path, keep.grain_ms).await {
            Ok(database) => {
                // Nobody waits any more if the opener was cancelled; the queue then ends at once.
                let _ = ready.send(Ok(()));
                Writer { shared, database, keep, purged_ms: 0, latest_ms: 0 }.run(queue).await;
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    });
}

/// Takes what waits, as much as goes into one transaction. Gives whether nothing will come any more.
fn take_what_is_there(queue: &mut mpsc::Receiver<Command>, taken: &mut Vec<Command>) -> bool {
    while taken.len() < MAX_BATCH {
        match queue.try_recv() {
            Ok(command) => taken.push(command),
            Err(mpsc::error::TryRecvError::Empty) => return false,
            Err(mpsc::error::TryRecvError::Disconnected) => return true,
        }
    }
    false
}

#[derive(Debug, Clone, Copy)]
struct Keep {
    grain_ms: u64,
    keep_ms: u64,
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

struct Writer<'a> {
    shared: &'a Shared,
    database: Database,
    keep: Keep,
    /// Time of the events at which what is old was last removed.
    purged_ms: u64,
    /// The latest time among all events.
    latest_ms: u64,
}

impl Writer<'_> {
    async fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        let mut taken = Vec::new();
        loop {
            let mut batch = Batch::new(self.keep.grain_ms);
            let mut replies = Vec::new();
            let mut closing = queue.recv_many(&mut taken, MAX_BATCH).await == 0;
            let mut urgent = closing;
            let deadline = tokio::time::Instant::now() + LINGER;
            loop {
                for command in taken.drain(..) {
                    match command {
                        Command::Event(event) => batch.absorb(event),
                        Command::Flush(reply) => {
                            urgent = true;
                            replies.push(reply);
                        }
                        Command::Close(reply) => {
                            queue.close();
                            closing = true;
                            replies.push(reply);
                        }
                    }
                }
                let late = tokio::time::Instant::now() >= deadline;
                if urgent || closing || late || batch.events >= MAX_BATCH as u64 {
                    break;
                }
                // Not by each event: a thread that is woken for every request costs more than what it writes.
                tokio::select! {
                    () = tokio::time::sleep_until(deadline) => {}
                    () = self.shared.urgent.notified() => {}
                }
                closing = take_what_is_there(&mut queue, &mut taken);
            }
            // What was sent before the close is still in the queue.
            while closing && let Ok(command) = queue.try_recv() {
                match command {
                    Command::Event(event) => batch.absorb(event),
                    Command::Flush(reply) | Command::Close(reply) => replies.push(reply),
                }
            }
            self.commit(batch).await;
            for reply in replies {
                let _ = reply.send(());
            }
            if closing {
                return;
            }
        }
    }

    async fn commit(&mut self, mut batch: Batch) {
        // Drops are dated by the latest event that was written.
        self.latest_ms = self.latest_ms.max(batch.latest_ms);
        batch.latest_ms = self.latest_ms;
        if batch.events == 0 && (self.latest_ms == 0 || self.dropped() == 0) {
            return;
        }
        let dropped = self.shared.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            batch.add_count("events_dropped", dropped);
        }
        let (events, latest_ms) = (batch.events, batch.latest_ms);
        if let Err(error) = self.write(batch).await {
            let lost = self.shared.lost.fetch_add(events, Ordering::Relaxed) + events;
            self.shared.dropped.fetch_add(dropped + events, Ordering::Relaxed);
            tracing::error!(%error, lost, "events could not be recorded");
        } else if latest_ms >= self.purged_ms.saturating_add(3_600_000) {
            self.purged_ms = latest_ms;
            if let Err(error) = self.purge(latest_ms).await {
                tracing::warn!(%error, "what is old could not be removed");
            }
        }
    }

    fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    async fn write(&self, batch: Batch) -> Result<(), RecordError> {
        let written = async {
            let connection = &self.database.connection;
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).await?;
            batch.write(&tx).await?;
            tx.commit().await
        };
        written.await.map_err(doing(&self.database.path, "write events"))
    }

    async fn purge(&self, latest_ms: u64) -> Result<(), RecordError> {
        let before = i64::try_from(latest_ms.saturating_sub(self.keep.keep_ms)).unwrap_or(0);
        for table in [
            "answered where slot",
            "compared where slot",
            "latency where slot",
            "fallback where slot",
            "counter where slot",
            "signature_slot where slot",
            "note where at",
            "signature where last_seen",
        ] {
            let statement = format!("delete from {table} < ?1");
            let removed = self.database.connection.execute(&statement, params![before]).await;
            removed.map_err(doing(&self.database.path, "remove what is old"))?;
        }
        let orphans = "delete from sample where id not in (select id from signature);";
        let removed = self.database.connection.execute_batch(orphans).await;
        removed.map_err(doing(&self.database.path, "remove old samples"))?;
        Ok(())
    }
}

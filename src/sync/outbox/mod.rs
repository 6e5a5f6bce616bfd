//! What is owed to legacy, delivered: in order per row, at least once, with backoff.
//!
//! The queue is the database: an entry is there before its edit is shown to anyone, and is taken out
//! in the transaction that writes what legacy answered. The worker holds no more than what is in flight.

mod classify;
mod create;
mod dead;
mod deliver;
mod read;
mod references;

pub use dead::{DeadLetterError, discard, retry};

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::intents::Intents;
use super::owed_mirrors::OwedMirrors;
use super::path::PathError;
use super::registry::PathRegistry;
use super::row_traffic::RowTraffic;
use crate::clock::{SharedClock, SharedEntropy};
use crate::legacy::LegacyClient;
use crate::migration::{PathId, ResourceName, RowId};
use crate::storage::{Actor, Op, OutboxEntry, SharedStorage, StorageError};

/// How deliveries are made.
#[derive(Debug, Clone)]
pub struct OutboxSettings {
    /// Requests to the legacy API under way at once.
    pub concurrency: usize,
    /// Wait before the second try; doubled each time.
    pub initial_backoff: Duration,
    /// The longest wait between tries.
    pub max_backoff: Duration,
    /// Answers that say "later" before an entry is given up. An API that cannot be reached is waited
    /// for without end: no write is lost to an outage.
    pub max_attempts: u32,
}

/// Signs for whom a delivery is made.
pub trait OnBehalfOf: Send + Sync + std::fmt::Debug {
    /// The assertion for `Crossfade-On-Behalf-Of`, or why there is none.
    ///
    /// # Errors
    /// A text for the log; it never holds the key.
    fn sign(&self, actor: &Actor, now_ms: u64) -> Result<String, String>;
}

/// What the worker needs.
#[derive(Debug, Clone)]
pub struct OutboxContext {
    /// Where entries are kept.
    pub storage: SharedStorage,
    /// The paths whose rows they are.
    pub registry: PathRegistry,
    /// The legacy API.
    pub legacy: LegacyClient,
    /// What is happening to rows.
    pub traffic: RowTraffic,
    /// Requests whose outcome is unknown.
    pub intents: Intents,
    /// Rows to be read once more.
    pub owed: OwedMirrors,
    /// Who signs deliveries.
    pub on_behalf_of: Arc<dyn OnBehalfOf>,
    /// Wall time.
    pub clock: SharedClock,
    /// Randomness, for jitter.
    pub entropy: SharedEntropy,
    /// How deliveries are made.
    pub settings: OutboxSettings,
}

/// Why a delivery did not come to an end.
#[derive(Debug, thiserror::Error)]
enum DeliveryError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What a delivery came to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Delivered {
    /// The entry is done.
    Done,
    /// The entry waits; all others go on.
    Later,
    /// Legacy does not take crossfade's credential: everything waits.
    Paused,
}

type RowKey = (PathId, ResourceName, RowId);

/// Entries in hand at once for each request that may be under way: the others are looked up, or wait for the commit that
/// ends them.
const IN_HAND: usize = 8;
/// The least time between two looks at what is due: what comes meanwhile is found by one.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
/// How long to wait when nothing is known to be due: a note that something is owed comes earlier.
const IDLE: Duration = Duration::from_secs(60);
/// How long to wait while entries are in hand: the end of one comes earlier.
const BUSY: Duration = Duration::from_secs(1);

/// Delivers until `shutdown` turns true, then waits for what is in flight.
pub async fn run(context: OutboxContext, mut shutdown: watch::Receiver<bool>) {
    let owed = context.registry.owed();
    let mut worker = Worker::new(context);
    while !*shutdown.borrow() {
        // Registered before the look, so that nothing owed in between is missed.
        let notified = owed.notified();
        let looked = Instant::now();
        let wait = worker.look().await;
        tokio::select! {
            () = notified => {}
            Some(ended) = worker.tasks.join_next() => worker.end(ended),
            () = tokio::time::sleep(wait) => {}
            _ = shutdown.changed() => {}
        }
        tokio::select! {
            () = tokio::time::sleep_until(looked + BETWEEN_LOOKS) => {}
            _ = shutdown.changed() => {}
        }
        while let Some(ended) = worker.tasks.try_join_next() {
            worker.end(ended);
        }
    }
    worker.finish().await;
}

struct Worker {
    context: Arc<OutboxContext>,
    /// Requests to the legacy API that may still begin.
    requests: Arc<Semaphore>,
    /// Rows with an entry that is being delivered.
    in_hand: HashSet<RowKey>,
    /// Whether the last look found as much as may be in hand, or more.
    is_full: bool,
    tasks: JoinSet<(RowKey, Delivered)>,
    /// In epoch milliseconds.
    paused_until: u64,
}

impl Worker {
    fn new(context: OutboxContext) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(context.settings.concurrency)),
            context: Arc::new(context),
            in_hand: HashSet::new(),
            is_full: false,
            tasks: JoinSet::new(),
            paused_until: 0,
        }
    }

    /// Waits for what is in flight. What has not begun stays in the database.
    async fn finish(mut self) {
        self.requests.close();
        while self.tasks.join_next().await.is_some() {}
    }

    /// Starts what is due and free to go. Gives how long to wait for the next look.
    async fn look(&mut self) -> Duration {
        let now = self.context.clock.now_ms();
        if now < self.paused_until {
            return Duration::from_millis(self.paused_until - now);
        }
        let limit = self.context.settings.concurrency * IN_HAND;
        // Where much is owed, a look reads much: then half of what was in hand has to end before the next.
        if self.in_hand.len() >= if self.is_full { limit / 2 } else { limit } {
            return BUSY;
        }
        // What is in hand is among the oldest, and must not hide what is free to go.
        let due = match self.context.storage.due_entries(now, self.in_hand.len() + limit).await {
            Ok(due) => due,
            Err(error) => {
                tracing::error!(%error, "outbox cannot be read; deliveries wait");
                return Duration::from_secs(1);
            }
        };
        for entry in due {
            if self.in_hand.len() >= limit {
                break;
            }
            self.start(entry);
        }
        self.is_full = self.in_hand.len() >= limit;
        if !self.in_hand.is_empty() {
            return BUSY;
        }
        match self.context.storage.next_due_ms().await {
            Ok(Some(due)) if due > now => Duration::from_millis(due - now).min(IDLE),
            // Due, and not free to go: an entry that came in between.
            Ok(Some(_)) => Duration::from_millis(100),
            _ => IDLE,
        }
    }

    fn start(&mut self, entry: OutboxEntry) {
        let key = row_key(&entry);
        if !self.in_hand.insert(key.clone()) {
            return;
        }
        let (context, requests) = (self.context.clone(), self.requests.clone());
        self.tasks.spawn(async move { (key, attempt(&context, &requests, entry).await) });
    }

    fn end(&mut self, ended: Result<(RowKey, Delivered), JoinError>) {
        match ended {
            Ok((key, delivered)) => {
                self.in_hand.remove(&key);
                if delivered == Delivered::Paused {
                    let pause = self.context.settings.max_backoff.as_millis();
                    let pause = u64::try_from(pause).unwrap_or(u64::MAX);
                    self.paused_until = self.context.clock.now_ms().saturating_add(pause);
                }
            }
            Err(error) => {
                // The row of a task that broke is not known any more; nothing in hand may stay blocked.
                tracing::error!(%error, "a delivery broke; its entry is tried again");
                self.in_hand.clear();
            }
        }
    }
}

fn row_key(entry: &OutboxEntry) -> RowKey {
    let e = &entry.entry;
    (e.path.clone(), e.resource.clone(), e.row.clone())
}

async fn attempt(context: &OutboxContext, requests: &Semaphore, entry: OutboxEntry) -> Delivered {
    match deliver::deliver(context, requests, &entry).await {
        Ok(delivered) => delivered,
        Err(error) => {
            tracing::warn!(seq = entry.seq.0, %error, "delivery waits");
            wait_out(context, &entry, &error.to_string()).await
        }
    }
}

/// Tries the entry again later; the try counts against its budget.
async fn postpone(context: &OutboxContext, entry: &OutboxEntry, error: &str) -> Delivered {
    postpone_as(context, entry, error, entry.attempts.saturating_add(1)).await
}

/// Tries the entry again, not before this time (epoch milliseconds); none of its budget is used up.
async fn not_before(
    context: &OutboxContext,
    entry: &OutboxEntry,
    due_ms: u64,
    reason: &str,
) -> Delivered {
    let (seq, attempts, error) = (entry.seq, entry.attempts, reason.to_owned());
    keep(context, Op::Postpone { seq, attempts, due_ms, error }).await;
    Delivered::Later
}

/// Tries the entry again later, after a try that got no answer: an outage makes the waits longer and uses
/// up none of the budget.
async fn wait_out(context: &OutboxContext, entry: &OutboxEntry, error: &str) -> Delivered {
    let attempts = unanswered(entry.attempts, context.settings.max_attempts);
    postpone_as(context, entry, error, attempts).await
}

/// The attempts after a try without an answer: enough for the longest wait, never enough to give up.
fn unanswered(attempts: u32, max_attempts: u32) -> u32 {
    const LONGEST_WAIT: u32 = 10;
    let cap = LONGEST_WAIT.min(max_attempts.saturating_sub(1));
    attempts.saturating_add(1).min(cap).max(attempts)
}

async fn postpone_as(
    context: &OutboxContext,
    entry: &OutboxEntry,
    error: &str,
    attempts: u32,
) -> Delivered {
    let wait = backoff(&context.settings, attempts, context.entropy.unit());
    let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let due_ms = context.clock.now_ms().saturating_add(wait);
    let error = error.chars().take(200).collect();
    let op = Op::Postpone { seq: entry.seq, attempts, due_ms, error };
    keep(context, op).await;
    Delivered::Later
}

/// Gives the entry up until somebody looks at it.
async fn bury(context: &OutboxContext, entry: &OutboxEntry, error: String) -> Delivered {
    tracing::error!(seq = entry.seq.0, error, "owed write given up: it is a dead letter now");
    metrics::counter!("crossfade_outbox_dead_total").increment(1);
    keep(context, Op::Bury { seq: entry.seq, error }).await;
    Delivered::Done
}

async fn keep(context: &OutboxContext, op: Op) {
    if let Err(error) = context.storage.commit(vec![op]).await {
        // The entry is still pending in the database, and is tried again.
        tracing::error!(%error, "outbox cannot be written");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Exponential, with jitter over the upper half so that rows do not come back all at once.
fn backoff(settings: &OutboxSettings, attempts: u32, unit: f64) -> Duration {
    let mut waits = ExponentialBuilder::default()
        .with_min_delay(settings.initial_backoff)
        .with_max_delay(settings.max_backoff)
        .with_factor(2.0)
        .without_max_times()
        .build();
    let nth = usize::try_from(attempts.saturating_sub(1).min(64)).unwrap_or(64);
    waits.nth(nth).unwrap_or(settings.max_backoff).mul_f64(0.5 + 0.5 * unit)
}

#[cfg(test)]
mod own_ids_tests;
#[cfg(test)]
mod tests;

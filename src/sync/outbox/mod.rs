//! What is owed to legacy, delivered: in order per row, at least once, with backoff.
//!
//! The queue is the database: an entry is there before its edit is shown to anyone, and is taken out
//! in the transaction that writes what legacy answered. The worker holds no more than what is in flight.

mod classify;
mod deliver;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::sync::watch;
use tokio::task::JoinSet;

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
    /// Deliveries under way at once.
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

/// Delivers until `shutdown` turns true, then waits for what is in flight.
pub async fn run(context: OutboxContext, mut shutdown: watch::Receiver<bool>) {
    let context = Arc::new(context);
    let owed = context.registry.owed();
    let mut in_flight: HashSet<RowKey> = HashSet::new();
    let mut tasks: JoinSet<(RowKey, Delivered)> = JoinSet::new();
    let mut paused_until = 0;
    while !*shutdown.borrow() {
        // Registered before the look, so that nothing owed in between is missed.
        let notified = owed.notified();
        let now = context.clock.now_ms();
        let wait = if now < paused_until {
            Duration::from_millis(paused_until - now)
        } else {
            start_due(&context, now, &mut in_flight, &mut tasks).await
        };
        tokio::select! {
            () = notified => {}
            Some(ended) = tasks.join_next() => {
                if let Some(until) = end(&context, ended, &mut in_flight) {
                    paused_until = until;
                }
            }
            () = tokio::time::sleep(wait) => {}
            _ = shutdown.changed() => {}
        }
    }
    while tasks.join_next().await.is_some() {}
}

/// Starts what is due and free to go. Gives how long to wait for the next.
async fn start_due(
    context: &Arc<OutboxContext>,
    now: u64,
    in_flight: &mut HashSet<RowKey>,
    tasks: &mut JoinSet<(RowKey, Delivered)>,
) -> Duration {
    /// How long to wait when nothing is known to be due: a note that something is owed comes earlier.
    const IDLE: Duration = Duration::from_secs(60);
    let limit = context.settings.concurrency;
    if in_flight.len() >= limit {
        // Nothing could start; the end of a delivery wakes us.
        return IDLE;
    }
    // Twice the limit: what is in flight is among the oldest, and must not hide what is free to go.
    let due = match context.storage.due_entries(now, limit * 2).await {
        Ok(due) => due,
        Err(error) => {
            tracing::error!(%error, "outbox cannot be read; deliveries wait");
            return Duration::from_secs(1);
        }
    };
    for entry in due {
        let key = row_key(&entry);
        if in_flight.len() >= limit || !in_flight.insert(key.clone()) {
            continue;
        }
        let context = context.clone();
        tasks.spawn(async move { (key, attempt(&context, entry).await) });
    }
    if in_flight.len() >= limit {
        return IDLE;
    }
    match context.storage.next_due_ms().await {
        Ok(Some(due)) if due > now => Duration::from_millis(due - now).min(IDLE),
        // What is due and did not start is in flight or behind something that is: its end wakes us.
        Ok(_) if !in_flight.is_empty() => IDLE,
        Ok(Some(_)) => Duration::from_millis(100),
        _ => IDLE,
    }
}

fn row_key(entry: &OutboxEntry) -> RowKey {
    let e = &entry.entry;
    (e.path.clone(), e.resource.clone(), e.row.clone())
}

fn end(
    context: &OutboxContext,
    ended: Result<(RowKey, Delivered), tokio::task::JoinError>,
    in_flight: &mut HashSet<RowKey>,
) -> Option<u64> {
    match ended {
        Ok((key, delivered)) => {
            in_flight.remove(&key);
            let pause = context.settings.max_backoff.as_millis().try_into().unwrap_or(u64::MAX);
            (delivered == Delivered::Paused).then(|| context.clock.now_ms().saturating_add(pause))
        }
        Err(error) => {
            // The row of a task that broke is not known any more; nothing in flight may stay blocked.
            tracing::error!(%error, "a delivery broke; its entry is tried again");
            in_flight.clear();
            None
        }
    }
}

async fn attempt(context: &OutboxContext, entry: OutboxEntry) -> Delivered {
    match deliver::deliver(context, &entry).await {
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
mod tests {
    use super::*;

    #[test]
    fn an_outage_of_any_length_does_not_use_up_the_budget() {
        let after = |tries, from, max| (0..tries).fold(from, |n, _| unanswered(n, max));
        assert_eq!(after(1, 0, 50), 1);
        assert_eq!(after(1_000, 0, 50), 10);
        assert_eq!(after(1_000, 0, 3), 2);
        assert_eq!(after(1_000, 40, 50), 40, "what answers used up stays used up");
    }

    #[test]
    fn waits_double_up_to_the_bound_and_jitter_stays_in_the_upper_half() {
        let settings = OutboxSettings {
            concurrency: 1,
            initial_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(30),
            max_attempts: 5,
        };
        let wait = |attempts, unit| backoff(&settings, attempts, unit).as_millis();
        assert_eq!(wait(1, 0.0), 100);
        assert_eq!(wait(2, 0.0), 200);
        assert_eq!(wait(3, 0.999), 799);
        assert_eq!(wait(60, 0.0), 15_000);
        assert_eq!(wait(u32::MAX, 0.0), 15_000);
    }
}

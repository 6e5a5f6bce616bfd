//! Writes that never pass crossfade: jobs, cascades, other services (design §5).
//!
//! ```text
//! poll   what has changed lately, by the cell that grows with each change ─┐
//! sweep  the whole list, and what it has no more ──────────────────────────┴─ as a row that is read again ─ paths
//! ```
//!
//! A poll sees what was made or changed, soon; only a sweep sees what is gone, and whatever a poll cannot. Both hold what they
//! find against the bases in the database, so that rows which have not changed cost no path anything; and both bring the
//! rest into the store as a backfill does, by the same code. They look while writes go to both sides and the store is caught
//! up: before that, the backfill sees to it.
//!
//! A sweep is also what is done after a write through crossfade of which no route tells what it does: until it is through,
//! the store of its writer's path does not answer.

mod poll;
mod progress;
mod state;
mod sweep;
mod take;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use super::caught_up::{CaughtUp, Missed};
use super::intents::OpenIntent;
use super::legacy_rows::{LegacyRowError, LegacyRows};
use super::mirror::{Mirror, Request, request_of};
use crate::clock::SharedClock;
use crate::migration::{ResourceName, RowId};
use crate::proxy::forward::Tapped;
use crate::resource::Resource;

pub use progress::{TailProgress, TailState, TailWait};
use state::Tailed;

/// Wait after a look that failed; doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Says of which resources writes go to both sides by now.
pub trait Mirrored: Send + Sync + std::fmt::Debug {
    /// Whether this one's do.
    fn is_mirrored(&self, resource: &ResourceName) -> bool;
}

/// What a tail works with.
#[derive(Debug)]
pub struct TailParts {
    /// The resources.
    pub resources: Vec<Arc<Resource>>,
    /// The way into the paths.
    pub rows: LegacyRows,
    /// Which stores hold all that legacy has.
    pub caught_up: CaughtUp,
    /// Reads rows again.
    pub mirror: Mirror,
    /// Whose writes go to both sides.
    pub mirrored: Arc<dyn Mirrored>,
    /// Wall time.
    pub clock: SharedClock,
}

/// Finds writes that crossfade knows nothing of, or not what they did.
#[derive(Debug, Clone)]
pub struct Tail(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    parts: TailParts,
    tailed: BTreeMap<ResourceName, Tailed>,
    /// Rows that are looked up after unmapped writes, as many as callers had such writes under way.
    looking_up: TaskTracker,
}

/// A write that legacy was asked to do, to a route that is not mapped.
#[derive(Debug)]
pub struct UnmappedWrite {
    /// The resource under whose prefix the route is.
    pub resource: Arc<Resource>,
    /// What the path names as a row, and says that this one may be changed.
    pub row: Option<(RowId, OpenIntent)>,
    /// Says that any row may be changed.
    pub of_rows: OpenIntent,
    /// When it was sent, in epoch milliseconds.
    pub sent_ms: u64,
}

impl Tail {
    /// A tail of these parts.
    #[must_use]
    pub fn new(parts: TailParts) -> Self {
        let names = parts.resources.iter().map(|resource| resource.name.clone());
        let tailed = names.map(|name| (name, Tailed::default())).collect();
        Self(Arc::new(Inner { parts, tailed, looking_up: TaskTracker::new() }))
    }

    /// Follows up an unmapped write that is over; returns at once. A row that the path names is read again. If it names none, or
    /// one that the store does not know (`/users/import`), the list is.
    pub fn unmapped(&self, write: UnmappedWrite, tapped: &Tapped) {
        let UnmappedWrite { resource, row, of_rows, sent_ms } = write;
        if has_done_nothing(tapped) {
            of_rows.done();
            row.into_iter().for_each(|(_, of_row)| of_row.done());
            return;
        }
        let request = request_of(tapped);
        let Some((row, of_row)) = row else { return self.look_at_all(&resource, of_rows, request) };
        let tail = self.clone();
        self.0.looking_up.spawn(async move {
            // Before the row is read again, which may take it out.
            let (storage, name) = (&tail.0.parts.rows.storage, resource.name.clone());
            let known = storage.path_of_row(name, row.clone()).await;
            if matches!(known, Ok(Some(_))) {
                of_rows.done();
            } else {
                tail.look_at_all(&resource, of_rows, request);
            }
            tail.0.parts.mirror.reread(resource, row, of_row, (sent_ms, request));
        });
    }

    /// Has all rows looked at, for a write that may have changed any.
    fn look_at_all(&self, resource: &Resource, of_rows: OpenIntent, request: Request) {
        metrics::counter!("crossfade_tail_asked_total", "resource" => resource.name.to_string())
            .increment(1);
        match self.0.tailed.get(&resource.name).filter(|_| request == Request::Over) {
            Some(tailed) => {
                // Answers to what was sent before are not believed, whatever row they have; the sweep makes up for it.
                self.0.parts.rows.traffic.any_row(&resource.name, self.now_ms());
                tailed.ask(of_rows, self.0.parts.caught_up.is(&resource.name));
            }
            // Without a word: a backfill mends the store once the request cannot change legacy any more.
            None => drop(of_rows),
        }
    }

    /// Has a resource's list looked through once, as soon as it may be.
    pub fn order(&self, resource: &ResourceName) {
        if let Some(tailed) = self.0.tailed.get(resource) {
            tailed.order();
        }
    }

    /// How each one is doing.
    #[must_use]
    pub fn states(&self) -> BTreeMap<ResourceName, TailState> {
        let state = |resource: &Arc<Resource>| {
            let tailed = self.0.tailed.get(&resource.name)?;
            let waits_for = self.may_look(&resource.name).err();
            Some((resource.name.clone(), tailed.view(resource, waits_for)))
        };
        self.0.parts.resources.iter().filter_map(state).collect()
    }

    /// Tells the metrics how long ago the last looks were.
    pub fn measure(&self) {
        let now_ms = self.now_ms();
        for (resource, state) in self.states() {
            let looks = [("poll", state.progress.polled_ms), ("sweep", state.progress.swept_ms)];
            for (look, at_ms) in looks {
                let Some(at_ms) = at_ms else { continue };
                let ago = Duration::from_millis(now_ms.saturating_sub(at_ms)).as_secs_f64();
                metrics::gauge!("crossfade_tail_behind_seconds", "resource" => resource.to_string(), "look" => look)
                    .set(ago);
            }
        }
    }

    /// Ends, once [`run`] has: leaves what it was asked for to the next process.
    pub async fn close(&self) {
        self.0.looking_up.close();
        self.0.looking_up.wait().await;
        self.0.tailed.values().for_each(Tailed::leave);
    }

    /// Whether it is worth while to look.
    ///
    /// # Errors
    /// [`TailWait`] says what has to come first.
    pub fn may_look(&self, resource: &ResourceName) -> Result<(), TailWait> {
        if !self.0.parts.mirrored.is_mirrored(resource) {
            return Err(TailWait::Stage);
        }
        if !self.0.parts.caught_up.is(resource) {
            return Err(TailWait::Backfill);
        }
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        self.0.parts.clock.now_ms()
    }

    /// A row that the store cannot take: as with a mirror, it answers no more reads until somebody has looked.
    fn failed(&self, resource: &Resource, error: &LegacyRowError) {
        if error.is_of_a_row() {
            metrics::counter!("crossfade_mirror_failed_total").increment(1);
            let now_ms = self.now_ms();
            let missed = Missed { done_ms: now_ms, settled_ms: now_ms };
            self.0.parts.caught_up.lose(&resource.name, missed);
        }
        tracing::warn!(resource = %resource.name, %error, "a look for writes past crossfade failed");
    }
}

/// Whether legacy has refused a request, or never seen it.
fn has_done_nothing(tapped: &Tapped) -> bool {
    match &tapped.head {
        Some(head) => head.status.is_client_error(),
        None => request_of(tapped) == Request::Over,
    }
}

/// How long to wait after so many failures in a row.
fn wait_after(failures: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << failures.saturating_sub(1).min(6)).min(MAX_WAIT)
}

/// Returns once it is told to stop, or whoever could tell is gone.
async fn told(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Looks at all resources until `stopping` turns true.
pub async fn run(tail: Tail, stopping: watch::Receiver<bool>) {
    let mut looks = JoinSet::new();
    for resource in &tail.0.parts.resources {
        if let Some(follow) = resource.tail.as_ref().and_then(|spec| spec.follow.clone()) {
            looks.spawn(poll::run(tail.clone(), resource.clone(), follow, stopping.clone()));
        }
        looks.spawn(sweep::run(tail.clone(), resource.clone(), stopping.clone()));
    }
    while looks.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests;

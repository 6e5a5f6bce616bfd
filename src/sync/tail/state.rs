//! What a resource's looks know of each other, and what they were asked for.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::progress::{TailProgress, TailState, TailWait};
use super::take::Taken;
use crate::resource::{Resource, Version};
use crate::sync::intents::OpenIntent;
use crate::sync::legacy_rows::LegacyRowError;

/// Writes that wait for a sweep at most. At the bound a backfill mends the store instead.
const MAX_ASKED: usize = if cfg!(test) { 4 } else { 1_024 };

/// What is known of one resource.
#[derive(Debug, Default)]
pub(super) struct Tailed {
    state: Mutex<State>,
    /// Woken when a poll is worth while.
    pub(super) poll: Notify,
    /// Woken when a sweep is asked for.
    pub(super) sweep: Notify,
}

#[derive(Debug, Default)]
struct State {
    progress: TailProgress,
    watermark: Option<Version>,
    /// Whether a poll has come to its end: a sweep that begins later misses nothing from before the watermark.
    polled: bool,
    poll_error: Option<String>,
    sweep_error: Option<String>,
    /// Writes that any row may have been changed by, since the sweep under way began.
    waiting: Vec<OpenIntent>,
    /// The same, from before.
    swept: Vec<OpenIntent>,
    /// Whether an operator waits for a sweep.
    ordered: bool,
    sweeping: bool,
}

/// What a sweep is to be begun for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nobody asks.
    Not,
    /// A write that any row may have been changed by.
    ByWrite,
    /// An operator.
    ByOrder,
}

impl Tailed {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is one step, so a poisoned lock hides nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the list looked through, for a write that may have changed any row.
    pub(super) fn ask(&self, of_rows: OpenIntent, caught_up: bool) {
        let (before, shed) = {
            let mut state = self.lock();
            let before = if caught_up {
                Vec::new()
            } else {
                // Nothing is held back by them, and the sweep that the last one waits for is theirs, too.
                std::mem::take(&mut state.waiting)
            };
            let is_full = state.waiting.len() >= MAX_ASKED;
            let shed = if is_full {
                Some(of_rows)
            } else {
                state.waiting.push(of_rows);
                None
            };
            (before, shed)
        };
        before.into_iter().for_each(OpenIntent::done);
        if shed.is_some() {
            metrics::counter!("crossfade_tail_asked_shed_total").increment(1);
        }
        // Without a word: a backfill mends the store.
        drop(shed);
        self.poll.notify_one();
        self.sweep.notify_one();
    }

    /// The same, for an operator.
    pub(super) fn order(&self) {
        self.lock().ordered = true;
        self.sweep.notify_one();
    }

    pub(super) fn asked(&self) -> Asked {
        let state = self.lock();
        if state.ordered {
            Asked::ByOrder
        } else if state.waiting.is_empty() && state.swept.is_empty() {
            Asked::Not
        } else {
            Asked::ByWrite
        }
    }

    pub(super) fn watermark(&self) -> Option<Version> {
        self.lock().watermark
    }

    pub(super) fn set_watermark(&self, watermark: Option<Version>) {
        self.lock().watermark = watermark;
    }

    pub(super) fn has_polled(&self) -> bool {
        self.lock().polled
    }

    /// Notes how a poll of this time, in epoch milliseconds, has ended.
    pub(super) fn polled(
        &self,
        at_ms: u64,
        outcome: Result<(Option<Version>, Taken), &LegacyRowError>,
    ) {
        let mut state = self.lock();
        state.poll_error = outcome.as_ref().err().map(ToString::to_string);
        let Ok((watermark, taken)) = outcome else { return };
        (state.watermark, state.polled) = (watermark, true);
        state.progress.polls += 1;
        state.progress.polled_ms = Some(at_ms);
        taken.add_to(&mut state.progress);
    }

    /// Notes that a sweep begins: whatever was asked for until now it answers. Gives whether a write has asked.
    pub(super) fn sweep_begins(&self) -> bool {
        let mut state = self.lock();
        let waiting = std::mem::take(&mut state.waiting);
        state.swept.extend(waiting);
        (state.ordered, state.sweeping) = (false, true);
        (state.progress.read, state.progress.total) = (0, None);
        !state.swept.is_empty()
    }

    /// Notes how far it is.
    pub(super) fn swept_page(&self, read: usize, total: Option<u64>, taken: Taken) {
        let mut state = self.lock();
        (state.progress.read, state.progress.total) = (read as u64, total);
        taken.add_to(&mut state.progress);
    }

    /// Notes how many rows were gone, and how many were left.
    pub(super) fn swept_gone(&self, gone: u64, left: u64) {
        let mut state = self.lock();
        state.progress.gone += gone;
        state.progress.left += left;
    }

    /// Notes how a sweep of this time, in epoch milliseconds, has ended. If it failed, what it was asked for still is.
    pub(super) fn swept(&self, at_ms: u64, outcome: Result<(), &LegacyRowError>) {
        let done = {
            let mut state = self.lock();
            state.sweeping = false;
            state.sweep_error = outcome.err().map(ToString::to_string);
            if outcome.is_err() {
                return;
            }
            state.progress.sweeps += 1;
            state.progress.swept_ms = Some(at_ms);
            std::mem::take(&mut state.swept)
        };
        done.into_iter().for_each(OpenIntent::done);
    }

    /// An order that cannot be carried out now is none any more: whoever gave it is told why.
    pub(super) fn refuse_order(&self, why: TailWait) {
        let mut state = self.lock();
        if std::mem::take(&mut state.ordered) {
            state.sweep_error = Some(why.to_string());
        }
    }

    /// Leaves what it was asked for to the next process.
    pub(super) fn leave(&self) {
        let mut state = self.lock();
        let (waiting, swept) =
            (std::mem::take(&mut state.waiting), std::mem::take(&mut state.swept));
        drop(state);
        waiting.into_iter().chain(swept).for_each(OpenIntent::leave);
    }

    pub(super) fn view(&self, resource: &Resource, waits_for: Option<TailWait>) -> TailState {
        let state = self.lock();
        let follow = resource.tail.as_ref().and_then(|spec| spec.follow.as_ref());
        let progress = TailProgress {
            by: follow.map(|follow| follow.by.to_string()),
            watermark: state.watermark.map(Version::to_text),
            waits_for,
            asked: (state.waiting.len() + state.swept.len()) as u64,
            ..state.progress.clone()
        };
        let error = state.sweep_error.clone().or_else(|| state.poll_error.clone());
        TailState { running: state.ordered || state.sweeping, progress, error }
    }
}

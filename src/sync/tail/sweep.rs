//! Reads the whole list every so often: what is gone shows in nothing else, and what a poll cannot see does there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::state::Asked;
use super::take::count;
use super::{Tail, told, wait_after};
use crate::legacy::Purpose;
use crate::migration::{PathId, RowId};
use crate::resource::Resource;
use crate::sync::legacy_list::{ListPass, MAX_PASSES, PassEnd, Step};
use crate::sync::legacy_rows::{LegacyRowError, Reread};

/// Between two sweeps that writes ask for, if the first one took no longer: at most half of the time is spent on them.
const GAP: Duration = Duration::from_secs(5);
/// Until it is looked again whether a sweep that is due may begin.
const LOOK: Duration = Duration::from_millis(500);
/// When nothing is due.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);
/// So few rows may always be gone.
const FEW: usize = 20;
/// The share of a store's rows that may be gone, where the configuration does not say.
const MAX_GONE: f64 = 0.5;

/// When the next sweep is.
struct Plan {
    every: Option<Duration>,
    /// By the clock.
    due: Option<Instant>,
    /// Not earlier, unless an operator orders it.
    not_before: Instant,
    failures: u32,
}

impl Plan {
    fn new(every: Option<Duration>) -> Self {
        let now = Instant::now();
        // What was deleted while no process ran is not to wait for long.
        Self { every, due: every.map(|_| now), not_before: now, failures: 0 }
    }

    fn at(&self, asked: Asked) -> Instant {
        let now = Instant::now();
        match (asked, self.due) {
            (Asked::ByOrder, _) => now,
            (Asked::ByWrite, _) => self.not_before,
            (Asked::Not, Some(due)) => due.max(self.not_before),
            (Asked::Not, None) => now + NEVER,
        }
    }

    /// Notes that one has ended; `whole`: what it did not see, polls do.
    fn ended(&mut self, begun: Instant, done: bool, whole: bool) {
        let now = Instant::now();
        if done {
            self.failures = 0;
            if whole {
                self.due = self.every.map(|every| now + every);
            }
            self.not_before = now + begun.elapsed().max(GAP);
        } else {
            self.failures += 1;
            self.not_before = now + wait_after(self.failures);
        }
    }
}

/// Sweeps until told to stop.
pub(super) async fn run(tail: Tail, resource: Arc<Resource>, mut stopping: watch::Receiver<bool>) {
    let Some(tailed) = tail.0.tailed.get(&resource.name) else { return };
    let follows = resource.tail.as_ref().is_some_and(|spec| spec.follow.is_some());
    let mut plan = Plan::new(resource.tail.as_ref().map(|spec| spec.sweep));
    loop {
        let at = plan.at(tailed.asked());
        tokio::select! {
            () = tokio::time::sleep_until(at) => {}
            () = tailed.sweep.notified() => continue,
            () = told(&mut stopping) => return,
        }
        let may_look = tail.may_look(&resource.name);
        if let Err(why) = may_look {
            tailed.refuse_order(why);
        }
        // What is changed before the watermark is known, and after the sweep has read it, neither would see.
        let whole = !follows || tailed.has_polled();
        if may_look.is_err() || (!whole && tailed.asked() == Asked::Not) {
            plan.not_before = Instant::now() + LOOK;
            continue;
        }
        let begun = Instant::now();
        let done = tokio::select! {
            done = tail.sweep(&resource) => done,
            () = told(&mut stopping) => return,
        };
        plan.ended(begun, done, whole);
    }
}

impl Tail {
    /// Reads the list once. Gives whether that came to its end.
    pub(super) async fn sweep(&self, resource: &Arc<Resource>) -> bool {
        let Some(tailed) = self.0.tailed.get(&resource.name) else { return true };
        let at_ms = self.now_ms();
        let for_a_write = tailed.sweep_begins();
        let swept = self.look_at_list(resource, for_a_write).await;
        let outcome = if swept.is_ok() { "done" } else { "failed" };
        metrics::counter!("crossfade_tail_looks_total", "resource" => resource.name.to_string(),
            "look" => "sweep", "outcome" => outcome)
        .increment(1);
        if let Err(error) = &swept {
            self.failed(resource, error);
        }
        tailed.swept(at_ms, swept.as_ref().copied());
        swept.is_ok()
    }

    async fn look_at_list(
        &self,
        resource: &Arc<Resource>,
        for_a_write: bool,
    ) -> Result<(), LegacyRowError> {
        if for_a_write {
            self.outwait_last_write(resource).await;
        }
        for _ in 0..MAX_PASSES {
            if let Some(seen) = self.read_list(resource).await? {
                return self.look_for_gone(resource, &seen, for_a_write).await;
            }
        }
        Err(LegacyRowError::Restless)
    }

    /// Until what is asked for is believed: not within the millisecond in which a write was answered that may have changed any
    /// row, nor before that, should the clock have been set back.
    async fn outwait_last_write(&self, resource: &Resource) {
        while let Some(at_ms) = self.0.parts.rows.traffic.last_any_row(&resource.name)
            && at_ms >= self.now_ms()
        {
            tokio::time::sleep(Duration::from_millis(at_ms - self.now_ms().min(at_ms) + 1)).await;
        }
    }

    /// One pass over the list. Gives which row was in which path; `None` if rows may have been skipped. That is kept in
    /// memory until the sweep is through: a row costs its id, and a path its name.
    async fn read_list(
        &self,
        resource: &Arc<Resource>,
    ) -> Result<Option<HashMap<RowId, PathId>>, LegacyRowError> {
        let (mut seen, mut paths) = (HashMap::new(), HashSet::new());
        let mut pass = ListPass::default();
        loop {
            let asked_ms = self.now_ms();
            let page = match pass.next(&self.0.parts.rows, resource, Purpose::Tail).await? {
                Step::Page(page) => page,
                Step::End(PassEnd::Whole) => return Ok(Some(seen)),
                Step::End(PassEnd::Skipped) => return Ok(None),
            };
            for found in &page.rows {
                let path = paths.get(&found.path).unwrap_or(&found.path).clone();
                paths.insert(path.clone());
                seen.insert(found.row.clone(), path);
            }
            let taken = self.take(resource, page.rows, asked_ms).await?;
            if let Some(tailed) = self.0.tailed.get(&resource.name) {
                tailed.swept_page(seen.len(), page.total, taken);
            }
        }
    }

    /// Looks again, one by one, at rows that legacy was last known to have and the list had not, and takes out those that are
    /// gone.
    async fn look_for_gone(
        &self,
        resource: &Arc<Resource>,
        seen: &HashMap<RowId, PathId>,
        for_a_write: bool,
    ) -> Result<(), LegacyRowError> {
        let (rows, name) = (&self.0.parts.rows, &resource.name);
        let known = rows.storage.rows_with_base(name.clone()).await?;
        let count_known = known.len();
        let elsewhere = |(path, row): &(PathId, RowId)| seen.get(row) != Some(path);
        let (moved, missing): (Vec<_>, Vec<_>) =
            known.into_iter().filter(elsewhere).partition(|(_, row)| seen.contains_key(row));
        let share = resource.tail.as_ref().map_or(MAX_GONE, |spec| spec.max_gone);
        if missing.len() > FEW && missing.len() as f64 > share * count_known as f64 {
            return Err(LegacyRowError::TooManyGone { gone: missing.len(), rows: count_known });
        }
        for (path, row) in moved {
            rows.remove_if_moved(resource, &path, row, self.now_ms()).await?;
        }
        for (_, row) in missing {
            self.look_at_missing(resource, row, for_a_write).await?;
        }
        Ok(())
    }

    /// A row that an edit is owed of, or a mirror under way, is theirs: they come to know that it is gone, and if not, the
    /// next sweep does. Where a write waits for this sweep there may be no next one.
    async fn look_at_missing(
        &self,
        resource: &Arc<Resource>,
        row: RowId,
        for_a_write: bool,
    ) -> Result<(), LegacyRowError> {
        let rows = &self.0.parts.rows;
        let (what, gone, left) = if !for_a_write && self.is_under_way(resource, &row).await? {
            ("left", 0, 1)
        } else {
            rows.pace.turn().await;
            match rows.reread(resource, row, self.now_ms()).await? {
                Reread::Gone => ("gone", 1, 0),
                Reread::There => return Ok(()),
            }
        };
        count(resource, what, 1);
        if let Some(tailed) = self.0.tailed.get(&resource.name) {
            tailed.swept_gone(gone, left);
        }
        Ok(())
    }

    /// Whether an edit of the row is owed, or a mirror under way.
    async fn is_under_way(&self, resource: &Resource, row: &RowId) -> Result<bool, LegacyRowError> {
        if self.0.parts.caught_up.is_row_open(&resource.name, row) {
            return Ok(true);
        }
        let storage = &self.0.parts.rows.storage;
        Ok(storage.path_of_owed_row(resource.name.clone(), row.clone()).await?.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn sweeps_come_by_the_clock_and_sooner_if_they_are_asked_for_but_leave_half_of_the_time()
    {
        let mut plan = Plan::new(Some(EVERY));
        let begun = Instant::now();
        assert_eq!(plan.at(Asked::Not), begun, "one at the start");
        tokio::time::sleep(Duration::from_secs(8)).await;
        plan.ended(begun, true, true);
        let now = Instant::now();
        assert_eq!(plan.at(Asked::Not), now + EVERY);
        assert_eq!(plan.at(Asked::ByWrite), now + Duration::from_secs(8), "it took eight seconds");
        assert_eq!(plan.at(Asked::ByOrder), now);
        plan.ended(now, true, true);
        assert_eq!(plan.at(Asked::ByWrite), now + GAP);
        assert!(Plan::new(None).at(Asked::Not) >= now + NEVER);
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_tried_again_later_and_later_and_what_may_have_missed_something_is_done_again()
     {
        let mut plan = Plan::new(Some(EVERY));
        let now = Instant::now();
        let waits = [1, 2, 4, 8, 16, 32, 60, 60];
        for wait in waits {
            plan.ended(now, false, true);
            assert_eq!(plan.at(Asked::Not), now + Duration::from_secs(wait));
            assert_eq!(plan.at(Asked::ByWrite), now + Duration::from_secs(wait));
        }
        plan.ended(now, true, false);
        assert_eq!(plan.at(Asked::Not), now + GAP, "by the clock it is due still");
    }
}

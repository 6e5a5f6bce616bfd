//! Follows the list by the cell that grows with each change: every so often it is asked for what is newer than the watermark,
//! and a bit before that.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::state::Tailed;
use super::take::Taken;
use super::{Tail, told, wait_after};
use crate::legacy::Purpose;
use crate::resource::{FollowSpec, Resource, Version};
use crate::storage::{ControlOp, StorageError};
use crate::sync::legacy_list::{ListOrder, ListPass, MAX_PASSES, PassEnd, Step};
use crate::sync::legacy_rows::LegacyRowError;

/// Control keys of watermarks begin with this. The value is the cell, a space, and the watermark.
const KEY: &str = "tail.";
/// How often a watermark is kept: after a kill some changes are looked at twice.
const KEEP: Duration = Duration::from_secs(10);

/// What a poll came to: the watermark now, and what became of the rows.
type Polled = (Option<Version>, Taken);

/// Polls until told to stop.
pub(super) async fn run(
    tail: Tail,
    resource: Arc<Resource>,
    follow: FollowSpec,
    mut stopping: watch::Receiver<bool>,
) {
    let Some(tailed) = tail.0.tailed.get(&resource.name) else { return };
    let mut kept = Kept::default();
    let mut failures = 0;
    loop {
        let wait = if failures == 0 { follow.poll } else { wait_after(failures).max(follow.poll) };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = tailed.poll.notified(), if failures == 0 => {}
            () = told(&mut stopping) => break,
        }
        if tail.may_look(&resource.name).is_err() {
            continue;
        }
        let polled = tokio::select! {
            polled = tail.poll(&resource, &follow, &mut kept) => polled,
            () = told(&mut stopping) => break,
        };
        failures = if polled { 0 } else { failures + 1 };
        kept.keep(&tail, &resource, &follow, KEEP).await;
    }
    kept.keep(&tail, &resource, &follow, Duration::ZERO).await;
}

/// The watermark as the database has it.
#[derive(Default)]
pub(super) struct Kept {
    /// Whether it was read.
    known: bool,
    text: Option<String>,
    at: Option<Instant>,
}

impl Kept {
    #[cfg(test)]
    pub(super) fn read_already() -> Self {
        Self { known: true, ..Self::default() }
    }

    /// Reads it once: where this process goes on.
    pub(super) async fn read(
        &mut self,
        tail: &Tail,
        resource: &Resource,
        follow: &FollowSpec,
    ) -> Result<(), StorageError> {
        if self.known {
            return Ok(());
        }
        let key = format!("{KEY}{}", resource.name);
        self.text = tail.0.parts.rows.storage.control(key).await?;
        self.known = true;
        let watermark = self.text.as_deref().and_then(|text| {
            let (by, at) = text.split_once(' ')?;
            // Of another cell it says nothing.
            Version::of_text(at).filter(|_| *by == *follow.by)
        });
        if let Some(tailed) = tail.0.tailed.get(&resource.name) {
            tailed.set_watermark(watermark);
        }
        Ok(())
    }

    /// Keeps it, if it is another one and the last time was so long ago.
    pub(super) async fn keep(
        &mut self,
        tail: &Tail,
        resource: &Resource,
        follow: &FollowSpec,
        every: Duration,
    ) {
        let watermark = tail.0.tailed.get(&resource.name).and_then(Tailed::watermark);
        let text = watermark.map(|at| format!("{} {}", follow.by, at.to_text()));
        let early = self.at.is_some_and(|at| at.elapsed() < every);
        let Some(value) = text.filter(|text| !early && self.text.as_ref() != Some(text)) else {
            return;
        };
        self.at = Some(Instant::now());
        let put = ControlOp::Put { key: format!("{KEY}{}", resource.name), value: value.clone() };
        match tail.0.parts.rows.storage.commit_control(vec![put]).await {
            Ok(()) => self.text = Some(value),
            Err(error) => {
                tracing::warn!(resource = %resource.name, %error, "how far the list was followed is not kept yet");
            }
        }
    }
}

impl Tail {
    /// Looks for changes once. Gives whether that came to its end.
    pub(super) async fn poll(
        &self,
        resource: &Arc<Resource>,
        follow: &FollowSpec,
        kept: &mut Kept,
    ) -> bool {
        let Some(tailed) = self.0.tailed.get(&resource.name) else { return true };
        let at_ms = self.now_ms();
        let polled = match kept.read(self, resource, follow).await {
            Ok(()) => {
                let from = tailed.watermark();
                let is_first = from.is_none() && !tailed.has_polled();
                self.look_for_changes(resource, follow, from, is_first).await
            }
            Err(error) => Err(error.into()),
        };
        let outcome = if polled.is_ok() { "done" } else { "failed" };
        metrics::counter!("crossfade_tail_looks_total", "resource" => resource.name.to_string(),
            "look" => "poll", "outcome" => outcome)
        .increment(1);
        if let Err(error) = &polled {
            self.failed(resource, error);
        }
        tailed.polled(at_ms, polled.as_ref().copied());
        polled.is_ok()
    }

    async fn look_for_changes(
        &self,
        resource: &Arc<Resource>,
        follow: &FollowSpec,
        from: Option<Version>,
        is_first: bool,
    ) -> Result<Polled, LegacyRowError> {
        for _ in 0..MAX_PASSES {
            if let Some(polled) = self.pass(resource, follow, from, is_first).await? {
                return Ok(polled);
            }
        }
        Err(LegacyRowError::Restless)
    }

    /// One pass over what has changed; `None` if rows may have been skipped. The first of all, where nothing is known yet, is
    /// there for the watermark: the sweep that follows reads everything.
    async fn pass(
        &self,
        resource: &Arc<Resource>,
        follow: &FollowSpec,
        from: Option<Version>,
        is_first: bool,
    ) -> Result<Option<Polled>, LegacyRowError> {
        let since = from.map(|at| at.earlier(follow.overlap));
        let mut pass = ListPass::of(ListOrder::Changes(follow.clone(), since));
        let (mut watermark, mut taken) = (from, Taken::default());
        loop {
            let asked_ms = self.now_ms();
            let page = match pass.next(&self.0.parts.rows, resource, Purpose::Tail).await? {
                Step::Page(page) => page.rows,
                Step::End(PassEnd::Whole) => return Ok(Some((watermark, taken))),
                Step::End(PassEnd::Skipped) => return Ok(None),
            };
            let versions: Vec<_> =
                page.iter().filter_map(|found| follow.version(&found.cells)).collect();
            if follow.sorted && !follow.is_newest_first(&versions, page.len()) {
                return Err(LegacyRowError::Unsorted(follow.by.to_string()));
            }
            // A row from the future would hide what is changed until then.
            let counted = versions.iter().map(|at| at.until(asked_ms));
            watermark = counted.fold(watermark, greater);
            let is_old = |at: &Version| since.is_some_and(|since| *at < since);
            let is_through = follow.sorted && (is_first || versions.iter().any(is_old));
            taken = taken.and(self.take(resource, page, asked_ms).await?);
            if is_through {
                return Ok(Some((watermark, taken)));
            }
        }
    }
}

/// The greater one.
pub(super) fn greater(known: Option<Version>, other: Version) -> Option<Version> {
    match known {
        Some(known) if known >= other => Some(known),
        _ => Some(other),
    }
}

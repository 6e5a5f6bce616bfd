//! Copies what legacy has into the store, page by page through its own list, and takes out of the
//! store what legacy no longer has.

use std::collections::HashSet;
use std::sync::Arc;

use super::caught_up::CaughtUp;
use super::legacy_rows::{LegacyRowError, LegacyRows, json_of, read_row};
use super::path::Source;
use crate::clock::SharedClock;
use crate::legacy::Purpose;
use crate::migration::RowId;
use crate::resource::Resource;

/// Passes over the list at most. Pages by offset can skip a row when one before it is deleted
/// meanwhile, so a pass during which the total changed is followed by another.
const MAX_PASSES: u32 = 5;

/// Known rows that are looked at in one go for whether the list still had them.
const SWEPT_PAGE: usize = 1000;

/// What a backfill has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct BackfillProgress {
    /// Rows read.
    pub read: u64,
    /// Rows that legacy says there are, if its list tells.
    pub total: Option<u64>,
    /// Rows that were older than what the store already knew.
    pub stale: u64,
    /// Rows that the store knew and the list did not have, read again one by one.
    #[serde(default)]
    pub swept: u64,
    /// Passes over the list, this one included.
    pub passes: u32,
    /// Whether it is through.
    pub finished: bool,
}

/// Copies legacy's rows.
#[derive(Debug, Clone)]
pub struct Backfill {
    /// The way into the store.
    pub rows: LegacyRows,
    /// Keeps that it is finished.
    pub caught_up: CaughtUp,
    /// Wall time.
    pub clock: SharedClock,
}

impl Backfill {
    /// Copies all rows of a resource, telling its progress after each page, and reads again the rows
    /// that the list no longer had: those that were deleted while nobody told the store go. Writes may
    /// go on meanwhile: a page never overwrites what is newer. Running it again is safe.
    ///
    /// Holds the ids of all rows in memory while it runs, as the paths hold the rows themselves.
    ///
    /// # Errors
    /// [`LegacyRowError`]; what was copied stays, and the resource is not taken as caught up.
    pub async fn run(
        &self,
        resource: &Arc<Resource>,
        mut progress: impl FnMut(BackfillProgress),
    ) -> Result<BackfillProgress, LegacyRowError> {
        let begun = self.caught_up.begin(&resource.name);
        let mut done = BackfillProgress::default();
        let mut listed = HashSet::new();
        loop {
            done.passes += 1;
            let before = self.pass(resource, &mut done, &mut listed, &mut progress).await?;
            if before == done.total || done.passes >= MAX_PASSES {
                break;
            }
        }
        self.sweep(resource, &listed, &mut done).await?;
        if !self.caught_up.finish(&resource.name, begun).await? {
            return Err(LegacyRowError::PassedBy);
        }
        done.finished = true;
        progress(done);
        Ok(done)
    }

    /// One pass over the list. Gives the total as its first page told it.
    async fn pass(
        &self,
        resource: &Arc<Resource>,
        done: &mut BackfillProgress,
        listed: &mut HashSet<RowId>,
        progress: &mut impl FnMut(BackfillProgress),
    ) -> Result<Option<u64>, LegacyRowError> {
        let mut offset = 0_usize;
        let mut first_total = None;
        loop {
            let asked_ms = self.clock.now_ms();
            let target = resource.page_url(offset);
            let answer = self.rows.ask(target, Purpose::Backfill).await?;
            if !answer.status.is_success() {
                let status = answer.status.as_u16();
                return Err(LegacyRowError::NoAnswer(format!("answered the list with {status}")));
            }
            let body = json_of(&answer.body)?;
            let page = resource.envelope.rows(&body).ok_or(LegacyRowError::Shape)?;
            done.total = resource.envelope.total(&body);
            if offset == 0 {
                first_total = done.total;
            }
            let found = page.iter().map(|row| read_row(resource, row));
            let found = found.collect::<Result<Vec<_>, _>>()?;
            let count = found.len();
            listed.extend(found.iter().map(|found| found.row.clone()));
            let source = Source::Read { asked_ms };
            let (_, stale) = self.rows.apply(resource, found, &source).await?;
            done.read += count as u64;
            done.stale += stale;
            offset += count;
            progress(*done);
            let through = done.total.is_some_and(|total| offset as u64 >= total);
            if count == 0 || through || resource.query.page.is_none() {
                return Ok(first_total);
            }
        }
    }

    /// Reads again what the store knows and the list did not have.
    async fn sweep(
        &self,
        resource: &Arc<Resource>,
        listed: &HashSet<RowId>,
        done: &mut BackfillProgress,
    ) -> Result<(), LegacyRowError> {
        let storage = &self.rows.storage;
        let mut after = None;
        loop {
            let name = resource.name.clone();
            let known = storage.known_rows(name, after.take(), SWEPT_PAGE).await?;
            let Some(last) = known.last().cloned() else { return Ok(()) };
            for row in known.into_iter().filter(|row| !listed.contains(row)) {
                self.rows.reread(resource, row, self.clock.now_ms()).await?;
                done.swept += 1;
            }
            after = Some(last);
        }
    }
}

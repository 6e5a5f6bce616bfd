//! Copies what legacy has into the store, page by page through its own list, and looks again at rows
//! that the list no longer has.

use std::collections::HashSet;
use std::sync::Arc;

use super::caught_up::CaughtUp;
use super::legacy_rows::{LegacyRowError, LegacyRows, Reread, json_of, read_row};
use super::path::Source;
use crate::clock::SharedClock;
use crate::legacy::Purpose;
use crate::migration::RowId;
use crate::resource::Resource;

/// Passes over the list at most. Pages by offset can skip a row when one before it is deleted
/// meanwhile, so a pass during which the total changed is followed by another.
const MAX_PASSES: u32 = 5;

/// What a backfill has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct BackfillProgress {
    /// Rows read.
    pub read: u64,
    /// Rows that legacy says there are, if its list tells.
    pub total: Option<u64>,
    /// Rows that were older than what the store already knew.
    pub stale: u64,
    /// Rows that the store had and legacy no longer has.
    pub gone: u64,
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
    /// Copies all rows of a resource, telling its progress after each page. Writes may go on
    /// meanwhile: a page never overwrites what is newer. Running it again is safe. It keeps the id of each
    /// row in memory until it is through.
    ///
    /// # Errors
    /// [`LegacyRowError`]; what was copied stays, and the resource is not taken as caught up.
    pub async fn run(
        &self,
        resource: &Arc<Resource>,
        mut progress: impl FnMut(BackfillProgress),
    ) -> Result<BackfillProgress, LegacyRowError> {
        let mut done = BackfillProgress::default();
        loop {
            let begun = self.caught_up.begin(&resource.name);
            let mut seen = HashSet::new();
            done.passes += 1;
            let before = self.pass(resource, &mut seen, &mut done, &mut progress).await?;
            let last = done.passes >= MAX_PASSES;
            if before != done.total && !last {
                continue;
            }
            done.gone += self.sweep(resource, &seen).await?;
            if self.caught_up.finish(&resource.name, begun).await? {
                break;
            }
            if last {
                return Err(LegacyRowError::NotMirrored);
            }
        }
        done.finished = true;
        progress(done);
        Ok(done)
    }

    /// Looks again at rows that the store has and the list had not: deleted while nobody was looking, or
    /// skipped by a page. Gives how many were gone.
    async fn sweep(
        &self,
        resource: &Arc<Resource>,
        seen: &HashSet<RowId>,
    ) -> Result<u64, LegacyRowError> {
        let known = self.rows.storage.rows_with_base(resource.name.clone()).await?;
        let mut gone = 0;
        for (_, row) in known.into_iter().filter(|(_, row)| !seen.contains(row)) {
            let there = self.rows.reread(resource, row, self.clock.now_ms()).await?;
            gone += u64::from(there == Reread::Gone);
        }
        Ok(gone)
    }

    /// One pass over the list. Gives the total as its first page told it.
    async fn pass(
        &self,
        resource: &Arc<Resource>,
        seen: &mut HashSet<RowId>,
        done: &mut BackfillProgress,
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
            seen.extend(found.iter().map(|found| found.row.clone()));
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
}

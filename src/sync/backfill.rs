//! Copies what legacy has into the store, page by page through its own list, and looks again at rows
//! that the list no longer has.

use std::collections::HashMap;
use std::sync::Arc;

use super::caught_up::CaughtUp;
use super::legacy_list::{ListPass, MAX_PASSES, PassEnd, Step};
use super::legacy_rows::{FoundRow, LegacyRowError, LegacyRows, Reread};
use super::path::Source;
use crate::clock::SharedClock;
use crate::legacy::Purpose;
use crate::migration::{PathId, RowId};
use crate::resource::Resource;

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
        while done.passes < MAX_PASSES {
            done.passes += 1;
            let begun = self.caught_up.begin(&resource.name, self.clock.now_ms());
            let mut seen = HashMap::new();
            if self.pass(resource, &mut seen, &mut done, &mut progress).await? == PassEnd::Skipped {
                continue;
            }
            done.gone += self.sweep(resource, &seen).await?;
            if self.caught_up.finish(&resource.name, begun).await? {
                done.finished = true;
                progress(done);
                return Ok(done);
            }
        }
        Err(LegacyRowError::Restless)
    }

    /// Looks again at rows that the store has and the list had not: deleted while nobody was looking, or
    /// skipped by a page. Gives how many were gone.
    async fn sweep(
        &self,
        resource: &Arc<Resource>,
        seen: &HashMap<RowId, PathId>,
    ) -> Result<u64, LegacyRowError> {
        let known = self.rows.storage.rows_with_base(resource.name.clone()).await?;
        let mut gone = 0;
        for (path, row) in known {
            match seen.get(&row) {
                Some(now) if *now == path => continue,
                // It moved to another path while nobody was looking.
                Some(_) => {
                    self.rows.remove_if_moved(resource, &path, row, self.clock.now_ms()).await?;
                    gone += 1;
                    continue;
                }
                None => {}
            }
            self.rows.pace.turn().await;
            let there = self.rows.reread(resource, row, self.clock.now_ms()).await?;
            gone += u64::from(there == Reread::Gone);
        }
        Ok(gone)
    }

    /// One pass over the list.
    async fn pass(
        &self,
        resource: &Arc<Resource>,
        seen: &mut HashMap<RowId, PathId>,
        done: &mut BackfillProgress,
        progress: &mut impl FnMut(BackfillProgress),
    ) -> Result<PassEnd, LegacyRowError> {
        let mut pass = ListPass::default();
        loop {
            let asked_ms = self.clock.now_ms();
            let source = page_source(&self.caught_up, resource, asked_ms);
            let page = match pass.next(&self.rows, resource, Purpose::Backfill).await? {
                Step::Page(page) => page,
                Step::End(end) => return Ok(end),
            };
            done.total = page.total;
            for found in &page.rows {
                let new = seen.insert(found.row.clone(), found.path.clone()).is_none();
                done.read += u64::from(new);
            }
            let rows = without_open(&self.caught_up, resource, page.rows, &source);
            done.stale += self.rows.apply(resource, rows, &source).await?.1;
            progress(*done);
        }
    }
}

/// How the rows of a page came about that was asked for at this time, in epoch milliseconds.
pub(super) fn page_source(caught_up: &CaughtUp, resource: &Resource, asked_ms: u64) -> Source {
    if caught_up.is(&resource.name) {
        return Source::Read { asked_ms };
    }
    Source::Compare { asked_ms, missed_ms: caught_up.missed(&resource.name).done_ms }
}

/// The rows of a page that the store is to take. What a mirror is under way for, that mirror knows better where the store is
/// not caught up: whose write it was, and when.
pub(super) fn without_open(
    caught_up: &CaughtUp,
    resource: &Resource,
    rows: Vec<FoundRow>,
    source: &Source,
) -> Vec<FoundRow> {
    if !matches!(source, Source::Compare { .. }) {
        return rows;
    }
    let open = |found: &FoundRow| caught_up.is_row_open(&resource.name, &found.row);
    rows.into_iter().filter(|found| !open(found)).collect()
}

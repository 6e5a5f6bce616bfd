//! Copies what legacy has into the store, page by page through its own list, and looks again at rows
//! that the list no longer has.

use std::collections::HashMap;
use std::sync::Arc;

use super::caught_up::CaughtUp;
use super::legacy_rows::{FoundRow, LegacyRowError, LegacyRows, Reread, json_of, read_row};
use super::path::Source;
use crate::clock::SharedClock;
use crate::legacy::Purpose;
use crate::migration::{PathId, RowId};
use crate::resource::Resource;

/// Passes over the list at most. Pages by offset can skip a row when others before it are deleted
/// meanwhile; a pass that may have is followed by another.
const MAX_PASSES: u32 = 10;
/// Rows by which a page overlaps the one before: as many may be deleted meanwhile without a gap.
const OVERLAP: usize = 8;

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
            let begun = self.caught_up.begin(&resource.name);
            let mut pass = Pass { seen: HashMap::new(), tail: Vec::new(), offset: 0 };
            if self.pass(resource, &mut pass, &mut done, &mut progress).await? == PassEnd::Skipped {
                continue;
            }
            done.gone += self.sweep(resource, &pass.seen).await?;
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
                    let source = Source::Read { asked_ms: self.clock.now_ms() };
                    self.rows.remove_from(resource, &path, row, &source).await?;
                    gone += 1;
                    continue;
                }
                None => {}
            }
            let there = self.rows.reread(resource, row, self.clock.now_ms()).await?;
            gone += u64::from(there == Reread::Gone);
        }
        Ok(gone)
    }

    /// One pass over the list. Each page begins with some rows of the one before: if none of them is
    /// there any more, rows may have moved past the page's edge unseen.
    async fn pass(
        &self,
        resource: &Arc<Resource>,
        pass: &mut Pass,
        done: &mut BackfillProgress,
        progress: &mut impl FnMut(BackfillProgress),
    ) -> Result<PassEnd, LegacyRowError> {
        loop {
            let source = Source::Read { asked_ms: self.clock.now_ms() };
            let (found, total) = self.page(resource, pass.offset).await?;
            let end = pass.offset + found.len();
            if !pass.joins(&found) {
                return Ok(PassEnd::Skipped);
            }
            done.total = total;
            done.read += pass.take(&found);
            let through = total.is_some_and(|total| end as u64 >= total);
            let last = found.is_empty() || through || resource.query.page.is_none();
            done.stale += self.rows.apply(resource, found, &source).await?.1;
            progress(*done);
            if last {
                return Ok(PassEnd::Whole);
            }
            pass.offset = end - pass.tail.len();
        }
    }

    async fn page(
        &self,
        resource: &Arc<Resource>,
        offset: usize,
    ) -> Result<(Vec<FoundRow>, Option<u64>), LegacyRowError> {
        let answer = self.rows.ask(resource.page_url(offset), Purpose::Backfill).await?;
        if !answer.status.is_success() {
            let status = answer.status.as_u16();
            return Err(LegacyRowError::NoAnswer(format!("answered the list with {status}")));
        }
        let body = json_of(&answer.body)?;
        let page = resource.envelope.rows(&body).ok_or(LegacyRowError::Shape)?;
        let found = page.iter().map(|row| read_row(resource, row)).collect::<Result<_, _>>()?;
        Ok((found, resource.envelope.total(&body)))
    }
}

/// How a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PassEnd {
    /// Every row that was there all the while was seen.
    Whole,
    /// Rows may have been skipped.
    Skipped,
}

/// Where a pass is.
#[derive(Debug)]
struct Pass {
    seen: HashMap<RowId, PathId>,
    /// The last rows of the page before, with which the next one begins.
    tail: Vec<RowId>,
    offset: usize,
}

impl Pass {
    /// Whether a page joins the one before without a gap.
    fn joins(&self, page: &[FoundRow]) -> bool {
        self.tail.is_empty() || page.iter().any(|found| self.tail.contains(&found.row))
    }

    /// Takes a page in. Gives how many of its rows are new.
    fn take(&mut self, page: &[FoundRow]) -> u64 {
        // A page of one row has no room for an overlap: then a row deleted meanwhile ends the pass.
        let overlap = OVERLAP.min(page.len() / 2);
        self.tail = page[page.len() - overlap..].iter().map(|found| found.row.clone()).collect();
        let seen = &mut self.seen;
        let new = |found: &&FoundRow| seen.insert(found.row.clone(), found.path.clone()).is_none();
        page.iter().filter(new).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::RowCells;

    fn page(ids: std::ops::Range<u32>) -> Vec<FoundRow> {
        let found = |id: u32| FoundRow {
            path: PathId::new("org/o_1").unwrap(),
            row: RowId::new(id.to_string()),
            cells: RowCells::new(),
        };
        ids.map(found).collect()
    }

    #[test]
    fn a_page_that_does_not_begin_in_the_one_before_is_a_gap() {
        let mut pass = Pass { seen: HashMap::new(), tail: Vec::new(), offset: 0 };
        assert!(pass.joins(&page(0..20)));
        assert_eq!(pass.take(&page(0..20)), 20);
        assert_eq!(pass.tail.len(), OVERLAP);
        // Undisturbed; some rows before were deleted; rows were inserted before.
        assert!(pass.joins(&page(12..32)));
        assert!(pass.joins(&page(19..39)));
        assert!(pass.joins(&page(5..25)));
        // As many were deleted as the pages overlap: a row may have slipped through.
        assert!(!pass.joins(&page(20..40)));
        assert!(!pass.joins(&[]));
        assert_eq!(pass.take(&page(12..32)), 12);
    }
}

//! Legacy's list of a resource, page by page, while rows come and go.

use std::sync::Arc;

use super::legacy_rows::{FoundRow, LegacyRowError, LegacyRows, json_of};
use crate::legacy::Purpose;
use crate::migration::RowId;
use crate::resource::{FollowSpec, Resource, Version};

/// Passes over the list at most. Pages by offset can skip a row when others before it are deleted
/// meanwhile; a pass that may have is followed by another.
pub(super) const MAX_PASSES: u32 = 10;
/// Rows by which a page overlaps the one before: as many may be deleted meanwhile without a gap.
const OVERLAP: usize = 8;
/// Rows of the first page of what has changed: most looks find little.
const FIRST_CHANGES: usize = 20;

/// How a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PassEnd {
    /// Every row that was there all the while was seen.
    Whole,
    /// Rows may have been skipped.
    Skipped,
}

/// A page of the list.
#[derive(Debug)]
pub(super) struct Page {
    /// Its rows; some of them were on the page before, too.
    pub(super) rows: Vec<FoundRow>,
    /// Rows that legacy says there are, if its list tells.
    pub(super) total: Option<u64>,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Step {
    Page(Page),
    End(PassEnd),
}

/// Which rows are read, in which order.
#[derive(Debug, Clone, Default)]
pub(super) enum ListOrder {
    /// All, by what never changes.
    #[default]
    Stable,
    /// Those that have changed since, the newest first where the list can be sorted so.
    Changes(FollowSpec, Option<Version>),
}

impl ListOrder {
    fn url(&self, resource: &Resource, offset: usize) -> String {
        match self {
            Self::Stable => resource.page_url(offset),
            Self::Changes(follow, since) => {
                let few = follow.sorted && follow.since.is_none() && offset == 0;
                let limit = if few { FIRST_CHANGES } else { usize::MAX };
                resource.changes_url(follow, *since, offset, limit)
            }
        }
    }
}

/// One pass over the list. Each page begins with some rows of the one before: if none of them is
/// there any more, rows may have moved past the page's edge unseen.
#[derive(Debug, Default)]
pub(super) struct ListPass {
    order: ListOrder,
    /// The last rows of the page before, with which the next one begins.
    tail: Vec<RowId>,
    offset: usize,
    through: bool,
}

impl ListPass {
    /// A pass in this order.
    pub(super) fn of(order: ListOrder) -> Self {
        Self { order, ..Self::default() }
    }

    /// Asks for the next page.
    pub(super) async fn next(
        &mut self,
        rows: &LegacyRows,
        resource: &Arc<Resource>,
        purpose: Purpose,
    ) -> Result<Step, LegacyRowError> {
        if self.through {
            return Ok(Step::End(PassEnd::Whole));
        }
        let page =
            read_page(rows, resource, self.order.url(resource, self.offset), purpose).await?;
        if !self.joins(&page.rows) {
            return Ok(Step::End(PassEnd::Skipped));
        }
        let end = self.offset + page.rows.len();
        let all = page.total.is_some_and(|total| end as u64 >= total);
        self.through = page.rows.is_empty() || all || resource.query.page.is_none();
        self.move_on(&page.rows);
        Ok(Step::Page(page))
    }

    /// Whether a page joins the one before without a gap.
    fn joins(&self, page: &[FoundRow]) -> bool {
        self.tail.is_empty() || page.iter().any(|found| self.tail.contains(&found.row))
    }

    fn move_on(&mut self, page: &[FoundRow]) {
        // A page of one row has no room for an overlap: then a row deleted meanwhile ends the pass.
        let overlap = OVERLAP.min(page.len() / 2);
        self.tail = page[page.len() - overlap..].iter().map(|found| found.row.clone()).collect();
        self.offset += page.len() - overlap;
    }
}

async fn read_page(
    rows: &LegacyRows,
    resource: &Arc<Resource>,
    url: String,
    purpose: Purpose,
) -> Result<Page, LegacyRowError> {
    let answer = rows.ask(url, purpose).await?;
    if !answer.status.is_success() {
        let status = answer.status.as_u16();
        return Err(LegacyRowError::NoAnswer(format!("answered the list with {status}")));
    }
    let body = json_of(&answer.body)?;
    let page = resource.envelope.rows(&body).ok_or(LegacyRowError::Shape)?;
    let mut found = Vec::with_capacity(page.len());
    for row in page {
        found.push(rows.read_row(resource, row).await?);
    }
    Ok(Page { rows: found, total: resource.envelope.total(&body) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::PathId;
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
        let mut pass = ListPass::default();
        assert!(pass.joins(&page(0..20)));
        pass.move_on(&page(0..20));
        assert_eq!((pass.tail.len(), pass.offset), (OVERLAP, 12));
        // Undisturbed; some rows before were deleted; rows were inserted before.
        assert!(pass.joins(&page(12..32)));
        assert!(pass.joins(&page(19..39)));
        assert!(pass.joins(&page(5..25)));
        // As many were deleted as the pages overlap: a row may have slipped through.
        assert!(!pass.joins(&page(20..40)));
        assert!(!pass.joins(&[]));
        pass.move_on(&page(12..32));
        assert_eq!(pass.offset, 24);
    }
}

//! Rows of the list, held against what legacy was last known to have; what is news goes into the store.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Tail;
use super::progress::TailProgress;
use crate::migration::PathId;
use crate::resource::{Resource, RowCells};
use crate::storage::Base;
use crate::sync::backfill::{page_source, without_open};
use crate::sync::legacy_rows::{FoundRow, LegacyRowError};

/// What became of rows of the list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) made: u64,
    pub(super) changed: u64,
    pub(super) stale: u64,
    /// How long ago the newest change was when the store had it.
    pub(super) lag_ms: Option<u64>,
}

impl Taken {
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            made: self.made + other.made,
            changed: self.changed + other.changed,
            stale: self.stale + other.stale,
            lag_ms: other.lag_ms.or(self.lag_ms),
        }
    }

    pub(super) fn add_to(self, progress: &mut TailProgress) {
        progress.made += self.made;
        progress.changed += self.changed;
        progress.stale += self.stale;
        progress.lag_ms = self.lag_ms.or(progress.lag_ms);
    }

    fn count(self, resource: &Resource) {
        for (what, rows) in [("made", self.made), ("changed", self.changed), ("stale", self.stale)]
        {
            count(resource, what, rows);
        }
        if let Some(lag_ms) = self.lag_ms {
            let name = resource.name.to_string();
            metrics::histogram!("crossfade_tail_lag_seconds", "resource" => name)
                .record(lag_ms as f64 / 1_000.0);
        }
    }
}

/// Counts rows that a look has found.
pub(super) fn count(resource: &Resource, what: &'static str, rows: u64) {
    let name = resource.name.to_string();
    metrics::counter!("crossfade_tail_rows_total", "resource" => name, "what" => what)
        .increment(rows);
}

impl Tail {
    /// Takes the rows of a page, asked for at this time in epoch milliseconds, into the store, as far as they are news.
    pub(super) async fn take(
        &self,
        resource: &Arc<Resource>,
        page: Vec<FoundRow>,
        asked_ms: u64,
    ) -> Result<Taken, LegacyRowError> {
        let (rows, caught_up) = (&self.0.parts.rows, &self.0.parts.caught_up);
        let source = page_source(caught_up, resource, asked_ms);
        let page = without_open(caught_up, resource, page, &source);
        let News { new, mut changed } = self.news(resource, page).await?;
        let mut taken =
            Taken { made: new.len() as u64, changed: changed.len() as u64, ..Taken::default() };
        let newest = self.newest(resource, new.iter().chain(&changed));
        for found in new {
            let (name, row) = (resource.name.clone(), found.row.clone());
            match rows.storage.path_of_row(name, row).await? {
                None => changed.push(found),
                // It has moved: out of the path that it was in, then into its own.
                Some(_) => rows.apply_one(resource, found, &source, self.now_ms()).await?,
            }
        }
        if !changed.is_empty() {
            taken.stale = rows.apply(resource, changed, &source).await?.1;
        }
        taken.lag_ms = newest.and_then(|at| at.ago_ms(self.now_ms()));
        taken.count(resource);
        Ok(taken)
    }

    /// When the newest of these changes was made, where changes are followed.
    fn newest<'a>(
        &self,
        resource: &Resource,
        rows: impl Iterator<Item = &'a FoundRow>,
    ) -> Option<crate::resource::Version> {
        let follow = resource.tail.as_ref()?.follow.as_ref()?;
        let versions = rows.filter_map(|found| follow.version(&found.cells));
        versions.fold(None, super::poll::greater)
    }

    /// The rows that are not as legacy was last known to have them.
    async fn news(
        &self,
        resource: &Arc<Resource>,
        page: Vec<FoundRow>,
    ) -> Result<News, LegacyRowError> {
        let mut by_path: BTreeMap<PathId, Vec<FoundRow>> = BTreeMap::new();
        for found in page {
            by_path.entry(found.path.clone()).or_default().push(found);
        }
        let mut news = News::default();
        for (path, rows) in by_path {
            let ids = rows.iter().map(|found| found.row.clone()).collect();
            let bases = self.0.parts.rows.storage.bases(path, resource.name.clone(), ids).await?;
            let bases: HashMap<_, _> = bases.into_iter().collect();
            for found in rows {
                match bases.get(&found.row) {
                    None => news.new.push(found),
                    Some(base) if !is_same(base, &found.cells) => news.changed.push(found),
                    Some(_) => {}
                }
            }
        }
        Ok(news)
    }
}

#[derive(Default)]
struct News {
    /// Rows that their path does not know legacy to have.
    new: Vec<FoundRow>,
    /// Rows with other cells than were known.
    changed: Vec<FoundRow>,
}

fn is_same(base: &Base, now: &RowCells) -> bool {
    base.cells.len() == now.iter().count()
        && now.iter().all(|(cell, value)| base.cells.get(&**cell) == Some(&value.to_json()))
}

//! Compares legacy and the store in full: every row of legacy's list with every row of the store's paths.
//!
//! Both sides move meanwhile, so what differs at first is looked at again, by itself, as comparisons of answers are (design
//! §7): a row that agrees later lagged; one that is owed to either side is told as owed; what is left has diverged. Each
//! row costs 8 bytes and its id in memory until its path is through.

mod digest;
mod verify;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use digest::{digest_of, store_digest};

use super::caught_up::{CaughtUp, Reconciled};
use super::legacy_list::{ListPass, MAX_PASSES, PassEnd, Step};
use super::legacy_rows::{LegacyRowError, LegacyRows};
use super::path::PathHandle;
use crate::clock::SharedClock;
use crate::legacy::Purpose;
use crate::migration::{PathId, RowId};
use crate::resource::Resource;
use crate::storage::Standing;

/// Rows that are looked at again at most. What differs beyond them is counted, not told apart from lag.
const MAX_SUSPECTS: usize = if cfg!(test) { 40 } else { 10_000 };
/// Differences that are listed at most; the rest is counted.
const MAX_LISTED: usize = if cfg!(test) { 20 } else { 1_000 };
/// Rows compared in one go of a path's task, so that its clients do not wait.
const SLICE: usize = 512;

/// Whose rows are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Authority {
    /// Legacy's: the store takes them over, except for cells that are owed to legacy.
    Legacy,
}

/// How two copies of a row differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DifferenceKind {
    /// Legacy has a row that the store lacks.
    Missing,
    /// The store has a row that legacy lacks.
    Extra,
    /// Both have it, with other cells.
    Different,
}

/// Why they do, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DifferenceCause {
    /// Nothing is on its way that would make them agree.
    Diverged,
    /// An edit of a client waits to be delivered to legacy.
    Owed,
    /// An edit of a client was given up: see `crossfade outbox list --dead`.
    DeadLetter,
}

/// A row of which the sides have different copies.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Difference {
    /// The path that the row is in, on the side that has it.
    pub path: PathId,
    /// The row.
    pub row: RowId,
    /// How they differ.
    pub kind: DifferenceKind,
    /// Why.
    pub cause: DifferenceCause,
    /// The cells that differ; never their values.
    pub cells: Vec<String>,
    /// Whether it was repaired.
    pub repaired: bool,
}

/// How far a reconcile is, and what it has found.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Reconciliation {
    /// When it began, in epoch milliseconds.
    pub began_ms: u64,
    /// Rows of legacy's list that were read.
    pub legacy_rows: u64,
    /// Rows that legacy says there are, if its list tells.
    pub legacy_total: Option<u64>,
    /// Rows of the store that were compared.
    pub store_rows: u64,
    /// Paths that were compared.
    pub paths: u64,
    /// Rows that differed at first and agreed when they were looked at again.
    pub lagged: u64,
    /// Rows that differ because an edit waits to be delivered.
    pub owed: u64,
    /// Rows that differ because an edit was given up.
    pub dead_letters: u64,
    /// Rows that have diverged: legacy alone has them.
    pub missing: u64,
    /// Rows that have diverged: the store alone has them.
    pub extra: u64,
    /// Rows that have diverged: both have them, with other cells.
    pub different: u64,
    /// Rows that differed and were too many to be looked at again.
    pub unverified: u64,
    /// Rows that were repaired.
    pub repaired: u64,
    /// Differences, as many as are listed.
    pub differences: Vec<Difference>,
    /// Whether it is through.
    pub finished: bool,
}

impl Reconciliation {
    /// Rows that differ and that nothing on its way will make agree. What is owed is not among them.
    #[must_use]
    pub const fn diverged(&self) -> u64 {
        self.missing + self.extra + self.different + self.dead_letters + self.unverified
    }

    fn count(&mut self, difference: Difference) {
        let count = match (difference.cause, difference.kind) {
            (DifferenceCause::Owed, _) => &mut self.owed,
            (DifferenceCause::DeadLetter, _) => &mut self.dead_letters,
            (DifferenceCause::Diverged, DifferenceKind::Missing) => &mut self.missing,
            (DifferenceCause::Diverged, DifferenceKind::Extra) => &mut self.extra,
            (DifferenceCause::Diverged, DifferenceKind::Different) => &mut self.different,
        };
        *count += 1;
        if self.differences.len() < MAX_LISTED {
            self.differences.push(difference);
        }
    }
}

/// Compares both sides.
#[derive(Debug, Clone)]
pub struct Reconcile {
    /// The way to both.
    pub rows: LegacyRows,
    /// Keeps what it came to.
    pub caught_up: CaughtUp,
    /// Wall time.
    pub clock: SharedClock,
    /// When a row that differs is looked at again, after the first look.
    pub settle: Vec<Duration>,
}

/// Digests of legacy's rows, by path.
type Digests = HashMap<PathId, BTreeMap<RowId, u64>>;

/// A row that may have diverged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Suspect {
    path: PathId,
    row: RowId,
}

impl Reconcile {
    /// Compares all rows of a resource and says how far it is after each page and path. With `repair`, rows that have
    /// diverged are then made equal. Writes may go on meanwhile.
    ///
    /// # Errors
    /// [`LegacyRowError`]; what was repaired before stays.
    pub async fn run(
        &self,
        resource: &Arc<Resource>,
        repair: Option<Authority>,
        mut progress: impl FnMut(&Reconciliation),
    ) -> Result<Reconciliation, LegacyRowError> {
        let begun = self.caught_up.begin(&resource.name, self.clock.now_ms());
        let began_ms = self.clock.now_ms();
        let mut found = Reconciliation { began_ms, ..Reconciliation::default() };
        let mut legacy = self.read_legacy(resource, &mut found, &mut progress).await?;
        let mut suspects = BTreeSet::new();
        for path in self.paths(&legacy).await? {
            let rows = Arc::new(legacy.remove(&path).unwrap_or_default());
            let handle = self.rows.registry.get(&path).await?;
            found.store_rows += compare(&handle, resource, &rows, &mut suspects).await?;
            found.paths += 1;
            progress(&found);
        }
        while suspects.len() > MAX_SUSPECTS {
            suspects.pop_last();
            found.unverified += 1;
        }
        for difference in self.verify(resource, suspects, &mut found).await? {
            let difference = match (repair, difference.cause) {
                (Some(Authority::Legacy), DifferenceCause::Diverged) => {
                    self.repair(resource, difference).await?
                }
                _ => difference,
            };
            found.repaired += u64::from(difference.repaired);
            found.count(difference);
        }
        found.finished = true;
        progress(&found);
        let differ = found.diverged() - found.repaired;
        let rows = found.legacy_rows.max(found.store_rows);
        let kept = Reconciled { at_ms: began_ms, rows, differ };
        self.caught_up.reconciled(&resource.name, begun, kept).await?;
        Ok(found)
    }

    async fn read_legacy(
        &self,
        resource: &Arc<Resource>,
        found: &mut Reconciliation,
        progress: &mut impl FnMut(&Reconciliation),
    ) -> Result<Digests, LegacyRowError> {
        for _ in 0..MAX_PASSES {
            let (mut digests, mut pass) = (Digests::new(), ListPass::default());
            found.legacy_rows = 0;
            loop {
                let page = match pass.next(&self.rows, resource, Purpose::Reconcile).await? {
                    Step::Page(page) => page,
                    Step::End(PassEnd::Whole) => return Ok(digests),
                    Step::End(PassEnd::Skipped) => break,
                };
                found.legacy_total = page.total;
                for row in page.rows {
                    let digest = digest_of(resource, &row.cells);
                    let new = digests.entry(row.path).or_default().insert(row.row, digest);
                    found.legacy_rows += u64::from(new.is_none());
                }
                progress(found);
            }
        }
        Err(LegacyRowError::Restless)
    }

    /// Every path in which either side has anything.
    async fn paths(&self, legacy: &Digests) -> Result<BTreeSet<PathId>, LegacyRowError> {
        let stored = self.rows.storage.generations(None).await?;
        let current = stored.into_iter().filter(|one| one.standing == Standing::Current);
        Ok(current.map(|one| one.path).chain(legacy.keys().cloned()).collect())
    }

    /// Makes the store's copy of a row equal to legacy's, except for what is owed.
    async fn repair(
        &self,
        resource: &Arc<Resource>,
        mut difference: Difference,
    ) -> Result<Difference, LegacyRowError> {
        let asked_ms = self.clock.now_ms();
        let (path, row) = (&difference.path, difference.row.clone());
        difference.repaired = self.rows.take_over(resource, path, row, asked_ms).await?;
        if difference.repaired {
            metrics::counter!("crossfade_rows_repaired_total").increment(1);
        }
        Ok(difference)
    }
}

/// Compares a path's rows with legacy's. Gives how many rows the store has, and adds those that differ.
async fn compare(
    handle: &PathHandle,
    resource: &Arc<Resource>,
    legacy: &Arc<BTreeMap<RowId, u64>>,
    suspects: &mut BTreeSet<Suspect>,
) -> Result<u64, LegacyRowError> {
    let suspect = |row: &RowId| Suspect { path: handle.path().clone(), row: row.clone() };
    let table = resource.table.clone();
    let (rows, known) = (resource.clone(), legacy.clone());
    let (count, extra) = handle
        .read(move |store| {
            let ids = store.row_ids(table.as_str());
            let rows = ids.iter().filter_map(|id| Some(RowId::new(id.as_str()?)));
            let extra: Vec<RowId> = rows.filter(|row| !known.contains_key(row)).collect();
            (ids.len() as u64, extra)
        })
        .await?;
    suspects.extend(extra.iter().map(suspect));
    let mut left = legacy.iter().map(|(row, digest)| (row.clone(), *digest));
    loop {
        let slice: Vec<(RowId, u64)> = left.by_ref().take(SLICE).collect();
        if slice.is_empty() {
            return Ok(count);
        }
        let resource = rows.clone();
        let differ = handle.read(move |store| {
            let differs = |(row, digest): &(RowId, u64)| {
                (store_digest(&resource, row, store) != Some(*digest)).then(|| row.clone())
            };
            slice.iter().filter_map(differs).collect::<Vec<_>>()
        });
        suspects.extend(differ.await?.iter().map(suspect));
    }
}

#[cfg(test)]
mod tests;

//! Looks again at rows that differed: what agrees by now lagged, what is owed is told as such, the rest has diverged.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Difference, DifferenceCause, DifferenceKind, Reconcile, Reconciliation, Suspect};
use crate::migration::{PathId, RowId};
use crate::resource::{Resource, RowCells};
use crate::storage::{EntryState, StorageError};
use crate::sync::legacy_rows::LegacyRowError;
use crate::sync::path::row_cells;

/// Rows that are read from legacy at once.
const TOGETHER: usize = 8;

/// Rows of which something is in the outbox.
type OwedRows = HashMap<RowId, DifferenceCause>;

impl Reconcile {
    /// Looks at the suspects now, and after each time to settle at those that still differ.
    pub(super) async fn verify(
        &self,
        resource: &Arc<Resource>,
        suspects: BTreeSet<Suspect>,
        found: &mut Reconciliation,
    ) -> Result<Vec<Difference>, LegacyRowError> {
        let mut left: Vec<Suspect> = suspects.into_iter().collect();
        let mut differences = Vec::new();
        let waits = std::iter::once(Duration::ZERO).chain(self.settle.iter().copied());
        let mut waited = Duration::ZERO;
        for at in waits {
            if left.is_empty() {
                break;
            }
            tokio::time::sleep(at.saturating_sub(waited)).await;
            waited = waited.max(at);
            let before = left.len();
            let looks = stream::iter(left).map(|suspect| self.look(resource, suspect));
            let looked: Vec<_> = looks.buffered(TOGETHER).try_collect().await?;
            differences = looked.into_iter().flatten().collect();
            found.lagged += (before - differences.len()) as u64;
            left = differences
                .iter()
                .map(|one: &Difference| Suspect { path: one.path.clone(), row: one.row.clone() })
                .collect();
        }
        self.explain(resource, &mut differences).await?;
        Ok(differences)
    }

    /// Reads both copies of a row.
    async fn look(
        &self,
        resource: &Arc<Resource>,
        suspect: Suspect,
    ) -> Result<Option<Difference>, LegacyRowError> {
        let Suspect { path, row } = suspect;
        let legacy = self.rows.look(resource, &path, &row).await?;
        let handle = self.rows.registry.get(&path).await?;
        let (of, id) = (resource.clone(), row.clone());
        let store = handle
            .read(move |store| {
                let there = store.has_row(of.table.as_str(), id.as_str());
                there.then(|| row_cells(&of, &id, store))
            })
            .await?;
        let (kind, cells) = match (&legacy, &store) {
            (None, None) => return Ok(None),
            (Some(_), None) => (DifferenceKind::Missing, Vec::new()),
            (None, Some(_)) => (DifferenceKind::Extra, Vec::new()),
            (Some(legacy), Some(store)) => {
                let cells = cells_that_differ(resource, legacy, store);
                if cells.is_empty() {
                    return Ok(None);
                }
                (DifferenceKind::Different, cells)
            }
        };
        let cause = DifferenceCause::Diverged;
        Ok(Some(Difference { path, row, kind, cause, cells, repaired: false }))
    }

    /// Says of which differences something is in the outbox.
    async fn explain(
        &self,
        resource: &Resource,
        differences: &mut [Difference],
    ) -> Result<(), StorageError> {
        let mut owed: HashMap<PathId, OwedRows> = HashMap::new();
        for one in differences {
            if !owed.contains_key(&one.path) {
                let rows = self.owed_rows(resource, &one.path).await?;
                owed.insert(one.path.clone(), rows);
            }
            if let Some(cause) = owed.get(&one.path).and_then(|rows| rows.get(&one.row)) {
                one.cause = *cause;
            }
        }
        Ok(())
    }

    async fn owed_rows(
        &self,
        resource: &Resource,
        path: &PathId,
    ) -> Result<OwedRows, StorageError> {
        let mut rows = OwedRows::new();
        for entry in self.rows.storage.entries_of(path.clone()).await? {
            if entry.entry.resource != resource.name {
                continue;
            }
            let cause = match entry.state {
                EntryState::Pending => DifferenceCause::Owed,
                EntryState::Dead => DifferenceCause::DeadLetter,
            };
            // A dead letter stays where an entry behind it is only a matter of time.
            let known = rows.entry(entry.entry.row).or_insert(cause);
            if cause == DifferenceCause::DeadLetter {
                *known = cause;
            }
        }
        Ok(rows)
    }
}

fn cells_that_differ(resource: &Resource, legacy: &RowCells, store: &RowCells) -> Vec<String> {
    let specs = resource.schema.cells().iter();
    let differ = specs.filter(|spec| legacy.get(&spec.id) != store.get(&spec.id));
    differ.map(|spec| spec.id.to_string()).collect()
}

//! Invariants, judged.

use mergeable_store::Cell;

use super::check::default_path;
use super::environment::Trouble;
use super::ledger::By;
use super::model::{Invariant, RowRef};
use super::world::{Rows, World, differences};
use crate::migration::PathId;

impl World<'_> {
    /// Whether an invariant holds now. `Err` says why not; it may hold a moment later.
    pub(super) async fn holds(&mut self, invariant: &Invariant) -> Result<(), Trouble> {
        match invariant {
            Invariant::Converged(actors) => self.converged(actors, true).await,
            Invariant::OutboxEmpty => {
                let owed = self.environment.owed().await?;
                match (owed.pending, owed.dead) {
                    (0, 0) => Ok(()),
                    (pending, dead) => Err(format!("{pending} are owed, {dead} were given up")),
                }
            }
            Invariant::LegacyEqualsStore(_) => self.legacy_equals_store().await,
            Invariant::NoAcknowledgedWriteLost => self.nothing_lost().await,
            Invariant::Rows { org, count, .. } => {
                let found = self.store_rows(&path_of(org)?).await?.len();
                if found == *count { Ok(()) } else { Err(format!("there are {found}")) }
            }
            Invariant::Row { row, org, cells, present } => {
                self.row_is(row, &path_of(org)?, cells, *present).await
            }
        }
    }

    async fn legacy_equals_store(&mut self) -> Result<(), Trouble> {
        let legacy = self.legacy_rows().await?;
        for path in self.paths() {
            let store = self.store_rows(&path).await?;
            let none = Rows::new();
            differences(&store, legacy.get(&path).unwrap_or(&none))
                .map_err(|why| format!("{path}: {why}"))?;
        }
        Ok(())
    }

    async fn nothing_lost(&mut self) -> Result<(), Trouble> {
        let legacy = self.legacy_rows().await?;
        let mut lost = Vec::new();
        for place in 0..self.ledger.writes().len() {
            let Some(write) = self.ledger.writes().get(place).cloned() else { break };
            if !self.is_acknowledged(&write) {
                continue;
            }
            let in_store = !matches!(write.by, By::Rest { mirrored: false });
            if in_store && !self.survived_in_store(place, &write.path).await? {
                lost.push(format!("{} (from the store)", self.told(place)));
                continue;
            }
            if matches!(write.by, By::Rest { .. })
                && !self.ledger.survived_in_legacy(place, legacy.get(&write.path))
            {
                lost.push(format!("{} (from legacy)", self.told(place)));
            }
        }
        if lost.is_empty() { Ok(()) } else { Err(format!("lost: {}", lost.join(", "))) }
    }

    fn told(&self, place: usize) -> String {
        let Some(write) = self.ledger.writes().get(place) else { return String::new() };
        format!("{}'s write of {}", self.scenario.actor(write.actor).name, write.subject())
    }

    async fn row_is(
        &mut self,
        row: &RowRef,
        path: &PathId,
        cells: &[(String, Cell)],
        present: bool,
    ) -> Result<(), Trouble> {
        let store = self.store_rows(path).await?;
        let legacy = self.legacy_rows().await?;
        let none = Rows::new();
        let sides = [("the store", &store), ("legacy", legacy.get(path).unwrap_or(&none))];
        for (side, rows) in sides {
            match (rows.get(&row.row), present) {
                (None, true) => return Err(format!("{side} does not have it")),
                (Some(_), false) => return Err(format!("{side} still has it")),
                (None, false) => {}
                (Some(found), true) => {
                    let wrong = cells.iter().filter(|(id, cell)| found.get(id) != Some(cell));
                    let wrong: Vec<_> = wrong.map(|(id, _)| id.as_str()).collect();
                    if !wrong.is_empty() {
                        return Err(format!("{side} has another {}", wrong.join(", ")));
                    }
                }
            }
        }
        Ok(())
    }
}

fn path_of(org: &str) -> Result<PathId, Trouble> {
    PathId::new(&default_path(org)).map_err(|error| error.to_string())
}

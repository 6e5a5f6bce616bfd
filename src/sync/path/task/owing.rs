//! What connections wrote, owed to legacy in the transaction that accepts it.

use std::collections::BTreeMap;
use std::sync::Arc;

use mergeable_store::{CellChange, Effects, Refusal, Writer as By};

use super::PathTask;
use crate::migration::RowId;
use crate::resource::Resource;
use crate::storage::{NewEntry, Op};
use crate::sync::path::batch::Batch;
use crate::sync::policy::RefusedCell;

impl PathTask {
    /// Keeps and sends what the star did, owes what connections wrote, and completes deletions.
    pub(super) fn take(&mut self, effects: &mut Effects, batch: &mut Batch) {
        self.keep(effects, batch);
        self.tell_refused(&effects.refused);
        let incomplete = self.owe(&effects.changed, batch);
        if !incomplete.is_empty() {
            self.delete_incomplete(&incomplete, batch);
        }
    }

    /// Says why edits were refused: a line for each reason, however many cells there are. Not whose: a log is no place for
    /// that; what a user was refused shows in the client.
    fn tell_refused(&self, refused: &[Refusal]) {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for refusal in refused {
            *counts.entry(&refusal.reason).or_default() += 1;
        }
        for (reason, cells) in counts {
            tracing::info!(path = %self.path, reason, cells, "edit refused");
        }
    }

    /// Owes the cells that connections wrote, one entry a row. Gives the rows that lost a required cell.
    fn owe(&mut self, changed: &[CellChange], batch: &mut Batch) -> Vec<(Arc<Resource>, RowId)> {
        let mut rows: Vec<(Arc<Resource>, RowId, Vec<&CellChange>)> = Vec::new();
        for change in changed {
            let By::Connection(_) = &change.by else { continue };
            let Some(resource) = self.context.tables.resource(&change.table) else { continue };
            let Some(row) = change.row.as_str() else { continue };
            let same = |known: &&mut (Arc<Resource>, RowId, Vec<&CellChange>)| {
                Arc::ptr_eq(&known.0, resource) && known.1.as_str() == row
            };
            match rows.iter_mut().find(same) {
                Some((.., changes)) => changes.push(change),
                None => rows.push((resource.clone(), RowId::new(row), vec![change])),
            }
        }
        let mut incomplete = Vec::new();
        for (resource, row, changes) in rows {
            let is_incomplete = self.is_incomplete(&resource, &row);
            self.owe_row(&resource, &row, &changes, batch);
            if is_incomplete {
                incomplete.push((resource, row));
            } else {
                self.make_generated(&resource, &row, batch);
            }
        }
        incomplete
    }

    fn owe_row(
        &mut self,
        resource: &Arc<Resource>,
        row: &RowId,
        changes: &[&CellChange],
        batch: &mut Batch,
    ) {
        let writer = changes.iter().find_map(|change| match &change.by {
            By::Connection(client) => self.clients.get(client).map(|c| c.writer.clone()),
            By::Store => None,
        });
        let Some(writer) = writer else { return };
        let cells: Vec<_> = changes
            .iter()
            .filter_map(|change| Some((change.cell.as_str()?.to_owned(), change.hlc)))
            .collect();
        batch.keep(Op::Owe(NewEntry {
            path: self.path.clone(),
            resource: resource.name.clone(),
            row: row.clone(),
            cells: cells.iter().map(|(id, hlc)| (id.clone(), hlc.to_string())).collect(),
            actor: writer.actor.clone(),
            accepted_ms: self.now(),
        }));
        self.owed.accept((resource.name.clone(), row.clone()), cells, writer.actor.clone());
    }

    /// A refused edit restamped these cells: what was owed by the stamps that they had is owed by the new
    /// ones, for the same people.
    pub(super) fn owe_again(&mut self, refused: &[RefusedCell], batch: &mut Batch) {
        for one in refused {
            let Some(resource) = self.context.tables.resource(&one.table).cloned() else {
                continue;
            };
            let (Some(row), Some(cell)) = (one.row.as_str(), one.cell.as_str()) else { continue };
            let key = (resource.name.clone(), RowId::new(row));
            let Some(actor) = self.owed.actor(&key, cell, one.stamp).cloned() else { continue };
            let stamp = self.star.store().stamp(&one.table, &one.row, &one.cell);
            let Some((_, hlc)) = stamp.filter(|(_, hlc)| *hlc != one.stamp) else { continue };
            batch.keep(Op::Owe(NewEntry {
                path: self.path.clone(),
                resource: resource.name.clone(),
                row: key.1.clone(),
                cells: vec![(cell.to_owned(), hlc.to_string())],
                actor: actor.clone(),
                accepted_ms: self.now(),
            }));
            self.owed.accept(key, vec![(cell.to_owned(), hlc)], actor);
        }
    }

    /// Whether a row is there of which a required cell was deleted: before or after the other edit.
    fn is_incomplete(&self, resource: &Resource, row: &RowId) -> bool {
        let (store, table) = (self.star.store(), resource.table.as_str());
        // What only legacy writes is not there yet, or not again, in a row that a client makes.
        let mut required =
            resource.schema.cells().iter().filter(|spec| resource.tells_deletion(spec));
        store.has_row(table, row.as_str())
            && required.any(|spec| {
                let stamp = store.stamp(table, row.as_str(), &*spec.id);
                stamp.is_some_and(|(thing, _)| thing.is_none())
            })
    }

    /// Delete wins: what is left of a row without its required cells becomes tombstones.
    fn delete_incomplete(&mut self, rows: &[(Arc<Resource>, RowId)], batch: &mut Batch) {
        metrics::counter!("crossfade_sync_delete_wins_total").increment(rows.len() as u64);
        let (now, mut random) = (self.now(), self.random());
        let written = self.star.write(now, &mut random, |tx| {
            rows.iter().try_for_each(|(resource, row)| tx.del_row(&resource.table, row.as_str()))
        });
        match written {
            Ok(((), mut effects)) => self.keep(&mut effects, batch),
            Err(error) => tracing::error!(path = %self.path, %error, "incomplete row not deleted"),
        }
    }
}

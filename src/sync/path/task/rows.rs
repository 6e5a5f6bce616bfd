//! What legacy says about rows, and what is asked of it: the path's side of mirrors, deliveries and backfill.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use mergeable_store::{Cell, CellError, EditError};

use super::PathTask;
use crate::migration::{ResourceName, RowId};
use crate::resource::{CreateMode, Resource, RowCells};
use crate::storage::{AskedCreate, Base, Op, Seq, StorageError};
use crate::sync::path::PathError;
use crate::sync::path::answer::{Application, Applied, LegacyRow, Source};
use crate::sync::path::batch::Batch;
use crate::sync::path::delivery::{self, Outcome, Prepared, Settled};
use crate::sync::path::owed::{Pending, RowKey};
use crate::sync::random::StarRandom;

/// Bases read at once that are worth remembering.
const FEW: usize = 8;

impl PathTask {
    pub(super) async fn apply(
        &mut self,
        resource: &ResourceName,
        rows: &[LegacyRow],
        source: &Source,
        batch: &mut Batch,
    ) -> Result<Vec<Applied>, PathError> {
        let tables = self.context.tables.clone();
        let known = tables.named(resource);
        let resource = known.ok_or_else(|| PathError::UnknownResource(resource.clone()))?;
        let rows: Vec<_> = rows.iter().map(|row| self.as_known_here(resource, row)).collect();
        let ids = rows.iter().map(|row| row.row.clone()).collect();
        let mut bases = self.bases(resource, ids, batch).await?;
        let mut outcomes = Vec::with_capacity(rows.len());
        for row in rows {
            let row = &self.of_this_path(resource, row);
            let base = bases.get(&row.row);
            let asked = match base {
                Some(_) => None,
                None => self.asked_create(resource, row).await?,
            };
            let (owed, gone, asked) = (&self.owed, &self.gone, asked.as_ref());
            let application = Application { resource, row, base, source, owed, gone, asked };
            if application.is_stale(self.star.store()) {
                outcomes.push(Applied::Stale);
                continue;
            }
            let yielded = application.yields(self.star.store());
            if yielded > 0 {
                metrics::counter!("crossfade_outbox_yielded_cells_total").increment(yielded as u64);
                tracing::warn!(path = %self.path, resource = %resource.name, cells = yielded, "owed edits yield to what legacy took while the store was passed by");
            }
            let now = self.context.clock.now_ms();
            let mut random = StarRandom(self.context.entropy.clone());
            let ((), mut effects) = self
                .star
                .write(now, &mut random, |tx| application.write(tx))
                .map_err(|e| PathError::Refused(e.to_string()))?;
            self.keep(&mut effects, batch);
            self.keep_base(resource, row, batch);
            match &row.now {
                Some(now) => bases.insert(row.row.clone(), now.clone()),
                None => bases.remove(&row.row),
            };
            if row.now.is_none() {
                self.gone.note((resource.name.clone(), row.row.clone()), now);
            }
            outcomes.push(Applied::Taken);
        }
        Ok(outcomes)
    }

    /// The create that legacy was asked for, of a row that it was not known to have until it said this.
    async fn asked_create(
        &mut self,
        resource: &Arc<Resource>,
        row: &LegacyRow,
    ) -> Result<Option<AskedCreate>, StorageError> {
        let key = (resource.name.clone(), row.row.clone());
        if resource.create == CreateMode::ClientId || row.now.is_none() || !self.owed.has(&key) {
            return Ok(None);
        }
        self.context.storage.asked_create(key.0, key.1).await
    }

    pub(super) fn keep_base(
        &mut self,
        resource: &Arc<Resource>,
        row: &LegacyRow,
        batch: &mut Batch,
    ) {
        let (path, resource) = (self.path.clone(), resource.name.clone());
        let key = (resource.clone(), row.row.clone());
        self.bases.set(key.clone(), row.now.clone());
        batch.set_base(key, row.now.clone());
        let row_id = row.row.clone();
        batch.keep(match &row.now {
            None => Op::DropBase { path, resource, row: row_id },
            Some(cells) => {
                let cells = cells.iter().map(|(id, cell)| (id.to_string(), cell.to_json()));
                let base = Base { cells: cells.collect() };
                Op::PutBase { path, resource, row: row_id, base }
            }
        });
    }

    /// Legacy's last known copies, from what is not yet kept or from storage.
    pub(super) async fn bases(
        &mut self,
        resource: &Arc<Resource>,
        rows: Vec<RowId>,
        batch: &mut Batch,
    ) -> Result<HashMap<RowId, RowCells>, PathError> {
        let mut found = HashMap::new();
        let mut missing = Vec::new();
        for row in rows {
            match self.base_in_memory(batch, &(resource.name.clone(), row.clone())) {
                Some(Some(base)) => drop(found.insert(row, base)),
                Some(None) => {}
                None => missing.push(row),
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let (path, name) = (self.path.clone(), resource.name.clone());
        let stored = self.context.storage.bases(path, name, missing.clone()).await?;
        for (row, base) in stored {
            let cells = base.cells.iter().map(|(id, value)| {
                let cell = Cell::from_json(value);
                let damaged =
                    |e: CellError| StorageError::Damaged { what: "base", reason: e.to_string() };
                Ok((id.clone(), cell.map_err(damaged)?))
            });
            found.insert(row, cells.collect::<Result<RowCells, StorageError>>()?);
        }
        // A few are rows under delivery, which are asked for again; many are a page of a backfill.
        if missing.len() <= FEW {
            for row in missing {
                let base = found.get(&row).cloned();
                self.bases.set((resource.name.clone(), row), base);
            }
        }
        Ok(found)
    }

    pub(super) async fn prepare(
        &mut self,
        resource: &ResourceName,
        row: &RowId,
        seq: Seq,
        batch: &mut Batch,
    ) -> Result<Prepared, PathError> {
        let tables = self.context.tables.clone();
        let known = tables.named(resource);
        let resource = known.ok_or_else(|| PathError::UnknownResource(resource.clone()))?;
        let bases = self.bases(resource, vec![row.clone()], batch).await?;
        let key: RowKey = (resource.name.clone(), row.clone());
        let Some(entry) = self.owed.get(&key, seq) else { return Ok(Prepared::Superseded) };
        let prepared = delivery::prepare(resource, row, entry, bases.get(row), self.star.store());
        if !matches!(prepared, Prepared::Superseded | Prepared::Reread { .. }) {
            self.owed.sending(&key, seq, self.context.clock.now_ms());
        }
        Ok(prepared)
    }

    pub(super) async fn settle(
        &mut self,
        resource: &ResourceName,
        row: &RowId,
        seq: Seq,
        outcome: &Outcome,
        batch: &mut Batch,
    ) -> Result<Settled, PathError> {
        let key: RowKey = (resource.clone(), row.clone());
        let tables = self.context.tables.clone();
        let known = tables.named(resource);
        let known = known.ok_or_else(|| PathError::UnknownResource(resource.clone()))?;
        // What can fail comes first: a settlement that fails must leave the entry owed.
        let bases = self.bases(known, vec![row.clone()], batch).await?;
        let answer = outcome.answer(row).map(|answer| self.of_this_path(known, answer));
        if let Some(answer) = &answer
            && !self.take_alias(known, answer, batch).await?
        {
            return Ok(Settled::Again);
        }
        if let (Outcome::Found(_), Some(answer)) = (outcome, &answer) {
            Self::end_create(known, row, batch);
            let source = Source::Read { asked_ms: u64::MAX };
            self.apply(resource, std::slice::from_ref(answer), &source, batch).await?;
            return Ok(Settled::Again);
        }
        let cells = match self.owed.get(&key, seq) {
            Some(entry) => {
                let base = bases.get(row);
                if let (Outcome::Delivered(_), Some(answer)) = (outcome, &answer)
                    && self.is_overtaken(known, answer, base, entry)
                {
                    return Ok(Settled::Again);
                }
                delivery::current_cells(known, row, entry, self.star.store())
            }
            None => BTreeSet::new(),
        };
        let entry = self.owed.remove(&key, seq);
        batch.keep(Op::Settle(seq));
        Self::end_create(known, row, batch);
        if let Outcome::Refused(None) = outcome
            && !bases.contains_key(row)
        {
            self.refuse_create(known, row, batch);
        }
        if let (Some(entry), Outcome::Refused(_)) = (&entry, outcome) {
            let read = answer.as_ref().and_then(|answer| answer.now.as_ref());
            // What was read may be older than what another answer has told since.
            let version = |cells: &RowCells| known.version(cells);
            let newer = |base: &&RowCells| {
                read.is_some_and(
                    |read| matches!((version(base), version(read)), (Some(b), Some(r)) if b > r),
                )
            };
            let now = bases.get(row).filter(newer).or(read);
            self.take_back(resource, row, entry, now, batch)?;
        }
        if let Some(answer) = answer {
            let source = Source::Delivery { cells };
            self.apply(resource, &[answer], &source, batch).await?;
        }
        let base = self.base_in_memory(batch, &key).flatten();
        self.take_generated(known, &key, base.as_ref(), batch);
        Ok(Settled::Done)
    }

    /// A row that belongs to another path, or has another id, is no row of this one: nobody here may see it.
    fn of_this_path(&self, resource: &Arc<Resource>, mut answer: LegacyRow) -> LegacyRow {
        let belongs = |cells: &RowCells| {
            resource.path.from_row(cells).is_ok_and(|path| path == self.path)
                // Where legacy makes ids, whoever asked knows which row an id means.
                && (resource.legacy_makes_ids()
                    || resource.row_id(cells).as_ref() == Some(&answer.row))
        };
        if !answer.now.as_ref().is_none_or(belongs) {
            metrics::counter!("crossfade_rows_of_another_path_total").increment(1);
            answer.now = None;
        }
        answer
    }

    /// Whether a newer answer was there first, and the entry's cells are not what legacy has by that.
    fn is_overtaken(
        &self,
        resource: &Arc<Resource>,
        answer: &LegacyRow,
        base: Option<&RowCells>,
        entry: &Pending,
    ) -> bool {
        let source = &Source::Delivery { cells: BTreeSet::new() };
        let (owed, gone) = (&self.owed, &self.gone);
        // What was there first is a base.
        let asked = None;
        let application = Application { resource, row: answer, base, source, owed, gone, asked };
        let Some(base) = base else { return false };
        let store = self.star.store();
        application.is_stale(store)
            && !delivery::owed_changes(resource, &answer.row, entry, base, store).is_empty()
    }

    /// Writes what legacy has into the cells that still carry a refused entry's stamps; and into those that it has and the
    /// store has no more, though nobody owes that: with a refused deletion goes what it made of others' edits.
    fn take_back(
        &mut self,
        resource: &ResourceName,
        row: &RowId,
        entry: &Pending,
        now: Option<&RowCells>,
        batch: &mut Batch,
    ) -> Result<(), PathError> {
        let tables = self.context.tables.clone();
        let known = tables.named(resource);
        let resource = known.ok_or_else(|| PathError::UnknownResource(resource.clone()))?;
        let (table, row) = (resource.table.as_str(), row.as_str());
        let (at, mut random) = (self.now(), self.random());
        let (owed, key) = (&self.owed, (resource.name.clone(), RowId::new(row)));
        let written = self.star.write(at, &mut random, |tx| {
            // A deletion that is owed stands.
            let deleted = |cell: &str| {
                let stamp = tx.store().stamp(table, row, cell);
                stamp.is_some_and(|(thing, hlc)| thing.is_none() && owed.owes(&key, cell, hlc))
            };
            let mut required = resource.schema.cells().iter().filter(|spec| spec.required);
            let is_deleted = required.any(|spec| deleted(&spec.id));
            let back = now.filter(|_| !is_deleted).into_iter().flat_map(RowCells::iter);
            for (cell, value) in back {
                let stamp = tx.store().stamp(table, row, &**cell);
                let gone = stamp.as_ref().is_some_and(|(thing, _)| thing.is_none());
                if gone && !stamp.is_some_and(|(_, hlc)| owed.owes(&key, cell, hlc)) {
                    tx.set_cell(table, row, &**cell, value.clone())?;
                }
            }
            for (cell, hlc) in &entry.cells {
                let still = tx.store().stamp(table, row, cell.as_str());
                if still.is_none_or(|(_, stamp)| stamp != *hlc) {
                    continue;
                }
                match now.and_then(|now| now.get(cell)) {
                    Some(value) => tx.set_cell(table, row, cell.as_str(), value.clone())?,
                    None => tx.del_cell(table, row, cell.as_str())?,
                }
            }
            Ok::<(), EditError>(())
        });
        let ((), mut effects) = written.map_err(|e| PathError::Refused(e.to_string()))?;
        self.keep(&mut effects, batch);
        Ok(())
    }
}

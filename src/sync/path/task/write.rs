//! REST writes that the store does itself, as edits of the server on behalf of a user: judged as the user's sync edits are,
//! stamped, kept together with what legacy is owed for them, and broadcast.

use std::sync::Arc;

use mergeable_store::{
    Cell, CellRef, Changes, ConnectionId, Edit, EditError, Effects, Hlc, Target,
};

use super::PathTask;
use crate::migration::{ResourceName, RowId};
use crate::resource::{CellId, Resource, RowCells, RowView as _, StoreRow, WrittenFields};
use crate::storage::{NewEntry, Op};
use crate::sync::authority::StoreDecides;
use crate::sync::path::PathError;
use crate::sync::path::batch::Batch;
use crate::sync::path::delivery::row_cells;
use crate::sync::path::owed::RowKey;
use crate::sync::path::write::{StoreDeed, StoreRefusal, StoreWrite, StoreWritten};
use crate::sync::policy::Judge;
use crate::sync::random::StarRandom;
use crate::sync::refusals::Allowance;

/// Names what comes by REST where a connection is asked for.
const REST: &str = "rest";

impl PathTask {
    /// Does a write, or says why not. Nothing has happened unless it is [`StoreWritten::Done`].
    pub(super) fn write(
        &mut self,
        resource: &ResourceName,
        write: &StoreWrite,
        batch: &mut Batch,
    ) -> Result<StoreWritten, PathError> {
        let tables = self.context.tables.clone();
        let known = tables.named(resource);
        let resource = known.ok_or_else(|| PathError::UnknownResource(resource.clone()))?;
        if let Some(ended) = self.without_writing(resource, write) {
            return Ok(ended);
        }
        let fields = self.fields(resource, write);
        if let Some(refused) = self.judge_write(resource, write, &fields) {
            return Ok(refused);
        }
        let is_new = matches!(write.deed, StoreDeed::Create { .. });
        let made = match write.deed {
            StoreDeed::Delete => Vec::new(),
            _ => self.made(resource, &write.row, is_new),
        };
        let mut effects = self.put(resource, write, &fields, made)?;
        let is_delete = write.deed == StoreDeed::Delete;
        self.owe_write(resource, write, &mut effects, is_delete, batch);
        let now = (!is_delete).then(|| row_cells(resource, &write.row, self.star.store()));
        Ok(StoreWritten::Done(now))
    }

    /// What is known before anything is judged: the row is there already, or is not.
    fn without_writing(&self, resource: &Resource, write: &StoreWrite) -> Option<StoreWritten> {
        let store = self.star.store();
        let is_there = store.has_row(resource.table.as_str(), write.row.as_str());
        match (&write.deed, is_there) {
            (StoreDeed::Create { same, .. }, true) => {
                let now = row_cells(resource, &write.row, store);
                let is_same =
                    |same: &RowCells| same.iter().all(|(id, cell)| now.get(id) == Some(cell));
                Some(match same {
                    Some(same) if is_same(same) => StoreWritten::Repeated(now),
                    _ => StoreWritten::Refused(StoreRefusal::Taken(resource.id.clone())),
                })
            }
            // Made by this very request, and deleted since: it does not come back by a repetition.
            (StoreDeed::Create { same: Some(same), .. }, false)
                if same.is_empty() && self.was_there(resource, &write.row) =>
            {
                Some(StoreWritten::Refused(StoreRefusal::Taken(resource.id.clone())))
            }
            (StoreDeed::Create { .. }, false) | (_, true) => None,
            // Its deletion is not in legacy yet, which must not be asked: it would still have the row.
            (_, false) if self.owed.has(&(resource.name.clone(), write.row.clone())) => {
                Some(StoreWritten::Refused(StoreRefusal::NoSuchRow))
            }
            (_, false) => Some(StoreWritten::Elsewhere("no-row")),
        }
    }

    /// Whether a row has left a tombstone.
    fn was_there(&self, resource: &Resource, row: &RowId) -> bool {
        let stamp = self.star.store().stamp(resource.table.as_str(), row.as_str(), &*resource.id);
        stamp.is_some()
    }

    /// The cells that are written and taken away.
    fn fields(&self, resource: &Resource, write: &StoreWrite) -> WrittenFields {
        match &write.deed {
            StoreDeed::Create { cells, .. } => {
                WrittenFields { set: cells.clone(), removed: Vec::new() }
            }
            StoreDeed::Update(fields) => fields.clone(),
            StoreDeed::Delete => {
                let there = row_cells(resource, &write.row, self.star.store());
                let removed = there.iter().map(|(id, _)| id.clone()).collect();
                WrittenFields { set: RowCells::new(), removed }
            }
        }
    }

    /// Judges each cell as if the user's own client had brought all of them in one message.
    fn judge_write(
        &mut self,
        resource: &Arc<Resource>,
        write: &StoreWrite,
        fields: &WrittenFields,
    ) -> Option<StoreWritten> {
        let (table, row) = (resource.table.as_str(), write.row.as_str());
        // Newer than all that is there: whoever writes through the store writes last.
        let hlc = Hlc::new(u64::MAX, u32::MAX, self.star.store().client());
        let mut changes = Changes::new();
        for (cell, value) in fields.set.iter() {
            changes.set_cell(table, row, &**cell, Some(value.clone()), hlc);
        }
        for cell in &fields.removed {
            changes.set_cell(table, row, &**cell, None, hlc);
        }
        let (store, writer) = (self.star.store(), ConnectionId::from(REST));
        let judge = Judge {
            path: &self.path,
            tables: &self.context.tables,
            writer: &write.writer,
            vectors: &mut self.vectors,
            refused: Vec::new(),
            allowance: Allowance::Left(0),
            max_cell_bytes: self.context.max_cell_bytes,
            indexes: &self.indexes,
            authority: &StoreDecides,
        };
        let mut ids = fields.set.iter().map(|(id, _)| id).chain(&fields.removed);
        ids.find_map(|id| {
            let target =
                Target::Cell { table: table.into(), row: row.into(), cell: (&**id).into() };
            let old = store.get_cell(table, row, &**id).map(CellRef::to_cell);
            let (old, new) = (old.as_ref(), fields.set.get(id));
            let now = self.context.clock.now_ms();
            let edit =
                Edit { writer: &writer, target, old, new, hlc, now, store, changes: &changes };
            judge.reason_against(&edit).map(|reason| meaning(reason, id))
        })
    }

    /// What the store makes itself of a row that is made or changed.
    pub(super) fn made(
        &self,
        resource: &Resource,
        row: &RowId,
        is_new: bool,
    ) -> Vec<(CellId, Cell)> {
        let (now_ms, table) = (self.context.clock.now_ms(), resource.table.as_str());
        let there = StoreRow::of(self.star.store(), table, row.as_str());
        let specs = resource.schema.cells().iter();
        let made = specs.filter_map(|spec| {
            let before = there.as_ref().and_then(|there| there.cell(&spec.id));
            let made = spec.generated.as_ref()?.next(before, now_ms, is_new)?;
            Some((spec.id.clone(), made))
        });
        made.collect()
    }

    /// Writes the cells, each with a new stamp, also where the value stays: whoever wrote last was this one.
    fn put(
        &mut self,
        resource: &Resource,
        write: &StoreWrite,
        fields: &WrittenFields,
        made: Vec<(CellId, Cell)>,
    ) -> Result<Effects, PathError> {
        let (table, row) = (resource.table.as_str(), write.row.as_str());
        let (now, mut random) =
            (self.context.clock.now_ms(), StarRandom(self.context.entropy.clone()));
        // What the request gives stands before what the store would make.
        let made = made.into_iter().filter(|(id, _)| fields.set.get(id).is_none());
        let set = fields.set.iter().map(|(id, cell)| (id.clone(), cell.clone())).chain(made);
        let written = self.star.write(now, &mut random, |tx| {
            for (id, cell) in set {
                if tx.get_cell(table, row, &*id) == Some(cell.view()) {
                    tx.restamp_cell(table, row, &*id)?;
                } else {
                    tx.set_cell(table, row, &*id, cell)?;
                }
            }
            if write.deed == StoreDeed::Delete {
                return tx.del_row(table, row);
            }
            fields.removed.iter().try_for_each(|id| match tx.get_cell(table, row, &**id) {
                Some(_) => tx.del_cell(table, row, &**id),
                None => tx.restamp_cell(table, row, &**id),
            })
        });
        let ((), effects) =
            written.map_err(|error: EditError| PathError::Refused(error.to_string()))?;
        Ok(effects)
    }

    /// Keeps what was written, and owes it to legacy in the same transaction. What legacy makes itself is not owed.
    fn owe_write(
        &mut self,
        resource: &Arc<Resource>,
        write: &StoreWrite,
        effects: &mut Effects,
        is_delete: bool,
        batch: &mut Batch,
    ) {
        let is_sent = |cell: &str| {
            is_delete || resource.schema.cell(cell).is_some_and(|spec| !spec.read_only)
        };
        let changed = effects
            .changed
            .iter()
            .filter_map(|change| Some((change.cell.as_str()?.to_owned(), change.hlc)));
        let cells: Vec<(String, Hlc)> = changed.filter(|(cell, _)| is_sent(cell)).collect();
        self.keep(effects, batch);
        if cells.is_empty() {
            return;
        }
        let actor = write.writer.actor.clone();
        batch.keep(Op::Owe(NewEntry {
            path: self.path.clone(),
            resource: resource.name.clone(),
            row: write.row.clone(),
            cells: cells.iter().map(|(id, hlc)| (id.clone(), hlc.to_string())).collect(),
            actor: actor.clone(),
            accepted_ms: self.context.clock.now_ms(),
        }));
        self.owed.accept((resource.name.clone(), write.row.clone()), cells, actor);
    }

    /// Makes what a client's edits of a row leave to legacy, where the store decides.
    pub(super) fn make_generated(&mut self, resource: &Resource, row: &RowId, batch: &mut Batch) {
        let (store, table) = (self.star.store(), resource.table.as_str());
        let is_there = store.has_row(table, row.as_str());
        // Without something owed there would be no end of it at which legacy's take their place.
        let is_owed = self.owed.has(&(resource.name.clone(), row.clone()));
        if !is_there || !is_owed || !self.context.authority.store_decides(&resource.name) {
            return;
        }
        let mut of_legacy = resource.made_by_legacy();
        let is_new =
            !of_legacy.any(|spec| store.get_cell(table, row.as_str(), &*spec.id).is_some());
        let made = self.made(resource, row, is_new);
        // What goes to legacy with the row is its writer's own.
        let is_made =
            |(id, _): &(CellId, Cell)| resource.made_by_legacy().any(|spec| spec.id == *id);
        let made = made.into_iter().filter(is_made).collect();
        self.put_generated(resource, row, made, batch);
    }

    /// The row's last owed write is done: what legacy makes is from now on what legacy has.
    pub(super) fn take_generated(
        &mut self,
        resource: &Arc<Resource>,
        key: &RowKey,
        base: Option<&RowCells>,
        batch: &mut Batch,
    ) {
        let (store, table) = (self.star.store(), resource.table.as_str());
        let Some(base) = base.filter(|_| store.has_row(table, key.1.as_str())) else { return };
        if self.owed.has(key) {
            return;
        }
        let legacys = resource.made_by_legacy().filter_map(|spec| {
            let cell = base.get(&spec.id)?;
            let differs = store.get_cell(table, key.1.as_str(), &*spec.id) != Some(cell.view());
            differs.then(|| (spec.id.clone(), cell.clone()))
        });
        let legacys: Vec<_> = legacys.collect();
        self.put_generated(resource, &key.1, legacys, batch);
    }

    fn put_generated(
        &mut self,
        resource: &Resource,
        row: &RowId,
        cells: Vec<(CellId, Cell)>,
        batch: &mut Batch,
    ) {
        if cells.is_empty() {
            return;
        }
        let (now, mut random) =
            (self.context.clock.now_ms(), StarRandom(self.context.entropy.clone()));
        let written = self.star.write(now, &mut random, |tx| {
            let table = resource.table.as_str();
            cells
                .into_iter()
                .try_for_each(|(id, cell)| tx.set_cell(table, row.as_str(), &*id, cell))
        });
        match written {
            Ok(((), mut effects)) => self.keep(&mut effects, batch),
            Err(error) => tracing::error!(path = %self.path, %error, "generated cells not written"),
        }
    }
}

/// What a reason against a sync edit means for a request.
fn meaning(reason: &'static str, cell: &CellId) -> StoreWritten {
    let refusal = match reason {
        "unique-taken" => StoreRefusal::Taken(cell.clone()),
        "cell-type" | "cell-too-large" => StoreRefusal::Unfit(cell.clone()),
        // Legacy may move the row, or says that it does not.
        "row-of-another-path" | "id-differs-from-row-id" | "cell-read-only" | "cell-not-mapped" => {
            return StoreWritten::Elsewhere(reason);
        }
        denied => StoreRefusal::Denied(denied),
    };
    StoreWritten::Refused(refusal)
}

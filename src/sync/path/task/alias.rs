//! Rows to which legacy gave an id of its own.

use std::sync::Arc;

use super::PathTask;
use crate::migration::RowId;
use crate::resource::{CreateMode, Resource};
use crate::storage::Op;
use crate::sync::path::PathError;
use crate::sync::path::answer::LegacyRow;
use crate::sync::path::batch::Batch;

/// How long it is remembered that legacy refused to make a row: edits that refer to it may come from clients that were offline.
const REMEMBER_REFUSED_MS: u64 = 30 * 24 * 60 * 60 * 1_000;

impl PathTask {
    /// The row as the store calls it: what was read before its alias was known may still be under legacy's id.
    pub(super) fn as_known_here(&self, resource: &Resource, row: &LegacyRow) -> LegacyRow {
        let alias = self.context.aliases.known_row(resource, &row.row);
        LegacyRow { row: alias.unwrap_or_else(|| row.row.clone()), now: row.now.clone() }
    }

    /// Keeps the id that legacy gave a row. If the row was read under that id before this was known, it is there twice: the
    /// later one goes, unless something of it is owed; then `false`, and the delivery waits for that.
    pub(super) async fn take_alias(
        &mut self,
        resource: &Arc<Resource>,
        answer: &LegacyRow,
        batch: &mut Batch,
    ) -> Result<bool, PathError> {
        let id = answer.now.as_ref().and_then(|now| resource.row_id(now));
        let Some(legacy_id) = id.filter(|id| *id != answer.row && resource.legacy_makes_ids())
        else {
            return Ok(true);
        };
        let twin = LegacyRow { row: legacy_id.clone(), now: None };
        let known = self.bases(resource, vec![legacy_id.clone()], batch).await?;
        let table = resource.table.as_str();
        if known.contains_key(&legacy_id) || self.star.store().has_row(table, legacy_id.as_str()) {
            if self.owed.owes_row(&(resource.name.clone(), legacy_id.clone())) {
                return Ok(false);
            }
            let (now, mut random) = (self.now(), self.random());
            let written =
                self.star.write(now, &mut random, |tx| tx.del_row(table, legacy_id.as_str()));
            let ((), mut effects) = written.map_err(|e| PathError::Refused(e.to_string()))?;
            self.keep(&mut effects, batch);
            self.keep_base(resource, &twin, batch);
            metrics::counter!("crossfade_outbox_twins_total").increment(1);
        }
        let (resource, row) = (resource.name.clone(), answer.row.clone());
        batch.keep(Op::Alias { resource, row, legacy_id });
        Ok(true)
    }

    /// Remembers that legacy refused to make a row, if others may refer to it.
    pub(super) fn refuse_create(&self, resource: &Resource, row: &RowId, batch: &mut Batch) {
        let refers = |other: &Arc<Resource>| {
            other.schema.references().any(|(_, name)| *name == resource.name)
        };
        if self.context.tables.resources().any(refers) {
            let (resource, row, at_ms) = (resource.name.clone(), row.clone(), self.now());
            let forget_before_ms = at_ms.saturating_sub(REMEMBER_REFUSED_MS);
            batch.keep(Op::RefuseCreate { resource, row, at_ms, forget_before_ms });
        }
    }

    /// Forgets that legacy was asked to make a row: it is known how that ended.
    pub(super) fn end_create(resource: &Resource, row: &RowId, batch: &mut Batch) {
        if resource.create != CreateMode::ClientId {
            let (resource, row) = (resource.name.clone(), row.clone());
            batch.keep(Op::EndCreate { resource, row });
        }
    }
}

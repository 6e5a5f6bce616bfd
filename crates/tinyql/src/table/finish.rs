//! The end of a transaction.

use indexmap::IndexMap;
use mergeable_store::{Cell, Text};

use super::transaction::{Before, Touched, TouchedRows};
use super::{Column, ResultTable, Row, entry};
use crate::changes::{ResultCellChange, RowChange, RowChangeKind};
use crate::sort::SortedRows;

/// What a transaction came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Net {
    /// Rows with a cell that differs, in order of first touch.
    pub(crate) rows: Vec<RowChange>,
    /// Whether a cell id is new to the table, or gone from it.
    pub(crate) cell_ids_changed: bool,
}

impl ResultTable {
    /// Ends the transaction: what changed in total. Orders are brought up to date.
    pub(crate) fn finish(&mut self) -> Net {
        let Touched { rows: touched, columns } = self.transaction.end();
        let mut cell_ids = columns.into_iter();
        let cell_ids_changed =
            cell_ids.any(|(column, was)| (self.live[column as usize] > 0) != was);
        let rows = match touched {
            TouchedRows::AllNew => self.all_rows_came(),
            TouchedRows::Listed(touched) => self.differing(touched),
        };
        if self.rows.len() > 32 && self.rows.len() > 2 * self.places.len() {
            self.close_gaps();
        }
        Net { rows, cell_ids_changed }
    }

    fn all_rows_came(&mut self) -> Vec<RowChange> {
        for (by, sorted) in &mut self.sorted {
            let entries = self.rows.iter().flatten();
            let entries = entries.map(|row| row.entry(*by, |column| row.cell(column)));
            *sorted = SortedRows::from_entries(entries.collect());
        }
        let mut came = Vec::with_capacity(self.places.len());
        came.extend(self.rows.iter().flatten().map(|row| self.row_came(row)));
        came
    }

    fn row_came(&self, row: &Row) -> RowChange {
        let cells = row.cells.iter().map(|(column, cell)| ResultCellChange {
            cell: self.name(*column).clone(),
            old: None,
            new: Some(cell.clone()),
        });
        RowChange { row: row.id.clone(), kind: RowChangeKind::Added, cells: cells.collect() }
    }

    fn differing(&mut self, touched: IndexMap<Text, Before>) -> Vec<RowChange> {
        let mut rows = Vec::new();
        for (id, before) in touched {
            let place = self.places.get(&id).copied();
            self.resort(&id, place, &before);
            let now = place.and_then(|place| self.rows[place].as_ref());
            if before.order.is_none() {
                rows.extend(now.map(|row| self.row_came(row)));
                continue;
            }
            let cells = before.cells.into_iter();
            let cells = cells.filter_map(|(column, old)| self.cell_change(column, old, now));
            let cells: Vec<_> = cells.collect();
            if !cells.is_empty() {
                let kind =
                    if now.is_some() { RowChangeKind::Changed } else { RowChangeKind::Removed };
                rows.push(RowChange { row: id, kind, cells });
            }
        }
        rows
    }

    fn cell_change(
        &self,
        column: Column,
        old: Option<Cell>,
        now: Option<&Row>,
    ) -> Option<ResultCellChange> {
        let new = now.and_then(|row| row.cell(column));
        let same = match (&old, new) {
            (Some(old), Some(new)) => old.reads_like(new),
            (old, new) => old.is_none() && new.is_none(),
        };
        let cell = || self.name(column).clone();
        (!same).then(|| ResultCellChange { cell: cell(), old, new: new.cloned() })
    }

    fn resort(&mut self, id: &Text, place: Option<usize>, before: &Before) {
        let now = place.and_then(|place| self.rows[place].as_ref());
        let was = |column: Column| {
            let touched = before.cells.iter().find(|(there, _)| *there == column);
            match touched {
                Some((_, old)) => old.as_ref(),
                None => now.and_then(|row| row.cell(column)),
            }
        };
        for (by, rows) in &mut self.sorted {
            let old = before.order.map(|order| entry(id, order, *by, was));
            let new = now.map(|row| row.entry(*by, |column| row.cell(column)));
            if old.as_ref() != new.as_ref() {
                if let Some(old) = &old {
                    rows.remove(old);
                }
                if let Some(new) = new {
                    rows.insert(new);
                }
            }
        }
    }

    fn close_gaps(&mut self) {
        self.rows.retain(Option::is_some);
        for (place, row) in self.rows.iter().enumerate() {
            if let Some(there) = row.as_ref().and_then(|row| self.places.get_mut(&row.id)) {
                *there = place;
            }
        }
    }
}

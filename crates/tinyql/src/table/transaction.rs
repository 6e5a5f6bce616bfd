//! What a transaction has touched in a result, with what was there before.

use std::collections::HashMap;

use indexmap::IndexMap;
use indexmap::map::Entry;
use mergeable_store::{Cell, Text};

use super::Column;

/// What has been touched since the last [`ResultTable::finish`](super::ResultTable::finish), in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Transaction {
    touched: Touched,
}

/// What a transaction has touched.
#[derive(Clone, Debug, Default)]
pub(super) struct Touched {
    pub(super) rows: TouchedRows,
    /// Columns that came or went, and whether they were there.
    pub(super) columns: HashMap<Column, bool>,
}

/// The rows touched.
#[derive(Clone, Debug)]
pub(super) enum TouchedRows {
    /// All rows that are there, in their order: it began with none, and none has gone.
    AllNew,
    /// These.
    Listed(IndexMap<Text, Before>),
}

impl Default for TouchedRows {
    fn default() -> Self {
        Self::Listed(IndexMap::new())
    }
}

/// A row as it was.
#[derive(Clone, Debug)]
pub(super) struct Before {
    /// `None`: it was not there; then no cells are noted.
    pub(super) order: Option<u64>,
    pub(super) cells: Vec<(Column, Option<Cell>)>,
}

impl Before {
    const NOTHING: Self = Self { order: None, cells: Vec::new() };

    fn note(&mut self, column: Column, cell: Option<Cell>) {
        if self.order.is_some() && !self.cells.iter().any(|(there, _)| *there == column) {
            self.cells.push((column, cell));
        }
    }
}

impl Transaction {
    /// Ends it; the next one begins.
    pub(super) fn end(&mut self) -> Touched {
        std::mem::take(&mut self.touched)
    }

    /// The table has no rows. If that was so from the beginning, those that come need not be listed.
    pub(super) fn fill(&mut self) {
        if matches!(&self.touched.rows, TouchedRows::Listed(rows) if rows.is_empty()) {
            self.touched.rows = TouchedRows::AllNew;
        }
    }

    /// Lists rows from now on; these are there.
    pub(super) fn list<'a>(&mut self, there: impl Iterator<Item = &'a Text>) {
        if matches!(self.touched.rows, TouchedRows::AllNew) {
            let rows = there.map(|row| (row.clone(), Before::NOTHING));
            self.touched.rows = TouchedRows::Listed(rows.collect());
        }
    }

    /// Notes a cell of a row that is there as it was, at its first touch.
    pub(super) fn touch(&mut self, row: &Text, order: u64, column: Column, cell: Option<Cell>) {
        let TouchedRows::Listed(rows) = &mut self.touched.rows else { return };
        match rows.entry(row.clone()) {
            Entry::Occupied(before) => before.into_mut().note(column, cell),
            Entry::Vacant(new) => {
                new.insert(Before { order: Some(order), cells: vec![(column, cell)] });
            }
        }
    }

    /// Notes that a row came, with these cells; if it had been there before, these may be new to it.
    pub(super) fn came(&mut self, row: &Text, columns: impl Iterator<Item = Column>) {
        let TouchedRows::Listed(rows) = &mut self.touched.rows else { return };
        match rows.entry(row.clone()) {
            Entry::Occupied(before) => {
                let before = before.into_mut();
                columns.for_each(|column| before.note(column, None));
            }
            Entry::Vacant(new) => {
                new.insert(Before::NOTHING);
            }
        }
    }

    pub(super) fn count(&mut self, live: &mut [u32], column: Column, by: i32) {
        let live = &mut live[column as usize];
        let was = *live > 0;
        *live = live.saturating_add_signed(by);
        if was != (*live > 0) {
            self.touched.columns.entry(column).or_insert(was);
        }
    }
}

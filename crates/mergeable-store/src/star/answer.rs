//! Answers to a client's pull, each of bounded work and size.
//!
//! TinyBase answers a pull in one message, whatever its size; a frame holds 16 MiB, the asker waits a second, and the
//! server does nothing else meanwhile. So an answer here has about [`Limits::answer_bytes`](super::Limits::answer_bytes)
//! of rows, and what is left goes to the client's [`Backlog`], which is sent in ContentDiffs between other work. An answer
//! with everything in it is TinyBase's.

use super::backlog::Backlog;
use super::{Call, Star};
use crate::diff::{CellHashes, RowHashes, TableHashes};
use crate::message::{Body, Say};
use crate::{Cell, Changes, ConnectionId, Container, Hlc, MergeableStore, Text};

/// Rows read from the store at a time, between two looks at the size.
const STEP: usize = 16;

impl Star {
    /// Answers GetTableDiff, GetRowDiff or GetCellDiff; says whether the message was one of these.
    pub(super) fn answer(
        &mut self,
        call: &mut Call<'_>,
        from: &ConnectionId,
        request: Option<&Text>,
        body: &Body,
    ) -> bool {
        let (store, bytes) = (&self.store, self.limits.answer_bytes);
        let (remainder, left) = match body {
            Body::GetTableDiff(asked) => {
                let Lacking { mut rows, empty, differing } = tables(store, asked);
                let mut changes = rows.take_for_answer(store, bytes);
                for table in empty {
                    let hlc = store.container_hlc(&table);
                    changes.set_container(&table, hlc);
                }
                (Say::AnswerTables(&changes, &differing).remainder(request), rows)
            }
            Body::GetRowDiff(asked) => {
                let (mut lacking, differing) = rows(store, asked);
                let mut changes = lacking.take_for_answer(store, bytes);
                changes.tables.iter_mut().for_each(|(_, table)| table.hlc = Hlc::EMPTY);
                (Say::AnswerRows(&changes, &differing).remainder(request), lacking)
            }
            Body::GetCellDiff(asked) => {
                let (changes, left) = cells(store, asked, bytes);
                (Say::AnswerCells(&changes).remainder(request), left)
            }
            _ => return false,
        };
        // Whoever begins a new pull tells anew what it lacks.
        self.leave(call, from, left, matches!(body, Body::GetTableDiff(_)));
        self.send(call, from, remainder);
        true
    }
}

/// What an asker's tables lack.
#[derive(Default)]
struct Lacking {
    /// The rows of tables that it does not have.
    rows: Backlog,
    /// Tables that it does not have and that have no rows.
    empty: Vec<Container>,
    /// The own hashes of tables that differ.
    differing: TableHashes,
}

fn tables(store: &MergeableStore, asked: &TableHashes) -> Lacking {
    let mut lacking = Lacking::default();
    for (table, hash) in store.table_hashes() {
        match asked.get(&table) {
            None => {
                let rows = row_hashes(store, &table, hash);
                if rows.is_empty() {
                    lacking.empty.push(Container::Table(table));
                } else {
                    lacking.rows.extend(&table, rows.into_keys());
                }
            }
            Some(theirs) if *theirs != hash => drop(lacking.differing.insert(table, hash)),
            Some(_) => {}
        }
    }
    lacking
}

/// The rows that the asker lacks, and the own hashes of rows that differ.
fn rows(store: &MergeableStore, asked: &RowHashes) -> (Backlog, RowHashes) {
    let own = store.table_hashes();
    let mut lacking = Backlog::default();
    let mut differing = RowHashes::new();
    for (table, theirs) in asked {
        let Some(hash) = own.get(table) else { continue };
        let mut missing = Vec::new();
        for (row, hash) in row_hashes(store, table, *hash) {
            match theirs.get(&row) {
                None => missing.push(row),
                Some(theirs) if *theirs != hash => {
                    differing.entry(table.clone()).or_default().insert(row, hash);
                }
                Some(_) => {}
            }
        }
        lacking.extend(table, missing);
    }
    (lacking, differing)
}

/// All rows of a table with their hashes.
fn row_hashes(store: &MergeableStore, table: &Text, hash: u32) -> indexmap::IndexMap<Text, u32> {
    // Asked as a store would whose table differs.
    let other = TableHashes::from_iter([(table.clone(), !hash)]);
    store.row_hashes(&other).swap_remove(table).unwrap_or_default()
}

/// The cells that the asker lacks or that differ, row by row, and the rows that were left out.
fn cells(store: &MergeableStore, asked: &CellHashes, bytes: usize) -> (Changes, Backlog) {
    let mut changes = store.cell_diff(&CellHashes::new());
    let (mut weight, mut left) = (0, Backlog::default());
    for (table, rows) in asked {
        for (row, hashes) in rows {
            if weight >= bytes {
                left.extend(table, [row.clone()]);
                continue;
            }
            let rows = RowHashes::from_iter([(row.clone(), hashes.clone())]);
            let of_row = store.cell_diff(&CellHashes::from_iter([(table.clone(), rows)]));
            weight += weight_of(&of_row);
            changes.extend(of_row);
        }
    }
    (changes, left)
}

impl Backlog {
    /// Takes rows of about so many bytes of text, at least one.
    pub(super) fn take(&mut self, store: &MergeableStore, bytes: usize) -> Changes {
        self.take_until(store, bytes, true)
    }

    /// Takes rows of about so many bytes; but a single row that is longer is left, for ContentDiffs, which can be parted.
    fn take_for_answer(&mut self, store: &MergeableStore, bytes: usize) -> Changes {
        self.take_until(store, bytes, false)
    }

    fn take_until(&mut self, store: &MergeableStore, bytes: usize, long: bool) -> Changes {
        let mut changes = store.cell_diff(&CellHashes::new());
        let (mut weight, mut step) = (0, STEP);
        while weight < bytes.max(1) {
            let Some((table, rows)) = self.next(step) else { break };
            let part = rows_of(store, &table, &rows);
            let more = weight_of(&part);
            if more > bytes && step > 1 {
                // Some are long: one at a time.
                self.put_back(&table, rows);
                step = 1;
                continue;
            }
            if more > bytes && !long {
                self.put_back(&table, rows);
                break;
            }
            weight += more;
            changes.extend(part);
        }
        changes
    }
}

/// Everything of these rows.
fn rows_of(store: &MergeableStore, table: &Text, rows: &[Text]) -> Changes {
    let asked = rows.iter().map(|row| (row.clone(), TableHashes::new()));
    let mut changes = store.cell_diff(&CellHashes::from_iter([(table.clone(), asked.collect())]));
    let found = changes.tables.get(table.as_wtf8()).map_or(0, |table| table.rows.len());
    if found < rows.len() {
        // A row without cells says something too.
        for row in rows {
            let container = Container::Row(table.clone(), row.clone());
            let hlc = store.container_hlc(&container);
            changes.set_container(&container, hlc);
        }
    }
    changes
}

/// About how long the changes are as text, in bytes.
fn weight_of(changes: &Changes) -> usize {
    /// An HLC with what is around it.
    const STAMP: usize = 28;
    let text = |cell: &Cell| match cell {
        Cell::String(text) | Cell::Json(text) | Cell::RawJson(text) => text.as_wtf8().len(),
        Cell::Number(_) | Cell::Bool(_) | Cell::Null => 8,
    };
    let cells = changes.cells().map(|(_, _, cell, stamp)| {
        STAMP + cell.as_wtf8().len() + stamp.thing.as_ref().map_or(8, text)
    });
    let tables = changes.tables.values();
    let rows = tables.flat_map(|table| table.rows.iter().map(|(row, _)| row));
    cells.chain(rows.map(|row| STAMP + row.as_wtf8().len())).sum()
}

//! Local writes: stamped at once, in order, and taken back whole when the transaction fails.

use indexmap::IndexMap;

use crate::cell::CellError;
use crate::content::{ChildRule, Stamped};
use crate::store::Put;
use crate::{
    AsText, Cell, CellChange, Changes, MergeableStore, Merged, Millis, Text, ValueChange, Writer,
};

/// Why a write was refused. Nothing of that call was written; earlier writes of the transaction stand until it fails.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EditError {
    /// A cell that cannot be stored.
    #[error("cell {cell} of row {row} in table {table}: {source}")]
    Cell {
        /// Table id.
        table: Text,
        /// Row id.
        row: Text,
        /// Cell id.
        cell: Text,
        /// What is wrong with it.
        source: CellError,
    },
    /// A value that cannot be stored.
    #[error("value {value}: {source}")]
    Value {
        /// Value id.
        value: Text,
        /// What is wrong with it.
        source: CellError,
    },
    /// TinyBase has no rows or tables without content, nor empty sets of values.
    #[error("a row, a table and the values need content; delete them instead")]
    Empty,
    /// TinyBase's `tinybase:13`: the stamp there is not lower than the newest that the clock can give.
    #[error("the stamp there is from the future (tinybase:13); wait until the clock has passed it")]
    Overtaken,
}

/// A write of the transaction, as it can be undone.
enum Write {
    Cell(Put),
    Value { at: usize, old: Option<Stamped>, hash: u32 },
}

/// Writes to a store that stand or fall together. Reading sees the writes so far.
pub struct Transaction<'a> {
    store: &'a mut MergeableStore,
    now: Millis,
    log: Vec<Write>,
}

/// The cells touched, in order of first touch, grouped by table and row, with what was there before.
type Touched = IndexMap<usize, IndexMap<usize, IndexMap<usize, Option<Cell>>>>;

impl MergeableStore {
    /// Runs writes as one transaction. The changes hold every cell touched with its new stamp, even where it ended as it
    /// was. On an error all writes are undone; as in TinyBase, the clock keeps the readings that were used.
    ///
    /// # Errors
    /// The closure's own.
    pub fn transaction<T, E>(
        &mut self,
        now: Millis,
        edit: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<(T, Changes), E> {
        let (result, merged) = self.edit(now, edit)?;
        Ok((result, merged.to_changes()))
    }

    /// As [`MergeableStore::transaction`], with the changes told from what was there before.
    ///
    /// # Errors
    /// The closure's own.
    pub fn edit<T, E>(
        &mut self,
        now: Millis,
        edit: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<(T, Merged), E> {
        let mut transaction = Transaction { store: self, now, log: Vec::new() };
        match edit(&mut transaction) {
            Ok(result) => Ok((result, transaction.finish())),
            Err(error) => {
                transaction.roll_back();
                Err(error)
            }
        }
    }
}

impl Transaction<'_> {
    /// The store with the writes so far.
    #[must_use]
    pub fn store(&self) -> &MergeableStore {
        self.store
    }

    /// A live cell.
    #[must_use]
    pub fn get_cell(
        &self,
        table: impl AsText,
        row: impl AsText,
        cell: impl AsText,
    ) -> Option<&Cell> {
        self.store.get_cell(table, row, cell)
    }

    /// A live value.
    #[must_use]
    pub fn get_value(&self, value: impl AsText) -> Option<&Cell> {
        self.store.get_value(value)
    }

    /// Sets a cell. Setting what is there already changes nothing, not even the stamp.
    ///
    /// # Errors
    /// A cell that cannot be stored.
    pub fn set_cell(
        &mut self,
        table: impl AsText,
        row: impl AsText,
        cell: impl AsText,
        content: impl Into<Cell>,
    ) -> Result<(), EditError> {
        let content = content.into();
        check_cell(&table, &row, &cell, &content)?;
        self.write_cell(&table, &row, &cell, Some(content))
    }

    /// Writes a stamp with the content that is there already, or a tombstone where there is nothing: so that a write
    /// elsewhere with an older stamp is undone when this one arrives.
    ///
    /// # Errors
    /// A stamp from the future.
    pub fn restamp_cell(
        &mut self,
        table: impl AsText,
        row: impl AsText,
        cell: impl AsText,
    ) -> Result<(), EditError> {
        let thing = self.store.get_cell(&table, &row, &cell).cloned();
        self.stamp_cell(&table, &row, &cell, thing)
    }

    /// Deletes a cell; nothing happens where there is none.
    ///
    /// # Errors
    /// A stamp from the future.
    pub fn del_cell(
        &mut self,
        table: impl AsText,
        row: impl AsText,
        cell: impl AsText,
    ) -> Result<(), EditError> {
        self.write_cell(&table, &row, &cell, None)
    }

    /// Sets the cells of a row, in the order given (JavaScript passes array indices first), then deletes its other cells.
    ///
    /// # Errors
    /// A cell that cannot be stored, or no cells at all.
    pub fn set_row<I: AsText, C: Into<Cell>>(
        &mut self,
        table: impl AsText,
        row: impl AsText,
        cells: impl IntoIterator<Item = (I, C)>,
    ) -> Result<(), EditError> {
        let cells = checked_row(&table, &row, cells)?;
        self.write_row(&table, &row, cells)
    }

    /// Sets the cells given and leaves the others of the row.
    ///
    /// # Errors
    /// A cell that cannot be stored, or no cells at all.
    pub fn set_partial_row<I: AsText, C: Into<Cell>>(
        &mut self,
        table: impl AsText,
        row: impl AsText,
        cells: impl IntoIterator<Item = (I, C)>,
    ) -> Result<(), EditError> {
        let cells = checked_row(&table, &row, cells)?;
        cells
            .into_iter()
            .try_for_each(|(cell, content)| self.write_cell(&table, &row, &cell, Some(content)))
    }

    /// Deletes a row, cell by cell.
    ///
    /// # Errors
    /// A stamp from the future.
    pub fn del_row(&mut self, table: impl AsText, row: impl AsText) -> Result<(), EditError> {
        let cells = self.store.cell_ids(&table, &row);
        cells.iter().try_for_each(|cell| self.write_cell(&table, &row, cell, None))
    }

    /// Sets the rows of a table, in the order given, then deletes its other rows.
    ///
    /// # Errors
    /// A cell that cannot be stored, a row without cells, or no rows at all.
    pub fn set_table<R: AsText, I: AsText, C: Into<Cell>, Cells: IntoIterator<Item = (I, C)>>(
        &mut self,
        table: impl AsText,
        rows: impl IntoIterator<Item = (R, Cells)>,
    ) -> Result<(), EditError> {
        let mut checked = IndexMap::new();
        for (row, cells) in rows {
            checked.insert(row.to_text(), checked_row(&table, &row, cells)?);
        }
        if checked.is_empty() {
            return Err(EditError::Empty);
        }
        let others =
            self.store.row_ids(&table).into_iter().filter(|row| !checked.contains_key(row));
        let others: Vec<Text> = others.collect();
        for (row, cells) in checked {
            self.write_row(&table, &row, cells)?;
        }
        others.iter().try_for_each(|row| self.del_row(&table, row))
    }

    /// Deletes a table, row by row.
    ///
    /// # Errors
    /// A stamp from the future.
    pub fn del_table(&mut self, table: impl AsText) -> Result<(), EditError> {
        let rows = self.store.row_ids(&table);
        rows.iter().try_for_each(|row| self.del_row(&table, row))
    }

    /// Deletes all tables.
    ///
    /// # Errors
    /// A stamp from the future.
    pub fn del_tables(&mut self) -> Result<(), EditError> {
        let tables = self.store.table_ids();
        tables.iter().try_for_each(|table| self.del_table(table))
    }

    /// Sets a value.
    ///
    /// # Errors
    /// A value that cannot be stored.
    pub fn set_value(
        &mut self,
        value: impl AsText,
        content: impl Into<Cell>,
    ) -> Result<(), EditError> {
        let content = content.into();
        check_value(&value, &content)?;
        self.write_value(&value, Some(content))
    }

    /// Sets the values given and leaves the others.
    ///
    /// # Errors
    /// A value that cannot be stored, or no values at all.
    pub fn set_partial_values<I: AsText, C: Into<Cell>>(
        &mut self,
        values: impl IntoIterator<Item = (I, C)>,
    ) -> Result<(), EditError> {
        let values = checked_values(values)?;
        values.into_iter().try_for_each(|(value, content)| self.write_value(&value, Some(content)))
    }

    /// Sets the values, in the order given, then deletes the others.
    ///
    /// # Errors
    /// A value that cannot be stored, or no values at all.
    pub fn set_values<I: AsText, C: Into<Cell>>(
        &mut self,
        values: impl IntoIterator<Item = (I, C)>,
    ) -> Result<(), EditError> {
        let values = checked_values(values)?;
        let others: Vec<Text> = self
            .store
            .value_ids()
            .into_iter()
            .filter(|value| !values.contains_key(value))
            .collect();
        for (value, content) in values {
            self.write_value(&value, Some(content))?;
        }
        others.iter().try_for_each(|value| self.del_value(value))
    }

    /// Writes a value's stamp anew, as [`Transaction::restamp_cell`].
    ///
    /// # Errors
    /// A stamp from the future.
    pub fn restamp_value(&mut self, value: impl AsText) -> Result<(), EditError> {
        let thing = self.store.get_value(&value).cloned();
        self.stamp_value(&value, thing)
    }

    /// Deletes a value; nothing happens where there is none.
    ///
    /// # Errors
    /// A stamp from the future.
    pub fn del_value(&mut self, value: impl AsText) -> Result<(), EditError> {
        self.write_value(&value, None)
    }

    /// Deletes all values.
    ///
    /// # Errors
    /// A stamp from the future.
    pub fn del_values(&mut self) -> Result<(), EditError> {
        let values = self.store.value_ids();
        values.iter().try_for_each(|value| self.del_value(value))
    }

    fn write_row(
        &mut self,
        table: &impl AsText,
        row: &impl AsText,
        cells: IndexMap<Text, Cell>,
    ) -> Result<(), EditError> {
        let others =
            self.store.cell_ids(table, row).into_iter().filter(|cell| !cells.contains_key(cell));
        let others: Vec<Text> = others.collect();
        for (cell, content) in cells {
            self.write_cell(table, row, &cell, Some(content))?;
        }
        others.iter().try_for_each(|cell| self.write_cell(table, row, cell, None))
    }

    /// Writes a cell unless it reads like that already.
    fn write_cell(
        &mut self,
        table: &impl AsText,
        row: &impl AsText,
        cell: &impl AsText,
        thing: Option<Cell>,
    ) -> Result<(), EditError> {
        if same(self.store.get_cell(table, row, cell), thing.as_ref()) {
            return Ok(());
        }
        self.stamp_cell(table, row, cell, thing)
    }

    fn stamp_cell(
        &mut self,
        table: &impl AsText,
        row: &impl AsText,
        cell: &impl AsText,
        thing: Option<Cell>,
    ) -> Result<(), EditError> {
        let hlc = self.store.clock.next(self.now);
        if self
            .store
            .stamp(table, row, cell)
            .is_some_and(|(_, there)| !there.is_empty() && there >= hlc)
        {
            return Err(EditError::Overtaken);
        }
        let ids = &mut self.store.ids;
        let ids = [ids.intern(table), ids.intern(row), ids.intern(cell)];
        let put = self.store.put_cell(ids, Stamped::new(thing, hlc), ChildRule::TinyBase);
        self.log.push(Write::Cell(put));
        Ok(())
    }

    fn write_value(&mut self, value: &impl AsText, thing: Option<Cell>) -> Result<(), EditError> {
        if same(self.store.get_value(value), thing.as_ref()) {
            return Ok(());
        }
        self.stamp_value(value, thing)
    }

    fn stamp_value(&mut self, value: &impl AsText, thing: Option<Cell>) -> Result<(), EditError> {
        let hlc = self.store.clock.next(self.now);
        let id = self.store.ids.intern(value);
        let values = &mut self.store.content.values;
        if !values.wins(values.entries.position(id), hlc) {
            return Err(EditError::Overtaken);
        }
        let hash = values.hash;
        let (at, old) = values.put(&self.store.ids, id, Stamped::new(thing, hlc));
        self.log.push(Write::Value { at, old, hash });
        Ok(())
    }

    /// What was there before the first touch of each cell and value.
    fn touched(&self) -> (Touched, IndexMap<usize, Option<Cell>>) {
        let (mut cells, mut values) = (Touched::new(), IndexMap::new());
        let thing = |old: &Option<Stamped>| old.as_ref().and_then(|old| old.thing.clone());
        for write in &self.log {
            match write {
                Write::Cell(put) => {
                    let [table, row, cell] = put.at;
                    let row = cells.entry(table).or_default().entry(row).or_default();
                    row.entry(cell).or_insert_with(|| thing(&put.old));
                }
                Write::Value { at, old, .. } => {
                    values.entry(*at).or_insert_with(|| thing(old));
                }
            }
        }
        (cells, values)
    }

    fn finish(self) -> Merged {
        let (cells, values) = self.touched();
        let (ids, content) = (&self.store.ids, &self.store.content);
        let mut merged = Merged::default();
        for (table, rows) in cells {
            let table = content.tables.entries.get(table);
            for (row, cells) in rows {
                let row = table.value.entries.get(row);
                for (cell, old) in cells {
                    let cell = row.value.entries.get(cell);
                    merged.cells.push(CellChange {
                        table: ids.text(table.id).clone(),
                        row: ids.text(row.id).clone(),
                        cell: ids.text(cell.id).clone(),
                        old,
                        new: cell.value.thing.clone(),
                        hlc: cell.value.hlc,
                        by: Writer::Store,
                    });
                }
            }
        }
        for (value, old) in values {
            let value = content.values.entries.get(value);
            merged.values.push(ValueChange {
                value: ids.text(value.id).clone(),
                old,
                new: value.value.thing.clone(),
                hlc: value.value.hlc,
                by: Writer::Store,
            });
        }
        merged
    }

    /// Undoes all writes. TinyBase does it by writing the old content back, which uses a clock reading for each cell and
    /// value that differs, and moves what was deleted to the end of its order; both are repeated here.
    fn roll_back(mut self) {
        let (cells, values) = self.touched();
        let revived = self.plan_cells(&cells);
        let revived_values = self.plan_values(&values);
        for write in std::mem::take(&mut self.log).into_iter().rev() {
            match write {
                Write::Cell(put) => self.undo_cell(put),
                Write::Value { at, old, hash } => self.undo_value(at, old, hash),
            }
        }
        let tables = &mut self.store.content.tables;
        for place in revived {
            match place {
                Revived::Table(table) => tables.entries.revive(table),
                Revived::Row(table, row) => tables.entries.get_mut(table).entries.revive(row),
                Revived::Cell(table, row, cell) => {
                    tables.entries.get_mut(table).entries.get_mut(row).entries.revive(cell);
                }
            }
        }
        for value in revived_values {
            self.store.content.values.entries.revive(value);
        }
    }

    /// Uses the clock as writing the old cells back would, and lists what that would bring back to life, in order.
    fn plan_cells(&mut self, touched: &Touched) -> Vec<Revived> {
        let mut revived = Vec::new();
        for (table_at, rows) in touched {
            let table = &self.store.content.tables.entries.get(*table_at).value;
            let mut live_rows = table.live;
            for (row_at, cells) in rows {
                let row = &table.entries.get(*row_at).value;
                let mut live_cells = row.live;
                for (cell_at, old) in cells {
                    let there = row.entries.get(*cell_at).value.thing.as_ref();
                    if !same(there, old.as_ref()) {
                        self.store.clock.next(self.now);
                    }
                    match (there.is_some(), old.is_some()) {
                        (false, true) => {
                            if live_rows == 0 {
                                revived.push(Revived::Table(*table_at));
                            }
                            if live_cells == 0 {
                                revived.push(Revived::Row(*table_at, *row_at));
                                live_rows += 1;
                            }
                            live_cells += 1;
                            revived.push(Revived::Cell(*table_at, *row_at, *cell_at));
                        }
                        (true, false) => {
                            live_cells -= 1;
                            live_rows -= u32::from(live_cells == 0);
                        }
                        _ => {}
                    }
                }
            }
        }
        revived
    }

    fn plan_values(&mut self, touched: &IndexMap<usize, Option<Cell>>) -> Vec<usize> {
        let mut revived = Vec::new();
        for (at, old) in touched {
            let there = self.store.content.values.entries.get(*at).value.thing.as_ref();
            if !same(there, old.as_ref()) {
                self.store.clock.next(self.now);
            }
            if there.is_none() && old.is_some() {
                revived.push(*at);
            }
        }
        revived
    }

    fn undo_cell(&mut self, put: Put) {
        let [table_at, row_at, cell_at] = put.at;
        let tables = &mut self.store.content.tables;
        let table = tables.entries.get_mut(table_at);
        let table_lived = table.live > 0;
        let row = table.entries.get_mut(row_at);
        let row_lived = row.live > 0;
        let cell_lived = row.entries.get(cell_at).value.thing.is_some();
        let cell_lives = put.old.as_ref().is_some_and(|old| old.thing.is_some());
        match put.old {
            Some(old) => *row.entries.get_mut(cell_at) = old,
            None => row.entries.pop(),
        }
        [tables.hash, table.hash, row.hash] = put.hashes;
        recount(&mut row.live, cell_lived, cell_lives);
        let row_lives = row.live > 0;
        recount(&mut table.live, row_lived, row_lives);
        let table_lives = table.live > 0;
        recount(&mut tables.live, table_lived, table_lives);
        if put.made_row {
            table.entries.pop();
        }
        if put.made_table {
            tables.entries.pop();
        }
    }

    fn undo_value(&mut self, at: usize, old: Option<Stamped>, hash: u32) {
        let values = &mut self.store.content.values;
        let lived = values.entries.get(at).value.thing.is_some();
        recount(&mut values.live, lived, old.as_ref().is_some_and(|old| old.thing.is_some()));
        match old {
            Some(old) => *values.entries.get_mut(at) = old,
            None => values.entries.pop(),
        }
        values.hash = hash;
    }
}

/// What a rollback brings back to life: positions of table, row, cell.
enum Revived {
    Table(usize),
    Row(usize, usize),
    Cell(usize, usize, usize),
}

fn recount(live: &mut u32, lived: bool, lives: bool) {
    match (lived, lives) {
        (false, true) => *live += 1,
        (true, false) => *live -= 1,
        _ => {}
    }
}

fn same(one: Option<&Cell>, other: Option<&Cell>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.reads_like(other),
        (None, None) => true,
        _ => false,
    }
}

fn check_cell(
    table: &impl AsText,
    row: &impl AsText,
    cell: &impl AsText,
    content: &Cell,
) -> Result<(), EditError> {
    content.check().map_err(|source| EditError::Cell {
        table: table.to_text(),
        row: row.to_text(),
        cell: cell.to_text(),
        source,
    })
}

fn check_value(value: &impl AsText, content: &Cell) -> Result<(), EditError> {
    content.check().map_err(|source| EditError::Value { value: value.to_text(), source })
}

fn checked_row<I: AsText, C: Into<Cell>>(
    table: &impl AsText,
    row: &impl AsText,
    cells: impl IntoIterator<Item = (I, C)>,
) -> Result<IndexMap<Text, Cell>, EditError> {
    let mut checked = IndexMap::new();
    for (cell, content) in cells {
        let content = content.into();
        check_cell(table, row, &cell, &content)?;
        checked.insert(cell.to_text(), content);
    }
    if checked.is_empty() { Err(EditError::Empty) } else { Ok(checked) }
}

fn checked_values<I: AsText, C: Into<Cell>>(
    values: impl IntoIterator<Item = (I, C)>,
) -> Result<IndexMap<Text, Cell>, EditError> {
    let mut checked = IndexMap::new();
    for (value, content) in values {
        let content = content.into();
        check_value(&value, &content)?;
        checked.insert(value.to_text(), content);
    }
    if checked.is_empty() { Err(EditError::Empty) } else { Ok(checked) }
}

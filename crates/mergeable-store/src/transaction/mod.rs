//! Local writes: stamped at once, in order, and taken back whole when the transaction fails.

use std::collections::HashSet;

use indexmap::IndexMap;

mod log;
mod rollback;
mod schema;
mod write;

use self::log::Write;
use self::schema::Extent;
pub use self::schema::{InvalidCell, InvalidValue};
use self::write::{check_cell, check_value};
use crate::cell::CellError;
use crate::schema::Schema;
use crate::{AsText, Cell, CellRef, Changes, Container, MergeableStore, Merged, Millis, Text};

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

/// Writes to a store that stand or fall together. Reading sees the writes so far.
pub struct Transaction<'a> {
    store: &'a mut MergeableStore,
    now: Millis,
    log: Vec<Write>,
    /// The store's schema before the transaction changed it.
    schema_before: Option<Schema>,
    /// Defaults of missing cells that are about to be written.
    defaulted_cells: HashSet<[Text; 3]>,
    defaulted_values: HashSet<Text>,
    invalid_cells: Vec<InvalidCell>,
    invalid_values: Vec<InvalidValue>,
}

impl MergeableStore {
    /// Runs writes as one transaction. The changes hold every cell touched with its new stamp, even where it ended as it
    /// was, in containers with their own HLCs. On an error all writes are undone; as in TinyBase, the clock keeps the readings
    /// that were used.
    ///
    /// # Errors
    /// The closure's own.
    pub fn transaction<T, E>(
        &mut self,
        now: Millis,
        edit: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<(T, Changes), E> {
        let (result, merged) = self.edit(now, edit)?;
        Ok((result, self.with_container_hlcs(merged.to_changes())))
    }

    /// TinyBase sends the HLCs of all containers along, should an old client have set one.
    fn with_container_hlcs(&self, mut changes: Changes) -> Changes {
        if changes.is_empty() {
            return changes;
        }
        changes.tables_hlc = self.container_hlc(&Container::Tables);
        changes.values_hlc = self.container_hlc(&Container::Values);
        for (table, table_changes) in changes.tables.iter_mut() {
            table_changes.hlc = self.container_hlc(&Container::Table(table.clone()));
            for (row, row_changes) in table_changes.rows.iter_mut() {
                row_changes.hlc = self.container_hlc(&Container::Row(table.clone(), row.clone()));
            }
        }
        changes
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
        let mut transaction = Transaction {
            store: self,
            now,
            log: Vec::new(),
            schema_before: None,
            defaulted_cells: HashSet::new(),
            defaulted_values: HashSet::new(),
            invalid_cells: Vec::new(),
            invalid_values: Vec::new(),
        };
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
    ) -> Option<CellRef<'_>> {
        self.store.get_cell(table, row, cell)
    }

    /// A live value.
    #[must_use]
    pub fn get_value(&self, value: impl AsText) -> Option<CellRef<'_>> {
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
        match self.fit_cell(&table, &row, &cell, content) {
            Some(content) => self.set_cell_into_row(&table, &row, &cell, content),
            None => Ok(()),
        }
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
        let thing = self.store.get_cell(&table, &row, &cell).map(CellRef::to_cell);
        self.stamp_cell(&table, &row, &cell, thing)
    }

    /// Deletes a cell; nothing happens where there is none. A cell with a default becomes that.
    ///
    /// # Errors
    /// A stamp from the future.
    pub fn del_cell(
        &mut self,
        table: impl AsText,
        row: impl AsText,
        cell: impl AsText,
    ) -> Result<(), EditError> {
        let there = self.store.get_cell(&table, &row, &cell).is_some();
        let default = self.default_cell(&table, &cell).filter(|_| there);
        self.write_cell(&table, &row, &cell, default)
    }

    /// Deletes a cell even if it has a default; then the whole row goes, which cannot be without it. TinyBase's `forceDel`.
    ///
    /// # Errors
    /// A stamp from the future.
    pub fn force_del_cell(
        &mut self,
        table: impl AsText,
        row: impl AsText,
        cell: impl AsText,
    ) -> Result<(), EditError> {
        let there = self.store.get_cell(&table, &row, &cell).is_some();
        if there && self.default_cell(&table, &cell).is_some() {
            return self.del_row(&table, &row);
        }
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
        let cells = self.checked_row(&table, &row, cells)?;
        match self.fit_row(&table, &row, cells, Extent::Whole) {
            Some(cells) => self.write_row(&table, &row, cells),
            None => Ok(()),
        }
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
        let cells = self.checked_row(&table, &row, cells)?;
        let cells = self.fit_row(&table, &row, cells, Extent::Partial).unwrap_or_default();
        cells
            .into_iter()
            .try_for_each(|(cell, content)| self.set_cell_into_row(&table, &row, &cell, content))
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
            checked.insert(row.to_text(), self.checked_row(&table, &row, cells)?);
        }
        if self.store.schema.tables.is_some() {
            let fit = |(row, cells)| {
                self.fit_row(&table, &row, cells, Extent::Whole).map(|cells| (row, cells))
            };
            checked = checked.into_iter().filter_map(fit).collect();
            if checked.is_empty() {
                return Ok(());
            }
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
        match self.fit_value(&value, content) {
            Some(content) => self.write_value(&value, Some(content)),
            None => Ok(()),
        }
    }

    /// Sets the values given and leaves the others.
    ///
    /// # Errors
    /// A value that cannot be stored, or no values at all.
    pub fn set_partial_values<I: AsText, C: Into<Cell>>(
        &mut self,
        values: impl IntoIterator<Item = (I, C)>,
    ) -> Result<(), EditError> {
        let values = self.checked_values(values)?;
        let values = self.fit_values(values, Extent::Partial).unwrap_or_default();
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
        let values = self.checked_values(values)?;
        let Some(values) = self.fit_values(values, Extent::Whole) else {
            return Ok(());
        };
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
        let thing = self.store.get_value(&value).map(CellRef::to_cell);
        self.stamp_value(&value, thing)
    }

    /// Deletes a value; nothing happens where there is none. A value with a default becomes that.
    ///
    /// # Errors
    /// A stamp from the future.
    pub fn del_value(&mut self, value: impl AsText) -> Result<(), EditError> {
        let there = self.store.get_value(&value).is_some();
        let default = self.default_value(&value).filter(|_| there);
        self.write_value(&value, default)
    }

    /// Deletes all values; those with a default become that.
    ///
    /// # Errors
    /// A stamp from the future.
    pub fn del_values(&mut self) -> Result<(), EditError> {
        let values = self.store.value_ids();
        values.iter().try_for_each(|value| self.del_value(value))
    }
}

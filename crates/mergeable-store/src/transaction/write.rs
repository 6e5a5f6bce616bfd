//! Single writes: checked, stamped, logged.

use indexmap::IndexMap;

use super::log::Write;
use super::{EditError, Transaction};
use crate::content::ChildRule;
use crate::row::{Rule, StampRef};
use crate::{AsText, Cell, CellRef, Text};

impl Transaction<'_> {
    pub(super) fn write_row(
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
    pub(super) fn write_cell(
        &mut self,
        table: &impl AsText,
        row: &impl AsText,
        cell: &impl AsText,
        thing: Option<Cell>,
    ) -> Result<(), EditError> {
        if same(self.store.get_cell(table, row, cell), thing.as_ref()) {
            return Ok(());
        }
        match &thing {
            Some(content) if self.takes_default(table, row, cell) => {
                self.put_default(table, row, cell, content);
                Ok(())
            }
            _ => self.stamp_cell(table, row, cell, thing),
        }
    }

    pub(super) fn stamp_cell(
        &mut self,
        table: &impl AsText,
        row: &impl AsText,
        cell: &impl AsText,
        thing: Option<Cell>,
    ) -> Result<(), EditError> {
        let hlc = self.store.clock.next(self.now);
        if self.store.stamp_ref(table, row, cell).is_some_and(|there| !there.loses_to(hlc)) {
            return Err(EditError::Overtaken);
        }
        let stamp = StampRef::new(thing.as_ref().map(Cell::view), hlc);
        let at = [table.wtf8(), row.wtf8(), cell.wtf8()];
        let put = self.store.put_cell(at, stamp, Rule::Replace, ChildRule::TinyBase);
        self.log.push(Write::Cell(put));
        Ok(())
    }

    pub(super) fn write_value(
        &mut self,
        value: &impl AsText,
        thing: Option<Cell>,
    ) -> Result<(), EditError> {
        if same(self.store.get_value(value), thing.as_ref()) {
            return Ok(());
        }
        match &thing {
            Some(content) if self.takes_default_value(value) => {
                self.put_default_value(value, content);
                Ok(())
            }
            _ => self.stamp_value(value, thing),
        }
    }

    pub(super) fn stamp_value(
        &mut self,
        value: &impl AsText,
        thing: Option<Cell>,
    ) -> Result<(), EditError> {
        let hlc = self.store.clock.next(self.now);
        let (id, _) = self.store.ids.intern(value.wtf8());
        let values = &mut self.store.content.values;
        if values.get(id).is_some_and(|there| !there.loses_to(hlc)) {
            return Err(EditError::Overtaken);
        }
        let hash = values.hash();
        let stamp = StampRef::new(thing.as_ref().map(Cell::view), hlc);
        let old = values.put(&self.store.ids, (id, stamp), Rule::Replace, &mut self.store.scratch);
        self.log.push(Write::Value { id, old, hash });
        Ok(())
    }

    /// The cells given, none of which is of a kind that cannot be stored. Without a schema, which may have defaults, there
    /// has to be one.
    pub(super) fn checked_row<I: AsText, C: Into<Cell>>(
        &self,
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
        let empty = checked.is_empty() && self.store.schema.tables.is_none();
        if empty { Err(EditError::Empty) } else { Ok(checked) }
    }

    /// The values given, as [`Transaction::checked_row`].
    pub(super) fn checked_values<I: AsText, C: Into<Cell>>(
        &self,
        values: impl IntoIterator<Item = (I, C)>,
    ) -> Result<IndexMap<Text, Cell>, EditError> {
        let mut checked = IndexMap::new();
        for (value, content) in values {
            let content = content.into();
            check_value(&value, &content)?;
            checked.insert(value.to_text(), content);
        }
        let empty = checked.is_empty() && self.store.schema.values.is_none();
        if empty { Err(EditError::Empty) } else { Ok(checked) }
    }
}

pub(super) fn same(one: Option<CellRef<'_>>, other: Option<&Cell>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.reads_like(other.view()),
        (None, None) => true,
        _ => false,
    }
}

pub(super) fn check_cell(
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

pub(super) fn check_value(value: &impl AsText, content: &Cell) -> Result<(), EditError> {
    content.check().map_err(|source| EditError::Value { value: value.to_text(), source })
}

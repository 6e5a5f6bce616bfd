//! Writes under a schema: what does not fit is not set, or set to the default, and what is missing gets its default.

use indexmap::IndexMap;

use super::log::Write;
use super::{EditError, Transaction};
use crate::content::ChildRule;
use crate::json::sort_js;
use crate::row::{Rule, StampRef};
use crate::schema::{self, Schemas};
use crate::{AsText, Cell, Hlc, TablesSchema, Text, ValuesSchema};

/// A cell that the schema did not let a write set. A default may have been set in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct InvalidCell {
    /// Table id.
    pub table: Text,
    /// Row id.
    pub row: Text,
    /// Cell id.
    pub cell: Text,
    /// What was to be set.
    pub content: Cell,
}

/// A value that the schema did not let a write set, as [`InvalidCell`].
#[derive(Clone, Debug, PartialEq)]
pub struct InvalidValue {
    /// Value id.
    pub value: Text,
    /// What was to be set.
    pub content: Cell,
}

/// Whether a set of cells or values is all that there will be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Others are deleted: what is missing gets its default, and nothing required may be missing.
    Whole,
    /// Others stay.
    Partial,
}

impl Transaction<'_> {
    /// Sets what the tables may hold, and brings what they hold in line: everything is deleted, and what fits is set anew.
    ///
    /// # Errors
    /// A stamp from the future.
    pub fn set_tables_schema(&mut self, schema: TablesSchema) -> Result<(), EditError> {
        self.keep_schema();
        self.store.schema.tables = Some(schema);
        let mut tables = Vec::new();
        for table in self.store.table_ids() {
            let rows = self.store.row_ids(&table).into_iter().map(|row| {
                let cells: Vec<(Text, Cell)> = self.store.row(&table, &row).collect();
                (row, cells)
            });
            let rows: Vec<_> = rows.collect();
            tables.push((table, rows));
        }
        self.del_tables()?;
        tables.into_iter().try_for_each(|(table, rows)| self.set_table(table, rows))
    }

    /// Lets the tables hold anything again.
    pub fn del_tables_schema(&mut self) {
        self.keep_schema();
        self.store.schema.tables = None;
    }

    /// Sets what the values may be, and brings them in line, as [`Transaction::set_tables_schema`] does.
    ///
    /// # Errors
    /// A stamp from the future.
    pub fn set_values_schema(&mut self, schema: ValuesSchema) -> Result<(), EditError> {
        self.keep_schema();
        self.store.schema.values = None;
        let values = self.store.values().map(|(id, value)| (id.to_text(), value.to_cell()));
        let values: Vec<(Text, Cell)> = values.collect();
        self.del_values()?;
        self.store.schema.values = Some(schema);
        self.set_values(values)
    }

    /// Lets the values be anything again.
    pub fn del_values_schema(&mut self) {
        self.keep_schema();
        self.store.schema.values = None;
    }

    fn keep_schema(&mut self) {
        self.schema_before.get_or_insert_with(|| self.store.schema.clone());
    }

    /// The cell to set: the one given, its default, or none.
    pub(super) fn fit_cell(
        &mut self,
        table: &impl AsText,
        row: &impl AsText,
        cell: &impl AsText,
        content: Cell,
    ) -> Option<Cell> {
        let Some(tables) = &self.store.schema.tables else {
            return Some(content);
        };
        let fit = schema::fit(tables.cells(table.wtf8()), cell.wtf8(), content);
        if let Some(content) = fit.refused {
            let (table, row, cell) = (table.to_text(), row.to_text(), cell.to_text());
            self.invalid_cells.push(InvalidCell { table, row, cell, content });
        }
        fit.valid
    }

    pub(super) fn fit_value(&mut self, value: &impl AsText, content: Cell) -> Option<Cell> {
        let Some(values) = &self.store.schema.values else {
            return Some(content);
        };
        let fit = schema::fit(Some(values.values()), value.wtf8(), content);
        if let Some(content) = fit.refused {
            self.invalid_values.push(InvalidValue { value: value.to_text(), content });
        }
        fit.valid
    }

    /// The cells to set in a row; none if nothing is to be set.
    pub(super) fn fit_row(
        &mut self,
        table: &impl AsText,
        row: &impl AsText,
        mut cells: IndexMap<Text, Cell>,
        extent: Extent,
    ) -> Option<IndexMap<Text, Cell>> {
        let Some(tables) = self.store.schema.tables.clone() else {
            return Some(cells);
        };
        let schemas = tables.cells(table.wtf8());
        if extent == Extent::Whole {
            self.add_default_cells(table, row, &mut cells);
        }
        let mut fitting = IndexMap::new();
        for (cell, content) in cells {
            if let Some(valid) = self.fit_cell(table, row, &cell, content) {
                fitting.insert(cell, valid);
            }
        }
        fits(fitting, schemas, extent)
    }

    /// The values to set, as [`Transaction::fit_row`].
    pub(super) fn fit_values(
        &mut self,
        mut values: IndexMap<Text, Cell>,
        extent: Extent,
    ) -> Option<IndexMap<Text, Cell>> {
        let Some(schema) = self.store.schema.values.clone() else {
            return Some(values);
        };
        if extent == Extent::Whole {
            for id in add_defaults(schema.values(), &mut values) {
                self.defaulted_values.insert(id);
            }
        }
        let mut fitting = IndexMap::new();
        for (value, content) in values {
            if let Some(valid) = self.fit_value(&value, content) {
                fitting.insert(value, valid);
            }
        }
        fits(fitting, Some(schema.values()), extent)
    }

    /// Sets one cell of a row, and the defaults if the row is new.
    pub(super) fn set_cell_into_row(
        &mut self,
        table: &impl AsText,
        row: &impl AsText,
        cell: &impl AsText,
        content: Cell,
    ) -> Result<(), EditError> {
        if self.store.schema.tables.is_none() || self.store.has_row(table, row) {
            return self.write_cell(table, row, cell, Some(content));
        }
        let mut cells = IndexMap::from([(cell.to_text(), content)]);
        self.add_default_cells(table, row, &mut cells);
        cells
            .into_iter()
            .try_for_each(|(cell, content)| self.write_cell(table, row, &cell, Some(content)))
    }

    fn add_default_cells(
        &mut self,
        table: &impl AsText,
        row: &impl AsText,
        cells: &mut IndexMap<Text, Cell>,
    ) {
        let schemas = self.store.schema.tables.as_ref().and_then(|all| all.cells(table.wtf8()));
        let added = schemas.map(|schemas| add_defaults(schemas, cells));
        for cell in added.into_iter().flatten() {
            self.defaulted_cells.insert([table.to_text(), row.to_text(), cell]);
        }
    }

    /// The default that takes the place of a cell that is deleted.
    pub(super) fn default_cell(&self, table: &impl AsText, cell: &impl AsText) -> Option<Cell> {
        let schemas = self.store.schema.tables.as_ref()?.cells(table.wtf8())?;
        schemas.get(cell.wtf8())?.default.clone()
    }

    /// The default that takes the place of a value that is deleted.
    pub(super) fn default_value(&self, value: &impl AsText) -> Option<Cell> {
        self.store.schema.values.as_ref()?.values().get(value.wtf8())?.default.clone()
    }

    /// Whether a cell about to be written was not given but is a default, which is written without HLC so that it wins over
    /// nothing.
    pub(super) fn takes_default(
        &mut self,
        table: &impl AsText,
        row: &impl AsText,
        cell: &impl AsText,
    ) -> bool {
        !self.defaulted_cells.is_empty()
            && self.defaulted_cells.remove(&[table.to_text(), row.to_text(), cell.to_text()])
            && self.store.get_cell(table, row, cell).is_none()
    }

    /// As [`Transaction::takes_default`].
    pub(super) fn takes_default_value(&mut self, value: &impl AsText) -> bool {
        self.defaulted_values.remove(value.wtf8()) && self.store.get_value(value).is_none()
    }

    /// Writes a default. Where an HLC is there already, the default loses and the cell counts as touched only.
    pub(super) fn put_default(
        &mut self,
        table: &impl AsText,
        row: &impl AsText,
        cell: &impl AsText,
        content: &Cell,
    ) {
        let there = self.store.stamp_ref(table, row, cell).map(StampRef::to_stamped);
        let default = StampRef::new(Some(content.view()), Hlc::EMPTY);
        let stamp = match &there {
            Some(there) if !there.view().loses_to(Hlc::EMPTY) => there.view(),
            _ => default,
        };
        let at = [table.wtf8(), row.wtf8(), cell.wtf8()];
        let put = self.store.put_cell(at, stamp, Rule::Replace, ChildRule::TinyBase);
        self.log.push(Write::Cell(put));
    }

    /// Writes a default, as [`Transaction::put_default`].
    pub(super) fn put_default_value(&mut self, value: &impl AsText, content: &Cell) {
        let (id, _) = self.store.ids.intern(value.wtf8());
        let values = &mut self.store.content.values;
        let there = values.get(id).map(StampRef::to_stamped);
        let default = StampRef::new(Some(content.view()), Hlc::EMPTY);
        let stamp = match &there {
            Some(there) if !there.view().loses_to(Hlc::EMPTY) => there.view(),
            _ => default,
        };
        let hash = values.hash();
        let old = values.put(&self.store.ids, (id, stamp), Rule::Replace, &mut self.store.scratch);
        self.log.push(Write::Value { id, old, hash });
    }
}

/// Adds the defaults of what is missing; their ids.
fn add_defaults(schemas: &Schemas, cells: &mut IndexMap<Text, Cell>) -> Vec<Text> {
    let mut added = Vec::new();
    for (id, schema) in schemas {
        if let Some(default) = &schema.default
            && !cells.contains_key(id)
        {
            cells.insert(id.clone(), default.clone());
            added.push(id.clone());
        }
    }
    sort_js(cells);
    added
}

/// What fits, if it is anything and nothing required is missing.
fn fits(
    fitting: IndexMap<Text, Cell>,
    schemas: Option<&Schemas>,
    extent: Extent,
) -> Option<IndexMap<Text, Cell>> {
    let lacks = |(id, schema): (&Text, &schema::CellSchema)| {
        schema.required && schema.default.is_none() && !fitting.contains_key(id)
    };
    let incomplete =
        extent == Extent::Whole && schemas.is_some_and(|schemas| schemas.iter().any(lacks));
    (!fitting.is_empty() && !incomplete).then_some(fitting)
}

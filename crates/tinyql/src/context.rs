//! What the functions of a query are given.

use mergeable_store::{AsText, Cell, CellRef, Text};

use crate::definition::{CellOf, Of, Params};
use crate::links::Links;
use crate::plan::Plan;
use crate::reader::{Place, Reader};

/// A row of the source, with the rows joined to it.
#[derive(Clone, Copy)]
pub struct RowContext<'a> {
    pub(crate) reader: Reader<'a>,
    pub(crate) plan: &'a Plan,
    pub(crate) links: &'a [Links],
    pub(crate) row: &'a Text,
}

impl<'a> RowContext<'a> {
    /// The row's id in the source.
    #[must_use]
    pub fn row_id(&self) -> &'a Text {
        self.row
    }

    /// A cell of the row.
    #[must_use]
    pub fn cell(&self, cell: impl AsText) -> Option<CellRef<'a>> {
        self.reader.cell(&self.plan.root, self.row, &cell.to_text())
    }

    /// A cell of the row joined under this name; of the row itself by the source's own id.
    #[must_use]
    pub fn joined(&self, join: impl AsText, cell: impl AsText) -> Option<CellRef<'a>> {
        self.of_join(join.wtf8(), false, &cell.to_text())
    }

    /// A cell of the row joined under this name, though it be the source's own id.
    #[must_use]
    pub fn joined_query(&self, join: impl AsText, cell: impl AsText) -> Option<CellRef<'a>> {
        self.of_join(join.wtf8(), true, &cell.to_text())
    }

    /// A parameter.
    #[must_use]
    pub fn param(&self, name: impl AsText) -> Option<&'a Cell> {
        self.plan.params.get(name.wtf8())
    }

    pub(crate) fn read(&self, cell: &CellOf) -> Option<CellRef<'a>> {
        match &cell.of {
            Of::Source => self.reader.cell(&self.plan.root, self.row, &cell.cell),
            Of::Join(join) => self.of_join(join.as_wtf8(), false, &cell.cell),
            Of::QueryJoin(join) => self.of_join(join.as_wtf8(), true, &cell.cell),
        }
    }

    fn of_join(&self, join: &[u8], query: bool, cell: &Text) -> Option<CellRef<'a>> {
        if !query && self.plan.source_id.as_wtf8() == join {
            return self.reader.cell(&self.plan.root, self.row, cell);
        }
        let at = self.plan.join_named(join)?;
        self.reader.cell(&self.plan.joins[at].place, self.joined_row(at)?, cell)
    }

    pub(crate) fn joined_row(&self, join: usize) -> Option<&'a Text> {
        self.links[join].remote(self.row)
    }
}

/// The row that another is joined to.
#[derive(Clone, Copy)]
pub struct FromContext<'a> {
    pub(crate) reader: Reader<'a>,
    pub(crate) of: &'a Place,
    pub(crate) row: &'a Text,
    pub(crate) root_row: &'a Text,
    pub(crate) params: &'a Params,
}

impl<'a> FromContext<'a> {
    /// A cell of the row.
    #[must_use]
    pub fn cell(&self, cell: impl AsText) -> Option<CellRef<'a>> {
        self.reader.cell(self.of, self.row, &cell.to_text())
    }

    /// The id of the row of the query's source.
    #[must_use]
    pub fn root_row_id(&self) -> &'a Text {
        self.root_row
    }

    /// A parameter.
    #[must_use]
    pub fn param(&self, name: impl AsText) -> Option<&'a Cell> {
        self.params.get(name.wtf8())
    }
}

/// A group: the cells that it is grouped by, and the aggregates.
#[derive(Clone, Copy)]
pub struct GroupContext<'a> {
    pub(crate) names: &'a [Text],
    pub(crate) cells: &'a [Option<Cell>],
    pub(crate) params: &'a Params,
}

impl<'a> GroupContext<'a> {
    /// A cell of the group, by its name in the result.
    #[must_use]
    pub fn cell(&self, name: impl AsText) -> Option<CellRef<'a>> {
        let at = self.names.iter().position(|known| known.as_wtf8() == name.wtf8())?;
        self.cells[at].as_ref().map(Cell::view)
    }

    /// A parameter.
    #[must_use]
    pub fn param(&self, name: impl AsText) -> Option<&'a Cell> {
        self.params.get(name.wtf8())
    }
}

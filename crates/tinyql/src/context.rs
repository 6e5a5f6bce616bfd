//! What the functions of a query are given.

use mergeable_store::{AsText, Cell, CellRef, Text};

use crate::definition::Params;
use crate::links::Links;
use crate::plan::{Origin, Plan, ReadCell};
use crate::reader::{Reader, SourceRow};

/// A row of the source, with the rows joined to it.
#[derive(Clone, Copy)]
pub struct RowContext<'a> {
    pub(crate) reader: Reader<'a>,
    pub(crate) plan: &'a Plan,
    pub(crate) links: &'a [Links],
    pub(crate) row: &'a Text,
    /// The row itself, if it is still there.
    pub(crate) root: Option<SourceRow<'a>>,
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
        self.root?.get_cell(cell)
    }

    /// A cell of the row joined under this name; of the row itself by the source's own id.
    #[must_use]
    pub fn joined(&self, join: impl AsText, cell: impl AsText) -> Option<CellRef<'a>> {
        if self.plan.source_id.as_wtf8() == join.wtf8() {
            return self.cell(cell);
        }
        self.joined_query(join, cell)
    }

    /// A cell of the row joined under this name, though it be the source's own id.
    #[must_use]
    pub fn joined_query(&self, join: impl AsText, cell: impl AsText) -> Option<CellRef<'a>> {
        let join = self.plan.join_named(join.wtf8())?;
        self.source_row(Origin::Join(join))?.get_cell(cell)
    }

    /// A parameter.
    #[must_use]
    pub fn param(&self, name: impl AsText) -> Option<&'a Cell> {
        self.plan.params.get(name.wtf8())
    }

    pub(crate) fn read(&self, cell: &ReadCell) -> Option<CellRef<'a>> {
        self.source_row(cell.of?)?.cell(&cell.cell)
    }

    pub(crate) fn source_row(&self, of: Origin) -> Option<SourceRow<'a>> {
        match of {
            Origin::Root => self.root,
            Origin::Join(join) => {
                let remote = self.links[join].remote(self.row)?;
                self.reader.row(&self.plan.joins[join].place, remote)
            }
        }
    }
}

/// The row that another is joined to.
#[derive(Clone, Copy)]
pub struct FromContext<'a> {
    /// If it is there.
    pub(crate) row: Option<SourceRow<'a>>,
    pub(crate) root_row: &'a Text,
    pub(crate) params: &'a Params,
}

impl<'a> FromContext<'a> {
    /// A cell of the row.
    #[must_use]
    pub fn cell(&self, cell: impl AsText) -> Option<CellRef<'a>> {
        self.row?.get_cell(cell)
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

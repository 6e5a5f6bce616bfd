//! The first stage of a query: rows of the source, joined, filtered, and reduced to what is selected.

use std::collections::HashMap;

use indexmap::IndexMap;
use mergeable_store::{Cell, CellRef, Text};

use crate::context::{FromContext, RowContext};
use crate::js::{is_storable, to_text};
use crate::links::Links;
use crate::plan::{Filter, JoinPlan, LinkedBy, One, Plan, Selection};
use crate::reader::{Reader, SourceRow};
use crate::table::{Column, ResultTable};

/// What the stage keeps: links, and the columns that it writes.
#[derive(Default)]
pub(crate) struct SelectStage {
    links: Vec<Links>,
    next_link: u64,
    writes: Writes,
    /// The query's result is empty whatever happens.
    pub(crate) deaf: bool,
}

enum Writes {
    /// Each select by itself, in order; the number of the selection.
    Cells(Vec<(Column, usize)>),
    /// Whole rows, for some select takes all cells; the columns of their ids, by selection.
    Rows(Vec<HashMap<Text, Column>>),
}

impl Default for Writes {
    fn default() -> Self {
        Self::Cells(Vec::new())
    }
}

impl SelectStage {
    /// A stage that writes to `table`.
    pub(crate) fn new(plan: &Plan, table: &mut ResultTable) -> Self {
        let writes = if plan.selects_all() {
            Writes::Rows(plan.selection.iter().map(|_| HashMap::new()).collect())
        } else {
            let mut cells = IndexMap::new();
            for (at, one) in plan.selection.iter().enumerate() {
                if let Selection::One { name, .. } = one {
                    cells.insert(table.column(name), at);
                }
            }
            Writes::Cells(cells.into_iter().collect())
        };
        let links = plan.joins.iter().map(|_| Links::default()).collect();
        Self { links, next_link: 0, writes, deaf: false }
    }

    /// A row of the source came, changed or went.
    pub(crate) fn root_changed(
        &mut self,
        plan: &Plan,
        reader: Reader<'_>,
        root: &Text,
        table: &mut ResultTable,
    ) {
        if self.deaf {
            return;
        }
        if let Some(row) = reader.row(&plan.root, root) {
            let root = Root { id: root, row: Some(row), is_new: false };
            self.follow(plan, reader, root, root.row, &plan.from_root, table);
        } else {
            table.del_row(root);
            for links in &mut self.links {
                links.stop_listening(root);
                links.set(root, None);
            }
        }
    }

    /// Takes all rows of the source, into a table without rows.
    pub(crate) fn fill(&mut self, plan: &Plan, reader: Reader<'_>, table: &mut ResultTable) {
        // Where joins hang on joins, a row is written more than once.
        let is_new = plan.joins.iter().all(|join| join.next.is_empty());
        for (id, row) in reader.rows(&plan.root) {
            let root = Root { id: &id, row: Some(row), is_new };
            self.follow(plan, reader, root, root.row, &plan.from_root, table);
        }
    }

    /// A row that is read through these joins came, changed or went.
    pub(crate) fn remote_changed(
        &mut self,
        plan: &Plan,
        reader: Reader<'_>,
        (joins, remote): (&[usize], &Text),
        table: &mut ResultTable,
    ) {
        let mut since = 0;
        loop {
            let next = joins.iter().filter_map(|join| {
                let (at, root) = self.links[*join].next(remote, since)?;
                Some((at, root, *join))
            });
            let Some((at, root, join)) = next.min_by_key(|(at, ..)| *at) else { break };
            let row = reader.row(&plan.root, &root);
            let root = Root { id: &root, row, is_new: false };
            self.follow_next(plan, reader, root, (join, remote), table);
            since = at + 1;
        }
    }

    /// Follows the joins that hang on a joined row.
    fn follow_next(
        &mut self,
        plan: &Plan,
        reader: Reader<'_>,
        root: Root<'_>,
        (join, remote): (usize, &Text),
        table: &mut ResultTable,
    ) {
        let JoinPlan { place, next, .. } = &plan.joins[join];
        let from = if next.is_empty() { None } else { reader.row(place, remote) };
        self.follow(plan, reader, root, from, next, table);
    }

    /// Follows the joins that hang on a row, and writes what comes of it. As TinyBase, the row is also written each time
    /// that a link has changed, while it still reads through the old one: a row that leaves by that and comes back
    /// moves to the end.
    fn follow(
        &mut self,
        plan: &Plan,
        reader: Reader<'_>,
        root: Root<'_>,
        from: Option<SourceRow<'_>>,
        joins: &[usize],
        table: &mut ResultTable,
    ) {
        for &at in joins {
            let join = &plan.joins[at];
            let on = match &join.on {
                LinkedBy::Cell(cell) => from.and_then(|from| from.cell(cell)).map(CellRef::to_cell),
                LinkedBy::Function(function) => {
                    function(&FromContext { row: from, root_row: root.id, params: &plan.params })
                }
            };
            let before = if root.is_new { None } else { self.links[at].remote(root.id) };
            // A null is loosely equal to no link at all.
            let now = on.filter(|on| before.is_some() || *on != Cell::Null).map(|on| to_text(&on));
            if now.as_ref() == before {
                continue;
            }
            if before.is_some() {
                self.links[at].stop_listening(root.id);
            }
            let link = now.map(|remote| (remote, self.next_link));
            if let Some((remote, number)) = &link {
                self.next_link += 1;
                self.links[at].listen(root.id, remote, *number);
                if !join.next.is_empty() || (!root.is_new && table.has_row(root.id)) {
                    self.follow_next(plan, reader, root, (at, remote), table);
                }
            }
            self.links[at].set(root.id, link);
        }
        self.write(plan, reader, root, table);
    }

    fn write(&mut self, plan: &Plan, reader: Reader<'_>, root: Root<'_>, table: &mut ResultTable) {
        let Root { id, row, is_new } = root;
        let context = RowContext { reader, plan, links: &self.links, row: id, root: row };
        if !plan.wheres.iter().all(|filter| holds(filter, &context)) {
            if !is_new {
                table.del_row(id);
            }
            return;
        }
        match &mut self.writes {
            Writes::Cells(cells) => {
                let cells = cells.iter().filter_map(|(column, at)| {
                    match select_one(&plan.selection[*at], &context) {
                        // TinyBase ignores what is no cell, and leaves what is there.
                        Some(cell) if !is_storable(&cell) => None,
                        cell => Some((*column, cell)),
                    }
                });
                if is_new {
                    table.add_cells(id, cells);
                } else {
                    table.write_cells(id, cells);
                }
            }
            Writes::Rows(columns) => {
                let cells = select_row(plan, &context, columns, table);
                if cells.is_empty() {
                    table.del_row(id);
                } else {
                    let storable = cells.into_iter().filter(|(_, cell)| is_storable(cell));
                    table.set_row(id, storable.collect());
                }
            }
        }
    }
}

/// A row of the query's source.
#[derive(Clone, Copy)]
struct Root<'a> {
    id: &'a Text,
    /// If it is there.
    row: Option<SourceRow<'a>>,
    /// Whether it is known to be in no link and not in the result.
    is_new: bool,
}

fn holds(filter: &Filter, row: &RowContext<'_>) -> bool {
    match filter {
        Filter::Cell(cell, operand) => operand.is(row.read(cell), &row.plan.params),
        Filter::Function(function) => function(row),
    }
}

fn select_one(selection: &Selection, row: &RowContext<'_>) -> Option<Cell> {
    match selection {
        Selection::One { what: One::Cell(cell), .. } => row.read(cell).map(CellRef::to_cell),
        Selection::One { what: One::Function(function), .. } => function(row),
        Selection::All { .. } => None,
    }
}

fn select_row(
    plan: &Plan,
    row: &RowContext<'_>,
    columns: &mut [HashMap<Text, Column>],
    table: &mut ResultTable,
) -> IndexMap<Column, Cell> {
    let mut cells = IndexMap::new();
    for (selection, columns) in plan.selection.iter().zip(columns) {
        match selection {
            Selection::One { name, .. } => {
                let column = table.column(name);
                match select_one(selection, row) {
                    Some(cell) => cells.insert(column, cell),
                    None => cells.shift_remove(&column),
                };
            }
            Selection::All { of, rename } => {
                let Some(source_row) = row.source_row(*of) else { continue };
                for (id, cell) in source_row.cells() {
                    let column = *columns.entry(id).or_insert_with_key(|id| match rename {
                        Some(rename) => table.column(&rename(id)),
                        None => table.column(id),
                    });
                    cells.insert(column, cell.to_cell());
                }
            }
        }
    }
    cells
}

//! The second stage of a query with groups: rows that are equal in what is not aggregated become one.

use std::collections::HashMap;

use indexmap::IndexMap;
use mergeable_store::{Cell, Text};

use crate::aggregate::{Aggregate, Change, Members};
use crate::changes::{RowChange, RowChangeKind};
use crate::context::GroupContext;
use crate::definition::HavingCondition;
use crate::plan::Plan;
use crate::table::{Column, Net, ResultTable};

/// What rows are grouped by, comparable as JavaScript's `Map` compares its keys. A missing cell is a key, too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Missing,
    Null,
    Bool(bool),
    Number(u64),
    String(Text),
    Json(Text),
}

impl Key {
    fn of(cell: Option<&Cell>) -> Self {
        match cell {
            None => Self::Missing,
            Some(Cell::Null) => Self::Null,
            Some(Cell::Bool(truth)) => Self::Bool(*truth),
            // -0 is 0 here.
            Some(Cell::Number(number)) => Self::Number((number + 0.0).to_bits()),
            Some(Cell::String(text)) => Self::String(text.clone()),
            Some(Cell::Json(text) | Cell::RawJson(text)) => Self::Json(text.clone()),
        }
    }
}

struct Group {
    key: Vec<Key>,
    row_count: usize,
    /// By aggregated column.
    members: Vec<Members>,
    /// The row that it has, or once had, in the result.
    row: Option<Text>,
    /// By name of the result.
    cells: Vec<Option<Cell>>,
}

/// A row of the first stage: its group, and the places of its cells among the group's members, by aggregated column.
struct Member {
    group: usize,
    places: Box<[u64]>,
}

/// A selected cell that is aggregated, one way or several.
struct Aggregated {
    column: Option<Column>,
    /// The place among the names of the result, and the aggregate.
    aggregates: Vec<(usize, Aggregate)>,
}

/// What the stage keeps.
pub(crate) struct GroupStage {
    by: Vec<Column>,
    aggregated: Vec<Aggregated>,
    names: Vec<Text>,
    columns: Vec<Column>,
    groups: Vec<Option<Group>>,
    free: Vec<usize>,
    by_key: HashMap<Vec<Key>, usize>,
    members: HashMap<Text, Member>,
    next_place: u64,
}

impl GroupStage {
    /// A stage that reads these selected names from `selected` and writes to `result`.
    pub(crate) fn new(
        plan: &Plan,
        selects: &[Text],
        selected: &mut ResultTable,
        result: &mut ResultTable,
    ) -> Self {
        let is_aggregated =
            |name: &Text| plan.groups.values().any(|(selected, _)| selected == name);
        let mut names: Vec<Text> =
            selects.iter().filter(|name| !is_aggregated(name)).cloned().collect();
        let by = names.iter().map(|name| selected.column(name)).collect();
        let mut aggregated: IndexMap<&Text, Aggregated> = IndexMap::new();
        for (name, (cell, aggregate)) in &plan.groups {
            let at = names.iter().position(|known| known == name).unwrap_or_else(|| {
                names.push(name.clone());
                names.len() - 1
            });
            let column = selects.contains(cell).then(|| selected.column(cell));
            let entry = aggregated
                .entry(cell)
                .or_insert_with(|| Aggregated { column, aggregates: Vec::new() });
            entry.aggregates.push((at, aggregate.clone()));
        }
        let columns = names.iter().map(|name| result.column(name)).collect();
        Self {
            by,
            aggregated: aggregated.into_values().collect(),
            names,
            columns,
            groups: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            members: HashMap::new(),
            // 0 is the place of a cell that never was there.
            next_place: 1,
        }
    }

    /// Takes what changed in the first stage.
    pub(crate) fn apply(
        &mut self,
        plan: &Plan,
        net: &Net,
        selected: &ResultTable,
        result: &mut ResultTable,
    ) {
        for row in &net.rows {
            self.row_changed(plan, row, selected, result);
        }
    }

    fn row_changed(
        &mut self,
        plan: &Plan,
        net: &RowChange,
        selected: &ResultTable,
        result: &mut ResultTable,
    ) {
        let change = |column: Column| {
            let name = selected.name(column);
            net.cells.iter().find(|cell| cell.cell == *name)
        };
        let exists = net.kind != RowChangeKind::Removed;
        let now = |column: Column| selected.cell_at(&net.row, column);
        let mut moves = !exists;
        let (mut old_key, mut new_key) = (Vec::new(), Vec::new());
        for column in &self.by {
            match change(*column) {
                Some(cell) => {
                    moves = true;
                    old_key.push(Key::of(cell.old.as_ref()));
                    new_key.push(Key::of(cell.new.as_ref()));
                }
                None => {
                    let key = Key::of(now(*column));
                    old_key.push(key.clone());
                    new_key.push(key);
                }
            }
        }
        let changed: Vec<(usize, Option<Cell>)> = (0..)
            .zip(&self.aggregated)
            .filter_map(|(at, aggregated)| {
                let column = aggregated.column?;
                let changed = moves || change(column).is_some();
                changed.then(|| (at, now(column).cloned()))
            })
            .collect();
        if moves && let Some(group) = self.by_key.get(&old_key).copied() {
            let gone: Vec<_> = changed.iter().map(|(at, _)| (*at, None)).collect();
            self.leave(group, &net.row);
            // The place is still needed to find the row's cells.
            self.write(plan, group, &net.row, gone, result);
            self.forget(group, &net.row);
        }
        if exists {
            let group = self.enter(new_key, &net.row, now);
            self.write(plan, group, &net.row, changed, result);
        }
    }

    /// Takes a row out of a group, if it is in it.
    fn leave(&mut self, at: usize, row: &Text) {
        let is_member = self.members.get(row).is_some_and(|member| member.group == at);
        if let Some(group) = &mut self.groups[at] {
            group.row_count -= usize::from(is_member);
            if group.row_count == 0 {
                self.by_key.remove(&group.key);
            }
        }
    }

    /// Drops the membership and, if it is empty, the group.
    fn forget(&mut self, at: usize, row: &Text) {
        if self.members.get(row).is_some_and(|member| member.group == at) {
            self.members.remove(row);
        }
        if self.groups[at].as_ref().is_some_and(|group| group.row_count == 0) {
            self.groups[at] = None;
            self.free.push(at);
        }
    }

    /// Puts a row into the group of a key, made if need be.
    fn enter<'a>(
        &mut self,
        key: Vec<Key>,
        row: &Text,
        now: impl Fn(Column) -> Option<&'a Cell>,
    ) -> usize {
        let at = match self.by_key.get(&key) {
            Some(at) => *at,
            None => {
                let mut cells: Vec<_> =
                    self.by.iter().map(|column| now(*column).cloned()).collect();
                cells.resize(self.names.len(), None);
                let extremes = |aggregated: &Aggregated| {
                    let mut aggregates = aggregated.aggregates.iter();
                    Members::new(aggregates.any(|(_, aggregate)| aggregate.is_extreme()))
                };
                let members = self.aggregated.iter().map(extremes).collect();
                let group = Group { key: key.clone(), row_count: 0, members, row: None, cells };
                let at = self.free.pop().unwrap_or_else(|| {
                    self.groups.push(None);
                    self.groups.len() - 1
                });
                self.groups[at] = Some(group);
                self.by_key.insert(key, at);
                at
            }
        };
        if !self.members.contains_key(row) {
            let places = vec![0; self.aggregated.len()].into();
            self.members.insert(row.clone(), Member { group: at, places });
            if let Some(group) = &mut self.groups[at] {
                group.row_count += 1;
            }
        }
        at
    }

    /// Brings a group's aggregates and its row up to date.
    fn write(
        &mut self,
        plan: &Plan,
        at: usize,
        row: &Text,
        changed: Vec<(usize, Option<Cell>)>,
        result: &mut ResultTable,
    ) {
        let Some(group) = &mut self.groups[at] else { return };
        let member = self.members.get_mut(row).filter(|member| member.group == at);
        if let Some(member) = member {
            for (aggregated, new) in changed {
                let (members, place) =
                    (&mut group.members[aggregated], &mut member.places[aggregated]);
                let count = members.len();
                if members.get(*place).is_none() {
                    // A cell that comes anew goes behind all others.
                    *place = self.next_place;
                    self.next_place += 1;
                }
                let old = members.put(*place, new);
                let new = members.get(*place);
                let changed = match (&old, new) {
                    (Some(old), Some(new)) => !crate::js::strictly_equal(Some(old), Some(new)),
                    (old, new) => old.is_some() != new.is_some(),
                };
                if changed {
                    let change = Change { old: old.as_ref(), new, count };
                    for (name, aggregate) in &self.aggregated[aggregated].aggregates {
                        let was = group.cells[*name].as_ref();
                        group.cells[*name] = aggregate.after(was, &change, members);
                    }
                }
            }
        }
        let context =
            GroupContext { names: &self.names, cells: &group.cells, params: &plan.params };
        if group.row_count == 0 || !plan.havings.iter().all(|having| holds(having, &context)) {
            if let Some(row) = &group.row {
                result.del_row(row);
            }
            return;
        }
        let cells = self.columns.iter().zip(&group.cells);
        let cells = cells.filter_map(|(column, cell)| Some((*column, cell.clone()?))).collect();
        match &group.row {
            None => group.row = result.add_row(cells),
            Some(row) => result.set_row(row, cells),
        }
    }
}

fn holds(having: &HavingCondition, group: &GroupContext<'_>) -> bool {
    match having {
        HavingCondition::Cell(name, operand) => {
            let at = group.names.iter().position(|known| known == name);
            let cell = at.and_then(|at| group.cells[at].as_ref());
            operand.is(cell.map(Cell::view), group.params)
        }
        HavingCondition::Function(function) => function(group),
    }
}

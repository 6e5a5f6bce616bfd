//! A definition, compiled.

use std::collections::HashMap;

use indexmap::IndexMap;
use mergeable_store::{CellName, MergeableStore, Text};

use crate::aggregate::Aggregate;
use crate::definition::{
    CellOf, Condition, Definition, HavingCondition, NameFn, Of, On, OnFn, Operand, Params,
    SelectFn, Selected, Source, WhereFn,
};
use crate::reader::Place;

pub(crate) struct Plan {
    /// By which the source's own cells can be read as if it were a join.
    pub(crate) source_id: Text,
    pub(crate) root: Place,
    pub(crate) joins: Vec<JoinPlan>,
    join_names: HashMap<Text, usize>,
    /// The joins that hang on the source itself.
    pub(crate) from_root: Vec<usize>,
    pub(crate) wheres: Vec<Filter>,
    pub(crate) selection: Vec<Selection>,
    /// Name in the result, selected name, aggregate.
    pub(crate) groups: IndexMap<Text, (Text, Aggregate)>,
    pub(crate) havings: Vec<HavingCondition>,
    pub(crate) params: Params,
}

pub(crate) struct JoinPlan {
    pub(crate) place: Place,
    pub(crate) on: LinkedBy,
    /// The joins that hang on this one.
    pub(crate) next: Vec<usize>,
}

/// Where a row's link comes from.
pub(crate) enum LinkedBy {
    Cell(CellName),
    Function(OnFn),
}

/// A condition, compiled.
pub(crate) enum Filter {
    Cell(ReadCell, Operand),
    Function(WhereFn),
}

pub(crate) enum Selection {
    One { name: Text, what: One },
    All { of: Origin, rename: Option<NameFn> },
}

pub(crate) enum One {
    Cell(ReadCell),
    Function(SelectFn),
}

/// A cell to read; from nowhere if there is no such join.
pub(crate) struct ReadCell {
    pub(crate) of: Option<Origin>,
    pub(crate) cell: CellName,
}

/// The row of the source, or the one joined to it.
#[derive(Clone, Copy)]
pub(crate) enum Origin {
    Root,
    Join(usize),
}

impl Plan {
    pub(crate) fn new(definition: &Definition, mut place: impl FnMut(&Source) -> Place) -> Self {
        // Of equal names the last join holds, at the first one's place.
        let mut named = IndexMap::new();
        for join in &definition.joins {
            named.insert(join.name.as_ref().unwrap_or(join.source.id()).clone(), join);
        }
        let join_names: HashMap<Text, usize> = named.keys().cloned().zip(0..).collect();
        let on_join = |from: &Text| join_names.get(from).copied();
        let source_id = definition.source.id();
        let read = |cell: &CellOf| ReadCell {
            of: match &cell.of {
                Of::Source => Some(Origin::Root),
                Of::Join(name) if name == source_id => Some(Origin::Root),
                Of::Join(name) | Of::QueryJoin(name) => on_join(name).map(Origin::Join),
            },
            cell: CellName::new(&cell.cell),
        };
        let hanging = |on: Option<usize>| {
            let joins = named.values().enumerate();
            let joins = joins.filter(|(_, join)| match &join.from {
                None => on.is_none(),
                Some(from) => on.is_some() && on_join(from) == on,
            });
            joins.map(|(at, _)| at).collect()
        };
        let joins = named.values().enumerate().map(|(at, join)| JoinPlan {
            place: place(&join.source),
            on: match &join.on {
                On::Cell(cell) => LinkedBy::Cell(CellName::new(cell)),
                On::Function(function) => LinkedBy::Function(function.clone()),
            },
            next: hanging(Some(at)),
        });
        Self {
            joins: joins.collect(),
            from_root: hanging(None),
            source_id: source_id.clone(),
            root: place(&definition.source),
            wheres: definition.wheres.iter().map(|filter| compiled(&filter.0, read)).collect(),
            selection: selection(definition, on_join, read),
            groups: groups(definition),
            havings: definition.havings.iter().map(|having| having.0.clone()).collect(),
            params: definition.params.clone(),
            join_names,
        }
    }

    /// Looks up the names of the cells that are read, as far as the store knows them by now.
    pub(crate) fn look_up(&mut self, store: &MergeableStore) {
        let links = self.joins.iter_mut().filter_map(|join| match &mut join.on {
            LinkedBy::Cell(cell) => Some(cell),
            LinkedBy::Function(_) => None,
        });
        let filters = self.wheres.iter_mut().filter_map(|filter| match filter {
            Filter::Cell(read, _) => Some(&mut read.cell),
            Filter::Function(_) => None,
        });
        let selected = self.selection.iter_mut().filter_map(|selection| match selection {
            Selection::One { what: One::Cell(read), .. } => Some(&mut read.cell),
            Selection::One { what: One::Function(_), .. } | Selection::All { .. } => None,
        });
        links.chain(filters).chain(selected).for_each(|cell| cell.look_up(store));
    }

    pub(crate) fn join_named(&self, name: &[u8]) -> Option<usize> {
        self.join_names.get(name).copied()
    }

    pub(crate) fn is_grouped(&self) -> bool {
        !self.groups.is_empty() || !self.havings.is_empty()
    }

    pub(crate) fn selects_all(&self) -> bool {
        self.selection.iter().any(|one| matches!(one, Selection::All { .. }))
    }

    /// Where rows are read.
    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        std::iter::once(&self.root).chain(self.joins.iter().map(|join| &join.place))
    }

    pub(crate) fn place_of(&self, of: Origin) -> &Place {
        match of {
            Origin::Root => &self.root,
            Origin::Join(at) => &self.joins[at].place,
        }
    }

    /// The sources whose cell ids decide which cells the result has: a grouped query is made anew when they change.
    pub(crate) fn watches_cell_ids(&self) -> impl Iterator<Item = &Place> {
        let all = self.selection.iter().filter(|_| self.is_grouped());
        all.filter_map(|one| match one {
            Selection::All { of, .. } => Some(self.place_of(*of)),
            Selection::One { .. } => None,
        })
    }
}

fn compiled(condition: &Condition, read: impl Fn(&CellOf) -> ReadCell) -> Filter {
    match condition {
        Condition::Cell(cell, operand) => Filter::Cell(read(cell), operand.clone()),
        Condition::Function(function) => Filter::Function(function.clone()),
    }
}

fn selection(
    definition: &Definition,
    join: impl Fn(&Text) -> Option<usize>,
    read: impl Fn(&CellOf) -> ReadCell,
) -> Vec<Selection> {
    let mut number = 0_u32;
    let mut selection = Vec::new();
    for select in &definition.selects {
        let (own_name, what) = match &select.what {
            Selected::Cell(cell) => (cell.cell.clone(), One::Cell(read(cell))),
            Selected::Function(function) => {
                (number.to_string().into(), One::Function(function.clone()))
            }
            Selected::All { join: name, rename } => {
                let of = match name {
                    None => Some(Origin::Root),
                    Some(name) => join(name).map(Origin::Join),
                };
                selection.extend(of.map(|of| Selection::All { of, rename: rename.clone() }));
                continue;
            }
        };
        number += 1;
        let name = select.name.clone().unwrap_or(own_name);
        selection.push(Selection::One { name, what });
    }
    selection
}

fn groups(definition: &Definition) -> IndexMap<Text, (Text, Aggregate)> {
    let mut groups = IndexMap::new();
    for group in &definition.groups {
        let name = group.name.as_ref().unwrap_or(&group.cell).clone();
        groups.insert(name, (group.cell.clone(), group.aggregate.clone()));
    }
    groups
}

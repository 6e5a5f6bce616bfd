//! A definition, compiled.

use std::collections::HashMap;

use indexmap::IndexMap;
use mergeable_store::Text;

use crate::aggregate::Aggregate;
use crate::definition::{
    CellOf, Condition, Definition, HavingCondition, NameFn, On, Params, SelectFn, Selected, Source,
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
    pub(crate) wheres: Vec<Condition>,
    pub(crate) selection: Vec<Selection>,
    /// Name in the result, selected name, aggregate.
    pub(crate) groups: IndexMap<Text, (Text, Aggregate)>,
    pub(crate) havings: Vec<HavingCondition>,
    pub(crate) params: Params,
}

pub(crate) struct JoinPlan {
    pub(crate) place: Place,
    pub(crate) on: On,
    /// The joins that hang on this one.
    pub(crate) next: Vec<usize>,
}

pub(crate) enum Selection {
    One { name: Text, what: One },
    All { of: AllOf, rename: Option<NameFn> },
}

pub(crate) enum One {
    Cell(CellOf),
    Function(SelectFn),
}

#[derive(Clone, Copy)]
pub(crate) enum AllOf {
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
            on: join.on.clone(),
            next: hanging(Some(at)),
        });
        Self {
            joins: joins.collect(),
            from_root: hanging(None),
            source_id: definition.source.id().clone(),
            root: place(&definition.source),
            wheres: definition.wheres.iter().map(|filter| filter.0.clone()).collect(),
            selection: selection(definition, on_join),
            groups: groups(definition),
            havings: definition.havings.iter().map(|having| having.0.clone()).collect(),
            params: definition.params.clone(),
            join_names,
        }
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

    pub(crate) fn place_of(&self, of: AllOf) -> &Place {
        match of {
            AllOf::Root => &self.root,
            AllOf::Join(at) => &self.joins[at].place,
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

fn selection(definition: &Definition, join: impl Fn(&Text) -> Option<usize>) -> Vec<Selection> {
    let mut number = 0_u32;
    let mut selection = Vec::new();
    for select in &definition.selects {
        let (own_name, what) = match &select.what {
            Selected::Cell(cell) => (cell.cell.clone(), One::Cell(cell.clone())),
            Selected::Function(function) => {
                (number.to_string().into(), One::Function(function.clone()))
            }
            Selected::All { join: name, rename } => {
                let of = match name {
                    None => Some(AllOf::Root),
                    Some(name) => join(name).map(AllOf::Join),
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

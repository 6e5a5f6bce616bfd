//! All queries over one store, and how a change runs through them.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::{IndexMap, IndexSet};
use mergeable_store::{AsText, Cell, CellChange, MergeableStore, Text};

use crate::cell_ids::TableCellIds;
use crate::changes::ResultChange;
use crate::definition::{Definition, Params, Source};
use crate::group::GroupStage;
use crate::js::compare_text;
use crate::plan::{Plan, Selection};
use crate::reader::{Place, Reader};
use crate::select::SelectStage;
use crate::table::{Net, ResultTable};

/// A query that cannot be defined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Its sources lead back to itself. (TinyBase refuses only those whose cells are renamed on the way: `tinybase:16`.)
    #[error("query {0} reads its own result; break the circle of its sources")]
    Cycle(Text),
}

/// Queries over one store. Their results are kept up to date with the changes that [`Queries::apply`] is told, in time
/// proportional to the rows that these concern.
///
/// All calls must be given the same store.
#[derive(Default)]
pub struct Queries {
    ids: IndexSet<Text>,
    /// By number of the query; empty for one that is read and not defined.
    results: Vec<ResultTable>,
    nodes: Vec<Option<Node>>,
    /// Numbers of the queries defined, the one (re)defined last at the end.
    order: Vec<usize>,
    readers: Arc<HashMap<Place, Readers>>,
    cell_ids: TableCellIds,
    none: ResultTable,
}

struct Node {
    definition: Definition,
    plan: Plan,
    select: SelectStage,
    /// With groups: the rows before they are grouped, and the groups.
    groups: Option<(ResultTable, GroupStage)>,
    /// Whether it waits for its source to finish; its result is then not finished before.
    open: bool,
}

/// Which queries read a source.
#[derive(Default)]
struct Readers {
    /// By row id, through these joins.
    joins: Vec<(usize, Vec<usize>)>,
    /// As their own source.
    roots: Vec<usize>,
    /// Whose columns depend on the source's cell ids.
    columns: Vec<usize>,
}

impl Queries {
    /// No queries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Defines a query, or defines it anew, and computes its result: in time proportional to its source.
    ///
    /// # Errors
    /// A circle of queries; nothing is changed then.
    pub fn set_definition(
        &mut self,
        store: &MergeableStore,
        id: impl AsText,
        definition: Definition,
    ) -> Result<Vec<ResultChange>, QueryError> {
        let query = self.number(&id.to_text());
        let plan = Plan::new(&definition, |source| match source {
            Source::Table(id) => Place::Table(id.clone()),
            Source::Query(id) => Place::Query(self.number(id)),
        });
        if self.reaches(&plan, query) {
            return Err(QueryError::Cycle(id.to_text()));
        }
        self.order.retain(|other| *other != query);
        self.order.push(query);
        let select = SelectStage::default();
        self.nodes[query] = Some(Node { definition, plan, select, groups: None, open: false });
        self.connect(store);
        let mut changes = Vec::new();
        self.rebuild(store, query, &mut changes);
        Ok(changes)
    }

    /// Deletes a query and its result. Queries that read it find no rows.
    pub fn del_definition(&mut self, store: &MergeableStore, id: impl AsText) -> Vec<ResultChange> {
        let mut changes = Vec::new();
        let Some(query) = self.ids.get_index_of(id.wtf8()) else { return changes };
        self.nodes[query] = None;
        self.order.retain(|other| *other != query);
        self.connect(store);
        self.results[query].clear();
        self.finish(store, query, &mut changes);
        changes
    }

    /// Ids of the queries defined, the one (re)defined last at the end.
    pub fn query_ids(&self) -> impl Iterator<Item = &Text> {
        self.order.iter().map(|query| &self.ids[*query])
    }

    /// A query's definition, with its parameters as they are set now.
    #[must_use]
    pub fn definition(&self, id: impl AsText) -> Option<&Definition> {
        let query = self.ids.get_index_of(id.wtf8())?;
        self.nodes[query].as_ref().map(|node| &node.definition)
    }

    /// A query's result; empty if it is not defined.
    #[must_use]
    pub fn result(&self, id: impl AsText) -> &ResultTable {
        self.ids.get_index_of(id.wtf8()).map_or(&self.none, |query| &self.results[query])
    }

    /// Keeps a result in the order of a cell, or of its row ids, so that a page of it costs what the page costs
    /// ([`ResultTable::sorted_row_ids`]). It stays so when the query is defined anew.
    pub fn keep_sorted(&mut self, id: impl AsText, cell: Option<&str>) {
        let query = self.number(&id.to_text());
        self.results[query].keep_sorted(cell);
    }

    /// Sets a parameter, or deletes it, and computes the result anew if that changes it.
    pub fn set_param(
        &mut self,
        store: &MergeableStore,
        id: impl AsText,
        name: impl AsText,
        value: Option<Cell>,
    ) -> Vec<ResultChange> {
        let Some(definition) = self.definition(&id) else { return Vec::new() };
        let mut params = definition.params.clone();
        match value {
            Some(value) => params.insert(name.to_text(), value),
            None => params.shift_remove(name.wtf8()),
        };
        self.set_params(store, id, params)
    }

    /// Sets all parameters of a query, and computes its result anew if that changes any.
    pub fn set_params(
        &mut self,
        store: &MergeableStore,
        id: impl AsText,
        params: Params,
    ) -> Vec<ResultChange> {
        let mut changes = Vec::new();
        let Some(query) = self.ids.get_index_of(id.wtf8()) else { return changes };
        let Some(node) = &mut self.nodes[query] else { return changes };
        if node.plan.params != params {
            node.plan.params.clone_from(&params);
            node.definition.params = params;
            self.rebuild(store, query, &mut changes);
        }
        changes
    }

    /// Brings all results up to date with what one merge or transaction changed in the store, which has happened there. A
    /// query whose result depends on that of another can be listed twice.
    pub fn apply(&mut self, store: &MergeableStore, changed: &[CellChange]) -> Vec<ResultChange> {
        let mut changes = Vec::new();
        for table in self.cell_ids.apply(changed) {
            let readers = self.readers.clone();
            let readers = readers.get(&Place::Table(table)).map_or(&[][..], |r| &r.columns);
            for query in readers {
                self.rebuild(store, *query, &mut changes);
            }
        }
        let rows = self.rows_of(changed);
        if rows.is_empty() {
            return changes;
        }
        for node in self.nodes.iter_mut().flatten() {
            node.open = true;
        }
        for (table, rows) in rows {
            let place = Place::Table(table);
            for row in rows {
                self.row_changed(store, &place, &row, &mut changes);
            }
        }
        let of_tables = |query: &usize| {
            let node = self.nodes[*query].as_ref();
            node.is_some_and(|node| matches!(node.plan.root, Place::Table(_)))
        };
        let tables: Vec<usize> = self.order.iter().copied().filter(of_tables).collect();
        for query in tables {
            self.finish_if_open(store, query, &mut changes);
        }
        // What is left has a source that no table leads to.
        for query in self.order.clone() {
            self.finish_if_open(store, query, &mut changes);
        }
        changes
    }

    /// The rows with a cell that differs, by table, both in order of first touch.
    fn rows_of(&self, changed: &[CellChange]) -> IndexMap<Text, IndexSet<Text>> {
        let mut rows: IndexMap<Text, IndexSet<Text>> = IndexMap::new();
        // Changes of a table mostly come one after the other: whether anybody reads it, and its place among those touched.
        let mut table: Option<(&Text, Option<usize>)> = None;
        for change in changed {
            let same = match (&change.old, &change.new) {
                (Some(old), Some(new)) => old.reads_like(new),
                (old, new) => old.is_none() && new.is_none(),
            };
            if same {
                continue;
            }
            let at = match table {
                Some((latest, at)) if *latest == change.table => at,
                _ => self.readers.contains_key(&Place::Table(change.table.clone())).then(|| {
                    let touched = rows.entry(change.table.clone());
                    let at = touched.index();
                    touched.or_default();
                    at
                }),
            };
            table = Some((&change.table, at));
            let Some((_, rows)) = at.and_then(|at| rows.get_index_mut(at)) else { continue };
            if rows.last() != Some(&change.row) {
                rows.insert(change.row.clone());
            }
        }
        rows
    }

    fn number(&mut self, id: &Text) -> usize {
        let (query, new) = self.ids.insert_full(id.clone());
        if new {
            self.results.push(ResultTable::default());
            self.nodes.push(None);
        }
        query
    }

    /// Whether a plan's sources lead to a query.
    fn reaches(&self, plan: &Plan, query: usize) -> bool {
        plan.places().any(|place| match place {
            Place::Table(_) => false,
            Place::Query(source) => {
                let node = self.nodes[*source].as_ref();
                *source == query || node.is_some_and(|node| self.reaches(&node.plan, query))
            }
        })
    }

    /// Notes who reads what.
    fn connect(&mut self, store: &MergeableStore) {
        let mut readers: HashMap<Place, Readers> = HashMap::new();
        let mut watched = Vec::new();
        for query in &self.order {
            let Some(Node { plan, .. }) = &self.nodes[*query] else { continue };
            let mut joins: IndexMap<&Place, Vec<usize>> = IndexMap::new();
            for (at, join) in plan.joins.iter().enumerate() {
                joins.entry(&join.place).or_default().push(at);
            }
            for (place, joins) in joins {
                readers.entry(place.clone()).or_default().joins.push((*query, joins));
            }
            readers.entry(plan.root.clone()).or_default().roots.push(*query);
            for place in plan.watches_cell_ids() {
                let columns = &mut readers.entry(place.clone()).or_default().columns;
                if columns.last() != Some(query) {
                    columns.push(*query);
                }
                if let Place::Table(table) = place {
                    watched.push(table.clone());
                }
            }
        }
        self.readers = Arc::new(readers);
        self.cell_ids.watch(store, &watched);
    }

    /// Works on a query apart from the others, which it can read meanwhile.
    fn with(
        &mut self,
        store: &MergeableStore,
        query: usize,
        work: impl FnOnce(&mut Node, &mut ResultTable, Reader<'_>),
    ) {
        let Some(node) = &mut self.nodes[query] else { return };
        let (before, after) = self.results.split_at_mut(query);
        let Some((result, after)) = after.split_first_mut() else { return };
        work(node, result, Reader { store, results: (before, after) });
    }

    fn row_changed(
        &mut self,
        store: &MergeableStore,
        place: &Place,
        row: &Text,
        changes: &mut Vec<ResultChange>,
    ) {
        let readers = self.readers.clone();
        let Some(readers) = readers.get(place) else { return };
        for (query, joins) in &readers.joins {
            self.with(store, *query, |node, result, reader| {
                let table = node.groups.as_mut().map_or(result, |(selected, _)| selected);
                node.plan.look_up(store);
                node.select.remote_changed(&node.plan, reader, (joins, row), table);
            });
            self.finish_if_closed(store, *query, changes);
        }
        for query in &readers.roots {
            self.with(store, *query, |node, result, reader| {
                let table = node.groups.as_mut().map_or(result, |(selected, _)| selected);
                node.plan.look_up(store);
                node.select.root_changed(&node.plan, reader, row, table);
            });
            self.finish_if_closed(store, *query, changes);
        }
    }

    fn is_open(&self, query: usize) -> bool {
        self.nodes[query].as_ref().is_some_and(|node| node.open)
    }

    fn finish_if_open(
        &mut self,
        store: &MergeableStore,
        query: usize,
        changes: &mut Vec<ResultChange>,
    ) {
        if self.is_open(query) {
            self.finish(store, query, changes);
        }
    }

    fn finish_if_closed(
        &mut self,
        store: &MergeableStore,
        query: usize,
        changes: &mut Vec<ResultChange>,
    ) {
        if !self.is_open(query) {
            self.finish(store, query, changes);
        }
    }

    /// Ends a query's transaction: groups what was selected, tells what changed, and tells those who read it.
    fn finish(&mut self, store: &MergeableStore, query: usize, changes: &mut Vec<ResultChange>) {
        self.with(store, query, |node, result, _| {
            node.open = false;
            if let Some((selected, groups)) = &mut node.groups {
                let net = selected.finish();
                groups.apply(&node.plan, &net, selected, result);
            }
        });
        let net = self.results[query].finish();
        let place = Place::Query(query);
        let readers = self.readers.clone();
        let Some(readers) = readers.get(&place) else {
            self.tell(query, net, changes);
            return;
        };
        let rows: Vec<Text> = net.rows.iter().map(|row| row.row.clone()).collect();
        let cell_ids_changed = net.cell_ids_changed;
        self.tell(query, net, changes);
        if cell_ids_changed {
            for reader in &readers.columns {
                self.rebuild(store, *reader, changes);
            }
        }
        for row in rows {
            self.row_changed(store, &place, &row, changes);
        }
        for reader in &readers.roots {
            self.finish_if_open(store, *reader, changes);
        }
    }

    fn tell(&self, query: usize, net: Net, changes: &mut Vec<ResultChange>) {
        if !net.rows.is_empty() {
            changes.push(ResultChange { query: self.ids[query].clone(), rows: net.rows });
        }
    }

    /// Computes a result anew; what is told is the difference from the old one.
    fn rebuild(&mut self, store: &MergeableStore, query: usize, changes: &mut Vec<ResultChange>) {
        let Some(node) = &self.nodes[query] else { return };
        let names: Vec<Text> = self.selected_names(&node.plan).into_iter().collect();
        self.with(store, query, |node, result, reader| {
            result.clear();
            node.plan.look_up(store);
            let plan = &node.plan;
            let nothing = plan.selection.is_empty() || (plan.is_grouped() && names.is_empty());
            node.groups = (plan.is_grouped() && !nothing).then(|| {
                let mut selected = ResultTable::default();
                selected.clear();
                let groups = GroupStage::new(plan, &names, &mut selected, result);
                (selected, groups)
            });
            let table = node.groups.as_mut().map_or(result, |(selected, _)| selected);
            node.select = SelectStage::new(plan, table);
            if nothing {
                node.select.deaf = true;
                return;
            }
            node.select.fill(plan, reader, table);
        });
        self.finish(store, query, changes);
    }

    /// The names that a query selects, each once. Which cells "all" are is known for grouped queries only.
    fn selected_names(&self, plan: &Plan) -> IndexSet<Text> {
        let mut names = IndexSet::new();
        for selection in &plan.selection {
            match selection {
                Selection::One { name, .. } => {
                    names.insert(name.clone());
                }
                Selection::All { of, rename } => {
                    let mut ids: Vec<&Text> = match plan.place_of(*of) {
                        Place::Table(table) => self.cell_ids.of(table).collect(),
                        Place::Query(query) => self.results[*query].table_cell_ids().collect(),
                    };
                    ids.sort_by(|a, b| compare_text(a, b));
                    let renamed = ids.into_iter().map(|id| match rename {
                        Some(rename) => rename(id),
                        None => id.clone(),
                    });
                    names.extend(renamed);
                }
            }
        }
        names
    }
}

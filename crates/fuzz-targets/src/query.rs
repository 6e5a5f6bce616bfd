//! Queries kept up to date change by change, against asking anew by nested loops.

use std::collections::BTreeMap;

use arbitrary::Unstructured;
use mergeable_store::{Cell, CellChange, EditError, MergeableStore, Text, Transaction};
use tinyql::{
    Aggregate, Definition, Group, Join, Page, Queries, ResultChange, ResultTable, RowChangeKind,
    Select, Source, Where,
};

use crate::arrange::{self, NOW, below};

const TABLES: [&str; 2] = ["a", "b"];
const ROWS: [&str; 6] = ["r0", "r1", "r2", "r3", "10", "9"];
/// `to` and `up` hold row ids, `n` numbers, `k` anything.
const CELLS: [&str; 4] = ["to", "up", "n", "k"];
const AGGREGATES: [Aggregate; 5] =
    [Aggregate::Count, Aggregate::Sum, Aggregate::Avg, Aggregate::Min, Aggregate::Max];

/// After every change the results are what asking anew gives, what was told of them is what changed, and a sorted page
/// is a stretch of the sorted whole.
pub fn query(data: &[u8]) {
    let u = &mut Unstructured::new(data);
    let asked = Asked::arbitrary(u);
    let mut store = MergeableStore::new(arrange::client(0));
    let mut queries = Queries::new();
    let mut copy = Rows::new();
    write(u, &mut store, &asked);
    if below(u, 2) == 0 {
        queries.keep_sorted("q", Some("s0"));
    }
    let told = queries.set_definition(&store, "q", asked.definition());
    follow(&mut copy, told.expect("nothing refers to itself"));
    for _ in 0..12 {
        if u.is_empty() {
            break;
        }
        let changed = write(u, &mut store, &asked);
        follow(&mut copy, queries.apply(&store, &changed));
        let result = queries.result("q");
        assert_eq!(copy, rows(result));
        assert_eq!(
            shown(&copy, asked.groups.is_empty()),
            shown(&asked.anew(&store), asked.groups.is_empty()),
            "{asked:?} of {}, of which {changed:?} is new",
            store.content()
        );
        pages(u, result);
    }
}

/// Some writes as one transaction.
///
/// In TinyBase a chained join goes on reading the row that it read last when the join before it loses its own. The loops here
/// do not know which that was; so under a chained join a row keeps the cells that join it, and goes by itself.
fn write(u: &mut Unstructured<'_>, store: &mut MergeableStore, asked: &Asked) -> Vec<CellChange> {
    let chained = asked.joins.iter().any(|(_, _, chained)| *chained);
    let edit = |tx: &mut Transaction<'_>| -> Result<(), EditError> {
        for _ in 0..if chained { 1 } else { 1 + below(u, 6) } {
            let (table, row) = (TABLES[below(u, 2)], ROWS[below(u, ROWS.len())]);
            let cell = CELLS[below(u, CELLS.len())];
            match below(u, 12) {
                0 => tx.del_table(table)?,
                1 => tx.del_row(table, row)?,
                2 | 3 if chained && matches!(cell, "to" | "up") => {}
                2 | 3 => tx.del_cell(table, row, cell)?,
                _ => tx.set_cell(table, row, cell, content(u, cell))?,
            }
        }
        Ok(())
    };
    store.edit(NOW, edit).expect("all of it can be stored").1.cells
}

fn content(u: &mut Unstructured<'_>, cell: &str) -> Cell {
    match cell {
        "to" | "up" => ROWS[below(u, ROWS.len())].into(),
        "n" => f64::from(below(u, 9) as i32 - 4).into(),
        _ => [Cell::Null, true.into(), "r1".into(), 1.into(), "1".into()][below(u, 5)].clone(),
    }
}

/// A query as data.
#[derive(Debug)]
struct Asked {
    /// Each joined by a cell of the root or of the one before: table, cell, whether of the one before.
    joins: Vec<(&'static str, &'static str, bool)>,
    /// Of the root (0) or of a joined table, named `s0`, `s1` and so on.
    selects: Vec<(usize, &'static str)>,
    /// Of the root or of a joined table: the cell and what it has to equal.
    filters: Vec<(usize, &'static str, Cell)>,
    /// Which selected numbers are aggregated, and how, named `g0`, `g1` and so on.
    groups: Vec<(usize, usize)>,
}

impl Asked {
    fn arbitrary(u: &mut Unstructured<'_>) -> Self {
        let joins: Vec<_> = (0..below(u, 3))
            .map(|at| (TABLES[below(u, 2)], CELLS[below(u, 2)], at > 0 && below(u, 2) == 0))
            .collect();
        let source = 1 + joins.len();
        let selects: Vec<_> = (0..1 + below(u, 4))
            .map(|_| (below(u, source), CELLS[below(u, CELLS.len())]))
            .collect();
        let filters = (0..below(u, 2))
            .map(|_| {
                let cell = CELLS[below(u, CELLS.len())];
                (below(u, source), cell, content(u, cell))
            })
            .collect();
        // Aggregates of what is no number depend, in TinyBase, on what was there before.
        let numbers: Vec<usize> = (0..selects.len()).filter(|at| selects[*at].1 == "n").collect();
        let groups = if numbers.is_empty() {
            Vec::new()
        } else {
            let any = |u: &mut Unstructured<'_>| numbers[below(u, numbers.len())];
            (0..below(u, 3)).map(|_| (any(u), below(u, AGGREGATES.len()))).collect()
        };
        Self { joins, selects, filters, groups }
    }

    fn definition(&self) -> Definition {
        let name = |at: usize| format!("j{at}");
        let mut definition = Definition::new(Source::table("a"));
        for (at, (table, on, chained)) in self.joins.iter().enumerate() {
            let join = Join::on(Source::table(*table), *on).named(name(at + 1));
            definition = definition.join(if *chained { join.from(name(at)) } else { join });
        }
        for (at, (source, cell)) in self.selects.iter().enumerate() {
            let select = match source {
                0 => Select::cell(*cell),
                joined => Select::joined(name(*joined), *cell),
            };
            definition = definition.select(select.named(format!("s{at}")));
        }
        for (source, cell, equals) in &self.filters {
            definition = definition.filter(match source {
                0 => Where::cell(*cell, equals.clone()),
                joined => Where::joined(name(*joined), *cell, equals.clone()),
            });
        }
        for (at, (select, how)) in self.groups.iter().enumerate() {
            let group = Group::new(format!("s{select}"), AGGREGATES[*how].clone());
            definition = definition.group(group.named(format!("g{at}")));
        }
        definition
    }

    /// The result by nested loops; grouped rows under ids of their own.
    fn anew(&self, store: &MergeableStore) -> Rows {
        let mut selected = Rows::new();
        for row in store.row_ids("a") {
            let mut at: Vec<(&str, Option<Text>)> = vec![("a", Some(row.clone()))];
            for (index, (table, on, chained)) in self.joins.iter().enumerate() {
                let from = if *chained { &at[index] } else { &at[0] };
                let to = match cell(store, from, on) {
                    Some(Cell::String(to)) => Some(to),
                    _ => None,
                };
                at.push((table, to));
            }
            let holds = |(source, id, equals): &(usize, &str, Cell)| {
                cell(store, &at[*source], id).as_ref() == Some(equals)
            };
            if !self.filters.iter().all(holds) {
                continue;
            }
            let cells = self.selects.iter().enumerate().filter_map(|(number, (source, id))| {
                Some((format!("s{number}").into(), cell(store, &at[*source], id)?))
            });
            let cells: Cells = cells.collect();
            if !cells.is_empty() {
                selected.insert(row, cells);
            }
        }
        if self.groups.is_empty() { selected } else { self.grouped(selected) }
    }

    fn grouped(&self, selected: Rows) -> Rows {
        let is_aggregated =
            |id: &Text| self.groups.iter().any(|(select, _)| *id == format!("s{select}").as_str());
        let mut groups: BTreeMap<String, (Cells, Vec<Cells>)> = BTreeMap::new();
        for cells in selected.into_values() {
            let mut key = cells.clone();
            key.retain(|id, _| !is_aggregated(id));
            let (_, members) =
                groups.entry(format!("{key:?}")).or_insert_with(|| (key.clone(), Vec::new()));
            members.push(cells);
        }
        let groups = groups.into_values().enumerate().map(|(number, (mut row, members))| {
            for (at, (select, how)) in self.groups.iter().enumerate() {
                let id = Text::from(format!("s{select}"));
                let numbers = members.iter().filter_map(|cells| match cells.get(&id) {
                    Some(Cell::Number(number)) => Some(*number),
                    _ => None,
                });
                if let Some(number) = aggregate(&numbers.collect::<Vec<f64>>(), *how) {
                    row.insert(format!("g{at}").into(), number.into());
                }
            }
            (number.to_string().into(), row)
        });
        groups.filter(|(_, row)| !row.is_empty()).collect()
    }
}

fn cell(store: &MergeableStore, (table, row): &(&str, Option<Text>), id: &str) -> Option<Cell> {
    store.stamp(*table, row.as_ref()?, id)?.0
}

fn aggregate(numbers: &[f64], how: usize) -> Option<f64> {
    let least = numbers.iter().copied().reduce(f64::min)?;
    let (count, sum) = (numbers.len() as f64, numbers.iter().sum::<f64>());
    Some(match how {
        0 => count,
        1 => sum,
        2 => sum / count,
        3 => least,
        _ => numbers.iter().copied().fold(least, f64::max),
    })
}

type Cells = BTreeMap<Text, Cell>;
type Rows = BTreeMap<Text, Cells>;

fn rows(result: &ResultTable) -> Rows {
    let row = |id: &Text| {
        let cells = result.row(id).map(|(cell, content)| (cell.clone(), content.clone()));
        (id.clone(), cells.collect())
    };
    result.row_ids().map(row).collect()
}

/// Rows to compare: grouped ones without their ids, numbers to nine digits, for averages kept change by change have other
/// last ones.
fn shown(rows: &Rows, with_ids: bool) -> Vec<String> {
    let cell = |(id, cell): (&Text, &Cell)| match cell {
        Cell::Number(number) => format!("{id}={}", (number * 1e9).round() / 1e9 + 0.0),
        other => format!("{id}={}", other.encoded()),
    };
    let row = |(id, cells): (&Text, &Cells)| {
        let cells: Vec<String> = cells.iter().map(cell).collect();
        if with_ids { format!("{id}: {cells:?}") } else { format!("{cells:?}") }
    };
    let mut shown: Vec<String> = rows.iter().map(row).collect();
    shown.sort();
    shown
}

/// Applies what was told to a copy; each old cell must be the copy's.
fn follow(copy: &mut Rows, changes: Vec<ResultChange>) {
    for row in changes.into_iter().flat_map(|change| change.rows) {
        assert_eq!(copy.contains_key(&row.row), row.kind != RowChangeKind::Added);
        let cells = copy.entry(row.row.clone()).or_default();
        for cell in row.cells {
            assert_eq!(cells.get(&cell.cell), cell.old.as_ref());
            assert_ne!(cell.old, cell.new);
            match cell.new {
                Some(new) => cells.insert(cell.cell, new),
                None => cells.remove(&cell.cell),
            };
        }
        assert_eq!(cells.is_empty(), row.kind == RowChangeKind::Removed);
        if cells.is_empty() {
            copy.remove(&row.row);
        }
    }
}

/// A page is a stretch of the whole, and the whole has every row once.
fn pages(u: &mut Unstructured<'_>, result: &ResultTable) {
    let descending = below(u, 2) == 0;
    let sorted = |offset: usize, limit: Option<usize>| {
        let page =
            Page { descending, offset: offset as i64, limit: limit.map(|limit| limit as i64) };
        result.sorted_row_ids(Some("s0"), page)
    };
    let whole = sorted(0, None);
    let (offset, limit) = (below(u, 4), below(u, 4));
    let page: Vec<Text> = whole.iter().skip(offset).take(limit).cloned().collect();
    assert_eq!(sorted(offset, Some(limit)), page);
    let mut ids = whole;
    ids.sort();
    let mut all: Vec<Text> = result.row_ids().cloned().collect();
    all.sort();
    assert_eq!(ids, all);
}

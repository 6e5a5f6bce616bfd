//! A result kept up to date is the result computed afresh, and what is told of it is what changed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, HashMap};

use mergeable_store::{Cell, CellRef, ClientId, EditError, MergeableStore, Text, Transaction};
use proptest::prelude::*;
use tinyql::{
    Aggregate, CustomAggregate, Definition, Group, Having, Join, Page, Queries, ResultChange,
    ResultTable, RowChangeKind, Select, SortedTable, Source, Where,
};

const NOW: u64 = 1_763_800_000_000;
const TABLES: [&str; 3] = ["a", "b", "c"];
const CELLS: [&str; 5] = ["k", "n", "m", "to", "x"];

#[derive(Clone, Debug)]
enum Op {
    Set(usize, u8, usize, Cell),
    DelCell(usize, u8, usize),
    DelRow(usize, u8),
    DelTable(usize),
}

fn any_row() -> impl Strategy<Value = u8> {
    0..6_u8
}

/// Cells of all types, with row ids and equal numbers among them often.
fn any_cell() -> impl Strategy<Value = Cell> {
    prop_oneof![
        4 => (-3..4_i8).prop_map(|n| Cell::Number(f64::from(n))),
        3 => any_row().prop_map(|row| Cell::from(format!("r{row}").as_str())),
        1 => any::<bool>().prop_map(Cell::Bool),
        1 => Just(Cell::Null),
        1 => Just(Cell::Json("[1]".into())),
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    let (table, cell) = (0..TABLES.len(), 0..CELLS.len());
    prop_oneof![
        12 => (table.clone(), any_row(), cell.clone(), any_cell())
            .prop_map(|(table, row, cell, content)| Op::Set(table, row, cell, content)),
        3 => (table.clone(), any_row(), cell).prop_map(|(table, row, cell)| Op::DelCell(table, row, cell)),
        2 => (table.clone(), any_row()).prop_map(|(table, row)| Op::DelRow(table, row)),
        1 => table.prop_map(Op::DelTable),
    ]
}

fn write(tx: &mut Transaction<'_>, op: &Op) -> Result<(), EditError> {
    let row = |row: &u8| format!("r{row}");
    match op {
        Op::Set(table, at, cell, content) => {
            tx.set_cell(TABLES[*table], row(at), CELLS[*cell], content.clone())
        }
        Op::DelCell(table, at, cell) => tx.del_cell(TABLES[*table], row(at), CELLS[*cell]),
        Op::DelRow(table, at) => tx.del_row(TABLES[*table], row(at)),
        Op::DelTable(table) => tx.del_table(TABLES[*table]),
    }
}

fn any_select() -> impl Strategy<Value = Select> {
    let cell = || prop::sample::select(CELLS.to_vec());
    let join = || prop::sample::select(vec!["b", "c", "a", "none"]);
    prop_oneof![
        4 => cell().prop_map(Select::cell),
        3 => (join(), cell()).prop_map(|(join, cell)| {
            Select::joined(join, cell).named(format!("{join}.{cell}"))
        }),
        1 => (join(), cell()).prop_map(|(join, cell)| {
            Select::by(move |row| match (row.cell("n"), row.joined(join, cell)) {
                (Some(CellRef::Number(a)), Some(CellRef::Number(b))) => Some(Cell::Number(a + b)),
                (_, Some(other)) => Some(other.to_cell()),
                _ => None,
            })
        }),
        3 => cell().prop_map(|cell| {
            Select::by(move |row| match row.cell(cell) {
                Some(CellRef::Number(number)) => Some(Cell::Number(number)),
                _ => None,
            })
            .named("number")
        }),
        1 => Just(Select::all()),
        1 => join().prop_map(|join| Select::all_joined(join).prefixed("all.")),
    ]
}

fn any_join() -> impl Strategy<Value = Join> {
    let table = prop::sample::select(TABLES.to_vec());
    let on = prop::sample::select(vec!["to", "x", "k"]);
    let from = prop::option::of(prop::sample::select(vec!["b", "c"]));
    let name = prop::option::of(prop::sample::select(vec!["b", "c"]));
    (table, on, from, name).prop_map(|(table, on, from, name)| {
        let mut join = Join::on(Source::table(table), on);
        if let Some(from) = from {
            join = join.from(from);
        }
        match name {
            Some(name) => join.named(name),
            None => join,
        }
    })
}

fn any_filter() -> impl Strategy<Value = Where> {
    let cell = || prop::sample::select(CELLS.to_vec());
    prop_oneof![
        (cell(), any_cell()).prop_map(|(cell, equals)| Where::cell(cell, equals)),
        (cell(), any_cell()).prop_map(|(cell, equals)| Where::joined("b", cell, equals)),
        (cell(), cell()).prop_map(|(one, two)| Where::by(move |row| {
            row.cell(one).is_some() || row.joined("c", two) == row.joined("b", two)
        })),
    ]
}

fn any_group() -> impl Strategy<Value = Group> {
    let spread = CustomAggregate::new(|cells| {
        let numbers = || {
            cells.iter().filter_map(|cell| match cell {
                Cell::Number(number) => Some(*number),
                _ => None,
            })
        };
        let least = numbers().reduce(f64::min)?;
        numbers().reduce(f64::max).map(|greatest| Cell::Number(greatest - least))
    });
    let aggregate = prop_oneof![
        Just(Aggregate::Count),
        Just(Aggregate::Sum),
        Just(Aggregate::Avg),
        Just(Aggregate::Min),
        Just(Aggregate::Max),
        Just(Aggregate::Custom(spread)),
    ];
    // Sums of strings, and the least of nulls, depend in TinyBase on what was there before.
    let aggregated = prop_oneof![
        4 => aggregate.prop_map(|aggregate| ("number", aggregate)),
        1 => prop::sample::select(CELLS.to_vec()).prop_map(|cell| (cell, Aggregate::Count)),
    ];
    (aggregated, prop::option::of(prop::sample::select(vec!["g", "h"]))).prop_map(
        |((cell, aggregate), name)| match name {
            Some(name) => Group::new(cell, aggregate).named(name),
            None => Group::new(cell, aggregate),
        },
    )
}

fn any_definition(source: Source) -> impl Strategy<Value = Definition> {
    (
        prop::collection::vec(any_select(), 0..5),
        prop::collection::vec(any_join(), 0..4),
        prop::collection::vec(any_filter(), 0..2),
        prop::collection::vec(any_group(), 0..3),
        prop::option::weighted(0.3, (prop::sample::select(vec!["g", "k", "n"]), -2..4_i8)),
    )
        .prop_map(move |(selects, joins, filters, groups, having)| {
            let mut definition = Definition::new(source.clone());
            definition = selects.into_iter().fold(definition, Definition::select);
            definition = joins.into_iter().fold(definition, Definition::join);
            definition = filters.into_iter().fold(definition, Definition::filter);
            definition = groups.into_iter().fold(definition, Definition::group);
            if let Some((cell, least)) = having {
                definition = definition.having(Having::by(move |group| {
                    !matches!(group.cell(cell), Some(CellRef::Number(n)) if n < f64::from(least))
                }));
            }
            definition
        })
}

/// A cell in a form that can be ordered; numbers to nine digits, for sums kept change by change have other last ones.
fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Number(number) => format!("{:.9}", number + 0.0),
        other => other.encoded(),
    }
}

type Rows = BTreeMap<Text, BTreeMap<Text, Cell>>;

fn rows(result: &ResultTable) -> Rows {
    let row = |id: &Text| {
        (
            id.clone(),
            result.row(id).map(|(cell, content)| (cell.clone(), content.clone())).collect(),
        )
    };
    result.row_ids().map(row).collect()
}

fn shown_rows(rows: &Rows, with_ids: bool) -> Vec<String> {
    let shown_row = |(id, cells): (&Text, &BTreeMap<Text, Cell>)| {
        let cells = cells.iter().map(|(id, cell)| format!("{id}={}", shown(cell)));
        let id = if with_ids { id.to_string() } else { String::new() };
        format!("{id}: {}", cells.collect::<Vec<_>>().join(" "))
    };
    let mut shown: Vec<String> = rows.iter().map(shown_row).collect();
    shown.sort();
    shown
}

/// Applies what was told to a copy; each old cell must be the copy's.
fn follow(copies: &mut HashMap<Text, Rows>, changes: Vec<ResultChange>) {
    for change in changes {
        let copy = copies.entry(change.query).or_default();
        for row in change.rows {
            assert_eq!(copy.contains_key(&row.row), row.kind != RowChangeKind::Added);
            assert!(!row.cells.is_empty());
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
}

/// A having that fails can make two groups share a row id, as in TinyBase; the row is then the last writer's.
fn can_share_ids(definition: &Definition) -> bool {
    format!("{definition:?}").contains("Having(")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn kept_is_computed_afresh(
        start in prop::collection::vec(any_op(), 0..40),
        on_table in any_definition(Source::table("a")),
        on_query in any_definition(Source::query("first")),
        steps in prop::collection::vec(prop::collection::vec(any_op(), 1..6), 1..12),
    ) {
        let mut store = MergeableStore::new(ClientId::from_unique_id("incremental"));
        let edit = |store: &mut MergeableStore, ops: &[Op]| {
            store.edit(NOW, |tx| ops.iter().try_for_each(|op| write(tx, op))).unwrap().1.cells
        };
        edit(&mut store, &start);
        let definitions = [("first", on_table), ("second", on_query)];
        let (mut queries, mut copies) = (Queries::new(), HashMap::new());
        for (id, definition) in &definitions {
            queries.keep_sorted(id, Some("n"));
            let told = queries.set_definition(&store, id, definition.clone()).unwrap();
            follow(&mut copies, told);
        }
        let mut by_n = SortedTable::new(&store, "a", Some("n"));
        for ops in &steps {
            let changed = edit(&mut store, ops);
            follow(&mut copies, queries.apply(&store, &changed));
            by_n.apply(&store, &changed);
            let mut afresh = Queries::new();
            for (id, definition) in &definitions {
                afresh.set_definition(&store, id, definition.clone()).unwrap();
            }
            let mut shared = false;
            for (id, definition) in &definitions {
                let (kept, fresh) = (queries.result(id), afresh.result(id));
                prop_assert_eq!(copies.get(&Text::from(*id)).cloned().unwrap_or_default(), rows(kept));
                let grouped = format!("{definition:?}").contains("Group ");
                shared |= can_share_ids(definition);
                if !shared {
                    let with_ids = !grouped && *id == "first";
                    let (kept, fresh) = (rows(kept), rows(fresh));
                    prop_assert_eq!(shown_rows(&kept, with_ids), shown_rows(&fresh, with_ids));
                }
                for page in [Page::default(), Page { descending: true, offset: 1, limit: Some(3) }] {
                    // One is kept in order, the other is sorted now; both from the same order of rows.
                    let mut unsorted = ResultTable::clone(kept);
                    unsorted.forget_sorted();
                    prop_assert_eq!(
                        kept.sorted_row_ids(Some("n"), page),
                        unsorted.sorted_row_ids(Some("n"), page)
                    );
                }
            }
            let mut ids = by_n.row_ids(Page::default());
            let mut sorted = SortedTable::sort(&store, "a", Some("n"), Page::default());
            ids.sort();
            sorted.sort();
            prop_assert_eq!(ids, sorted);
        }
    }
}

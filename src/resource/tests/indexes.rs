//! Lists answered by an index: the same bytes as those answered by a pass over the rows.

use mergeable_store::{CellChange, ClientId, EditError, MergeableStore, Transaction};
use proptest::prelude::*;

use super::*;
use crate::resource::{
    Cell, CellId, Collation, IndexSpec, ListIndexes, ListQuery, Nulls, SortKey, store_rows,
};

const NOW: u64 = 1_763_800_000_000;

fn edit(
    store: &mut MergeableStore,
    write: impl FnOnce(&mut Transaction<'_>) -> Result<(), EditError>,
) -> Vec<CellChange> {
    store.edit(NOW, write).unwrap().1.cells
}

fn scanned(resource: &Resource, store: &MergeableStore, query: &ListQuery) -> String {
    resource.answer_list(store_rows(store, &resource.table), query).to_string()
}

fn indexed(
    resource: &Resource,
    indexes: &ListIndexes,
    store: &MergeableStore,
    query: &ListQuery,
) -> Option<String> {
    indexes.answer(resource, store, query).map(|answer| answer.to_string())
}

/// The example's resource with other indexes.
fn with(indexes: Vec<IndexSpec>, collation: Collation, nulls: Nulls) -> Resource {
    let mut resource = Resource::clone(&users());
    resource.query.sort.collation = collation;
    resource.query.sort.nulls = nulls;
    resource.query.sort.keys.extend(["id", "active"].map(CellId::from));
    resource.query.indexes = indexes;
    resource
}

fn spec(eq: &[&str], sort: &str) -> IndexSpec {
    let key = |part: &str| SortKey {
        cell: part.trim_start_matches('-').into(),
        descending: part.starts_with('-'),
    };
    let sort = sort.split(',').filter(|part| !part.is_empty()).map(key);
    IndexSpec { eq: eq.iter().map(|cell| CellId::from(*cell)).collect(), sort: sort.collect() }
}

#[test]
fn which_questions_an_index_answers() {
    let by_role = || spec(&["role"], "name,-age");
    let cases = [
        (by_role(), "role=admin&sort=name,-age", true),
        (by_role(), "roles=admin&sort=name,-age", true),
        (by_role(), "role=admin&sort=-name,age&offset=3", true),
        (by_role(), "role=admin&sort=-name,-age", true),
        (by_role(), "role=admin&sort=role,name,-age", true),
        (by_role(), "role=admin&sort=name,age", false),
        (by_role(), "role=admin&sort=name", false),
        (by_role(), "role=admin", false),
        (by_role(), "sort=name,-age", false),
        (by_role(), "roles=admin,viewer&sort=name,-age", false),
        (by_role(), "role=admin&roles=admin&sort=name,-age", false),
        (by_role(), "role=admin&active=true&sort=name,-age", false),
        (by_role(), "role=admin&minAge=3&sort=name,-age", false),
        (spec(&[], "age"), "sort=age&minAge=3&maxAge=9", true),
        (spec(&[], "age"), "sort=-age&minAge=3", true),
        (spec(&[], "age"), "sort=age&q=a", false),
        (spec(&[], "age"), "sort=age,id", true),
        (spec(&[], "age"), "sort=age,-id", false),
        (spec(&[], "age,-id"), "sort=age,-id", true),
        (spec(&["active"], ""), "active=true", true),
        (spec(&["active", "role"], ""), "role=admin&active=true&sort=-id", true),
    ];
    for (spec, question, answered) in cases {
        let resource = with(vec![spec], Collation::Binary, Nulls::First);
        let store = MergeableStore::new(ClientId::from_unique_id("s"));
        let indexes = ListIndexes::build(&resource, &store).unwrap();
        let query = ListQuery::parse(question, &resource.query, &resource.schema).unwrap();
        let answer = indexed(&resource, &indexes, &store, &query);
        assert_eq!(answer.is_some(), answered, "{question}");
        if let Some(answer) = answer {
            assert_eq!(answer, scanned(&resource, &store, &query), "{question}");
        }
    }
}

#[test]
#[allow(clippy::print_stdout, reason = "the figure is what one runs it for")]
fn bytes_of_a_row() {
    let resource = with(vec![spec(&["role"], "name")], Collation::Binary, Nulls::First);
    let mut store = MergeableStore::new(ClientId::from_unique_id("s"));
    edit(&mut store, |tx| {
        (0..10_000_u32).try_for_each(|at| {
            let name = format!("name {}", at.wrapping_mul(2_654_435_761) % 10_000);
            let cells = [("id", format!("user{at}")), ("name", name), ("role", "admin".into())];
            let cells = cells.map(|(id, text)| (id, Cell::from(text.as_str())));
            tx.set_row(&resource.table, format!("user{at}"), cells)
        })
    });
    let indexes = ListIndexes::build(&resource, &store).unwrap();
    let bytes = indexes.heap_bytes() as f64 / 10_000.0;
    println!("bytes a row of an index: {bytes:.1}");
    // The key has role, name, id and row id, of 9 to 13 bytes each and three to tell where one ends; 16 point to it.
    assert!(bytes < 80.0, "{bytes}");
}

const CELLS: [&str; 6] = ["id", "name", "age", "role", "active", "email"];

fn any_content() -> impl Strategy<Value = Cell> {
    prop_oneof![
        4 => prop::sample::select(vec!["a", "A", "b", "aB", "", "\u{0}", "a\u{0}", "é", "\u{1F600}", "admin", "viewer"])
            .prop_map(Cell::from),
        4 => (-2..3_i8).prop_map(|n| Cell::Number(f64::from(n) / 2.0)),
        2 => any::<bool>().prop_map(Cell::Bool),
        1 => Just(Cell::Null),
        1 => Just(Cell::Json("[1]".into())),
    ]
}

#[derive(Clone, Debug)]
enum Op {
    Set(u8, &'static str, Cell),
    DelCell(u8, &'static str),
    DelRow(u8),
    OtherTable(u8),
}

fn any_op() -> impl Strategy<Value = Op> {
    let (row, cell) = (0..24_u8, prop::sample::select(CELLS.to_vec()));
    prop_oneof![
        12 => (row.clone(), cell.clone(), any_content())
            .prop_map(|(row, cell, content)| Op::Set(row, cell, content)),
        2 => (row.clone(), cell).prop_map(|(row, cell)| Op::DelCell(row, cell)),
        1 => row.clone().prop_map(Op::DelRow),
        1 => row.prop_map(Op::OtherTable),
    ]
}

fn write(tx: &mut Transaction<'_>, table: &str, op: &Op) -> Result<(), EditError> {
    // One id has half a surrogate pair, which no UTF-8 has.
    let id = |row: u8| match row {
        0 => mergeable_store::Text::from_utf16(&[0x72, 0xD800]),
        row => format!("r{row}").into(),
    };
    match op {
        Op::Set(row, cell, content) => tx.set_cell(table, id(*row), cell, content.clone()),
        Op::DelCell(row, cell) => tx.del_cell(table, id(*row), cell),
        Op::DelRow(row) => tx.del_row(table, id(*row)),
        Op::OtherTable(row) => tx.set_cell("other", id(*row), "name", "x"),
    }
}

fn any_index() -> impl Strategy<Value = IndexSpec> {
    let eq = prop::sample::subsequence(vec!["role", "active"], 0..=2);
    let sort = prop::sample::subsequence(vec!["name", "age", "email"], 0..=2).prop_shuffle();
    (eq, sort, any::<[bool; 2]>()).prop_map(|(eq, sort, descending)| {
        let sort = sort.iter().zip(descending);
        let sort = sort.map(|(cell, down)| format!("{}{cell}", if down { "-" } else { "" }));
        spec(&eq, &sort.collect::<Vec<_>>().join(","))
    })
}

/// A question that the index answers, or nearly so.
fn question(index: &IndexSpec, turned: usize, rest: &[String]) -> String {
    let sort = index.sort.iter().enumerate().map(|(at, key)| {
        format!("{}{}", if key.descending != (at < turned) { "-" } else { "" }, key.cell)
    });
    let mut sort: Vec<String> = sort.collect();
    if turned > sort.len() {
        sort.push("-id".to_owned());
    }
    let eq = index.eq.iter().map(|cell| match &**cell {
        "role" => "role=admin".to_owned(),
        _ => "active=true".to_owned(),
    });
    let mut parts: Vec<String> = eq.chain(rest.iter().cloned()).collect();
    if !sort.is_empty() {
        parts.push(format!("sort={}", sort.join(",")));
    }
    parts.join("&")
}

fn any_rest() -> impl Strategy<Value = Vec<String>> {
    let part = |name: &'static str, values: &'static [&'static str]| {
        prop::option::weighted(0.3, prop::sample::select(values))
            .prop_map(move |value| value.map(|value| format!("{name}={value}")))
    };
    (
        part("minAge", &["-1", "0", "0.5"]),
        part("maxAge", &["-0.5", "0", "1"]),
        part("limit", &["1", "3", "100"]),
        part("offset", &["1", "2", "7"]),
    )
        .prop_map(|(least, most, limit, offset)| {
            [least, most, limit, offset].into_iter().flatten().collect()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn an_index_answers_as_a_pass_over_the_rows(
        index in any_index(), other in any_index(), nocase: bool, last: bool,
        start in prop::collection::vec(any_op(), 0..120),
        steps in prop::collection::vec(
            (prop::collection::vec(any_op(), 0..12), 0..4_usize, any_rest()), 1..8,
        ),
    ) {
        let collation = if nocase { Collation::Nocase } else { Collation::Binary };
        let nulls = if last { Nulls::Last } else { Nulls::First };
        let resource = with(vec![index.clone(), other], collation, nulls);
        let table = resource.table.clone();
        let mut store = MergeableStore::new(ClientId::from_unique_id("s"));
        edit(&mut store, |tx| start.iter().try_for_each(|op| write(tx, &table, op)));
        let mut indexes = ListIndexes::build(&resource, &store).unwrap();
        for (ops, turned, rest) in steps {
            let changed =
                edit(&mut store, |tx| ops.iter().try_for_each(|op| write(tx, &table, op)));
            indexes.apply(&store, &changed);
            let question = question(&index, turned, &rest);
            let query = ListQuery::parse(&question, &resource.query, &resource.schema).unwrap();
            let by_index = indexed(&resource, &indexes, &store, &query);
            if let Some(by_index) = &by_index {
                prop_assert_eq!(by_index, &scanned(&resource, &store, &query), "{}", question);
            }
            let only_pages = !question.contains("Age=");
            prop_assert!(by_index.is_some() || !only_pages, "not answered: {}", question);
        }
    }

    #[test]
    fn changes_of_several_transactions_can_come_at_once(
        start in prop::collection::vec(any_op(), 0..60),
        steps in prop::collection::vec(prop::collection::vec(any_op(), 1..6), 1..6),
    ) {
        let resource =
            with(vec![spec(&["role"], "name"), spec(&[], "age")], Collation::Binary, Nulls::First);
        let table = resource.table.clone();
        let mut store = MergeableStore::new(ClientId::from_unique_id("s"));
        edit(&mut store, |tx| start.iter().try_for_each(|op| write(tx, &table, op)));
        let mut indexes = ListIndexes::build(&resource, &store).unwrap();
        let mut changed = Vec::new();
        for ops in steps {
            changed.extend(edit(&mut store, |tx| {
                ops.iter().try_for_each(|op| write(tx, &table, op))
            }));
        }
        indexes.apply(&store, &changed);
        for question in ["role=admin&sort=name", "sort=-age", "sort=age&minAge=0"] {
            let query = ListQuery::parse(question, &resource.query, &resource.schema).unwrap();
            let by_index = indexed(&resource, &indexes, &store, &query).unwrap();
            prop_assert_eq!(by_index, scanned(&resource, &store, &query), "{}", question);
        }
    }
}

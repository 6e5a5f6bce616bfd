//! Queries and sorted row ids as TinyBase 10.0.1 gave them: `queries.json` of the mergeable store's vectors.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod expression;

use std::path::PathBuf;
use std::sync::Arc;

use expression::{Context, Expression, definition};
use mergeable_store::{Cell, CellChange, ClientId, Json, MergeableStore, Text, Transaction};
use tinyql::{Page, Params, Queries, ResultTable, SortedTable};

const NOW: u64 = 1_763_800_000_000;

/// The recordings: the mergeable store's, and a random one of our own (`vectors/record.mjs`); or the one in the folder
/// that `CROSSFADE_VECTORS` names.
#[allow(clippy::disallowed_methods, reason = "vectors are files; only the tests read them")]
fn recordings() -> Vec<Json> {
    let crates = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let kept = ["mergeable-store", "tinyql"];
    let folders = std::env::var_os("CROSSFADE_VECTORS").map_or_else(
        || kept.map(|name| PathBuf::from(format!("{crates}/{name}/tests/vectors"))).to_vec(),
        |folder| vec![PathBuf::from(folder)],
    );
    let read = |folder: PathBuf| {
        let path = folder.join("queries.json");
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Json::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    folders.into_iter().map(read).collect()
}

/// Reading JSON whose shape is known.
pub(crate) trait Known {
    fn get(&self, key: &str) -> Option<&Json>;
    fn at(&self, key: &str) -> &Json;
    fn items(&self) -> &[Json];
    fn entries(&self) -> Vec<(&Text, &Json)>;
    fn text(&self) -> &Text;
    fn cell(&self) -> Cell;
}

impl Known for Json {
    fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Self::Object(entries) => entries.get(key.as_bytes()),
            _ => None,
        }
    }

    fn at(&self, key: &str) -> &Json {
        self.get(key).unwrap_or_else(|| panic!("no {key} in {}", self.stringify()))
    }

    fn items(&self) -> &[Json] {
        match self {
            Self::Array(items) => items,
            other => panic!("no array: {}", other.stringify()),
        }
    }

    fn entries(&self) -> Vec<(&Text, &Json)> {
        match self {
            Self::Object(entries) => entries.iter().collect(),
            other => panic!("no object: {}", other.stringify()),
        }
    }

    fn text(&self) -> &Text {
        match self {
            Self::String(text) => text,
            other => panic!("no string: {}", other.stringify()),
        }
    }

    fn cell(&self) -> Cell {
        match self {
            Self::Null => Cell::Null,
            Self::Bool(truth) => Cell::Bool(*truth),
            Self::Number(number) => Cell::Number(*number),
            Self::String(text) => Cell::String(text.clone()),
            Self::Array(_) | Self::Object(_) => Cell::Json(self.stringify().into()),
        }
    }
}

fn whole(json: &Json) -> i64 {
    match json {
        Json::Number(number) => *number as i64,
        other => panic!("no number: {}", other.stringify()),
    }
}

fn page(sort: &Json) -> Page {
    Page {
        descending: sort.get("descending") == Some(&Json::Bool(true)),
        offset: sort.get("offset").map_or(0, whole),
        limit: sort.get("limit").map(whole),
    }
}

fn by(sort: &Json) -> Option<&str> {
    sort.get("cell").map(|cell| cell.text().as_str().unwrap())
}

fn ids(json: &Json) -> Vec<Text> {
    json.items().iter().map(|id| id.text().clone()).collect()
}

fn write(tx: &mut Transaction<'_>, op: &Json) {
    let args = op.items();
    let cells = |json: &Json| -> Vec<(Text, Cell)> {
        json.entries().into_iter().map(|(id, cell)| (id.clone(), cell.cell())).collect()
    };
    let text = |at: usize| args[at].text();
    match text(0).to_string().as_str() {
        "setCell" => tx.set_cell(text(1), text(2), text(3), args[4].cell()).unwrap(),
        "setRow" => tx.set_row(text(1), text(2), cells(&args[3])).unwrap(),
        "delRow" => tx.del_row(text(1), text(2)).unwrap(),
        "delCell" => tx.del_cell(text(1), text(2), text(3)).unwrap(),
        "transaction" => args[1].items().iter().for_each(|op| write(tx, op)),
        other => panic!("unknown op {other}"),
    }
}

fn edit(store: &mut MergeableStore, ops: impl FnOnce(&mut Transaction<'_>)) -> Vec<CellChange> {
    let edited = store.edit(NOW, |tx| {
        ops(tx);
        Ok::<_, mergeable_store::EditError>(())
    });
    edited.unwrap().1.cells
}

fn params(json: &Json) -> Params {
    json.entries().into_iter().map(|(name, value)| (name.clone(), value.cell())).collect()
}

fn check(name: &str, result: &ResultTable, expect: &Json) {
    let rows: Vec<Text> = result.row_ids().cloned().collect();
    assert_eq!(rows, ids(expect.at("rowIds")), "{name}: rows");
    let table = expect.at("table").entries();
    assert_eq!(rows.len(), table.len(), "{name}");
    for (row, cells) in table {
        let cells = cells.entries();
        assert_eq!(result.row(row).count(), cells.len(), "{name}: cells of {row}");
        for (cell, content) in cells {
            assert_eq!(result.cell(row, cell), Some(&content.cell()), "{name}: {row} {cell}");
        }
    }
    let mut cell_ids: Vec<Text> = result.table_cell_ids().cloned().collect();
    cell_ids.sort_by_key(Text::to_utf16);
    assert_eq!(cell_ids, ids(expect.at("cellIds")), "{name}: cell ids");
    for sort in expect.at("sorts").items() {
        let sorted = result.sorted_row_ids(by(sort), page(sort));
        assert_eq!(sorted, ids(sort.at("ids")), "{name}: sorted {}", sort.stringify());
    }
}

/// Runs a case; with its sorts kept, or made anew each time.
fn run(case: &Json, keep_sorted: bool) -> usize {
    let name = case.at("name").text().to_string();
    let mut store = MergeableStore::new(ClientId::from_unique_id("queries"));
    for (table, rows) in case.at("tables").entries() {
        let rows = rows.entries().into_iter().map(|(row, cells)| {
            let cells = cells.entries().into_iter();
            (row, cells.map(|(cell, content)| (cell, content.cell())).collect::<Vec<_>>())
        });
        edit(&mut store, |tx| tx.set_table(table, rows).unwrap());
    }
    let mut queries = Queries::new();
    for query in case.at("queries").items() {
        queries.set_definition(&store, query.at("id").text(), definition(query)).unwrap();
    }
    let last = case.at("queries").items().last().unwrap().at("id").text();
    if keep_sorted {
        for sort in case.at("expect").at("sorts").items() {
            queries.keep_sorted(last, by(sort));
        }
    }
    check(&name, queries.result(last), case.at("expect"));
    let steps = case.get("steps").map_or(&[][..], Json::items);
    for (at, step) in steps.iter().enumerate() {
        for op in step.at("ops").items() {
            let args = op.items();
            match args[0].text().to_string().as_str() {
                "setParamValue" => {
                    queries.set_param(&store, last, args[1].text(), Some(args[2].cell()));
                }
                "setParamValues" => {
                    queries.set_params(&store, last, params(&args[1]));
                }
                _ => {
                    let changed = edit(&mut store, |tx| write(tx, op));
                    queries.apply(&store, &changed);
                }
            }
        }
        check(&format!("{name}, step {at}"), queries.result(last), step.at("expect"));
    }
    steps.len()
}

#[test]
#[allow(clippy::print_stdout, reason = "how much was compared")]
fn results_rows_and_sorts_are_tinybases_at_every_step() {
    for recording in recordings() {
        let cases = recording.at("cases").items();
        let steps: usize = cases.iter().map(|case| run(case, false)).sum();
        assert_eq!(cases.iter().map(|case| run(case, true)).sum::<usize>(), steps);
        println!("{} cases, {steps} steps, with sorts kept and sorts made anew", cases.len());
        assert!(steps > 0, "an empty recording");
    }
}

#[test]
#[allow(clippy::print_stdout, reason = "how much was compared")]
fn rows_of_a_table_are_sorted_as_tinybase_sorts_them() {
    for recording in recordings() {
        let tables = recording.at("sorting").items();
        let sorts: usize = tables.iter().map(run_sorts).sum();
        println!("{sorts} sorts of {} tables", tables.len());
        assert!(sorts > 0, "an empty recording");
    }
}

fn run_sorts(case: &Json) -> usize {
    let mut store = MergeableStore::new(ClientId::from_unique_id("sorting"));
    let sorts = case.at("sorts").items();
    let mut kept: Vec<(Option<&str>, SortedTable)> = Vec::new();
    for by in sorts.iter().map(by) {
        if !kept.iter().any(|(kept, _)| *kept == by) {
            kept.push((by, SortedTable::new(&store, "t", by)));
        }
    }
    for row in case.at("rows").items() {
        let (id, cells) = (row.items()[0].text(), row.items()[1].entries().into_iter());
        let cells: Vec<_> = cells.map(|(id, cell)| (id, cell.cell())).collect();
        let changed = edit(&mut store, |tx| tx.set_row("t", id, cells).unwrap());
        kept.iter_mut().for_each(|(_, kept)| kept.apply(&store, &changed));
    }
    for sort in sorts {
        let (by, page, expect) = (by(sort), page(sort), ids(sort.at("ids")));
        let context = sort.stringify();
        assert_eq!(SortedTable::sort(&store, "t", by, page), expect, "{context}");
        assert_eq!(SortedTable::new(&store, "t", by).row_ids(page), expect, "{context}");
        let (_, kept) = kept.iter().find(|(kept, _)| *kept == by).unwrap();
        assert_eq!(kept.row_ids(page), expect, "{context}");
    }
    sorts.len()
}

#[test]
fn expressions_are_read_once() {
    let json = Json::parse(r#"["mul",["lit",6],7]"#).unwrap();
    let expression = Arc::new(Expression::read(&json));
    struct Nothing;
    impl Context for Nothing {
        fn cell(&self, _: Option<&Text>, _: &Text) -> Option<Cell> {
            None
        }
        fn row_id(&self) -> Option<Text> {
            None
        }
        fn param(&self, _: &Text) -> Option<Cell> {
            None
        }
    }
    assert_eq!(expression.value(&Nothing), Some(Cell::Number(42.0)));
}

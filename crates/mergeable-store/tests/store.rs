//! The store's own interface: what a caller reads, writes, loads, and is refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that meets the unexpected has to fail"
)]

mod support;

use mergeable_store::{
    Cell, CellError, CellRef, Changes, Container, EditError, Hlc, MergeError, MergeableStore, Text,
    Transaction,
};
use support::net::NOW;
use support::store;

fn names(ids: &[Text]) -> Vec<&str> {
    ids.iter().map(|id| id.as_str().unwrap()).collect()
}

fn write(
    store: &mut MergeableStore,
    edit: impl FnOnce(&mut Transaction<'_>) -> Result<(), EditError>,
) -> Changes {
    store.transaction(NOW, edit).unwrap().1
}

/// Three rows in table t, one in u; seen in TinyBase 10.0.1 by the same writes.
fn filled() -> MergeableStore {
    let mut store = store("x");
    write(&mut store, |tx| {
        tx.set_table(
            "t",
            [("a", vec![("x", 1), ("y", 2)]), ("b", vec![("x", 1)]), ("c", vec![("x", 1)])],
        )?;
        tx.set_cell("u", "r", "c", 1)
    });
    store
}

#[test]
fn a_row_that_loses_its_last_cell_and_gets_another_in_one_merge_moves_to_the_end() {
    let mut store = store("x");
    write(&mut store, |tx| {
        tx.set_cell("t", "a", "x", 1)?;
        tx.set_cell("t", "b", "x", 1)?;
        tx.set_cell("u", "r", "c", 1)
    });
    // As TinyBase, which applies a merge cell by cell: row a and table t die in between.
    let (gone, back): (Hlc, Hlc) =
        ("Oeef1N----z-----".parse().unwrap(), "Oeef1N----z0----".parse().unwrap());
    let mut changes = Changes::new();
    changes.set_cell("t", "b", "x", None, gone);
    changes.set_cell("t", "a", "x", None, gone);
    changes.set_cell("t", "a", "y", Some(Cell::from(2)), back);
    store.merge(NOW, &changes).unwrap();
    assert_eq!(names(&store.table_ids()), ["u", "t"]);

    let mut changes = Changes::new();
    let later: Hlc = "Oeef1N----z1----".parse().unwrap();
    changes.set_cell("t", "b", "x", Some(Cell::from(3)), back);
    changes.set_cell("t", "a", "y", None, later);
    changes.set_cell("t", "a", "x", Some(Cell::from(4)), later);
    store.merge(NOW, &changes).unwrap();
    assert_eq!(names(&store.row_ids("t")), ["b", "a"]);
    assert_eq!(names(&store.table_ids()), ["u", "t"]);
}

#[test]
fn changes_of_a_write_carry_the_hlcs_of_their_containers() {
    let mut store = store("x");
    let hlc: Hlc = "Oeef1N----------".parse().unwrap();
    let mut old = Changes::new();
    for container in [
        Container::Tables,
        Container::Table("t".into()),
        Container::Row("t".into(), "r".into()),
        Container::Values,
    ] {
        old.set_container(&container, hlc);
    }
    store.merge(NOW, &old).unwrap();
    let changes = write(&mut store, |tx| tx.set_cell("t", "r", "c", 1));
    let (_, stamp_hlc) = store.stamp("t", "r", "c").unwrap();
    let expected = format!(
        r#"[[{{"t":[{{"r":[{{"c":[1,"{stamp_hlc}"]}},"{hlc}"]}},"{hlc}"]}},"{hlc}"],[{{}},"{hlc}"],1]"#
    );
    assert_eq!(changes.to_json(), expected);
    assert!(write(&mut store, |_| Ok(())).is_empty());
}

#[test]
fn a_rollback_moves_what_was_deleted_to_the_end_and_uses_the_clock() {
    let mut store = filled();
    let before = store.hashes();
    let result: Result<((), Changes), EditError> = store.transaction(NOW, |tx| {
        tx.del_row("t", "a")?;
        tx.del_cell("t", "b", "x")?;
        tx.set_cell("t", "b", "y", 5)?;
        tx.del_table("u")?;
        Err(EditError::Empty)
    });
    assert_eq!(result, Err(EditError::Empty));
    assert_eq!(store.hashes(), before);
    // As TinyBase: row b came back within the transaction, row a when it was undone.
    assert_eq!(names(&store.row_ids("t")), ["c", "b", "a"]);
    // Five readings for the first writes, five for the transaction, five to undo it.
    assert_eq!(store.next_hlc(NOW).to_string(), "Oeef1N----Ex2416");
}

#[test]
fn rows_and_cells_are_listed_as_they_came_to_life() {
    let mut store = filled();
    write(&mut store, |tx| {
        tx.del_row("t", "a")?;
        tx.set_cell("t", "a", "y", 1)?;
        tx.set_cell("t", "a", "x", 1)
    });
    assert_eq!(names(&store.row_ids("t")), ["b", "c", "a"]);
    assert_eq!(names(&store.cell_ids("t", "a")), ["y", "x"]);
    let row: Vec<_> = store.row("t", "a").collect();
    assert_eq!(row, [("y".into(), Cell::from(1)), ("x".into(), Cell::from(1))]);
    assert_eq!(names(&store.table_ids()), ["t", "u"]);
    assert_eq!((store.row_count("t"), store.row_count("none")), (3, 0));
}

#[test]
fn setting_what_is_there_is_no_change() {
    let mut store = filled();
    assert!(write(&mut store, |tx| tx.set_cell("t", "a", "x", 1)).is_empty());
    assert!(write(&mut store, |tx| tx.del_cell("t", "a", "none")).is_empty());
    write(&mut store, |tx| tx.set_cell("t", "a", "o", Cell::Json("{}".into())));
    assert!(
        write(&mut store, |tx| tx.set_cell("t", "a", "o", Cell::RawJson("{}".into()))).is_empty()
    );
}

#[test]
fn a_transaction_tells_each_cell_once_from_first_to_last() {
    let mut store = filled();
    let edit = store.edit(NOW, |tx| {
        tx.set_cell("t", "a", "x", 7)?;
        tx.del_row("t", "a")?;
        tx.set_cell("t", "a", "x", 8)
    });
    let merged: mergeable_store::Merged = edit.map_err(|error: EditError| error).unwrap().1;
    let told: Vec<_> =
        merged.cells.iter().map(|change| (change.old.clone(), change.new.clone())).collect();
    assert_eq!(told, [(Some(Cell::from(1)), Some(Cell::from(8))), (Some(Cell::from(2)), None)]);
}

#[test]
fn what_tinybase_does_not_store_is_refused() {
    let mut store = filled();
    let before = store.to_changes();
    let cell =
        |source| EditError::Cell { table: "t".into(), row: "a".into(), cell: "x".into(), source };
    let refuse = |store: &mut MergeableStore, content: Cell| {
        store
            .transaction(NOW, |tx| {
                tx.set_partial_row("t", "a", [("new", Cell::Null), ("x", content)])
            })
            .unwrap_err()
    };
    assert_eq!(refuse(&mut store, Cell::from("\u{FFFC}")), cell(CellError::Reserved));
    assert_eq!(refuse(&mut store, Cell::from("\u{FFFD}[]")), cell(CellError::Reserved));
    assert_eq!(refuse(&mut store, Cell::Number(f64::INFINITY)), cell(CellError::NotFinite));
    let none: [(&str, Cell); 0] = [];
    assert_eq!(
        store.transaction(NOW, |tx| tx.set_row("t", "a", none.clone())).unwrap_err(),
        EditError::Empty
    );
    assert_eq!(store.transaction(NOW, |tx| tx.set_values(none)).unwrap_err(), EditError::Empty);
    let mut changes = Changes::new();
    changes.set_cell("t", "a", "fine", Some(Cell::Null), store.next_hlc(NOW));
    changes.set_cell("t", "a", "x", Some(Cell::from("\u{FFFD}")), store.next_hlc(NOW));
    assert_eq!(store.merge(NOW, &changes), Err(MergeError::Cell(CellError::Reserved)));
    assert_eq!(store.to_changes(), before);
}

#[test]
fn a_stamp_that_the_clock_cannot_pass_refuses_the_write() {
    let mut store = filled();
    let last = "zzzzzzzzzzzzzzzz".parse::<Hlc>().unwrap();
    store.load_cell("t", "a", "x", Some(Cell::Null), last);
    // 42 bits of milliseconds are used up, so the next reading wraps round.
    let result = store.transaction(NOW, |tx| tx.set_cell("t", "a", "x", 1));
    assert_eq!(result, Err(EditError::Overtaken));
    assert_eq!(store.get_cell("t", "a", "x"), Some(CellRef::Null));
}

#[test]
fn loading_keeps_the_newest_and_moves_the_clock() {
    let mut store = store("x");
    let ahead = "OeejzkW----x2416".parse::<Hlc>().unwrap();
    store.load_cell("t", "r", "c", None, ahead);
    store.load_cell("t", "r", "c", Some(Cell::from(1)), Hlc::EMPTY);
    assert_eq!(store.stamp("t", "r", "c"), Some((None, ahead)));
    assert_eq!((store.has_row("t", "r"), store.get_cell("t", "r", "c")), (false, None));
    assert!(store.next_hlc(1) > ahead);
    assert_eq!(store.computed_hashes(), store.hashes());
}

#[test]
fn a_row_of_many_cells_is_found_by_index() {
    let mut store = store("x");
    write(&mut store, |tx| {
        tx.set_row("t", "r", (0..1000).map(|number| (number.to_string(), number)))
    });
    assert_eq!(store.get_cell("t", "r", "777"), Some(Cell::from(777).view()));
    assert_eq!(store.cell_ids("t", "r").len(), 1000);
}

//! Schemas and what listeners hear, against what TinyBase 10.0.1 does with the same writes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that meets the unexpected has to fail"
)]

mod support;

use mergeable_store::{
    Cell, EditError, Hlc, IdChange, MergeableStore, Merged, TablesSchema, Text, Transaction,
    ValuesSchema,
};
use support::net::NOW;
use support::store;

fn edit(
    store: &mut MergeableStore,
    edit: impl FnOnce(&mut Transaction<'_>) -> Result<(), EditError>,
) -> Merged {
    store.edit(NOW, edit).unwrap().1
}

const PETS: &str = "{\"pets\":{\"species\":{\"type\":\"string\",\"default\":\"dog\"},\
     \"age\":{\"type\":\"number\"},\
     \"nick\":{\"type\":\"string\",\"allowNull\":true,\"default\":null},\
     \"o\":{\"type\":\"object\"},\"arr\":{\"type\":\"array\",\"default\":[1]}}}";

fn schema(text: &str) -> TablesSchema {
    TablesSchema::from_json(text).unwrap()
}

/// Hashes as TinyBase had them after each of these writes, on a store with unique id `x`.
#[test]
fn a_tables_schema_guards_writes_and_gives_defaults() {
    let mut store = store("x");
    edit(&mut store, |tx| tx.set_tables_schema(schema(PETS)));
    edit(&mut store, |tx| tx.set_row("pets", "fido", [("age", 3)]));
    assert_eq!(store.hashes().tables, 1_735_785_451);
    assert_eq!(store.stamp("pets", "fido", "species"), Some((Some("dog".into()), Hlc::EMPTY)));
    let merged = edit(&mut store, |tx| {
        tx.set_cell("pets", "fido", "age", "x")?;
        tx.set_cell("pets", "fido", "age", Cell::Null)?;
        tx.set_cell("pets", "fido", "unknown", 1)?;
        tx.set_cell("pets", "fido", "nick", Cell::Null)?;
        tx.set_cell("other", "r", "c", 1)?;
        tx.del_cell("pets", "fido", "species")
    });
    assert_eq!(store.hashes().tables, 1_735_785_451);
    assert!(merged.is_empty());
    let invalid: Vec<_> = merged.invalid_cells.iter().map(|one| one.cell.to_string()).collect();
    assert_eq!(invalid, ["age", "age", "unknown", "c"]);
    edit(&mut store, |tx| tx.force_del_cell("pets", "fido", "species"));
    assert_eq!(store.hashes().tables, 1_129_409_213);
    edit(&mut store, |tx| tx.del_cell("pets", "fido", "age"));
    edit(&mut store, |tx| {
        tx.set_row("pets", "rex", [("species", Cell::from("cat")), ("age", 1.into())])
    });
    edit(&mut store, |tx| tx.set_row("pets", "rex", [("age", 2)]));
    assert_eq!(store.hashes().tables, 1_483_599_161);
    edit(&mut store, |tx| tx.set_partial_row("pets", "rex", [("species", 5), ("age", 9)]));
    assert_eq!(store.hashes().tables, 3_714_972_257);
    edit(&mut store, |tx| tx.del_row("pets", "rex"));
    assert_eq!(store.hashes().tables, 2_242_413_644);
    assert_eq!(store.computed_hashes(), store.hashes());
}

#[test]
fn a_schema_set_later_brings_the_content_in_line() {
    let mut store = store("x");
    edit(&mut store, |tx| {
        tx.set_row("pets", "fido", [("age", "3"), ("color", "b")])?;
        tx.set_row("pets", "rex", [("x", 1)])?;
        tx.set_row("foo", "r", [("c", 1)])?;
        tx.set_values([("open", Cell::from(1)), ("emp", "x".into())])
    });
    let hashes = |store: &MergeableStore| (store.hashes().tables, store.hashes().values);
    assert_eq!(hashes(&store), (1_880_907_805, 955_661_309));
    let pets = "{\"pets\":{\"species\":{\"type\":\"string\",\"default\":\"dog\"},\"age\":{\"type\":\"number\"}}}";
    edit(&mut store, |tx| tx.set_tables_schema(schema(pets)));
    assert_eq!(hashes(&store), (2_228_230_069, 955_661_309));
    let values = "{\"open\":{\"type\":\"boolean\",\"default\":false},\
         \"n\":{\"type\":\"number\",\"allowNull\":true},\"d\":{\"type\":\"string\",\"default\":\"q\"}}";
    let values = ValuesSchema::from_json(values).unwrap();
    edit(&mut store, |tx| tx.set_values_schema(values));
    assert_eq!(store.hashes().values, 2_525_923_296);
    edit(&mut store, |tx| {
        tx.set_value("open", 3)?;
        tx.set_value("n", Cell::Null)?;
        tx.set_value("zz", 1)
    });
    assert_eq!(store.hashes().values, 3_651_932_906);
    edit(&mut store, |tx| tx.del_value("open"));
    assert_eq!(store.hashes().values, 3_651_932_906);
    edit(&mut store, |tx| tx.del_values());
    assert_eq!(store.hashes().values, 2_306_701_066);
    edit(&mut store, |tx| tx.set_values([("n", 1)]));
    assert_eq!(store.hashes().values, 707_598_957);
    edit(&mut store, |tx| tx.set_values([("bad", 1)]));
    assert_eq!(hashes(&store), (2_228_230_069, 3_886_362_022));
    edit(&mut store, |tx| {
        tx.del_tables_schema();
        tx.del_values_schema();
        tx.set_cell("any", "r", "c", 1)
    });
    assert!(store.tables_schema().is_none() && store.values_schema().is_none());
    assert_eq!(store.get_cell("any", "r", "c"), Some(Cell::from(1).view()));
}

#[test]
fn a_required_cell_refuses_the_row_and_a_rollback_brings_the_schema_back() {
    let mut store = store("x");
    let required =
        "{\"t\":{\"a\":{\"type\":\"number\",\"required\":true},\"b\":{\"type\":\"number\"}}}";
    edit(&mut store, |tx| tx.set_tables_schema(schema(required)));
    edit(&mut store, |tx| {
        tx.set_row("t", "r", [("b", 1)])?;
        tx.set_table("t", [("r", [("b", 1)])])
    });
    assert!(!store.has_row("t", "r"));
    edit(&mut store, |tx| tx.set_row("t", "r", [("b", 1), ("a", 1)]));
    assert!(store.has_row("t", "r"));
    let failed: Result<((), Merged), &str> = store.edit(NOW, |tx| {
        tx.del_tables_schema();
        Err("wanted")
    });
    assert_eq!(failed.unwrap_err(), "wanted");
    assert_eq!(store.tables_schema(), Some(&schema(required)));
}

#[test]
fn listeners_hear_what_changed_in_the_end() {
    let mut store = store("x");
    let merged = edit(&mut store, |tx| {
        tx.set_cell("t", "gone", "c", 1)?;
        tx.del_row("t", "gone")?;
        tx.set_cell("t", "r", "c", 1)?;
        tx.set_cell("t", "r", "c", 2)?;
        tx.set_value("v", 1)
    });
    let heard = store.notifications(&merged);
    let id = Text::from;
    assert_eq!((heard.has_tables, heard.has_values), (Some(true), Some(true)));
    assert_eq!(heard.table_ids, [(id("t"), IdChange::Added)]);
    assert_eq!(heard.row_ids, [(id("t"), id("r"), IdChange::Added)]);
    assert_eq!(heard.cell_ids, [(id("t"), id("r"), id("c"), IdChange::Added)]);
    assert_eq!(heard.cells, [(id("t"), id("r"), id("c"), (None, Some(Cell::from(2))))]);
    assert_eq!(heard.row_counts, [(id("t"), 1)]);
    assert_eq!(heard.value_ids, [(id("v"), IdChange::Added)]);

    let merged = edit(&mut store, |tx| {
        tx.set_cell("t", "r", "d", 1)?;
        tx.set_cell("t", "r", "c", 3)?;
        tx.set_cell("t", "r", "c", 2)
    });
    let heard = store.notifications(&merged);
    assert_eq!((heard.has_tables, heard.has_values), (None, None));
    assert_eq!((heard.tables, heard.rows), (vec![id("t")], vec![(id("t"), id("r"))]));
    assert!(heard.table_ids.is_empty() && heard.row_ids.is_empty());
    assert_eq!(heard.cell_ids, [(id("t"), id("r"), id("d"), IdChange::Added)]);
    assert_eq!(heard.cells.len(), 1);

    let merged = edit(&mut store, |tx| {
        tx.del_tables()?;
        tx.del_values()
    });
    let heard = store.notifications(&merged);
    assert_eq!((heard.has_tables, heard.has_values), (Some(false), Some(false)));
    assert_eq!(heard.row_ids, [(id("t"), id("r"), IdChange::Removed)]);
    assert_eq!(heard.row_counts, [(id("t"), 0)]);
    assert_eq!(heard.cell_ids.len(), 2);
    let nothing = edit(&mut store, |tx| tx.del_tables());
    assert!(store.notifications(&nothing).is_empty());
}

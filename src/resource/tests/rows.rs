//! Legacy's JSON becomes cells and cells become legacy's JSON.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::migration::RowId;
use crate::resource::{Cell, CellType, Changes, DroppedFields, RowCells, RowProblem, Version};

fn user() -> Value {
    json!({
        "id": "u_1", "orgId": "o_1", "name": "Ada", "email": "ada@example.com", "role": "admin", "age": 36,
        "active": true, "createdAt": "2026-01-01T00:00:00.000Z", "updatedAt": "2026-01-01T00:00:00.000Z", "version": 3
    })
}

fn with(field: &str, value: Value) -> Value {
    let mut user = user();
    user[field] = value;
    user
}

fn without(field: &str) -> Value {
    let mut user = user();
    user.as_object_mut().unwrap().remove(field);
    user
}

fn read(value: &Value) -> Result<RowCells, RowProblem> {
    users().schema.row_from_json(value).map(|row| row.cells)
}

#[test]
fn a_row_survives_the_way_there_and_back() {
    let users = users();
    let cells = read(&user()).unwrap();
    let back = users.schema.json_from_row(&cells);
    assert_eq!(back, user());
    let order: Vec<_> = back.as_object().unwrap().keys().collect();
    assert_eq!(order, user().as_object().unwrap().keys().collect::<Vec<_>>());
    assert_eq!(users.row_id(&cells), Some(RowId::new("u_1")));
    assert_eq!(users.version(&cells), Some(Version::Number(3.0)));
    assert_eq!(users.path.from_row(&cells).unwrap().as_str(), "org/o_1");
}

#[test]
fn unknown_fields_are_dropped_and_told() {
    let row = users().schema.row_from_json(&with("zodiac", json!("leo"))).unwrap();
    assert_eq!(row.dropped, ["zodiac"]);
    let mut all = DroppedFields::default();
    assert_eq!(all.note(&row.dropped), ["zodiac"]);
    assert_eq!(all.note(&row.dropped), [""; 0], "told once");
    assert_eq!(all.iter().collect::<Vec<_>>(), [("zodiac", 2)]);
    assert_eq!(Ok(row.cells), read(&user()));
}

#[test]
fn dropped_fields_are_bounded() {
    let mut all = DroppedFields::default();
    let names: Vec<_> = (0..1000).map(|n| n.to_string()).collect();
    assert_eq!(all.note(&names).len(), 256);
    assert_eq!((all.iter().count(), all.beyond()), (256, 744));
}

#[test]
fn missing_and_null_are_told_apart() {
    let users = users();
    assert_eq!(read(&without("age")).unwrap().get("age"), None);
    assert_eq!(read(&with("age", Value::Null)).unwrap().get("age"), Some(&Cell::Null));
    // A nullable cell without a value is null in the answer, one that may not be null is left out.
    assert_eq!(users.schema.json_from_row(&read(&without("age")).unwrap())["age"], Value::Null);
    let without = users.schema.json_from_row(&read(&without("createdAt")).unwrap());
    assert_eq!(without.get("createdAt"), None);
}

#[test]
fn what_is_no_row_names_field_and_types() {
    let field = |name: &str| name.into();
    let cases = [
        (json!([]), RowProblem::NotAnObject { found: "an array" }),
        (without("name"), RowProblem::Missing { field: field("name") }),
        (with("name", Value::Null), RowProblem::Null { field: field("name") }),
        (
            with("name", json!(7)),
            RowProblem::WrongType {
                field: field("name"),
                expected: CellType::String,
                found: "a number",
            },
        ),
        (
            with("active", json!(1)),
            RowProblem::WrongType {
                field: field("active"),
                expected: CellType::Boolean,
                found: "a number",
            },
        ),
        (
            with("age", json!({})),
            RowProblem::WrongType {
                field: field("age"),
                expected: CellType::Number,
                found: "an object or array",
            },
        ),
        (with("role", json!("owner")), RowProblem::NotAllowed { field: field("role") }),
        (
            with("age", json!(9_007_199_254_740_993_i64)),
            RowProblem::Inexact { field: field("age") },
        ),
        (with("age", json!(u64::MAX)), RowProblem::Inexact { field: field("age") }),
        (
            with("age", json!(-9_007_199_254_740_993_i64)),
            RowProblem::Inexact { field: field("age") },
        ),
    ];
    for (value, expected) in cases {
        assert_eq!(read(&value), Err(expected), "{value}");
    }
    assert!(matches!(read(&with("name", json!("\u{FFFC}"))), Err(RowProblem::Unstorable { .. })));
    for fine in [json!(9_007_199_254_740_992_i64), json!(-0.5), json!(1e300)] {
        assert!(read(&with("age", fine)).is_ok());
    }
}

#[test]
fn bodies_for_legacy_leave_out_what_legacy_makes() {
    let users = users();
    let created = users.create_body(&read(&user()).unwrap());
    let expected = json!({
        "id": "u_1", "orgId": "o_1", "name": "Ada", "email": "ada@example.com", "role": "admin", "age": 36,
        "active": true
    });
    assert_eq!(created, expected);
    let changes = |value: &Value| read(&user()).unwrap().changes_to(&read(value).unwrap());
    assert_eq!(users.update_body(&changes(&with("name", json!("B")))), Some(json!({"name": "B"})));
    assert_eq!(users.update_body(&changes(&without("age"))), Some(json!({"age": null})));
    assert_eq!(users.update_body(&changes(&with("version", json!(4)))), None);
    assert_eq!(users.update_body(&changes(&with("id", json!("u_2")))), None);
    assert_eq!(users.update_body(&Changes::default()), None);
}

#[test]
fn a_number_can_be_an_id() {
    let users = resource(&[(
        "[resource.cells.id]\ntype = \"string\"",
        "[resource.cells.id]\ntype = \"number\"",
    )]);
    let row = |id: f64| [("id", Cell::Number(id))].into_iter().collect::<RowCells>();
    assert_eq!(users.row_id(&row(42.0)), Some(RowId::new("42")));
    assert_eq!(users.row_id(&row(0.5)), None);
    assert_eq!(users.row_id(&RowCells::new()), None);
}

proptest! {
    #[test]
    fn numbers_keep_their_value(number in prop_oneof![
        any::<i64>().prop_map(|n| json!(n)),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| json!(n)),
    ]) {
        if let Ok(cells) = read(&with("age", number.clone())) {
            let back = users().schema.json_from_row(&cells)["age"].clone();
            prop_assert_eq!(back.as_f64(), number.as_f64());
            let safe = number.as_i64().is_some_and(|n| n.unsigned_abs() < 1 << 53);
            prop_assert!(!safe || back == number);
        } else {
            prop_assert!(number.is_i64());
        }
    }
}

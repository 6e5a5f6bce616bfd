//! Lists answered from the store: against a naive oracle, and pinned where engines differ.

use mergeable_store::{ClientId, MergeableStore};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::resource::{
    Cell, Collation, ListQuery, Nulls, RowCells, RowView as _, SortKey, StoreRow, Unanswerable,
    compare, parse_get_query, store_rows,
};

fn ask(resource: &Resource, query: &str) -> Result<ListQuery, Unanswerable> {
    ListQuery::parse(query, &resource.query, &resource.schema)
}

fn user(id: &str, name: &str, age: Option<i32>) -> RowCells {
    let text = |text: &str| Cell::String(text.into());
    let age = age.map_or(Cell::Null, |age| Cell::Number(f64::from(age)));
    let role = text(if name.len().is_multiple_of(2) { "admin" } else { "viewer" });
    let active = Cell::Bool(age != Cell::Null);
    [("id", text(id)), ("name", text(name)), ("age", age), ("role", role), ("active", active)]
        .into_iter()
        .collect()
}

/// The ids of the page and the total, for a query that can be answered.
fn ids(resource: &Resource, rows: &[RowCells], query: &str) -> (Vec<String>, u64) {
    let query = ask(resource, query).unwrap();
    let rows = rows.iter().enumerate();
    let answer = resource.answer_list(rows, &query);
    let page = resource.envelope.rows(&answer).unwrap();
    let ids = page.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    (ids, resource.envelope.total(&answer).unwrap())
}

fn sample() -> Vec<RowCells> {
    vec![
        user("3", "bob", Some(20)),
        user("1", "Ada", None),
        user("5", "\u{1F600}", Some(20)),
        user("2", "ada", Some(9)),
        user("4", "\u{FF5E}", Some(100)),
    ]
}

#[test]
fn filters_sorts_and_pages_are_answered() {
    let users = users();
    let cases = [
        ("", "1 2 3 4 5", 5),
        ("sort=name", "1 2 3 4 5", 5),
        ("sort=-name", "5 4 3 2 1", 5),
        ("sort=age", "1 2 3 5 4", 5),
        ("sort=-age", "4 3 5 2 1", 5),
        ("sort=-age,-name", "4 5 3 2 1", 5),
        ("limit=2", "1 2", 5),
        ("limit=2&offset=2", "3 4", 5),
        ("limit=2&offset=4", "5", 5),
        ("offset=5", "", 5),
        ("offset=999999999999999", "", 5),
        ("minAge=20", "3 4 5", 3),
        ("maxAge=20", "2 3 5", 3),
        ("minAge=9.5&maxAge=20", "3 5", 2),
        ("minAge=9.0", "2 3 4 5", 4),
        ("maxAge=-1", "", 0),
        ("q=ADA", "1 2", 2),
        ("q=b", "3", 1),
        ("q=%25", "", 0),
        ("role=admin", "5", 1),
        ("roles=admin,viewer", "1 2 3 4 5", 5),
        ("active=false", "1", 1),
        ("&limit=1&", "1", 5),
        ("%6Cimit=1", "1", 5),
    ];
    for (query, expected, total) in cases {
        let expected: Vec<_> = expected.split_whitespace().map(str::to_owned).collect();
        assert_eq!(ids(&users, &sample(), query), (expected, total), "{query}");
    }
}

#[test]
fn nulls_and_collation_are_as_configured() {
    let last = resource(&[("#nulls = \"first\"", "nulls = \"last\"")]);
    assert_eq!(ids(&last, &sample(), "sort=age").0, ["2", "3", "5", "4", "1"]);
    assert_eq!(ids(&last, &sample(), "sort=-age").0, ["1", "4", "3", "5", "2"]);
    let rows =
        [user("1", "b", None), user("2", "A", None), user("3", "a", None), user("4", "B", None)];
    assert_eq!(ids(&users(), &rows, "sort=name").0, ["2", "4", "3", "1"]);
    let nocase = resource(&[("#collation = \"binary\"", "collation = \"nocase\"")]);
    assert_eq!(ids(&nocase, &rows, "sort=name").0, ["2", "3", "1", "4"]);
    let tied = [user("a", "x", None), user("B", "x", None)];
    assert_eq!(ids(&nocase, &tied, "sort=name").0, ["B", "a"], "ids by their bytes");
}

#[test]
fn the_answer_has_legacys_envelope() {
    let users = users();
    let query = ask(&users, "limit=1&offset=1").unwrap();
    let rows = sample();
    let answer = users.answer_list(rows.iter().enumerate(), &query);
    let row = json!({"id": "2", "name": "ada", "role": "viewer", "age": 9, "active": true});
    assert_eq!(answer, json!({"data": [row], "total": 5, "limit": 1, "offset": 1}));
    assert_eq!(users.answer_get(&rows[3], &3_usize)["name"], json!("ada"));
}

#[test]
fn what_legacy_may_read_otherwise_goes_to_legacy() {
    let users = users();
    let cases = [
        ("x=1", "unknown-parameter"),
        ("x", "empty-parameter"),
        ("limit=1&limit=1", "repeated-parameter"),
        ("role=", "empty-parameter"),
        ("q", "empty-parameter"),
        ("role=%ff", "encoding"),
        ("role=%zz", "encoding"),
        ("role=owner", "bad-value"),
        ("roles=admin,", "bad-value"),
        ("roles=admin,%20viewer", "bad-value"),
        ("active=1", "bad-value"),
        ("active=TRUE", "bad-value"),
        ("minAge=abc", "bad-value"),
        ("minAge=1e1", "bad-value"),
        ("minAge=+1", "bad-value"),
        ("minAge=%2B1", "bad-value"),
        ("minAge=.5", "bad-value"),
        ("minAge=5.", "bad-value"),
        ("minAge=-", "bad-value"),
        ("minAge=0x1", "bad-value"),
        ("minAge=Infinity", "bad-value"),
        ("limit=0", "bad-value"),
        ("limit=-1", "bad-value"),
        ("limit=1.0", "bad-value"),
        ("limit=101", "over-limit"),
        ("offset=-1", "bad-value"),
        ("offset=1000000000000000", "bad-value"),
        ("sort=email,colour", "unsortable"),
        ("sort=name,name", "unsortable"),
        ("sort=-", "unsortable"),
        ("sort=-id", "unsortable"),
        ("sort=name,", "unsortable"),
        ("sort=--name", "unsortable"),
    ];
    for (query, reason) in cases {
        assert_eq!(ask(&users, query).unwrap_err().reason(), reason, "{query}");
    }
    assert_eq!(parse_get_query(""), Ok(()));
    assert!(parse_get_query("expand=org").is_err());
}

#[test]
fn forms_write_a_space_as_plus() {
    let rows = [user("1", "a b", None), user("2", "a+b", None)];
    assert_eq!(ids(&users(), &rows, "q=a+b").0, ["1"]);
    assert_eq!(ids(&users(), &rows, "q=a%20b").0, ["1"]);
    assert_eq!(ids(&users(), &rows, "q=a%2Bb").0, ["2"]);
}

#[test]
fn a_page_for_backfill_is_a_query_that_can_be_answered() {
    let users = users();
    assert_eq!(users.query.page_query(200, 1000), "limit=100&offset=200");
    let sorted = resource(&[("keys = [\"name\"", "keys = [\"id\", \"name\"")]);
    let query = sorted.query.page_query(0, 50);
    assert_eq!(query, "limit=50&offset=0&sort=id");
    assert!(ask(&sorted, &query).is_ok());
}

fn texts(row: RowCells) -> impl Iterator<Item = (String, Cell)> {
    row.into_iter().map(|(id, cell)| (id.to_string(), cell))
}

#[test]
fn rows_of_a_store_are_answered_and_deleted_ones_are_not() {
    let mut store = MergeableStore::new(ClientId::from_unique_id("s"));
    let edited = store.transaction(1_700_000_000_000, |tx| {
        for row in sample() {
            let id = row.get("id").unwrap().to_json();
            tx.set_row("users", id.as_str().unwrap(), texts(row))?;
        }
        tx.set_row("users", "9", texts(user("9", "gone", None)))?;
        tx.del_row("users", "9")?;
        tx.set_row("other", "8", texts(user("8", "elsewhere", None)))
    });
    assert!(edited.is_ok());
    let users = users();
    let query = ask(&users, "sort=-age").unwrap();
    let answer = users.answer_list(store_rows(&store, "users"), &query);
    let rows = sample();
    assert_eq!(answer, users.answer_list(rows.iter().enumerate(), &query));
    let row = StoreRow::of(&store, "users", "3").unwrap();
    assert_eq!(users.schema.copy_row(&row), rows[0]);
    assert!(StoreRow::of(&store, "users", "9").is_none());
}

/// Filters and sorts everything, then cuts the page out.
fn oracle(rows: &[RowCells], query: &Question) -> (Vec<String>, usize) {
    let age = |row: &RowCells| match row.get("age") {
        Some(Cell::Number(age)) => Some(*age),
        _ => None,
    };
    let mut found: Vec<_> = rows
        .iter()
        .filter(|row| query.min.is_none_or(|min| age(row).is_some_and(|age| age >= f64::from(min))))
        .collect();
    found.sort_by(|a, b| {
        let keys = query.sort.iter().map(|(cell, descending)| {
            let order = compare(a.cell(cell), b.cell(cell), Collation::Binary, Nulls::First);
            if *descending { order.reverse() } else { order }
        });
        let id = |row: &RowCells| row.get("id").unwrap().to_json().to_string();
        let mut keys = keys.chain([id(a).cmp(&id(b))]);
        keys.find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
    });
    let page = found.iter().skip(query.offset).take(query.limit);
    let id = |row: &&&RowCells| row.get("id").unwrap().to_json().as_str().unwrap().to_owned();
    (page.map(|row| id(&row)).collect(), found.len())
}

#[derive(Debug)]
struct Question {
    min: Option<i32>,
    sort: Vec<(&'static str, bool)>,
    offset: usize,
    limit: usize,
}

fn question() -> impl Strategy<Value = Question> {
    let keys = prop::sample::subsequence(vec!["age", "name", "role"], 0..=3).prop_shuffle();
    let sort = keys.prop_flat_map(|keys| {
        let directions = prop::collection::vec(any::<bool>(), keys.len());
        directions.prop_map(move |directions| keys.iter().copied().zip(directions).collect())
    });
    (prop::option::of(-1_i32..5), sort, 0_usize..12, 1_usize..12)
        .prop_map(|(min, sort, offset, limit)| Question { min, sort, offset, limit })
}

impl Question {
    fn text(&self) -> String {
        let mut text = format!("offset={}&limit={}", self.offset, self.limit);
        if let Some(min) = self.min {
            text.push_str(&format!("&minAge={min}"));
        }
        if !self.sort.is_empty() {
            let key = |(cell, descending): &(&str, bool)| {
                format!("{}{cell}", if *descending { "-" } else { "" })
            };
            text.push_str(&format!(
                "&sort={}",
                self.sort.iter().map(key).collect::<Vec<_>>().join(",")
            ));
        }
        text
    }
}

proptest! {
    #[test]
    fn a_page_is_what_sorting_everything_gives(
        people in prop::collection::vec(("[abAB\u{FF5E}\u{1F600}]{0,2}", prop::option::of(-1_i32..4)), 0..20),
        question in question(),
    ) {
        let rows: Vec<_> = people
            .iter()
            .enumerate()
            .map(|(place, (name, age))| user(&format!("u{:02}", (place * 7) % 20), name, *age))
            .collect();
        let (expected, total) = oracle(&rows, &question);
        let (found, found_total) = ids(&users(), &rows, &question.text());
        prop_assert_eq!(found, expected, "{}", question.text());
        prop_assert_eq!(found_total, total as u64);
    }

    #[test]
    fn no_query_string_breaks_the_parser(raw in "[a-z=&%+0-9,-]{0,40}|.{0,40}") {
        let users = users();
        if let Ok(query) = ask(&users, &raw) {
            prop_assert!(query.limit.is_some_and(|limit| (1..=100).contains(&limit)));
            let tie_breaker = SortKey { cell: "id".into(), descending: false };
            prop_assert_eq!(query.sort.last(), Some(&tie_breaker));
            let _: Value = users.answer_list(sample().iter().enumerate(), &query);
        }
    }
}

//! The order and the filters of a list, held against SQLite itself.

use libsql::{Builder, Connection, Value};

use super::*;
use crate::resource::{Cell, ListQuery, RowCells};

const NAMES: [&str; 16] = [
    "",
    "a",
    "A",
    "ab",
    "aB",
    "_",
    "Z",
    "[",
    "é",
    "É",
    "\u{FF5E}",
    "\u{1F600}",
    "10",
    "9",
    "a%b",
    "a b",
];

/// Every name with every age, so that each key has ties.
fn rows() -> Vec<(String, &'static str, Option<f64>)> {
    let ages = [None, Some(-1.5), Some(0.0), Some(9.0), Some(10.0)];
    let all = NAMES.into_iter().flat_map(|name| ages.map(|age| (name, age)));
    // Ids whose order is neither that of the rows nor that of numbers.
    all.enumerate()
        .map(|(place, (name, age))| (format!("u{}", (place * 37) % 80), name, age))
        .collect()
}

async fn database() -> Connection {
    let database = Builder::new_local(":memory:").build().await.unwrap();
    let connection = database.connect().unwrap();
    connection
        .execute("CREATE TABLE users (id TEXT PRIMARY KEY, name TEXT, age REAL)", ())
        .await
        .unwrap();
    for (id, name, age) in rows() {
        let age = age.map_or(Value::Null, Value::Real);
        let insert = "INSERT INTO users VALUES (?1, ?2, ?3)";
        connection.execute(insert, (id, name, age)).await.unwrap();
    }
    connection
}

async fn by_sqlite(connection: &Connection, rest: &str) -> Vec<String> {
    let mut found = connection.query(&format!("SELECT id FROM users {rest}"), ()).await.unwrap();
    let mut ids = Vec::new();
    while let Some(row) = found.next().await.unwrap() {
        ids.push(row.get(0).unwrap());
    }
    ids
}

fn by_store(resource: &Resource, query: &str) -> Vec<String> {
    let cells = |(id, name, age): &(String, &str, Option<f64>)| {
        let age = age.map_or(Cell::Null, Cell::Number);
        [("id", id.as_str().into()), ("name", Cell::from(*name)), ("age", age)]
            .into_iter()
            .collect::<RowCells>()
    };
    let rows: Vec<_> = rows().iter().map(cells).collect();
    let query = ListQuery::parse(query, &resource.query, &resource.schema).unwrap();
    let answer = resource.answer_list(rows.iter().enumerate(), &query);
    let page = resource.envelope.rows(&answer).unwrap();
    page.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn lists_are_answered_as_sqlite_answers_them() {
    let connection = database().await;
    let configured = |collation: &str, nulls: &str| {
        resource(&[
            ("#collation = \"binary\"", &format!("collation = \"{collation}\"")),
            ("#nulls = \"first\"", &format!("nulls = \"{nulls}\"")),
        ])
    };
    let orders = [
        ("sort=name", "name, id"),
        ("sort=-name,age", "name DESC, age, id"),
        ("sort=age,-name", "age, name DESC, id"),
        ("sort=-age", "age DESC, id"),
        ("q=a&sort=name", ""),
        ("q=A%25&sort=name", ""),
        ("q=%C3%A9&sort=name", ""),
        ("minAge=0&maxAge=9.5&sort=name", ""),
    ];
    let filters = [
        "",
        "",
        "",
        "",
        "name LIKE '%a%'",
        "name LIKE '%A\\%%' ESCAPE '\\'",
        "name LIKE '%é%'",
        "age >= 0 AND age <= 9.5",
    ];
    for (collation, nulls) in [("binary", "first"), ("nocase", "first"), ("binary", "last")] {
        let users = configured(collation, nulls);
        for ((query, order), filter) in orders.iter().zip(filters) {
            let order = if order.is_empty() { "name, id" } else { order };
            let order = order.replace("name", &format!("name COLLATE {collation}"));
            let order = if nulls == "last" {
                order.replace("age DESC", "age DESC NULLS FIRST").replace("age,", "age NULLS LAST,")
            } else {
                order
            };
            let filter = if filter.is_empty() { "true" } else { filter };
            let sql = format!("WHERE {filter} ORDER BY {order}");
            let expected = by_sqlite(&connection, &sql).await;
            let found = by_store(&users, &format!("{query}&limit=100"));
            assert_eq!(found, expected, "{query} against {sql}");
            assert!(!found.is_empty(), "{query}");
            let page = by_store(&users, &format!("{query}&limit=7&offset=3"));
            assert_eq!(page, by_sqlite(&connection, &format!("{sql} LIMIT 7 OFFSET 3")).await);
        }
    }
}

//! The SQL of the users table.

use libsql::{Connection, Value, params, params_from_iter};

use super::identity::Scope;
use super::query::UserQuery;
use super::table::TableError;
use super::user::{User, UserChange, UserRole};

const COLUMNS: &str = "id, org_id, email, name, role, age, active, created_at, updated_at, version";

/// A page of users, and how many match in all.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) users: Vec<User>,
    pub(super) total: u64,
}

/// Conditions joined by AND, with their arguments in order.
#[derive(Default)]
struct Where {
    conditions: Vec<String>,
    args: Vec<Value>,
}

impl Where {
    fn scope(scope: &Scope) -> Self {
        let mut clause = Self::default();
        if let Scope::Org(org) = scope {
            clause.add("org_id = ?", [org.clone().into()]);
        }
        clause
    }

    fn add(&mut self, condition: impl Into<String>, args: impl IntoIterator<Item = Value>) {
        self.conditions.push(condition.into());
        self.args.extend(args);
    }

    fn add_if<T>(&mut self, condition: &str, value: Option<T>, to_arg: impl FnOnce(T) -> Value) {
        if let Some(value) = value {
            self.add(condition, [to_arg(value)]);
        }
    }

    fn filters(&mut self, query: &UserQuery) {
        let int = |number: u64| Value::Integer(number.cast_signed());
        let word = |role: UserRole| Value::from(role.as_str());
        self.add_if("org_id = ?", query.org.clone(), Value::from);
        self.add_if("role = ?", query.role, word);
        if let Some(roles) = &query.roles {
            let marks = vec!["?"; roles.len()].join(", ");
            self.add(format!("role IN ({marks})"), roles.iter().copied().map(word));
        }
        self.add_if("active = ?", query.active, |active| Value::Integer(active.into()));
        self.add_if("age >= ?", query.min_age, int);
        self.add_if("age <= ?", query.max_age, int);
        self.add_if("name LIKE ? ESCAPE '\\'", query.name_part.as_deref(), |part| {
            Value::from(like_pattern(part))
        });
    }

    fn sql(&self) -> String {
        if self.conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", self.conditions.join(" AND "))
        }
    }
}

/// A pattern that matches every text with `part` in it, whatever LIKE's own signs are in `part`.
fn like_pattern(part: &str) -> String {
    let escaped = part.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
}

/// SQLite's own order: bytes of UTF-8, null before everything. The id makes it total.
fn order_by(query: &UserQuery) -> String {
    let mut terms: Vec<_> = query
        .sort
        .iter()
        .map(|term| format!("{}{}", term.key.column(), if term.descending { " DESC" } else { "" }))
        .collect();
    terms.push("id".to_owned());
    terms.join(", ")
}

/// Nothing comes between the two reads: this thread is the only one that writes.
pub(super) async fn list(
    conn: &Connection,
    scope: &Scope,
    query: &UserQuery,
) -> Result<Page, TableError> {
    let mut clause = Where::scope(scope);
    clause.filters(query);
    let matching = clause.sql();
    let total =
        count(conn, &format!("SELECT count(*) FROM users{matching}"), clause.args.clone()).await?;
    let sql = format!(
        "SELECT {COLUMNS} FROM users{matching} ORDER BY {} LIMIT ? OFFSET ?",
        order_by(query)
    );
    let mut args = clause.args;
    args.extend([query.limit, query.offset].map(|n| Value::Integer(n.cast_signed())));
    Ok(Page { users: users(conn, &sql, args).await?, total })
}

pub(super) async fn get(
    conn: &Connection,
    scope: &Scope,
    id: String,
) -> Result<Option<User>, TableError> {
    let mut clause = Where::scope(scope);
    clause.add("id = ?", [id.into()]);
    let sql = format!("SELECT {COLUMNS} FROM users{}", clause.sql());
    Ok(users(conn, &sql, clause.args).await?.pop())
}

/// All of them or none.
pub(super) async fn insert(conn: &Connection, users: &[User]) -> Result<(), TableError> {
    let transaction = conn.transaction().await?;
    for user in users {
        let sql = format!("INSERT INTO users ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
        let args = params![
            user.id.as_str(),
            user.org_id.as_str(),
            user.email.as_str(),
            user.name.as_str(),
            user.role.as_str(),
            user.age.map(i64::from),
            i64::from(user.active),
            user.created_at.as_str(),
            user.updated_at.as_str(),
            user.version.cast_signed()
        ];
        transaction.execute(&sql, args).await.map_err(conflict)?;
    }
    Ok(transaction.commit().await?)
}

pub(super) async fn seed(conn: &Connection, users: &[User]) -> Result<(), TableError> {
    match count(conn, "SELECT count(*) FROM users", Vec::new()).await? {
        0 => insert(conn, users).await,
        _ => Ok(()),
    }
}

/// One statement reads and writes, so that a version is never given twice.
pub(super) async fn update(
    conn: &Connection,
    org: String,
    id: String,
    change: UserChange,
    at: String,
) -> Result<Option<User>, TableError> {
    let mut set = Where::default();
    set.add_if("email = ?", change.email, |email| email.0.into());
    set.add_if("name = ?", change.name, |name| name.0.into());
    set.add_if("role = ?", change.role, |role| role.as_str().into());
    set.add_if("age = ?", change.age, |age| {
        age.map_or(Value::Null, |years| Value::Integer(years.0.into()))
    });
    set.add_if("active = ?", change.active, |active| Value::Integer(active.into()));
    set.add("updated_at = ?", [at.into()]);
    let sql = format!(
        "UPDATE users SET {}, version = version + 1 WHERE org_id = ? AND id = ? RETURNING {COLUMNS}",
        set.conditions.join(", ")
    );
    let mut args = set.args;
    args.extend([org.into(), id.into()]);
    Ok(users(conn, &sql, args).await?.pop())
}

pub(super) async fn delete(conn: &Connection, org: String, id: String) -> Result<bool, TableError> {
    Ok(conn.execute("DELETE FROM users WHERE org_id = ? AND id = ?", params![org, id]).await? > 0)
}

/// Whether the database answers.
pub(super) async fn ping(conn: &Connection) -> Result<(), TableError> {
    count(conn, "SELECT 1", Vec::new()).await.map(|_| ())
}

async fn count(conn: &Connection, sql: &str, args: Vec<Value>) -> Result<u64, TableError> {
    let mut rows = conn.query(sql, params_from_iter(args)).await?;
    let row = rows.next().await?;
    Ok(row.map_or(Ok(0), |row| row.get::<u64>(0))?)
}

async fn users(conn: &Connection, sql: &str, args: Vec<Value>) -> Result<Vec<User>, TableError> {
    let mut rows = conn.query(sql, params_from_iter(args)).await.map_err(conflict)?;
    let mut users = Vec::new();
    // Read to the end: a statement with RETURNING is committed only then.
    while let Some(row) = rows.next().await.map_err(conflict)? {
        users.push(user(&row)?);
    }
    Ok(users)
}

fn user(row: &libsql::Row) -> Result<User, TableError> {
    let word: String = row.get(4)?;
    let role = UserRole::from_word(&word).ok_or(TableError::Row(word))?;
    let age: Option<i64> = row.get(5)?;
    Ok(User {
        id: row.get(0)?,
        org_id: row.get(1)?,
        email: row.get(2)?,
        name: row.get(3)?,
        role,
        age: age.and_then(|years| u8::try_from(years).ok()),
        active: row.get::<i64>(6)? == 1,
        created_at: row.get(7)?,
        updated_at: row.get(8)?,
        version: row.get(9)?,
    })
}

/// A broken unique constraint is the caller's conflict; anything else is ours.
fn conflict(error: libsql::Error) -> TableError {
    match &error {
        libsql::Error::SqliteFailure(_, message) if message.contains("users.email") => {
            TableError::EmailTaken
        }
        libsql::Error::SqliteFailure(_, message) if message.contains("users.id") => {
            TableError::IdTaken
        }
        _ => TableError::Query(error),
    }
}

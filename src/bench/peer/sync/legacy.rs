//! The legacy API behind crossfade in this benchmark: it takes what is delivered, answers with the row, and
//! lists rows for a backfill. It runs in the load generator's process, so its work is not the server's.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::get;
use http::StatusCode;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::bench::{BenchError, recipe};

/// Rows by id. Bounded by the rows that the benchmark itself makes.
type Rows = Arc<Mutex<BTreeMap<String, Map<String, Value>>>>;

/// A running API; gone when dropped.
pub(super) struct LegacyApi {
    pub(super) address: SocketAddr,
    rows: Rows,
    task: JoinHandle<()>,
}

impl Drop for LegacyApi {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl LegacyApi {
    /// Listens on a free loopback port, without rows.
    pub(super) async fn start() -> Result<Self, BenchError> {
        let lost = |error: std::io::Error| BenchError::Start(format!("legacy API: {error}"));
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(lost)?;
        let address = listener.local_addr().map_err(lost)?;
        let rows = Rows::default();
        let router = Router::new()
            .route("/users", get(list).post(create))
            .route("/users/{id}", get(read).patch(update).delete(remove))
            .with_state(rows.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the benchmark's legacy API ended");
            }
        });
        Ok(Self { address, rows, task })
    }

    /// Has these rows of the recipe and no others.
    pub(super) fn fill(&self, org: &str, rows: u32) {
        let mut held = lock(&self.rows);
        held.clear();
        for row in 0..rows {
            if let Value::Object(cells) = recipe::legacy_row(org, row) {
                held.insert(recipe::synced_row_id(org, row), cells);
            }
        }
    }
}

fn lock(rows: &Rows) -> std::sync::MutexGuard<'_, BTreeMap<String, Map<String, Value>>> {
    rows.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn list(State(rows): State<Rows>, Query(query): Query<HashMap<String, usize>>) -> Response {
    let rows = lock(&rows);
    let (limit, offset) = (query.get("limit").copied(), query.get("offset").copied());
    let page = rows.values().skip(offset.unwrap_or(0)).take(limit.unwrap_or(20));
    let page: Vec<_> = page.cloned().collect();
    Json(json!({ "data": page, "total": rows.len() })).into_response()
}

async fn create(State(rows): State<Rows>, Json(cells): Json<Map<String, Value>>) -> Response {
    let Some(id) = cells.get("id").and_then(Value::as_str).map(str::to_owned) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    lock(&rows).insert(id, cells.clone());
    (StatusCode::CREATED, Json(cells)).into_response()
}

async fn read(State(rows): State<Rows>, Path(id): Path<String>) -> Response {
    match lock(&rows).get(&id).cloned() {
        Some(cells) => Json(cells).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn update(
    State(rows): State<Rows>,
    Path(id): Path<String>,
    Json(changed): Json<Map<String, Value>>,
) -> Response {
    let mut rows = lock(&rows);
    let Some(cells) = rows.get_mut(&id) else { return StatusCode::NOT_FOUND.into_response() };
    cells.extend(changed);
    Json(cells.clone()).into_response()
}

async fn remove(State(rows): State<Rows>, Path(id): Path<String>) -> StatusCode {
    match lock(&rows).remove(&id) {
        Some(_) => StatusCode::NO_CONTENT,
        None => StatusCode::NOT_FOUND,
    }
}

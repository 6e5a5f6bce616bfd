//! The rollback switch: what it would do, thrown, lifted.

use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

use super::outbox::owed;
use super::{read_body, unavailable};
use crate::config::Config;
use crate::flags::{Lifted, Scope, StageDecider, SwitchState, Tripped};
use crate::migration::Stage;
use crate::proxy::problem::Problem;
use crate::record::{Event, Note, NoteKind};
use crate::serve::build::Parts;
use crate::serve::{rollback_file, switch};
use crate::storage::{Storage, StorageError};

/// How long the answer to a rollback waits for the database.
const KEPT_WITHIN: Duration = Duration::from_secs(1);
/// How long the answer to a rollback waits for what is owed.
const OWED_WITHIN: Duration = Duration::from_secs(1);

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::serve) struct RollbackOrder {
    #[serde(default = "all")]
    pub(in crate::serve) scope: String,
    pub(in crate::serve) reason: String,
    #[serde(default = "super::operator")]
    pub(in crate::serve) actor: String,
}

fn all() -> String {
    "all".to_owned()
}

/// Reads an order's body: without a reason nothing is done, for it is what the next person reads first.
fn order(body: &[u8]) -> Result<RollbackOrder, Problem> {
    let remedy = r#"send {"scope": "all" or a resource, "reason": "why"}"#;
    read_body(body, "rollback-order", remedy)
}

fn scope(config: &Config, text: &str) -> Result<Scope, Problem> {
    if matches!(text, "all" | "*") {
        return Ok(Scope::All);
    }
    let resource = config.resources.iter().find(|r| r.name.as_str() == text);
    resource.map(|r| Scope::Resource(r.name.clone())).ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "no-such-resource", "No such resource")
            .remedy("name a configured resource, or `all`")
    })
}

/// Reads an order and what it is for.
pub(in crate::serve) fn read(
    config: &Config,
    body: &[u8],
) -> Result<(RollbackOrder, Scope), Problem> {
    let order = order(body)?;
    let scope = scope(config, &order.scope)?;
    Ok((order, scope))
}

pub(super) async fn trip(State(parts): State<Parts>, body: bytes::Bytes) -> Response {
    let (order, scope) = match read(&parts.config, &body) {
        Ok(order) => order,
        Err(problem) => return problem.into_response(),
    };
    let at_ms = parts.clock.now_ms();
    let (tripped, replicated) = throw(&*parts.storage, &parts.stages, &order, &scope, at_ms).await;
    parts.audit.note(&order.actor, "rollback", &scope.to_string(), &order.reason);
    let text = format!("rolled back ({}) by {}: {}", order.scope, order.actor, order.reason);
    parts.recorder.record(Event::Note(Note { at_ms, kind: NoteKind::Rollback, text }));
    // Whoever rolls back does not wait for a database that is in trouble.
    let owed = tokio::time::timeout(OWED_WITHIN, owed(&parts)).await.ok().and_then(Result::ok);
    Json(json!({
        "tripped": tripped, "replicated": replicated.is_ok(),
        "owed": owed,
    }))
    .into_response()
}

/// Keeps the switch, if that is done soon; otherwise whoever looks after it goes on trying.
async fn keep_soon(storage: &dyn Storage, stages: &StageDecider) -> Result<(), StorageError> {
    let late = |_| Err(StorageError::Failed("it could not be written in time".to_owned()));
    tokio::time::timeout(KEPT_WITHIN, switch::keep(storage, stages)).await.unwrap_or_else(late)
}

/// Throws the switch: it holds from here on, in memory; the database makes it last, which may fail.
pub(in crate::serve) async fn throw(
    storage: &dyn Storage,
    stages: &StageDecider,
    order: &RollbackOrder,
    scope: &Scope,
    at_ms: u64,
) -> (Tripped, Result<(), StorageError>) {
    let switch = stages.rollback();
    let trip = || switch.trip(scope, &order.actor, &order.reason, at_ms, false);
    let (mut tripped, mut kept) = (trip(), keep_soon(storage, stages).await);
    // Another process may have lifted it with a higher epoch that this one had not read yet.
    if !matches!(switch.state().get(scope), Some(SwitchState::Tripped(_))) {
        (tripped, kept) = (trip(), keep_soon(storage, stages).await);
    }
    if let Err(error) = &kept {
        tracing::error!(%error, "rolled back in memory only: not replicated");
    }
    (tripped, kept)
}

/// Ends a rollback; gives what was lifted, and whether that is in the database.
///
/// # Errors
/// [`Problem`] while the rollback file is there, or if the scope is not rolled back.
pub(in crate::serve) async fn end(
    config: &Config,
    storage: &dyn Storage,
    stages: &StageDecider,
    (order, scope): (&RollbackOrder, &Scope),
) -> Result<(Lifted, bool), Problem> {
    if let Some(path) = rollback_file::there(config).await {
        let title = "The rollback file is there";
        return Err(Problem::new(StatusCode::CONFLICT, "rollback-file", title)
            .detail(format!("{} would roll back again at once", path.display()))
            .remedy("take it away, then lift"));
    }
    // Another process may have thrown it a moment ago.
    if let Err(error) = keep_soon(storage, stages).await {
        tracing::warn!(%error, "the switch may be tripped elsewhere");
    }
    let lifted = stages.rollback().lift(scope, &order.actor, &order.reason).ok_or_else(|| {
        let title = "This scope is not rolled back";
        Problem::new(StatusCode::CONFLICT, "not-rolled-back", title)
    })?;
    Ok((lifted, keep_soon(storage, stages).await.is_ok()))
}

pub(super) async fn lift(State(parts): State<Parts>, body: bytes::Bytes) -> Response {
    let (order, scope) = match read(&parts.config, &body) {
        Ok(order) => order,
        Err(problem) => return problem.into_response(),
    };
    let (lifted, replicated) =
        match end(&parts.config, &*parts.storage, &parts.stages, (&order, &scope)).await {
            Ok(ended) => ended,
            Err(problem) => return problem.into_response(),
        };
    let at_ms = parts.clock.now_ms();
    parts.audit.note(&order.actor, "lift", &scope.to_string(), &order.reason);
    let text = format!("rollback lifted ({}) by {}: {}", order.scope, order.actor, order.reason);
    parts.recorder.record(Event::Note(Note { at_ms, kind: NoteKind::Rollback, text }));
    Json(json!({ "lifted": lifted, "replicated": replicated })).into_response()
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PreviewOf {
    #[serde(default = "all")]
    scope: String,
}

/// What a rollback of this scope would do now. Nothing is changed.
pub(super) async fn preview(State(parts): State<Parts>, Query(of): Query<PreviewOf>) -> Response {
    let wanted = match scope(&parts.config, &of.scope) {
        Ok(scope) => scope,
        Err(problem) => return problem.into_response(),
    };
    let owed = match owed(&parts).await {
        Ok(owed) => owed,
        Err(error) => return unavailable(&error),
    };
    let is_outside = |name: &_| matches!(&wanted, Scope::Resource(only) if only != name);
    let mut all_off = true;
    let mut resources = Vec::new();
    for resource in &parts.config.resources {
        let now = parts.stages.decide(&resource.name).effective;
        let stays = is_outside(&resource.name) || now == Stage::Complete;
        let then = if stays { now } else { Stage::Off };
        all_off &= then == Stage::Off;
        // Legacy would serve stale rows: it is left out, and named.
        let left_out = now == Stage::Complete && !is_outside(&resource.name);
        resources.push(json!({
            "resource": resource.name, "now": now, "then": then, "left_out": left_out,
        }));
    }
    let sockets = parts.sync.open_sockets();
    Json(json!({
        "scope": of.scope, "resources": resources, "owed": owed,
        // A path may hold rows of several resources: its clients stay while any of them is on.
        "sockets": { "open": sockets, "drained": if all_off { sockets } else { 0 } },
    }))
    .into_response()
}

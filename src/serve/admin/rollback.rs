//! The rollback switch: what it would do, thrown, lifted.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::outbox::owed;
use super::{read_body, unavailable};
use crate::config::Config;
use crate::flags::{Lifted, Reason, Scope, StageDecider, SwitchState, Tripped};
use crate::migration::{ResourceName, Stage};
use crate::proxy::problem::Problem;
use crate::record::{Event, Note, NoteKind};
use crate::serve::build::Parts;
use crate::serve::{rollback_file, switch};
use crate::storage::{OutboxEntry, Storage, StorageError};

/// How long the answer to a rollback waits for the database.
const KEPT_WITHIN: Duration = Duration::from_secs(1);
/// Rows that one answer lists at most.
const MAX_BEHIND: usize = 100;
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
    /// Whether resources in `complete` go back too, although legacy's rows are stale.
    #[serde(default)]
    pub(in crate::serve) accept_stale: bool,
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
    let told =
        async { Ok::<_, StorageError>((owed(&parts).await?, behind(&parts, &scope).await?)) };
    let told = tokio::time::timeout(OWED_WITHIN, told).await.ok().and_then(Result::ok);
    let (owed, behind) = told.unzip();
    Json(json!({
        "tripped": tripped, "replicated": replicated.is_ok(),
        "owed": owed, "behind": behind, "left_out": left_out(&parts.config, &parts.stages, &scope),
    }))
    .into_response()
}

/// Resources in `complete` that a rollback of this scope has left where they are.
pub(in crate::serve) fn left_out(
    config: &Config,
    stages: &StageDecider,
    scope: &Scope,
) -> Vec<ResourceName> {
    let names = config.resources.iter().map(|resource| &resource.name);
    let in_scope = names.filter(|name| is_in(scope, name));
    let left = in_scope
        .filter(|name| matches!(stages.decide(name).because, Reason::CompleteLeftOut { .. }));
    left.cloned().collect()
}

fn is_in(scope: &Scope, name: &ResourceName) -> bool {
    matches!(scope, Scope::All) || matches!(scope, Scope::Resource(only) if only == name)
}

/// Rows of which the store has writes that legacy lacks, the first of them: to whoever asks legacy, they are as before.
async fn behind(parts: &Parts, scope: &Scope) -> Result<Value, StorageError> {
    let pending = parts.storage.outbox_summary(MAX_BEHIND).await?.entries;
    let dead = parts.storage.dead_letters(MAX_BEHIND).await?;
    let mut rows = BTreeMap::new();
    for one in pending.into_iter().chain(dead) {
        let OutboxEntry { entry, state, .. } = one;
        if is_in(scope, &entry.resource) {
            rows.insert((entry.resource, entry.path, entry.row), state);
        }
    }
    let rows = rows.into_iter().take(MAX_BEHIND).map(|((resource, path, row), state)| {
        json!({ "resource": resource, "path": path, "row": row, "state": state })
    });
    Ok(rows.collect())
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
    let trip = || switch.trip(scope, &order.actor, &order.reason, at_ms, order.accept_stale);
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
    #[serde(default)]
    accept_stale: bool,
}

/// What a rollback of this scope would do now. Nothing is changed.
pub(super) async fn preview(State(parts): State<Parts>, Query(of): Query<PreviewOf>) -> Response {
    let wanted = match scope(&parts.config, &of.scope) {
        Ok(scope) => scope,
        Err(problem) => return problem.into_response(),
    };
    let told =
        async { Ok::<_, StorageError>((owed(&parts).await?, behind(&parts, &wanted).await?)) };
    let (owed, behind) = match told.await {
        Ok(told) => told,
        Err(error) => return unavailable(&error),
    };
    let mut all_off = true;
    let mut resources = Vec::new();
    for resource in &parts.config.resources {
        let now = parts.stages.decide(&resource.name).effective;
        // Legacy would serve stale rows: it is left out, and named.
        let is_wanted = is_in(&wanted, &resource.name);
        let left_out = is_wanted && now == Stage::Complete && !of.accept_stale;
        let then = if is_wanted && !left_out { Stage::Off } else { now };
        all_off &= then == Stage::Off;
        resources.push(json!({
            "resource": resource.name, "now": now, "then": then, "left_out": left_out,
        }));
    }
    let sockets = parts.sync.open_sockets();
    Json(json!({
        "scope": of.scope, "resources": resources, "owed": owed, "behind": behind,
        // A path may hold rows of several resources: its clients stay while any of them is on.
        "sockets": { "open": sockets, "drained": if all_off { sockets } else { 0 } },
    }))
    .into_response()
}

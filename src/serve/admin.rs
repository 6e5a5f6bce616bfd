//! What operators reach: health, stages, what is owed, comparisons, the rollback switch, metrics.
//!
//! On a listener of its own. Everything but health needs the admin token.

mod backfill;
mod cohort;
mod openapi;
mod outbox;
mod reconcile;
pub(crate) mod revocations;
pub(super) mod rollback;
mod sync;
mod tail;

use std::collections::BTreeMap;

use axum::extract::{Query, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{StatusCode, header};
use serde_json::{Value, json};

use super::Role;
use super::build::Parts;
use crate::compare::NoiseFloor;
use crate::flags::EffectiveStage;
use crate::identity::Secret;
use crate::migration::ResourceName;
use crate::proxy::problem::Problem;
use crate::record::{Recording, RuleAccount};
use crate::storage::Storage;
use crate::sync::Standing;

/// Signatures that one answer lists at most.
const MAX_SIGNATURES: usize = 100;

/// A resource's stage, explained.
#[derive(Debug, Clone, serde::Serialize)]
pub struct StageView {
    /// The resource.
    pub resource: ResourceName,
    /// What the flags ask for, what holds, and why.
    #[serde(flatten)]
    pub stage: EffectiveStage,
    /// Whether its backfill is finished.
    pub caught_up: bool,
    /// Whether its store holds all that legacy has, and who sees to it if not.
    pub store: Standing,
    /// Writes that legacy was asked to do and that the store may not have yet.
    pub writes_under_way: u64,
    /// The next step forward, and what it needs.
    pub next: Option<super::StepReport>,
    /// What the comparisons made in this stage say by now.
    pub gate: crate::gate::GateResult,
}

/// All stages, with the state of what decides them.
#[derive(Debug, Clone, serde::Serialize)]
pub struct StagesView {
    /// Each resource.
    pub resources: Vec<StageView>,
    /// The flag provider.
    pub flags: crate::flags::FlagsStatus,
    /// The rollback switch.
    pub rollback: crate::flags::RollbackState,
}

/// Routes of the operators' listener.
pub(super) fn router(parts: &Parts) -> Router {
    let guarded = Router::new()
        .route("/stages", get(stages))
        .route("/cohort", post(cohort::members))
        .route("/outbox", get(outbox::list))
        .route("/outbox/retry", post(outbox::retry))
        .route("/outbox/discard", post(outbox::discard))
        .route("/sync", get(sync::sync))
        .route("/sync/rebuild", post(sync::rebuild))
        .route("/comparisons", get(comparisons))
        .route("/rollback", get(rollback::preview).post(rollback::trip))
        .route("/rollback/lift", post(rollback::lift))
        .route("/revocations", get(revocations::list).post(revocations::revoke))
        .route("/revocations/lift", post(revocations::lift))
        .route("/backfill", get(backfill::state).post(backfill::start))
        .route("/reconcile", get(reconcile::state).post(reconcile::start))
        .route("/tail", get(tail::state).post(tail::start))
        .route("/audit", get(audit))
        .route("/metrics", get(metrics))
        .route("/flush", post(flush))
        .layer(axum::middleware::from_fn_with_state(parts.audit.clone(), super::audit::layer))
        .layer(axum::middleware::from_fn_with_state(parts.clone(), guard));
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/openapi.json", get(|| async { Json(openapi::document()) }))
        .merge(guarded)
        .with_state(parts.clone())
}

async fn guard(State(parts): State<Parts>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    if is_admin(&parts.admin_token, given) {
        return next.run(request).await;
    }
    not_admin()
}

/// Whether an `Authorization` header shows the admin token.
pub(super) fn is_admin(token: &Secret, given: Option<&str>) -> bool {
    given.and_then(|v| v.strip_prefix("Bearer ")).is_some_and(|given| token.matches(given))
}

/// The answer to who does not show it.
pub(super) fn not_admin() -> Response {
    Problem::new(StatusCode::UNAUTHORIZED, "admin-token", "The admin token is needed")
        .remedy("send Authorization: Bearer and the token that [admin] token names")
        .into_response()
}

async fn readyz(State(parts): State<Parts>) -> Response {
    let flags = parts.stages.evaluation().status();
    let database = parts.storage.next_due_ms().await;
    let ready = database.is_ok();
    let body = json!({
        "ready": ready,
        "role": Role::Holder,
        "database": database.err().map_or("ok".to_owned(), |e| e.to_string()),
        "flags": flags,
    });
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
}

async fn stages(State(parts): State<Parts>) -> Json<StagesView> {
    Json(view(&parts))
}

fn view(parts: &Parts) -> StagesView {
    // Not as it stood at the keeper's last look: who asks has just seen a backfill end.
    parts.interlocks.refresh();
    let resources = parts.config.resources.iter().map(|resource| {
        let stage = parts.stages.decide(&resource.name);
        StageView {
            resource: resource.name.clone(),
            caught_up: parts.backfill.caught_up.is(&resource.name),
            store: parts.backfill.caught_up.standing(&resource.name),
            writes_under_way: parts.backfill.caught_up.under_way(&resource.name),
            next: parts.interlocks.next_step(&resource.name, stage.effective),
            gate: parts.interlocks.gate(&resource.name, stage.effective),
            stage,
        }
    });
    StagesView {
        resources: resources.collect(),
        flags: parts.stages.evaluation().status(),
        rollback: (*parts.stages.rollback().state()).clone(),
    }
}

/// Who orders something, unless the order says.
fn operator() -> String {
    "admin-api".to_owned()
}

/// Reads what somebody sent: an order or a question.
fn read_body<T: serde::de::DeserializeOwned>(
    body: &[u8],
    kind: &'static str,
    remedy: &'static str,
) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, kind, "What was sent cannot be read")
            .detail(error.to_string())
            .remedy(remedy)
    })
}

fn unavailable(error: &dyn std::fmt::Display) -> Response {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "database", "The database gave no answer")
        .detail(error.to_string())
        .into_response()
}

/// Waits until what was recorded so far can be read.
async fn flush(State(parts): State<Parts>) -> Response {
    match parts.recorder.flush().await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn comparisons(State(parts): State<Parts>) -> Response {
    match read_comparisons(&parts).await {
        Ok(body) => Json(body).into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn read_comparisons(parts: &Parts) -> Result<Value, crate::record::RecordError> {
    parts.recorder.flush().await?;
    let recording = Recording::open_read(&parts.config.storage.recordings).await?;
    let mut verdicts: BTreeMap<String, u64> = BTreeMap::new();
    let (mut decided, mut eligible) = (0_u64, 0_u64);
    for one in recording.verdicts().await? {
        eligible += one.count;
        decided += if one.verdict.is_decided() { one.count } else { 0 };
        *verdicts.entry(one.verdict.as_str().to_owned()).or_default() += one.count;
    }
    let coverage = (eligible > 0).then(|| decided as f64 / eligible as f64);
    let signatures = recording.signatures().await?;
    let signatures: Vec<Value> = signatures
        .iter()
        .take(MAX_SIGNATURES)
        .map(|one| {
            let parts = &one.signature.parts;
            let folded = parts.folded.iter().map(|folded| format!("{}/…", folded.prefix));
            let paths = parts.shapes.iter().map(|shape| shape.path.to_string()).chain(folded);
            json!({
                "signature": one.signature.id, "resource": parts.resource, "route": parts.route,
                "verdict": parts.verdict, "statuses": parts.statuses.to_string(),
                "count": one.count, "first_seen_ms": one.first_seen_ms,
                "last_seen_ms": one.last_seen_ms, "paths": paths.collect::<Vec<_>>(),
                "shapes": parts.shapes,
                "sample_diff": one.samples.first().map(|sample| sample.sample.diff.clone()),
            })
        })
        .collect();
    let rules: Vec<Value> = recording.rules().await?.iter().map(rule).collect();
    let noise = parts.shadow.noise(NoiseFloor::fields);
    Ok(json!({
        "verdicts": verdicts, "coverage": coverage, "signatures": signatures, "rules": rules,
        "noise": noise,
    }))
}

/// What a rule of the comparison did, since the recording began.
fn rule(account: &RuleAccount) -> Value {
    json!({
        "resource": account.resource, "rule": account.rule, "compared": account.compared,
        "located": account.located, "hidden": account.hidden, "covered": account.covered,
        "values": account.values,
    })
}

/// Which entries of the audit log are wanted.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditOf {
    before: Option<i64>,
    #[serde(default = "some_entries")]
    limit: usize,
}

/// Entries that one answer lists without being told, and at most.
const fn some_entries() -> usize {
    50
}
const MAX_ENTRIES: usize = 1_000;

async fn audit(State(parts): State<Parts>, Query(of): Query<AuditOf>) -> Response {
    audit_log(&*parts.storage, &of).await
}

/// Who changed what crossfade does: the newest entries first.
pub(super) async fn audit_log(storage: &dyn Storage, of: &AuditOf) -> Response {
    match storage.audit(of.before, of.limit.min(MAX_ENTRIES)).await {
        Ok(entries) => Json(json!({ "entries": entries })).into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn metrics(State(parts): State<Parts>) -> String {
    outbox::measure(&parts).await;
    parts.tail.measure();
    metrics::gauge!("crossfade_recorder_dropped").set(parts.recorder.dropped() as f64);
    let over_bound = parts.shadow.noise(NoiseFloor::over_bound);
    metrics::gauge!("crossfade_noise_fields_over_bound").set(over_bound as f64);
    parts.metrics.run_upkeep();
    parts.metrics.render()
}

//! What operators reach on a follower: health, stages as it sees them, the rollback switch, metrics. For everything else they
//! are told where the holder is.

use axum::extract::{Query, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{StatusCode, header};
use serde_json::{Value, json};

use super::Parts;
use crate::identity::RevocationStanding;
use crate::proxy::problem::Problem;
use crate::serve::admin::AuditOf;
use crate::serve::admin::revocations::{Desk, UNDER_WAY_MS, listed};
use crate::serve::admin::rollback::{end, left_out, read, throw};

/// Routes of the operators' listener.
pub(super) fn router(parts: &Parts) -> Router {
    let guarded = Router::new()
        .route("/stages", get(stages))
        .route("/rollback", get(elsewhere).post(trip))
        .route("/rollback/lift", post(lift))
        .route("/revocations", get(revoked).post(revoke))
        .route("/revocations/lift", post(lift_revocation))
        .route("/audit", get(audit))
        .route("/metrics", get(metrics))
        .fallback(elsewhere)
        .layer(axum::middleware::from_fn_with_state(parts.clone(), guard));
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .merge(guarded)
        .with_state(parts.clone())
}

async fn guard(State(parts): State<Parts>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    if crate::serve::admin::is_admin(&parts.admin_token, given) {
        return next.run(request).await;
    }
    crate::serve::admin::not_admin()
}

/// Ready: whether or not a holder answers, legacy does.
async fn readyz(State(parts): State<Parts>) -> Json<Value> {
    let database =
        if parts.stages.is_current() { "ok" } else { "the rollback switch cannot be read" };
    Json(json!({
        "ready": true, "role": "follower", "holder": holder(&parts), "database": database,
        "flags": parts.stages.evaluation().status(),
    }))
}

fn holder(parts: &Parts) -> Option<String> {
    parts.holder.now().map(|holder| holder.lease.advertise)
}

/// Stages as this process decides them. What holds a stage back is known to the holder.
async fn stages(State(parts): State<Parts>) -> Json<Value> {
    let resources = parts.config.resources.iter().map(|resource| {
        let stage = parts.stages.decide(&resource.name);
        json!({
            "resource": resource.name, "requested": stage.requested, "effective": stage.effective,
            "because": stage.because,
        })
    });
    Json(json!({
        "role": "follower", "holder": holder(&parts),
        "resources": resources.collect::<Vec<_>>(),
        "flags": parts.stages.evaluation().status(),
        "rollback": &*parts.stages.rollback().state(),
    }))
}

async fn trip(State(parts): State<Parts>, body: bytes::Bytes) -> Response {
    let (order, scope) = match read(&parts.config, &body) {
        Ok(order) => order,
        Err(problem) => return problem.into_response(),
    };
    let at_ms = parts.clock.now_ms();
    let (tripped, kept) = throw(&*parts.storage, &parts.stages, &order, &scope, at_ms).await;
    parts.audit.note(&order.actor, "rollback", &scope.to_string(), &order.reason);
    let left_out = left_out(&parts.config, &parts.stages, &scope);
    Json(json!({
        "tripped": tripped, "replicated": kept.is_ok(), "owed": null, "behind": null,
        "left_out": left_out,
    }))
    .into_response()
}

async fn lift(State(parts): State<Parts>, body: bytes::Bytes) -> Response {
    let (order, scope) = match read(&parts.config, &body) {
        Ok(order) => order,
        Err(problem) => return problem.into_response(),
    };
    let (lifted, replicated) =
        match end(&parts.config, &*parts.storage, &parts.stages, (&order, &scope)).await {
            Ok(ended) => ended,
            Err(problem) => return problem.into_response(),
        };
    parts.audit.note(&order.actor, "lift", &scope.to_string(), &order.reason);
    Json(json!({ "lifted": lifted, "replicated": replicated })).into_response()
}

async fn revoked(State(parts): State<Parts>) -> Response {
    listed(&parts.revocations)
}

async fn revoke(State(parts): State<Parts>, body: bytes::Bytes) -> Response {
    take_revocation(&parts, &body, RevocationStanding::Revoked).await
}

async fn lift_revocation(State(parts): State<Parts>, body: bytes::Bytes) -> Response {
    take_revocation(&parts, &body, RevocationStanding::Lifted).await
}

/// The holder finds it in the database.
async fn take_revocation(parts: &Parts, body: &[u8], standing: RevocationStanding) -> Response {
    let desk = Desk {
        storage: &*parts.storage,
        revocations: &parts.revocations,
        audit: &parts.audit,
        ahead_ms: UNDER_WAY_MS,
    };
    match desk.take(body, standing).await {
        Ok(taken) => taken.into_response(),
        Err(problem) => problem.into_response(),
    }
}

async fn audit(State(parts): State<Parts>, Query(of): Query<AuditOf>) -> Response {
    crate::serve::admin::audit_log(&*parts.storage, &of).await
}

async fn metrics(State(parts): State<Parts>) -> String {
    parts.metrics.run_upkeep();
    parts.metrics.render()
}

async fn elsewhere(State(parts): State<Parts>) -> Response {
    let title = "This process follows another one";
    let detail = holder(&parts).map_or_else(
        || "no process that holds the database answers".to_owned(),
        |url| format!("the process that holds the database serves users at {url}"),
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "follower", title)
        .detail(detail)
        .remedy("ask the admin listener of the process that holds the database")
        .into_response()
}

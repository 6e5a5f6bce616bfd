//! Reconciles: begun, and what they have found.

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::backfill::of_name;
use crate::serve::build::Parts;
use crate::serve::jobs;
use crate::sync::reconcile::Authority;

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReconcileOrder {
    resource: Option<String>,
    /// Whose rows are right, if the others are to be made like them.
    repair: Option<Authority>,
}

/// How far each one is.
pub(super) async fn state(State(parts): State<Parts>) -> Json<Value> {
    Json(json!({ "resources": parts.reconciles.states() }))
}

/// Begins one, or all.
pub(super) async fn start(
    State(parts): State<Parts>,
    Query(order): Query<ReconcileOrder>,
) -> Response {
    let resources = match of_name(&parts, order.resource.as_deref()) {
        Ok(resources) => resources,
        Err(problem) => return problem.into_response(),
    };
    for resource in resources {
        if parts.reconciles.begin(&resource.name) {
            let parts = parts.clone();
            tokio::spawn(async move { jobs::reconcile(&parts, &resource, order.repair).await });
        }
    }
    (StatusCode::ACCEPTED, state(State(parts)).await).into_response()
}

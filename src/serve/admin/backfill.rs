//! Backfills: begun, and how far they are.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use crate::proxy::problem::Problem;
use crate::resource::Resource;
use crate::serve::build::Parts;
use crate::serve::jobs;

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BackfillOrder {
    resource: Option<String>,
}

/// How far each one is.
pub(super) async fn state(State(parts): State<Parts>) -> Json<Value> {
    Json(json!({ "resources": parts.backfills.states() }))
}

/// The resource of this name, or all.
pub(super) fn of_name(parts: &Parts, only: Option<&str>) -> Result<Vec<Arc<Resource>>, Problem> {
    let wanted = |name: &str| only.is_none_or(|only| only == name);
    let resources: Vec<_> =
        parts.config.resources.iter().filter(|r| wanted(r.name.as_str())).cloned().collect();
    if resources.is_empty() {
        let title = "No such resource";
        return Err(Problem::new(StatusCode::NOT_FOUND, "no-such-resource", title));
    }
    Ok(resources)
}

/// Begins one, or all.
pub(super) async fn start(
    State(parts): State<Parts>,
    Query(order): Query<BackfillOrder>,
) -> Response {
    let resources = match of_name(&parts, order.resource.as_deref()) {
        Ok(resources) => resources,
        Err(problem) => return problem.into_response(),
    };
    // Writes that are not mirrored would be missing from the store, whatever is copied now.
    let off = |r: &&Arc<Resource>| !parts.stages.decide(&r.name).effective.writes_both();
    if let Some(resource) = resources.iter().find(off) {
        let title = "REST writes are not mirrored in this stage";
        return Problem::new(StatusCode::CONFLICT, "not-mirrored", title)
            .detail(format!("`{}` is in a stage that leaves the store alone", resource.name))
            .remedy("move it to dualwrite first")
            .into_response();
    }
    for resource in resources {
        if parts.backfills.begin(&resource.name) {
            let parts = parts.clone();
            tokio::spawn(async move { jobs::backfill(&parts, &resource).await });
        }
    }
    (StatusCode::ACCEPTED, state(State(parts)).await).into_response()
}

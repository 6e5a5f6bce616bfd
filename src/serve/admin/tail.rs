//! How writes past crossfade are followed, and a look ordered.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::backfill::of_name;
use crate::migration::ResourceName;
use crate::proxy::problem::Problem;
use crate::serve::JobState;
use crate::serve::build::Parts;
use crate::sync::tail::{TailProgress, TailState};

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TailOrder {
    resource: Option<String>,
}

/// How each one is doing.
pub(super) async fn state(State(parts): State<Parts>) -> Json<Value> {
    let job = |(name, TailState { running, progress, error }): (ResourceName, TailState)| {
        (name, JobState::<TailProgress> { running, progress, error })
    };
    let states: BTreeMap<_, _> = parts.tail.states().into_iter().map(job).collect();
    Json(json!({ "resources": states }))
}

/// Has the list of one resource, or of all, looked through now.
pub(super) async fn start(State(parts): State<Parts>, Query(order): Query<TailOrder>) -> Response {
    let resources = match of_name(&parts, order.resource.as_deref()) {
        Ok(resources) => resources,
        Err(problem) => return problem.into_response(),
    };
    for resource in &resources {
        if let Err(why) = parts.tail.may_look(&resource.name) {
            let title = "The store cannot follow legacy now";
            return Problem::new(StatusCode::CONFLICT, "not-followed", title)
                .detail(format!("`{}`: {why}", resource.name))
                .into_response();
        }
    }
    resources.iter().for_each(|resource| parts.tail.order(&resource.name));
    (StatusCode::ACCEPTED, state(State(parts)).await).into_response()
}

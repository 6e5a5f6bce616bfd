//! Who is in a cohort, as the flags say now.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

use super::read_body;
use crate::flags::Subject;
use crate::migration::{ResourceName, UserId};
use crate::proxy::problem::Problem;
use crate::serve::build::Parts;

/// Users that one question names at most.
const MAX_USERS: usize = 20_000;

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    resource: String,
    users: Vec<String>,
    /// The organisation that all of them are asked about in, for strategies that look at it.
    org_id: Option<String>,
    org_role: Option<String>,
}

/// Which of these users the flags have in the cohort of a resource, whatever its stage is.
pub(super) async fn members(State(parts): State<Parts>, body: bytes::Bytes) -> Response {
    let remedy = r#"send {"resource": "users", "users": ["user_1"]}"#;
    let question: Question = match read_body(&body, "cohort", remedy) {
        Ok(question) => question,
        Err(problem) => return problem.into_response(),
    };
    let Question { resource, users, org_id, org_role } = question;
    let resource = ResourceName::new(resource);
    if !parts.config.resources.iter().any(|known| known.name == resource) {
        let title = "No such resource";
        return Problem::new(StatusCode::NOT_FOUND, "no-such-resource", title).into_response();
    }
    if users.len() > MAX_USERS {
        return Problem::new(StatusCode::BAD_REQUEST, "cohort", "Too many users at once")
            .remedy(format!("name at most {MAX_USERS}"))
            .into_response();
    }
    let flags = parts.stages.evaluation();
    let is_in = |name: &String| {
        let user = UserId::new(name.as_str());
        flags.in_cohort(&resource, Subject::new(&user, org_id.as_deref(), org_role.as_deref()))
    };
    let members: Vec<_> = users.into_iter().filter(is_in).collect();
    Json(json!({ "resource": resource, "in_cohort": members })).into_response()
}

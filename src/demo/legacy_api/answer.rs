//! What callers are told when something is wrong, in one place and one shape.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::table::TableError;
use super::user::Invalid;

/// Everything that a caller can be told.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("the body is not JSON")]
    BadJson,
    #[error("sign in: no session that is valid")]
    Unauthenticated,
    #[error("Crossfade-On-Behalf-Of is not valid, or no longer")]
    InvalidOnBehalfOf,
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    NotFound(&'static str),
    #[error("another user has this email")]
    EmailTaken,
    #[error("another user has this id")]
    IdTaken,
    #[error("a body has at most {0} bytes")]
    BodyTooLarge(usize),
    #[error("{0}")]
    Invalid(#[from] Invalid),
    #[error("something went wrong on our side")]
    Internal,
    #[error("switched on for a demonstration")]
    Fault(StatusCode),
}

impl ApiError {
    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::BadJson => (StatusCode::BAD_REQUEST, "bad_json"),
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated"),
            Self::InvalidOnBehalfOf => (StatusCode::UNAUTHORIZED, "invalid_on_behalf_of"),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            Self::EmailTaken => (StatusCode::CONFLICT, "email_taken"),
            Self::IdTaken => (StatusCode::CONFLICT, "id_taken"),
            Self::BodyTooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "validation_failed"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            Self::Fault(status) => (*status, "fault"),
        }
    }
}

impl From<TableError> for ApiError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::EmailTaken => Self::EmailTaken,
            TableError::IdTaken => Self::IdTaken,
            TableError::Open(_)
            | TableError::Thread(_)
            | TableError::Query(_)
            | TableError::Row(_)
            | TableError::Closed => {
                tracing::error!(%error, "the sample legacy API cannot use its database");
                Self::Internal
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code) = self.status_and_code();
        let body = json!({"error": {"code": code, "message": self.to_string()}});
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

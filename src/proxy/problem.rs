//! Problem details (RFC 9457): the one shape in which crossfade says that it could not do something.

use axum::response::IntoResponse;
use http::{HeaderName, HeaderValue, StatusCode, header};

/// Response header that carries a problem's kind, for callers and logs that do not read bodies.
pub const ERROR_HEADER: HeaderName = HeaderName::from_static("crossfade-error");

/// Media type of a problem (RFC 9457 §3).
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// A problem, ready to be answered.
///
/// The `type` member is `urn:crossfade:problem:` and the kind; the kind alone is repeated in the
/// header `Crossfade-Error`. Nothing secret or personal belongs into any of its texts: they reach
/// callers and logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: Option<String>,
    remedy: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem of a kind (`upstream-timeout`: lower case, words joined by hyphens), with the
    /// title that every problem of this kind has.
    #[must_use]
    pub const fn new(status: StatusCode, kind: &'static str, title: &'static str) -> Self {
        Self { status, kind, title, detail: None, remedy: None, headers: Vec::new() }
    }

    /// Says what happened this time.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Says what the reader can do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Adds a response header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The status it is answered with.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// What happened this time, where it was said.
    #[must_use]
    pub fn detail_text(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    fn json(&self) -> serde_json::Value {
        let mut members = serde_json::Map::new();
        members.insert("type".into(), format!("urn:crossfade:problem:{}", self.kind).into());
        members.insert("title".into(), self.title.into());
        members.insert("status".into(), self.status.as_u16().into());
        if let Some(detail) = &self.detail {
            members.insert("detail".into(), detail.as_str().into());
        }
        if let Some(remedy) = &self.remedy {
            members.insert("remedy".into(), remedy.as_str().into());
        }
        members.into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        let mut response = axum::response::Response::new(self.json().to_string().into());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
        // A problem is about this moment: no cache may answer with it later.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(ERROR_HEADER, HeaderValue::from_static(self.kind));
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_problem_is_answered_as_rfc_9457_says() {
        let response = Problem::new(StatusCode::BAD_GATEWAY, "upstream-unreachable", "No upstream")
            .detail("refused")
            .remedy("start it")
            .header(header::CONNECTION, HeaderValue::from_static("close"))
            .into_response();
        assert_eq!(response.status(), 502);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()["crossfade-error"], "upstream-unreachable");
        assert_eq!(response.headers()[header::CONNECTION], "close");
        let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "urn:crossfade:problem:upstream-unreachable",
                "title": "No upstream",
                "status": 502,
                "detail": "refused",
                "remedy": "start it",
            })
        );
    }
}

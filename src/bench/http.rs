//! Timed requests.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::BenchError;
use crate::identity::Secret;
use crate::scenario::environment::{Environment, Login};

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A signed-in user with an HTTP client and a base URL.
pub(super) struct Caller {
    http: reqwest::Client,
    base: String,
    session: Secret,
}

/// An answer, and how long it took from sending to having all of it.
pub(super) struct Timed {
    pub(super) took: Duration,
    /// Who answered, as crossfade says; `None` from legacy itself.
    pub(super) origin: Option<String>,
    body: bytes::Bytes,
}

impl Timed {
    pub(super) fn json(&self) -> Result<Value, BenchError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| BenchError::Wrong(format!("an answer is no JSON: {error}")))
    }
}

impl Caller {
    /// With connections of its own: one session's requests never wait for another's.
    pub(super) fn new(
        environment: &Environment,
        user: &str,
        base: String,
    ) -> Result<Self, BenchError> {
        let login =
            Login { user: user.to_owned(), org: super::ORG.to_owned(), role: "admin".to_owned() };
        let session = environment.session(&login).map_err(BenchError::Start)?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(TIMEOUT)
            .build()
            .map_err(|error| BenchError::Start(error.to_string()))?;
        Ok(Self { http, base, session })
    }

    pub(super) async fn get(&self, target: &str) -> Result<Timed, BenchError> {
        self.send(http::Method::GET, target, None).await
    }

    pub(super) async fn patch(&self, target: &str, body: &Value) -> Result<Timed, BenchError> {
        self.send(http::Method::PATCH, target, Some(body)).await
    }

    async fn send(
        &self,
        method: http::Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<Timed, BenchError> {
        let wrong = |error: reqwest::Error| BenchError::Wrong(error.without_url().to_string());
        let request = self.http.request(method, format!("{}{target}", self.base));
        let request = request.bearer_auth(self.session.expose());
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let request = request.build().map_err(wrong)?;
        let begun = Instant::now();
        let answer = self.http.execute(request).await.map_err(wrong)?;
        let status = answer.status();
        let origin = answer.headers().get(crate::proxy::ORIGIN_HEADER);
        let origin = origin.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = answer.bytes().await.map_err(wrong)?;
        let took = begun.elapsed();
        if status != http::StatusCode::OK {
            return Err(BenchError::Wrong(format!("{target} was answered {status}")));
        }
        Ok(Timed { took, origin, body })
    }
}

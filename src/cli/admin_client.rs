//! Talks to a running crossfade's operators' listener.

use std::time::Duration;

use http::HeaderValue;
use serde_json::Value;

use super::CliError;
use crate::config::{BaseUrl, Config};
use crate::serve::ACTOR_HEADER;

/// Who runs the command, for the audit log. What cannot stand in a header is left out.
fn actor() -> HeaderValue {
    let user = std::env::var("USER").unwrap_or_default();
    HeaderValue::from_str(&user)
        .ok()
        .filter(|user| !user.is_empty())
        .unwrap_or(HeaderValue::from_static("operator"))
}

fn own_base(config: &Config) -> String {
    let mut address = config.admin.listen;
    if address.ip().is_unspecified() {
        // "Any address" is where to listen, not whom to call.
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    format!("http://{address}")
}

/// A client of the operators' listener.
pub(super) struct AdminClient {
    http: reqwest::Client,
    base: String,
    token: String,
    /// How long an answer may take.
    limit: Duration,
}

impl AdminClient {
    /// The client of the process that this configuration starts.
    pub(super) fn of(config: &Config) -> Result<Self, CliError> {
        Self::to(own_base(config), config)
    }

    /// The client of another process of the same cluster, which has the same token.
    pub(super) fn at(config: &Config, url: &BaseUrl) -> Result<Self, CliError> {
        Self::to(url.as_str().to_owned(), config)
    }

    fn to(base: String, config: &Config) -> Result<Self, CliError> {
        let http = reqwest::Client::builder().no_proxy().build().map_err(CliError::dependency)?;
        let token = config.admin.token.resolve()?;
        Ok(Self { http, base, token, limit: Duration::from_secs(10) })
    }

    /// Whether it is that of the process that this configuration starts.
    pub(super) fn is_of(&self, config: &Config) -> bool {
        self.base == own_base(config)
    }

    /// The same client, for an answer that may take longer.
    pub(super) fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, CliError> {
        self.send(self.http.get(format!("{}{path}", self.base))).await
    }

    pub(super) async fn post(&self, path: &str, body: Option<&Value>) -> Result<Value, CliError> {
        let request = self.http.post(format!("{}{path}", self.base));
        self.send(match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Value, CliError> {
        let unreachable = |error: reqwest::Error| {
            let text = format!(
                "no crossfade answers at [admin] listen = {} ({}). Is `crossfade serve` running with this configuration?",
                self.base,
                error.without_url()
            );
            CliError::dependency(text)
        };
        let response = request
            .timeout(self.limit)
            .bearer_auth(&self.token)
            .header(ACTOR_HEADER, actor())
            .send()
            .await
            .map_err(unreachable)?;
        let status = response.status();
        let body: Value = response.json().await.unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(body);
        }
        let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let said = format!("{} {} {}", text("title"), text("detail"), text("remedy"));
        let error = format!("crossfade answered {status}: {}", said.trim());
        Err(if status.is_client_error() {
            CliError::usage(error)
        } else {
            CliError::dependency(error)
        })
    }
}

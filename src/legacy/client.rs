//! Requests that crossfade makes of its own accord.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::migration::{Answer, Body, Failure, Observation, Origin};
use crate::storage::BoxFuture;

/// Says to the API's owner why crossfade asks.
pub const PURPOSE_HEADER: HeaderName = HeaderName::from_static("crossfade-purpose");
/// Says for whom a delivery is made.
pub const ON_BEHALF_OF_HEADER: HeaderName = HeaderName::from_static("crossfade-on-behalf-of");

/// Why crossfade asks; sent as `Crossfade-Purpose`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A read that is only compared.
    Compare,
    /// A read that was compared already, again: how often the API disagrees with itself.
    Noise,
    /// A write that is owed.
    Deliver,
    /// A page of the backfill.
    Backfill,
    /// A row read again to settle what an answer left open.
    Reread,
    /// The list, asked whether a create has happened.
    Probe,
    /// A page or a row that is compared with the store's.
    Reconcile,
    /// A page that is looked through for writes that never passed crossfade.
    Tail,
    /// A page or a row that is looked at with a user's rights, to compare what both sides show them.
    Parity,
}

impl Purpose {
    /// The header's value, also a metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compare => "compare",
            Self::Noise => "noise",
            Self::Deliver => "deliver",
            Self::Backfill => "backfill",
            Self::Reread => "reread",
            Self::Probe => "probe",
            Self::Reconcile => "reconcile",
            Self::Tail => "tail",
            Self::Parity => "parity",
        }
    }

    /// Whether it is one of many that nobody waits for: these go at the pace that the configuration allows.
    #[must_use]
    pub const fn is_bulk(self) -> bool {
        match self {
            Self::Backfill | Self::Reconcile | Self::Tail => true,
            Self::Compare
            | Self::Noise
            | Self::Deliver
            | Self::Reread
            | Self::Probe
            | Self::Parity => false,
        }
    }
}

/// Request headers that carry a caller's own credentials, copied for a comparison.
#[derive(Clone, Default)]
pub struct CallerHeaders(HeaderMap);

impl std::fmt::Debug for CallerHeaders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CallerHeaders({} headers)", self.0.len())
    }
}

impl CallerHeaders {
    /// Keeps what decides an answer: credentials and content negotiation. Conditions and ranges are
    /// left out (such requests are not compared), and content coding is crossfade's own business.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let kept = [header::AUTHORIZATION, header::COOKIE, header::ACCEPT, header::ACCEPT_LANGUAGE];
        let mut copy = HeaderMap::new();
        for name in kept {
            for value in headers.get_all(&name) {
                copy.append(name.clone(), value.clone());
            }
        }
        Self(copy)
    }
}

/// With whose rights a request is made.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// crossfade's own service credential.
    Service,
    /// The service credential on behalf of a user; the text is the signed assertion.
    OnBehalfOf(String),
    /// A caller's own.
    Caller(CallerHeaders),
}

/// One request.
#[derive(Debug, Clone)]
pub struct LegacyRequest {
    /// The method.
    pub method: Method,
    /// Path and query, as they stand in a URL.
    pub path_and_query: String,
    /// A JSON body.
    pub body: Option<serde_json::Value>,
    /// Why.
    pub purpose: Purpose,
    /// With whose rights.
    pub credentials: Credentials,
    /// A key under which the API may recognise a repeated request.
    pub idempotency_key: Option<String>,
}

/// Where the API is and how long it may take.
#[derive(Clone)]
pub struct LegacySettings {
    /// Scheme, authority and base path, without a slash at the end.
    pub base_url: String,
    /// For making a connection.
    pub connect_timeout: Duration,
    /// For a whole request and answer.
    pub timeout: Duration,
    /// The same, for a read that is only compared.
    pub compare_timeout: Duration,
    /// The service credential, if one is configured.
    pub service_token: Option<String>,
    /// The longest body that is kept, in bytes; a longer one is [`Body::Truncated`].
    pub max_body_bytes: usize,
}

impl std::fmt::Debug for LegacySettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LegacySettings").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LegacyClientError {
    /// The HTTP client could not be built.
    #[error("the client for the legacy API could not be made: {0}")]
    Build(String),
    /// The credential cannot be sent.
    #[error(
        "[legacy] service_token has a character that cannot stand in an HTTP header; use visible ASCII only"
    )]
    ServiceToken,
}

/// The way of a request to the legacy API, and of its answer back: HTTP, or a simulated API in a test.
pub trait LegacyTransport: Send + Sync + std::fmt::Debug {
    /// Asks, and waits for the whole answer.
    fn exchange(&self, request: LegacyRequest) -> BoxFuture<'_, Result<Answer, Failure>>;
}

/// Asks the legacy API.
#[derive(Debug, Clone)]
pub struct LegacyClient {
    transport: Arc<dyn LegacyTransport>,
    has_service_credential: bool,
}

impl LegacyClient {
    /// A client that follows no redirects and keeps its connections.
    ///
    /// # Errors
    /// [`LegacyClientError`] if the settings cannot be used.
    pub fn new(settings: LegacySettings) -> Result<Self, LegacyClientError> {
        let has_service_credential = settings.service_token.is_some();
        let transport = Arc::new(HttpTransport::new(settings)?);
        Ok(Self { transport, has_service_credential })
    }

    /// A client whose requests go another way; it is taken to have the service credential.
    #[must_use]
    pub fn over(transport: Arc<dyn LegacyTransport>) -> Self {
        Self { transport, has_service_credential: true }
    }

    /// Whether deliveries, backfill and re-reads have a credential to go with.
    #[must_use]
    pub const fn has_service_credential(&self) -> bool {
        self.has_service_credential
    }

    /// Asks, and measures how long the whole answer took.
    pub async fn ask(&self, request: LegacyRequest) -> Observation {
        let started = Instant::now();
        let purpose = request.purpose.as_str();
        let outcome = self.transport.exchange(request).await;
        metrics::counter!("crossfade_legacy_requests_total", "purpose" => purpose,
            "outcome" => if outcome.is_ok() { "answered" } else { "failed" })
        .increment(1);
        Observation { origin: Origin::Legacy, outcome, latency: started.elapsed() }
    }
}

/// Requests over HTTP.
#[derive(Debug)]
struct HttpTransport {
    http: reqwest::Client,
    base_url: String,
    service: Option<HeaderValue>,
    max_body_bytes: usize,
    timeout: Duration,
    compare_timeout: Duration,
}

impl LegacyTransport for HttpTransport {
    fn exchange(&self, request: LegacyRequest) -> BoxFuture<'_, Result<Answer, Failure>> {
        Box::pin(self.send(request))
    }
}

impl HttpTransport {
    fn new(settings: LegacySettings) -> Result<Self, LegacyClientError> {
        let http = reqwest::Client::builder()
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.timeout)
            // As the forwarder: the upstream is reached directly, whatever the environment says.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("crossfade/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| LegacyClientError::Build(e.to_string()))?;
        let service = settings.service_token.map(|token| {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| LegacyClientError::ServiceToken)?;
            value.set_sensitive(true);
            Ok(value)
        });
        Ok(Self {
            http,
            base_url: settings.base_url,
            service: service.transpose()?,
            max_body_bytes: settings.max_body_bytes,
            timeout: settings.timeout,
            compare_timeout: settings.compare_timeout,
        })
    }

    async fn send(&self, request: LegacyRequest) -> Result<Answer, Failure> {
        let url = format!("{}{}", self.base_url, request.path_and_query);
        let mut headers = self.credentials(request.credentials)?;
        headers.insert(PURPOSE_HEADER, HeaderValue::from_static(request.purpose.as_str()));
        if let Some(key) = request.idempotency_key.and_then(|k| HeaderValue::from_str(&k).ok()) {
            headers.insert(HeaderName::from_static("idempotency-key"), key);
        }
        let timeout = match request.purpose {
            Purpose::Compare | Purpose::Noise | Purpose::Parity => self.compare_timeout,
            Purpose::Deliver
            | Purpose::Backfill
            | Purpose::Reread
            | Purpose::Probe
            | Purpose::Reconcile
            | Purpose::Tail => self.timeout,
        };
        let mut builder = self.http.request(request.method, url).headers(headers).timeout(timeout);
        if let Some(body) = request.body {
            builder = builder.json(&body);
        }
        let response = builder.send().await.map_err(|e| failure(&e, timeout))?;
        self.read(response, timeout).await
    }

    fn credentials(&self, credentials: Credentials) -> Result<HeaderMap, Failure> {
        let (mut headers, assertion) = match credentials {
            Credentials::Caller(CallerHeaders(headers)) => return Ok(headers),
            Credentials::Service => (HeaderMap::new(), None),
            Credentials::OnBehalfOf(assertion) => (HeaderMap::new(), Some(assertion)),
        };
        let service = self.service.clone().ok_or_else(|| {
            Failure::Unavailable("no [legacy] service_token is configured".to_owned())
        })?;
        headers.insert(header::AUTHORIZATION, service);
        if let Some(assertion) = assertion {
            let mut value = HeaderValue::from_str(&assertion).map_err(|_| {
                Failure::Unavailable("the on-behalf-of assertion is no header text".to_owned())
            })?;
            value.set_sensitive(true);
            headers.insert(ON_BEHALF_OF_HEADER, value);
        }
        Ok(headers)
    }

    async fn read(
        &self,
        mut response: reqwest::Response,
        timeout: Duration,
    ) -> Result<Answer, Failure> {
        let status: StatusCode = response.status();
        let headers = response.headers().clone();
        let coding = headers.get(header::CONTENT_ENCODING).map(|v| v.to_str().unwrap_or("?"));
        if let Some(coding) = coding.filter(|c| !c.eq_ignore_ascii_case("identity")) {
            let body = Body::Encoded(coding.to_owned());
            return Ok(Answer { status, headers, body });
        }
        let mut whole = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| failure(&e, timeout))? {
            if whole.len() + chunk.len() > self.max_body_bytes {
                return Ok(Answer { status, headers, body: Body::Truncated });
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers, body: Body::Whole(whole.freeze()) })
    }
}

fn failure(error: &reqwest::Error, timeout: Duration) -> Failure {
    if error.is_timeout() {
        return Failure::Timeout(timeout);
    }
    // The error's own text holds the URL, which may hold personal data; its causes do not.
    let mut reason = "connection failed".to_owned();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        reason = inner.to_string();
        cause = inner.source();
    }
    if error.is_connect() { Failure::NotReached(reason) } else { Failure::Unreachable(reason) }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;

    use super::*;

    fn settings(base_url: String) -> LegacySettings {
        LegacySettings {
            base_url,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            compare_timeout: Duration::from_secs(5),
            service_token: Some("s3cret-token".to_owned()),
            max_body_bytes: 64,
        }
    }

    async fn server() -> String {
        let echo = |headers: HeaderMap| async move {
            let text =
                |name: &str| headers.get(name).map_or("-", |v| v.to_str().unwrap()).to_owned();
            format!("{} {}", text("authorization"), text("crossfade-purpose"))
        };
        let app = axum::Router::new()
            .route("/echo", get(echo))
            .route("/long", get(|| async { "x".repeat(65) }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        url
    }

    fn read(path: &str, credentials: Credentials) -> LegacyRequest {
        LegacyRequest {
            method: Method::GET,
            path_and_query: path.to_owned(),
            body: None,
            purpose: Purpose::Reread,
            credentials,
            idempotency_key: None,
        }
    }

    async fn body(client: &LegacyClient, request: LegacyRequest) -> Body {
        client.ask(request).await.outcome.unwrap().body
    }

    #[tokio::test]
    async fn goes_with_the_chosen_credentials_and_says_why() {
        let client = LegacyClient::new(settings(server().await)).unwrap();
        let whole = |text: &'static str| Body::Whole(text.into());
        let service = read("/echo", Credentials::Service);
        assert_eq!(body(&client, service).await, whole("Bearer s3cret-token reread"));
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer user"));
        headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("x"));
        let caller = Credentials::Caller(CallerHeaders::of(&headers));
        assert!(!format!("{caller:?}").contains("user"));
        assert_eq!(body(&client, read("/echo", caller)).await, whole("Bearer user reread"));
        assert_eq!(body(&client, read("/long", Credentials::Service)).await, Body::Truncated);
    }

    #[tokio::test]
    async fn a_dead_api_is_unreachable_and_no_url_is_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let client = LegacyClient::new(settings(url)).unwrap();
        let request = read("/users?email=ada@example.test", Credentials::Service);
        let failure = client.ask(request).await.outcome.unwrap_err();
        assert!(matches!(failure, Failure::NotReached(_)));
        assert!(!failure.to_string().contains("example.test"), "{failure}");
    }
}

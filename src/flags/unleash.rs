//! Flags from an Unleash server, through `unleash-api-client`.
//!
//! The client speaks the protocol: registration, headers, endpoints, metrics. Its own poll loop and cache are
//! not used, because they ignore the status of an answer, tell nothing of staleness, read every toggle as
//! off before the first poll, evaluate under a mutex, and log backtraces.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use unleash_api_client::api::{Metrics, features_endpoint};
use unleash_api_client::client::{Client, ClientBuilder, FeatureKey};
use unleash_api_client::http::{Method, Request, Response, Transport, TransportRef};
use unleash_types::client_features::ClientFeatures;
use unleash_types::client_metrics::{ClientMetrics, MetricsMetadata};

use super::engine::{Application, Engine};
use super::{ProviderKind, Toggles};
use crate::clock::SharedClock;
use crate::identity::Secret;

/// A server whose project, environment or database is gone answers 200, and with no toggle at all. Nobody who
/// means to change something takes all of them away: what is in force stays, cohort included.
const TOGGLES_LOST: &str = "Unleash server: the document has no toggle at all, and the one before had some: \
     check project and environment of `token` under [flags.unleash]; a restart takes it as it is";
/// Longest document that is read.
const MAX_DOCUMENT_BYTES: usize = 16 * 1024 * 1024;

/// Which server, as whom, how often.
#[derive(Debug, Clone)]
pub struct UnleashSettings {
    /// The server's API, `http://127.0.0.1:4242/api`.
    pub url: String,
    /// A backend token.
    pub token: Secret,
    /// What the server and constraints may know of this program.
    pub application: Application,
    /// Names this process among others of the application.
    pub instance_id: String,
    /// From the end of one poll to the next.
    pub poll: Duration,
    /// For one request.
    pub timeout: Duration,
    /// How often what was counted is told to the server; one minute is Unleash's own advice.
    pub metrics: Duration,
}

/// Settings that cannot be used. A server that is down is no error: the last known stages hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnleashError {
    /// No http(s) URL.
    #[error(
        "`url` under [flags.unleash] is no http(s) URL: write for instance http://127.0.0.1:4242/api"
    )]
    Url,
    /// The HTTP client cannot be made.
    #[error("no HTTP client for [flags.unleash]: {0}")]
    HttpClient(String),
}

/// The client is typed by an enumeration of features; names are only known at run time here.
#[derive(Debug, Clone, Copy)]
enum NoFeature {}

impl FeatureKey for NoFeature {
    fn name(self) -> &'static str {
        match self {}
    }
}

impl Toggles {
    /// Polls a server. Must be called in a tokio runtime. Returns at once, before the first poll.
    ///
    /// # Errors
    /// [`UnleashError`] if the settings cannot be used.
    pub fn from_unleash(
        settings: UnleashSettings,
        clock: SharedClock,
    ) -> Result<Self, UnleashError> {
        let client = reqwest::Client::builder()
            .timeout(settings.timeout)
            .build()
            .map_err(|error| UnleashError::HttpClient(error.to_string()))?;
        Self::from_unleash_by(settings, clock, Arc::new(Bounded(client)))
    }

    /// As [`Toggles::from_unleash`], through another transport.
    ///
    /// # Errors
    /// [`UnleashError`] if the settings cannot be used.
    pub fn from_unleash_by(
        settings: UnleashSettings,
        clock: SharedClock,
        transport: TransportRef,
    ) -> Result<Self, UnleashError> {
        let url = reqwest::Url::parse(&settings.url).map_err(|_| UnleashError::Url)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(UnleashError::Url);
        }
        let application = settings.application.clone();
        let engine = Arc::new(Engine::new(ProviderKind::Unleash, application, clock));
        let client = ClientBuilder::default()
            .interval(millis(settings.poll))
            .disable_metric_submission()
            .into_client_with_transport(
                &settings.url,
                &settings.application.name,
                &settings.instance_id,
                Some(settings.token.expose().to_owned()),
                Arc::new(StatusChecked(transport)),
            )
            .map_err(|error| UnleashError::HttpClient(error.to_string()))?;
        let feeder = Feeder { client, settings, engine: Arc::clone(&engine) };
        Ok(Self::new(engine, Some(tokio::spawn(feeder.run()))))
    }
}

struct Feeder {
    client: Client<NoFeature>,
    settings: UnleashSettings,
    engine: Arc<Engine>,
}

impl Feeder {
    async fn run(self) {
        let endpoint = features_endpoint(&self.settings.url);
        let poll_ms = millis(self.settings.poll);
        let (mut registered, mut told) = (false, Instant::now());
        loop {
            match self.client.http.get_json::<ClientFeatures>(&endpoint, Some(poll_ms)).await {
                Ok(features) if features.features.is_empty() && self.engine.has_toggles() => {
                    self.engine.fail(TOGGLES_LOST.to_owned());
                }
                Ok(features) => {
                    self.engine.accept(features);
                    if !registered || told.elapsed() >= self.settings.metrics {
                        registered = registered || self.register().await;
                        self.tell_metrics().await;
                        told = Instant::now();
                    }
                }
                // The chain of causes, without the backtrace that `{:?}` would print.
                Err(error) => self.engine.fail(format!("Unleash server: {error:#}")),
            }
            tokio::time::sleep(self.settings.poll.max(Duration::from_millis(10))).await;
        }
    }

    /// Makes the server list this application. Toggles are evaluated without it all the same.
    async fn register(&self) -> bool {
        let outcome = self.client.register().await;
        if let Err(error) = &outcome {
            tracing::info!(%error, "the Unleash server did not register this application");
        }
        outcome.is_ok()
    }

    /// Tells how often each toggle was asked for, in the server's own terms. What could not be told is
    /// gone, as with Unleash's own clients: it is a statistic.
    async fn tell_metrics(&self) {
        let Some(bucket) = self.engine.take_metrics() else { return };
        let body = ClientMetrics {
            app_name: self.settings.application.name.clone(),
            bucket: Some(bucket),
            environment: Some(self.settings.application.environment.clone()),
            instance_id: Some(self.settings.instance_id.clone()),
            connection_id: None,
            impact_metrics: None,
            metadata: MetricsMetadata::default(),
        };
        let endpoint = Metrics::endpoint(&self.settings.url);
        let told = self.client.http.post_json(&endpoint, body, None).await;
        if !told.is_ok_and(|accepted| accepted) {
            metrics::counter!("crossfade_flags_metrics_failures_total").increment(1);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Turns an answer that is not 200 into an error: the client would read its body as a document.
struct StatusChecked(TransportRef);

#[async_trait]
impl Transport for StatusChecked {
    async fn execute(&self, request: Request) -> Result<Response, anyhow::Error> {
        let reads = request.method == Method::Get;
        let response = self.0.execute(request).await?;
        if reads && response.status != 200 {
            let remedy = match response.status {
                401 | 403 => ": check `token` under [flags.unleash], it must be a backend token",
                404 => ": check `url` under [flags.unleash], it must end in /api",
                _ => "",
            };
            anyhow::bail!("status {}{remedy}", response.status);
        }
        Ok(response)
    }
}

/// A transport that reads no more than a document may have.
struct Bounded(reqwest::Client);

#[async_trait]
impl Transport for Bounded {
    async fn execute(&self, request: Request) -> Result<Response, anyhow::Error> {
        let mut builder = match request.method {
            Method::Get => self.0.get(&request.url),
            Method::Post => self.0.post(&request.url),
        };
        for (name, value) in request.headers {
            builder = builder.header(name, value);
        }
        if let Some(body) = request.body {
            builder = builder.header("content-type", "application/json").body(body);
        }
        // The address may carry credentials: errors are told without it.
        let mut response = builder.send().await.map_err(reqwest::Error::without_url)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
            if body.len() + chunk.len() > MAX_DOCUMENT_BYTES {
                anyhow::bail!("the document is longer than {MAX_DOCUMENT_BYTES} bytes");
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response { status: response.status().as_u16(), body })
    }
}

//! A whole world in one process: the built-in sample legacy API, a crossfade server in front of it,
//! and an issuer of sessions, on free ports of the loopback address, with databases in a folder of
//! their own that is gone afterwards.
//!
//! Everything speaks over real sockets, and the configuration is the documented example
//! (`docs/crossfade.example.toml`) with addresses, files and secrets of this run.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use serde_json::Value;
use tempfile::TempDir;

use crate::clock::{SharedClock, SharedEntropy};
use crate::config::Config;
use crate::demo::legacy_api::{
    Caller, SampleApi, SampleConfig, SampleStorage, Seed, ServiceCredential, SessionCheck,
};
use crate::flags::FixedToggles;
use crate::identity::{
    KeySource, OnBehalfOf, Secret, SessionSettings, SessionSpec, SessionVerifier, TestIssuer,
    session_token,
};
use crate::resource::Resource;
use crate::serve::{Server, Surroundings};
use crate::sync::client::{ClientSettings, TokenError, TokenFn};

use super::model::StageChange;

const EXAMPLE: &str = include_str!("../../docs/crossfade.example.toml");
/// How long a look at the operators' listener waits before the next.
const LOOK: Duration = Duration::from_millis(10);
/// How long a session lasts: longer than any run, so that none has to be renewed in a measurement.
const SESSION: Duration = Duration::from_secs(3600);

/// What went wrong with the world, in words for people.
pub(crate) type Trouble = String;

/// The sample API, crossfade and an issuer, running.
pub(crate) struct Environment {
    legacy: SampleApi,
    server: Server,
    issuer: Arc<TestIssuer>,
    toggles: FixedToggles,
    resource: Arc<Resource>,
    service_token: Secret,
    admin_token: Secret,
    http: reqwest::Client,
    clock: SharedClock,
    entropy: SharedEntropy,
    /// Removed last, after everything that has files open in it.
    _folder: TempDir,
}

/// Somebody signed in.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) org: String,
    pub(crate) role: String,
}

/// What is owed to legacy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owed {
    pub(crate) pending: u64,
    pub(crate) dead: u64,
}

impl Environment {
    /// Starts everything with these rows.
    pub(crate) async fn start(
        seed: Seed,
        clock: SharedClock,
        entropy: SharedEntropy,
    ) -> Result<Self, Trouble> {
        let folder = TempDir::with_prefix("crossfade-").map_err(|e| told("a folder", e))?;
        let issuer = TestIssuer::generate(clock.clone()).map_err(|e| told("a session key", e))?;
        let issuer = Arc::new(issuer);
        let pem = issuer.public_pem().to_owned();
        std::fs::write(folder.path().join("clerk.pem"), &pem)
            .map_err(|e| told("the session key's file", e))?;
        let (service_token, admin_token) = (random(&entropy), random(&entropy));
        let legacy = SampleConfig {
            storage: SampleStorage::File(folder.path().join("legacy.db")),
            seed: Some(seed),
            sessions: session_check(&pem, &clock)?,
            service: Some(service_credential(&service_token, &clock)),
            entropy: entropy.clone(),
        };
        let legacy =
            SampleApi::start(legacy, clock.clone()).await.map_err(|e| told("the legacy API", e))?;
        let config = config(&folder, &legacy.url(), &service_token, &admin_token)?;
        let resource = config.resources.first().cloned();
        let resource = resource.ok_or("the example configuration maps no resource")?;
        let toggles = FixedToggles::new(&config.flags.prefix, clock.clone());
        toggles.set_enabled(true);
        let surroundings = Surroundings {
            clock: clock.clone(),
            entropy: entropy.clone(),
            grace: Duration::from_secs(2),
            toggles: Some(toggles.toggles()),
            ..Surroundings::default()
        };
        let server = Server::start(config, surroundings).await.map_err(|e| told("crossfade", e))?;
        // A proxy that the machine is set up with has no business between two loopback addresses.
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| told("an HTTP client", e))?;
        Ok(Self {
            legacy,
            server,
            issuer,
            toggles,
            resource,
            service_token,
            admin_token,
            http,
            clock,
            entropy,
            _folder: folder,
        })
    }

    /// The resource that both paths serve.
    pub(crate) fn resource(&self) -> &Arc<Resource> {
        &self.resource
    }

    /// Where crossfade answers users.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.server.listen())
    }

    /// Where legacy answers, without crossfade between.
    pub(crate) fn legacy_url(&self) -> String {
        self.legacy.url()
    }

    /// An HTTP client that keeps connections.
    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// A session token.
    pub(crate) fn session(&self, login: &Login) -> Result<Secret, Trouble> {
        session(&self.issuer, login)
    }

    /// Settings of a native client that fetches a sync token before each connection.
    pub(crate) fn client(
        &self,
        login: &Login,
        path: &str,
        unique_id: &str,
    ) -> Result<ClientSettings, Trouble> {
        let url = format!("ws://{}/sync/{path}", self.server.listen());
        let url = url.parse().map_err(|e| told("the sync URL", e))?;
        let mut settings =
            ClientSettings::new(url, unique_id, self.clock.clone(), self.entropy.clone());
        let (http, issuer, login) = (self.http.clone(), self.issuer.clone(), login.clone());
        let mint = format!("{}/_crossfade/sync-token", self.url());
        settings.tokens = Arc::new(TokenFn(move || {
            let (http, mint) = (http.clone(), mint.clone());
            let session = session(&issuer, &login);
            async move { sync_token(&http, &mint, &session.map_err(TokenError)?).await.map(Some) }
        }));
        Ok(settings)
    }

    /// Asks for a stage, and returns once it is in effect.
    pub(crate) async fn set_stage(&self, change: StageChange) -> Result<(), Trouble> {
        let name = &self.resource.name;
        if let Some(percent) = change.cohort {
            self.toggles.set_cohort(name, percent);
        }
        if let Some(percent) = change.shadow {
            self.toggles.set_shadow(name, percent);
        }
        self.toggles.set_stage(name, change.stage);
        loop {
            let view = self.admin(http::Method::GET, "/stages").await?;
            let of = |key: &str| view.pointer(&format!("/resources/0/{key}")).cloned();
            let (requested, effective) = (of("requested"), of("effective"));
            if effective == Some(change.stage.as_str().into()) {
                return Ok(());
            }
            // What was asked for has been seen and something else holds: it will not come by itself.
            if requested == Some(change.stage.as_str().into()) {
                let because = of("because").unwrap_or_default();
                return Err(format!(
                    "stage {} was asked for and {} holds: {because}",
                    change.stage,
                    effective.unwrap_or_default()
                ));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Copies legacy's rows into the store.
    pub(crate) async fn backfill(&self) -> Result<(), Trouble> {
        self.admin(http::Method::POST, "/backfill").await?;
        loop {
            let view = self.admin(http::Method::GET, "/backfill").await?;
            let state = view.pointer(&format!("/resources/{}", self.resource.name)).cloned();
            let state = state.ok_or("the backfill is not listed")?;
            if let Some(error) = state.get("error").and_then(Value::as_str) {
                return Err(format!("the backfill failed: {error}"));
            }
            if state.get("running") == Some(&Value::Bool(false)) {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What is owed to legacy now.
    pub(crate) async fn owed(&self) -> Result<Owed, Trouble> {
        let view = self.admin(http::Method::GET, "/outbox").await?;
        let number = |key: &str| view.get(key).and_then(Value::as_u64);
        match (number("pending"), number("dead")) {
            (Some(pending), Some(dead)) => Ok(Owed { pending, dead }),
            _ => Err("crossfade's outbox cannot be read".to_owned()),
        }
    }

    /// A list's page, asked of legacy itself by the service credential, which sees all organisations.
    pub(crate) async fn legacy_page(&self, offset: usize, limit: usize) -> Result<Value, Trouble> {
        let query = self.resource.query.page_query(offset, limit);
        let list = self.resource.routes.list.path.as_str();
        let url = format!("{}{list}?{query}", self.legacy_url());
        let request = self.http.get(url).bearer_auth(self.service_token.expose());
        json(request, "legacy").await
    }

    async fn admin(&self, method: http::Method, path: &str) -> Result<Value, Trouble> {
        let url = format!("http://{}{path}", self.server.admin());
        let request = self.http.request(method, url).bearer_auth(self.admin_token.expose());
        json(request, "crossfade's operators' listener").await
    }

    /// Stops everything, in order.
    pub(crate) async fn stop(self) -> Result<(), Trouble> {
        let Self { server, legacy, .. } = self;
        let stopped = server.stop().await.map_err(|e| told("crossfade", e));
        legacy.stop().await.map_err(|e| told("the legacy API", e))?;
        stopped
    }
}

fn told(what: &str, error: impl std::fmt::Display) -> Trouble {
    format!("{what}: {error}")
}

/// 24 random bytes as text.
fn random(entropy: &SharedEntropy) -> Secret {
    let mut bytes = [0_u8; 24];
    entropy.fill(&mut bytes);
    Secret::new(URL_SAFE_NO_PAD.encode(bytes))
}

fn session(issuer: &TestIssuer, login: &Login) -> Result<Secret, Trouble> {
    let mut spec = SessionSpec::of(&login.user).in_organisation(&login.org, &login.role);
    spec.lifetime = SESSION;
    issuer.session(&spec).map(Secret::new).map_err(|e| told("a session", e))
}

/// The sample API verifies sessions as crossfade does, on its own.
fn session_check(pem: &str, clock: &SharedClock) -> Result<SessionCheck, Trouble> {
    let settings = SessionSettings::new(KeySource::Pem(pem.to_owned()));
    let verifier = SessionVerifier::new(settings, clock.clone());
    let verifier = Arc::new(verifier.map_err(|e| told("the session key", e))?);
    Ok(SessionCheck::from_async(move |headers: HeaderMap| {
        let verifier = verifier.clone();
        async move {
            let identity = verifier.verify(session_token(&headers)?).await.ok()?;
            Some(Caller {
                user: identity.user.as_str().to_owned(),
                org: identity.org_id?,
                role: identity.org_role?,
            })
        }
    }))
}

fn service_credential(token: &Secret, clock: &SharedClock) -> ServiceCredential {
    let signed = OnBehalfOf::new(token, clock.clone());
    ServiceCredential {
        token: token.expose().to_owned(),
        on_behalf_of: Arc::new(move |text| {
            let claims = signed.verify(text).ok()?;
            Some(Caller { user: claims.sub, org: claims.org_id?, role: claims.org_role? })
        }),
    }
}

/// The documented example, with this run's addresses, files and secrets.
fn config(
    folder: &TempDir,
    legacy: &str,
    service_token: &Secret,
    admin_token: &Secret,
) -> Result<Config, Trouble> {
    let mut example: toml::Table = toml::from_str(EXAMPLE).map_err(|e| told("the example", e))?;
    let settings = [
        ("server", "listen", "127.0.0.1:0"),
        ("admin", "listen", "127.0.0.1:0"),
        ("admin", "token", admin_token.expose()),
        ("legacy", "url", legacy),
        ("legacy", "service_token", service_token.expose()),
    ];
    for (section, key, value) in settings {
        let section = example.get_mut(section).and_then(toml::Value::as_table_mut);
        let section = section.ok_or("the example lacks a section")?;
        section.insert(key.to_owned(), value.into());
    }
    // A scenario says itself when a stage begins.
    let interlocks = example.get_mut("interlocks").and_then(toml::Value::as_table_mut);
    let waived = ["backfill", "reconcile", "mismatch-gate"].map(toml::Value::from).to_vec();
    interlocks.ok_or("the example lacks a section")?.insert("waive".to_owned(), waived.into());
    let text = toml::to_string(&example).map_err(|e| told("the configuration", e))?;
    Config::parse(&text, folder.path(), "crossfade.toml").map_err(|e| told("the configuration", e))
}

/// An answer's JSON; anything but 2xx is trouble.
async fn json(request: reqwest::RequestBuilder, whose: &str) -> Result<Value, Trouble> {
    // A request's error shows its URL, which may have a query.
    let answer = request.send().await.map_err(|e| told(whose, e.without_url()))?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(|e| told(whose, e.without_url()))?;
    if !status.is_success() {
        return Err(format!("{whose} answered {status}"));
    }
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&body).map_err(|e| told(&format!("{whose} sent no JSON"), e))
}

async fn sync_token(
    http: &reqwest::Client,
    url: &str,
    session: &Secret,
) -> Result<Secret, TokenError> {
    let request = http.post(url).bearer_auth(session.expose());
    let answer = json(request, "crossfade").await.map_err(TokenError)?;
    let token = answer.get("token").and_then(Value::as_str);
    let token = token.ok_or_else(|| TokenError("the answer holds no token".to_owned()))?;
    Ok(Secret::new(token))
}

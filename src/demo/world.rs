//! Everything that runs in a demo: the sample API, the crossfade before it, keys, flags, a folder.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::cast::{self, Person, SignedIn};
use super::error::DemoError;
use super::ledger::Ledger;
use super::legacy_api::{
    Caller, SampleApi, SampleConfig, SampleStorage, Seed, ServiceCredential, SessionCheck,
};
use super::settings::Scale;
use super::tally::Tally;
use super::traffic::{RestUser, Shared, SyncUser};
use crate::clock::{Entropy as _, SharedClock, SystemClock, SystemEntropy};
use crate::config::Config;
use crate::flags::FixedToggles;
use crate::identity::{
    KeySource, OnBehalfOf, Secret, SessionSettings, SessionVerifier, TestIssuer,
};
use crate::migration::{ResourceName, Stage};
use crate::record::RecorderSettings;
use crate::resource::Resource;
use crate::serve::{Server, Surroundings};
use crate::sync::client::{Backoff, ClientSettings, TokenError, TokenFn};

/// How fine the recording is: a demo lasts a minute.
const GRAIN: Duration = Duration::from_secs(1);
/// No request of the demo takes this long.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the session of an [`Invitation`] is good.
const INVITATION: Duration = Duration::from_secs(12 * 3_600);

/// How to look around in a demo that still runs. Its secrets are the demo's own and end with it.
#[derive(Clone)]
pub struct Invitation {
    /// Where users' requests are answered.
    pub users: String,
    /// Where operators' requests are answered.
    pub operators: String,
    /// The sample legacy API itself.
    pub legacy: String,
    /// A configuration with these addresses, for crossfade's other commands.
    pub config: PathBuf,
    /// A session of an administrator of the first organisation; only this demo accepts it.
    pub session: String,
    /// The operators' token.
    pub admin_token: String,
    /// The path that the session opens for sync.
    pub path: String,
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation").field("users", &self.users).finish_non_exhaustive()
    }
}

/// Everything that runs.
#[derive(Debug)]
pub(super) struct World {
    pub(super) api: SampleApi,
    pub(super) server: Server,
    pub(super) toggles: FixedToggles,
    pub(super) resource: Arc<Resource>,
    pub(super) recordings: PathBuf,
    pub(super) clock: SharedClock,
    pub(super) shared: Shared,
    pub(super) http: reqwest::Client,
    /// The rows that were there before, by id.
    pub(super) seeded: BTreeMap<String, Value>,
    issuer: Arc<TestIssuer>,
    secrets: Secrets,
    /// Gone with the demo; dropped last, when nothing writes into it any more.
    folder: TempDir,
}

/// Made for one demo.
struct Secrets {
    admin: String,
    service: String,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl World {
    /// Starts everything; in stage `off`, with an empty store.
    pub(super) async fn start(scale: &Scale, seed: u64) -> Result<Self, DemoError> {
        let clock: SharedClock = Arc::new(SystemClock);
        let folder = tempfile::Builder::new().prefix("crossfade-demo-").tempdir()?;
        let issuer = Arc::new(TestIssuer::generate(clock.clone())?);
        std::fs::write(folder.path().join("clerk.pem"), issuer.public_pem())?;
        let secrets = Secrets { admin: random_token(), service: random_token() };
        let rows = Seed { seed, users: scale.rows, organisations: scale.organisations };
        let api = start_api(&folder, &clock, &secrets, rows).await?;
        let free: SocketAddr = ([127, 0, 0, 1], 0).into();
        let text = config_text(&api.url(), free, free, &secrets);
        let config = Config::parse(&text, folder.path(), "the demo's configuration")?;
        let resource = config.resources.first().cloned();
        let resource = resource.ok_or_else(|| DemoError::Broken("no resource".to_owned()))?;
        let recordings = config.storage.recordings.clone();
        let toggles = FixedToggles::new(&config.flags.prefix, clock.clone());
        set_off(&toggles, &resource.name);
        let server = Server::start(
            config,
            Surroundings {
                clock: clock.clone(),
                toggles: Some(toggles.toggles()),
                recorder: RecorderSettings { grain: GRAIN, ..RecorderSettings::default() },
                grace: Duration::from_secs(3),
                ..Surroundings::default()
            },
        )
        .await?;
        let seeded = rows.users_list().into_iter().map(|user| (user.id.clone(), json!(user)));
        Ok(Self {
            seeded: seeded.collect(),
            shared: Shared {
                tally: Arc::new(Tally::default()),
                ledger: Arc::new(Ledger::default()),
                scale: scale.clone(),
                seed,
            },
            http: reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build()?,
            api,
            server,
            toggles,
            resource,
            recordings,
            clock,
            issuer,
            secrets,
            folder,
        })
    }

    /// Where users' requests are answered.
    fn users_url(&self) -> String {
        format!("http://{}", self.server.listen())
    }

    /// The ids of an organisation's rows that were there before, in order.
    fn rows_of(&self, org: &str) -> Arc<Vec<String>> {
        let of_org = self.seeded.iter().filter(|(_, row)| row["orgId"] == org);
        Arc::new(of_org.map(|(id, _)| id.clone()).collect())
    }

    /// Everybody whose app speaks REST.
    pub(super) fn rest_users(&self) -> Vec<RestUser> {
        let people = cast::by_rest(self.shared.scale.organisations).into_iter();
        let user = |person: Person| {
            let rows = self.rows_of(&person.org);
            let who = SignedIn::new(person, self.issuer.clone());
            RestUser::new(who, self.http.clone(), &self.users_url(), rows, self.shared.clone())
        };
        people.map(user).collect()
    }

    /// Everybody whose app syncs; they begin to connect.
    pub(super) fn sync_users(&self) -> Result<Vec<SyncUser>, DemoError> {
        let people = cast::by_sync(self.shared.scale.organisations).into_iter();
        let user = |person: Person| {
            let settings = self.client_settings(&person)?;
            let rows = self.rows_of(&person.org);
            Ok(SyncUser::new(person, settings, rows, self.shared.clone()))
        };
        people.map(user).collect()
    }

    fn client_settings(&self, person: &Person) -> Result<ClientSettings, DemoError> {
        let url = format!("ws://{}/sync/org/{}", self.server.listen(), person.org);
        let url = url.parse().map_err(|_| DemoError::Broken("a sync address".to_owned()))?;
        let entropy = Arc::new(SystemEntropy);
        let mut settings = ClientSettings::new(url, &person.user, self.clock.clone(), entropy);
        settings.backoff = Backoff {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(1),
            ..Backoff::default()
        };
        settings.confirm_after = Duration::from_millis(20);
        let (http, issuer, session) = (self.http.clone(), self.issuer.clone(), person.session());
        let url = format!("{}/_crossfade/sync-token", self.users_url());
        settings.tokens = Arc::new(TokenFn(move || {
            let (http, url) = (http.clone(), url.clone());
            let session = issuer.session(&session);
            async move {
                let session = session.map_err(|error| TokenError(error.to_string()))?;
                sync_token(&http, url, &session).await.map(Some)
            }
        }));
        Ok(settings)
    }

    /// A request to the operators' listener; gives the answer's body.
    pub(super) async fn operate(
        &self,
        method: reqwest::Method,
        target: &str,
        body: Option<Value>,
    ) -> Result<Value, DemoError> {
        let url = format!("http://{}{target}", self.server.admin());
        let mut request = self.http.request(method, url).bearer_auth(&self.secrets.admin);
        if let Some(body) = &body {
            request = request.json(body);
        }
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    /// All rows that the legacy API has, by id: asked directly, past crossfade.
    pub(super) async fn legacy_rows(&self) -> Result<BTreeMap<String, Value>, DemoError> {
        let mut rows = BTreeMap::new();
        let mut offset = 0;
        loop {
            let url = format!("{}{}", self.api.url(), self.resource.page_url(offset));
            let request = self.http.get(url).bearer_auth(&self.secrets.service);
            let body: Value = request.send().await?.error_for_status()?.json().await?;
            let page = self.resource.envelope.rows(&body).unwrap_or_default();
            for row in page {
                rows.insert(row["id"].as_str().unwrap_or_default().to_owned(), row.clone());
            }
            offset += page.len();
            let total = self.resource.envelope.total(&body).unwrap_or(0);
            if page.is_empty() || offset as u64 >= total {
                return Ok(rows);
            }
        }
    }

    pub(super) fn invitation(&self) -> Result<Invitation, DemoError> {
        let config = self.folder.path().join("crossfade.toml");
        let (listen, admin) = (self.server.listen(), self.server.admin());
        std::fs::write(&config, config_text(&self.api.url(), listen, admin, &self.secrets))?;
        let people = cast::by_rest(1);
        let person = people.first().ok_or_else(|| DemoError::Broken("no people".to_owned()))?;
        let mut session = person.session();
        session.lifetime = INVITATION;
        Ok(Invitation {
            users: self.users_url(),
            operators: format!("http://{admin}"),
            legacy: self.api.url(),
            config,
            session: self.issuer.session(&session)?,
            admin_token: self.secrets.admin.clone(),
            path: format!("org/{}", person.org),
        })
    }

    /// Stops everything; the first error is told, and the rest is stopped all the same.
    pub(super) async fn stop(self) -> Result<(), DemoError> {
        let Self { api, server, folder, .. } = self;
        let server = server.stop().await.map_err(DemoError::from);
        let api = api.stop().await.map_err(DemoError::from);
        let folder = folder.close().map_err(DemoError::from);
        server.and(api).and(folder)
    }
}

/// Flags of the beginning: everything may run, nothing has moved, every read may be compared.
fn set_off(toggles: &FixedToggles, resource: &ResourceName) {
    toggles.set_enabled(true);
    toggles.set_stage(resource, Stage::Off);
    toggles.set_cohort(resource, 0);
    toggles.set_shadow(resource, 100);
}

fn config_text(legacy: &str, listen: SocketAddr, admin: SocketAddr, secrets: &Secrets) -> String {
    include_str!("crossfade.toml")
        .replace("{listen}", &listen.to_string())
        .replace("{admin}", &admin.to_string())
        .replace("{legacy}", legacy)
        .replace("{issuer}", TestIssuer::ISSUER)
        .replace("{admin_token}", &secrets.admin)
        .replace("{service_token}", &secrets.service)
}

async fn start_api(
    folder: &TempDir,
    clock: &SharedClock,
    secrets: &Secrets,
    seed: Seed,
) -> Result<SampleApi, DemoError> {
    let keys = KeySource::PemFile(folder.path().join("clerk.pem"));
    let verifier = Arc::new(SessionVerifier::new(SessionSettings::new(keys), clock.clone())?);
    let sessions = SessionCheck::from_async(move |headers| {
        let verifier = verifier.clone();
        async move {
            let token = crate::identity::session_token(&headers)?.to_owned();
            let identity = verifier.verify(&token).await.ok()?;
            let (org, role) = (identity.org_id?, identity.org_role?);
            Some(Caller { user: identity.user.as_str().to_owned(), org, role })
        }
    });
    let on_behalf_of = OnBehalfOf::new(&Secret::new(secrets.service.clone()), clock.clone());
    let service = ServiceCredential {
        token: secrets.service.clone(),
        on_behalf_of: Arc::new(move |text: &str| {
            let claims = on_behalf_of.verify(text).ok()?;
            Some(Caller { user: claims.sub, org: claims.org_id?, role: claims.org_role? })
        }),
    };
    let config = SampleConfig {
        storage: SampleStorage::File(folder.path().join("legacy.db")),
        seed: Some(seed),
        sessions,
        service: Some(service),
        entropy: Arc::new(SystemEntropy),
    };
    Ok(SampleApi::start(config, clock.clone()).await?)
}

/// Gets a sync token for a session, as an app does.
async fn sync_token(
    http: &reqwest::Client,
    url: String,
    session: &str,
) -> Result<Secret, TokenError> {
    let told = |error: reqwest::Error| TokenError(error.without_url().to_string());
    let response = http.post(url).bearer_auth(session).send().await.map_err(told)?;
    let response = response.error_for_status().map_err(told)?;
    let body: Value = response.json().await.map_err(told)?;
    let token = body["token"].as_str().ok_or_else(|| TokenError("no token".to_owned()))?;
    Ok(Secret::new(token.to_owned()))
}

/// 128 random bits.
fn random_token() -> String {
    format!("demo_{:016x}{:016x}", SystemEntropy.next_u64(), SystemEntropy.next_u64())
}

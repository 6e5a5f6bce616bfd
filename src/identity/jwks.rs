//! The keys of session tokens: one PEM, or a key set that rotates.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, KeyAlgorithm, PublicKeyUse};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use super::jwt::{KeyError, rsa_public};
use super::session::VerifyError;

/// Longest key set that is read.
const MAX_SET_BYTES: usize = 1024 * 1024;
/// Most keys of a set that are kept. Clerk has one, and two while it rotates.
const MAX_KEYS: usize = 64;

/// Where the public keys of session tokens come from.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// The PEM text of one RSA public key (SPKI).
    Pem(String),
    /// A file with that text; read once.
    PemFile(PathBuf),
    /// The address of a JSON Web Key Set.
    JwksUrl(String),
    /// A file with a JSON Web Key Set, read again as the address would be.
    JwksFile(PathBuf),
}

/// How a key set is kept fresh.
#[derive(Debug, Clone)]
pub struct JwksSettings {
    /// A whole fetch may take this long.
    pub timeout: Duration,
    /// After a fetch, an unknown `kid` causes no other for this long.
    pub cooldown: Duration,
    /// After a failed fetch, none is tried for this long.
    pub retry: Duration,
    /// A set older than this is fetched again in the background; until that succeeds it stays.
    pub max_age: Duration,
}

impl Default for JwksSettings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            cooldown: Duration::from_secs(10),
            retry: Duration::from_secs(1),
            max_age: Duration::from_secs(300),
        }
    }
}

/// A key, and what it may be used for.
#[derive(Debug)]
pub(super) struct SessionKey {
    pub(super) decoding: DecodingKey,
    /// The one algorithm that it is for; `None`: any of the three. Clerk's verifier takes a PEM for a key of RS256, and of a key
    /// set what each key says of itself (RFC 7517 §4.4), since Web Crypto refuses to import it for another.
    pub(super) only: Option<KeyAlgorithm>,
}

/// The keys of a verifier.
#[derive(Debug)]
pub(super) enum Keys {
    /// One key for every token, whatever `kid` it names.
    One(Arc<SessionKey>),
    /// Keys by `kid`.
    Set(Arc<KeySet>),
}

impl Keys {
    pub(super) fn new(source: KeySource, settings: JwksSettings) -> Result<Self, KeyError> {
        let one = |text: &str, place: &str| {
            let decoding = rsa_public(text, place)?;
            Ok(Self::One(Arc::new(SessionKey { decoding, only: Some(KeyAlgorithm::RS256) })))
        };
        match source {
            KeySource::Pem(text) => one(&text, "the public key"),
            KeySource::PemFile(path) => {
                let place = path.display().to_string();
                let text = std::fs::read_to_string(&path)
                    .map_err(|e| KeyError::File { path: place.clone(), why: e.to_string() })?;
                one(&text, &format!("`{place}`"))
            }
            KeySource::JwksUrl(url) => {
                let url = reqwest::Url::parse(&url).map_err(|_| KeyError::JwksUrl)?;
                if !matches!(url.scheme(), "http" | "https") {
                    return Err(KeyError::JwksUrl);
                }
                let client = reqwest::Client::builder()
                    .timeout(settings.timeout)
                    .build()
                    .map_err(|error| KeyError::HttpClient(error.to_string()))?;
                Ok(Self::Set(Arc::new(KeySet::new(Place::Url(client, url), settings))))
            }
            KeySource::JwksFile(path) => {
                let place = path.display().to_string();
                let bytes = std::fs::read(&path)
                    .map_err(|e| KeyError::File { path: place.clone(), why: e.to_string() })?;
                let keys = read_set(&bytes)
                    .map_err(|why| KeyError::Jwks { place: format!("`{place}`"), why })?;
                let set = KeySet::new(Place::File(path), settings);
                set.known.store(Arc::new(Known { keys, loaded: Some(Instant::now()) }));
                Ok(Self::Set(Arc::new(set)))
            }
        }
    }

    /// The key of a token.
    pub(super) async fn find(&self, kid: Option<&str>) -> Result<Arc<SessionKey>, VerifyError> {
        match self {
            Self::One(key) => Ok(Arc::clone(key)),
            Self::Set(set) => set.find(kid).await,
        }
    }
}

/// A rotating key set: read without a lock, fetched once for any number of waiters.
#[derive(Debug)]
pub(super) struct KeySet {
    place: Place,
    settings: JwksSettings,
    known: ArcSwap<Known>,
    flight: Mutex<Flight>,
    /// Where sets are fetched, whoever asks: comparisons do on threads that give way to everything.
    runtime: Option<Handle>,
}

#[derive(Debug)]
enum Place {
    Url(reqwest::Client, reqwest::Url),
    File(PathBuf),
}

#[derive(Debug, Default)]
struct Known {
    keys: HashMap<String, Arc<SessionKey>>,
    loaded: Option<Instant>,
}

/// The one fetch there may be.
#[derive(Debug)]
enum Flight {
    /// None is under way; the last one ended then, in that way.
    Landed(Option<(Instant, Result<(), String>)>),
    /// One is under way; the channel turns true when it ends.
    Under(watch::Receiver<bool>),
}

impl KeySet {
    fn new(place: Place, settings: JwksSettings) -> Self {
        let flight = Mutex::new(Flight::Landed(None));
        let runtime = Handle::try_current().ok();
        Self { place, settings, known: ArcSwap::default(), flight, runtime }
    }

    async fn find(self: &Arc<Self>, kid: Option<&str>) -> Result<Arc<SessionKey>, VerifyError> {
        let kid = kid.ok_or(VerifyError::UnknownKey)?;
        if let Some(key) = self.lookup(kid) {
            return Ok(key);
        }
        if let Some(mut landing) = self.refresh() {
            // An error means that the fetch was dropped with its runtime: look at what there is.
            let _ = landing.wait_for(|landed| *landed).await;
        }
        self.lookup(kid).ok_or_else(|| self.why_missing())
    }

    fn lookup(self: &Arc<Self>, kid: &str) -> Option<Arc<SessionKey>> {
        let known = self.known.load();
        let key = known.keys.get(kid)?;
        if known.loaded.is_none_or(|at| at.elapsed() >= self.settings.max_age) {
            self.refresh();
        }
        Some(Arc::clone(key))
    }

    /// A `kid` that a fresh set does not know is a wrong token; without a fresh set nobody can tell.
    fn why_missing(&self) -> VerifyError {
        match &*self.flight() {
            Flight::Landed(Some((_, Err(why)))) => VerifyError::Unavailable(why.clone()),
            Flight::Landed(None) if self.known.load().loaded.is_none() => {
                VerifyError::Unavailable("no key set was read yet".to_owned())
            }
            Flight::Landed(_) | Flight::Under(_) => VerifyError::UnknownKey,
        }
    }

    /// Starts a fetch, or joins the one under way; `None` if it is too early for another.
    ///
    /// The fetch is a task of its own: a waiter that goes away does not end it for the others.
    fn refresh(self: &Arc<Self>) -> Option<watch::Receiver<bool>> {
        let mut flight = self.flight();
        match &*flight {
            Flight::Under(landing) if landing.has_changed().is_ok() => {
                return Some(landing.clone());
            }
            Flight::Landed(Some((at, outcome))) => {
                let pause =
                    if outcome.is_ok() { self.settings.cooldown } else { self.settings.retry };
                if at.elapsed() < pause {
                    return None;
                }
            }
            Flight::Under(_) | Flight::Landed(None) => {}
        }
        let (sender, landing) = watch::channel(false);
        *flight = Flight::Under(landing.clone());
        drop(flight);
        let set = Arc::clone(self);
        let fetching = async move {
            let outcome = set.fetch().await;
            if let Err(why) = &outcome {
                tracing::warn!(%why, "the keys of session tokens could not be fetched; known keys stay");
            }
            metrics::counter!("crossfade_identity_jwks_fetches_total",
                "outcome" => if outcome.is_ok() { "ok" } else { "failed" })
            .increment(1);
            *set.flight() = Flight::Landed(Some((Instant::now(), outcome)));
            sender.send_replace(true);
        };
        match &self.runtime {
            Some(runtime) => drop(runtime.spawn(fetching)),
            None => drop(tokio::spawn(fetching)),
        }
        Some(landing)
    }

    async fn fetch(&self) -> Result<(), String> {
        let keys = read_set(&self.place.read(self.settings.timeout).await?)?;
        self.known.store(Arc::new(Known { keys, loaded: Some(Instant::now()) }));
        Ok(())
    }

    fn flight(&self) -> MutexGuard<'_, Flight> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    async fn read(&self, timeout: Duration) -> Result<Vec<u8>, String> {
        match self {
            Self::Url(client, url) => tokio::time::timeout(timeout, get(client, url.clone()))
                .await
                .map_err(|_| format!("no answer within {timeout:?}"))?,
            Self::File(path) => tokio::fs::read(path).await.map_err(|e| e.to_string()),
        }
    }
}

async fn get(client: &reqwest::Client, url: reqwest::Url) -> Result<Vec<u8>, String> {
    // The address may carry credentials: errors are told without it.
    let told = |error: reqwest::Error| error.without_url().to_string();
    let mut response = client.get(url).send().await.map_err(told)?;
    if !response.status().is_success() {
        return Err(format!("status {}", response.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(told)? {
        if body.len() + chunk.len() > MAX_SET_BYTES {
            return Err(format!("the key set is longer than {MAX_SET_BYTES} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The RSA signing keys of a set, by `kid`. Keys of other kinds are left out.
fn read_set(bytes: &[u8]) -> Result<HashMap<String, Arc<SessionKey>>, String> {
    let set: Value = serde_json::from_slice(bytes).map_err(|error| format!("no JSON: {error}"))?;
    let entries = set.get("keys").and_then(Value::as_array).ok_or("it has no array `keys`")?;
    let keys: HashMap<_, _> = entries.iter().filter_map(read_key).take(MAX_KEYS).collect();
    if keys.is_empty() { Err("no RSA key with a `kid`".to_owned()) } else { Ok(keys) }
}

fn read_key(entry: &Value) -> Option<(String, Arc<SessionKey>)> {
    let jwk: Jwk = serde_json::from_value(entry.clone()).ok()?;
    let for_signatures = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
    if !for_signatures || !matches!(jwk.algorithm, AlgorithmParameters::RSA(_)) {
        return None;
    }
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    let key = SessionKey { decoding: key, only: jwk.common.key_algorithm };
    Some((jwk.common.key_id?, Arc::new(key)))
}

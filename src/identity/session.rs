//! Session tokens, judged as `@clerk/backend`'s `verifyToken` judges them.

use std::time::Duration;

use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::KeyAlgorithm;
use serde_json::{Map, Value};

use super::Identity;
use super::jwks::{JwksSettings, KeySource, Keys};
use super::jwt::{KeyError, Unverified, Verified, text_claim, time_claim};
use crate::clock::SharedClock;
use crate::migration::UserId;

/// What a session token must satisfy.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    /// Where the public keys come from.
    pub keys: KeySource,
    /// How a rotating key set is kept fresh.
    pub jwks: JwksSettings,
    /// Origins that `azp` may name; empty: not looked at. With entries, a token without `azp` is refused.
    pub authorized_parties: Vec<String>,
    /// What `iss` must be; `None`: not looked at.
    pub issuer: Option<String>,
    /// By how much clocks may differ, on `exp`, `nbf` and `iat`.
    pub leeway: Duration,
    /// Whether a session with `sts` = `pending` counts as signed in. Clerk's middleware says no.
    pub accept_pending: bool,
}

impl SessionSettings {
    /// Clerk's own settings, with keys from `keys`: 5 s leeway, any party, any issuer, pending refused.
    #[must_use]
    pub fn new(keys: KeySource) -> Self {
        Self {
            keys,
            jwks: JwksSettings::default(),
            authorized_parties: Vec::new(),
            issuer: None,
            leeway: Duration::from_secs(5),
            accept_pending: false,
        }
    }
}

/// Why a session token was refused. Repeats nothing of the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// It has not the form of a JWT.
    #[error("the token is no JWT")]
    Malformed,
    /// Its header's `typ` is not `JWT`.
    #[error("the token's `typ` is not JWT")]
    WrongType,
    /// Signed otherwise than by RS256, RS384 or RS512.
    #[error("the token's algorithm is not RS256, RS384 or RS512")]
    Algorithm,
    /// No key of the set has its `kid`.
    #[error("the token names a key that the key set does not have")]
    UnknownKey,
    /// The signature does not fit the key.
    #[error("the token's signature is wrong")]
    Signature,
    /// A claim is missing or of another type.
    #[error("the token's claim `{0}` is missing or of another type")]
    Claim(&'static str),
    /// `azp` is not among the authorized parties.
    #[error("the token's `azp` is not among the authorized parties")]
    AuthorizedParty,
    /// `iss` is another one.
    #[error("the token's `iss` is another issuer")]
    Issuer,
    /// `exp` is over.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is to come.
    #[error("the token is not valid yet")]
    NotActiveYet,
    /// `iat` is to come.
    #[error("the token was issued in the future")]
    IssuedInTheFuture,
    /// The session has tasks left (`sts` = `pending`).
    #[error("the session is pending, which counts as signed out")]
    Pending,
    /// The keys cannot be had, so nobody can tell.
    #[error("the keys that verify session tokens cannot be had: {0}")]
    Unavailable(String),
}

impl VerifyError {
    /// A stable word for logs, metrics and answers; Clerk's own word where Clerk has one.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Malformed | Self::WrongType => "token-invalid",
            Self::Algorithm => "token-invalid-algorithm",
            Self::UnknownKey => "jwk-kid-mismatch",
            Self::Signature => "token-invalid-signature",
            Self::Claim(_) => "token-verification-failed",
            Self::AuthorizedParty => "token-invalid-authorized-parties",
            Self::Issuer => "token-invalid-issuer",
            Self::Expired => "token-expired",
            Self::NotActiveYet => "token-not-active-yet",
            Self::IssuedInTheFuture => "token-iat-in-the-future",
            Self::Pending => "session-pending",
            Self::Unavailable(_) => "jwk-failed-to-resolve",
        }
    }
}

/// Verifies session tokens against the clock that it was given.
#[derive(Debug)]
pub struct SessionVerifier {
    keys: Keys,
    authorized_parties: Vec<String>,
    issuer: Option<String>,
    leeway_ms: i64,
    accept_pending: bool,
    clock: SharedClock,
}

impl SessionVerifier {
    /// Makes a verifier. Files are read now; an address is first asked when a token comes.
    ///
    /// # Errors
    /// [`KeyError`] if a file cannot be read or holds no usable key, or the address is none.
    pub fn new(settings: SessionSettings, clock: SharedClock) -> Result<Self, KeyError> {
        Ok(Self {
            keys: Keys::new(settings.keys, settings.jwks)?,
            authorized_parties: settings.authorized_parties,
            issuer: settings.issuer,
            leeway_ms: i64::try_from(settings.leeway.as_millis()).unwrap_or(i64::MAX),
            accept_pending: settings.accept_pending,
            clock,
        })
    }

    /// Judges a session token. Waits only when its key is not known yet.
    ///
    /// # Errors
    /// [`VerifyError`] says why it was refused.
    pub async fn verify(&self, token: &str) -> Result<Identity, VerifyError> {
        let unverified = Unverified::parse(token).ok_or(VerifyError::Malformed)?;
        if unverified.header.get("typ").is_some_and(|typ| typ != "JWT") {
            return Err(VerifyError::WrongType);
        }
        // The list is the defence against `none` and against HMAC keyed by the public key.
        let (algorithm, named) = match unverified.header_text("alg") {
            Some("RS256") => (Algorithm::RS256, KeyAlgorithm::RS256),
            Some("RS384") => (Algorithm::RS384, KeyAlgorithm::RS384),
            Some("RS512") => (Algorithm::RS512, KeyAlgorithm::RS512),
            _ => return Err(VerifyError::Algorithm),
        };
        let key = self.keys.find(unverified.header_text("kid")).await?;
        if key.only.is_some_and(|only| only != named) {
            return Err(VerifyError::Signature);
        }
        match unverified.claims(&key.decoding, algorithm) {
            Verified::Claims(claims) => self.judge(&claims),
            Verified::NoClaims => Err(VerifyError::Malformed),
            Verified::WrongSignature => Err(VerifyError::Signature),
        }
    }

    fn judge(&self, claims: &Map<String, Value>) -> Result<Identity, VerifyError> {
        let user = text_claim(claims, "sub").filter(|sub| !sub.is_empty());
        let user = UserId::new(user.ok_or(VerifyError::Claim("sub"))?);
        self.judge_parties(claims)?;
        let expires_at_ms = self.judge_times(claims)?;
        if !self.accept_pending && text_claim(claims, "sts") == Some("pending") {
            return Err(VerifyError::Pending);
        }
        Ok(Identity::read(user, expires_at_ms, claims))
    }

    fn judge_parties(&self, claims: &Map<String, Value>) -> Result<(), VerifyError> {
        let among = |azp: &str| self.authorized_parties.iter().any(|party| party == azp);
        if !self.authorized_parties.is_empty() && !text_claim(claims, "azp").is_some_and(among) {
            return Err(VerifyError::AuthorizedParty);
        }
        match &self.issuer {
            Some(issuer) if text_claim(claims, "iss") != Some(issuer) => Err(VerifyError::Issuer),
            _ => Ok(()),
        }
    }

    /// Judges `exp`, `nbf` and `iat`; gives the end, in milliseconds.
    ///
    /// A token is over once `exp` lies the whole leeway back: at 5,000 ms, not at 4,999 ms.
    fn judge_times(&self, claims: &Map<String, Value>) -> Result<u64, VerifyError> {
        let now = i64::try_from(self.clock.now_ms()).unwrap_or(i64::MAX);
        let read = |name| time_claim(claims, name).map_err(|()| VerifyError::Claim(name));
        let expires = read("exp")?.ok_or(VerifyError::Claim("exp"))?;
        if expires <= now.saturating_sub(self.leeway_ms) {
            return Err(VerifyError::Expired);
        }
        let latest = now.saturating_add(self.leeway_ms);
        if read("nbf")?.is_some_and(|at| at > latest) {
            return Err(VerifyError::NotActiveYet);
        }
        if read("iat")?.is_some_and(|at| at > latest) {
            return Err(VerifyError::IssuedInTheFuture);
        }
        Ok(u64::try_from(expires).unwrap_or(0))
    }
}

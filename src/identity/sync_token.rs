//! Sync tokens: what a client shows when it opens a socket. Minted here, verified here and by Workers.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::jwt::{KeyError, Unverified, Verified, new_p256, public_jwk};
use super::{Grant, GrantedIn, Identity, Secret};
use crate::clock::{SharedClock, SharedEntropy};
use crate::migration::{PathId, SessionId, UserId};

const ISSUER: &str = "crossfade";
const AUDIENCE: &str = "crossfade-sync";

/// What a sync token grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncClaims {
    /// Who.
    pub user: UserId,
    /// In which organisation.
    pub org_id: Option<String>,
    /// With which role.
    pub role: Option<String>,
    /// With which permissions.
    pub permissions: Vec<String>,
    /// The paths that may be opened.
    pub paths: Vec<PathId>,
    /// The session that it was minted for.
    pub session: GrantedIn,
    /// When it was minted, in milliseconds since the epoch.
    pub issued_at_ms: u64,
    /// When it ends, in milliseconds since the epoch.
    pub expires_at_ms: u64,
    /// Its own id (`jti`), for logs.
    pub token_id: String,
}

impl SyncClaims {
    /// What of it a revocation is about.
    #[must_use]
    pub fn grant(&self) -> Grant {
        Grant {
            user: self.user.clone(),
            session: self.session.clone(),
            issued_at_ms: self.issued_at_ms,
        }
    }
}

/// A minted token. The text does not show itself.
#[derive(Debug, Clone)]
pub struct SyncToken {
    /// The JWT.
    pub token: Secret,
    /// When it ends, in milliseconds since the epoch.
    pub expires_at_ms: u64,
    /// Its id (`jti`).
    pub token_id: String,
}

/// Why a sync token was refused. Repeats nothing of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SyncTokenError {
    /// No JWT, or one of another kind.
    #[error("the sync token is no JWT signed by ES256")]
    Malformed,
    /// Signed by another key.
    #[error(
        "the sync token was signed by another key: fetch a new one from /_crossfade/sync-token"
    )]
    Signature,
    /// Another issuer or audience, or a claim that cannot be read.
    #[error("the sync token's claims are not those of a sync token")]
    Claims,
    /// Its time is over.
    #[error("the sync token has expired: fetch a new one and connect again")]
    Expired,
    /// It could not be signed.
    #[error("the sync token could not be signed")]
    Unsigned,
}

impl SyncTokenError {
    /// A stable word for logs, metrics and close reasons.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Malformed => "sync-token-invalid",
            Self::Signature => "sync-token-invalid-signature",
            Self::Claims => "sync-token-invalid-claims",
            Self::Expired => "sync-token-expired",
            Self::Unsigned => "sync-token-unsigned",
        }
    }
}

/// The claims on the wire (RFC 7519 names; times in seconds).
#[derive(Debug, Serialize, Deserialize)]
struct Wire {
    iss: String,
    aud: String,
    sub: String,
    paths: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    org_id: Option<String>,
    #[serde(default)]
    permissions: Vec<String>,
    /// The session, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    iat: u64,
    /// `iat` in milliseconds: a token of the same second as a revocation is told apart by it. Tokens of versions that did
    /// not write the session down have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iat_ms: Option<u64>,
    exp: u64,
    jti: String,
}

/// Mints and verifies sync tokens with one ES256 key.
#[derive(Debug)]
pub struct SyncTokens {
    signing: EncodingKey,
    verifying: DecodingKey,
    public: Jwk,
    kid: String,
    ttl: Duration,
    clock: SharedClock,
    entropy: SharedEntropy,
}

impl SyncTokens {
    /// A new signing key, PKCS #8 as PEM, for the caller to keep: tokens must survive a restart.
    ///
    /// # Errors
    /// [`KeyError::Crypto`] if the cryptographic library fails.
    pub fn generate_pem() -> Result<Secret, KeyError> {
        new_p256()
    }

    /// Takes a signing key; tokens live `ttl`, whole seconds of it, at least one.
    ///
    /// # Errors
    /// [`KeyError::NotP256Private`] if the PEM is no P-256 private key.
    pub fn new(
        private_pem: &Secret,
        ttl: Duration,
        clock: SharedClock,
        entropy: SharedEntropy,
    ) -> Result<Self, KeyError> {
        let refused = |_| KeyError::NotP256Private;
        let signing = EncodingKey::from_ec_pem(private_pem.expose().as_bytes()).map_err(refused)?;
        let (public, kid) =
            public_jwk(&signing, Algorithm::ES256).map_err(|_| KeyError::NotP256Private)?;
        let verifying = DecodingKey::from_jwk(&public).map_err(refused)?;
        Ok(Self { signing, verifying, public, kid, ttl, clock, entropy })
    }

    /// Mints a token that opens `paths`.
    ///
    /// # Errors
    /// [`SyncTokenError::Unsigned`] if the cryptographic library fails.
    pub fn mint(&self, who: &Identity, paths: &[PathId]) -> Result<SyncToken, SyncTokenError> {
        let now_ms = self.clock.now_ms();
        let now = now_ms / 1000;
        let mut id = [0_u8; 16];
        self.entropy.fill(&mut id);
        let claims = Wire {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: who.user.as_str().to_owned(),
            paths: paths.iter().map(|path| path.as_str().to_owned()).collect(),
            role: who.org_role.clone(),
            org_id: who.org_id.clone(),
            permissions: who.permissions.clone(),
            sid: who.session_id.clone(),
            iat: now,
            iat_ms: Some(now_ms),
            exp: now.saturating_add(self.ttl.as_secs().max(1)),
            jti: URL_SAFE_NO_PAD.encode(id),
        };
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.kid.clone());
        let token = jsonwebtoken::encode(&header, &claims, &self.signing)
            .map_err(|_| SyncTokenError::Unsigned)?;
        Ok(SyncToken {
            token: Secret::new(token),
            expires_at_ms: claims.exp.saturating_mul(1000),
            token_id: claims.jti,
        })
    }

    /// Judges a token at `now_ms`. It was minted by the same clock, so there is no leeway.
    ///
    /// # Errors
    /// [`SyncTokenError`] says why it was refused.
    pub fn verify(&self, token: &str, now_ms: u64) -> Result<SyncClaims, SyncTokenError> {
        let unverified = Unverified::parse(token).ok_or(SyncTokenError::Malformed)?;
        if unverified.header_text("alg") != Some("ES256") {
            return Err(SyncTokenError::Malformed);
        }
        match unverified.claims(&self.verifying, Algorithm::ES256) {
            Verified::Claims(claims) => judge(claims, now_ms),
            Verified::NoClaims => Err(SyncTokenError::Malformed),
            Verified::WrongSignature => Err(SyncTokenError::Signature),
        }
    }

    /// The public key as a JSON Web Key Set, for whoever verifies tokens elsewhere.
    #[must_use]
    pub fn jwks(&self) -> JwkSet {
        JwkSet { keys: vec![self.public.clone()] }
    }
}

fn judge(claims: Map<String, Value>, now_ms: u64) -> Result<SyncClaims, SyncTokenError> {
    let wire: Wire =
        serde_json::from_value(Value::Object(claims)).map_err(|_| SyncTokenError::Claims)?;
    if wire.iss != ISSUER || wire.aud != AUDIENCE || wire.sub.is_empty() {
        return Err(SyncTokenError::Claims);
    }
    let expires_at_ms = wire.exp.saturating_mul(1000);
    if now_ms >= expires_at_ms {
        return Err(SyncTokenError::Expired);
    }
    let session = match (wire.sid, wire.iat_ms) {
        (Some(session), _) => GrantedIn::Session(SessionId::new(session)),
        (None, Some(_)) => GrantedIn::NoSession,
        (None, None) => GrantedIn::Unknown,
    };
    let paths: Result<_, _> = wire.paths.iter().map(|path| PathId::new(path)).collect();
    Ok(SyncClaims {
        user: UserId::new(wire.sub),
        org_id: wire.org_id,
        role: wire.role,
        permissions: wire.permissions,
        paths: paths.map_err(|_| SyncTokenError::Claims)?,
        session,
        // Whole seconds are rounded down: the token is taken for older than it is, never for younger.
        issued_at_ms: wire.iat_ms.unwrap_or_else(|| wire.iat.saturating_mul(1000)),
        expires_at_ms,
        token_id: wire.jti,
    })
}

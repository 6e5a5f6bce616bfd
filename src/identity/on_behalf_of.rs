//! `Crossfade-On-Behalf-Of`: for whom a delivery speaks, signed with the service credential.
//!
//! A session token lives one minute and a delivery may be an hour late, so crossfade vouches for the
//! user itself. The API's owner verifies an HS256 JWT whose key is the service token.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Secret;
use super::jwt::{Unverified, Verified};
use crate::clock::SharedClock;
use crate::migration::UserId;

const AUDIENCE: &str = "legacy";
const LIFETIME_S: u64 = 300;

/// Why a header value could not be made or was refused. Repeats nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OnBehalfOfError {
    /// It could not be signed.
    #[error("Crossfade-On-Behalf-Of could not be signed")]
    Unsigned,
    /// No JWT signed with this service token.
    #[error("Crossfade-On-Behalf-Of is not signed with this service token")]
    Signature,
    /// Other claims, or another audience.
    #[error("Crossfade-On-Behalf-Of has other claims than it must")]
    Claims,
    /// Its time is over.
    #[error("Crossfade-On-Behalf-Of has expired")]
    Expired,
}

/// Its claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnBehalfOfClaims {
    /// The user.
    pub sub: String,
    /// The user's organisation when the write was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_id: Option<String>,
    /// The user's role in it (`org:admin`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_role: Option<String>,
    /// Always `legacy`.
    pub aud: String,
    /// When it was signed, in seconds since the epoch.
    pub iat: u64,
    /// When it ends: five minutes later.
    pub exp: u64,
}

/// Signs and verifies `Crossfade-On-Behalf-Of`.
#[derive(Debug)]
pub struct OnBehalfOf {
    signing: EncodingKey,
    verifying: DecodingKey,
    clock: SharedClock,
}

impl OnBehalfOf {
    /// The header's name.
    pub const HEADER: http::HeaderName = http::HeaderName::from_static("crossfade-on-behalf-of");

    /// Takes the service token as key.
    #[must_use]
    pub fn new(service_token: &Secret, clock: SharedClock) -> Self {
        let key = service_token.expose().as_bytes();
        Self {
            signing: EncodingKey::from_secret(key),
            verifying: DecodingKey::from_secret(key),
            clock,
        }
    }

    /// The header's value for a user.
    ///
    /// # Errors
    /// [`OnBehalfOfError::Unsigned`] if the cryptographic library fails.
    pub fn sign(
        &self,
        user: &UserId,
        org_id: Option<&str>,
        org_role: Option<&str>,
    ) -> Result<String, OnBehalfOfError> {
        let iat = self.clock.now_ms() / 1000;
        let claims = OnBehalfOfClaims {
            sub: user.as_str().to_owned(),
            org_id: org_id.map(str::to_owned),
            org_role: org_role.map(str::to_owned),
            aud: AUDIENCE.to_owned(),
            iat,
            exp: iat.saturating_add(LIFETIME_S),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing)
            .map_err(|_| OnBehalfOfError::Unsigned)
    }

    /// Judges a header's value, as the API's owner does.
    ///
    /// # Errors
    /// [`OnBehalfOfError`] says why it was refused.
    pub fn verify(&self, value: &str) -> Result<OnBehalfOfClaims, OnBehalfOfError> {
        let unverified = Unverified::parse(value).ok_or(OnBehalfOfError::Signature)?;
        if unverified.header_text("alg") != Some("HS256") {
            return Err(OnBehalfOfError::Signature);
        }
        let Verified::Claims(claims) = unverified.claims(&self.verifying, Algorithm::HS256) else {
            return Err(OnBehalfOfError::Signature);
        };
        let claims: OnBehalfOfClaims =
            serde_json::from_value(Value::Object(claims)).map_err(|_| OnBehalfOfError::Claims)?;
        if claims.aud != AUDIENCE || claims.sub.is_empty() {
            return Err(OnBehalfOfError::Claims);
        }
        if self.clock.now_ms() >= claims.exp.saturating_mul(1000) {
            return Err(OnBehalfOfError::Expired);
        }
        Ok(claims)
    }
}

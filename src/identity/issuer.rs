//! An issuer of session tokens in Clerk's shape, with real RSA keys: for the demo and for tests.

use std::time::Duration;

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::Secret;
use super::jwt::{KeyError, new_rsa, public_jwk, rsa_public_pem};
use crate::clock::SharedClock;

/// Which of Clerk's claim versions a token has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenVersion {
    /// `org_id`, `org_role`, …
    V1,
    /// `v: 2` and the compact `o`.
    #[default]
    V2,
}

/// The active organisation of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organisation {
    /// Its id.
    pub id: String,
    /// Its slug.
    pub slug: String,
    /// The user's role in it, with or without `org:`.
    pub role: String,
    /// The user's permissions in it, `org:<feature>:<permission>`.
    pub permissions: Vec<String>,
}

/// What a session token is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSpec {
    /// The claims' version.
    pub version: TokenVersion,
    /// `sub`.
    pub user: String,
    /// `sid`.
    pub session_id: String,
    /// The active organisation.
    pub organisation: Option<Organisation>,
    /// `azp`.
    pub authorized_party: Option<String>,
    /// From now to `exp`. Clerk's default is one minute.
    pub lifetime: Duration,
    /// Whether the session has tasks left (`sts` = `pending`).
    pub pending: bool,
}

impl SessionSpec {
    /// A session of one minute, without organisation.
    pub fn of(user: impl Into<String>) -> Self {
        let user = user.into();
        Self {
            version: TokenVersion::default(),
            session_id: format!("sess_{user}"),
            user,
            organisation: None,
            authorized_party: None,
            lifetime: Duration::from_secs(60),
            pending: false,
        }
    }

    /// The same, in an organisation. The slug is the id.
    #[must_use]
    pub fn in_organisation(mut self, id: &str, role: &str) -> Self {
        self.organisation = Some(Organisation {
            id: id.to_owned(),
            slug: id.to_owned(),
            role: role.to_owned(),
            permissions: Vec::new(),
        });
        self
    }
}

/// Signs session tokens as Clerk would.
#[derive(Debug)]
pub struct TestIssuer {
    key: EncodingKey,
    private_pem: Secret,
    public_pem: String,
    jwk: Jwk,
    kid: String,
    clock: SharedClock,
}

impl TestIssuer {
    /// `iss` of its tokens.
    pub const ISSUER: &str = "https://clerk.example.test";

    /// Makes an RSA key of 2048 bits.
    ///
    /// # Errors
    /// [`KeyError::Crypto`] if the cryptographic library fails.
    pub fn generate(clock: SharedClock) -> Result<Self, KeyError> {
        Self::from_private_pem(new_rsa()?, clock)
    }

    /// Takes an RSA key that was kept, PKCS #8 as PEM.
    ///
    /// # Errors
    /// [`KeyError::NotRsaPrivate`] if it is none.
    pub fn from_private_pem(private_pem: Secret, clock: SharedClock) -> Result<Self, KeyError> {
        let public_pem = rsa_public_pem(private_pem.expose())?;
        let key = EncodingKey::from_rsa_pem(private_pem.expose().as_bytes())
            .map_err(|_| KeyError::NotRsaPrivate)?;
        let (jwk, kid) = public_jwk(&key, Algorithm::RS256)?;
        Ok(Self { key, private_pem, public_pem, jwk, kid, clock })
    }

    /// The private key, to be kept.
    #[must_use]
    pub fn private_pem(&self) -> &Secret {
        &self.private_pem
    }

    /// The public key, SPKI as PEM: what Clerk calls `jwtKey`.
    #[must_use]
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// The public key as a JSON Web Key Set.
    #[must_use]
    pub fn jwks(&self) -> JwkSet {
        JwkSet { keys: vec![self.jwk.clone()] }
    }

    /// The key's id, in the header of each token.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The claims of a session token, issued now.
    #[must_use]
    pub fn claims(&self, spec: &SessionSpec) -> Value {
        let now = self.clock.now_ms() / 1000;
        let mut claims = json!({
            "iss": Self::ISSUER,
            "sub": spec.user,
            "sid": spec.session_id,
            "iat": now,
            "nbf": now.saturating_sub(10),
            "exp": now.saturating_add(spec.lifetime.as_secs()),
            "fva": [0, -1],
            "sts": if spec.pending { "pending" } else { "active" },
        });
        if let Some(party) = &spec.authorized_party {
            claims["azp"] = json!(party);
        }
        match spec.version {
            TokenVersion::V1 => add_v1(&mut claims, spec.organisation.as_ref()),
            TokenVersion::V2 => add_v2(&mut claims, spec.organisation.as_ref()),
        }
        claims
    }

    /// A session token.
    ///
    /// # Errors
    /// [`KeyError::Crypto`] if the cryptographic library fails.
    pub fn session(&self, spec: &SessionSpec) -> Result<String, KeyError> {
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(self.kid.clone());
        self.sign(&header, &self.claims(spec))
    }

    /// Signs any claims under any RSA header.
    ///
    /// # Errors
    /// [`KeyError::Crypto`] if the header's algorithm is not RSA's.
    pub fn sign(&self, header: &Header, claims: &Value) -> Result<String, KeyError> {
        jsonwebtoken::encode(header, claims, &self.key)
            .map_err(|_| KeyError::Crypto("sign a session token"))
    }
}

fn add_v1(claims: &mut Value, organisation: Option<&Organisation>) {
    let Some(org) = organisation else { return };
    claims["org_id"] = json!(org.id);
    claims["org_slug"] = json!(org.slug);
    claims["org_role"] = json!(format!("org:{}", bare(&org.role)));
    claims["org_permissions"] = json!(org.permissions);
}

fn add_v2(claims: &mut Value, organisation: Option<&Organisation>) {
    claims["v"] = json!(2);
    let Some(org) = organisation else { return };
    let (mut features, mut names): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    let mut masks: Vec<u64> = Vec::new();
    for permission in &org.permissions {
        let Some((feature, name)) = bare(permission).split_once(':') else { continue };
        let feature = position(&mut features, feature);
        let bit = position(&mut names, name);
        masks.resize(features.len(), 0);
        // More than 64 permissions do not fit the test issuer's masks.
        masks[feature] |= 1_u64.checked_shl(u32::try_from(bit).unwrap_or(64)).unwrap_or(0);
    }
    let joined = |items: Vec<String>| items.join(",");
    claims["fea"] = json!(joined(features.iter().map(|feature| format!("o:{feature}")).collect()));
    claims["o"] = json!({
        "id": org.id,
        "slg": org.slug,
        "rol": bare(&org.role),
        "per": names.join(","),
        "fpm": joined(masks.iter().map(u64::to_string).collect()),
    });
}

fn bare(word: &str) -> &str {
    word.strip_prefix("org:").unwrap_or(word)
}

fn position<'a>(list: &mut Vec<&'a str>, item: &'a str) -> usize {
    list.iter().position(|known| *known == item).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    })
}

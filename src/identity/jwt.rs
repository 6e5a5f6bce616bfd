//! What all tokens share: taking a JWS apart, checking its signature, keys as PEM.
//!
//! Time and claims are judged by whoever reads the token, against the clock that was handed in.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde_json::{Map, Value};

use super::Secret;

/// Longest token that is looked at. A Clerk session token must fit a 4 KiB cookie.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// A key that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("key file `{path}` cannot be read ({why}): create it, or correct its path")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        why: String,
    },
    /// The text is no RSA public key.
    #[error(
        "{place} holds no RSA public key: it must be the PEM block `BEGIN PUBLIC KEY` that Clerk shows as JWKS public key, 2048 bits or more"
    )]
    NotRsaPublic {
        /// Where the text came from.
        place: String,
    },
    /// The text is no RSA private key.
    #[error(
        "the issuer's key is no RSA private key: it must be the PEM block `BEGIN PRIVATE KEY` (PKCS #8)"
    )]
    NotRsaPrivate,
    /// The text is no P-256 private key.
    #[error(
        "the sync tokens' signing key is no P-256 private key: it must be the PEM block `BEGIN PRIVATE KEY` (PKCS #8, ES256); leave `signing_key_file` out to have one made"
    )]
    NotP256Private,
    /// The JWKS has no key that could verify a session token.
    #[error(
        "{place} holds no usable key ({why}): it must be a JSON Web Key Set with RSA keys that have a `kid`"
    )]
    Jwks {
        /// Where the set came from.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// Neither `http:` nor `https:`.
    #[error("`jwks_url` is no http(s) URL: correct it")]
    JwksUrl,
    /// The HTTP client cannot be made.
    #[error("no HTTP client for `jwks_url`: {0}")]
    HttpClient(String),
    /// The cryptographic library refused.
    #[error("the cryptographic library could not {0}")]
    Crypto(&'static str),
}

/// A text in the shape of a JWS whose signature nobody has checked yet.
pub(super) struct Unverified<'a> {
    pub(super) header: Map<String, Value>,
    signed: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Unverified<'a> {
    /// Takes a token apart; `None` if it has not the shape of one.
    pub(super) fn parse(token: &'a str) -> Option<Self> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        if payload.contains('.') {
            return None;
        }
        Some(Self { header: object(header)?, signed, payload, signature })
    }

    /// A text of the header.
    pub(super) fn header_text(&self, name: &str) -> Option<&str> {
        self.header.get(name).and_then(Value::as_str)
    }

    /// The claims, if the signature is right.
    pub(super) fn claims(&self, key: &DecodingKey, algorithm: Algorithm) -> Verified {
        let bytes = self.signed.as_bytes();
        match jsonwebtoken::crypto::verify(self.signature, bytes, key, algorithm) {
            Ok(true) => object(self.payload).map_or(Verified::NoClaims, Verified::Claims),
            Ok(false) | Err(_) => Verified::WrongSignature,
        }
    }
}

/// What came of checking a signature.
pub(super) enum Verified {
    Claims(Map<String, Value>),
    NoClaims,
    WrongSignature,
}

fn object(part: &str) -> Option<Map<String, Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// A claim in seconds since the epoch (RFC 7519, NumericDate), in milliseconds.
///
/// `Err` if it is there and is no number. Parts of a second are cut off, as JavaScript's dates do.
pub(super) fn time_claim(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, ()> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().ok_or(())?;
    #[expect(clippy::cast_possible_truncation, reason = "saturates: a far time stays far")]
    let whole = seconds as i64;
    Ok(Some(whole.saturating_mul(1000)))
}

pub(super) fn text_claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

/// An RSA public key from its PEM block.
pub(super) fn rsa_public(text: &str, place: &str) -> Result<DecodingKey, KeyError> {
    let refused = || KeyError::NotRsaPublic { place: place.to_owned() };
    let block = pem::parse(text).map_err(|_| refused())?;
    // A private key here would work as a public one, and would sit where public keys are kept.
    if !matches!(block.tag(), "PUBLIC KEY" | "RSA PUBLIC KEY") {
        return Err(refused());
    }
    let key = DecodingKey::from_rsa_pem(text.as_bytes()).map_err(|_| refused())?;
    let der = key.try_get_as_bytes().map_err(|_| refused())?;
    let size = aws_lc_rs::rsa::PublicKey::from_der(der).map_err(|_| refused())?.modulus_len();
    if size < 256 { Err(refused()) } else { Ok(key) }
}

/// A new RSA key of 2048 bits: private PKCS #8 and public SPKI, as PEM.
pub(super) fn new_rsa() -> Result<Secret, KeyError> {
    const FAILED: KeyError = KeyError::Crypto("make an RSA key");
    let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).map_err(|_| FAILED)?;
    let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| FAILED)?;
    Ok(Secret::new(pem_block("PRIVATE KEY", der.as_ref())))
}

/// The public half of an RSA private key, as SPKI PEM.
pub(super) fn rsa_public_pem(private_pem: &str) -> Result<String, KeyError> {
    let block = pem::parse(private_pem).map_err(|_| KeyError::NotRsaPrivate)?;
    let pair = aws_lc_rs::rsa::KeyPair::from_pkcs8(block.contents())
        .map_err(|_| KeyError::NotRsaPrivate)?;
    let der: PublicKeyX509Der<'_> =
        pair.public_key().as_der().map_err(|_| KeyError::Crypto("encode an RSA public key"))?;
    Ok(pem_block("PUBLIC KEY", der.as_ref()))
}

/// A new P-256 key, PKCS #8 as PEM.
pub(super) fn new_p256() -> Result<Secret, KeyError> {
    let document =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| KeyError::Crypto("make a P-256 key"))?;
    Ok(Secret::new(pem_block("PRIVATE KEY", document.as_ref())))
}

fn pem_block(tag: &str, der: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(tag, der), config)
}

/// The public JWK of a signing key; its `kid` is its RFC 7638 thumbprint.
pub(super) fn public_jwk(
    key: &EncodingKey,
    algorithm: Algorithm,
) -> Result<(Jwk, String), KeyError> {
    const FAILED: KeyError = KeyError::Crypto("derive a public key");
    let mut jwk = Jwk::from_encoding_key(key, algorithm).map_err(|_| FAILED)?;
    let kid = jwk.thumbprint(ThumbprintHash::SHA256).map_err(|_| FAILED)?;
    jwk.common.key_id = Some(kid.clone());
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    Ok((jwk, kid))
}

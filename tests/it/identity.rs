//! Which session tokens are accepted, by the table of what `@clerk/backend` accepts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use crossfade::clock::Clock;
use crossfade::identity::{
    KeyError, KeySource, Organisation, Secret, SessionSettings, SessionSpec, SessionVerifier,
    TestIssuer, TokenVersion, VerifyError,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// 2026-11-23T00:00:00Z.
pub(crate) const NOW_MS: u64 = 1_795_392_000_000;

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub(crate) struct HandClock(AtomicU64);

impl HandClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(NOW_MS)))
    }

    pub(crate) fn set(&self, ms: u64) {
        self.0.store(ms, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// An issuer with one of two keys, each made once for all tests: making one takes a while.
pub(crate) fn issuer(key: usize, clock: Arc<HandClock>) -> TestIssuer {
    static KEYS: [OnceLock<Secret>; 2] = [const { OnceLock::new() }; 2];
    let pem = KEYS[key]
        .get_or_init(|| TestIssuer::generate(HandClock::new()).unwrap().private_pem().clone());
    TestIssuer::from_private_pem(pem.clone(), clock).unwrap()
}

const PARTY: &str = "http://localhost:3000";

fn settings(issuer: &TestIssuer) -> SessionSettings {
    SessionSettings::new(KeySource::Pem(issuer.public_pem().to_owned()))
}

/// What comes of a token with the claims changed, at time `NOW_MS`.
async fn verdict(
    change: impl FnOnce(&mut Value),
    adjust: impl FnOnce(&mut SessionSettings),
) -> Result<String, &'static str> {
    let clock = HandClock::new();
    let issuer = issuer(0, clock.clone());
    let mut spec = SessionSpec::of("user_1").in_organisation("org_1", "admin");
    spec.authorized_party = Some(PARTY.to_owned());
    let mut claims = issuer.claims(&spec);
    change(&mut claims);
    let mut settings = settings(&issuer);
    adjust(&mut settings);
    let token = issuer.sign(&Header::new(Algorithm::RS256), &claims).unwrap();
    let verifier = SessionVerifier::new(settings, clock).unwrap();
    let outcome = verifier.verify(&token).await;
    outcome.map(|identity| identity.user.to_string()).map_err(|error| error.reason())
}

fn seconds(from_now: i64) -> i64 {
    i64::try_from(NOW_MS / 1000).unwrap() + from_now
}

fn remove(claims: &mut Value, name: &str) {
    claims.as_object_mut().unwrap().remove(name).unwrap();
}

#[tokio::test]
async fn times_are_judged_with_five_seconds_of_leeway() {
    let expired = Err("token-expired");
    let inactive = Err("token-not-active-yet");
    let future = Err("token-iat-in-the-future");
    let failed = Err("token-verification-failed");
    let ok = Ok("user_1".to_owned());
    let table = [
        ("exp", json!(seconds(60)), ok.clone()),
        ("exp", json!(seconds(-4)), ok.clone()),
        ("exp", json!(seconds(-5)), expired.clone()),
        ("exp", json!(seconds(-10)), expired.clone()),
        ("exp", json!(-1), expired.clone()),
        ("exp", json!(1e300), ok.clone()),
        ("exp", json!(seconds(60).to_string()), failed.clone()),
        ("exp", Value::Null, failed.clone()),
        ("nbf", json!(seconds(5)), ok.clone()),
        ("nbf", json!(seconds(6)), inactive),
        ("nbf", json!("soon"), failed.clone()),
        ("iat", json!(seconds(5)), ok),
        ("iat", json!(seconds(6)), future),
        ("iat", json!([]), failed),
    ];
    for (claim, value, expected) in table {
        let outcome = verdict(|claims| claims[claim] = value.clone(), |_| {}).await;
        assert_eq!(outcome, expected, "{claim} = {value}");
    }
}

#[tokio::test]
async fn the_leeway_ends_at_the_millisecond() {
    let clock = HandClock::new();
    let issuer = issuer(0, clock.clone());
    let token = issuer.session(&SessionSpec::of("u")).unwrap();
    let verifier = SessionVerifier::new(settings(&issuer), clock.clone()).unwrap();
    clock.set(NOW_MS + 64_999);
    let identity = verifier.verify(&token).await.unwrap();
    assert_eq!(identity.expires_at_ms, NOW_MS + 60_000);
    clock.set(NOW_MS + 65_000);
    assert_eq!(verifier.verify(&token).await, Err(VerifyError::Expired));
}

#[tokio::test]
async fn times_that_may_be_missing_may_be_missing() {
    for claim in ["nbf", "iat"] {
        assert_eq!(verdict(|claims| remove(claims, claim), |_| {}).await, Ok("user_1".to_owned()));
    }
    let outcome = verdict(|claims| remove(claims, "exp"), |_| {}).await;
    assert_eq!(outcome, Err("token-verification-failed"));
}

#[tokio::test]
async fn a_subject_must_be_a_text() {
    for sub in [Value::Null, json!(7), json!("")] {
        let outcome = verdict(|claims| claims["sub"] = sub.clone(), |_| {}).await;
        assert_eq!(outcome, Err("token-verification-failed"), "{sub}");
    }
    let outcome = verdict(|claims| remove(claims, "sub"), |_| {}).await;
    assert_eq!(outcome, Err("token-verification-failed"));
}

#[tokio::test]
async fn parties_are_looked_at_only_where_configured() {
    let other = || vec!["https://app.example.test".to_owned(), PARTY.to_owned()];
    let refused = Err("token-invalid-authorized-parties");
    let ok = Ok("user_1".to_owned());
    let with = |settings: &mut SessionSettings| settings.authorized_parties = other();
    assert_eq!(verdict(|_| {}, with).await, ok);
    assert_eq!(verdict(|claims| claims["azp"] = json!("http://evil"), with).await, refused);
    assert_eq!(verdict(|claims| claims["azp"] = json!(1), with).await, refused);
    assert_eq!(verdict(|claims| remove(claims, "azp"), with).await, refused);
    assert_eq!(verdict(|claims| remove(claims, "azp"), |_| {}).await, ok);
    assert_eq!(verdict(|claims| claims["azp"] = json!("http://evil"), |_| {}).await, ok);
}

#[tokio::test]
async fn the_issuer_and_pending_sessions_are_stricter_than_clerks() {
    let ok = Ok("user_1".to_owned());
    let issuer = |name: &'static str| {
        move |settings: &mut SessionSettings| settings.issuer = Some(name.to_owned())
    };
    assert_eq!(verdict(|_| {}, issuer(TestIssuer::ISSUER)).await, ok);
    assert_eq!(verdict(|_| {}, issuer("https://other")).await, Err("token-invalid-issuer"));
    let pending = |claims: &mut Value| claims["sts"] = json!("pending");
    assert_eq!(verdict(pending, |_| {}).await, Err("session-pending"));
    assert_eq!(verdict(pending, |settings| settings.accept_pending = true).await, ok);
    assert_eq!(verdict(|claims| remove(claims, "sts"), |_| {}).await, ok);
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

#[tokio::test]
async fn only_rsa_signatures_of_the_key_count() {
    let clock = HandClock::new();
    let issuer = issuer(0, clock.clone());
    let verifier = SessionVerifier::new(settings(&issuer), clock.clone()).unwrap();
    let claims = issuer.claims(&SessionSpec::of("user_1"));
    let rsa = |algorithm| issuer.sign(&Header::new(algorithm), &claims).unwrap();
    let good = rsa(Algorithm::RS256);
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!() };
    let typed = |typ: Option<&str>| {
        let mut header = Header::new(Algorithm::RS256);
        header.typ = typ.map(str::to_owned);
        issuer.sign(&header, &claims).unwrap()
    };
    let with_public_key_as_secret = jsonwebtoken::encode(
        &Header::new(Algorithm::HS256),
        &claims,
        &EncodingKey::from_secret(issuer.public_pem().as_bytes()),
    )
    .unwrap();
    let mut forged = claims.clone();
    forged["sub"] = json!("user_2");
    let by_other_key = self::issuer(1, clock.clone()).sign(&Header::new(Algorithm::RS256), &claims);
    let none = part(&json!({ "alg": "none", "typ": "JWT" }));
    let table: Vec<(&str, String, Option<&str>)> = vec![
        ("RS256", good.clone(), None),
        ("RS384 with a key of RS256", rsa(Algorithm::RS384), Some("token-invalid-signature")),
        ("RS512 with a key of RS256", rsa(Algorithm::RS512), Some("token-invalid-signature")),
        ("without typ", typed(None), None),
        ("PS256", rsa(Algorithm::PS256), Some("token-invalid-algorithm")),
        ("HS256", with_public_key_as_secret, Some("token-invalid-algorithm")),
        ("none", format!("{none}.{payload}."), Some("token-invalid-algorithm")),
        ("none, signed", format!("{none}.{payload}.{signature}"), Some("token-invalid-algorithm")),
        (
            "no alg",
            format!("{}.{payload}.{signature}", part(&json!({}))),
            Some("token-invalid-algorithm"),
        ),
        (
            "alg relabelled",
            format!("{}.{payload}.{signature}", part(&json!({ "alg": "RS512" }))),
            Some("token-invalid-signature"),
        ),
        (
            "other payload",
            format!("{header}.{}.{signature}", part(&forged)),
            Some("token-invalid-signature"),
        ),
        ("no signature", format!("{header}.{payload}."), Some("token-invalid-signature")),
        ("cut signature", good[..good.len() - 4].to_owned(), Some("token-invalid-signature")),
        ("other key", by_other_key.unwrap(), Some("token-invalid-signature")),
        ("other typ", typed(Some("at+jwt")), Some("token-invalid")),
        ("two parts", format!("{header}.{payload}"), Some("token-invalid")),
        ("four parts", format!("{good}.x"), Some("token-invalid")),
        ("no text", String::new(), Some("token-invalid")),
        ("no base64", "!.!.!".to_owned(), Some("token-invalid")),
        ("endless", "a".repeat(100_000), Some("token-invalid")),
    ];
    for (name, token, expected) in table {
        let reason = verifier.verify(&token).await.err().map(|error| error.reason());
        assert_eq!(reason, expected, "{name}");
    }
}

#[tokio::test]
async fn a_refusal_repeats_nothing_of_the_token() {
    let clock = HandClock::new();
    let issuer = issuer(0, clock.clone());
    let verifier = SessionVerifier::new(settings(&issuer), clock.clone()).unwrap();
    let token = issuer.session(&SessionSpec::of("user_secret")).unwrap();
    clock.set(NOW_MS + 3_600_000);
    let error = verifier.verify(&token).await.unwrap_err();
    let shown = format!("{error} {error:?} {}", error.reason());
    assert!(!shown.contains("user_secret"));
    assert!(token.split('.').all(|part| !shown.contains(part)));
}

#[tokio::test]
async fn both_claim_versions_give_the_same_identity() {
    let clock = HandClock::new();
    let issuer = issuer(0, clock.clone());
    let verifier = SessionVerifier::new(settings(&issuer), clock).unwrap();
    let mut spec = SessionSpec::of("user_1");
    let permissions = ["org:dashboard:manage", "org:dashboard:read", "org:teams:read"];
    spec.organisation = Some(Organisation {
        id: "org_1".to_owned(),
        slug: "acme".to_owned(),
        role: "org:admin".to_owned(),
        permissions: permissions.map(str::to_owned).to_vec(),
    });
    let mut identities = Vec::new();
    for version in [TokenVersion::V1, TokenVersion::V2] {
        spec.version = version;
        let token = issuer.session(&spec).unwrap();
        identities.push(verifier.verify(&token).await.unwrap());
    }
    assert_eq!(identities[0], identities[1]);
    let identity = &identities[0];
    assert_eq!(identity.org_id.as_deref(), Some("org_1"));
    assert_eq!(identity.org_slug.as_deref(), Some("acme"));
    assert_eq!(identity.org_role.as_deref(), Some("org:admin"));
    assert_eq!(identity.permissions, permissions);
    assert_eq!(identity.session_id.as_deref(), Some("sess_user_1"));
}

#[test]
fn a_key_that_cannot_verify_is_refused_at_once() {
    let issuer = issuer(0, HandClock::new());
    let refuse = |text: &str| {
        let settings = SessionSettings::new(KeySource::Pem(text.to_owned()));
        SessionVerifier::new(settings, HandClock::new()).unwrap_err()
    };
    let not_rsa = KeyError::NotRsaPublic { place: "the public key".to_owned() };
    assert_eq!(refuse("hello"), not_rsa);
    assert_eq!(refuse(issuer.private_pem().expose()), not_rsa);
    let url = SessionSettings::new(KeySource::JwksUrl("ftp://x/".to_owned()));
    assert_eq!(SessionVerifier::new(url, HandClock::new()).unwrap_err(), KeyError::JwksUrl);
    let file = SessionSettings::new(KeySource::PemFile("/nowhere/clerk.pem".into()));
    let error = SessionVerifier::new(file, HandClock::new()).unwrap_err().to_string();
    assert!(error.contains("/nowhere/clerk.pem") && error.contains("create it"), "{error}");
}

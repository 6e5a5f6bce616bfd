//! Rotating key sets, served by a real HTTP server that counts how often it is asked.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use crossfade::identity::{
    KeySource, SessionSettings, SessionSpec, SessionVerifier, TestIssuer, VerifyError,
};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use crate::identity::{HandClock, issuer};

/// A key server.
struct Keys {
    set: Mutex<Value>,
    fails: AtomicBool,
    asked: watch::Sender<usize>,
    /// Answers wait for it, where it is set.
    gate: Option<Notify>,
    served: AtomicUsize,
}

impl Keys {
    async fn serve(issuer: &TestIssuer, gated: bool) -> (Arc<Self>, String) {
        let keys = Arc::new(Self {
            set: Mutex::new(json!(issuer.jwks())),
            fails: AtomicBool::new(false),
            asked: watch::channel(0).0,
            gate: gated.then(Notify::new),
            served: AtomicUsize::new(0),
        });
        let app = Router::new()
            .route("/jwks.json", axum::routing::get(answer))
            .with_state(Arc::clone(&keys));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        // The task ends with the test's runtime.
        tokio::spawn(async move { axum::serve(listener, app).await });
        (keys, url)
    }

    fn asked(&self) -> usize {
        *self.asked.borrow()
    }
}

async fn answer(State(keys): State<Arc<Keys>>) -> impl IntoResponse {
    keys.asked.send_modify(|count| *count += 1);
    if let Some(gate) = &keys.gate {
        gate.notified().await;
    }
    keys.served.fetch_add(1, Ordering::SeqCst);
    if keys.fails.load(Ordering::SeqCst) {
        return (StatusCode::INTERNAL_SERVER_ERROR, "no".to_owned());
    }
    (StatusCode::OK, keys.set.lock().unwrap().to_string())
}

fn verifier(url: &str, adjust: impl FnOnce(&mut SessionSettings)) -> SessionVerifier {
    let mut settings = SessionSettings::new(KeySource::JwksUrl(url.to_owned()));
    adjust(&mut settings);
    SessionVerifier::new(settings, HandClock::new()).unwrap()
}

fn token(issuer: &TestIssuer) -> String {
    issuer.session(&SessionSpec::of("user_1")).unwrap()
}

#[tokio::test]
async fn a_hundred_waiters_cause_one_fetch() {
    let issuer = issuer(0, HandClock::new());
    let (keys, url) = Keys::serve(&issuer, true).await;
    let (verifier, token) = (verifier(&url, |_| {}), token(&issuer));
    let waiters = futures_util::future::join_all((0..100).map(|_| verifier.verify(&token)));
    let release = async {
        // `join` polls the waiters first: all of them wait by the time the gate opens.
        keys.asked.subscribe().wait_for(|asked| *asked > 0).await.unwrap();
        keys.gate.as_ref().unwrap().notify_one();
    };
    let (outcomes, ()) = tokio::join!(waiters, release);
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!((keys.asked(), keys.served.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test]
async fn a_waiter_that_goes_away_does_not_end_the_fetch() {
    let issuer = issuer(0, HandClock::new());
    let (keys, url) = Keys::serve(&issuer, true).await;
    let (verifier, token) = (verifier(&url, |_| {}), token(&issuer));
    let mut asked = keys.asked.subscribe();
    tokio::select! {
        _ = verifier.verify(&token) => panic!("nothing was answered yet"),
        _ = asked.wait_for(|asked| *asked > 0) => {}
    }
    keys.gate.as_ref().unwrap().notify_one();
    assert!(verifier.verify(&token).await.is_ok());
    assert_eq!(keys.asked(), 1);
}

#[tokio::test]
async fn a_rotated_key_is_picked_up() {
    let (old, new) = (issuer(0, HandClock::new()), issuer(1, HandClock::new()));
    let (keys, url) = Keys::serve(&old, false).await;
    let verifier = verifier(&url, |settings| settings.jwks.cooldown = Duration::ZERO);
    assert!(verifier.verify(&token(&old)).await.is_ok());
    assert_eq!(verifier.verify(&token(&new)).await, Err(VerifyError::UnknownKey));
    *keys.set.lock().unwrap() = json!(new.jwks());
    assert!(verifier.verify(&token(&new)).await.is_ok());
    // The old key left the set: its tokens are refused, however long they would live.
    assert_eq!(verifier.verify(&token(&old)).await, Err(VerifyError::UnknownKey));
}

/// As Web Crypto, by which Clerk's verifier imports the keys of a set: one that names its algorithm is for that alone.
#[tokio::test]
async fn a_key_is_used_for_the_algorithm_that_it_names() {
    let issuer = issuer(0, HandClock::new());
    let (keys, url) = Keys::serve(&issuer, false).await;
    for (named, accepted) in [(Some("RS256"), true), (Some("RS512"), false), (None, true)] {
        let mut set = json!(issuer.jwks());
        let key = set["keys"][0].as_object_mut().unwrap();
        match named {
            Some(named) => key.insert("alg".to_owned(), json!(named)),
            None => key.remove("alg"),
        };
        *keys.set.lock().unwrap() = set;
        let outcome = verifier(&url, |_| {}).verify(&token(&issuer)).await;
        assert_eq!(outcome.is_ok(), accepted, "{named:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn unknown_keys_cannot_make_it_fetch_without_pause() {
    let (known, unknown) = (issuer(0, HandClock::new()), issuer(1, HandClock::new()));
    let (keys, url) = Keys::serve(&known, false).await;
    let verifier = verifier(&url, |settings| settings.jwks.cooldown = Duration::from_secs(3600));
    assert!(verifier.verify(&token(&known)).await.is_ok());
    for _ in 0..50 {
        assert_eq!(verifier.verify(&token(&unknown)).await, Err(VerifyError::UnknownKey));
    }
    assert_eq!(keys.asked(), 1);
}

#[tokio::test]
async fn known_keys_stay_while_the_server_fails() {
    let issuer = issuer(0, HandClock::new());
    let (keys, url) = Keys::serve(&issuer, false).await;
    let verifier = verifier(&url, |settings| {
        settings.jwks.max_age = Duration::ZERO;
        settings.jwks.cooldown = Duration::ZERO;
        settings.jwks.retry = Duration::ZERO;
    });
    assert!(verifier.verify(&token(&issuer)).await.is_ok());
    keys.fails.store(true, Ordering::SeqCst);
    let before = keys.asked();
    let mut asked = keys.asked.subscribe();
    // Too old a set is fetched again in the background, and nobody waits for it.
    assert!(verifier.verify(&token(&issuer)).await.is_ok());
    asked.wait_for(|asked| *asked > before).await.unwrap();
    assert!(verifier.verify(&token(&issuer)).await.is_ok());
}

#[tokio::test]
async fn without_keys_nobody_can_tell() {
    let issuer = issuer(0, HandClock::new());
    let (keys, url) = Keys::serve(&issuer, false).await;
    keys.fails.store(true, Ordering::SeqCst);
    let verifier = verifier(&url, |settings| settings.jwks.retry = Duration::ZERO);
    let refused = verifier.verify(&token(&issuer)).await.unwrap_err();
    assert_eq!(refused.reason(), "jwk-failed-to-resolve");
    assert!(refused.to_string().contains("500"), "{refused}");
    keys.fails.store(false, Ordering::SeqCst);
    *keys.set.lock().unwrap() = json!({ "keys": [{ "kty": "EC", "kid": "x" }] });
    let refused = verifier.verify(&token(&issuer)).await.unwrap_err();
    assert!(refused.to_string().contains("no RSA key"), "{refused}");
    *keys.set.lock().unwrap() = json!(issuer.jwks());
    assert!(verifier.verify(&token(&issuer)).await.is_ok());
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up() {
    let issuer = issuer(0, HandClock::new());
    let (_keys, url) = Keys::serve(&issuer, true).await;
    let verifier = verifier(&url, |settings| settings.jwks.timeout = Duration::from_millis(50));
    let refused = verifier.verify(&token(&issuer)).await.unwrap_err();
    assert!(matches!(refused, VerifyError::Unavailable(_)), "{refused}");
}

#[tokio::test]
async fn a_key_set_file_is_read_again_for_an_unknown_key() {
    let (old, new) = (issuer(0, HandClock::new()), issuer(1, HandClock::new()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    std::fs::write(&path, json!(old.jwks()).to_string()).unwrap();
    let mut settings = SessionSettings::new(KeySource::JwksFile(path.clone()));
    settings.jwks.cooldown = Duration::ZERO;
    let verifier = SessionVerifier::new(settings, HandClock::new()).unwrap();
    assert!(verifier.verify(&token(&old)).await.is_ok());
    std::fs::write(&path, json!(new.jwks()).to_string()).unwrap();
    assert!(verifier.verify(&token(&new)).await.is_ok());
    std::fs::write(&path, "{}").unwrap();
    let bad = SessionSettings::new(KeySource::JwksFile(path));
    let error = SessionVerifier::new(bad, HandClock::new()).unwrap_err().to_string();
    assert!(error.contains("jwks.json") && error.contains("`keys`"), "{error}");
}

//! The tokens that crossfade signs itself.

use std::sync::Arc;
use std::time::Duration;

use crossfade::clock::{SystemClock, SystemEntropy};
use crossfade::identity::{
    Grant, GrantedIn, Identity, KeyError, OnBehalfOf, OnBehalfOfError, Secret, SyncTokenError,
    SyncTokens, TestIssuer,
};
use crossfade::migration::{PathId, SessionId, UserId};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};

use crate::identity::{HandClock, NOW_MS, issuer};

fn ann() -> Identity {
    Identity {
        user: UserId::new("user_ann"),
        org_id: Some("o_42".to_owned()),
        org_slug: None,
        org_role: Some("org:admin".to_owned()),
        permissions: vec!["org:users:write".to_owned()],
        session_id: Some("sess_1".to_owned()),
        issued_at_ms: None,
        expires_at_ms: 0,
    }
}

fn tokens(pem: &Secret) -> SyncTokens {
    let ttl = Duration::from_secs(900);
    SyncTokens::new(pem, ttl, HandClock::new(), Arc::new(SystemEntropy)).unwrap()
}

#[test]
fn a_sync_token_says_what_was_granted() {
    let tokens = tokens(&SyncTokens::generate_pem().unwrap());
    let path = PathId::new("org/o_42").unwrap();
    let minted = tokens.mint(&ann(), std::slice::from_ref(&path)).unwrap();
    let claims = tokens.verify(minted.token.expose(), NOW_MS).unwrap();
    assert_eq!(claims.user, ann().user);
    assert_eq!(claims.org_id, ann().org_id);
    assert_eq!(claims.role, ann().org_role);
    assert_eq!(claims.permissions, ann().permissions);
    assert_eq!(claims.paths, [path]);
    assert_eq!((claims.expires_at_ms, minted.expires_at_ms), (NOW_MS + 900_000, NOW_MS + 900_000));
    assert_eq!(claims.token_id, minted.token_id);
    let again = tokens.mint(&ann(), &[]).unwrap();
    assert_ne!(again.token_id, minted.token_id);
    assert!(!format!("{minted:?} {tokens:?}").contains(minted.token.expose()));
}

#[test]
fn a_sync_token_ends_on_time() {
    let tokens = tokens(&SyncTokens::generate_pem().unwrap());
    let minted = tokens.mint(&ann(), &[]).unwrap();
    assert!(tokens.verify(minted.token.expose(), minted.expires_at_ms - 1).is_ok());
    let over = tokens.verify(minted.token.expose(), minted.expires_at_ms);
    assert_eq!(over, Err(SyncTokenError::Expired));
}

#[test]
fn a_kept_key_verifies_after_a_restart_and_another_does_not() {
    let pem = SyncTokens::generate_pem().unwrap();
    let minted = tokens(&pem).mint(&ann(), &[]).unwrap();
    assert!(tokens(&pem).verify(minted.token.expose(), NOW_MS).is_ok());
    let other = tokens(&SyncTokens::generate_pem().unwrap());
    assert_eq!(other.verify(minted.token.expose(), NOW_MS), Err(SyncTokenError::Signature));
}

#[test]
fn the_public_key_set_verifies_what_was_minted_and_holds_no_private_part() {
    let tokens = tokens(&SyncTokens::generate_pem().unwrap());
    let minted = tokens.mint(&ann(), &[]).unwrap();
    let set = tokens.jwks();
    let header = jsonwebtoken::decode_header(minted.token.expose()).unwrap();
    let jwk = set.find(header.kid.as_deref().unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&["crossfade-sync"]);
    validation.set_issuer(&["crossfade"]);
    validation.validate_exp = false;
    let key = DecodingKey::from_jwk(jwk).unwrap();
    let data = jsonwebtoken::decode::<Value>(minted.token.expose(), &key, &validation).unwrap();
    assert_eq!(data.claims["sub"], "user_ann");
    let shown = json!(set);
    assert_eq!(shown["keys"][0]["use"], "sig");
    assert!(shown["keys"][0].get("d").is_none(), "{shown}");
}

#[test]
fn a_token_of_another_kind_is_no_sync_token() {
    let pem = SyncTokens::generate_pem().unwrap();
    let tokens = tokens(&pem);
    let key = EncodingKey::from_ec_pem(pem.expose().as_bytes()).unwrap();
    let good = json!({
        "iss": "crossfade", "aud": "crossfade-sync", "sub": "u", "paths": ["a/b"],
        "iat": 0, "exp": NOW_MS / 1000 + 60, "jti": "1",
    });
    let verify = |claims: &Value| {
        let token = jsonwebtoken::encode(&Header::new(Algorithm::ES256), claims, &key).unwrap();
        tokens.verify(&token, NOW_MS).map(|claims| claims.paths.len())
    };
    assert_eq!(verify(&good), Ok(1));
    for (claim, value) in [
        ("iss", json!("other")),
        ("aud", json!("legacy")),
        ("aud", json!(["crossfade-sync"])),
        ("sub", json!("")),
        ("paths", json!(["../x"])),
        ("paths", json!("a/b")),
        ("exp", json!("never")),
        ("jti", Value::Null),
    ] {
        let mut claims = good.clone();
        claims[claim] = value;
        assert_eq!(verify(&claims), Err(SyncTokenError::Claims), "{claims}");
    }
    let session = issuer(0, HandClock::new());
    let session = session.sign(&Header::new(Algorithm::RS256), &good).unwrap();
    assert_eq!(tokens.verify(&session, NOW_MS), Err(SyncTokenError::Malformed));
    assert_eq!(tokens.verify("nonsense", NOW_MS), Err(SyncTokenError::Malformed));
}

#[test]
fn a_key_of_another_kind_signs_no_sync_token() {
    let rsa = issuer(0, HandClock::new()).private_pem().clone();
    for pem in [rsa, Secret::new("hello")] {
        let refused = SyncTokens::new(
            &pem,
            Duration::from_secs(1),
            Arc::new(SystemClock),
            Arc::new(SystemEntropy),
        );
        assert_eq!(refused.unwrap_err(), KeyError::NotP256Private);
    }
    assert_eq!(
        TestIssuer::from_private_pem(SyncTokens::generate_pem().unwrap(), Arc::new(SystemClock))
            .unwrap_err(),
        KeyError::NotRsaPrivate
    );
}

#[test]
fn a_delivery_speaks_for_its_user_for_five_minutes() {
    let clock = HandClock::new();
    let service = Secret::new("service-token-of-some-length-0123456789");
    let signer = OnBehalfOf::new(&service, clock.clone());
    let value = signer.sign(&UserId::new("user_ann"), Some("o_42"), Some("org:admin")).unwrap();
    let claims = signer.verify(&value).unwrap();
    assert_eq!(
        (claims.sub.as_str(), claims.org_id.as_deref(), claims.org_role.as_deref()),
        ("user_ann", Some("o_42"), Some("org:admin"))
    );
    assert_eq!((claims.aud.as_str(), claims.exp - claims.iat), ("legacy", 300));
    let other = OnBehalfOf::new(&Secret::new("another"), clock.clone());
    assert_eq!(other.verify(&value), Err(OnBehalfOfError::Signature));
    clock.set(NOW_MS + 300_000);
    assert_eq!(signer.verify(&value), Err(OnBehalfOfError::Expired));
}

#[test]
fn a_sync_token_says_its_session_and_when_it_was_minted_and_one_from_before_the_upgrade_holds() {
    let pem = SyncTokens::generate_pem().unwrap();
    let clock = HandClock::new();
    let ttl = Duration::from_secs(900);
    let tokens = SyncTokens::new(&pem, ttl, clock.clone(), Arc::new(SystemEntropy)).unwrap();
    clock.set(NOW_MS + 7);
    let claims = |who: &Identity| {
        let minted = tokens.mint(who, &[]).unwrap();
        tokens.verify(minted.token.expose(), NOW_MS).unwrap()
    };
    let ours = claims(&ann());
    assert_eq!(ours.session, GrantedIn::Session(SessionId::new("sess_1")));
    assert_eq!(ours.issued_at_ms, NOW_MS + 7, "to the millisecond");
    assert_eq!(claims(&Identity { session_id: None, ..ann() }).session, GrantedIn::NoSession);

    let key = EncodingKey::from_ec_pem(pem.expose().as_bytes()).unwrap();
    let before = json!({
        "iss": "crossfade", "aud": "crossfade-sync", "sub": "u", "paths": ["a/b"],
        "iat": NOW_MS / 1000, "exp": NOW_MS / 1000 + 60, "jti": "1",
    });
    let before = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &before, &key).unwrap();
    let grant = tokens.verify(&before, NOW_MS).unwrap().grant();
    let (session, issued_at_ms) = (GrantedIn::Unknown, NOW_MS);
    assert_eq!(grant, Grant { user: UserId::new("u"), session, issued_at_ms });
}

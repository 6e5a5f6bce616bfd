//! Who may open a path, and who signs deliveries.

use std::sync::Arc;

use http::{HeaderMap, Uri};
use serde_json::{Value, json};

use crate::clock::SharedClock;
use crate::flags::StageDecider;
use crate::identity::{
    Grant, GrantedIn, Identity, OnBehalfOf, Revocations, SyncTokens, insecure_dev,
    sync_token_from_subprotocols,
};
use crate::migration::{PathId, Stage};
use crate::proxy::claim_of;
use crate::resource::{Resource, RolePermissions};
use crate::storage::Actor;
use crate::sync::Writer;
use crate::sync::server::{Admission, NotAdmitted, Session};

/// Admits by sync token; in mode `insecure-dev` by assertion.
#[derive(Debug)]
pub(super) struct TokenAdmission {
    pub(super) tokens: Arc<SyncTokens>,
    pub(super) revocations: Revocations,
    pub(super) insecure_dev: bool,
    pub(super) stages: Arc<StageDecider>,
    pub(super) resources: Vec<Arc<Resource>>,
    pub(super) clock: SharedClock,
}

/// The paths that a session may open: one for each resource whose template its claims fill.
pub(super) fn paths_of(resources: &[Arc<Resource>], identity: &Identity) -> Vec<PathId> {
    let mut paths: Vec<PathId> = resources
        .iter()
        .filter_map(|r| r.path.from_claims(|claim| claim_of(identity, claim)).ok())
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

impl TokenAdmission {
    fn by_token(&self, token: &str) -> Result<Session, NotAdmitted> {
        let claims = self
            .tokens
            .verify(token, self.clock.now_ms())
            .map_err(|e| NotAdmitted::Unauthenticated(e.to_string()))?;
        let token = self.revocations.follow(claims.grant());
        if token.is_revoked() {
            return Err(NotAdmitted::Revoked);
        }
        let actor = Actor {
            user: claims.user.as_str().to_owned(),
            org_id: claims.org_id,
            org_role: claims.role,
        };
        Ok(Session {
            writer: writer(actor, claims.permissions),
            expires_ms: Some(claims.expires_at_ms),
            paths: claims.paths,
            token: Some(token),
        })
    }

    fn by_assertion(&self, headers: &HeaderMap, uri: &Uri) -> Result<Session, NotAdmitted> {
        let identity = insecure_dev(headers, uri.query()).ok_or_else(|| {
            NotAdmitted::Unauthenticated("add ?user=…&org=…&role=… (insecure-dev)".to_owned())
        })?;
        let paths = paths_of(&self.resources, &identity);
        let actor = Actor {
            user: identity.user.as_str().to_owned(),
            org_id: identity.org_id,
            org_role: identity.org_role,
        };
        // As good as a token that is minted now: who asserts it again is let in again.
        let issued_at_ms = self.clock.now_ms();
        let grant = Grant { user: identity.user, session: GrantedIn::NoSession, issued_at_ms };
        Ok(Session {
            writer: writer(actor, identity.permissions),
            expires_ms: None,
            paths,
            token: Some(self.revocations.follow(grant)),
        })
    }
}

/// What a role may write is judged edit by edit, where `[resource.write]` says so; and legacy judges each write
/// when it is delivered, and what it refuses is taken back.
fn writer(actor: Actor, permissions: Vec<String>) -> Arc<Writer> {
    Arc::new(Writer { permissions, ..Writer::new(actor) })
}

/// What a session may write, by resource: one item for each of its roles that may do something; null where everything is
/// allowed that the schema allows.
pub(super) fn writable(resources: &[Arc<Resource>], identity: &Identity) -> Value {
    let of_resource = |resource: &Arc<Resource>| {
        let roles = resource.write.as_ref().map(|write| {
            write
                .of(identity.org_role.as_deref(), &identity.permissions)
                .filter(|role| role.any())
                .map(in_words)
                .collect::<Vec<_>>()
        });
        (resource.name.to_string(), json!(roles))
    };
    resources.iter().map(of_resource).collect::<serde_json::Map<_, _>>().into()
}

/// As in the configuration.
fn in_words(role: &RolePermissions) -> Value {
    json!({
        "cells": role.cells.names().collect::<Vec<_>>(),
        "create": role.create, "delete": role.delete, "own_rows": role.own_rows,
    })
}

impl Admission for TokenAdmission {
    fn authenticate(&self, headers: &HeaderMap, uri: &Uri) -> Result<Session, NotAdmitted> {
        let offer = sync_token_from_subprotocols(headers)
            .map_err(|e| NotAdmitted::Unauthenticated(e.to_string()))?;
        match offer.token {
            Some(token) => self.by_token(token),
            None if self.insecure_dev => self.by_assertion(headers, uri),
            None => {
                let text = "offer the subprotocols `crossfade` and `crossfade.token.<token>`";
                Err(NotAdmitted::Unauthenticated(text.to_owned()))
            }
        }
    }

    fn is_mapped(&self, path: &PathId) -> bool {
        self.resources.iter().any(|resource| resource.path.may_name(path))
    }

    /// Sync is on as long as one resource is: a path may hold rows of several.
    fn is_off(&self) -> bool {
        self.resources.iter().all(|r| self.stages.decide(&r.name).effective == Stage::Off)
    }
}

/// Signs deliveries with the service token.
#[derive(Debug)]
pub(super) struct Signer(pub(super) OnBehalfOf);

impl crate::sync::outbox::OnBehalfOf for Signer {
    fn sign(&self, actor: &Actor, _now_ms: u64) -> Result<String, String> {
        self.0
            .sign(&actor.user_id(), actor.org_id.as_deref(), actor.org_role.as_deref())
            .map_err(|e| e.to_string())
    }
}

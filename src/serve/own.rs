//! What users reach: the sync mount, crossfade's own mount, and everything else.

use std::net::SocketAddr;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;

use super::admission::{paths_of, writable};
use super::build::Parts;
use crate::identity::NotMinted;
use crate::proxy::problem::Problem;
use crate::proxy::server::Handler;

/// What the users' listener answers. `/sync` and `/_crossfade` can be moved by the configuration.
#[derive(Clone)]
pub(super) struct Users {
    parts: Parts,
    own: Router,
}

impl Users {
    pub(super) fn new(parts: &Parts) -> Self {
        Self { parts: parts.clone(), own: router(parts) }
    }
}

impl Handler for Users {
    async fn handle(&self, request: Request<Body>, peer: SocketAddr) -> Response {
        let target = request.uri().path();
        let server = &self.parts.config.server;
        // The mount alone is the root, under which a multiplexed socket has any path as a channel.
        if let Some(rest) = under(target, &server.sync_mount) {
            let path = rest.strip_prefix('/').unwrap_or(rest).to_owned();
            return open(&self.parts, &path, request).await;
        }
        if under(target, &server.own_mount).is_some() {
            return self.own.handle(request, peer).await;
        }
        self.parts.edge.handle(request, peer).await
    }
}

/// What follows a mount in a request's path, if it is under it.
fn under<'t>(target: &'t str, mount: &str) -> Option<&'t str> {
    target.strip_prefix(mount).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Routes of crossfade's own mount.
fn router(parts: &Parts) -> Router {
    let own = &parts.config.server.own_mount;
    let nothing = || async {
        let problem = Problem::new(StatusCode::NOT_FOUND, "no-such-route", "No such route");
        problem.detail("this is crossfade's own mount").into_response()
    };
    Router::new()
        .route(&format!("{own}/sync-token"), post(sync_token))
        .route(&format!("{own}/jwks.json"), get(jwks))
        .route(&format!("{own}/holder"), get(|| async { "this process holds the database" }))
        .fallback(nothing)
        .with_state(parts.clone())
}

/// A path's socket.
async fn open(parts: &Parts, path: &str, request: Request<Body>) -> Response {
    let (mut head, _) = request.into_parts();
    match WebSocketUpgrade::from_request_parts(&mut head, &()).await {
        Ok(upgrade) => parts.sync.upgrade(path, &head.headers, &head.uri, upgrade).await,
        Err(_) => Problem::new(
            StatusCode::UPGRADE_REQUIRED,
            "sync-upgrade",
            "Paths are opened by WebSocket",
        )
        .remedy("open it with a WebSocket client (RFC 6455)")
        .into_response(),
    }
}

async fn sync_token(State(parts): State<Parts>, request: Request<Body>) -> Response {
    let query = request.uri().query();
    let identity = match parts.authenticator.verify(request.headers(), query).await {
        Ok(identity) => identity,
        Err(error) => {
            let title = "A valid session is needed";
            return Problem::new(StatusCode::UNAUTHORIZED, "session", title)
                .detail(error.to_string())
                .remedy("sign in, and send the session token as Authorization: Bearer")
                .into_response();
        }
    };
    let paths = paths_of(&parts.config.resources, &identity);
    if paths.is_empty() {
        let title = "The session opens no path";
        return Problem::new(StatusCode::FORBIDDEN, "no-path", title)
            .detail("its claims fill no resource's path template")
            .into_response();
    }
    let minted = parts.tokens.mint(&identity, &paths);
    // Once it is minted: whatever is revoked from here on is about this token, too.
    if let Err(error) = parts.revocations.may_mint(&identity) {
        return not_minted(&error).into_response();
    }
    match minted {
        Ok(minted) => {
            let name = |path| parts.registry.name_of(path).to_string();
            let names: Vec<_> = paths.iter().map(name).collect();
            let body = serde_json::json!({
                "token": minted.token.expose(),
                "expires_at": minted.expires_at_ms,
                "server_time": parts.clock.now_ms(),
                "paths": names,
                "role": identity.org_role,
                "permissions": identity.permissions,
                "write": writable(&parts.config.resources, &identity),
            });
            // Nothing waits for it.
            parts.parity.submit(&identity, request.headers());
            ([(http::header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "a sync token could not be minted");
            let title = "The sync token could not be made";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "sync-token", title).into_response()
        }
    }
}

/// Why a session that is valid gets no sync token.
fn not_minted(error: &NotMinted) -> Problem {
    let (status, kind, remedy) = match error {
        NotMinted::Session => {
            (StatusCode::FORBIDDEN, "session-revoked", "sign out, and sign in again")
        }
        NotMinted::Before => (
            StatusCode::UNAUTHORIZED,
            "session-token-too-old",
            "get a new session token from the identity provider (getToken({ skipCache: true })), and ask again",
        ),
    };
    metrics::counter!("crossfade_sync_tokens_refused_total", "reason" => kind).increment(1);
    Problem::new(status, kind, "The session gets no sync token")
        .detail(error.to_string())
        .remedy(remedy)
}

async fn jwks(State(parts): State<Parts>) -> Response {
    Json(parts.tokens.jwks()).into_response()
}

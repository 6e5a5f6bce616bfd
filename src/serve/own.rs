//! What users reach: the sync mount, crossfade's own mount, and everything else.

use std::net::SocketAddr;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;

use super::admission::{paths_of, writable};
use super::build::Parts;
use crate::identity::NotMinted;
use crate::proxy::problem::Problem;

/// Routes of the users' listener. `/sync` and `/_crossfade` can be moved by the configuration.
pub(super) fn router(parts: &Parts) -> Router {
    let own = &parts.config.server.own_mount;
    Router::new()
        .route(&format!("{own}/sync-token"), post(sync_token))
        .route(&format!("{own}/jwks.json"), get(jwks))
        .route(&format!("{own}/holder"), get(|| async { "this process holds the database" }))
        .fallback(edge)
        .with_state(parts.clone())
}

/// Everything that is not crossfade's own: a path's socket, or the edge.
async fn edge(
    State(parts): State<Parts>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request<Body>,
) -> Response {
    let target = request.uri().path();
    let mount = &parts.config.server.sync_mount;
    // The mount alone is the root, under which a multiplexed socket has any path as a channel.
    let under = target.strip_prefix(mount.as_str());
    let path = under.filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let Some(path) = path.map(|rest| rest.strip_prefix('/').unwrap_or(rest)) else {
        let own = &parts.config.server.own_mount;
        let is_own = target
            .strip_prefix(own.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if is_own {
            let problem = Problem::new(StatusCode::NOT_FOUND, "no-such-route", "No such route");
            return problem.detail("this is crossfade's own mount").into_response();
        }
        return parts.edge.handle(request, peer).await;
    };
    let path = path.to_owned();
    let (mut head, _) = request.into_parts();
    match WebSocketUpgrade::from_request_parts(&mut head, &()).await {
        Ok(upgrade) => parts.sync.upgrade(&path, &head.headers, &head.uri, upgrade).await,
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

//! WebSocket at `/sync/<path>`: from an upgrade request to a connection of a path.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::response::{IntoResponse, Response};
use futures_util::{FutureExt as _, SinkExt as _};
use http::{HeaderMap, StatusCode, Uri, header};
use mergeable_store::ConnectionId;

use super::late::Late;
use super::name::PathName;
use super::path::{ClientSource, CloseReason, Outbound, PathHandle, client_channel};
use super::policy::Writer;
use super::registry::PathRegistry;
use crate::migration::PathId;
use crate::proxy::problem::Problem;

/// The longest frame that is read, in bytes. TinyBase's limit is 16 MiB, answered with its own close
/// code; what is longer than this is cut off by the transport.
const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024 + 64 * 1024;

/// A client that may connect.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// Who it is and whether it may write.
    pub writer: Arc<Writer>,
    /// When its token runs out, in epoch milliseconds.
    pub expires_ms: Option<u64>,
    /// The subprotocol to confirm.
    pub protocol: Option<&'static str>,
    /// Sync is switched off for the path: take what the client still has, then close.
    pub drain: bool,
}

/// Why a client may not connect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// No token, or one that does not hold.
    #[error("a valid sync token is needed: {0}")]
    Unauthenticated(String),
    /// The token does not name the path.
    #[error("the sync token does not name this path")]
    WrongPath,
}

/// Decides who may connect to a path.
pub trait Admission: Send + Sync + std::fmt::Debug {
    /// Decides, from the upgrade request alone and without waiting for anything.
    ///
    /// # Errors
    /// [`NotAdmitted`] says why not; it never holds the token.
    fn admit(&self, headers: &HeaderMap, uri: &Uri, path: &PathId)
    -> Result<Admitted, NotAdmitted>;

    /// Whether sync is switched off by now: asked once more when a connection stands, because a
    /// rollback in between has drained only those that stood before.
    fn is_off(&self) -> bool;
}

/// Serves WebSocket connections.
#[derive(Debug, Clone)]
pub struct SyncServer {
    registry: PathRegistry,
    admission: Arc<dyn Admission>,
    clock: crate::clock::SharedClock,
}

impl SyncServer {
    /// A server for the registry's paths.
    pub fn new(
        registry: PathRegistry,
        admission: Arc<dyn Admission>,
        clock: crate::clock::SharedClock,
    ) -> Self {
        Self { registry, admission, clock }
    }

    /// Answers an upgrade request for `path`, spelled as in the URL.
    pub async fn upgrade(
        &self,
        path: &str,
        headers: &HeaderMap,
        uri: &Uri,
        upgrade: WebSocketUpgrade,
    ) -> Response {
        let name: PathName = match path.parse() {
            Ok(name) => name,
            Err(e) => return refuse(StatusCode::BAD_REQUEST, "sync-path", &e.to_string()),
        };
        let path = name.path.clone();
        let admitted = match self.admission.admit(headers, uri, &path) {
            Ok(admitted) => admitted,
            Err(e @ NotAdmitted::Unauthenticated(_)) => {
                return refuse(StatusCode::UNAUTHORIZED, "sync-token", &e.to_string());
            }
            Err(e @ NotAdmitted::WrongPath) => {
                return refuse(StatusCode::FORBIDDEN, "sync-path-forbidden", &e.to_string());
            }
        };
        let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok())
        else {
            return refuse(StatusCode::BAD_REQUEST, "sync-key", "Sec-WebSocket-Key is missing");
        };
        let client = ConnectionId::from(key);
        let handle = match self.registry.get(&path).await {
            Ok(handle) => handle,
            Err(error) => {
                tracing::error!(%path, %error, "path cannot be loaded");
                let text = "the path cannot be loaded now; try again";
                return refuse(StatusCode::SERVICE_UNAVAILABLE, "sync-path-unavailable", text);
            }
        };
        let (clock, admission) = (self.clock.clone(), self.admission.clone());
        let upgrade = upgrade.max_message_size(MAX_FRAME_BYTES).max_frame_size(MAX_FRAME_BYTES);
        let upgrade = match admitted.protocol {
            Some(protocol) => upgrade.protocols([protocol]),
            None => upgrade,
        };
        // Looked at after the path was got, which waits for a rebuild: a client of another generation must
        // not bring back what was deleted. Only a socket can tell it why.
        let current = self.registry.name_of(&path);
        if current != name {
            metrics::counter!("crossfade_sync_other_generation_total").increment(1);
            let context = self.registry.context().clone();
            return upgrade.on_upgrade(move |mut socket| async move {
                let reason = if name.generation.next() == current.generation {
                    let (admitted, current) = (&admitted, &handle);
                    let late = Late { context: &context, name: &name, client, admitted, current };
                    late.take(&mut socket).await
                } else {
                    CloseReason::rebuilt()
                };
                close(&mut socket, reason).await;
            });
        }
        upgrade.on_upgrade(move |socket| async move {
            let expires_in = admitted
                .expires_ms
                .map(|at| Duration::from_millis(at.saturating_sub(clock.now_ms())));
            run(socket, client, handle, admitted, &*admission, expires_in).await;
        })
    }
}

fn refuse(status: StatusCode, kind: &'static str, detail: &str) -> Response {
    metrics::counter!("crossfade_sync_not_admitted_total", "reason" => kind).increment(1);
    Problem::new(status, kind, "The sync connection was not opened").detail(detail).into_response()
}

/// Moves frames between a socket and its path until either ends.
async fn run(
    mut socket: WebSocket,
    client: ConnectionId,
    path: PathHandle,
    admitted: Admitted,
    admission: &dyn Admission,
    expires_in: Option<Duration>,
) {
    let (sink, mut source) = client_channel();
    let own = sink.clone();
    if path.connect(client.clone(), admitted.writer, sink, admitted.drain).await.is_err() {
        close(&mut socket, CloseReason::not_kept()).await;
        return;
    }
    if !admitted.drain && admission.is_off() {
        // A path that is gone has no connection left to drain.
        let _ = path.drain().await;
    }
    let expiry = async {
        match expires_in {
            Some(wait) => tokio::time::sleep(wait).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(expiry);
    let mut expired = false;
    loop {
        tokio::select! {
            () = &mut expiry, if !expired => {
                expired = true;
                own.close(CloseReason::token_expired());
            }
            received = socket.recv() => {
                let text = match received {
                    Some(Ok(Message::Text(text))) => text,
                    // TinyBase's own server reads binary frames as text.
                    Some(Ok(Message::Binary(bytes))) => String::from_utf8_lossy(&bytes).as_ref().into(),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                };
                if path.frame(client.clone(), &text).await.is_err() {
                    close(&mut socket, CloseReason::not_kept()).await;
                    break;
                }
            }
            outbound = source.next() => {
                if !send(&mut socket, outbound, &mut source).await {
                    break;
                }
            }
        }
    }
    // A path that is gone has let go of the connection already.
    let _ = path.disconnect(client).await;
}

/// Frames that go into one write at most.
const FLUSH_AFTER: usize = 64;

/// Sends what the path has for the client, all that is queued in one write; `false` when the connection
/// has ended.
async fn send(socket: &mut WebSocket, first: Option<Outbound>, source: &mut ClientSource) -> bool {
    let queued = std::iter::from_fn(|| source.next().now_or_never().flatten());
    for outbound in first.into_iter().chain(queued).take(FLUSH_AFTER) {
        match outbound {
            Outbound::Frame(frame) => {
                if socket.feed(Message::Text(frame)).await.is_err() {
                    return false;
                }
            }
            Outbound::Close(reason) => {
                close(socket, reason).await;
                return false;
            }
        }
    }
    socket.flush().await.is_ok()
}

async fn close(socket: &mut WebSocket, reason: CloseReason) {
    let frame = CloseFrame { code: reason.code, reason: reason.reason.into() };
    if socket.send(Message::Close(Some(frame))).await.is_err() {
        return;
    }
    // The peer's own close frame ends the handshake; one that never comes must not hold the task.
    let answered = async { while let Some(Ok(_)) = socket.recv().await {} };
    let _ = tokio::time::timeout(Duration::from_secs(2), answered).await;
}

//! WebSocket at `/sync/<path>`: from an upgrade request to connections of paths.
//!
//! ```text
//! upgrade ─ subprotocol ─ authenticate ─┬─ single: the URL's path ────────── admit ─ load ─ connect
//!                                       └─ multiplexed: each channel's path ─ admit ─ load ─ connect
//! ```
//!
//! The subprotocol `tinybase` makes a socket multiplexed. Its paths are the URL's with a channel's behind it, and each is
//! admitted when it is subscribed by the same rule as the URL's own path is at the upgrade: [`Paths::allow`].

mod admission;
mod multiplexed;
mod paths;
mod single;
mod socket;
#[cfg(test)]
mod tests;

pub use admission::{Admission, NotAdmitted, Session};
pub use socket::SocketLimits;

use std::sync::Arc;

use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri, header};
use mergeable_store::ConnectionId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::multiplexed::Multiplexed;
use self::paths::{NotOpened, Paths};
use self::single::Single;
use self::socket::{Holds, Socket};
use super::path::CloseReason;
use super::peer::PeerPaths;
use super::policy::Writer;
use super::registry::PathRegistry;
use crate::clock::{SharedClock, SharedEntropy};
use crate::identity::{MULTIPLEXED, sync_token_from_subprotocols};
use crate::migration::PathId;
use crate::proxy::problem::Problem;

/// The longest frame that is read, in bytes. TinyBase's limit is 16 MiB, answered with its own close
/// code; what is longer than this is cut off by the transport.
const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024 + 64 * 1024;
/// Read at once from a socket, and kept for it: small, since one process has thousands of idle ones. Longer frames get
/// the room they need.
const READ_BUFFER_BYTES: usize = 192;
/// Frames that wait are put together up to this, in bytes, before they are written.
const WRITE_BUFFER_BYTES: usize = 8 * 1024;
/// Bytes that a connection may have given to its path and not know to be worked on, beside the frame under way. At the bound
/// it is not read until they are; counted.
const MAX_UNPROCESSED_BYTES: usize = 1024 * 1024;

/// What a server is made of.
#[derive(Debug, Clone)]
pub struct SyncServerSettings {
    /// The paths of resources.
    pub registry: PathRegistry,
    /// Who may connect.
    pub admission: Arc<dyn Admission>,
    /// Wall time.
    pub clock: SharedClock,
    /// Randomness.
    pub entropy: SharedEntropy,
    /// Whether paths that no resource maps are relayed, to whoever asks; otherwise they are refused.
    pub relay_unmapped: bool,
    /// The bounds of sockets.
    pub limits: SocketLimits,
}

/// Serves WebSocket connections.
#[derive(Debug, Clone)]
pub struct SyncServer {
    paths: Paths,
    clock: SharedClock,
    limits: Arc<SocketLimits>,
    places: Arc<Semaphore>,
}

impl SyncServer {
    /// A server for the registry's paths.
    #[must_use]
    pub fn new(settings: SyncServerSettings) -> Self {
        let SyncServerSettings { registry, admission, clock, entropy, relay_unmapped, limits } =
            settings;
        let peers = relay_unmapped.then(|| {
            let pace = registry.context().pace.clone();
            PeerPaths::new(clock.clone(), entropy, pace)
        });
        let places = limits.max_connections.min(Semaphore::MAX_PERMITS);
        Self {
            paths: Paths { registry, peers, admission },
            clock,
            limits: Arc::new(limits),
            places: Arc::new(Semaphore::new(places)),
        }
    }

    /// Sockets that are open, one that is being opened included.
    #[must_use]
    pub fn open_sockets(&self) -> usize {
        self.limits.max_connections.saturating_sub(self.places.available_permits())
    }

    /// Closes all connections.
    pub async fn close_all(&self, reason: CloseReason) {
        if let Some(peers) = &self.paths.peers {
            peers.close_all(&reason).await;
        }
        self.paths.registry.close_all(reason).await;
    }

    /// Answers an upgrade request for `path`, raw as in the URL.
    pub async fn upgrade(
        &self,
        path: &str,
        headers: &HeaderMap,
        uri: &Uri,
        upgrade: WebSocketUpgrade,
    ) -> Response {
        let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok())
        else {
            return refuse(StatusCode::BAD_REQUEST, "sync-key", "Sec-WebSocket-Key is missing");
        };
        let client = ConnectionId::from(key);
        let protocol = match sync_token_from_subprotocols(headers) {
            Ok(offer) => offer.select,
            Err(e) => return refuse(StatusCode::UNAUTHORIZED, "sync-token", &e.to_string()),
        };
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            let text = "as many sockets are open as may be; try again later";
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "sync-full", text);
        };
        let session = self.paths.admission.authenticate(headers, uri);
        let upgrade = upgrade
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_message_size(MAX_FRAME_BYTES)
            .max_frame_size(MAX_FRAME_BYTES)
            .protocols(protocol);
        if protocol == Some(MULTIPLEXED) {
            self.multiplexed(path, session, client, upgrade, place)
        } else {
            Box::pin(self.single(path, session, client, upgrade, place)).await
        }
    }

    async fn single(
        &self,
        path: &str,
        session: Result<Session, NotAdmitted>,
        client: ConnectionId,
        upgrade: WebSocketUpgrade,
        place: OwnedSemaphorePermit,
    ) -> Response {
        let loaded = match self.paths.allow(path, &session) {
            Ok(allowed) => self.paths.load(allowed).await,
            Err(error) => Err(error),
        };
        let path = match loaded {
            Ok(path) => path,
            Err(error) => return refuse_path(&error),
        };
        let (writer, holds) = match session {
            Ok(session) => (session.writer.clone(), Holds::of(&session, self.clock.now_ms())),
            Err(_) => (Arc::new(Writer::nobody()), Holds::default()),
        };
        let (limits, admission) = (self.limits.clone(), self.paths.admission.clone());
        upgrade.on_upgrade(move |ws| {
            let socket = Socket::new(ws, limits, holds);
            let who = (writer, admission);
            let connecting = Box::pin(Single::connect(socket, client, path, who, place));
            async move {
                if let Some(single) = connecting.await {
                    // A task of its own: that of the upgrade would keep the room that it took for as long as the socket lives.
                    tokio::spawn(single.run());
                }
            }
        })
    }

    /// A multiplexed socket is opened to whoever is known; what it may read is decided channel by channel.
    fn multiplexed(
        &self,
        base: &str,
        session: Result<Session, NotAdmitted>,
        client: ConnectionId,
        upgrade: WebSocketUpgrade,
        place: OwnedSemaphorePermit,
    ) -> Response {
        // Relayed paths are open to anybody, and under any spelling.
        if self.paths.peers.is_none() {
            if let Err(error) = &session {
                return refuse_path(&error.clone().into());
            }
            if let Err(error) = PathId::new(base)
                && !base.is_empty()
            {
                return refuse_path(&error.into());
            }
        }
        let now_ms = self.clock.now_ms();
        let holds = session.as_ref().map_or_else(|_| Holds::default(), |s| Holds::of(s, now_ms));
        let (paths, clock, limits) = (self.paths.clone(), self.clock.clone(), self.limits.clone());
        let server = Box::new(Multiplexed::new(paths, clock, client, base, session));
        upgrade.on_upgrade(move |ws: WebSocket| async move {
            Box::pin(server.run(Socket::new(ws, limits, holds))).await;
            drop(place);
        })
    }
}

fn note_refusal(error: &NotOpened) {
    let reason = error.kind();
    metrics::counter!("crossfade_sync_not_admitted_total", "reason" => reason).increment(1);
}

fn refuse_path(error: &NotOpened) -> Response {
    let status = match error {
        NotOpened::Spelling(_) => StatusCode::BAD_REQUEST,
        NotOpened::NotAdmitted(NotAdmitted::Unauthenticated(_) | NotAdmitted::Revoked) => {
            StatusCode::UNAUTHORIZED
        }
        NotOpened::NotAdmitted(NotAdmitted::WrongPath) => StatusCode::FORBIDDEN,
        NotOpened::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    refuse(status, error.kind(), &error.to_string())
}

fn refuse(status: StatusCode, kind: &'static str, detail: &str) -> Response {
    metrics::counter!("crossfade_sync_not_admitted_total", "reason" => kind).increment(1);
    Problem::new(status, kind, "The sync connection was not opened").detail(detail).into_response()
}

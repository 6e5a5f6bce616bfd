//! A socket with its bounds: how long it may be silent, how long a send may take, how long its token holds.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use futures_util::SinkExt as _;
use tokio::time::{Instant, Sleep};
use tokio_tungstenite::tungstenite;

use super::admission::Session;
use crate::identity::FollowedToken;
use crate::sync::path::CloseReason;

/// How long the peer's part of a closing handshake is waited for.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// What a server bounds of its sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketLimits {
    /// Sockets open at once; one more is refused, counted.
    pub max_connections: usize,
    /// A socket that was silent for so long is pinged.
    pub ping: Duration,
    /// A socket that was silent for so long is taken for dead: dropped, counted.
    pub silence: Duration,
    /// A socket that does not take what is sent within this is closed, counted.
    pub send_timeout: Duration,
}

impl Default for SocketLimits {
    /// 16,384 sockets; pinged after 20 s, dead after 60 s; 30 s for a send.
    fn default() -> Self {
        Self {
            max_connections: 16_384,
            ping: Duration::from_secs(20),
            silence: Duration::from_secs(60),
            send_timeout: Duration::from_secs(30),
        }
    }
}

/// For how long a socket may be used.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// Until its token runs out.
    pub(super) expires_in: Option<Duration>,
    /// And no longer than this one is not revoked.
    pub(super) token: Option<FollowedToken>,
}

impl Holds {
    /// As long as a session's token holds, from `now_ms` (epoch milliseconds) on.
    pub(super) fn of(session: &Session, now_ms: u64) -> Self {
        let left = |at: u64| Duration::from_millis(at.saturating_sub(now_ms));
        Self { expires_in: session.expires_ms.map(left), token: session.token.clone() }
    }
}

/// What comes from a socket.
pub(super) enum Incoming {
    /// A frame. Binary ones are read as text, as TinyBase's own server does.
    Frame(Utf8Bytes),
    /// The token has run out.
    Expired,
    /// The token was revoked.
    Revoked,
    /// It has ended; close it like this if something was wrong with it.
    Ended(Option<CloseReason>),
}

/// Ends when a token is revoked.
type Revoked = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The socket does not take what is sent, or is gone.
#[derive(Debug)]
pub(super) struct SendFailed;

/// A socket.
pub(super) struct Socket {
    ws: WebSocket,
    limits: Arc<SocketLimits>,
    /// When anything came last.
    heard: Instant,
    /// When the token runs out.
    expires: Option<Instant>,
    /// Ends when the token is revoked; boxed, and none where it cannot be.
    revoked: Option<Revoked>,
    /// The next look at all of these; boxed with what else is rarely touched.
    timer: Pin<Box<Sleep>>,
}

impl Socket {
    pub(super) fn new(ws: WebSocket, limits: Arc<SocketLimits>, holds: Holds) -> Self {
        let heard = Instant::now();
        let expires = holds.expires_in.and_then(|wait| heard.checked_add(wait));
        let revoked = holds.token.map(|token| -> Revoked { Box::pin(token.revoked()) });
        let timer = Box::pin(tokio::time::sleep(Duration::ZERO));
        let mut socket = Self { ws, limits, heard, expires, revoked, timer };
        socket.arm();
        socket
    }

    /// The next thing that comes. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Incoming {
        loop {
            tokio::select! {
                () = &mut self.timer => {
                    if let Some(over) = Box::pin(self.look()).await {
                        return over;
                    }
                }
                () = ended(&mut self.revoked) => {
                    self.revoked = None;
                    metrics::counter!("crossfade_sync_revoked_total").increment(1);
                    return Incoming::Revoked;
                }
                received = self.ws.recv() => {
                    self.heard = Instant::now();
                    match received {
                        Some(Ok(Message::Text(text))) => return Incoming::Frame(text),
                        Some(Ok(Message::Binary(bytes))) => {
                            return Incoming::Frame(String::from_utf8_lossy(&bytes).as_ref().into());
                        }
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                        Some(Ok(Message::Close(_))) | None => return Incoming::Ended(None),
                        Some(Err(error)) => return Incoming::Ended(reason_of(error)),
                    }
                }
            }
        }
    }

    /// Queues a frame; it leaves with the next flush at the latest.
    pub(super) async fn feed(&mut self, frame: Utf8Bytes) -> Result<(), SendFailed> {
        let limit = self.limits.send_timeout;
        in_time(limit, self.ws.feed(Message::Text(frame))).await
    }

    /// Sends frames in as few writes as the buffer allows.
    pub(super) async fn send(&mut self, frames: Vec<Utf8Bytes>) -> Result<(), SendFailed> {
        let ws = &mut self.ws;
        let sending = async {
            for frame in frames {
                ws.feed(Message::Text(frame)).await?;
            }
            ws.flush().await
        };
        in_time(self.limits.send_timeout, sending).await
    }

    /// Sends what is queued.
    pub(super) async fn flush(&mut self) -> Result<(), SendFailed> {
        in_time(self.limits.send_timeout, self.ws.flush()).await
    }

    /// Closes with a reason.
    pub(super) async fn close(mut self, reason: CloseReason) {
        let frame = CloseFrame { code: reason.code, reason: reason.reason.into() };
        let goodbye = async {
            if self.ws.send(Message::Close(Some(frame))).await.is_ok() {
                // The peer's own close frame ends the handshake; one that never comes must not hold the task.
                while let Some(Ok(_)) = self.ws.recv().await {}
            }
        };
        let _ = tokio::time::timeout(CLOSE_GRACE, goodbye).await;
    }

    /// The timer has run out: what is over, if anything is.
    async fn look(&mut self) -> Option<Incoming> {
        let now = Instant::now();
        if self.expires.is_some_and(|at| at <= now) {
            self.expires = None;
            self.arm();
            return Some(Incoming::Expired);
        }
        let silent = now - self.heard;
        if silent >= self.limits.silence {
            metrics::counter!("crossfade_sync_half_open_total").increment(1);
            return Some(Incoming::Ended(None));
        }
        if silent >= self.limits.ping {
            let ping = self.ws.send(Message::Ping(bytes::Bytes::new()));
            if in_time(self.limits.send_timeout, ping).await.is_err() {
                return Some(Incoming::Ended(None));
            }
        }
        self.arm();
        None
    }

    fn arm(&mut self) {
        let next = (Instant::now() + self.limits.ping).min(self.heard + self.limits.silence);
        let next = self.expires.map_or(next, |at| at.min(next));
        self.timer.as_mut().reset(next);
    }
}

/// Returns once it has ended, if it ever does.
async fn ended(revoked: &mut Option<Revoked>) {
    match revoked {
        Some(revoked) => revoked.await,
        None => std::future::pending().await,
    }
}

async fn in_time(
    limit: Duration,
    sending: impl Future<Output = Result<(), axum::Error>>,
) -> Result<(), SendFailed> {
    match tokio::time::timeout(limit, sending).await {
        Ok(sent) => sent.map_err(|_| SendFailed),
        Err(_) => {
            metrics::counter!("crossfade_sync_send_timeouts_total").increment(1);
            Err(SendFailed)
        }
    }
}

/// How to close a socket after what could not be read.
fn reason_of(error: axum::Error) -> Option<CloseReason> {
    match error.into_inner().downcast_ref::<tungstenite::Error>() {
        Some(tungstenite::Error::Capacity(_)) => {
            metrics::counter!("crossfade_sync_bad_frames_total").increment(1);
            Some(mergeable_store::Close::TOO_LARGE.into())
        }
        // RFC 6455 §8.1.
        Some(tungstenite::Error::Utf8(_)) => Some(CloseReason::new(1007, "")),
        _ => None,
    }
}

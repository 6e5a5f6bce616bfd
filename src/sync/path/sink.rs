//! The way out to one connection, with its bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::ws::Utf8Bytes;
use tokio::sync::{mpsc, watch};

/// Frames that may wait for one connection.
const MAX_FRAMES: usize = 4096;
/// Bytes that may wait for one connection: TinyBase's own limit (10.0.1, 16 MiB).
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Why a connection is closed, as the peer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseReason {
    /// WebSocket close code.
    pub code: u16,
    /// Text of at most 123 bytes.
    pub reason: String,
}

impl From<mergeable_store::Close> for CloseReason {
    fn from(close: mergeable_store::Close) -> Self {
        Self::new(close.code, close.reason)
    }
}

impl From<CloseReason> for mergeable_store::Close {
    fn from(close: CloseReason) -> Self {
        Self { code: close.code, reason: close.reason.into() }
    }
}

impl CloseReason {
    /// A close code with its text.
    pub fn new(code: u16, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }

    /// The peer reads too slowly (TinyBase's own code and text).
    #[must_use]
    pub fn too_slow() -> Self {
        Self::new(1013, "tinybase:15:socket")
    }

    /// All that the client had is safe, and sync is switched off for it.
    #[must_use]
    pub fn drained() -> Self {
        Self::new(4001, "crossfade:drained")
    }

    /// Sync is switched off, and the client did not come to rest in time: what it still has is safe
    /// with it, and comes with its next visit.
    #[must_use]
    pub fn not_drained() -> Self {
        Self::new(4003, "crossfade:not-drained")
    }

    /// The sync token ran out; renew it and come back.
    #[must_use]
    pub fn token_expired() -> Self {
        Self::new(4002, "crossfade:token-expired")
    }

    /// The client's clock is more than a minute ahead; correct it (the sync token's answer has the
    /// server's time) and come back.
    #[must_use]
    pub fn clock_skew() -> Self {
        Self::new(4004, "crossfade:clock-skew")
    }

    /// The store could not be kept; come back, it is loaded again.
    #[must_use]
    pub fn not_kept() -> Self {
        Self::new(1011, "crossfade:not-kept")
    }

    /// The server goes away.
    #[must_use]
    pub fn going_away() -> Self {
        Self::new(1001, "crossfade:shutdown")
    }
}

/// The sending half, held by the path's task.
#[derive(Debug, Clone)]
pub(in crate::sync) struct ClientSink {
    frames: mpsc::Sender<Utf8Bytes>,
    waiting_bytes: Arc<AtomicUsize>,
    close: watch::Sender<Option<CloseReason>>,
}

/// The receiving half, held by the connection.
#[derive(Debug)]
pub(in crate::sync) struct ClientSource {
    frames: mpsc::Receiver<Utf8Bytes>,
    waiting_bytes: Arc<AtomicUsize>,
    close: watch::Receiver<Option<CloseReason>>,
}

/// What the connection has to do next.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::sync) enum Outbound {
    /// Send this frame.
    Frame(Utf8Bytes),
    /// Close.
    Close(CloseReason),
}

/// A way out for one connection.
#[must_use]
pub(in crate::sync) fn client_channel() -> (ClientSink, ClientSource) {
    client_channel_sharing(Arc::default())
}

/// A way out that counts its waiting bytes together with others: those of one socket's channels.
#[must_use]
pub(in crate::sync) fn client_channel_sharing(
    waiting_bytes: Arc<AtomicUsize>,
) -> (ClientSink, ClientSource) {
    let (frames, frames_out) = mpsc::channel(MAX_FRAMES);
    let (close, close_out) = watch::channel(None);
    let sink = ClientSink { frames, waiting_bytes: waiting_bytes.clone(), close };
    (sink, ClientSource { frames: frames_out, waiting_bytes, close: close_out })
}

impl ClientSink {
    /// Queues a frame. At the bound the connection is closed as too slow, and counted: its client
    /// comes back and catches up from the hashes.
    pub(in crate::sync) fn send(&self, frame: Utf8Bytes) {
        let bytes = frame.len();
        let waiting = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if waiting > MAX_BYTES || self.frames.try_send(frame).is_err() {
            metrics::counter!("crossfade_sync_slow_clients_total").increment(1);
            self.close(CloseReason::too_slow());
        }
    }

    /// Closes the connection after what is queued; the first reason given is the one told.
    pub(in crate::sync) fn close(&self, reason: CloseReason) {
        self.close.send_if_modified(|told| {
            let first = told.is_none();
            if first {
                *told = Some(reason);
            }
            first
        });
    }
}

impl ClientSource {
    /// The next thing to do; `None` when the path's task is gone.
    pub(in crate::sync) async fn next(&mut self) -> Option<Outbound> {
        let frame = tokio::select! {
            biased;
            frame = self.frames.recv() => frame,
            Ok(reason) = self.close.wait_for(Option::is_some) => {
                return reason.clone().map(Outbound::Close);
            }
        };
        // Without a frame the path has let go of the connection; it may have said why.
        let Some(frame) = frame else {
            return self.close.borrow().clone().map(Outbound::Close);
        };
        self.waiting_bytes.fetch_sub(frame.len(), Ordering::Relaxed);
        if self.overflowed() {
            return self.close.borrow().clone().map(Outbound::Close);
        }
        Some(Outbound::Frame(frame))
    }

    /// After an overflow the queue has a hole: nothing behind it may be sent.
    fn overflowed(&self) -> bool {
        self.close.borrow().as_ref() == Some(&CloseReason::too_slow())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_queued_goes_before_the_close() {
        let (sink, mut source) = client_channel();
        sink.send("a".into());
        sink.close(CloseReason::drained());
        sink.close(CloseReason::going_away());
        assert_eq!(source.next().await, Some(Outbound::Frame("a".into())));
        assert_eq!(source.next().await, Some(Outbound::Close(CloseReason::drained())));
    }

    #[tokio::test]
    async fn a_slow_reader_is_closed_at_the_bound_and_gets_nothing_with_a_hole() {
        let (sink, mut source) = client_channel();
        for _ in 0..=MAX_FRAMES {
            sink.send("a".into());
        }
        assert_eq!(source.next().await, Some(Outbound::Close(CloseReason::too_slow())));
    }

    #[tokio::test]
    async fn the_reason_is_told_after_the_path_has_let_go() {
        let (sink, mut source) = client_channel();
        sink.close(CloseReason::drained());
        drop(sink);
        assert_eq!(source.next().await, Some(Outbound::Close(CloseReason::drained())));
        let (sink, mut source) = client_channel();
        drop(sink);
        assert_eq!(source.next().await, None);
    }

    #[tokio::test]
    async fn bytes_count_too() {
        let (sink, mut source) = client_channel();
        let half = "x".repeat(MAX_BYTES / 2 + 1);
        sink.send(half.as_str().into());
        sink.send(half.as_str().into());
        assert_eq!(source.next().await, Some(Outbound::Close(CloseReason::too_slow())));
    }
}

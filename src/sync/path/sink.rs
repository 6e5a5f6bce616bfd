//! The way out to one connection, with its bounds.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::ws::Utf8Bytes;
use tokio::sync::Notify;

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

    /// The path has a new generation. What the client has of the one that it named must not come back: get a
    /// sync token, whose answer has the path's name by now, and begin with an empty store under that.
    #[must_use]
    pub fn rebuilt() -> Self {
        Self::new(4005, "crossfade:rebuilt")
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

/// What the path and the connection share. One allocation for each connection: an idle one holds no
/// buffer for frames.
#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    wake: Notify,
    /// Bytes that wait on all channels of the socket, if it has several.
    socket_bytes: Option<Arc<AtomicUsize>>,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<Utf8Bytes>,
    bytes: usize,
    /// The first reason given.
    close: Option<CloseReason>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Every change is one step, so a poisoned lock hides nothing half done.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a frame that waits; all that waits for the socket now.
    fn count(&self, own: &mut usize, bytes: usize) -> usize {
        *own += bytes;
        let socket = self.socket_bytes.as_ref();
        socket.map_or(*own, |all| all.fetch_add(bytes, Ordering::Relaxed) + bytes)
    }

    fn discount(&self, own: &mut usize, bytes: usize) {
        *own -= bytes;
        if let Some(all) = &self.socket_bytes {
            all.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.lock().bytes);
        let left = bytes;
        self.discount(&mut bytes, left);
    }
}

/// The sending half, held by the path's task.
#[derive(Debug, Clone)]
pub(in crate::sync) struct ClientSink(Arc<Shared>);

/// The receiving half, held by the connection.
#[derive(Debug)]
pub(in crate::sync) struct ClientSource(Arc<Shared>);

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
    made_of(None)
}

/// A way out that counts its waiting bytes together with others: those of one socket's channels.
#[must_use]
#[allow(dead_code, reason = "for multiplexed sockets")]
pub(in crate::sync) fn client_channel_sharing(
    waiting_bytes: Arc<AtomicUsize>,
) -> (ClientSink, ClientSource) {
    made_of(Some(waiting_bytes))
}

fn made_of(socket_bytes: Option<Arc<AtomicUsize>>) -> (ClientSink, ClientSource) {
    let (waiting, wake) = (Mutex::default(), Notify::new());
    let shared = Arc::new(Shared { waiting, wake, socket_bytes });
    (ClientSink(shared.clone()), ClientSource(shared))
}

impl ClientSink {
    /// Queues a frame. At the bound the connection is closed as too slow, and counted: its client
    /// comes back and catches up from the hashes.
    pub(in crate::sync) fn send(&self, frame: Utf8Bytes) {
        let mut waiting = self.0.lock();
        if waiting.close.is_some() {
            return;
        }
        let all = self.0.count(&mut waiting.bytes, frame.len());
        if all > MAX_BYTES || waiting.frames.len() >= MAX_FRAMES {
            metrics::counter!("crossfade_sync_slow_clients_total").increment(1);
            let bytes = waiting.bytes;
            self.0.discount(&mut waiting.bytes, bytes);
            // A queue with a hole is worth nothing.
            waiting.frames = VecDeque::new();
            waiting.close = Some(CloseReason::too_slow());
        } else {
            waiting.frames.push_back(frame);
        }
        drop(waiting);
        self.0.wake.notify_one();
    }

    /// Bytes that wait for the connection to take them.
    pub(in crate::sync) fn waiting_bytes(&self) -> usize {
        self.0.lock().bytes
    }

    /// Closes the connection after what is queued; the first reason given is the one told.
    pub(in crate::sync) fn close(&self, reason: CloseReason) {
        self.0.lock().close.get_or_insert(reason);
        self.0.wake.notify_one();
    }
}

impl ClientSource {
    /// The next thing to do; a path that lets go of a connection says why. What is queued is there at
    /// once: whoever takes all of it before flushing the socket sends a batch in one write.
    pub(in crate::sync) async fn next(&mut self) -> Option<Outbound> {
        loop {
            let next = self.take();
            if next.is_some() {
                return next;
            }
            self.0.wake.notified().await;
        }
    }

    fn take(&self) -> Option<Outbound> {
        let mut waiting = self.0.lock();
        let Some(frame) = waiting.frames.pop_front() else {
            return waiting.close.clone().map(Outbound::Close);
        };
        self.0.discount(&mut waiting.bytes, frame.len());
        if waiting.frames.is_empty() {
            // An idle connection keeps no buffer.
            waiting.frames = VecDeque::new();
        }
        Some(Outbound::Frame(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str) -> Option<Outbound> {
        Some(Outbound::Frame(text.into()))
    }

    fn close(reason: CloseReason) -> Option<Outbound> {
        Some(Outbound::Close(reason))
    }

    #[tokio::test]
    async fn what_is_queued_goes_before_the_close() {
        let (sink, mut source) = client_channel();
        sink.send("a".into());
        sink.send("b".into());
        sink.close(CloseReason::drained());
        sink.close(CloseReason::going_away());
        sink.send("behind the close".into());
        assert_eq!(source.next().await, frame("a"));
        assert_eq!(source.next().await, frame("b"));
        assert_eq!(source.next().await, close(CloseReason::drained()));
    }

    #[tokio::test]
    async fn a_slow_reader_is_closed_at_the_bound_and_gets_nothing_with_a_hole() {
        let (sink, mut source) = client_channel();
        for _ in 0..=MAX_FRAMES {
            sink.send("a".into());
        }
        assert_eq!(source.next().await, close(CloseReason::too_slow()));
        assert_eq!(sink.waiting_bytes(), 0, "what will not be sent is not kept");
    }

    #[tokio::test]
    async fn a_waiting_connection_is_woken_by_a_frame_and_by_a_close() {
        let (sink, mut source) = client_channel();
        let (first, ()) = tokio::join!(source.next(), async { sink.send("a".into()) });
        assert_eq!(first, frame("a"));
        let (last, ()) = tokio::join!(source.next(), async { sink.close(CloseReason::drained()) });
        assert_eq!(last, close(CloseReason::drained()));
    }

    #[tokio::test]
    async fn bytes_count_too_and_over_all_channels_of_a_socket() {
        let half = "x".repeat(MAX_BYTES / 2 + 1);
        let (sink, mut source) = client_channel();
        sink.send(half.as_str().into());
        sink.send(half.as_str().into());
        assert_eq!(source.next().await, close(CloseReason::too_slow()));

        let all = Arc::<AtomicUsize>::default();
        let (one, mut first) = client_channel_sharing(all.clone());
        let (other, mut second) = client_channel_sharing(all.clone());
        one.send(half.as_str().into());
        other.send(half.as_str().into());
        assert_eq!(second.next().await, close(CloseReason::too_slow()));
        assert_eq!(all.load(Ordering::Relaxed), half.len());
        assert_eq!(first.next().await, frame(&half));
        assert_eq!(all.load(Ordering::Relaxed), 0);
        one.send(half.as_str().into());
        drop((one, first));
        assert_eq!(all.load(Ordering::Relaxed), 0, "a channel that is left waits for nothing");
    }

    #[test]
    fn a_connection_costs_little_while_it_is_idle() {
        assert!(size_of::<Shared>() <= 192, "{}", size_of::<Shared>());
    }
}

//! The way out to one connection, with its bounds.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::ws::Utf8Bytes;
use tokio::sync::Notify;

/// Frames that may wait for one connection.
const MAX_FRAMES: usize = 4096;
/// Bytes that may wait for one connection: TinyBase's own limit (10.0.1, 16 MiB).
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Bytes that a connection takes at a time, unless one frame is longer.
pub(super) const TAKE_BYTES: usize = 256 * 1024;

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

    /// More of what the user wrote was refused than may be: refused edits leave stamps behind for
    /// ever. Writing is suspended; correct the client and come back later.
    #[must_use]
    pub fn too_many_refused() -> Self {
        Self::new(4006, "crossfade:too-many-refused")
    }

    /// The client wrote under an id of more than 1,024 bytes; none of that message was merged. Correct
    /// the client.
    #[must_use]
    pub fn id_too_long() -> Self {
        Self::new(4007, "crossfade:id-too-long")
    }

    /// The sync token was revoked. What the client has stays with it: get a new session token, with that a new sync
    /// token, and come back; if neither is to be had, the user has to sign in again.
    #[must_use]
    pub fn revoked() -> Self {
        Self::new(4008, "crossfade:revoked")
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
#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    wake: Notify,
    /// Bytes that wait for all channels of the socket, where it has several.
    together: Option<Arc<AtomicUsize>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        let waiting = self.waiting.get_mut().unwrap_or_else(PoisonError::into_inner).bytes;
        self.taken(waiting);
    }
}

#[derive(Debug, Default)]
struct Waiting {
    frames: Vec<Utf8Bytes>,
    bytes: usize,
    /// The first reason given.
    close: Option<CloseReason>,
}

impl Shared {
    /// Counts bytes that wait from now on; what waits now, with the socket's other channels.
    fn added(&self, waiting: &mut Waiting, bytes: usize) -> usize {
        waiting.bytes += bytes;
        match &self.together {
            Some(together) => together.fetch_add(bytes, Ordering::Relaxed) + bytes,
            None => waiting.bytes,
        }
    }

    fn taken(&self, bytes: usize) {
        if let Some(together) = &self.together {
            together.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Every change is one step, so a poisoned lock hides nothing half done.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which way out it is, among those that exist at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sync) struct SinkId(usize);

/// The sending half, held by the path's task. A path that lets go of it without a word is gone: the
/// connection is closed as one whose path was not kept.
#[derive(Debug)]
pub(in crate::sync) struct ClientSink {
    shared: Arc<Shared>,
    /// How many of the frames that wait in its path for all clients it has been given.
    pub(super) had: usize,
}

impl Drop for ClientSink {
    fn drop(&mut self) {
        self.close(CloseReason::not_kept());
    }
}

/// The receiving half, held by the connection.
#[derive(Debug)]
pub(in crate::sync) struct ClientSource(Arc<Shared>);

/// What the connection has to do next.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::sync) enum Outbound {
    /// Send these frames, in order, in as few writes as the socket takes; never none.
    Frames(Vec<Utf8Bytes>),
    /// Close.
    Close(CloseReason),
}

/// A way out for one connection.
#[must_use]
pub(in crate::sync) fn client_channel() -> (ClientSink, ClientSource) {
    client_channel_sharing(None)
}

/// A way out whose waiting bytes count together with those of others: of the channels of one socket.
#[must_use]
pub(in crate::sync) fn client_channel_sharing(
    together: Option<Arc<AtomicUsize>>,
) -> (ClientSink, ClientSource) {
    let shared = Arc::new(Shared { together, waiting: Mutex::default(), wake: Notify::new() });
    (ClientSink { shared: shared.clone(), had: 0 }, ClientSource(shared))
}

impl ClientSink {
    pub(in crate::sync) fn id(&self) -> SinkId {
        SinkId(Arc::as_ptr(&self.shared).addr())
    }

    /// Queues frames and has them sent. At the bound the connection is closed as too slow, and counted: its client comes back
    /// and catches up from the hashes.
    pub(in crate::sync) fn send(&self, frames: impl IntoIterator<Item = Utf8Bytes>) {
        let frames = frames.into_iter();
        let (least, most) = frames.size_hint();
        let mut waiting = self.shared.lock();
        waiting.frames.reserve(most.unwrap_or(least).min(MAX_FRAMES));
        for frame in frames {
            if waiting.close.is_some() {
                break;
            }
            let waiting_bytes = self.shared.added(&mut waiting, frame.len());
            if waiting_bytes > MAX_BYTES || waiting.frames.len() >= MAX_FRAMES {
                metrics::counter!("crossfade_sync_slow_clients_total").increment(1);
                // A queue with a hole is worth nothing.
                self.shared.taken(waiting.bytes);
                *waiting = Waiting { close: Some(CloseReason::too_slow()), ..Waiting::default() };
            } else {
                waiting.frames.push(frame);
            }
        }
        let idle = waiting.frames.is_empty() && waiting.close.is_none();
        drop(waiting);
        if !idle {
            self.shared.wake.notify_one();
        }
    }

    /// Bytes that wait for the connection to take them.
    pub(in crate::sync) fn waiting_bytes(&self) -> usize {
        self.shared.lock().bytes
    }

    /// Closes the connection after what is queued; the first reason given is the one told.
    pub(in crate::sync) fn close(&self, reason: CloseReason) {
        self.shared.lock().close.get_or_insert(reason);
        self.shared.wake.notify_one();
    }
}

impl ClientSource {
    /// The next thing to do. Frames are taken in lots of about [`TAKE_BYTES`], so that what one write
    /// can carry goes in one write.
    pub(in crate::sync) async fn next(&mut self) -> Outbound {
        loop {
            if let Some(outbound) = self.take() {
                return outbound;
            }
            self.0.wake.notified().await;
        }
    }

    fn take(&self) -> Option<Outbound> {
        let mut waiting = self.0.lock();
        if waiting.frames.is_empty() {
            return waiting.close.clone().map(Outbound::Close);
        }
        let mut bytes = 0;
        let fits = |frame: &&Utf8Bytes| {
            let fits = bytes == 0 || bytes + frame.len() <= TAKE_BYTES;
            bytes += frame.len();
            fits
        };
        let count = waiting.frames.iter().take_while(fits).count();
        let rest = waiting.frames.split_off(count);
        let frames = std::mem::replace(&mut waiting.frames, rest);
        let taken = frames.iter().map(|frame| frame.len()).sum::<usize>();
        waiting.bytes -= taken;
        self.0.taken(taken);
        Some(Outbound::Frames(frames))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(frames: &[&str]) -> Outbound {
        Outbound::Frames(frames.iter().map(|&frame| frame.into()).collect())
    }

    #[tokio::test]
    async fn what_is_queued_goes_before_the_close() {
        let (sink, mut source) = client_channel();
        sink.send(["a".into()]);
        sink.send(["b".into()]);
        sink.close(CloseReason::drained());
        sink.close(CloseReason::going_away());
        sink.send(["behind the close".into()]);
        assert_eq!(source.next().await, frames(&["a", "b"]));
        assert_eq!(source.next().await, Outbound::Close(CloseReason::drained()));
    }

    #[tokio::test]
    async fn a_slow_reader_is_closed_at_the_bound_and_gets_nothing_with_a_hole() {
        let (sink, mut source) = client_channel();
        for _ in 0..=MAX_FRAMES {
            sink.send(["a".into()]);
        }
        assert_eq!(source.next().await, Outbound::Close(CloseReason::too_slow()));
        assert_eq!(sink.waiting_bytes(), 0, "what will not be sent is not kept");
    }

    #[tokio::test]
    async fn a_waiting_connection_is_woken_by_a_frame_and_by_a_close() {
        let (sink, mut source) = client_channel();
        let (first, ()) = tokio::join!(source.next(), async { sink.send(["a".into()]) });
        assert_eq!(first, frames(&["a"]));
        let (last, ()) = tokio::join!(source.next(), async { sink.close(CloseReason::drained()) });
        assert_eq!(last, Outbound::Close(CloseReason::drained()));
    }

    #[tokio::test]
    async fn frames_are_taken_in_lots() {
        let (sink, mut source) = client_channel();
        let half = "x".repeat(TAKE_BYTES / 2);
        for _ in 0..3 {
            sink.send([half.as_str().into()]);
        }
        sink.send(["y".repeat(TAKE_BYTES + 1).into()]);
        assert_eq!(source.next().await, frames(&[&half, &half]));
        assert_eq!(source.next().await, frames(&[&half]));
        assert_eq!(source.next().await, frames(&[&"y".repeat(TAKE_BYTES + 1)]));
        assert_eq!(sink.waiting_bytes(), 0);
    }

    #[tokio::test]
    async fn bytes_count_too() {
        let (sink, mut source) = client_channel();
        let half = "x".repeat(MAX_BYTES / 2 + 1);
        sink.send([half.as_str().into()]);
        sink.send([half.as_str().into()]);
        assert_eq!(source.next().await, Outbound::Close(CloseReason::too_slow()));
    }

    #[tokio::test]
    async fn a_path_that_is_gone_closes_the_connection() {
        let (sink, mut source) = client_channel();
        drop(sink);
        assert_eq!(source.next().await, Outbound::Close(CloseReason::not_kept()));
        let (sink, mut source) = client_channel();
        sink.close(CloseReason::drained());
        drop(sink);
        assert_eq!(source.next().await, Outbound::Close(CloseReason::drained()));
    }

    #[tokio::test]
    async fn channels_of_one_socket_share_the_bound() {
        let together = Arc::new(AtomicUsize::new(0));
        let (a, mut of_a) = client_channel_sharing(Some(together.clone()));
        let (b, mut of_b) = client_channel_sharing(Some(together.clone()));
        let half = "x".repeat(MAX_BYTES / 2 + 1);
        a.send([half.as_str().into()]);
        b.send([half.as_str().into()]);
        assert_eq!(of_b.next().await, Outbound::Close(CloseReason::too_slow()));
        assert_eq!(of_a.next().await, frames(&[&half]));
        assert_eq!(together.load(Ordering::Relaxed), 0);
        a.send(["left behind".into()]);
        drop((a, of_a));
        assert_eq!(together.load(Ordering::Relaxed), 0, "what is dropped waits no more");
    }

    #[test]
    fn a_connection_costs_little_while_it_is_idle() {
        assert!(size_of::<Shared>() <= 192, "{}", size_of::<Shared>());
    }
}

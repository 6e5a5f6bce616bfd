//! The bodies that pass through: one frame at a time, asked for by whoever takes them, so memory
//! stays constant and a slow reader slows its writer.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

use super::tap::{Copying, Watch};

/// Why a body stopped before its end.
pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;

type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

/// A request's body on its way to the upstream.
pub(super) struct RequestBody {
    inner: Body,
    gate: Option<Gate>,
    progress: Option<Arc<Progress>>,
    copy: Option<Copying>,
}

impl RequestBody {
    pub(super) const fn new(
        inner: Body,
        gate: Option<Gate>,
        progress: Option<Arc<Progress>>,
        copy: Option<Copying>,
    ) -> Self {
        Self { inner, gate, progress, copy }
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        if let Some(gate) = &mut this.gate {
            match gate.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(false) => return Poll::Ready(Some(Err(Box::new(NotWanted)))),
                Poll::Ready(true) => this.gate = None,
            }
        }
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        if let Some(progress) = &this.progress {
            progress.note(polled.is_ready());
        }
        if let Some(copy) = &this.copy {
            match &polled {
                Poll::Ready(Some(Ok(frame))) => {
                    copy.frame(frame);
                    if this.inner.is_end_stream() {
                        copy.whole();
                    }
                }
                Poll::Ready(None) => copy.whole(),
                Poll::Ready(Some(Err(_))) | Poll::Pending => {}
            }
        }
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The upstream answered without wanting the body.
#[derive(Debug, thiserror::Error)]
#[error("the upstream answered without asking for the body")]
struct NotWanted;

/// Holds a body back until the upstream wants it (`Expect: 100-continue`).
///
/// The client's server side writes `100 Continue` when the body is first asked for, so holding the
/// body back holds the client's 100 back.
pub(super) struct Gate {
    /// Resolves when the body is wanted, fails when it never will be.
    wanted: oneshot::Receiver<()>,
    patience: Pin<Box<Sleep>>,
}

impl Gate {
    pub(super) fn new(patience: Duration) -> (oneshot::Sender<()>, Self) {
        let (open, wanted) = oneshot::channel();
        (open, Self { wanted, patience: Box::pin(tokio::time::sleep(patience)) })
    }

    /// Whether the body is wanted.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if let Poll::Ready(word) = Pin::new(&mut self.wanted).poll(cx) {
            return Poll::Ready(word.is_ok());
        }
        self.patience.as_mut().poll(cx).map(|()| true)
    }
}

/// Since when an exchange waits for the upstream, as opposed to the client.
pub(super) struct Progress {
    start: Instant,
    /// Nanoseconds after `start` since when the upstream has everything that is there, or
    /// [`Self::CLIENT`] while the client's upload is waited for.
    since: AtomicU64,
}

impl Progress {
    const CLIENT: u64 = u64::MAX;

    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { start: Instant::now(), since: AtomicU64::new(0) })
    }

    fn note(&self, upstream_has_all: bool) {
        let nanos = if upstream_has_all {
            u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(Self::CLIENT - 1)
        } else {
            Self::CLIENT
        };
        self.since.store(nanos, Ordering::Relaxed);
    }

    /// Resolves when the upstream was silent for `limit`.
    pub(super) async fn silent_for(&self, limit: Duration) {
        loop {
            let deadline = match self.since.load(Ordering::Relaxed) {
                Self::CLIENT => Instant::now() + limit,
                since => self.start + Duration::from_nanos(since) + limit,
            };
            if deadline <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(deadline).await;
        }
    }
}

/// A response's body on its way to the client, for the responses that need more than passing on.
pub(super) struct ResponseBody {
    inner: hyper::body::Incoming,
    watch: Option<Watch>,
    /// Dropped with the body: then a request body that is still held back is given up.
    _gate: Option<oneshot::Sender<()>>,
}

impl ResponseBody {
    pub(super) fn wrap(
        inner: hyper::body::Incoming,
        mut watch: Option<Watch>,
        gate: Option<oneshot::Sender<()>>,
    ) -> Body {
        if watch.is_none() && gate.is_none() {
            return Body::new(inner);
        }
        if let Some(watch) = &mut watch
            && http_body::Body::is_end_stream(&inner)
        {
            // Nobody asks an empty body for a frame.
            watch.complete();
        }
        Body::new(Self { inner, watch, _gate: gate })
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        if let Some(watch) = &mut this.watch {
            match &polled {
                Poll::Ready(Some(Ok(frame))) => {
                    watch.frame(frame);
                    // A server that knows the length never asks for the frame after the last.
                    if this.inner.is_end_stream() {
                        watch.complete();
                    }
                }
                Poll::Ready(None) => watch.complete(),
                Poll::Ready(Some(Err(error))) => watch.broken(error),
                Poll::Pending => {}
            }
        }
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The body of a response that has none by its nature (HEAD, 204, 304, 101).
///
/// Its length is unknown on purpose. Where it were known to be 0, servers would write
/// `Content-Length: 0` for a resource whose length they do not know.
pub(super) struct NoBody {
    /// Whether a server may see that nothing comes before it asks. An HTTP/1 server that sees it
    /// drops the `Content-Length` of a 304, which tells the length of the resource; an HTTP/2
    /// server that does not see it sends an empty frame, which contradicts that length.
    pub(super) seen_empty: bool,
}

impl http_body::Body for NoBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Polled {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.seen_empty
    }
}

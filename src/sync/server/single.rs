//! A socket of one path.
//!
//! What a socket does now and then has its state in a box of its own: that of an idle one is all that its task holds.

use std::sync::Arc;

use axum::extract::ws::Utf8Bytes;
use futures_util::FutureExt as _;
use mergeable_store::ConnectionId;
use tokio::sync::OwnedSemaphorePermit;

use super::admission::Admission;
use super::paths::Path;
use super::socket::{Incoming, SendFailed, Socket};
use super::{MAX_UNPROCESSED_BYTES, Writer};
use crate::sync::path::{ClientSource, CloseReason, Outbound, client_channel};

/// Lots of frames that are still sent to a client whose token has run out.
const LAST_LOTS: usize = 64;

/// A socket, its path, and what the path has for it: one box, which its task holds.
pub(super) struct Single {
    socket: Socket,
    client: ConnectionId,
    path: Path,
    source: ClientSource,
    /// Its place among the sockets that may be open.
    _place: OwnedSemaphorePermit,
}

impl Single {
    /// Connects a socket to its path; closes it if that fails.
    pub(super) async fn connect(
        socket: Socket,
        client: ConnectionId,
        mut path: Path,
        (writer, admission): (Arc<Writer>, Arc<dyn Admission>),
        place: OwnedSemaphorePermit,
    ) -> Option<Box<Self>> {
        let (sink, source) = client_channel();
        match path.connect(&client, &writer, sink, &*admission).await {
            Ok(()) => Some(Box::new(Self { socket, client, path, source, _place: place })),
            Err(_) => {
                socket.close(CloseReason::not_kept()).await;
                None
            }
        }
    }

    /// Moves frames between the socket and its path until either ends.
    pub(super) async fn run(mut self: Box<Self>) {
        let reason = self.carry().await;
        // Whoever reads slowly gets no more than the reason; the path must not wait for that.
        Box::pin(self.path.disconnect(&self.client)).await;
        if let Some(reason) = reason {
            Box::pin(self.socket.close(reason)).await;
        }
    }

    /// Until the end; with what the socket is to be closed, if it is still there.
    async fn carry(&mut self) -> Option<CloseReason> {
        let Self { socket, client, path, source, .. } = self;
        let mut unprocessed = 0;
        loop {
            let outbound = tokio::select! {
                incoming = socket.next() => match incoming {
                    Incoming::Frame(frame) => {
                        let taken = Box::pin(take(client, path, &frame, &mut unprocessed));
                        if taken.await.is_err() {
                            return Some(CloseReason::not_kept());
                        }
                        continue;
                    }
                    Incoming::Expired => {
                        return match Box::pin(send_queued(socket, source)).await {
                            Ok(None) => Some(CloseReason::token_expired()),
                            Ok(Some(reason)) => Some(reason),
                            Err(SendFailed) => None,
                        };
                    }
                    // Nothing more is sent: it is not for the client any more.
                    Incoming::Revoked => return Some(CloseReason::revoked()),
                    Incoming::Ended(reason) => return reason,
                },
                outbound = source.next() => outbound,
            };
            match outbound {
                Outbound::Frames(frames) => {
                    if Box::pin(socket.send(frames)).await.is_err() {
                        return None;
                    }
                }
                Outbound::Close(reason) => return Some(reason),
            }
        }
    }
}

/// Gives a frame to the path. A socket that has much under way there waits until it is worked on.
pub(super) async fn take(
    client: &ConnectionId,
    path: &Path,
    frame: &Utf8Bytes,
    unprocessed: &mut usize,
) -> Result<(), crate::sync::PathError> {
    path.frame(client, frame).await?;
    *unprocessed += frame.len();
    if *unprocessed > MAX_UNPROCESSED_BYTES {
        metrics::counter!("crossfade_sync_held_back_total").increment(1);
        Box::pin(path.worked_on()).await?;
        *unprocessed = 0;
    }
    Ok(())
}

/// Sends what is queued, up to a bound; gives the reason to close, if there is one.
async fn send_queued(
    socket: &mut Socket,
    source: &mut ClientSource,
) -> Result<Option<CloseReason>, SendFailed> {
    for _ in 0..LAST_LOTS {
        match source.next().now_or_never() {
            Some(Outbound::Frames(frames)) => socket.send(frames).await?,
            Some(Outbound::Close(reason)) => return Ok(Some(reason)),
            None => break,
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<F: Future>(_: impl FnOnce(Box<Single>) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_socket_is_small() {
        let (task, single) = (size(Single::run), size_of::<Single>());
        assert!(task + single <= 1100, "{task} and {single}");
    }
}

//! A socket of one path.
//!
//! What a socket does now and then has its state in a box of its own: that of an idle one is all that its task holds.

use axum::extract::ws::Utf8Bytes;
use futures_util::FutureExt as _;
use mergeable_store::ConnectionId;

use super::MAX_UNPROCESSED_BYTES;
use super::paths::Path;
use super::socket::{Incoming, SendFailed, Socket};
use crate::sync::path::{ClientSource, CloseReason, Outbound};

/// Lots of frames that are still sent to a client whose token has run out.
const LAST_LOTS: usize = 64;

/// Moves frames between a socket and its path, to which it is connected, until either ends.
pub(super) async fn run(
    mut socket: Box<Socket>,
    client: ConnectionId,
    path: Path,
    mut source: ClientSource,
) {
    if let Some(reason) = carry(&mut socket, &client, &path, &mut source).await {
        // Whoever reads slowly gets no more than the reason; the path must not wait for that.
        Box::pin(path.disconnect(&client)).await;
        return Box::pin(socket.close(reason)).await;
    }
    Box::pin(path.disconnect(&client)).await;
}

/// Until the end; with what the socket is to be closed, if it is still there.
async fn carry(
    socket: &mut Socket,
    client: &ConnectionId,
    path: &Path,
    source: &mut ClientSource,
) -> Option<CloseReason> {
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

    fn size<F: Future>(
        _: impl FnOnce(Box<Socket>, ConnectionId, Path, ClientSource) -> F,
    ) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_socket_is_small() {
        let (task, socket) = (size(run), size_of::<Socket>());
        assert!(task + socket <= 1200, "{task} and {socket}");
    }
}

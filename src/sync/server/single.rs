//! A socket of one path.

use axum::extract::ws::Utf8Bytes;
use futures_util::FutureExt as _;
use mergeable_store::ConnectionId;

use super::paths::Path;
use super::socket::{Incoming, SendFailed, Socket};
use super::{FLUSH_AFTER, MAX_UNPROCESSED_BYTES};
use crate::sync::path::{ClientSource, CloseReason, Outbound};

/// Moves frames between a socket and its path, to which it is connected, until either ends.
pub(super) async fn run(
    mut socket: Socket,
    client: ConnectionId,
    path: Path,
    mut source: ClientSource,
) {
    if let Some(reason) = carry(&mut socket, &client, &path, &mut source).await {
        // Whoever reads slowly gets no more than the reason; the path must not wait for that.
        path.disconnect(&client).await;
        return Box::pin(socket.close(reason)).await;
    }
    path.disconnect(&client).await;
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
                    if take(client, path, &frame, &mut unprocessed).await.is_err() {
                        return Some(CloseReason::not_kept());
                    }
                    continue;
                }
                Incoming::Expired => {
                    let queued = std::iter::from_fn(|| source.next().now_or_never().flatten());
                    return match send(socket, queued).await {
                        Ok(None) => Some(CloseReason::token_expired()),
                        Ok(Some(reason)) => Some(reason),
                        Err(SendFailed) => None,
                    };
                }
                Incoming::Ended(reason) => return reason,
            },
            outbound = source.next() => outbound,
        };
        let Some(outbound) = outbound else {
            return Some(CloseReason::not_kept());
        };
        let queued = std::iter::from_fn(|| source.next().now_or_never().flatten());
        match send(socket, std::iter::once(outbound).chain(queued)).await {
            Ok(None) => {}
            Ok(Some(reason)) => return Some(reason),
            Err(SendFailed) => return None,
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

/// Sends what is queued, some frames in one write; gives the reason to close, if that is among it.
async fn send(
    socket: &mut Socket,
    queued: impl Iterator<Item = Outbound>,
) -> Result<Option<CloseReason>, SendFailed> {
    let mut close = None;
    for outbound in queued.take(FLUSH_AFTER) {
        match outbound {
            Outbound::Frame(frame) => socket.feed(frame).await?,
            Outbound::Close(reason) => {
                close = Some(reason);
                break;
            }
        }
    }
    socket.flush().await?;
    Ok(close)
}

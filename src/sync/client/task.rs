//! The task behind a client: connects, carries frames, waits, connects again.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use mergeable_store::Close;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_util::sync::CancellationToken;

use super::settings::ClientSettings;
use super::socket::{self, Socket};
use super::state::{Send, Shared, Wanted};
use super::{Lost, Status};

/// How long a closing handshake may take before the socket is dropped.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
/// How the client closes a connection that its owner no longer wants.
const LEAVING: Close = Close { code: 1000, reason: Cow::Borrowed("") };

/// How a connection ended.
enum Ended {
    /// The owner wants to be offline, or the client is dropped.
    ByOwner,
    Lost(Lost),
}

/// Runs until the last store has left.
pub(super) async fn run(shared: Arc<Shared>, settings: ClientSettings) {
    let stop = shared.stop.clone();
    let mut failures = 0_u32;
    while !stop.is_cancelled() {
        if shared.stay_offline() {
            failures = 0;
            wanted(&shared, Wanted::Online, &stop).await;
            continue;
        }
        let begun = Instant::now();
        let ended = connection(&shared, &settings, &stop).await;
        shared.disconnected();
        let Ended::Lost(lost) = ended else { continue };
        tracing::debug!(path = settings.url.path(), reason = %lost, "sync connection lost");
        failures = match lost {
            Lost::NotConnected(_) => failures.saturating_add(1),
            _ if begun.elapsed() >= settings.backoff.stable_after => 1,
            _ => failures.saturating_add(1),
        };
        shared.set_status(Status::Waiting(lost));
        let wait = settings.backoff.wait(failures, shared.unit());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = wanted(&shared, Wanted::Offline, &stop) => {}
        }
    }
    shared.set_status(Status::Stopped);
}

/// Returns once the owner wants this, or the client is stopped.
async fn wanted(shared: &Shared, wanted: Wanted, stop: &CancellationToken) {
    let mut now = shared.wanted.subscribe();
    tokio::select! {
        // The sender lives as long as `shared`.
        _ = now.wait_for(|now| *now == wanted) => {}
        () = stop.cancelled() => {}
    }
}

/// One connection, from its making to its end.
async fn connection(shared: &Shared, settings: &ClientSettings, stop: &CancellationToken) -> Ended {
    shared.set_status(Status::Connecting);
    let socket = tokio::select! {
        () = wanted(shared, Wanted::Offline, stop) => return Ended::ByOwner,
        opened = socket::open(settings, shared.is_multiplexed()) => match opened {
            Ok(socket) => socket,
            Err(error) => return Ended::Lost(Lost::NotConnected(error)),
        },
    };
    shared.connected();
    let (mut sink, mut stream) = socket.split();
    let (ended, close) = tokio::select! {
        () = wanted(shared, Wanted::Offline, stop) => (Ended::ByOwner, Some(LEAVING)),
        () = shared.cut.notified() => (Ended::Lost(Lost::Cut), None),
        (lost, close) = read(shared, &mut stream, settings.keep_alive * 2) => {
            (Ended::Lost(lost), close)
        }
        lost = write(shared, &mut sink, settings.keep_alive) => (Ended::Lost(lost), None),
        lost = tick(shared) => (Ended::Lost(lost), Some(LEAVING)),
    };
    if let Some(close) = close {
        let frame = CloseFrame { code: close.code.into(), reason: close.reason.as_ref().into() };
        // Without an answer in time the socket is dropped all the same.
        let goodbye = async {
            if sink.send(Message::Close(Some(frame))).await.is_ok() {
                while let Some(Ok(_)) = stream.next().await {}
            }
        };
        let _ = tokio::time::timeout(CLOSE_GRACE, goodbye).await;
    }
    ended
}

/// Reads frames until the connection ends.
async fn read(
    shared: &Shared,
    stream: &mut SplitStream<Socket>,
    silence: Duration,
) -> (Lost, Option<Close>) {
    loop {
        let Ok(received) = tokio::time::timeout(silence, stream.next()).await else {
            return (Lost::Silent, None);
        };
        let taken = match received {
            Some(Ok(Message::Text(text))) => shared.received(&text),
            Some(Ok(Message::Binary(bytes))) => shared.received(&String::from_utf8_lossy(&bytes)),
            Some(Ok(Message::Close(frame))) => {
                let (code, reason) =
                    frame.map_or((1005, String::new()), |f| (f.code.into(), f.reason.to_string()));
                return (Lost::Closed { code, reason }, None);
            }
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => return (Lost::Broken(error.to_string()), None),
            None => return (Lost::Broken("the server hung up".to_owned()), None),
        };
        if let Err(close) = taken {
            return (Lost::NotUnderstood, Some(close));
        }
    }
}

/// Sends what waits, and probes a connection that has nothing to send.
async fn write(shared: &Shared, sink: &mut SplitSink<Socket, Message>, probe: Duration) -> Lost {
    loop {
        let frames = match shared.take_frames() {
            Send::Frames(frames) => frames,
            Send::Overflowed => {
                metrics::counter!("crossfade_sync_client_overflows_total").increment(1);
                return Lost::TooSlow;
            }
        };
        let sent = async {
            for frame in frames {
                sink.feed(Message::text(frame)).await?;
            }
            sink.flush().await
        };
        if let Err(error) = sent.await {
            return Lost::Broken(error.to_string());
        }
        if tokio::time::timeout(probe, shared.outgoing.notified()).await.is_err()
            && let Err(error) = sink.send(Message::Ping(bytes::Bytes::new())).await
        {
            return Lost::Broken(error.to_string());
        }
    }
}

/// Runs the engine's deadlines until the connection is of no use.
async fn tick(shared: &Shared) -> Lost {
    loop {
        let Some(wait) = shared.idle() else {
            shared.rearm.notified().await;
            continue;
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {
                if !shared.tick() {
                    return Lost::NotMultiplexed;
                }
            }
            () = shared.rearm.notified() => {}
        }
    }
}

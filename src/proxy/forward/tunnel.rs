//! After `101 Switching Protocols`: bytes both ways, in whatever protocol the two agreed on.

use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tunnels that are open.
#[derive(Debug, Clone)]
pub(super) struct Tunnels {
    tasks: TaskTracker,
    closing: CancellationToken,
    room: Arc<Semaphore>,
}

/// A client's wish to change protocol, and the room for the tunnel that it may become.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) client: OnUpgrade,
    pub(super) room: OwnedSemaphorePermit,
}

impl Tunnels {
    pub(super) fn new(max: usize) -> Self {
        let room = Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)));
        Self { tasks: TaskTracker::new(), closing: CancellationToken::new(), room }
    }

    /// Room for one more; `None` at the bound.
    pub(super) fn room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).try_acquire_owned().ok()
    }

    /// Joins the two connections, once both are free of HTTP. An end of either side is passed to
    /// the other; an error on either closes both.
    pub(super) fn open(&self, Wish { client, room }: Wish, upstream: OnUpgrade) {
        let closing = self.closing.clone();
        self.tasks.spawn(async move {
            let open = metrics::gauge!("crossfade_proxy_tunnels");
            open.increment(1.0);
            tokio::select! {
                () = closing.cancelled() => {}
                result = join(client, upstream) => match result {
                    Ok((up, down)) => tracing::debug!(up, down, "tunnel ended"),
                    Err(error) => tracing::debug!(%error, "tunnel broke"),
                },
            }
            open.decrement(1.0);
            drop(room);
        });
    }

    /// Closes all tunnels, those opened later too, and waits until they are closed.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn join(
    client: OnUpgrade,
    upstream: OnUpgrade,
) -> Result<(u64, u64), Box<dyn std::error::Error + Send + Sync>> {
    let (client, upstream) = tokio::try_join!(client, upstream)?;
    let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
    Ok(tokio::io::copy_bidirectional(&mut client, &mut upstream).await?)
}

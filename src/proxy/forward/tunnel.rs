//! After `101 Switching Protocols`: bytes both ways, in whatever protocol the two agreed on.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tunnels that are open.
#[derive(Debug, Clone, Default)]
pub(super) struct Tunnels {
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl Tunnels {
    /// Joins the two connections, once both are free of HTTP. An end of either side is passed to
    /// the other; an error on either closes both.
    pub(super) fn open(&self, client: OnUpgrade, upstream: OnUpgrade) {
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

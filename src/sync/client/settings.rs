//! What a client is made of: where it connects, as whom, and how patiently.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use super::socket::{SharedTransport, TcpTransport};
use crate::clock::{SharedClock, SharedEntropy};
use crate::identity::Secret;
use crate::storage::BoxFuture;

/// Where the token of each connection comes from.
///
/// Asked before every connection, since a token lives some minutes and a client may be away for days.
pub trait TokenSource: Send + Sync {
    /// A token that is good now; `None` connects without one (`insecure-dev`).
    fn token(&self) -> BoxFuture<'_, Result<Option<Secret>, TokenError>>;
}

/// Why there is no token. Holds nothing of the request that asked for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no sync token: {0}")]
pub struct TokenError(pub String);

/// Connects without a token: to a server in mode `insecure-dev`.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoToken;

impl TokenSource for NoToken {
    fn token(&self) -> BoxFuture<'_, Result<Option<Secret>, TokenError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// A token source made of a function.
pub struct TokenFn<F>(pub F);

impl<F, R> TokenSource for TokenFn<F>
where
    F: Fn() -> R + Send + Sync,
    R: Future<Output = Result<Option<Secret>, TokenError>> + Send + 'static,
{
    fn token(&self) -> BoxFuture<'_, Result<Option<Secret>, TokenError>> {
        Box::pin((self.0)())
    }
}

/// How long to wait before the next connection: doubling from `initial` to `max`, half of it random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub initial: Duration,
    /// At most.
    pub max: Duration,
    /// How long a connection has to last until the next failure counts as the first again. A server
    /// that accepts and closes at once is thus not asked in a tight loop.
    pub stable_after: Duration,
}

impl Default for Backoff {
    /// 100 ms to 10 s, stable after 5 s.
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(10),
            stable_after: Duration::from_secs(5),
        }
    }
}

impl Backoff {
    /// The wait after `failures` failures in a row (at least 1), with `unit` from `[0, 1)` as the
    /// random part: between half of the doubled time and all of it.
    #[must_use]
    pub fn wait(&self, failures: u32, unit: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        let whole = self.initial.saturating_mul(1 << doublings).min(self.max);
        whole.mul_f64(0.5 + unit.clamp(0.0, 1.0) / 2.0)
    }
}

/// What a [`SyncClient`](super::SyncClient) is made of.
#[derive(Clone)]
pub struct ClientSettings {
    /// `ws://host:port/sync/<path>`, with a query where the server reads one.
    pub url: Uri,
    /// Where tokens come from.
    pub tokens: Arc<dyn TokenSource>,
    /// The store's unique id; no two clients of a path may share one.
    pub unique_id: String,
    /// Wall time, for stamps.
    pub clock: SharedClock,
    /// Randomness, for request ids, masks and waits.
    pub entropy: SharedEntropy,
    /// How connections are made.
    pub transport: SharedTransport,
    /// When to try again.
    pub backoff: Backoff,
    /// How long making a connection may take, token included.
    pub connect_timeout: Duration,
    /// How often a silent connection is probed; one that stays silent for twice as long is given up.
    pub keep_alive: Duration,
    /// How long after the last edit the server is asked whether it has everything.
    pub confirm_after: Duration,
    /// Changes that a reader of [`SyncClient::changes`](super::SyncClient::changes) may fall behind;
    /// what is older is lost to it, and it is told how many.
    pub changes_kept: usize,
}

impl ClientSettings {
    /// The usual bounds: TCP, 10 s to connect, probed every 20 s, confirmed 100 ms after an edit,
    /// 4,096 changes kept.
    #[must_use]
    pub fn new(
        url: Uri,
        unique_id: impl Into<String>,
        clock: SharedClock,
        entropy: SharedEntropy,
    ) -> Self {
        Self {
            url,
            tokens: Arc::new(NoToken),
            unique_id: unique_id.into(),
            clock,
            entropy,
            transport: Arc::new(TcpTransport),
            backoff: Backoff::default(),
            connect_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(20),
            confirm_after: Duration::from_millis(100),
            changes_kept: 4096,
        }
    }
}

impl fmt::Debug for ClientSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The query may hold a token, the token source does hold one.
        f.debug_struct("ClientSettings")
            .field("host", &self.url.authority().map(http::uri::Authority::host))
            .field("path", &self.url.path())
            .field("unique_id", &self.unique_id)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_half_of_each_is_random() {
        let backoff = Backoff {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(1),
            stable_after: Duration::ZERO,
        };
        let ms = |failures, unit| backoff.wait(failures, unit).as_millis();
        assert_eq!([ms(1, 0.0), ms(2, 0.0), ms(3, 0.0)], [50, 100, 200]);
        assert_eq!([ms(1, 1.0), ms(4, 1.0), ms(5, 1.0), ms(u32::MAX, 1.0)], [100, 800, 1000, 1000]);
    }

    #[test]
    fn a_query_does_not_show_itself() {
        let url = "ws://localhost:1/sync/a?token=sesame".parse().unwrap();
        let clock = Arc::new(crate::clock::SystemClock);
        let settings =
            ClientSettings::new(url, "one", clock, Arc::new(crate::clock::SystemEntropy));
        assert!(!format!("{settings:?}").contains("sesame"));
    }
}

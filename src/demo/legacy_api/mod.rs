//! The demo's legacy API: users of organisations, over REST, on libSQL.
//!
//! It stands where a team's own API would stand, and keeps the contract of `packages/legacy-api`:
//! routes, query surface, order, statuses and error bodies are the same. What it does not have:
//! `Idempotency-Key`, an OpenAPI document, and sign-in of its own: who a request comes from is
//! decided by functions that the caller hands in.
//!
//! ```text
//! request ─ faults ─ identity ─ validation ─ permission ─ table (one thread, libSQL) ─ answer
//! ```

mod answer;
mod faults;
mod identity;
mod query;
mod routes;
mod rows;
mod seed;
mod table;
#[cfg(test)]
mod tests;
mod user;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use faults::{FaultHandle, Faults};
pub use identity::{Caller, OnBehalfOfVerifier, ServiceCredential, SessionCheck};
pub use seed::Seed;
pub use table::{SampleStorage, TableError};
pub use user::{User, UserRole};

use crate::clock::{SharedClock, SharedEntropy};
use identity::Authenticator;
use routes::Api;
use table::UsersTable;

/// How long [`SampleApi::stop`] lets requests under way finish.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// What the API is made of.
#[derive(Clone)]
pub struct SampleConfig {
    /// Where the rows are kept.
    pub storage: SampleStorage,
    /// Rows to begin with; taken only while the table is empty.
    pub seed: Option<Seed>,
    /// Tells who a session belongs to.
    pub sessions: SessionCheck,
    /// The credential of crossfade's own requests; none is accepted without it.
    pub service: Option<ServiceCredential>,
    /// Makes the ids of users that are created without one.
    pub entropy: SharedEntropy,
}

impl std::fmt::Debug for SampleConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither the functions nor the credential have anything to show.
        f.debug_struct("SampleConfig")
            .field("storage", &self.storage)
            .field("seed", &self.seed)
            .field("service", &self.service.is_some())
            .finish_non_exhaustive()
    }
}

/// Why the API did not start, or did not stop cleanly.
#[derive(Debug, thiserror::Error)]
pub enum SampleApiError {
    /// No port on the loopback address.
    #[error("the sample legacy API cannot listen on 127.0.0.1: {0}; is the loopback interface up?")]
    Listen(#[source] std::io::Error),
    /// The database cannot be opened, made or seeded.
    #[error("the sample legacy API has no usable database: {0}")]
    Database(#[from] TableError),
    /// Requests were still under way when the grace period ended.
    #[error("the sample legacy API was still answering after {} s and was stopped", STOP_GRACE.as_secs())]
    StillBusy,
    /// The server task ended by itself.
    #[error("the sample legacy API ended by itself: {0}")]
    Ended(String),
}

/// A running sample API. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct SampleApi {
    /// Where it listens: a free port of 127.0.0.1.
    pub addr: SocketAddr,
    /// Makes it misbehave on purpose.
    pub faults: FaultHandle,
    server: JoinHandle<Result<(), std::io::Error>>,
    table: UsersTable,
    stop: DropGuard,
}

impl SampleApi {
    /// Opens the database, seeds it if it is empty, and serves on a free port of 127.0.0.1.
    ///
    /// `clock` gives `createdAt` and `updatedAt`.
    ///
    /// # Errors
    /// [`SampleApiError::Database`] or [`SampleApiError::Listen`]; nothing is left running.
    pub async fn start(config: SampleConfig, clock: SharedClock) -> Result<Self, SampleApiError> {
        let table = UsersTable::open(config.storage).await?;
        if let Some(seed) = config.seed {
            table.seed(seed.users_list()).await?;
        }
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(SampleApiError::Listen)?;
        let addr = listener.local_addr().map_err(SampleApiError::Listen)?;
        let faults = FaultHandle::default();
        let api = Api {
            table: table.clone(),
            authenticator: Authenticator::new(config.sessions, config.service),
            faults: faults.clone(),
            clock,
            entropy: config.entropy,
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let router = routes::router(Arc::new(api));
        let server = tokio::spawn(
            axum::serve(listener, router).with_graceful_shutdown(stopped).into_future(),
        );
        Ok(Self { addr, faults, server, table, stop: stop.drop_guard() })
    }

    /// The base URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Takes no more requests, lets those under way finish, and closes the database.
    ///
    /// # Errors
    /// [`SampleApiError::StillBusy`] if they do not finish in time, [`SampleApiError::Ended`] if
    /// the server had failed before.
    pub async fn stop(self) -> Result<(), SampleApiError> {
        let Self { mut server, table, stop, .. } = self;
        drop(stop);
        let result = match tokio::time::timeout(STOP_GRACE, &mut server).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(SampleApiError::Ended(error.to_string())),
            Ok(Err(error)) => Err(SampleApiError::Ended(error.to_string())),
            Err(_) => {
                server.abort();
                Err(SampleApiError::StillBusy)
            }
        };
        table.close().await;
        result
    }
}

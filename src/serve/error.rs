//! Why a crossfade could not be started or stopped cleanly.

use std::net::SocketAddr;

use crate::compare::RuleError;
use crate::config::ConfigError;
use crate::flags::{FileError, UnleashError};
use crate::identity::KeyError;
use crate::legacy::LegacyClientError;
use crate::proxy::forward::ForwardError;
use crate::record::RecordError;
use crate::resource::RouteClash;
use crate::storage::StorageError;

/// Why.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A listener could not be bound.
    #[error("{key} = {address}: {source}. Stop what listens there, or name another port.")]
    Bind {
        /// The key that names it.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The system does not tell where a listener listens.
    #[error("a listener has no address: {0}")]
    Address(std::io::Error),
    /// The configuration refers to something that cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database.
    #[error("[storage] url: {0}")]
    Storage(#[from] StorageError),
    /// The recordings.
    #[error("[storage] recordings: {0}")]
    Record(RecordError),
    /// The legacy path.
    #[error("[legacy]: {0}")]
    Forward(#[from] ForwardError),
    /// The legacy client.
    #[error(transparent)]
    Legacy(#[from] LegacyClientError),
    /// Keys.
    #[error("[identity]: {0}")]
    Key(#[from] KeyError),
    /// The flag file.
    #[error("[flags]: {0}")]
    FlagFile(#[from] FileError),
    /// The flag server.
    #[error("[flags.unleash]: {0}")]
    Unleash(#[from] UnleashError),
    /// A route is mapped twice.
    #[error("[resource.routes]: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Routes(Vec<RouteClash>),
    /// A comparison rule.
    #[error("[resource.compare] of `{resource}`: {source}")]
    Rules {
        /// The resource.
        resource: String,
        /// What is wrong.
        source: Box<RuleError>,
    },
    /// The process's own task ended by a fault.
    #[error("crossfade itself broke: {0}")]
    Broken(String),
    /// The system gives no more threads.
    #[error("threads for comparisons: {0}. Let the process have more of them (`ulimit -u`).")]
    Threads(std::io::Error),
    /// Metrics could not be set up.
    #[error("metrics: {0}")]
    Metrics(String),
}

impl ServeError {
    /// Whether something outside could not be reached or is in use, rather than misconfigured.
    #[must_use]
    pub const fn is_dependency(&self) -> bool {
        matches!(self, Self::Bind { .. } | Self::Storage(_) | Self::Record(_) | Self::Address(_))
    }
}

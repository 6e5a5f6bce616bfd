//! What can keep a demo from being played.

use super::legacy_api::SampleApiError;
use crate::config::ConfigError;
use crate::identity::KeyError;
use crate::record::RecordError;
use crate::report::{InvalidRunId, WriteError};
use crate::serve::ServeError;
use crate::storage::StorageError;

/// Why a demo could not be played to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// It was told to stop.
    #[error("stopped before the end; no report was written")]
    Interrupted,
    /// The demo's own folder.
    #[error(
        "the demo's folder cannot be used: {0}; is there room in the folder for temporary files?"
    )]
    Folder(#[from] std::io::Error),
    /// The sample API.
    #[error(transparent)]
    Legacy(#[from] SampleApiError),
    /// The demo's own configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// crossfade.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Keys or tokens.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// A request that the demo itself makes.
    #[error("the demo's own request failed: {0}")]
    Http(String),
    /// The database.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The recording.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The run's name.
    #[error(transparent)]
    RunId(#[from] InvalidRunId),
    /// The report.
    #[error(transparent)]
    Report(#[from] WriteError),
    /// Something that must come did not.
    #[error("waited {seconds} s for {what}, in vain")]
    Stuck {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
    },
    /// A part of the demo broke.
    #[error("the demo broke: {0}")]
    Broken(String),
}

impl From<reqwest::Error> for DemoError {
    fn from(error: reqwest::Error) -> Self {
        // Addresses of a demo are of no use to anyone, and a query may hold a token.
        Self::Http(error.without_url().to_string())
    }
}

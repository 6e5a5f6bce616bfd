//! Why a scenario was not run, as opposed to run and failed.

use std::path::PathBuf;

use crate::config::Problem;

/// Why.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// A file or folder cannot be read.
    #[error("{} cannot be read: {source}; name a scenario file, or a folder with some", .file.display())]
    Read {
        /// The file or folder.
        file: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is nothing to run.
    #[error("no scenario (*.toml) is in {}; name a scenario file, or a folder with some", .0.display())]
    Empty(PathBuf),
    /// A file was read and cannot be used.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Problem>),
    /// Legacy API, crossfade or their databases could not be started.
    #[error("the scenario's servers could not be started: {0}")]
    Start(String),
}

impl ScenarioError {
    /// The exit code: 2 wrong usage or file, 3 something needed could not be had.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Read { .. } | Self::Empty(_) | Self::Invalid(_) => 2,
            Self::Start(_) => 3,
        }
    }
}

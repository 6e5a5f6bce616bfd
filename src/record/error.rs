//! What can go wrong with a recording.

use std::path::PathBuf;

/// A recording that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file is not there.
    #[error(
        "there is no recording at {0}; name the file that `crossfade serve` writes ([storage] recordings)"
    )]
    Missing(PathBuf),
    /// The file is some other database.
    #[error(
        "{0} is a database, but no crossfade recording; choose another file for [storage] recordings"
    )]
    NotARecording(PathBuf),
    /// The file was written by a newer crossfade. It was not touched.
    #[error(
        "{path} has recording schema {found}, this crossfade knows {known}; use the newer crossfade, or another file"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// The database refused.
    #[error("recording {path}: {action}: {source}")]
    Database {
        /// The file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// What the database said.
        source: libsql::Error,
    },
    /// A stored value makes no sense.
    #[error("recording {path}: {what} cannot be read: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which value.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The thread that writes or reads could not be started, or is gone.
    #[error("recording {path}: {reason}")]
    Thread {
        /// The file.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
    /// Writing failed; the events of that batch are lost and counted.
    #[error("recording {path}: {lost} events could not be written; see the log for the reason")]
    Lost {
        /// The file.
        path: PathBuf,
        /// How many events are lost since the recorder was opened.
        lost: u64,
    },
}

//! The configuration: what is written in `crossfade.toml`, checked once and completely at the start.
//!
//! Two types: raw settings are what the file spells; [`Config`] is what holds after every check. Everything that is
//! wrong is told at once, each with file, line, key, value and remedy. Every key: `docs/config.md`.

mod check;
mod error;
mod key;
mod raw;
mod secret;
mod settings;
mod source;
mod url;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use error::{ConfigError, Problem};
pub use secret::SecretRef;
pub use settings::{
    Admin, Cluster, Compare, Config, Durability, FlagSource, Flags, Identity, IdentityMode,
    KeySource, Legacy, Outbox, Server, Storage, Sync, SyncToken, Topology, Unleash,
};
pub use url::{BaseUrl, Database, UrlProblem};

impl Config {
    /// Reads and checks a file. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`ConfigError::Read`] if it cannot be read, [`ConfigError::Invalid`] with everything that is wrong in it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { file: path.to_owned(), source })?;
        let base_dir = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, base_dir, &path.display().to_string())
    }

    /// Checks a file's text. Paths in it are relative to `base_dir`; problems name the file `file_name`.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with everything that is wrong in it.
    pub fn parse(text: &str, base_dir: &Path, file_name: &str) -> Result<Self, ConfigError> {
        check::parse(text, base_dir, file_name)
    }
}

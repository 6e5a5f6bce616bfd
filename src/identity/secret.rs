//! Values that must not be seen: read from the environment, a file, or the configuration itself.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// A text that never shows itself: `Debug` and `Display` print `***`, and it cannot be serialised.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// A secret that could not be read. Names where it was looked for, never what was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The variable is not there.
    #[error(
        "environment variable `{0}` is not set: set it before the start, or write `file:PATH` instead of `env:{0}`"
    )]
    EnvMissing(String),
    /// The variable is there and is not UTF-8.
    #[error("environment variable `{0}` is not UTF-8: set it to a text")]
    EnvNotText(String),
    /// The file cannot be read.
    #[error(
        "secret file `{}` cannot be read ({why}): create it, readable by this process; a relative path starts at the configuration's folder", .path.display()
    )]
    File {
        /// The file, as resolved.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// What was found is empty.
    #[error("the secret from {0} is empty: put a value there")]
    Empty(String),
}

impl Secret {
    /// Takes a text as it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Reads `env:NAME` from the environment and `file:PATH` from a file (relative to `base_dir`,
    /// surrounding white space removed); anything else is the secret itself.
    ///
    /// # Errors
    /// [`SecretError`] if the place is missing, unreadable or empty.
    pub fn resolve(spec: &str, base_dir: &Path) -> Result<Self, SecretError> {
        Self::resolve_with(spec, base_dir, |name| std::env::var_os(name))
    }

    /// As [`Secret::resolve`], with the environment handed in.
    ///
    /// # Errors
    /// As [`Secret::resolve`].
    pub fn resolve_with(
        spec: &str,
        base_dir: &Path,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, SecretError> {
        let (text, place) = if let Some(name) = spec.strip_prefix("env:") {
            let value = variable(name).ok_or_else(|| SecretError::EnvMissing(name.to_owned()))?;
            let text = value.into_string().map_err(|_| SecretError::EnvNotText(name.to_owned()))?;
            (text, format!("environment variable `{name}`"))
        } else if let Some(path) = spec.strip_prefix("file:") {
            let path = base_dir.join(path);
            let text = std::fs::read_to_string(&path).map_err(|error| SecretError::File {
                path: path.clone(),
                why: error.to_string(),
            })?;
            (text.trim().to_owned(), format!("file `{}`", path.display()))
        } else {
            (spec.to_owned(), "the configuration".to_owned())
        };
        if text.is_empty() { Err(SecretError::Empty(place)) } else { Ok(Self(text)) }
    }

    /// The text itself: for the one call that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `given` is this secret, in a time that depends on neither.
    #[must_use]
    pub fn matches(&self, given: &str) -> bool {
        // Digests first: the comparison then always sees 32 bytes and tells nothing of lengths.
        let [ours, theirs] = [self.0.as_bytes(), given.as_bytes()].map(Sha256::digest);
        aws_lc_rs::constant_time::verify_slices_are_equal(&ours, &theirs).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(spec: &str, base: &Path) -> Result<Secret, SecretError> {
        Secret::resolve_with(spec, base, |name| match name {
            "SET" => Some("from-env".into()),
            "EMPTY" => Some(OsString::new()),
            _ => None,
        })
    }

    #[test]
    fn a_secret_comes_from_three_places() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "from-file\n").unwrap();
        for (spec, text) in
            [("env:SET", "from-env"), ("file:token", "from-file"), ("plain", "plain")]
        {
            assert_eq!(resolve(spec, folder.path()).unwrap().expose(), text);
        }
    }

    #[test]
    fn what_is_missing_is_named_with_its_remedy() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("blank"), " \n").unwrap();
        let message = |spec| resolve(spec, folder.path()).unwrap_err().to_string();
        assert!(message("env:NOPE").contains("`NOPE` is not set: set it"));
        assert!(message("env:EMPTY").contains("environment variable `EMPTY` is empty"));
        assert!(
            message("file:none").contains("none") && message("file:none").contains("create it")
        );
        assert!(message("file:blank").contains("is empty"));
        assert!(message("").contains("the configuration is empty"));
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
        assert!(secret.matches("hunter2") && !secret.matches("hunter") && !secret.matches(""));
    }
}

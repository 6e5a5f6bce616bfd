//! A secret as configured: where it is, or itself; never printed.

use std::fmt;
use std::path::{Path, PathBuf};

use super::ConfigError;

/// A longer file is no secret.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Where a secret comes from: `"env:NAME"`, `"file:PATH"`, or the secret itself.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// An environment variable.
    Env(String),
    /// A file; one line end after the secret does not count.
    File(PathBuf),
    /// The secret.
    Literal(String),
}

impl SecretRef {
    /// Reads the setting; a file is relative to `base_dir`.
    ///
    /// # Errors
    /// What is wrong with it, without the value.
    pub fn parse(text: &str, base_dir: &Path) -> Result<Self, &'static str> {
        if let Some(name) = text.strip_prefix("env:") {
            let sound = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            if name.is_empty() || !name.bytes().all(sound) {
                return Err("`env:` is followed by the name of an environment variable: A-Z 0-9 _");
            }
            return Ok(Self::Env(name.to_owned()));
        }
        match text.strip_prefix("file:") {
            Some("") => Err("`file:` is followed by a path"),
            Some(path) => Ok(Self::File(base_dir.join(path))),
            None if text.trim().is_empty() => Err("is empty; write \"env:NAME\" or \"file:PATH\""),
            None => Ok(Self::Literal(text.to_owned())),
        }
    }

    /// Fetches the secret: reads the environment or the file.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable or file that is missing, empty, too long or no UTF-8.
    pub fn resolve(&self) -> Result<String, ConfigError> {
        match self {
            Self::Literal(secret) => Ok(secret.clone()),
            Self::Env(name) => {
                let refuse = |problem| ConfigError::SecretVariable { name: name.clone(), problem };
                match std::env::var(name) {
                    Ok(secret) if secret.trim().is_empty() => Err(refuse("empty")),
                    Ok(secret) => Ok(secret),
                    Err(std::env::VarError::NotPresent) => Err(refuse("not set")),
                    Err(std::env::VarError::NotUnicode(_)) => Err(refuse("no UTF-8")),
                }
            }
            Self::File(file) => read(file)
                .map_err(|problem| ConfigError::SecretFile { file: file.clone(), problem }),
        }
    }
}

fn read(file: &Path) -> Result<String, String> {
    let unreadable = |error| format!("cannot be read: {error}");
    let length = std::fs::metadata(file).map_err(unreadable)?.len();
    if length > MAX_FILE_BYTES {
        return Err(format!(
            "is longer than {MAX_FILE_BYTES} bytes: name the file that holds the secret"
        ));
    }
    let mut secret = std::fs::read_to_string(file).map_err(unreadable)?;
    if secret.ends_with('\n') {
        secret.pop();
        if secret.ends_with('\r') {
            secret.pop();
        }
    }
    if secret.trim().is_empty() { Err("is empty".to_owned()) } else { Ok(secret) }
}

impl fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Literal(_) => f.write_str("(a literal, not shown)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SecretRef, &'static str> {
        SecretRef::parse(text, Path::new("/base"))
    }

    #[test]
    fn a_secret_is_named_or_given() {
        assert_eq!(parse("env:A_1"), Ok(SecretRef::Env("A_1".into())));
        assert_eq!(parse("file:k/t"), Ok(SecretRef::File("/base/k/t".into())));
        assert_eq!(parse("file:/t"), Ok(SecretRef::File("/t".into())));
        assert_eq!(parse("hunter2"), Ok(SecretRef::Literal("hunter2".into())));
        for bad in ["", "  ", "env:", "env:a b", "env:A=B", "file:"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_literal_is_never_printed() {
        let literal = SecretRef::Literal("hunter2".into());
        assert!(!format!("{literal:?} {:#?}", Some(&literal)).contains("hunter2"));
        assert_eq!(literal.resolve().unwrap(), "hunter2");
    }

    #[test]
    fn a_file_loses_one_line_end_and_must_hold_something() {
        let dir = tempfile::tempdir().unwrap();
        let secret = |text: &str| {
            let file = dir.path().join("secret");
            std::fs::write(&file, text).unwrap();
            SecretRef::File(file).resolve()
        };
        assert_eq!(secret("a b \r\n").unwrap(), "a b ");
        assert_eq!(secret("a\n\n").unwrap(), "a\n");
        assert!(secret("\n").unwrap_err().to_string().contains("is empty"));
        assert!(secret(&"a".repeat(65 * 1024)).is_err());
        let gone = SecretRef::File(dir.path().join("gone")).resolve().unwrap_err();
        assert!(gone.to_string().contains("gone, which should hold a secret, cannot be read"));
    }

    #[test]
    fn a_variable_that_is_not_set_is_named() {
        let error = SecretRef::Env("CROSSFADE_NO_SUCH_VARIABLE".into()).resolve().unwrap_err();
        assert!(error.to_string().contains("`CROSSFADE_NO_SUCH_VARIABLE`"), "{error}");
        assert!(error.to_string().contains("not set"));
    }
}

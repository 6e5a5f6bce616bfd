//! The `crossfade` binary, built and found.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::process::{Invocation, ProcessError, say};

/// Long enough for an empty target folder on a slow machine.
const BUILD_LIMIT: Duration = Duration::from_secs(3600);

/// Which build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    /// Without optimisation.
    Debug,
    /// As `Debug`, after `cargo test --workspace`. Dependencies are compiled once per set of
    /// features, and tests select more features than a plain build: asked for together with the
    /// tests, everything is already there.
    BesideTests,
    /// Optimised, as users run it.
    Release,
}

impl Build {
    const fn args(self) -> &'static [&'static str] {
        match self {
            Self::Debug => &[],
            Self::BesideTests => &["--workspace", "--tests"],
            Self::Release => &["--release"],
        }
    }
}

/// Why there is no binary.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BinaryError {
    /// Cargo could not build it.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Cargo built something else.
    #[error("cargo built `{0}` and named no executable; is that target still there?")]
    NotNamed(&'static str),
}

/// Builds the binary and returns its path, as cargo reports it.
///
/// # Errors
/// [`BinaryError`]; what the compiler says is shown as it comes.
pub(crate) fn build(root: &Path, build: Build) -> Result<PathBuf, BinaryError> {
    let cargo =
        Invocation::cargo(root).args(["build", "--bin", "crossfade"]).args(build.args().iter());
    say(&format!("$ {}", cargo.line()));
    let cargo = cargo.args(["--message-format", "json-render-diagnostics"]);
    executable(&cargo.capture(BUILD_LIMIT)?, "bin", "crossfade")
        .ok_or(BinaryError::NotNamed("crossfade"))
}

/// Builds the driver of the interoperability test, an example of the store, and returns its path.
///
/// # Errors
/// As [`build`].
pub(crate) fn build_interop_driver(root: &Path, build: Build) -> Result<PathBuf, BinaryError> {
    const NAME: &str = "interop_driver";
    let cargo = Invocation::cargo(root).args(["build", "--example", NAME]);
    let cargo = match build {
        Build::BesideTests => cargo.args(build.args().iter()),
        Build::Debug | Build::Release => {
            cargo.args(["--package", "mergeable-store"]).args(build.args().iter())
        }
    };
    say(&format!("$ {}", cargo.line()));
    let cargo = cargo.args(["--message-format", "json-render-diagnostics"]);
    executable(&cargo.capture(BUILD_LIMIT)?, "example", NAME).ok_or(BinaryError::NotNamed(NAME))
}

/// The executable of the target `name` of this kind in cargo's JSON messages, one a line.
fn executable(messages: &str, kind: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message.pointer("/target/name").and_then(Value::as_str) == Some(name))
        .filter(|message| message.pointer("/target/kind/0").and_then(Value::as_str) == Some(kind))
        .filter(|message| message.pointer("/profile/test") == Some(&Value::Bool(false)))
        .find_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_told_from_libraries_and_tests() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"crossfade"},"profile":{"test":false},"executable":null}"#,
            "\nnot json\n",
            r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"crossfade"},"profile":{"test":true},"executable":"/t/wrong"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"xtask"},"profile":{"test":false},"executable":"/t/xtask"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"crossfade"},"profile":{"test":false},"executable":"/t/crossfade"}"#,
        );
        assert_eq!(executable(messages, "bin", "crossfade"), Some(PathBuf::from("/t/crossfade")));
        assert_eq!(executable(messages, "bin", "other"), None);
    }
}

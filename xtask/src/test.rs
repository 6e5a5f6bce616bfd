//! `cargo xtask test`: everything that must pass before a change goes in.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::Value;

use crate::Outcome;
use crate::process::{Invocation, ProcessError, say};
use crate::setup::{self, Needs};
use crate::steps::Steps;

/// What to test.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Options {
    /// Run one side only.
    #[arg(long, value_enum)]
    only: Option<Side>,
}

/// A side of the workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Side {
    /// `cargo test` over all crates.
    Rust,
    /// Type checks and tests of `packages/`, against the debug binary.
    Node,
}

/// Why the binary for the Node tests is not there.
#[derive(Debug, thiserror::Error)]
enum BinaryError {
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("cargo built `crossfade` and named no executable; is the [[bin]] still in Cargo.toml?")]
    NotNamed,
}

/// Runs the chore.
pub(crate) fn chore(root: &Path, options: Options) -> Outcome {
    let rust = options.only != Some(Side::Node);
    let node = options.only != Some(Side::Rust);
    let mut steps = Steps::default();
    let ready = steps.step("setup", || setup::run(root, &Needs { node, chromium: false }));
    if rust {
        steps.step("rust tests", || Invocation::cargo(root).args(["test", "--workspace"]).run());
    }
    if node {
        node_steps(root, &mut steps, rust);
    }
    say(&format!("\n{}", steps.summary()));
    match (ready, steps.failed()) {
        (None, _) => Outcome::DependencyMissing,
        (_, true) => Outcome::Failed,
        (_, false) => Outcome::Done,
    }
}

fn node_steps(root: &Path, steps: &mut Steps, beside_rust: bool) {
    let packages = setup::packages_dir(root);
    let binary = steps.step("crossfade binary", || build_binary(root, beside_rust));
    let npm = |args: &[&str]| {
        let npm = Invocation::new("npm", &packages).args(args);
        match &binary {
            Some(path) => npm.env("CROSSFADE_BIN", path),
            None => npm,
        }
    };
    steps.step("type checks", || npm(&["run", "check"]).run());
    steps.step("node tests", || npm(&["test"]).run());
}

/// Builds the debug binary and returns its path as cargo reports it.
///
/// Dependencies are compiled once per set of features, and test builds select more features than
/// plain ones. After `cargo test` the binary is therefore asked for together with the tests:
/// cargo then finds all of it built.
fn build_binary(root: &Path, beside_tests: bool) -> Result<PathBuf, BinaryError> {
    let mut build = Invocation::cargo(root).args(["build", "--bin", "crossfade"]);
    if beside_tests {
        build = build.args(["--workspace", "--tests"]);
    }
    say(&format!("$ {}", build.line()));
    let build = build.args(["--message-format", "json-render-diagnostics"]);
    let messages = build.capture(std::time::Duration::from_secs(3600))?;
    executable(&messages, "crossfade").ok_or(BinaryError::NotNamed)
}

/// The executable of the binary target `name` in cargo's JSON messages, one a line.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message.pointer("/target/name").and_then(Value::as_str) == Some(name))
        .filter(|message| message.pointer("/target/kind/0").and_then(Value::as_str) == Some("bin"))
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
        assert_eq!(executable(messages, "crossfade"), Some(PathBuf::from("/t/crossfade")));
        assert_eq!(executable(messages, "other"), None);
    }
}

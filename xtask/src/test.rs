//! `cargo xtask test`: everything that must pass before a change goes in.

use std::path::Path;

use crate::Outcome;
use crate::binary::{self, Build};
use crate::process::{Invocation, say};
use crate::setup::{self, Needs};
use crate::steps::Steps;
use clap::ValueEnum;

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

/// Runs the chore.
pub(crate) fn chore(root: &Path, options: Options) -> Outcome {
    let rust = options.only != Some(Side::Node);
    let node = options.only != Some(Side::Rust);
    let mut steps = Steps::default();
    let ready = steps.step("setup", || setup::run(root, &Needs { node }));
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
    let build = if beside_rust { Build::BesideTests } else { Build::Debug };
    let binary = steps.step("crossfade binary", || binary::build(root, build));
    let driver = steps.step("interop driver", || binary::build_interop_driver(root, build));
    let npm = |args: &[&str]| {
        let mut npm = Invocation::new("npm", &packages).args(args);
        for (name, path) in [("CROSSFADE_BIN", &binary), ("CROSSFADE_INTEROP_DRIVER", &driver)] {
            if let Some(path) = path {
                npm = npm.env(name, path);
            }
        }
        npm
    };
    steps.step("type checks", || npm(&["run", "check"]).run());
    steps.step("node tests", || npm(&["test"]).run());
}

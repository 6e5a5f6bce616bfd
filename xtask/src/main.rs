//! `cargo xtask`: the chores of this workspace.
//!
//! `setup` puts in place what the tests need, `test` runs all of them, `fuzz` looks for inputs that break a promise,
//! `prove` measures what the documents promise. Exit codes: 0 done, 1 a test or a bound failed, 2 wrong usage, 3 something the chore depends on is missing or could not be installed.

mod binary;
mod fuzz;
mod process;
mod prove;
mod setup;
mod steps;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Chores of the crossfade workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Install what the tests need: npm packages from the lock file, system packages by apt.
    Setup,
    /// Set up, then run every test: Rust, type checks, Node.
    Test(test::Options),
    /// Run every fuzz target, and print executions and findings.
    Fuzz(fuzz::Options),
    /// Measure every bound that the documents promise, and print promised beside measured.
    Prove(prove::Options),
}

/// How a chore ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    Failed,
    DependencyMissing,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::Failed => Self::from(1),
            Outcome::DependencyMissing => Self::from(3),
        }
    }
}

fn main() -> ExitCode {
    let root = workspace_root();
    let outcome = match Cli::parse().chore {
        Chore::Setup => setup::chore(&root),
        Chore::Test(options) => test::chore(&root, options),
        Chore::Fuzz(options) => fuzz::chore(&root, &options),
        Chore::Prove(options) => prove::chore(&root, &options),
    };
    outcome.into()
}

/// The folder above this crate. Cargo names the crate's folder when it runs us; the folder at
/// compile time serves when the program was started by hand.
fn workspace_root() -> PathBuf {
    let crate_dir = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    crate_dir.parent().map_or_else(|| PathBuf::from("."), PathBuf::from)
}

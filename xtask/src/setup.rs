//! `cargo xtask setup`: what the tests need, found or installed.
//!
//! Order: tools and their versions, system packages, npm packages, the browser. Each is checked
//! first, so that a second run does nothing and needs no network.

mod browser;
mod cargo_fuzz;
mod npm;
mod system;
mod version;

use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::process::{ProcessError, complain, say};

pub(crate) use version::Version;

/// The oldest Node that the packages run on; `packages/package.json` says the same.
const NODE_MINIMUM: Version = Version { major: 20, minor: 9, patch: 0 };

/// What a chore is about to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Node, npm packages, PostgreSQL and Chromium: the end-to-end tests.
    pub(crate) node: bool,
}

/// Why the machine is not ready, each with what to do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    #[error("`{tool}` is not installed or does not run: {source}; {remedy}")]
    ToolMissing { tool: &'static str, remedy: &'static str, source: ProcessError },
    #[error("`{tool} --version` says `{output}`, which is no version; {remedy}")]
    ToolUnreadable { tool: &'static str, output: String, remedy: &'static str },
    #[error("{tool} {found} is too old, {minimum} is the oldest that works; {remedy}")]
    ToolTooOld { tool: &'static str, found: Version, minimum: Version, remedy: &'static str },
    #[error(
        "`{binary}` is missing and cannot be installed here ({why}); install the package by hand: `{command}`"
    )]
    PackageMissing { binary: &'static str, why: &'static str, command: String },
    #[error("installed `{package}` and still find no `{binary}`; put it on PATH")]
    PackageWithoutBinary { package: &'static str, binary: &'static str },
    #[error(
        "{0} failed to install: {1}; check the network and the package sources, then run `cargo xtask setup` again"
    )]
    Install(String, ProcessError),
    #[error(
        "there is no Chromium for the browser tests: {system}; and Playwright's own could not be downloaded: {download}; \
         install Chromium or Chrome, or set CHROMIUM to its path"
    )]
    Browser { system: Box<SetupError>, download: ProcessError },
    #[error("cannot read {}: {source}; the lock file belongs to the repository, restore it", path.display())]
    LockFile { path: PathBuf, source: std::io::Error },
    #[error("cannot write {}: {source}; make the folder writable", path.display())]
    Stamp { path: PathBuf, source: std::io::Error },
}

/// Where the npm workspace is.
pub(crate) fn packages_dir(root: &Path) -> PathBuf {
    root.join("packages")
}

/// Makes sure that cargo-fuzz and the C++ compiler that its runtime needs are there; the tool's path.
///
/// # Errors
/// [`SetupError`], naming what is missing and the command that would help.
pub(crate) fn cargo_fuzz(root: &Path) -> Result<PathBuf, SetupError> {
    system::provide(&[&system::CXX], root)?;
    cargo_fuzz::provide(root)
}

/// Runs the chore.
pub(crate) fn chore(root: &Path) -> Outcome {
    match run(root, &Needs { node: true }) {
        Ok(()) => {
            say("setup: everything that the tests need is in place");
            Outcome::Done
        }
        Err(error) => {
            complain(&error.to_string());
            Outcome::DependencyMissing
        }
    }
}

/// Checks for everything in `needs` and installs what is missing.
///
/// # Errors
/// [`SetupError`], naming the tool or package and the command that would help.
pub(crate) fn run(root: &Path, needs: &Needs) -> Result<(), SetupError> {
    version::check("rustc", version::rust_minimum(), "run `rustup update stable`")?;
    if needs.node {
        version::check("node", Some(NODE_MINIMUM), "install Node 20 or newer from nodejs.org")?;
        version::check("npm", None, "install npm, which comes with Node")?;
    }
    if needs.node {
        let packages = packages_dir(root);
        system::provide(&[&system::POSTGRESQL], root)?;
        npm::install(&packages)?;
        browser::provide(root, &packages)?;
    }
    Ok(())
}

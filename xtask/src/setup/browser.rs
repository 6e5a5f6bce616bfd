//! The browser of the end-to-end tests.

use std::path::Path;

use super::{SetupError, system};
use crate::process::{Invocation, say};

/// Finds Chromium where the tests look for it, or installs it: by apt, and where that is not to be
/// had, by Playwright, whose download needs no rights. `packages` has Playwright installed.
///
/// # Errors
/// [`SetupError::Browser`] if neither way works.
pub(super) fn provide(root: &Path, packages: &Path) -> Result<(), SetupError> {
    let Err(system) = system::provide(&[&system::CHROMIUM], root) else { return Ok(()) };
    // Playwright does nothing if it is there, and then needs no network.
    say("setup: no Chromium from the system; Playwright looks for its own, or downloads it");
    Invocation::new("npx", packages)
        .args(["--no-install", "playwright-core", "install", "chromium-headless-shell"])
        .run()
        .map_err(|download| SetupError::Browser { system: Box::new(system), download })
}

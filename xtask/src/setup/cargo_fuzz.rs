//! cargo-fuzz: in a folder of this workspace, in the one version that the chore was tried with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::SetupError;
use crate::process::{Invocation, say};

/// The version installed.
const VERSION: &str = "0.13.2";

/// Makes sure that the tool is there; its path.
///
/// # Errors
/// [`SetupError::Install`] if it cannot be built.
pub(super) fn provide(root: &Path) -> Result<PathBuf, SetupError> {
    let folder = root.join("target/tools");
    let tool = folder.join("bin/cargo-fuzz");
    if is_version(&tool, root) {
        return Ok(tool);
    }
    say(&format!("setup: installing cargo-fuzz {VERSION} into target/tools"));
    Invocation::cargo(root)
        // It only drives cargo: nothing would be gained by the time that optimising it takes.
        .args(["install", "cargo-fuzz", "--locked", "--debug", "--force"])
        .args(["--version", &format!("={VERSION}"), "--root"])
        .args([&folder])
        .run()
        .map_err(|source| SetupError::Install("cargo-fuzz".to_owned(), source))?;
    Ok(tool)
}

fn is_version(tool: &Path, root: &Path) -> bool {
    Invocation::new(tool, root)
        .args(["--version"])
        .capture(Duration::from_secs(60))
        .is_ok_and(|about| about.trim().ends_with(&format!(" {VERSION}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_is_not_there_has_no_version() {
        assert!(!is_version(Path::new("no-such-tool-here"), Path::new(".")));
    }
}

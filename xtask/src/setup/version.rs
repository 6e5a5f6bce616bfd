//! Versions of tools: read from what they print, compared with the oldest that works.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use super::SetupError;
use crate::process::Invocation;

/// `major.minor.patch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(super) major: u32,
    pub(super) minor: u32,
    pub(super) patch: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Version {
    /// The first version in a text such as `rustc 1.95.0 (f2d3ce0bd 2026-03-21)` or `v20.20.2`.
    /// A missing patch is 0; what follows the numbers (`-nightly`, `+meta`) is not looked at.
    pub(crate) fn find_in(text: &str) -> Option<Self> {
        text.split_whitespace().find_map(|word| {
            let word = word.strip_prefix('v').unwrap_or(word);
            let mut parts = word.split('.').map(|part| {
                let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
                part[..digits].parse().ok()
            });
            let (major, minor) = (parts.next()??, parts.next()??);
            Some(Self { major, minor, patch: parts.next().flatten().unwrap_or(0) })
        })
    }
}

/// The `rust-version` of the workspace.
pub(super) fn rust_minimum() -> Option<Version> {
    Version::find_in(env!("CARGO_PKG_RUST_VERSION"))
}

/// Asks `tool --version` and compares.
///
/// # Errors
/// [`SetupError`] if it does not run, prints no version, or is older than `minimum`.
pub(super) fn check(
    tool: &'static str,
    minimum: Option<Version>,
    remedy: &'static str,
) -> Result<(), SetupError> {
    let output = Invocation::new(tool, Path::new("."))
        .args(["--version"])
        .capture(Duration::from_secs(60))
        .map_err(|source| SetupError::ToolMissing { tool, remedy, source })?;
    let Some(found) = Version::find_in(&output) else {
        let output = output.trim().chars().take(80).collect();
        return Err(SetupError::ToolUnreadable { tool, output, remedy });
    };
    match minimum {
        Some(minimum) if found < minimum => {
            Err(SetupError::ToolTooOld { tool, found, minimum, remedy })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn v(major: u32, minor: u32, patch: u32) -> Version {
        Version { major, minor, patch }
    }

    #[test]
    fn versions_as_tools_print_them() {
        for (text, version) in [
            ("rustc 1.95.0 (f2d3ce0bd 2026-03-21)", Some(v(1, 95, 0))),
            ("v20.20.2\n", Some(v(20, 20, 2))),
            ("11.4.1", Some(v(11, 4, 1))),
            ("1.95", Some(v(1, 95, 0))),
            ("cargo 1.96.0-nightly", Some(v(1, 96, 0))),
            ("20", None),
            ("", None),
            ("no version", None),
            ("99999999999999999999.1", None),
        ] {
            assert_eq!(Version::find_in(text), version, "{text:?}");
        }
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(v(20, 9, 0) < v(20, 10, 0));
        assert!(v(9, 99, 99) < v(10, 0, 0));
        assert!(v(1, 95, 0) <= v(1, 95, 0));
    }

    #[test]
    fn an_old_or_absent_tool_is_refused() {
        assert!(check("rustc", Some(v(1, 0, 0)), "").is_ok());
        assert!(matches!(
            check("rustc", Some(v(9999, 0, 0)), ""),
            Err(SetupError::ToolTooOld { .. })
        ));
        assert!(matches!(
            check("no-such-tool-here", None, ""),
            Err(SetupError::ToolMissing { .. })
        ));
        assert!(rust_minimum().is_some());
    }
}

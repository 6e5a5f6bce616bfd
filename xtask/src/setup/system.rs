//! System packages: looked for by the binary that the tests start, installed by apt where we may.

use std::path::{Path, PathBuf};

use super::SetupError;
use crate::process::{Invocation, say};

/// A system package and the binary it is wanted for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SystemPackage {
    /// Its Debian name.
    package: &'static str,
    /// The binary, as looked for on `PATH`.
    binary: &'static str,
    /// A folder whose children may hold the binary in `bin/` (Debian keeps PostgreSQL's server
    /// programs off `PATH`, one folder a major version).
    versions_dir: Option<&'static str>,
    /// What else the binary may be called.
    aliases: &'static [&'static str],
    /// A variable of the environment that may name the binary's path.
    variable: Option<&'static str>,
}

/// The database under the real Unleash server.
pub(super) const POSTGRESQL: SystemPackage = SystemPackage {
    package: "postgresql",
    binary: "initdb",
    versions_dir: Some("/usr/lib/postgresql"),
    aliases: &[],
    variable: None,
};

/// The compiler of the fuzzer's runtime.
pub(super) const CXX: SystemPackage = SystemPackage {
    package: "g++",
    binary: "c++",
    versions_dir: None,
    aliases: &[],
    variable: None,
};

/// The browser; `packages/e2e/src/harness/browser.ts` looks for the same.
pub(super) const CHROMIUM: SystemPackage = SystemPackage {
    package: "chromium",
    binary: "chromium",
    versions_dir: None,
    aliases: &["chromium-browser", "google-chrome", "google-chrome-stable"],
    variable: Some("CHROMIUM"),
};

impl SystemPackage {
    fn find(&self, path_var: Option<&std::ffi::OsStr>) -> Option<PathBuf> {
        let named = self.variable.and_then(std::env::var_os).map(PathBuf::from);
        let on_path = path_var.into_iter().flat_map(std::env::split_paths).flat_map(|dir| {
            std::iter::once(&self.binary).chain(self.aliases).map(move |name| dir.join(name))
        });
        let by_version = self
            .versions_dir
            .and_then(|dir| std::fs::read_dir(dir).ok())
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path().join("bin").join(self.binary));
        named.into_iter().chain(on_path).chain(by_version).find(|candidate| candidate.is_file())
    }
}

/// Whether apt may be used, or why not.
fn apt_permission(root_user: bool, apt_get: bool) -> Result<(), &'static str> {
    match (apt_get, root_user) {
        (false, _) => Err("there is no apt-get"),
        (true, false) => Err("apt-get needs root"),
        (true, true) => Ok(()),
    }
}

/// The command that installs `packages`.
fn install_args<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["install", "-y", "--no-install-recommends"];
    args.extend(packages);
    args
}

/// Makes sure that each of `wanted` is there.
///
/// # Errors
/// [`SetupError::PackageMissing`] if apt may not be used, [`SetupError::Install`] if it fails.
pub(super) fn provide(wanted: &[&'static SystemPackage], root: &Path) -> Result<(), SetupError> {
    let path_var = std::env::var_os("PATH");
    let missing: Vec<_> =
        wanted.iter().filter(|package| package.find(path_var.as_deref()).is_none()).collect();
    let Some(first) = missing.first() else { return Ok(()) };
    let names: Vec<_> = missing.iter().map(|package| package.package).collect();
    let apt_get = SystemPackage { package: "apt", binary: "apt-get", ..CXX };
    apt_permission(running_as_root(root), apt_get.find(path_var.as_deref()).is_some()).map_err(
        |why| SetupError::PackageMissing {
            binary: first.binary,
            why,
            command: format!("sudo apt-get {}", install_args(&names).join(" ")),
        },
    )?;
    say(&format!("setup: installing {} by apt", names.join(", ")));
    let apt = |args: &[&str]| {
        Invocation::new("apt-get", root)
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .run()
            .map_err(|source| SetupError::Install(names.join(", "), source))
    };
    apt(&["update"])?;
    apt(&install_args(&names))?;
    match missing.iter().find(|package| package.find(path_var.as_deref()).is_none()) {
        None => Ok(()),
        Some(absent) => {
            Err(SetupError::PackageWithoutBinary { package: absent.package, binary: absent.binary })
        }
    }
}

/// The standard library does not tell the user's id; `id` does.
fn running_as_root(dir: &Path) -> bool {
    Invocation::new("id", dir)
        .args(["-u"])
        .capture(std::time::Duration::from_secs(10))
        .is_ok_and(|id| id.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_is_found_on_path_or_below_a_version() {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("15/bin");
        std::fs::create_dir_all(&bin).unwrap();
        let versions: &'static str = dir.path().to_str().unwrap().to_owned().leak();
        let package =
            SystemPackage { binary: "initdb", versions_dir: Some(versions), ..POSTGRESQL };
        assert_eq!(package.find(None), None);
        std::fs::write(bin.join("initdb"), "").unwrap();
        assert_eq!(package.find(None), Some(bin.join("initdb")));
        let on_path = SystemPackage { binary: "something", aliases: &["other", "initdb"], ..CXX };
        assert_eq!(on_path.find(Some(bin.as_os_str())), Some(bin.join("initdb")));
        assert_eq!(on_path.find(Some(dir.path().as_os_str())), None);
    }

    #[test]
    fn apt_is_used_by_root_only() {
        assert_eq!(apt_permission(true, true), Ok(()));
        assert_eq!(apt_permission(false, true), Err("apt-get needs root"));
        assert_eq!(apt_permission(true, false), Err("there is no apt-get"));
    }

    #[test]
    fn nothing_wanted_needs_nothing() {
        assert!(provide(&[], Path::new(".")).is_ok());
        assert_eq!(
            install_args(&["postgresql", "chromium"]).join(" "),
            "install -y --no-install-recommends postgresql chromium"
        );
    }
}

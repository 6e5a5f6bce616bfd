//! npm packages, exactly as the lock file says, and only when it changed.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::SetupError;
use crate::process::{Invocation, say};

/// Written into `node_modules` after a complete install. `npm ci` deletes that folder first, so a
/// stamp never outlives what it vouches for.
const STAMP: &str = "node_modules/.crossfade-lock-sha256";

/// Installs the packages of `dir` unless the last complete install was of this very lock file.
///
/// # Errors
/// [`SetupError`] if the lock file cannot be read, npm fails, or the stamp cannot be written.
pub(super) fn install(dir: &Path) -> Result<(), SetupError> {
    let lock = lock_digest(dir)?;
    if in_step(dir, &lock) {
        return Ok(());
    }
    say("setup: installing npm packages from the lock file");
    Invocation::new("npm", dir)
        .args(["ci", "--no-audit", "--no-fund"])
        .run()
        .map_err(|source| SetupError::Install("npm packages".to_owned(), source))?;
    let path = stamp_path(dir);
    fs::write(&path, lock).map_err(|source| SetupError::Stamp { path, source })
}

fn stamp_path(dir: &Path) -> PathBuf {
    dir.join(STAMP)
}

fn in_step(dir: &Path, lock: &str) -> bool {
    fs::read_to_string(stamp_path(dir)).is_ok_and(|stamp| stamp.trim() == lock)
}

fn lock_digest(dir: &Path) -> Result<String, SetupError> {
    let path = dir.join("package-lock.json");
    let bytes = fs::read(&path).map_err(|source| SetupError::LockFile { path, source })?;
    Ok(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_holds_for_one_lock_file() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(lock_digest(dir.path()), Err(SetupError::LockFile { .. })));
        fs::write(dir.path().join("package-lock.json"), "{}").unwrap();
        let first = lock_digest(dir.path()).unwrap();
        // SHA-256 of the two bytes `{}`, by sha256sum.
        assert_eq!(first, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
        assert!(!in_step(dir.path(), &first));
        fs::create_dir(dir.path().join("node_modules")).unwrap();
        fs::write(stamp_path(dir.path()), &first).unwrap();
        assert!(in_step(dir.path(), &first));
        fs::write(dir.path().join("package-lock.json"), "{ }").unwrap();
        assert!(!in_step(dir.path(), &lock_digest(dir.path()).unwrap()));
    }
}

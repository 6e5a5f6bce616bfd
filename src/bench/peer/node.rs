//! TinyBase's side: Node running the scripts of `packages/peer-bench`.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::bench::BenchError;

/// Where the package is, seen from the repository's root.
pub(super) const PACKAGE: &str = "packages/peer-bench";

/// The package, with its dependencies installed.
#[derive(Debug, Clone)]
pub(super) struct Package {
    folder: PathBuf,
}

impl Package {
    /// Checks that the package and TinyBase are there.
    pub(super) fn find(folder: &Path) -> Result<Self, BenchError> {
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        if !folder.join("src/server.js").is_file() {
            let text = format!(
                "{} is not the peer's package: run this in the repository's root, or name the \
                 package with --package",
                folder.display()
            );
            return Err(BenchError::Options(text));
        }
        // npm installs a workspace's dependencies in the workspace's root.
        let installed = folder
            .ancestors()
            .take(2)
            .any(|folder| folder.join("node_modules/tinybase/package.json").is_file());
        if !installed {
            let text = format!(
                "tinybase is not installed for {}: run `npm ci` in packages/",
                folder.display()
            );
            return Err(BenchError::Options(text));
        }
        Ok(Self { folder })
    }

    /// Node with one of the package's scripts. It may be asked to collect its garbage, and its heap may
    /// grow as large as the largest store needs.
    pub(super) fn node(&self, script: &str) -> Command {
        let mut command = Command::new("node");
        command
            .args(["--expose-gc", "--max-old-space-size=8192"])
            .arg(self.folder.join("src").join(script))
            .current_dir(&self.folder);
        command
    }

    /// Node's version, and with it whether there is a Node.
    pub(super) async fn node_version(&self) -> Result<String, BenchError> {
        let output = Command::new("node").arg("--version").output().await;
        let output = output.map_err(|error| {
            BenchError::Start(format!("node cannot be run ({error}): install Node 20.9 or newer"))
        })?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

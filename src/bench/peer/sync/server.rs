//! The servers that are measured, each a child process with its data in a folder of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::Instant;

use crate::bench::peer::document::Side;
use crate::bench::peer::node::Package;
use crate::bench::served::{self, Admin};
use crate::bench::{BenchError, child::Child, usage};

/// The stage of the mapped paths.
const STAGE: &str = "dualwrite";

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum SyncSide {
    /// TinyBase's server as a pure relay.
    NodeRelay,
    /// TinyBase's server with its file persister.
    NodeFile,
    /// crossfade as a pure relay: a path that no resource maps, in peer topology.
    CrossfadeRelay,
    /// crossfade, others see an edit after its commit.
    CrossfadeCommitted,
    /// crossfade, others see an edit before its commit.
    CrossfadeRelaxed,
}

impl SyncSide {
    pub(super) const ALL: [Self; 5] = [
        Self::NodeRelay,
        Self::NodeFile,
        Self::CrossfadeRelay,
        Self::CrossfadeCommitted,
        Self::CrossfadeRelaxed,
    ];

    pub(super) const fn is_node(self) -> bool {
        matches!(self, Self::NodeRelay | Self::NodeFile)
    }

    /// Whether anything is there after a restart.
    pub(super) const fn keeps(self) -> bool {
        !matches!(self, Self::NodeRelay | Self::CrossfadeRelay)
    }

    pub(super) const fn side(self) -> Side {
        const NODE: &str = "TinyBase 10.0.1 createWsServer in Node";
        const CROSSFADE: &str = "crossfade serve, a mapped path in dualwrite: edits judged, merged, \
                                 kept, and delivered to the legacy API";
        match self {
            Self::NodeRelay => Side {
                name: "node_relay",
                what: NODE,
                durability: "keeps nothing: no store, no persister; frames pass from client to client",
            },
            Self::NodeFile => Side {
                name: "node_file",
                what: NODE,
                durability: "file persister: the whole store is written anew after edits, not \
                             flushed to disk, and others see an edit before",
            },
            Self::CrossfadeRelay => Side {
                name: "crossfade_relay",
                what: "crossfade serve, topology = \"peer\", a path that no resource maps",
                durability: "keeps nothing: frames pass from client to client, as in node_relay",
            },
            Self::CrossfadeCommitted => Side {
                name: "crossfade_committed",
                what: CROSSFADE,
                durability: "committed: flushed to disk (write-ahead log, synchronous = FULL) \
                             before others see an edit",
            },
            Self::CrossfadeRelaxed => Side {
                name: "crossfade_relaxed",
                what: CROSSFADE,
                durability: "relaxed: the same commit, and others may see an edit before",
            },
        }
    }

    pub(super) const fn name(self) -> &'static str {
        self.side().name
    }
}

/// How servers are started.
#[derive(Debug, Clone)]
pub(super) struct Starting {
    pub(super) package: Package,
    /// The crossfade that serves.
    pub(super) crossfade: PathBuf,
    pub(super) legacy: SocketAddr,
    pub(super) http: reqwest::Client,
}

/// A running server.
pub(super) struct Server {
    side: SyncSide,
    child: Child,
    address: SocketAddr,
    admin: Option<Admin>,
    starting: Starting,
    /// Removed after the process has ended.
    folder: TempDir,
}

impl Server {
    /// Starts one with an empty folder, and waits until it is ready.
    pub(super) async fn start(side: SyncSide, starting: &Starting) -> Result<Self, BenchError> {
        let folder = TempDir::with_prefix("crossfade-bench-")
            .map_err(|error| BenchError::Start(format!("a folder for data: {error}")))?;
        Self::serve(side, starting.clone(), folder).await
    }

    async fn serve(
        side: SyncSide,
        starting: Starting,
        folder: TempDir,
    ) -> Result<Self, BenchError> {
        let command = if side.is_node() {
            let mut command = starting.package.node("server.js");
            if side.keeps() {
                command.arg(folder.path());
            }
            command
        } else {
            write_config(side, &starting, folder.path())
                .map_err(|error| BenchError::Start(format!("a configuration: {error}")))?;
            let mut command = Command::new(&starting.crossfade);
            command.args(["serve", "--format", "json", "-c"]);
            command.arg(folder.path().join("crossfade.toml"));
            command.env("RUST_LOG", "warn");
            command
        };
        let mut child = Child::start(side.name(), command)?;
        let ready = child.ready().await?;
        let parsed = |text: &str| text.parse::<SocketAddr>().ok();
        let (address, admin) = if side.is_node() {
            let port = ready["port"].as_u64().and_then(|port| u16::try_from(port).ok());
            (port.map(|port| SocketAddr::from(([127, 0, 0, 1], port))), None)
        } else {
            (ready["listen"].as_str().and_then(parsed), ready["admin"].as_str().and_then(parsed))
        };
        let address = address.ok_or_else(|| {
            BenchError::Start(format!("{} said {ready}, which names no address", side.name()))
        })?;
        let admin = admin.map(|address| Admin::new(starting.http.clone(), address));
        if let Some(admin) = &admin {
            admin.wait_for_stage(STAGE).await?;
        }
        Ok(Self { side, child, address, admin, starting, folder })
    }

    /// Ends it and starts it again on what it has kept.
    pub(super) async fn restart(self) -> Result<Self, BenchError> {
        let Self { side, child, starting, folder, .. } = self;
        child.stop().await;
        Self::serve(side, starting, folder).await
    }

    pub(super) async fn stop(self) {
        self.child.stop().await;
        drop(self.folder);
    }

    pub(super) const fn side(&self) -> SyncSide {
        self.side
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The request target of a path.
    pub(super) fn target(&self, org: &str) -> String {
        if self.side.is_node() {
            format!("/org/{org}")
        } else if self.side == SyncSide::CrossfadeRelay {
            // The resource's paths are org/…: this one is nobody's.
            format!("/sync/relay/{org}?user=bench&org={org}&role=admin")
        } else {
            format!("/sync/org/{org}?user=bench&org={org}&role=admin")
        }
    }

    pub(super) fn cpu(&self) -> Result<Duration, BenchError> {
        usage::cpu(self.child.pid())
    }

    pub(super) fn peak(&self) -> Result<u64, BenchError> {
        usage::peak(self.child.pid())
    }

    /// Bytes resident; Node collects its garbage first.
    pub(super) async fn memory(&mut self) -> Result<u64, BenchError> {
        if self.side.is_node() {
            self.child.ask("gc", Duration::from_secs(60)).await?;
        }
        usage::memory(self.child.pid())
    }

    /// Waits until nothing is owed to legacy any more; how much still is when `within` is over.
    pub(super) async fn settle(&self, within: Duration) -> Result<u64, BenchError> {
        let Some(admin) = &self.admin else { return Ok(0) };
        let begun = Instant::now();
        loop {
            let owed = admin.get("/outbox").await?["pending"].as_u64().unwrap_or(0);
            if owed == 0 || begun.elapsed() >= within {
                return Ok(owed);
            }
            // Each look is work for the server: none more often than it takes to tell.
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Copies the legacy API's rows into the store.
    pub(super) async fn backfill(&self, within: Duration) -> Result<(), BenchError> {
        let Some(admin) = &self.admin else { return Ok(()) };
        admin.backfill(within).await
    }
}

/// The section `[sync]` of a side's configuration.
const fn sync_section(side: SyncSide) -> &'static str {
    match side {
        SyncSide::CrossfadeRelay => "topology = \"peer\"",
        SyncSide::CrossfadeRelaxed => "durability = \"relaxed\"",
        _ => "durability = \"committed\"",
    }
}

fn write_config(side: SyncSide, starting: &Starting, folder: &Path) -> std::io::Result<()> {
    served::write_flags(folder, STAGE)?;
    let config = served::config(starting.legacy, sync_section(side));
    std::fs::write(folder.join("crossfade.toml"), config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_one_that_crossfade_takes() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("crossfade.toml");
        for side in SyncSide::ALL.into_iter().filter(|side| !side.is_node()) {
            let config = served::config("127.0.0.1:9".parse().unwrap(), sync_section(side));
            std::fs::write(&file, config).unwrap();
            crate::config::Config::load(&file).unwrap();
        }
    }

    #[test]
    fn sides_are_told_apart() {
        let mut names: Vec<_> = SyncSide::ALL.iter().map(|side| side.name()).collect();
        names.dedup();
        assert_eq!(names.len(), SyncSide::ALL.len());
    }
}

//! The servers that are measured, each a child process, all in front of one stub.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::comparisons::{self, Verdicts};
use super::nginx::Nginx;
use crate::bench::child::Child;
use crate::bench::served::{self, Admin};
use crate::bench::{BenchError, usage};

/// How long copying the stub's rows may take.
const BACKFILL: Duration = Duration::from_secs(60);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    PassThrough,
    Off,
    Shadow,
    Nginx,
    NginxMirror,
}

impl Side {
    pub(super) const ALL: [Self; 5] =
        [Self::PassThrough, Self::Off, Self::Shadow, Self::Nginx, Self::NginxMirror];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::PassThrough => "pass_through",
            Self::Off => "off",
            Self::Shadow => "shadow",
            Self::Nginx => "nginx",
            Self::NginxMirror => "nginx_mirror",
        }
    }

    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::PassThrough => {
                "a reverse proxy of hyper's server and client and nothing else; no code of crossfade's"
            }
            Self::Off => "crossfade serve, the resource mapped, stage off",
            Self::Shadow => {
                "crossfade serve, stage shadow: each read is asked of the store too and compared, \
                 after its answer"
            }
            Self::Nginx => "nginx, a worker a core, kept-alive connections to the stub",
            Self::NginxMirror => "the same with mirror: each request is sent to a second stub too",
        }
    }
}

/// How servers are started.
#[derive(Debug, Clone)]
pub(super) struct Starting {
    /// This program: the stub and the pass-through are its subcommands.
    pub(super) program: PathBuf,
    /// The crossfade that serves.
    pub(super) crossfade: PathBuf,
    pub(super) nginx: Option<PathBuf>,
    pub(super) http: reqwest::Client,
}

/// One server that is measured.
pub(super) struct Server {
    pub(super) side: Side,
    pub(super) address: SocketAddr,
    admin: Option<Admin>,
    child: Child,
    /// Removed after the process has ended.
    folder: Option<TempDir>,
}

impl Server {
    /// Processor time so far. Of nginx the master's alone could be told, which does nothing.
    pub(super) fn cpu(&self) -> Result<Option<Duration>, BenchError> {
        match self.side {
            Side::Nginx | Side::NginxMirror => Ok(None),
            _ => usage::cpu(self.child.pid()).map(Some),
        }
    }

    /// Comparisons so far, by verdict, once none is under way; none where there is no crossfade.
    pub(super) async fn comparisons(&self) -> Result<Verdicts, BenchError> {
        match &self.admin {
            Some(admin) => comparisons::settled(admin).await,
            None => Ok(Verdicts::default()),
        }
    }

    async fn stop(self) {
        self.child.stop().await;
        drop(self.folder);
    }
}

/// All of them, and the stubs behind them.
pub(super) struct Servers {
    stubs: Vec<Child>,
    pub(super) legacy: SocketAddr,
    pub(super) measured: Vec<Server>,
    pub(super) nginx_version: Option<String>,
    /// Why nginx is not among them.
    pub(super) without_nginx: Option<String>,
}

impl Servers {
    pub(super) async fn start(starting: &Starting) -> Result<Self, BenchError> {
        let (stub, legacy) = start_stub(&starting.program).await?;
        let mut servers = Self {
            stubs: vec![stub],
            legacy,
            measured: Vec::new(),
            nginx_version: None,
            without_nginx: None,
        };
        match servers.start_all(starting).await {
            Ok(()) => Ok(servers),
            Err(why) => {
                servers.stop().await;
                Err(why)
            }
        }
    }

    async fn start_all(&mut self, starting: &Starting) -> Result<(), BenchError> {
        self.measured.push(start_pass_through(&starting.program, self.legacy).await?);
        for side in [Side::Off, Side::Shadow] {
            self.measured.push(start_crossfade(side, starting, self.legacy).await?);
        }
        let Some(nginx) = &starting.nginx else {
            self.without_nginx = Some("not installed".to_owned());
            return Ok(());
        };
        let (second, mirror) = start_stub(&starting.program).await?;
        self.stubs.push(second);
        self.nginx_version = super::nginx::version(nginx).await;
        for (side, mirror) in [(Side::Nginx, None), (Side::NginxMirror, Some(mirror))] {
            match Nginx::start(side.name(), nginx, self.legacy, mirror).await {
                Ok(Nginx { child, address, folder }) => {
                    let folder = Some(folder);
                    self.measured.push(Server { side, address, admin: None, child, folder });
                }
                // One that does not run here is told, and takes nothing from the others.
                Err(why) => self.without_nginx = Some(why.to_string()),
            }
        }
        Ok(())
    }

    pub(super) fn get(&self, side: Side) -> Option<&Server> {
        self.measured.iter().find(|server| server.side == side)
    }

    pub(super) async fn stop(self) {
        for server in self.measured {
            server.stop().await;
        }
        for stub in self.stubs {
            stub.stop().await;
        }
    }
}

pub(in crate::bench) async fn start_stub(
    program: &Path,
) -> Result<(Child, SocketAddr), BenchError> {
    let mut command = Command::new(program);
    command.args(["bench", "proxy-stub"]);
    let mut child = Child::start("the stub", command)?;
    let address = address(&child.ready().await?, "listen")?;
    Ok((child, address))
}

async fn start_pass_through(program: &Path, legacy: SocketAddr) -> Result<Server, BenchError> {
    let mut command = Command::new(program);
    command.args(["bench", "proxy-pass-through"]).arg(legacy.to_string());
    let mut child = Child::start("the pass-through", command)?;
    let address = address(&child.ready().await?, "listen")?;
    Ok(Server { side: Side::PassThrough, address, admin: None, child, folder: None })
}

async fn start_crossfade(
    side: Side,
    starting: &Starting,
    legacy: SocketAddr,
) -> Result<Server, BenchError> {
    let lost = |error: std::io::Error| BenchError::Start(format!("a folder for data: {error}"));
    let folder = TempDir::with_prefix("crossfade-bench-").map_err(lost)?;
    let file = folder.path().join("crossfade.toml");
    // A store is filled in dualwrite, where nothing can be missed meanwhile.
    let first = if side == Side::Off { "off" } else { "dualwrite" };
    served::write_flags(folder.path(), first).map_err(lost)?;
    std::fs::write(&file, served::config(legacy, "")).map_err(lost)?;
    let mut command = Command::new(&starting.crossfade);
    command.args(["serve", "--format", "json", "-c"]).arg(file).env("RUST_LOG", "warn");
    let mut child = Child::start(side.name(), command)?;
    let ready = child.ready().await?;
    let admin = Admin::new(starting.http.clone(), address(&ready, "admin")?);
    admin.wait_for_stage(first).await?;
    if side == Side::Shadow {
        admin.backfill(BACKFILL).await?;
        admin.reconcile(BACKFILL).await?;
        served::write_flags(folder.path(), "shadow").map_err(lost)?;
        admin.wait_for_stage("shadow").await?;
    }
    let address = address(&ready, "listen")?;
    Ok(Server { side, address, admin: Some(admin), child, folder: Some(folder) })
}

pub(in crate::bench) fn address(ready: &Value, key: &str) -> Result<SocketAddr, BenchError> {
    let parsed = ready[key].as_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| BenchError::Start(format!("{ready} names no address to {key}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_one_that_crossfade_takes() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("crossfade.toml");
        std::fs::write(&file, served::config("127.0.0.1:9".parse().unwrap(), "")).unwrap();
        crate::config::Config::load(&file).unwrap();
    }

    #[test]
    fn an_address_that_is_none_is_told() {
        let ready = serde_json::json!({ "listen": "127.0.0.1:80", "admin": 7 });
        assert_eq!(address(&ready, "listen").unwrap().port(), 80);
        assert!(address(&ready, "admin").is_err());
    }
}

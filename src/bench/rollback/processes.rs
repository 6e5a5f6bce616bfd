//! What a case runs: the stub, two crossfades on one database, and a flag provider that can be ended.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio_util::task::AbortOnDropHandle;

use crate::bench::BenchError;
use crate::bench::child::Child;
use crate::bench::proxy::servers::{address, start_stub};
use crate::bench::served::{self, Admin};

/// How long the command may take.
pub(super) const COMMAND_LIMIT: Duration = Duration::from_secs(30);
/// How long copying the stub's rows may take.
const BACKFILL: Duration = Duration::from_secs(60);
/// How long a change may take to be seen by both.
const SEEN: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    First,
    Second,
}

struct Process {
    child: Child,
    address: SocketAddr,
    admin: Admin,
    config: PathBuf,
}

pub(super) struct Processes {
    program: PathBuf,
    stub: Child,
    flags: Flags,
    first: Process,
    second: Process,
    http: reqwest::Client,
    /// Removed after the processes have ended.
    folder: TempDir,
}

/// A flag provider with the client API of Unleash.
struct Flags {
    address: SocketAddr,
    stage: Arc<Mutex<&'static str>>,
    serving: Option<AbortOnDropHandle<()>>,
}

impl Flags {
    async fn start() -> Result<Self, BenchError> {
        let lost = |error: std::io::Error| BenchError::Start(format!("the flag provider: {error}"));
        let stage = Arc::new(Mutex::new("dualwrite"));
        let listener =
            tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(lost)?;
        let address = listener.local_addr().map_err(lost)?;
        let features = |State(stage): State<Arc<Mutex<&'static str>>>| async move {
            let stage = *stage.lock().unwrap_or_else(PoisonError::into_inner);
            axum::Json(served::flags(stage))
        };
        let accepted = || async { http::StatusCode::ACCEPTED };
        let app = Router::new()
            .route("/api/client/features", get(features))
            .route("/api/client/metrics", post(accepted))
            .route("/api/client/register", post(accepted))
            .with_state(stage.clone());
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                tracing::error!(%error, "the flag provider ended");
            }
        });
        Ok(Self { address, stage, serving: Some(AbortOnDropHandle::new(serving)) })
    }
}

impl Processes {
    pub(super) async fn start() -> Result<Self, BenchError> {
        let start = |why: String| BenchError::Start(why);
        let program = std::env::current_exe()
            .map_err(|error| start(format!("this program's own file: {error}")))?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(30))
            .build()
            .map_err(|error| start(error.to_string()))?;
        let folder = TempDir::with_prefix("crossfade-bench-")
            .map_err(|error| start(format!("a folder for data: {error}")))?;
        let flags = Flags::start().await?;
        let (stub, legacy) = start_stub(&program).await?;
        let ports = free_ports()?;
        let settings = |place| config(place, legacy, flags.address, ports);
        let first =
            serve(&program, folder.path(), settings(Place::First), Place::First, &http).await?;
        let second =
            serve(&program, folder.path(), settings(Place::Second), Place::Second, &http).await?;
        Ok(Self { program, stub, flags, first, second, http, folder })
    }

    pub(super) fn addresses(&self) -> [SocketAddr; 2] {
        [self.first.address, self.second.address]
    }

    /// Fills the store and has both answer from it.
    pub(super) async fn go_live(&mut self) -> Result<(), BenchError> {
        self.first.admin.wait_for_stage("dualwrite").await?;
        self.first.admin.backfill(BACKFILL).await?;
        self.first.admin.reconcile(BACKFILL).await?;
        *self.flags.stage.lock().unwrap_or_else(PoisonError::into_inner) = "live";
        self.first.admin.wait_for_stage("live").await?;
        self.second.admin.wait_for_stage("live").await?;
        for place in [self.first.address, self.second.address] {
            self.until_store_answers(place).await?;
        }
        Ok(())
    }

    async fn until_store_answers(&self, place: SocketAddr) -> Result<(), BenchError> {
        let begun = tokio::time::Instant::now();
        loop {
            let request = self.http.get(format!("http://{place}/users?limit=20"));
            let asked = request
                .header("Crossfade-Dev-User", "bench")
                .header("Crossfade-Dev-Org", super::super::proxy::ORG)
                .header("Crossfade-Dev-Role", "admin");
            let answer = asked.send().await;
            let origin =
                answer.ok().and_then(|answer| answer.headers().get("crossfade-origin").cloned());
            if origin.is_some_and(|origin| origin == "sync") {
                return Ok(());
            }
            if begun.elapsed() > SEEN {
                return Err(BenchError::Start(format!("{place} does not answer from the store")));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Ends the flag provider: connections are refused from now on.
    pub(super) fn end_flags(&mut self) {
        self.flags.serving = None;
    }

    /// Keeps everybody from writing control values, as long as what it gives lives; they can be read.
    pub(super) async fn hold_database(&self) -> Result<libsql::Connection, BenchError> {
        let lost = |error: libsql::Error| BenchError::Wrong(format!("the database: {error}"));
        let file = self.folder.path().join("crossfade.db.control");
        let database = libsql::Builder::new_local(file).build().await.map_err(lost)?;
        let connection = database.connect().map_err(lost)?;
        connection.busy_timeout(Duration::from_secs(5)).map_err(lost)?;
        connection.execute("BEGIN IMMEDIATE", ()).await.map_err(lost)?;
        Ok(connection)
    }

    pub(super) fn signal(&self, place: Place, signal: Signal) -> Result<(), BenchError> {
        let process = match place {
            Place::First => &self.first,
            Place::Second => &self.second,
        };
        let pid = i32::try_from(process.child.pid()).ok().and_then(Pid::from_raw);
        let sent = pid.map(|pid| kill_process(pid, signal));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(BenchError::Wrong("a process could not be signalled".to_owned())),
        }
    }

    /// Runs the operators' command; gives whether it said that the switch is in the database.
    pub(super) async fn roll_back(&self) -> Result<bool, BenchError> {
        let mut command = Command::new(&self.program);
        command
            .args(["rollback", "--reason", "bench", "--actor", "bench", "--format", "json", "-c"])
            .arg(&self.first.config)
            .kill_on_drop(true);
        let output = tokio::time::timeout(COMMAND_LIMIT, command.output()).await;
        let output = output
            .map_err(|_| BenchError::TooSlow("crossfade rollback".to_owned()))?
            .map_err(|error| BenchError::Wrong(format!("crossfade rollback: {error}")))?;
        let said: Value = serde_json::from_slice(&output.stdout).map_err(|_| {
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            BenchError::Wrong(format!("crossfade rollback said no JSON: {error}"))
        })?;
        Ok(said["replicated"] == Value::Bool(true))
    }

    pub(super) async fn stop(self) {
        let Self { stub, first, second, folder, .. } = self;
        // Followers first: nobody takes over from anybody.
        second.child.stop().await;
        first.child.stop().await;
        stub.stop().await;
        drop(folder);
    }
}

/// Ports that were free a moment ago: each process has to know the other's beforehand.
fn free_ports() -> Result<[u16; 4], BenchError> {
    let lost = |error: std::io::Error| BenchError::Start(format!("a free port: {error}"));
    let mut listeners = Vec::new();
    let mut ports = [0; 4];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(lost)?;
        *port = listener.local_addr().map_err(lost)?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

fn config(place: Place, legacy: SocketAddr, flags: SocketAddr, ports: [u16; 4]) -> String {
    let [first, first_admin, second, second_admin] = ports;
    let (listen, admin, name) = match place {
        Place::First => (first, first_admin, "first"),
        Place::Second => (second, second_admin, "second"),
    };
    let cluster = format!(
        "[cluster]\nadvertise = \"http://127.0.0.1:{listen}\"\npeers = [\"http://127.0.0.1:{first_admin}\", \"http://127.0.0.1:{second_admin}\"]\n"
    );
    let unleash = format!(
        "[flags.unleash]\nurl = \"http://{flags}/api\"\ntoken = \"bench-client-token\"\npoll_ms = 250\n[interlocks]\nwaive = [\"mismatch-gate\"]\n{cluster}"
    );
    served::config(legacy, "")
        .replacen("listen = \"127.0.0.1:0\"", &format!("listen = \"127.0.0.1:{listen}\""), 1)
        .replacen("listen = \"127.0.0.1:0\"", &format!("listen = \"127.0.0.1:{admin}\""), 1)
        .replacen("file:recordings.db", &format!("file:{name}-recordings.db"), 1)
        .replacen("[flags]\nfile = \"flags.json\"\n", &unleash, 1)
}

async fn serve(
    program: &Path,
    folder: &Path,
    config: String,
    place: Place,
    http: &reqwest::Client,
) -> Result<Process, BenchError> {
    let (file, name) = match place {
        Place::First => ("first.toml", "the first crossfade"),
        Place::Second => ("second.toml", "the second crossfade"),
    };
    let file = folder.join(file);
    std::fs::write(&file, config)
        .map_err(|error| BenchError::Start(format!("{}: {error}", file.display())))?;
    let mut command = Command::new(program);
    command.args(["serve", "--format", "json", "-c"]).arg(&file).env("RUST_LOG", "error");
    let mut child = Child::start(name, command)?;
    let ready = child.ready().await?;
    let admin = Admin::new(http.clone(), address(&ready, "admin")?);
    Ok(Process { child, address: address(&ready, "listen")?, admin, config: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configurations_are_ones_that_crossfade_takes_and_name_each_other() {
        let folder = TempDir::new().unwrap();
        let (legacy, flags) = ("127.0.0.1:9".parse().unwrap(), "127.0.0.1:10".parse().unwrap());
        for place in [Place::First, Place::Second] {
            let file = folder.path().join("crossfade.toml");
            std::fs::write(&file, config(place, legacy, flags, [1, 2, 3, 4])).unwrap();
            let config = crate::config::Config::load(&file).unwrap();
            let port = if place == Place::First { 1 } else { 3 };
            assert_eq!(config.server.listen.port(), port);
            assert_eq!(config.admin.listen.port(), port + 1);
            assert_eq!(
                config.cluster.advertise.unwrap().as_str(),
                format!("http://127.0.0.1:{port}")
            );
            assert_eq!(config.cluster.peers.len(), 2);
        }
    }
}

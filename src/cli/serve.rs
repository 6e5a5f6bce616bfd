//! `crossfade serve`.

use std::net::SocketAddr;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit_code::ExitCode;
use super::{CliError, ConfigArgs, Format, print};
use crate::config::Config;
use crate::serve::{Clustered, Role, Server, Surroundings};
use crate::storage::StorageError;

#[derive(Debug, clap::Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Serves until SIGTERM or SIGINT, then drains.
pub(super) async fn run(args: ServeArgs) -> Result<ExitCode, CliError> {
    let mut signals = Signals::new()?;
    let config = Config::load(&args.config.config)?;
    let format = args.config.format;
    if config.cluster.advertise.is_some() {
        return clustered(config, format, &mut signals).await;
    }
    let server = Server::start(config, Surroundings::default()).await?;
    ready(format, server.listen(), server.admin(), None);
    let is_fenced = tokio::select! {
        () = signals.stop() => false,
        () = server.fenced() => true,
    };
    let stopped = server.stop().await;
    if is_fenced {
        return Err(CliError::dependency(StorageError::Fenced));
    }
    stopped?;
    Ok(ExitCode::Done)
}

/// As one of several processes on a database.
async fn clustered(
    config: Config,
    format: Format,
    signals: &mut Signals,
) -> Result<ExitCode, CliError> {
    let mut process = Clustered::start(config, Surroundings::default()).await?;
    let role = *process.role().borrow();
    ready(format, process.listen(), process.admin(), Some(role));
    tokio::select! {
        () = signals.stop() => process.stop().await?,
        ended = process.ended() => ended?,
    }
    Ok(ExitCode::Done)
}

fn ready(format: Format, listen: SocketAddr, admin: SocketAddr, role: Option<Role>) {
    match (format, role) {
        (Format::Text, None) => {
            print(&format!("crossfade: users http://{listen}, operators http://{admin}"));
        }
        (Format::Text, Some(role)) => {
            let role = match role {
                Role::Holder => "holds the database",
                Role::Follower => "follows the process that holds the database",
            };
            print(&format!("crossfade: users http://{listen}, operators http://{admin}, {role}"));
        }
        (Format::Json, role) => print(
            &serde_json::json!({ "ready": true, "listen": listen, "admin": admin, "role": role })
                .to_string(),
        ),
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, CliError> {
        let of = |kind| signal(kind).map_err(CliError::dependency);
        Ok(Self {
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
        })
    }

    /// Waits for the first of them.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        tracing::info!("stopping: requests under way may end");
    }
}

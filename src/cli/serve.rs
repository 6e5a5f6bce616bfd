//! `crossfade serve`.

use tokio::signal::unix::{SignalKind, signal};

use super::exit_code::ExitCode;
use super::{CliError, ConfigArgs, Format, print};
use crate::config::Config;
use crate::serve::{Server, Surroundings};

#[derive(Debug, clap::Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Serves until SIGTERM or SIGINT, then drains.
pub(super) async fn run(args: ServeArgs) -> Result<ExitCode, CliError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(CliError::dependency)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::dependency)?;
    let config = Config::load(&args.config.config)?;
    let server = Server::start(config, Surroundings::default()).await?;
    let (listen, admin) = (server.listen(), server.admin());
    match args.config.format {
        Format::Text => {
            print(&format!("crossfade: users http://{listen}, operators http://{admin}"))
        }
        Format::Json => print(
            &serde_json::json!({ "ready": true, "listen": listen, "admin": admin }).to_string(),
        ),
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: requests under way may end");
    server.stop().await?;
    Ok(ExitCode::Done)
}

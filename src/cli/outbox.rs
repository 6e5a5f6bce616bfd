//! `crossfade outbox`.

use serde_json::Value;

use super::admin_client::AdminClient;
use super::exit_code::ExitCode;
use super::{CliError, ConfigArgs, Format, print};
use crate::config::Config;

#[derive(Debug, clap::Args)]
pub(super) struct OutboxArgs {
    #[command(subcommand)]
    command: OutboxCommand,
}

#[derive(Debug, clap::Subcommand)]
enum OutboxCommand {
    /// Lists what is owed, oldest first.
    List(ConfigArgs),
}

/// Shows what is owed to legacy.
pub(super) async fn run(args: OutboxArgs) -> Result<ExitCode, CliError> {
    let OutboxCommand::List(args) = args.command;
    let config = Config::load(&args.config)?;
    let outbox = AdminClient::of(&config)?.get("/outbox").await?;
    if args.format == Format::Json {
        print(&outbox.to_string());
        return Ok(ExitCode::Done);
    }
    print(&format!("{} pending, {} dead letters", outbox["pending"], outbox["dead"]));
    for entry in outbox["entries"].as_array().into_iter().flatten() {
        let text = |key: &str| entry[key].as_str().unwrap_or("–");
        let tries = match entry["attempts"].as_u64() {
            Some(0) | None => String::new(),
            Some(attempts) => format!(", {attempts} tries: {}", text("last_error")),
        };
        let cells: Vec<_> =
            entry["cells"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        print(&format!(
            "{:>8} {:<8} {} {} {} [{}]{tries}",
            entry["seq"],
            text("state"),
            text("path"),
            text("resource"),
            text("row"),
            cells.join(", "),
        ));
    }
    Ok(ExitCode::Done)
}

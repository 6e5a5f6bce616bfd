//! `crossfade rollback`: the switch.

use serde_json::{Value, json};

use super::admin_client::AdminClient;
use super::exit_code::ExitCode;
use super::{CliError, ConfigArgs, Format, print};
use crate::config::Config;

#[derive(Debug, clap::Args)]
pub(super) struct RollbackArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Why; the next person reads it first.
    #[arg(long)]
    reason: String,
    /// Only this resource; all without it.
    #[arg(long, value_name = "RESOURCE")]
    resource: Option<String>,
    /// Who; the user that runs the command without it.
    #[arg(long, env = "USER", default_value = "operator")]
    actor: String,
    /// Ends the rollback instead.
    #[arg(long)]
    lift: bool,
}

/// Sends everybody back to legacy, or lifts that.
///
/// A crossfade that does not answer is rolled back through its database: it looks there four times a
/// second, and first of all when it starts.
pub(super) async fn run(args: RollbackArgs) -> Result<ExitCode, CliError> {
    let config = Config::load(&args.config.config)?;
    let scope = args.resource.as_deref().unwrap_or("all");
    let order = json!({ "scope": scope, "reason": args.reason, "actor": args.actor });
    let path = if args.lift { "/rollback/lift" } else { "/rollback" };
    let answer = AdminClient::of(&config)?.post(path, Some(&order)).await?;
    if args.config.format == Format::Json {
        print(&answer.to_string());
    } else if args.lift {
        print(&format!("lifted ({scope}): the flags decide again"));
    } else {
        print(&format!("rolled back ({scope}): legacy answers every request"));
        if let Some(owed) = answer.get("owed").filter(|owed| !owed.is_null()) {
            print(&format!(
                "owed to legacy: {} writes, delivery goes on; {} dead letters",
                owed["pending"], owed["dead"]
            ));
        }
    }
    if answer.get("replicated") == Some(&Value::Bool(false)) {
        return Err(CliError::dependency(
            "it holds in this process's memory only: the database cannot be written (not replicated)",
        ));
    }
    Ok(ExitCode::Done)
}

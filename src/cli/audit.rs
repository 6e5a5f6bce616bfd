//! `crossfade audit`.

use super::admin_client::AdminClient;
use super::exit_code::ExitCode;
use super::{CliError, ConfigArgs, Format, print};
use crate::config::Config;
use crate::scenario::iso;

#[derive(Debug, clap::Args)]
pub(super) struct AuditArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Entries, the newest first.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Only entries before this number.
    #[arg(long)]
    before: Option<i64>,
}

/// Shows who changed what crossfade does.
pub(super) async fn run(args: AuditArgs) -> Result<ExitCode, CliError> {
    let config = Config::load(&args.config.config)?;
    let before = args.before.map(|number| format!("&before={number}")).unwrap_or_default();
    let path = format!("/audit?limit={}{before}", args.limit);
    let log = AdminClient::of(&config)?.get(&path).await?;
    if args.config.format == Format::Json {
        print(&log.to_string());
        return Ok(ExitCode::Done);
    }
    let text = |value: &serde_json::Value, key: &str| value[key].as_str().unwrap_or("–").to_owned();
    for one in log["entries"].as_array().into_iter().flatten() {
        let at = one["at_ms"].as_u64().map_or("–".to_owned(), iso);
        let reason = match text(one, "reason").as_str() {
            "" => String::new(),
            reason => format!(": {reason}"),
        };
        print(&format!(
            "{:>5} {at} {:<16} {:<20} {} (at {}){reason}",
            one["number"],
            text(one, "actor"),
            text(one, "action"),
            text(one, "subject"),
            text(one, "process"),
        ));
    }
    Ok(ExitCode::Done)
}

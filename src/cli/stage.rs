//! `crossfade stage`.

use super::admin_client::AdminClient;
use super::exit_code::ExitCode;
use super::{CliError, ConfigArgs, Format, print};
use crate::config::Config;

/// Shows each resource's stage, and why it holds.
pub(super) async fn run(args: &ConfigArgs) -> Result<ExitCode, CliError> {
    let config = Config::load(&args.config)?;
    let stages = AdminClient::of(&config)?.get("/stages").await?;
    if args.format == Format::Json {
        print(&stages.to_string());
        return Ok(ExitCode::Done);
    }
    let text = |value: &serde_json::Value, key: &str| {
        value.get(key).and_then(serde_json::Value::as_str).unwrap_or("–").to_owned()
    };
    for resource in stages["resources"].as_array().into_iter().flatten() {
        let because = &resource["because"];
        let detail = because.get("detail").map(|detail| format!(" {detail}")).unwrap_or_default();
        print(&format!(
            "{:<20} {:<10} requested {:<10} because {}{detail}{}",
            text(resource, "resource"),
            text(resource, "effective"),
            text(resource, "requested"),
            text(because, "reason"),
            if resource["caught_up"] == true { "" } else { " (backfill not finished)" },
        ));
    }
    Ok(ExitCode::Done)
}

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
    if stages["role"] == "follower" {
        let holder = text(&stages, "holder");
        print(&format!(
            "this process follows another one ({holder}); what holds a stage back is known there"
        ));
    }
    for resource in stages["resources"].as_array().into_iter().flatten() {
        let because = &resource["because"];
        let detail = because.get("detail").map(|detail| format!(" {detail}")).unwrap_or_default();
        print(&format!(
            "{:<20} {:<10} requested {:<10} because {}{detail}{}",
            text(resource, "resource"),
            text(resource, "effective"),
            text(resource, "requested"),
            text(because, "reason"),
            match (resource.get("store"), resource["caught_up"] == true) {
                (None, _) | (_, true) => "",
                (Some(serde_json::Value::Object(_)), false) => " (a backfill mends its store)",
                (_, false) => " (backfill not finished)",
            },
        ));
        if let Some(step) = resource.get("next").filter(|next| !next.is_null()) {
            next_step(step);
        }
    }
    Ok(ExitCode::Done)
}

/// What the next step forward needs, and how each of it stands.
fn next_step(step: &serde_json::Value) {
    let to = step["to"].as_str().unwrap_or("–");
    if let Some(closed) = step["closed"].as_str() {
        print(&format!("  to {to}: {closed}"));
    }
    for one in step["conditions"].as_array().into_iter().flatten() {
        let stands = match (one["met"] == true, one["waived"] == true) {
            (true, _) => "met",
            (false, true) => "waived",
            (false, false) => "not met",
        };
        let (condition, figure) = (one["condition"].as_str(), one["figure"].as_str());
        print(&format!(
            "  to {to}: {:<14} {stands:<8} {}",
            condition.unwrap_or("–"),
            figure.unwrap_or("–")
        ));
    }
}

//! `crossfade backfill`: through a running crossfade, which alone knows what is newer than a page.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::admin_client::AdminClient;
use super::exit_code::ExitCode;
use super::{CliError, ConfigArgs, Format, print};
use crate::config::Config;
use crate::serve::BackfillState;

/// How often a running crossfade is asked how far it is.
const POLL: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
pub(super) struct BackfillArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only this resource; all without it.
    #[arg(long, value_name = "RESOURCE")]
    resource: Option<String>,
}

/// Copies legacy's rows into the store. Writes may go on meanwhile.
pub(super) async fn run(args: BackfillArgs) -> Result<ExitCode, CliError> {
    let config = Config::load(&args.config.config)?;
    let admin = AdminClient::of(&config)?;
    let path = match &args.resource {
        Some(resource) => format!("/backfill?resource={resource}"),
        None => "/backfill".to_owned(),
    };
    admin.post(&path, None).await?;
    let bar = bar();
    let states = loop {
        let states = states(&admin, args.resource.as_deref()).await?;
        show(&bar, &states);
        if states.values().all(|state| !state.running) {
            break states;
        }
        tokio::time::sleep(POLL).await;
    };
    bar.finish_and_clear();
    report(&args, &states)
}

fn report(
    args: &BackfillArgs,
    states: &BTreeMap<String, BackfillState>,
) -> Result<ExitCode, CliError> {
    if args.config.format == Format::Json {
        print(&serde_json::json!({ "resources": states }).to_string());
    } else {
        for (resource, state) in states {
            let progress = &state.progress;
            print(&format!(
                "{resource}: {} rows read in {} pass(es), {} older than what the store knew, {} gone",
                progress.read, progress.passes, progress.stale, progress.gone
            ));
        }
    }
    let errors: Vec<_> = states
        .iter()
        .filter_map(|(resource, state)| Some(format!("{resource}: {}", state.error.as_ref()?)))
        .collect();
    if errors.is_empty() {
        Ok(ExitCode::Done)
    } else {
        Err(CliError::dependency(errors.join("; ")))
    }
}

async fn states(
    admin: &AdminClient,
    only: Option<&str>,
) -> Result<BTreeMap<String, BackfillState>, CliError> {
    let answer = admin.get("/backfill").await?;
    let states = answer.get("resources").cloned().unwrap_or(Value::Null);
    let mut states: BTreeMap<String, BackfillState> =
        serde_json::from_value(states).map_err(CliError::dependency)?;
    states.retain(|name, _| only.is_none_or(|only| only == name));
    Ok(states)
}

fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:40} {pos}/{len} rows, {per_sec}, {eta} left")
    {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, states: &BTreeMap<String, BackfillState>) {
    bar.set_length(states.values().filter_map(|state| state.progress.total).sum());
    bar.set_position(states.values().map(|state| state.progress.read).sum());
}

//! `crossfade backfill`: through a running crossfade, which alone knows what is newer than a page.

use indicatif::ProgressBar;

use super::admin_client::AdminClient;
use super::exit_code::ExitCode;
use super::jobs::{self, States};
use super::{CliError, ConfigArgs, Format, print};
use crate::config::Config;
use crate::sync::backfill::BackfillProgress;

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
    let only = args.resource.as_deref();
    let states = jobs::watch::<BackfillProgress>(&admin, "/backfill", only, show).await?;
    report(&args, &states)
}

fn report(args: &BackfillArgs, states: &States<BackfillProgress>) -> Result<ExitCode, CliError> {
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
    jobs::failures(states)?;
    Ok(ExitCode::Done)
}

fn show(bar: &ProgressBar, states: &States<BackfillProgress>) {
    bar.set_length(states.values().filter_map(|state| state.progress.total).sum());
    bar.set_position(states.values().map(|state| state.progress.read).sum());
}

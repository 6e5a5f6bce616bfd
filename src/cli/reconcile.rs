//! `crossfade reconcile`: through a running crossfade, which alone knows what is on its way.

use indicatif::ProgressBar;

use super::admin_client::AdminClient;
use super::exit_code::ExitCode;
use super::jobs::{self, States};
use super::{CliError, ConfigArgs, Format, print};
use crate::config::Config;
use crate::sync::reconcile::{Difference, DifferenceCause, DifferenceKind, Reconciliation};

#[derive(Debug, clap::Args)]
pub(super) struct ReconcileArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only this resource; all without it.
    #[arg(long, value_name = "RESOURCE")]
    resource: Option<String>,
    /// Whose rows are right: what has diverged is made like them. Without it, nothing is changed.
    #[arg(long, value_enum, value_name = "AUTHORITY")]
    repair: Option<Repair>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Repair {
    /// The legacy API's; the store takes them over, except for cells whose edits are owed.
    Legacy,
}

/// Compares both sides in full. Writes may go on meanwhile.
pub(super) async fn run(args: ReconcileArgs) -> Result<ExitCode, CliError> {
    let admin = AdminClient::of(&Config::load(&args.config.config)?)?;
    let only = args.resource.as_deref();
    let asked = [
        only.map(|name| format!("resource={name}")),
        args.repair.map(|Repair::Legacy| "repair=legacy".to_owned()),
    ];
    let query = asked.into_iter().flatten().collect::<Vec<_>>().join("&");
    admin.post(&format!("/reconcile?{query}"), None).await?;
    let states = jobs::watch::<Reconciliation>(&admin, "/reconcile", only, show).await?;
    report(&args, &states)
}

fn show(bar: &ProgressBar, states: &States<Reconciliation>) {
    bar.set_length(states.values().filter_map(|state| state.progress.legacy_total).sum());
    bar.set_position(states.values().map(|state| state.progress.legacy_rows).sum());
}

fn report(args: &ReconcileArgs, states: &States<Reconciliation>) -> Result<ExitCode, CliError> {
    if args.config.format == Format::Json {
        print(&serde_json::json!({ "resources": states }).to_string());
    } else {
        for (resource, state) in states {
            if state.error.is_none() {
                tell(resource, &state.progress);
            }
        }
    }
    jobs::failures(states)?;
    let differ = states.values().any(|one| one.progress.diverged() > one.progress.repaired);
    Ok(if differ { ExitCode::Failed } else { ExitCode::Done })
}

fn tell(resource: &str, found: &Reconciliation) {
    print(&format!(
        "{resource}: {} rows in legacy, {} in the store, in {} path(s)",
        found.legacy_rows, found.store_rows, found.paths
    ));
    for one in &found.differences {
        print(&format!("  {}", line(one)));
    }
    let listed = found.differences.len() as u64;
    let more = (found.diverged() + found.owed).saturating_sub(listed);
    if more > 0 {
        print(&format!("  and {more} more"));
    }
    print(&format!(
        "  {} missing in the store, {} in the store alone, {} different, {} dead letters, {} not verified; {} repaired; {} owed, {} lagged",
        found.missing,
        found.extra,
        found.different,
        found.dead_letters,
        found.unverified,
        found.repaired,
        found.owed,
        found.lagged
    ));
}

fn line(one: &Difference) -> String {
    let kind = match one.kind {
        DifferenceKind::Missing => "missing in the store",
        DifferenceKind::Extra => "in the store alone",
        DifferenceKind::Different => "different",
    };
    let cause = match one.cause {
        DifferenceCause::Diverged => "",
        DifferenceCause::Owed => ", owed to legacy",
        DifferenceCause::DeadLetter => ", a dead letter",
    };
    let cells =
        if one.cells.is_empty() { String::new() } else { format!(" [{}]", one.cells.join(", ")) };
    let repaired = if one.repaired { ", repaired" } else { "" };
    format!("{} {}: {kind}{cells}{cause}{repaired}", one.path, one.row)
}

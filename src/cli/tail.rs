//! `crossfade tail`: how a running crossfade follows writes that never pass it.

use std::time::Duration;

use indicatif::ProgressBar;

use super::admin_client::AdminClient;
use super::exit_code::ExitCode;
use super::jobs::{self, States};
use super::{CliError, ConfigArgs, Format, print};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::serve::JobState;
use crate::sync::tail::TailProgress;

/// How often it is looked whether there is something to tell.
const FOLLOW: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub(super) struct TailArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only this resource; all without it.
    #[arg(long, value_name = "RESOURCE")]
    resource: Option<String>,
    /// Has the legacy list looked through once, now, and tells what is known by then.
    #[arg(long, conflicts_with = "follow")]
    once: bool,
    /// Goes on, and tells each time that something was found, until Ctrl-C.
    #[arg(long)]
    follow: bool,
}

/// Shows what the running crossfade's tail has done; orders a look; or goes on telling.
pub(super) async fn run(args: TailArgs) -> Result<ExitCode, CliError> {
    let admin = AdminClient::of(&Config::load(&args.config.config)?)?;
    let only = args.resource.as_deref();
    if args.follow {
        return follow(&args, &admin).await;
    }
    let states = if args.once {
        let query = only.map(|name| format!("?resource={name}")).unwrap_or_default();
        admin.post(&format!("/tail{query}"), None).await?;
        jobs::watch::<TailProgress>(&admin, "/tail", only, show).await?
    } else {
        jobs::states::<TailProgress>(&admin, "/tail", only).await?
    };
    tell_all(&args, &states);
    if args.once {
        jobs::failures(&states)?;
    }
    Ok(ExitCode::Done)
}

/// Tells what is found, as it is found.
async fn follow(args: &TailArgs, admin: &AdminClient) -> Result<ExitCode, CliError> {
    let mut told: States<TailProgress> = States::new();
    loop {
        let states = jobs::states::<TailProgress>(admin, "/tail", args.resource.as_deref()).await?;
        let is_news = |(name, state): &(&String, &JobState<TailProgress>)| {
            told.get(*name).is_none_or(|before| {
                found(&before.progress) != found(&state.progress)
                    || before.error != state.error
                    || before.progress.waits_for != state.progress.waits_for
            })
        };
        let news: States<TailProgress> = states
            .iter()
            .filter(is_news)
            .map(|(name, state)| (name.clone(), state.clone()))
            .collect();
        if !news.is_empty() {
            tell_all(args, &news);
        }
        told = states;
        tokio::time::sleep(FOLLOW).await;
    }
}

/// What is news if it has changed.
const fn found(progress: &TailProgress) -> [u64; 5] {
    [progress.made, progress.changed, progress.gone, progress.left, progress.asked]
}

fn show(bar: &ProgressBar, states: &States<TailProgress>) {
    bar.set_length(states.values().filter_map(|state| state.progress.total).sum());
    bar.set_position(states.values().map(|state| state.progress.read).sum());
}

fn tell_all(args: &TailArgs, states: &States<TailProgress>) {
    if args.config.format == Format::Json {
        print(&serde_json::json!({ "resources": states }).to_string());
        return;
    }
    let now_ms = SystemClock.now_ms();
    for (resource, state) in states {
        for line in lines(&state.progress, state.error.as_deref(), now_ms) {
            print(&format!("{resource}: {line}"));
        }
    }
}

/// What is told of one resource.
fn lines(progress: &TailProgress, error: Option<&str>, now_ms: u64) -> Vec<String> {
    let ago = |at_ms: Option<u64>| match at_ms {
        Some(at_ms) => {
            format!("{:.1} s ago", now_ms.saturating_sub(at_ms) as f64 / 1_000.0)
        }
        None => "never".to_owned(),
    };
    let mut lines = Vec::new();
    if let Some(by) = &progress.by {
        let at = progress.watermark.as_deref().unwrap_or("the beginning");
        let polled = ago(progress.polled_ms);
        lines.push(format!("followed by {by} up to {at}, last looked {polled}"));
    }
    lines.push(format!("whole list last read {}", ago(progress.swept_ms)));
    let TailProgress { made, changed, gone, left, stale, .. } = progress;
    lines.push(format!(
        "since the start {made} made, {changed} changed, {gone} gone past crossfade; {left} left to what is owed, {stale} older than what the store knew"
    ));
    if let Some(lag_ms) = progress.lag_ms {
        lines.push(format!("the last change took {lag_ms} ms to the store"));
    }
    if progress.asked > 0 {
        lines.push(format!("{} unmapped writes wait for the list", progress.asked));
    }
    if let Some(why) = progress.waits_for {
        lines.push(format!("nobody looks now: {why}"));
    }
    if let Some(error) = error {
        lines.push(format!("the last look failed: {error}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::tail::TailWait;

    #[test]
    fn what_is_not_known_is_not_told() {
        let nothing = TailProgress::default();
        assert_eq!(lines(&nothing, None, 9_000).len(), 2);
        let progress = TailProgress {
            by: Some("updatedAt".to_owned()),
            polled_ms: Some(7_500),
            lag_ms: Some(12),
            asked: 1,
            waits_for: Some(TailWait::Backfill),
            ..nothing
        };
        let told = lines(&progress, Some("legacy answered 503"), 9_000);
        assert_eq!(told[0], "followed by updatedAt up to the beginning, last looked 1.5 s ago");
        assert_eq!(told.len(), 7);
        assert!(told[5].contains("crossfade backfill"), "{told:?}");
    }
}

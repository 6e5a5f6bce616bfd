//! `crossfade demo`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::demo_stage::{Plain, Screen, sum_up};
use super::exit_code::ExitCode;
use super::report::run_name;
use super::{CliError, Format, print};
use crate::clock::{Clock as _, SystemClock};
use crate::demo::{self, Audience, DemoError, DemoSettings, Invitation, Outcome, Played, Scale};
use crate::report::RunId;

#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {
    /// How long people use the product, in seconds; starting and checking come on top.
    #[arg(long, value_name = "N", default_value_t = 48, value_parser = clap::value_parser!(u64).range(8..=600))]
    seconds: u64,
    /// The shortest demo, with less traffic.
    #[arg(long, conflicts_with = "seconds")]
    quick: bool,
    /// Decides which rows there are and what people choose to do.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Keeps everything running afterwards, until Ctrl-C, to look around.
    #[arg(long)]
    hold: bool,
    /// The folder that the report's folder is made in.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    out: PathBuf,
    /// Names the report's folder; the present time without it.
    #[arg(long, value_name = "NAME")]
    run: Option<String>,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Plays a whole migration, checks it, and writes its report.
pub(super) async fn run(args: DemoArgs) -> Result<ExitCode, CliError> {
    let stop = stop_on_signal()?;
    let name = args.run.clone().unwrap_or_else(|| run_name("demo", SystemClock.now_ms()));
    let settings = DemoSettings {
        seed: args.seed,
        scale: if args.quick {
            Scale::quick()
        } else {
            Scale::of(Duration::from_secs(args.seconds))
        },
        reports: args.out.clone(),
        run: RunId::new(&name)?,
    };
    let played = play(settings, &args, &stop).await;
    let played = match played {
        Err(DemoError::Interrupted) => {
            eprintln!("{}", DemoError::Interrupted);
            return Ok(ExitCode::Interrupted);
        }
        played => played.map_err(of_demo)?,
    };
    tell(&played.outcome, args.format);
    if args.hold {
        invite(&played.invitation().map_err(of_demo)?, args.format);
        stop.cancelled().await;
    }
    let passed = played.outcome.passed();
    played.stop().await.map_err(of_demo)?;
    Ok(if passed { ExitCode::Done } else { ExitCode::Failed })
}

async fn play(
    settings: DemoSettings,
    args: &DemoArgs,
    stop: &CancellationToken,
) -> Result<Played, DemoError> {
    if let Some(screen) = Screen::on_terminal() {
        let screen = Arc::new(screen);
        let played = demo::run(settings, screen.clone(), stop.clone()).await;
        screen.clear();
        return played;
    }
    let plain: Arc<dyn Audience> = Arc::new(Plain::new(args.format));
    demo::run(settings, plain, stop.clone()).await
}

/// Cancelled by SIGINT and SIGTERM; a second one ends the process as usual, should stopping hang.
fn stop_on_signal() -> Result<CancellationToken, CliError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::dependency)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(CliError::dependency)?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        for times in 0.. {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if times > 0 {
                std::process::exit(ExitCode::Interrupted.number().into());
            }
            told.cancel();
        }
    });
    Ok(stop)
}

fn of_demo(error: DemoError) -> CliError {
    match error {
        DemoError::Config(_) | DemoError::RunId(_) | DemoError::Report(_) => CliError::usage(error),
        _ => CliError::dependency(error),
    }
}

fn tell(outcome: &Outcome, format: Format) {
    if format == Format::Json {
        let report = &outcome.report;
        let meters = &outcome.meters;
        let value = serde_json::json!({
            "passed": outcome.passed(),
            "checks": outcome.checks,
            "requests": meters.requests, "from_store": meters.from_store, "edits": meters.edits,
            "verdicts": meters.verdicts,
            "html": report.html, "json": report.json, "markdown": report.markdown,
        });
        print(&value.to_string());
        return;
    }
    print("");
    for check in &outcome.checks {
        let mark = if check.passed { "ok    " } else { "FAILED" };
        print(&format!("{mark}  {}: {}", check.name, check.found));
    }
    print(&format!("\n{}", sum_up(&outcome.meters)));
    print(&format!("report: {}", outcome.report.html.display()));
}

fn invite(to: &Invitation, format: Format) {
    if format == Format::Json {
        let value = serde_json::json!({
            "users": to.users, "operators": to.operators, "legacy": to.legacy,
            "config": to.config, "session": to.session, "path": to.path,
        });
        print(&value.to_string());
        return;
    }
    let Invitation { users, operators, legacy, config, session, admin_token, path } = to;
    let ws = users.replacen("http", "ws", 1);
    let config = config.display();
    print(&format!(
        "
Everything keeps running until Ctrl-C, rolled back as it is:
  users      {users}      (WebSocket: {ws}/sync/{path})
  operators  {operators}
  legacy     {legacy}      (the sample API itself)

A session that only this demo accepts, and the operators' token:
  SESSION={session}
  ADMIN={admin_token}

Try:
  curl -si -H \"Authorization: Bearer $SESSION\" '{users}/users?role=admin&sort=-age,name&limit=3'
  curl -s -X POST -H \"Authorization: Bearer $SESSION\" {users}/_crossfade/sync-token
  curl -s -H \"Authorization: Bearer $ADMIN\" {operators}/comparisons
  crossfade stage -c {config}
  crossfade outbox list -c {config}
  crossfade rollback --lift --reason 'looked around' -c {config}
  crossfade backfill -c {config}     (after the lift: legacy was written alone meanwhile)"
    ));
}

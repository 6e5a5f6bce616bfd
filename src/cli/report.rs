//! `crossfade report`.

use std::path::PathBuf;

use chrono::{DateTime, NaiveDate, Utc};

use super::exit_code::ExitCode;
use super::{CliError, ConfigArgs, Format, print};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::record::{RecordError, Recording, TimeRange};
use crate::report::{InvalidRunId, Report, ReportMeta, RunId, WriteError, write_report};

#[derive(Debug, clap::Args)]
pub(super) struct ReportArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only what was recorded from this time on: RFC 3339, or a date (its midnight, UTC).
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<u64>,
    /// Only what was recorded before this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<u64>,
    /// The folder that the report's folder is made in.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    out: PathBuf,
    /// Names the report's folder; the present time without it.
    #[arg(long, value_name = "NAME")]
    run: Option<String>,
}

/// Makes a report of the recordings that the configuration names. crossfade may go on recording.
pub(super) async fn run(args: ReportArgs) -> Result<ExitCode, CliError> {
    let config = Config::load(&args.config.config)?;
    if let (Some(from), Some(to)) = (args.from, args.to)
        && from >= to
    {
        return Err(CliError::usage("--from must be before --to"));
    }
    let now_ms = SystemClock.now_ms();
    let name = args.run.unwrap_or_else(|| run_name("report", now_ms));
    let meta = ReportMeta {
        title: "crossfade report".to_owned(),
        run: RunId::new(&name)?,
        generated_at_ms: now_ms,
    };
    let recording = Recording::open_read(&config.storage.recordings).await?;
    let range = TimeRange { from_ms: args.from, to_ms: args.to };
    let report = Report::of(&recording.load(range).await?, &meta);
    let paths = write_report(&args.out, &report)?;
    if args.config.format == Format::Json {
        print(
            &serde_json::json!({
                "finding": report.finding, "requests": report.requests,
                "html": paths.html, "json": paths.json, "markdown": paths.markdown,
            })
            .to_string(),
        );
    } else {
        print(&format!("{} requests; report: {}", report.requests, paths.html.display()));
    }
    Ok(ExitCode::Done)
}

/// A name for a run that begins now: `<what>-20260131-235959`, in UTC.
pub(super) fn run_name(what: &str, now_ms: u64) -> String {
    let now = DateTime::<Utc>::from_timestamp_millis(i64::try_from(now_ms).unwrap_or(0));
    format!("{what}-{}", now.unwrap_or_default().format("%Y%m%d-%H%M%S"))
}

/// Milliseconds since 1970.
fn time(text: &str) -> Result<u64, String> {
    let at = match text.parse::<NaiveDate>() {
        Ok(date) => date.and_hms_opt(0, 0, 0).map(|at| at.and_utc()),
        Err(_) => DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc()),
    };
    at.and_then(|at| u64::try_from(at.timestamp_millis()).ok())
        .ok_or_else(|| "write 2026-01-31 or 2026-01-31T08:00:00Z".to_owned())
}

impl From<RecordError> for CliError {
    fn from(error: RecordError) -> Self {
        Self::dependency(error)
    }
}

impl From<WriteError> for CliError {
    fn from(error: WriteError) -> Self {
        Self::usage(error)
    }
}

impl From<InvalidRunId> for CliError {
    fn from(error: InvalidRunId) -> Self {
        Self::usage(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_or_moments() {
        assert_eq!(time("1970-01-02"), Ok(86_400_000));
        assert_eq!(time("1970-01-01T01:00:00+01:00"), Ok(0));
        assert!(time("yesterday").is_err());
        assert!(time("1969-12-31").is_err());
    }

    #[test]
    fn runs_are_named_by_their_time() {
        assert_eq!(run_name("demo", 0), "demo-19700101-000000");
        assert!(RunId::new(&run_name("report", 1_795_000_000_000)).is_ok());
    }
}

//! `crossfade scenario`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use super::exit_code::ExitCode;
use super::{CliError, Format, print};
use crate::clock::{SystemClock, SystemEntropy};
use crate::scenario::{self, RunOptions, ScenarioError, Verdict};

#[derive(Debug, clap::Args)]
pub(super) struct ScenarioArgs {
    #[command(subcommand)]
    command: ScenarioCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ScenarioCommand {
    /// Lists scenarios.
    List(ListArgs),
    /// Runs scenarios, each against servers of its own, on real sockets.
    Run(RunArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Scenario files, and folders with some.
    #[arg(default_value = "scenarios", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How the list is printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Scenario files, and folders with some.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How the results are printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Also writes the results as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// Exit code 1 if a scenario failed, 2 if a file is wrong, 3 if a scenario could not be run at all.
pub(super) async fn run(args: ScenarioArgs) -> Result<ExitCode, CliError> {
    match args.command {
        ScenarioCommand::List(args) => list(&args),
        ScenarioCommand::Run(args) => run_all(args).await,
    }
}

fn list(args: &ListArgs) -> Result<ExitCode, CliError> {
    let scenarios = scenario::load(&args.files).map_err(error)?;
    match args.format {
        Format::Text => print(scenario::list_text(&scenarios).trim_end()),
        Format::Json => print(&scenario::list_json(&scenarios).map_err(CliError::dependency)?),
    }
    Ok(ExitCode::Done)
}

async fn run_all(args: RunArgs) -> Result<ExitCode, CliError> {
    let options = RunOptions {
        files: args.files,
        progress: std::io::stderr().is_terminal(),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
    };
    let results = scenario::run(&options).await.map_err(error)?;
    match args.format {
        Format::Text => print(scenario::to_text(&results).trim_end()),
        Format::Json => print(&scenario::to_json(&results).map_err(CliError::dependency)?),
    }
    if let Some(file) = args.junit {
        let junit = scenario::to_junit(&results).map_err(CliError::dependency)?;
        let told = |e| CliError::dependency(format!("{} cannot be written: {e}", file.display()));
        std::fs::write(&file, junit).map_err(told)?;
    }
    let failed = results.iter().any(|result| result.verdict == Verdict::Failed);
    Ok(if failed { ExitCode::Failed } else { ExitCode::Done })
}

fn error(error: ScenarioError) -> CliError {
    match error {
        ScenarioError::Start(_) => CliError::dependency(error),
        other => CliError::usage(other),
    }
}

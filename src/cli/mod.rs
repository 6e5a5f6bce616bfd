//! The command line: one file a subcommand.

mod admin_client;
mod audit;
mod backfill;
mod bench;
mod check;
mod demo;
mod demo_stage;
pub mod exit_code;
mod jobs;
mod outbox;
mod path;
mod reconcile;
mod report;
mod revoke;
mod rollback;
mod scenario;
mod serve;
mod stage;
mod tail;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use exit_code::ExitCode;

/// Carries a live product from a REST data layer to a local-first one.
#[derive(Debug, Parser)]
#[command(name = "crossfade", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A whole migration on this machine, with nothing to configure: about a minute, and a report.
    Demo(demo::DemoArgs),
    /// The proxy, the sync server and the operators' listener.
    Serve(serve::ServeArgs),
    /// Reads the configuration and what it names, and says what is wrong with it.
    Check(ConfigArgs),
    /// Copies legacy's rows into the store, through a running crossfade.
    Backfill(backfill::BackfillArgs),
    /// Compares both sides in full, lists what differs, and repairs it if told to.
    Reconcile(reconcile::ReconcileArgs),
    /// Shows how writes that never pass crossfade are followed; has the legacy list looked through, or goes on telling.
    Tail(tail::TailArgs),
    /// Shows each resource's stage, and why it holds.
    Stage(ConfigArgs),
    /// Shows what is owed to legacy, and deals with dead letters.
    Outbox(outbox::OutboxArgs),
    /// Shows what is stored of each path, and rebuilds one.
    Path(path::PathArgs),
    /// Sends everybody back to legacy, or lifts that.
    Rollback(rollback::RollbackArgs),
    /// Revokes the sync tokens of a user or of a session, lifts that, or shows what is revoked.
    Revoke(revoke::RevokeArgs),
    /// Shows who changed what crossfade does, when and why.
    Audit(audit::AuditArgs),
    /// Makes a report of what was recorded: HTML, JSON and Markdown.
    Report(report::ReportArgs),
    /// Measures both paths side by side.
    Bench(bench::BenchArgs),
    /// Offline and reconnect scenarios.
    Scenario(scenario::ScenarioArgs),
}

/// Where the configuration is, and how answers are printed.
#[derive(Debug, Args)]
struct ConfigArgs {
    /// The configuration file.
    #[arg(short, long, default_value = "crossfade.toml", value_name = "FILE")]
    config: PathBuf,
    /// How answers are printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Runs the command line and gives the process's exit code.
#[must_use]
pub fn run() -> std::process::ExitCode {
    let cli = Cli::parse();
    // A demo tells its own story; what it would log stands in the way.
    let quiet = matches!(cli.command, Command::Demo(_));
    crate::telemetry::init(if quiet { "off" } else { crate::telemetry::USUAL });
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            return ExitCode::Dependency.into();
        }
    };
    let code = runtime.block_on(async {
        match cli.command {
            Command::Serve(args) => serve::run(args).await,
            Command::Check(args) => check::run(&args).await,
            Command::Backfill(args) => backfill::run(args).await,
            Command::Reconcile(args) => reconcile::run(args).await,
            Command::Tail(args) => tail::run(args).await,
            Command::Stage(args) => stage::run(&args).await,
            Command::Outbox(args) => outbox::run(args).await,
            Command::Path(args) => path::run(args).await,
            Command::Rollback(args) => rollback::run(args).await,
            Command::Revoke(args) => revoke::run(args).await,
            Command::Audit(args) => audit::run(args).await,
            Command::Demo(args) => demo::run(args).await,
            Command::Report(args) => report::run(args).await,
            Command::Bench(args) => bench::run(args).await,
            Command::Scenario(args) => scenario::run(args).await,
        }
    });
    match code {
        Ok(code) => code.into(),
        Err(failure) => {
            eprintln!("error: {}", failure.text);
            failure.code.into()
        }
    }
}

/// Why a command ended without doing its work.
#[derive(Debug)]
pub(crate) struct CliError {
    code: ExitCode,
    text: String,
}

impl CliError {
    pub(crate) fn failed(error: impl std::fmt::Display) -> Self {
        Self { code: ExitCode::Failed, text: error.to_string() }
    }

    pub(crate) fn usage(error: impl std::fmt::Display) -> Self {
        Self { code: ExitCode::Usage, text: error.to_string() }
    }

    pub(crate) const fn is_dependency(&self) -> bool {
        matches!(self.code, ExitCode::Dependency)
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn dependency(error: impl std::fmt::Display) -> Self {
        Self { code: ExitCode::Dependency, text: error.to_string() }
    }
}

impl From<crate::config::ConfigError> for CliError {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::usage(error)
    }
}

impl From<crate::serve::ServeError> for CliError {
    fn from(error: crate::serve::ServeError) -> Self {
        if error.is_dependency() { Self::dependency(error) } else { Self::usage(error) }
    }
}

/// Prints an answer on standard output. A reader that went away has seen enough.
fn print(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

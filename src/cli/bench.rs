//! `crossfade bench`.

use std::io::IsTerminal;
use std::sync::Arc;

use super::exit_code::ExitCode;
use super::{CliError, Format, print};
use crate::bench::{self, BenchError, BenchOptions};
use crate::clock::{SystemClock, SystemEntropy};

#[derive(Debug, clap::Args)]
pub(super) struct BenchArgs {
    /// Rows that the sample API is seeded with.
    #[arg(long, default_value_t = 1_000)]
    rows: usize,
    /// Pairs of requests measured for each question.
    #[arg(long, default_value_t = 200)]
    requests: usize,
    /// A few of everything: to see that it runs, not to quote.
    #[arg(long)]
    quick: bool,
    /// How the results are printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Measures both paths side by side, on servers of its own.
pub(super) async fn run(args: BenchArgs) -> Result<ExitCode, CliError> {
    let options = BenchOptions {
        rows: args.rows,
        requests: args.requests,
        quick: args.quick,
        progress: std::io::stderr().is_terminal(),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
    };
    let document = bench::run(&options).await.map_err(error)?;
    match args.format {
        Format::Text => print(document.to_text().trim_end()),
        Format::Json => print(&document.to_json().map_err(CliError::dependency)?),
    }
    Ok(ExitCode::Done)
}

fn error(error: BenchError) -> CliError {
    match error {
        BenchError::Options(_) => CliError::usage(error),
        BenchError::Wrong(_) | BenchError::TooSlow(_) => CliError::failed(error),
        BenchError::Start(_) => CliError::dependency(error),
    }
}

//! `crossfade bench`.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::exit_code::ExitCode;
use super::{CliError, Format, print};
use crate::bench::peer::{self, PeerDocument, StoreOptions, SyncCase, SyncOptions, SyncSide};
use crate::bench::proxy::{self, ProxyOptions};
use crate::bench::rollback::RollbackOptions;
use crate::bench::{self, BenchError, BenchOptions};
use crate::clock::{SystemClock, SystemEntropy};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    what: Option<What>,
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

#[derive(Debug, clap::Subcommand)]
enum What {
    /// The sync server beside TinyBase's own Node server, under the same load.
    Sync(SyncArgs),
    /// The store beside TinyBase's own store in Node, at the same work.
    Store(StoreArgs),
    /// The proxy beside a plain pass-through, and beside nginx where that is installed.
    Proxy(ProxyArgs),
    /// How soon a rollback holds: two processes on one database, under load.
    Rollback(RollbackBenchArgs),
    /// The legacy API's share of `proxy`.
    #[command(hide = true)]
    ProxyStub,
    /// The pass-through's share of `proxy`.
    #[command(hide = true)]
    ProxyPassThrough {
        /// Where requests go.
        to: SocketAddr,
    },
    /// The store's share of `store`: jobs on standard input, answers on standard output.
    #[command(hide = true)]
    StoreWorker,
}

/// What both comparisons take.
#[derive(Debug, clap::Args)]
struct PeerArgs {
    /// Beside TinyBase's own code in Node: the only comparison there is.
    #[arg(long, required = true)]
    peer: bool,
    /// A little of everything: to see that it runs, not to quote.
    #[arg(long)]
    quick: bool,
    /// Where packages/peer-bench is, if not below the working directory.
    #[arg(long, value_name = "FOLDER")]
    package: Option<PathBuf>,
    /// How the results are printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, clap::Args)]
struct SyncArgs {
    #[command(flatten)]
    common: PeerArgs,
    /// Servers that are measured; all without it. May be given several times.
    #[arg(long, value_enum)]
    side: Vec<SyncSide>,
    /// What is measured; all without it. May be given several times.
    #[arg(long, value_enum)]
    case: Vec<SyncCase>,
    /// Paths under load.
    #[arg(long, default_value_t = 10)]
    paths: usize,
    /// Clients of each path.
    #[arg(long, default_value_t = 50)]
    clients: usize,
    /// Edits a second, over all paths, at which processor time is compared.
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// The crossfade that serves, if not this one: to compare builds.
    #[arg(long, value_name = "FILE")]
    crossfade: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct StoreArgs {
    #[command(flatten)]
    common: PeerArgs,
    /// Rows that are merged; one edit is measured in stores of up to ten times as many.
    #[arg(long, default_value_t = 100_000)]
    rows: u32,
}

#[derive(Debug, clap::Args)]
struct ProxyArgs {
    /// Pairs of turns for each stage, 10 to 200.
    #[arg(long, default_value_t = 12)]
    pairs: usize,
    /// How long one turn lasts, in seconds, 1 to 60.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Requests a second, instead of 30 % of what saturates the pass-through.
    #[arg(long)]
    rate: Option<f64>,
    /// Client connections, 1 to 512.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Decides in which order sides take their turns.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// A little of everything, without verdicts: to see that it runs, not to quote.
    #[arg(long)]
    quick: bool,
    /// The nginx to compare with, if not the one on the search path.
    #[arg(long, value_name = "FILE")]
    nginx: Option<PathBuf>,
    /// The crossfade that serves, if not this one: to compare builds.
    #[arg(long, value_name = "FILE")]
    crossfade: Option<PathBuf>,
    /// How the results are printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, clap::Args)]
struct RollbackBenchArgs {
    /// Requests a second, over both processes.
    #[arg(long, default_value_t = 2_500.0)]
    rate: f64,
    /// Client connections, 2 to 512.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Half the time: to see that it runs, not to quote.
    #[arg(long)]
    quick: bool,
    /// How the results are printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

async fn rollback(args: RollbackBenchArgs) -> Result<ExitCode, CliError> {
    let options = RollbackOptions {
        rate: args.rate,
        connections: args.connections,
        quick: args.quick,
        progress: std::io::stderr().is_terminal(),
        clock: Arc::new(SystemClock),
    };
    let Some(document) = unless_stopped(bench::rollback::run(&options)).await? else {
        return Ok(ExitCode::Interrupted);
    };
    let text = match args.format {
        Format::Text => document.to_text(),
        Format::Json => document.to_json().map_err(CliError::dependency)?,
    };
    Ok(judged(&text, document.passed()))
}

/// Measures side by side, on servers of its own.
pub(super) async fn run(args: BenchArgs) -> Result<ExitCode, CliError> {
    match args.what {
        None => {}
        Some(What::Sync(args)) => return sync(args).await,
        Some(What::Store(args)) => return store(args).await,
        Some(What::Proxy(args)) => return beside_proxies(args).await,
        Some(What::Rollback(args)) => return rollback(args).await,
        Some(What::ProxyStub) => return done(proxy::stub(print).await),
        Some(What::ProxyPassThrough { to }) => return done(proxy::pass_through(to, print).await),
        Some(What::StoreWorker) => {
            let work = || peer::store_worker(std::io::stdin().lock(), std::io::stdout().lock());
            let worked = tokio::task::spawn_blocking(work).await.map_err(CliError::failed)?;
            return done(worked);
        }
    }
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

async fn sync(args: SyncArgs) -> Result<ExitCode, CliError> {
    let options = SyncOptions {
        sides: args.side,
        cases: args.case,
        paths: args.paths,
        clients: args.clients,
        rate: args.rate,
        quick: args.common.quick,
        progress: std::io::stderr().is_terminal(),
        package: args.common.package,
        crossfade: args.crossfade,
        clock: Arc::new(SystemClock),
    };
    show(&peer::sync(&options).await.map_err(error)?, args.common.format)
}

async fn store(args: StoreArgs) -> Result<ExitCode, CliError> {
    let options = StoreOptions {
        rows: args.rows,
        quick: args.common.quick,
        progress: std::io::stderr().is_terminal(),
        package: args.common.package,
        clock: Arc::new(SystemClock),
    };
    show(&peer::store(&options).await.map_err(error)?, args.common.format)
}

async fn beside_proxies(args: ProxyArgs) -> Result<ExitCode, CliError> {
    let options = ProxyOptions {
        pairs: args.pairs,
        seconds: args.seconds,
        rate: args.rate,
        connections: args.connections,
        seed: args.seed,
        quick: args.quick,
        progress: std::io::stderr().is_terminal(),
        nginx: args.nginx,
        crossfade: args.crossfade,
        clock: Arc::new(SystemClock),
    };
    let Some(document) = unless_stopped(proxy::run(&options)).await? else {
        return Ok(ExitCode::Interrupted);
    };
    let text = match args.format {
        Format::Text => document.to_text(),
        Format::Json => document.to_json().map_err(CliError::dependency)?,
    };
    Ok(judged(&text, document.passed()))
}

/// What a benchmark found; `None` if it was stopped by a signal. Dropped, the run ends its servers and removes their folders.
async fn unless_stopped<T>(
    run: impl Future<Output = Result<T, BenchError>>,
) -> Result<Option<T>, CliError> {
    tokio::select! {
        measured = run => measured.map(Some).map_err(error),
        stopped = stop_signal() => stopped.map(|()| None),
    }
}

fn judged(text: &str, passed: bool) -> ExitCode {
    print(text.trim_end());
    if passed { ExitCode::Done } else { ExitCode::Failed }
}

/// Ends with the first SIGINT or SIGTERM.
async fn stop_signal() -> Result<(), CliError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::dependency)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(CliError::dependency)?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

fn done(worked: Result<(), BenchError>) -> Result<ExitCode, CliError> {
    worked.map(|()| ExitCode::Done).map_err(error)
}

fn show(document: &PeerDocument, format: Format) -> Result<ExitCode, CliError> {
    match format {
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

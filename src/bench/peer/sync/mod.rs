//! `crossfade bench sync --peer`: two sync servers under the same load.
//!
//! Each server is a child process; the load, and the legacy API behind crossfade, are this process. What is
//! measured of a server is its own processor time and memory, and what its clients see.

mod crowd;
mod first_sync;
mod idle;
mod legacy;
mod light;
mod plan;
mod relay;
mod server;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use indicatif::ProgressBar;

use super::document::{Figure, GoalRatio, PeerDocument};
use super::node::{PACKAGE, Package};
use crate::bench::document::Machine;
use crate::bench::{BUILD, BenchError, spinner};
use crate::clock::SharedClock;

use legacy::LegacyApi;
use plan::Plan;
use server::Starting;
pub use server::SyncSide;

/// A part of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum SyncCase {
    /// Processor time at a rate that all sustain.
    SameLoad,
    /// The highest rate of each side; then all at what `node_relay` just sustains, and just does not.
    Saturation,
    /// Memory of connections that do nothing.
    Idle,
    /// Loading a large store, and a new client that gets all of it.
    FirstSync,
}

/// What to measure.
#[derive(Debug, Clone)]
pub struct SyncOptions {
    /// Which servers; empty: all.
    pub sides: Vec<SyncSide>,
    /// Paths under load.
    pub paths: usize,
    /// Clients of each path.
    pub clients: usize,
    /// Edits a second, over all paths, of the load at which processor time is compared.
    pub rate: f64,
    /// What to measure; empty: all.
    pub cases: Vec<SyncCase>,
    /// A little of everything: to see that it works.
    pub quick: bool,
    /// Shows what is measured on stderr; for terminals.
    pub progress: bool,
    /// Where `packages/peer-bench` is; `None`: below the working directory.
    pub package: Option<PathBuf>,
    /// The crossfade that serves; `None`: this program.
    pub crossfade: Option<PathBuf>,
    /// Wall time.
    pub clock: SharedClock,
}

/// What the cases need of the run.
struct Run {
    plan: Plan,
    starting: Starting,
    legacy: LegacyApi,
    clock: SharedClock,
    progress: ProgressBar,
    figures: Vec<Figure>,
    ratios: Vec<GoalRatio>,
    notes: Vec<String>,
}

impl Run {
    fn figure(
        &mut self,
        case: &str,
        name: &'static str,
        side: SyncSide,
        (value, unit, n): (f64, &'static str, u64),
    ) {
        let case = case.to_owned();
        self.figures.push(Figure { case, name, side: side.name(), unit, value, n });
    }

    /// Ratios of one figure: each crossfade to each peer among `peers`.
    fn goal(
        &mut self,
        ratio: &'static str,
        case: &str,
        figure: &str,
        peers: &[SyncSide],
        goal: f64,
    ) {
        let of = |side: SyncSide| {
            self.figures
                .iter()
                .find(|f| f.case == case && f.name == figure && f.side == side.name())
        };
        let mut ratios = Vec::new();
        for side in self.plan.sides.iter().filter(|side| !side.is_node()) {
            for peer in peers {
                if let (Some(ours), Some(theirs)) = (of(*side), of(*peer)) {
                    ratios.extend(GoalRatio::at_most(ratio, ours, theirs, goal));
                }
            }
        }
        self.ratios.extend(ratios);
    }

    /// One side could not be measured: that is told, and the others go on.
    fn not_measured(&mut self, side: SyncSide, case: &str, why: &BenchError) {
        self.notes.push(format!("{}, {case}: not measured: {why}", side.name()));
    }

    fn say(&self, side: SyncSide, what: &str) {
        self.progress.set_message(format!("{}: {what}", side.name()));
    }
}

/// Measures everything.
///
/// # Errors
/// [`BenchError`]; nothing is left running, and no figure is given for what was not measured.
pub async fn run(options: &SyncOptions) -> Result<PeerDocument, BenchError> {
    let plan = Plan::of(options)?;
    let machine = Machine::here();
    let folder = options.package.clone().unwrap_or_else(|| PACKAGE.into());
    let package = Package::find(&folder)?;
    let node = package.node_version().await?;
    let crossfade = match &options.crossfade {
        Some(path) => path.clone(),
        None => std::env::current_exe()
            .map_err(|error| BenchError::Start(format!("this program's own file: {error}")))?,
    };
    let legacy = LegacyApi::start().await?;
    let http = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .build()
        .map_err(|error| BenchError::Start(error.to_string()))?;
    let starting = Starting { package, crossfade, legacy: legacy.address, http };
    let mut run = Run {
        plan,
        starting,
        legacy,
        clock: options.clock.clone(),
        progress: spinner(options.progress),
        figures: Vec::new(),
        ratios: Vec::new(),
        notes: Vec::new(),
    };
    let measured = measure(&mut run, &options.cases).await;
    run.progress.finish_and_clear();
    measured?;
    let mut setup = run.plan.setup();
    setup.insert("node", node.into());
    Ok(PeerDocument {
        version: 1,
        benchmark: "sync_peer",
        generated_at: crate::scenario::iso(options.clock.now_ms()),
        machine,
        build: BUILD,
        quick: options.quick,
        setup,
        sides: run.plan.sides.iter().map(|side| side.side()).collect(),
        figures: run.figures,
        ratios: run.ratios,
        notes: run.notes,
    })
}

async fn measure(run: &mut Run, cases: &[SyncCase]) -> Result<(), BenchError> {
    let wanted = |case| cases.is_empty() || cases.contains(&case);
    if wanted(SyncCase::SameLoad) {
        relay::same_load(run).await?;
    }
    if wanted(SyncCase::Saturation) {
        relay::highest_rate(run).await?;
        relay::at_saturation(run).await?;
    }
    if wanted(SyncCase::Idle) {
        idle::connections(run).await?;
    }
    if wanted(SyncCase::FirstSync) {
        first_sync::large_store(run).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! `crossfade bench`: the success metrics, measured on this machine, in one run, on both paths.
//!
//! The first two: query response time and sync latency; and what the proxy adds. Client, crossfade and
//! the built-in sample legacy API run in one process and speak over loopback sockets, so all figures
//! are those of software alone: no network between, and both sides share the processor.
//!
//! ```text
//! options ─ Plan ─ Environment ─ in_turns (A B, B A, …) ─ Samples ─ Document ─ JSON, text
//! ```

mod child;
mod document;
mod http;
mod latency;
pub mod peer;
pub mod proxy;
mod queries;
mod recipe;
pub mod rollback;
mod served;
mod stats;
mod turns;
mod usage;

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

pub use document::{Document, Machine, Metric, MetricName, Path, Ratio, Setup};
use turns::{Bound, Pairs};

use crate::clock::{SharedClock, SharedEntropy};
use crate::demo::legacy_api::Seed;
use crate::scenario::environment::Environment;

/// Whether this program was built for measuring.
const BUILD: &str = if cfg!(debug_assertions) { "debug" } else { "release" };
/// The organisation that all rows belong to.
const ORG: &str = "org_1";
/// More rows make the backfill the longest part of the run.
const MAX_ROWS: usize = 20_000;
const MAX_REQUESTS: usize = 100_000;
const TOPOLOGY: &str =
    "client, crossfade and sample legacy API in one process, over loopback sockets";
const DURABILITY: &str = "crossfade: an edit is flushed to disk before anyone sees it \
    (write-ahead log, synchronous = FULL); sample legacy API: a write is not flushed before it is \
    answered (WAL, synchronous = NORMAL)";

/// What to measure.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// Rows in legacy and store, 1 to 20,000.
    pub rows: usize,
    /// Samples per case and path, 5 to 100,000. Each case has a time limit too.
    pub requests: usize,
    /// A tenth of the samples and a fifth of the time: to see that it works.
    pub quick: bool,
    /// Shows what is measured on stderr; for terminals.
    pub progress: bool,
    /// Wall time.
    pub clock: SharedClock,
    /// Randomness, for keys and sessions; what is measured is drawn from a fixed seed.
    pub entropy: SharedEntropy,
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// An option is out of bounds.
    #[error("{0}")]
    Options(String),
    /// The servers could not be started or prepared.
    #[error("the benchmark's servers could not be started: {0}")]
    Start(String),
    /// Something was answered as it should not be; figures of it would mislead.
    #[error("the benchmark was given up: {0}")]
    Wrong(String),
    /// Not even the least could be measured in time.
    #[error("the benchmark was given up: {0} took too long; try fewer rows, or a machine at rest")]
    TooSlow(String),
}

impl BenchError {
    /// The exit code: 1 measured and found wrong, 2 wrong usage, 3 something needed could not be had.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Wrong(_) | Self::TooSlow(_) => 1,
            Self::Options(_) => 2,
            Self::Start(_) => 3,
        }
    }
}

/// What will be measured.
struct Plan {
    rows: usize,
    /// Decides which rows and pages are asked for: the same in every run.
    seed: u64,
    queries: Bound,
    overhead: Bound,
    latency: Bound,
    /// Samples of the polling client, each of up to one interval.
    polls: usize,
    poll_every: Duration,
}

impl Plan {
    fn of(options: &BenchOptions) -> Result<Self, BenchError> {
        if !(1..=MAX_ROWS).contains(&options.rows) {
            let text = format!("--rows {}: must be from 1 to {MAX_ROWS}", options.rows);
            return Err(BenchError::Options(text));
        }
        if !(5..=MAX_REQUESTS).contains(&options.requests) {
            let text = format!("--requests {}: must be from 5 to {MAX_REQUESTS}", options.requests);
            return Err(BenchError::Options(text));
        }
        let (samples, seconds) = if options.quick {
            ((options.requests / 10).max(5), 2)
        } else {
            (options.requests, 10)
        };
        let bound =
            |pairs: usize, warm_up| Bound { pairs, time: Duration::from_secs(seconds), warm_up };
        Ok(Self {
            rows: options.rows,
            seed: 2026,
            queries: bound(samples, (samples / 10).clamp(2, 50)),
            overhead: bound(samples * 2, (samples / 10).clamp(2, 50)),
            latency: bound((samples / 2).max(5), 3),
            polls: if options.quick { 3 } else { 20 },
            poll_every: Duration::from_secs(1),
        })
    }
}

/// Measures everything.
///
/// # Errors
/// [`BenchError`]; nothing is left running, and no figure is given for what was not measured.
pub async fn run(options: &BenchOptions) -> Result<Document, BenchError> {
    let plan = Plan::of(options)?;
    let machine = Machine::here();
    let generated_at = crate::scenario::iso(options.clock.now_ms());
    let progress = spinner(options.progress);
    progress.set_message("starting the legacy API and crossfade");
    let seed = Seed { seed: plan.seed, users: plan.rows, organisations: 1 };
    let environment = Environment::start(seed, options.clock.clone(), options.entropy.clone())
        .await
        .map_err(BenchError::Start)?;
    let measured = measure(&environment, &plan, &progress).await;
    progress.finish_and_clear();
    if let Err(why) = environment.stop().await {
        tracing::warn!(%why, "the benchmark's servers did not stop cleanly");
    }
    let (metrics, ratios) = measured?;
    Ok(Document {
        version: 1,
        generated_at,
        machine,
        setup: Setup {
            rows: plan.rows,
            requests: options.requests,
            quick: options.quick,
            build: BUILD,
            topology: TOPOLOGY,
            durability: DURABILITY,
        },
        metrics,
        ratios,
    })
}

async fn measure(
    environment: &Environment,
    plan: &Plan,
    progress: &ProgressBar,
) -> Result<(Vec<Metric>, Vec<Ratio>), BenchError> {
    let (mut metrics, mut ratios) = (Vec::new(), Vec::new());
    progress.set_message("proxy overhead");
    queries::overhead(environment, plan, &mut metrics, &mut ratios).await?;
    progress.set_message("backfill");
    let dualwrite = crate::scenario::StageChange {
        stage: crate::migration::Stage::DualWrite,
        cohort: None,
        shadow: Some(0),
    };
    environment.set_stage(dualwrite).await.map_err(BenchError::Start)?;
    environment.backfill().await.map_err(BenchError::Start)?;
    progress.set_message("query response time");
    queries::response_times(environment, plan, &mut metrics, &mut ratios).await?;
    progress.set_message("sync latency");
    latency::sync_latency(environment, plan, &mut metrics, &mut ratios).await?;
    Ok((metrics, ratios))
}

fn ratio(name: &'static str, case: &str, pairs: &Pairs) -> Option<Ratio> {
    let found = pairs.ratio()?;
    Some(Ratio {
        name,
        case: case.to_owned(),
        value: found.value,
        ci_low: found.low,
        ci_high: found.high,
        n: pairs.len(),
    })
}

fn spinner(show: bool) -> ProgressBar {
    if !show {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::new_spinner();
    // The template is fixed; one that could not be read would show a plain spinner.
    if let Ok(style) = ProgressStyle::with_template("{spinner} bench: {msg} ({elapsed})") {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::{SystemClock, SystemEntropy};

    fn options(rows: usize, requests: usize) -> BenchOptions {
        BenchOptions {
            rows,
            requests,
            quick: true,
            progress: false,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        }
    }

    #[tokio::test]
    async fn options_out_of_bounds_are_refused_before_anything_starts() {
        for (rows, requests) in [(0, 100), (20_001, 100), (10, 4), (10, 100_001)] {
            let refused = run(&options(rows, requests)).await.unwrap_err();
            assert!(matches!(refused, BenchError::Options(_)) && refused.exit_code() == 2);
        }
    }

    /// Says nothing about time: only that everything is measured, on both paths.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_quick_run_measures_every_case_on_both_paths() {
        let document = run(&options(60, 50)).await.unwrap();
        let of = |name: MetricName, path: Path| -> Vec<&str> {
            let metrics = document.metrics.iter();
            let metrics = metrics.filter(|one| one.metric == name && one.path == path);
            metrics.map(|one| one.case.as_str()).collect()
        };
        let cases = ["list", "filter", "sort", "page", "get"];
        assert_eq!(of(MetricName::QueryResponseTime, Path::Legacy), cases);
        assert_eq!(of(MetricName::QueryResponseTime, Path::Sync), cases);
        assert_eq!(of(MetricName::SyncLatency, Path::Sync), ["edit to visible"]);
        assert_eq!(
            of(MetricName::SyncLatency, Path::Legacy),
            ["refetch at once", "refetch every 1000 ms"]
        );
        for metric in &document.metrics {
            assert!(metric.n >= 3 && metric.p50 >= 1, "{metric:?}");
            assert!(metric.p50 <= metric.p95 && metric.p95 <= metric.p99, "{metric:?}");
        }
        let overhead = document.ratios.iter().find(|one| one.name == "proxy_overhead_p50").unwrap();
        assert!(overhead.ci_low <= overhead.value && overhead.value <= overhead.ci_high);
    }
}

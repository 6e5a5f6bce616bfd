//! `crossfade bench proxy`: what crossfade costs beside a plain reverse proxy, and beside nginx.
//!
//! ```text
//! plan ─ servers (child processes) ─ as fast as they go ─ 30 % of that, in pairs ─ ratios ─ document
//! ```
//!
//! The load generator is this process; the stub of the legacy API and each proxy are processes of
//! their own. What a figure is, and what is outside it: `docs/benchmarks.md`.

pub(super) mod arrivals;
mod comparisons;
mod document;
mod fixed_rate;
pub(super) mod load;
mod measure;
mod nginx;
mod pairs;
mod plan;
mod saturation;
pub(super) mod servers;
mod verdict;
pub(super) mod wire;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use document::{FailedRequests, ProxyComparisons, ProxyDocument, ProxyResult, ProxySide};
pub use verdict::{Goal, Verdict};
pub use worker::{pass_through, stub};

use super::document::Machine;
use super::{BUILD, BenchError, recipe, spinner};
use crate::clock::SharedClock;
use measure::Run;
use plan::Plan;
use servers::{Servers, Side, Starting};

/// The organisation of all rows.
pub(super) const ORG: &str = "o_1";
/// Rows of the stub and the store.
const ROWS: u32 = 200;
/// The list that is asked for.
const LIST: &str = "/users?limit=20";
/// The load at which latencies are compared, by what saturates the pass-through.
const SHARE: f64 = 0.3;

/// What to measure.
#[derive(Debug, Clone)]
pub struct ProxyOptions {
    /// Pairs of turns for each stage, 10 to 200.
    pub pairs: usize,
    /// How long one turn lasts, 1 to 60 s.
    pub seconds: f64,
    /// Requests a second; `None`: 30 % of what saturates the pass-through.
    pub rate: Option<f64>,
    /// Client connections, 1 to 512.
    pub connections: usize,
    /// Decides in which order sides take their turns.
    pub seed: u64,
    /// Two short pairs of each, and no verdict: to see that it works.
    pub quick: bool,
    /// Shows what is measured on stderr; for terminals.
    pub progress: bool,
    /// The nginx to compare with; `None`: the one on the search path, if there is one.
    pub nginx: Option<PathBuf>,
    /// The crossfade that serves; `None`: this program.
    pub crossfade: Option<PathBuf>,
    /// Wall time.
    pub clock: SharedClock,
}

/// Measures everything.
///
/// # Errors
/// [`BenchError`]; nothing is left running, and no figure is given for what was not measured.
pub async fn run(options: &ProxyOptions) -> Result<ProxyDocument, BenchError> {
    let plan = Plan::of(options)?;
    let machine = Machine::here();
    let progress = spinner(options.progress);
    progress.set_message("starting servers");
    let servers = Servers::start(&starting(options)?).await?;
    let mut run = Run::new(plan, servers, progress, options.quick);
    let measured = run.measure().await;
    run.progress.finish_and_clear();
    let Run { plan, servers, found, rate, .. } = run;
    let (sides, nginx) = (sides(&servers), servers.nginx_version.clone());
    servers.stop().await;
    measured?;
    let mut setup = plan.setup();
    setup.insert("rate_per_s", rate.round().into());
    setup.extend(nginx.map(|version| ("nginx", version.into())));
    Ok(ProxyDocument {
        version: 1,
        benchmark: "proxy",
        generated_at: crate::scenario::iso(options.clock.now_ms()),
        machine,
        build: BUILD,
        quick: options.quick,
        setup,
        sides,
        results: found.results,
        figures: found.figures,
        comparisons: found.comparisons,
        failures: found.failures,
        notes: found.notes,
    })
}

fn starting(options: &ProxyOptions) -> Result<Starting, BenchError> {
    let program = std::env::current_exe()
        .map_err(|error| BenchError::Start(format!("this program's own file: {error}")))?;
    let http = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .build()
        .map_err(|error| BenchError::Start(error.to_string()))?;
    let crossfade = options.crossfade.clone().unwrap_or_else(|| program.clone());
    let nginx = options.nginx.clone().or_else(nginx::on_path);
    Ok(Starting { program, crossfade, nginx, http })
}

fn sides(servers: &Servers) -> Vec<ProxySide> {
    let there = Side::ALL.into_iter().filter(|side| servers.get(*side).is_some());
    there.map(|side| ProxySide { name: side.name(), what: side.what() }).collect()
}

/// The request target of a row.
fn row_target(row: u32) -> String {
    format!("/users/{}", recipe::synced_row_id(ORG, row))
}

/// What is asked in turn, as a browser would: three single rows and a list.
pub(super) fn requests() -> Arc<[Vec<u8>]> {
    let rows = (0..ROWS).collect::<Vec<_>>();
    let targets = rows.chunks_exact(3).flat_map(|three| {
        three.iter().map(|row| row_target(*row)).chain(std::iter::once(LIST.to_owned()))
    });
    targets.map(|target| request(&target)).collect()
}

/// The user's assertion of who they are, which the pass-through carries as well, is what a comparison
/// needs to ask the store.
fn request(target: &str) -> Vec<u8> {
    format!(
        "GET {target} HTTP/1.1\r\n\
         Host: app.example.com\r\n\
         Accept: application/json, text/plain, */*\r\n\
         Accept-Encoding: gzip, deflate, br\r\n\
         Accept-Language: en-GB,en;q=0.9\r\n\
         Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1XzEifQ.c2lnbmF0dXJl\r\n\
         Cookie: theme=dark\r\n\
         Referer: https://app.example.com/users\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n\
         Crossfade-Dev-User: bench\r\n\
         Crossfade-Dev-Org: {ORG}\r\n\
         Crossfade-Dev-Role: admin\r\n\r\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests;

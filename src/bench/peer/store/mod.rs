//! `crossfade bench store --peer`: the same jobs for crossfade's store and for TinyBase's, in turns.
//!
//! Both sides are a child process that takes jobs in lines of JSON: `worker.rs` here,
//! `packages/peer-bench/src/store-worker.js` there. Both make their data by the recipe (`recipe.rs`), and say
//! by hashes that they have done the same.

mod queries;
mod worker;

use std::path::PathBuf;
use std::time::Duration;

use indicatif::ProgressBar;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::Command;

use super::document::{Figure, GoalRatio, PeerDocument, Side};
use super::node::{PACKAGE, Package};
use crate::bench::document::Machine;
use crate::bench::{BUILD, BenchError, child::Child, recipe, spinner};
use crate::clock::SharedClock;

pub use worker::work;

/// How long one job may take.
const JOB: Duration = Duration::from_secs(600);
/// The goals: crossfade by TinyBase at most this (docs/benchmarks.md).
const TIME_GOAL: f64 = 0.1;
const MEMORY_GOAL: f64 = 0.2;
/// Rows whose text both sides compare before anything is measured.
const COMPARED_ROWS: u32 = 25_000;
/// Stamps number the writes with 24 bits: room for six writes a row, and for the edits.
const MAX_ROWS: u32 = 1_000_000;

const NODE: Side = Side {
    name: "node",
    what: "TinyBase 10.0.1's MergeableStore and synchronizer in Node",
    durability: "in memory",
};
const CROSSFADE: Side = Side {
    name: "crossfade",
    what: "crates/mergeable-store: MergeableStore and Synchronizer",
    durability: "in memory",
};

/// What to measure.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Rows that are merged, and that memory is measured with: 1 to 1,000,000. One edit is measured in stores
    /// of up to ten times as many.
    pub rows: u32,
    /// A little of everything: to see that it works.
    pub quick: bool,
    /// Shows what is measured on stderr; for terminals.
    pub progress: bool,
    /// Where `packages/peer-bench` is; `None`: below the working directory.
    pub package: Option<PathBuf>,
    /// Wall time.
    pub clock: SharedClock,
}

struct Plan {
    /// Rows that are merged, and that memory is measured with.
    rows: u32,
    rounds: usize,
    /// Rows of the stores that one edit is measured in.
    curve: Vec<u32>,
    /// Edits of one measurement.
    edits: u32,
    /// Sorted pages of one measurement.
    pages: u32,
}

impl Plan {
    fn of(options: &StoreOptions) -> Result<Self, BenchError> {
        let rows = options.rows;
        if !(1..=MAX_ROWS).contains(&rows) {
            let text = format!("--rows {rows}: must be from 1 to {MAX_ROWS}");
            return Err(BenchError::Options(text));
        }
        if options.quick {
            return Ok(Self { rows: 300, rounds: 2, curve: vec![100, 300], edits: 20, pages: 3 });
        }
        let curve = [1_000, 10_000, 100_000, 1_000_000];
        let curve = curve.into_iter().filter(|stored| *stored <= rows.saturating_mul(10));
        Ok(Self { rows, rounds: 3, curve: curve.collect(), edits: 2_000, pages: 20 })
    }
}

/// What a worker answers; each job has its own part of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    error: Option<String>,
    digest: Option<String>,
    /// Wall time of the timed part.
    ns: Option<f64>,
    /// Processor time of the process meanwhile, all threads: garbage collection is part of it.
    cpu_ns: Option<f64>,
    hashes: Option<[u32; 2]>,
    taken: Option<bool>,
    result_rows: Option<u64>,
    page: Option<Vec<String>>,
    bytes: Option<f64>,
    rss_bytes: Option<f64>,
}

/// The two sides.
struct Workers {
    node: Child,
    crossfade: Child,
}

impl Workers {
    fn start(package: &Package) -> Result<Self, BenchError> {
        let own = std::env::current_exe()
            .map_err(|error| BenchError::Start(format!("this program's own file: {error}")))?;
        let mut crossfade = Command::new(own);
        crossfade.args(["bench", "store-worker"]);
        Ok(Self {
            node: Child::start(NODE.name, package.node("store-worker.js"))?,
            crossfade: Child::start(CROSSFADE.name, crossfade)?,
        })
    }

    /// One job for both, one after the other; `turn` decides who is first.
    async fn both(&mut self, job: &Value, turn: usize) -> Result<[Answer; 2], BenchError> {
        let job = job.to_string();
        if turn.is_multiple_of(2) {
            let node = ask(&mut self.node, &job).await?;
            Ok([node, ask(&mut self.crossfade, &job).await?])
        } else {
            let crossfade = ask(&mut self.crossfade, &job).await?;
            Ok([ask(&mut self.node, &job).await?, crossfade])
        }
    }

    async fn stop(self) {
        self.node.stop().await;
        self.crossfade.stop().await;
    }
}

async fn ask(child: &mut Child, job: &str) -> Result<Answer, BenchError> {
    let answer = child.ask(job, JOB).await?;
    let answer: Answer = serde_json::from_value(answer)
        .map_err(|error| BenchError::Wrong(format!("an answer to {job}: {error}")))?;
    match answer.error {
        Some(error) => Err(BenchError::Wrong(format!("{job}: {error}"))),
        None => Ok(answer),
    }
}

struct Run {
    plan: Plan,
    package: Package,
    progress: ProgressBar,
    figures: Vec<Figure>,
    ratios: Vec<GoalRatio>,
}

/// Measures everything.
///
/// # Errors
/// [`BenchError`]; nothing is left running, and no figure is given for what was not measured.
pub async fn run(options: &StoreOptions) -> Result<PeerDocument, BenchError> {
    let plan = Plan::of(options)?;
    let machine = Machine::here();
    let folder = options.package.clone().unwrap_or_else(|| PACKAGE.into());
    let package = Package::find(&folder)?;
    let node = package.node_version().await?;
    let mut run = Run {
        plan,
        package,
        progress: spinner(options.progress),
        figures: Vec::new(),
        ratios: Vec::new(),
    };
    let measured = run.measure().await;
    run.progress.finish_and_clear();
    measured?;
    let setup = [
        ("rows", run.plan.rows.into()),
        ("cells_per_row", recipe::CELLS_PER_ROW.into()),
        ("rounds", run.plan.rounds.into()),
        ("edits", run.plan.edits.into()),
        ("node", node.into()),
        (
            "time",
            "processor time of the whole process, garbage collection included; medians of rounds"
                .into(),
        ),
    ];
    Ok(PeerDocument {
        version: 1,
        benchmark: "store_peer",
        generated_at: crate::scenario::iso(options.clock.now_ms()),
        machine,
        build: BUILD,
        quick: options.quick,
        setup: setup.into(),
        sides: vec![NODE, CROSSFADE],
        figures: run.figures,
        ratios: run.ratios,
        notes: Vec::new(),
    })
}

impl Run {
    async fn measure(&mut self) -> Result<(), BenchError> {
        let mut workers = Workers::start(&self.package)?;
        self.compare(&mut workers).await?;
        self.merges(&mut workers).await?;
        self.edits(&mut workers).await?;
        self.queries(&mut workers).await?;
        workers.stop().await;
        self.memory().await
    }

    /// Whether both sides make the same data.
    async fn compare(&mut self, workers: &mut Workers) -> Result<(), BenchError> {
        self.progress.set_message("comparing the data");
        let rows = self.plan.rows.min(COMPARED_ROWS);
        let [node, crossfade] = workers.both(&json!({ "op": "digest", "rows": rows }), 0).await?;
        if node.digest.is_none() || node.digest != crossfade.digest {
            let text = "the two sides do not make the same data (recipe.rs, recipe.js)";
            return Err(BenchError::Wrong(text.to_owned()));
        }
        Ok(())
    }

    async fn merges(&mut self, workers: &mut Workers) -> Result<(), BenchError> {
        let cells = self.plan.rows * recipe::CELLS_PER_ROW;
        for (op, what) in [("merge_text", "from text"), ("merge_parsed", "parsed before")] {
            let case = format!("merge of {cells} cells, {what}");
            let job = json!({ "op": op, "rows": self.plan.rows });
            let mut times = Times::default();
            // The first round warms up.
            for round in 0..=self.plan.rounds {
                self.progress.set_message(format!("{case}, round {round}"));
                let [node, crossfade] = workers.both(&job, round).await?;
                if node.hashes.is_none() || node.hashes != crossfade.hashes {
                    let text = format!("{case}: the two stores do not have the same hashes");
                    return Err(BenchError::Wrong(text));
                }
                if round > 0 {
                    times.add(&[node, crossfade]);
                }
            }
            self.report(&case, "merge", 1e6, "ms", &times);
        }
        Ok(())
    }

    async fn edits(&mut self, workers: &mut Workers) -> Result<(), BenchError> {
        for rows in self.plan.curve.clone() {
            let case = format!("one edit in {rows} rows");
            let job = json!({ "op": "edit", "rows": rows, "edits": self.plan.edits });
            let mut times = Times::default();
            for round in 0..=self.plan.rounds {
                self.progress.set_message(format!("{case}, round {round}"));
                let answers = workers.both(&job, round).await?;
                if answers.iter().any(|answer| answer.taken != Some(true)) {
                    return Err(BenchError::Wrong(format!("{case}: an edit was not taken")));
                }
                if round > 0 {
                    times.add(&answers);
                }
            }
            workers.both(&json!({ "op": "drop", "rows": 0 }), 0).await?;
            self.report(&case, "edit", f64::from(self.plan.edits) * 1e3, "us", &times);
        }
        Ok(())
    }

    async fn queries(&mut self, workers: &mut Workers) -> Result<(), BenchError> {
        let Plan { rows, edits, pages, .. } = self.plan;
        let first = json!({ "op": "query_first", "rows": rows });
        self.query(workers, "first query", "query_first", &first, (1e6, "ms")).await?;
        let update = json!({ "op": "query_update", "rows": rows, "edits": edits });
        let by = (f64::from(edits) * 1e3, "us");
        self.query(workers, "one edit and its query", "query_update", &update, by).await?;
        let page = json!({ "op": "sorted_page", "rows": rows, "pages": pages });
        let by = (f64::from(pages) * 1e3, "us");
        self.query(workers, "sorted page of 100", "sorted_page", &page, by).await
    }

    /// One job about queries, a warm-up and then its rounds; both sides have to find the same.
    async fn query(
        &mut self,
        workers: &mut Workers,
        what: &str,
        ratio: &'static str,
        job: &Value,
        (by, unit): (f64, &'static str),
    ) -> Result<(), BenchError> {
        let case = format!("{what}, of {} rows", self.plan.rows);
        let mut times = Times::default();
        for round in 0..=self.plan.rounds {
            self.progress.set_message(format!("{case}, round {round}"));
            let [node, crossfade] = workers.both(job, round).await?;
            let found = |answer: &Answer| (answer.result_rows, answer.taken, answer.page.clone());
            let same = found(&node) == found(&crossfade) && node.taken != Some(false);
            if !same {
                return Err(BenchError::Wrong(format!("{case}: the two sides differ")));
            }
            if round > 0 {
                times.add(&[node, crossfade]);
            }
        }
        self.report(&case, ratio, by, unit, &times);
        Ok(())
    }

    /// Each side in a process of its own that has done nothing else.
    async fn memory(&mut self) -> Result<(), BenchError> {
        let case = format!("a store of {} rows", self.plan.rows);
        self.progress.set_message(case.clone());
        let mut workers = Workers::start(&self.package)?;
        let job = json!({ "op": "memory", "rows": self.plan.rows });
        let answers = workers.both(&job, 0).await?;
        workers.stop().await;
        if answers[0].hashes.is_none() || answers[0].hashes != answers[1].hashes {
            return Err(BenchError::Wrong(format!("{case}: the hashes differ")));
        }
        let rows = f64::from(self.plan.rows);
        let mut held = Vec::new();
        for (side, answer) in [NODE, CROSSFADE].iter().zip(&answers) {
            for (name, bytes) in
                [("bytes per row", answer.bytes), ("resident bytes per row", answer.rss_bytes)]
            {
                let Some(bytes) = bytes else { continue };
                held.push(Figure {
                    case: case.clone(),
                    name,
                    side: side.name,
                    unit: "B",
                    value: bytes / rows,
                    n: 1,
                });
            }
        }
        self.figures.extend(held);
        self.goal("bytes_per_row", &case, "bytes per row", MEMORY_GOAL);
        Ok(())
    }

    fn report(
        &mut self,
        case: &str,
        ratio: &'static str,
        by: f64,
        unit: &'static str,
        times: &Times,
    ) {
        for (at, side) in [NODE, CROSSFADE].iter().enumerate() {
            for (name, samples) in [("cpu time", &times.cpu[at]), ("wall time", &times.wall[at])] {
                let Some(median) = median(samples) else { continue };
                let (value, n) = (median / by, samples.len() as u64);
                let case = case.to_owned();
                self.figures.push(Figure { case, name, side: side.name, unit, value, n });
            }
        }
        self.goal(ratio, case, "cpu time", TIME_GOAL);
    }

    fn goal(&mut self, ratio: &'static str, case: &str, figure: &str, goal: f64) {
        let of = |side: Side| {
            self.figures.iter().find(|f| f.case == case && f.name == figure && f.side == side.name)
        };
        if let (Some(ours), Some(theirs)) = (of(CROSSFADE), of(NODE)) {
            let found = GoalRatio::at_most(ratio, ours, theirs, goal);
            self.ratios.extend(found);
        }
    }
}

/// Nanoseconds of each round: TinyBase's, crossfade's.
#[derive(Debug, Default)]
struct Times {
    cpu: [Vec<f64>; 2],
    wall: [Vec<f64>; 2],
}

impl Times {
    fn add(&mut self, answers: &[Answer; 2]) {
        for (at, answer) in answers.iter().enumerate() {
            self.cpu[at].extend(answer.cpu_ns);
            self.wall[at].extend(answer.ns);
        }
    }
}

fn median(samples: &[f64]) -> Option<f64> {
    let mut samples = samples.to_vec();
    crate::bench::stats::median(&mut samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_bounds_and_the_curve_follows_them() {
        let options = |rows, quick| StoreOptions {
            rows,
            quick,
            progress: false,
            package: None,
            clock: std::sync::Arc::new(crate::clock::SystemClock),
        };
        assert_eq!(Plan::of(&options(100_000, false)).unwrap().curve.len(), 4);
        assert_eq!(Plan::of(&options(1_000, false)).unwrap().curve, [1_000, 10_000]);
        assert!(Plan::of(&options(100_000, true)).unwrap().rows < 1_000);
        for rows in [0, MAX_ROWS + 1] {
            let refused = Plan::of(&options(rows, false)).map(|plan| plan.rows).unwrap_err();
            assert_eq!(refused.exit_code(), 2);
        }
    }

    #[test]
    fn medians_need_samples() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
    }
}

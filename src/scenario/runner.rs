//! Runs scenarios, one after the other.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::check;
use super::environment::Environment;
use super::error::ScenarioError;
use super::ledger::By;
use super::model::{Invariant, Scenario};
use super::outcome::{Check, Outcome, ScenarioResult, Verdict, Writes};
use super::steps::LOOK;
use super::world::World;
use crate::clock::{SharedClock, SharedEntropy};
use crate::demo::legacy_api::Seed;

/// How long the one judgement may take that an invariant gets after the deadline.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// What to run, and how.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Scenario files, and folders with some.
    pub files: Vec<PathBuf>,
    /// Shows what is done on stderr while it is done; for terminals.
    pub progress: bool,
    /// Wall time.
    pub clock: SharedClock,
    /// Randomness.
    pub entropy: SharedEntropy,
}

/// The scenarios that files and folders hold: of a folder all `*.toml`, in the order of their paths.
///
/// # Errors
/// Every file is read and checked before the first is run.
pub fn load(files: &[PathBuf]) -> Result<Vec<Scenario>, ScenarioError> {
    let mut paths = Vec::new();
    for file in files {
        if file.is_dir() {
            let before = paths.len();
            collect(file, &mut paths)?;
            if paths.len() == before {
                return Err(ScenarioError::Empty(file.clone()));
            }
        } else {
            paths.push(file.clone());
        }
    }
    let mut scenarios = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path)
            .map_err(|source| ScenarioError::Read { file: path.clone(), source })?;
        match check::parse(&text, &path) {
            Ok(scenario) => scenarios.push(scenario),
            Err(ScenarioError::Invalid(more)) => problems.extend(more),
            Err(other) => return Err(other),
        }
    }
    if problems.is_empty() { Ok(scenarios) } else { Err(ScenarioError::Invalid(problems)) }
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) -> Result<(), ScenarioError> {
    let unreadable = |source| ScenarioError::Read { file: folder.to_owned(), source };
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            into.push(path);
        }
    }
    Ok(())
}

/// Runs all scenarios; each in a world of its own.
///
/// # Errors
/// [`ScenarioError`] if one could not be run at all. One that was run and failed is a result.
pub async fn run(options: &RunOptions) -> Result<Vec<ScenarioResult>, ScenarioError> {
    let scenarios = load(&options.files)?;
    let mut results = Vec::new();
    for scenario in &scenarios {
        results.push(run_one(scenario, options).await?);
    }
    Ok(results)
}

async fn run_one(
    scenario: &Scenario,
    options: &RunOptions,
) -> Result<ScenarioResult, ScenarioError> {
    let begun = Instant::now();
    let started_at = iso(options.clock.now_ms());
    let bar = bar(scenario, options.progress);
    let seed = Seed {
        seed: scenario.legacy.seed,
        users: scenario.legacy.rows,
        organisations: scenario.legacy.organisations,
    };
    let environment = Environment::start(seed, options.clock.clone(), options.entropy.clone())
        .await
        .map_err(ScenarioError::Start)?;
    let mut world = World::new(scenario, environment).map_err(ScenarioError::Start)?;
    let prepared = tokio::time::timeout(scenario.deadline, prepare(&world)).await;
    match prepared {
        Ok(prepared) => prepared.map_err(ScenarioError::Start)?,
        Err(_) => return Err(ScenarioError::Start(format!("not within {:?}", scenario.deadline))),
    }
    let steps = steps(&mut world, &bar).await;
    let stopped = steps.iter().any(|step| step.outcome != Outcome::Ok);
    let invariants = invariants(&mut world, &bar, stopped).await;
    let writes = writes(&world);
    bar.finish_and_clear();
    // What the servers say while they stop changes nothing about what was found.
    if let Err(why) = world.end().await {
        tracing::warn!(%why, "the scenario's servers did not stop cleanly");
    }
    let held = |checks: &[Check]| checks.iter().all(|check| check.outcome == Outcome::Ok);
    let passed = held(&steps) && held(&invariants);
    Ok(ScenarioResult {
        name: scenario.name.clone(),
        file: scenario.file.display().to_string(),
        summary: scenario.summary.clone(),
        verdict: if passed { Verdict::Passed } else { Verdict::Failed },
        started_at,
        elapsed_ms: ms(begun.elapsed()),
        steps,
        invariants,
        writes,
    })
}

async fn prepare(world: &World<'_>) -> Result<(), String> {
    world.environment.set_stage(world.scenario.start.stage).await?;
    if world.scenario.start.backfill { world.environment.backfill().await } else { Ok(()) }
}

/// Carries out the steps, until one fails.
async fn steps(world: &mut World<'_>, bar: &ProgressBar) -> Vec<Check> {
    let scenario = world.scenario;
    let mut checks = Vec::new();
    let mut stopped = false;
    for step in &scenario.steps {
        let text = scenario.describe(&step.action);
        bar.set_message(text.clone());
        let begun = Instant::now();
        let outcome = if stopped {
            Outcome::Skipped
        } else {
            match tokio::time::timeout(scenario.deadline, world.act(&step.action)).await {
                Ok(Ok(())) => Outcome::Ok,
                Ok(Err(why)) => Outcome::Failed(why),
                Err(_) => Outcome::Failed(format!("not within {:?}", scenario.deadline)),
            }
        };
        stopped |= outcome != Outcome::Ok;
        checks.push(Check { line: step.line, text, outcome, elapsed_ms: ms(begun.elapsed()) });
        bar.inc(1);
    }
    checks
}

/// Judges the invariants. What is not so yet may become so: deliveries and mirrors are under way after
/// the last step. Each is judged at least once.
async fn invariants(world: &mut World<'_>, bar: &ProgressBar, skip: bool) -> Vec<Check> {
    let scenario = world.scenario;
    let begun = Instant::now();
    let time = Time { settled: begun + scenario.settle, hangs: begun + scenario.deadline };
    let mut checks = Vec::new();
    for expectation in &scenario.expect {
        let text = scenario.describe_invariant(&expectation.invariant);
        bar.set_message(text.clone());
        let begun = Instant::now();
        let outcome =
            if skip { Outcome::Skipped } else { judge(world, &expectation.invariant, time).await };
        let line = expectation.line;
        checks.push(Check { line, text, outcome, elapsed_ms: ms(begun.elapsed()) });
        bar.inc(1);
    }
    checks
}

/// The invariants' times.
#[derive(Clone, Copy)]
struct Time {
    /// What does not hold by then fails.
    settled: Instant,
    /// What has not been judged by then hangs.
    hangs: Instant,
}

/// Judges one invariant until it holds or the time is over, and at least once.
async fn judge(world: &mut World<'_>, invariant: &Invariant, time: Time) -> Outcome {
    loop {
        // One judgement may itself wait, for a client that never catches up.
        let once = time.hangs.max(Instant::now() + LAST_LOOK);
        let outcome = match tokio::time::timeout_at(once, world.holds(invariant)).await {
            Ok(Ok(())) => return Outcome::Ok,
            Ok(Err(why)) => Outcome::Failed(why),
            Err(_) => Outcome::Failed("a client did not catch up with the server".to_owned()),
        };
        if Instant::now() >= time.settled {
            return outcome;
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn writes(world: &World<'_>) -> Writes {
    let mut writes = Writes::default();
    for write in world.ledger.writes() {
        match write.by {
            By::Edit { .. } => writes.native += 1,
            By::Rest { .. } => writes.rest += 1,
        }
        writes.acknowledged += usize::from(world.is_acknowledged(write));
    }
    writes
}

fn bar(scenario: &Scenario, show: bool) -> ProgressBar {
    if !show {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new((scenario.steps.len() + scenario.expect.len()) as u64);
    // The template is fixed; one that could not be read would show a plain bar.
    if let Ok(style) = ProgressStyle::with_template("{prefix} [{pos}/{len}] {wide_msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(scenario.name.clone());
    bar
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// ISO 8601 in UTC with milliseconds.
pub(crate) fn iso(epoch_ms: u64) -> String {
    let time = i64::try_from(epoch_ms).ok().and_then(chrono::DateTime::from_timestamp_millis);
    let time = time.unwrap_or(chrono::DateTime::UNIX_EPOCH);
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

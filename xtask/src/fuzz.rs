//! `cargo xtask fuzz`: every target of `fuzz/`, for a time or a number of executions.
//!
//! The kept corpus is read only; what a run discovers goes to a folder beside the fuzzer's binaries, unless `--minimize`
//! takes it over into the corpus.

mod run;
mod target;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{fs, io, thread};

use crate::Outcome;
use crate::process::{Invocation, ProcessError, complain, say};
use crate::setup::{self, SetupError};

use run::{Budget, Ended, Folders, Run};
use target::Target;

/// How long, what, and how much at a time.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Seconds for each target.
    #[arg(long, default_value_t = 60, conflicts_with = "executions")]
    seconds: u64,
    /// Executions over all targets, in equal shares.
    #[arg(long)]
    executions: Option<u64>,
    /// One target only, by its name in fuzz/fuzz_targets.
    #[arg(long)]
    target: Option<String>,
    /// Targets at a time; as many as there are processors, if not given.
    #[arg(long)]
    jobs: Option<usize>,
    /// Afterwards make the kept corpus the smallest one that reaches all that was reached.
    #[arg(long)]
    minimize: bool,
}

/// Why there was no fuzzing.
#[derive(Debug, thiserror::Error)]
enum FuzzError {
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("`rustc -vV` names no host; reinstall the toolchain")]
    NoHost,
    #[error("no fuzz target `{0}`; there are: {1}")]
    UnknownTarget(String, String),
    #[error("{}: {source}; make the folder readable and writable", path.display())]
    Folder { path: PathBuf, source: io::Error },
}

/// Runs the chore.
pub(crate) fn chore(root: &Path, options: &Options) -> Outcome {
    let runs = match prepare(root, options).and_then(|(targets, folders)| {
        let runs = all(&targets, &folders, options);
        if options.minimize && runs.iter().all(Run::is_clean) {
            targets.iter().try_for_each(|target| run::minimize(target, &folders))?;
        }
        Ok(runs)
    }) {
        Ok(runs) => runs,
        Err(error) => {
            complain(&error.to_string());
            return Outcome::DependencyMissing;
        }
    };
    say(&format!("\n{}", summary(&runs)));
    runs.iter().filter(|run| !run.is_clean()).for_each(|run| complain(&run.explain()));
    if runs.iter().all(Run::is_clean) { Outcome::Done } else { Outcome::Failed }
}

/// Installs the tool and builds the targets.
fn prepare(root: &Path, options: &Options) -> Result<(Vec<Target>, Folders), FuzzError> {
    let targets = target::chosen(root, options.target.as_deref())?;
    let tool = setup::cargo_fuzz(root)?;
    let host = host(root)?;
    // No sanitizer: there is no unsafe code, and the stable toolchain has none. Comparisons are not traced either: seeds
    // and dictionary know the words, and the targets run three times as fast.
    Invocation::new(tool, root)
        .args(["fuzz", "build", "--sanitizer", "none", "--no-trace-compares", "--target", &host])
        .run()?;
    Ok((targets, Folders::new(root, &host)))
}

fn host(root: &Path) -> Result<String, FuzzError> {
    let about = Invocation::new("rustc", root).args(["-vV"]).capture(Duration::from_secs(60))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or(FuzzError::NoHost)
}

/// Runs the targets, some at a time.
fn all(targets: &[Target], folders: &Folders, options: &Options) -> Vec<Run> {
    let budget = match options.executions {
        Some(executions) => Budget::Executions(executions.div_ceil(targets.len().max(1) as u64)),
        None => Budget::Time(Duration::from_secs(options.seconds)),
    };
    let jobs = options.jobs.or_else(|| thread::available_parallelism().ok().map(Into::into));
    let next = AtomicUsize::new(0);
    let work = || {
        let mut runs = Vec::new();
        while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
            say(&format!("fuzzing {}", target.name));
            let run = run::fuzz(target, folders, budget);
            say(&run.line());
            runs.push(run);
        }
        runs
    };
    let mut runs: Vec<Run> = thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.unwrap_or(1).clamp(1, targets.len().max(1)))
            .map(|_| scope.spawn(work))
            .collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).flatten().collect()
    });
    runs.sort_by(|one, two| one.target.cmp(&two.target));
    runs
}

fn summary(runs: &[Run]) -> String {
    let lines: Vec<String> = runs.iter().map(Run::line).collect();
    let total: u64 = runs.iter().map(|run| run.executions).sum();
    let found = runs.iter().filter(|run| matches!(run.ended, Ended::Finding { .. })).count();
    format!(
        "{}\nfuzz: {total} executions of {} targets, {found} with a finding",
        lines.join("\n"),
        runs.len()
    )
}

fn make(path: &Path) -> Result<(), FuzzError> {
    fs::create_dir_all(path).map_err(|source| FuzzError::Folder { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(target: &str, ended: Ended) -> Run {
        Run { target: target.to_owned(), executions: 1500, took: Duration::from_secs(3), ended }
    }

    #[test]
    fn the_summary_adds_up_and_counts_findings() {
        let finding = Ended::Finding { input: Some(PathBuf::from("fuzz/artifacts/b/crash-1")) };
        let text = summary(&[run("a", Ended::Clean), run("b", finding)]);
        assert!(text.contains("500 executions/s"), "{text}");
        assert!(text.ends_with("fuzz: 3000 executions of 2 targets, 1 with a finding"), "{text}");
    }
}

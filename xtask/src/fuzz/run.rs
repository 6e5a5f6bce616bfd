//! One target run: the fuzzer's binary, its folders, and what it prints at the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::target::Target;
use super::{FuzzError, make};
use crate::process::{Invocation, ProcessError};

/// An input may take this long, in seconds, before it is a finding; all of them take less than a hundredth.
const INPUT_LIMIT: &str = "-timeout=20";
/// Memory above this, in MiB, is a finding.
const MEMORY_LIMIT: &str = "-rss_limit_mb=1024";

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Budget {
    Time(Duration),
    Executions(u64),
}

/// Where things are.
#[derive(Debug, Clone)]
pub(super) struct Folders {
    root: PathBuf,
    binaries: PathBuf,
    /// Corpora and logs of runs.
    work: PathBuf,
}

impl Folders {
    pub(super) fn new(root: &Path, host: &str) -> Self {
        let built = root.join("fuzz/target");
        Self {
            root: root.to_owned(),
            binaries: built.join(host).join("release"),
            work: built.join("runs"),
        }
    }

    fn corpus(&self, target: &Target) -> PathBuf {
        self.root.join("fuzz/corpus").join(&target.name)
    }

    fn artifacts(&self, target: &Target) -> PathBuf {
        self.root.join("fuzz/artifacts").join(&target.name)
    }
}

/// How a run ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The budget was used up.
    Clean,
    /// An input broke a promise, was too slow or took too much memory.
    Finding { input: Option<PathBuf> },
    /// It did not run.
    Broken(FuzzError),
}

/// What came of a run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) target: String,
    pub(super) executions: u64,
    pub(super) took: Duration,
    pub(super) ended: Ended,
}

impl Run {
    pub(super) fn is_clean(&self) -> bool {
        matches!(self.ended, Ended::Clean)
    }

    /// For people: what was done.
    pub(super) fn line(&self) -> String {
        let Self { target, executions, took, ended } = self;
        let rate = *executions as f64 / took.as_secs_f64().max(1e-3);
        let ended = match ended {
            Ended::Clean => "ok",
            Ended::Finding { .. } => "FINDING",
            Ended::Broken(_) => "did not run",
        };
        format!(
            "{target:10} {executions:>10} executions in {:.0} s, {rate:.0} executions/s  {ended}",
            took.as_secs_f64()
        )
    }

    /// For people: how to go on after a run that is not clean.
    pub(super) fn explain(&self) -> String {
        let target = &self.target;
        match &self.ended {
            Ended::Clean => String::new(),
            Ended::Broken(error) => format!("{target}: {error}"),
            Ended::Finding { input: None } => {
                format!("{target}: a finding without an input; see fuzz/target/runs/{target}.log")
            }
            Ended::Finding { input: Some(input) } => {
                let bytes = fs::read(input).unwrap_or_default();
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                let input = input.display();
                format!(
                    "{target}: a finding; see fuzz/target/runs/{target}.log. To reproduce:\n  \
                     mkdir -p crates/fuzz-targets/tests/crashers/{target}\n  \
                     cp {input} crates/fuzz-targets/tests/crashers/{target}/\n  \
                     cargo test -p fuzz-targets\nTo make it smaller first:\n  \
                     cargo fuzz tmin --sanitizer none {target} {input}\n\
                     The input, should this machine be gone by then, for `xxd -r -p`:\n  {hex}"
                )
            }
        }
    }
}

/// Runs a target from the kept corpus and what earlier runs discovered.
pub(super) fn fuzz(target: &Target, folders: &Folders, budget: Budget) -> Run {
    let started = Instant::now();
    let log = folders.work.join(format!("{}.log", target.name));
    let ended = match try_fuzz(target, folders, budget, &log) {
        Ok(()) => Ended::Clean,
        // libFuzzer: what it stops for itself is a finding; being stopped by a person is none.
        Err(FuzzError::Process(ProcessError::Failed { .. })) => {
            Ended::Finding { input: read(&log, "Test unit written to ").map(PathBuf::from) }
        }
        Err(error) => Ended::Broken(error),
    };
    let executions = read(&log, "stat::number_of_executed_units:");
    Run {
        target: target.name.clone(),
        executions: executions.and_then(|number| number.parse().ok()).unwrap_or(0),
        took: started.elapsed(),
        ended,
    }
}

fn try_fuzz(
    target: &Target,
    folders: &Folders,
    budget: Budget,
    log: &Path,
) -> Result<(), FuzzError> {
    let discovered = folders.work.join(&target.name);
    let artifacts = folders.artifacts(target);
    make(&discovered)?;
    make(&artifacts)?;
    let budget = match budget {
        Budget::Time(time) => format!("-max_total_time={}", time.as_secs()),
        Budget::Executions(executions) => format!("-runs={executions}"),
    };
    let mut fuzzer = Invocation::new(folders.binaries.join(&target.name), &folders.root)
        .args([&budget, INPUT_LIMIT, MEMORY_LIMIT, "-print_final_stats=1"])
        // Weighing inputs by rarity costs more than these fast targets themselves.
        .args(["-entropic=0", &format!("-max_len={}", target.max_len)])
        .args([format!("-artifact_prefix={}/", artifacts.display())]);
    if target.text {
        fuzzer = fuzzer.args(["-dict=fuzz/tinybase.dict"]);
    }
    Ok(fuzzer.args([&discovered, &folders.corpus(target)]).run_to(log)?)
}

/// Replaces the kept corpus by the smallest one that reaches what it and all discoveries reach.
///
/// # Errors
/// [`FuzzError`]; the kept corpus is then as it was, or partly both.
pub(super) fn minimize(target: &Target, folders: &Folders) -> Result<(), FuzzError> {
    let corpus = folders.corpus(target);
    let smallest = folders.work.join(format!("{}-smallest", target.name));
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| FuzzError::Folder { path, source }
    };
    if smallest.exists() {
        fs::remove_dir_all(&smallest).map_err(io(&smallest))?;
    }
    make(&smallest)?;
    Invocation::new(folders.binaries.join(&target.name), &folders.root)
        .args(["-merge=1".to_owned(), format!("-max_len={}", target.max_len)])
        .args([&smallest, &corpus, &folders.work.join(&target.name)])
        .run_to(&folders.work.join(format!("{}-merge.log", target.name)))?;
    fs::remove_dir_all(&corpus).map_err(io(&corpus))?;
    make(&corpus)?;
    for entry in fs::read_dir(&smallest).map_err(io(&smallest))?.flatten() {
        fs::copy(entry.path(), corpus.join(entry.file_name())).map_err(io(&corpus))?;
    }
    Ok(())
}

/// The rest of the last line that has `label`.
fn read(log: &Path, label: &str) -> Option<String> {
    let log = String::from_utf8_lossy(&fs::read(log).ok()?).into_owned();
    let found = log.lines().rev().find_map(|line| line.split_once(label));
    found.map(|(_, rest)| rest.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fuzzer that is a shell script.
    fn folders(dir: &Path, script: &str) -> (Target, Folders) {
        use std::os::unix::fs::PermissionsExt as _;
        let folders = Folders::new(dir, "host");
        fs::create_dir_all(&folders.binaries).unwrap();
        let binary = folders.binaries.join("t");
        fs::write(&binary, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
        (Target { name: "t".to_owned(), max_len: 10, text: false }, folders)
    }

    #[test]
    fn executions_are_read_and_a_failure_is_a_finding() {
        let dir = tempfile::tempdir().unwrap();
        let (target, paths) =
            folders(dir.path(), "echo 'stat::number_of_executed_units: 42' >&2; echo $1");
        let run = fuzz(&target, &paths, Budget::Executions(42));
        assert!(run.is_clean(), "{run:?}");
        assert_eq!(run.executions, 42);
        assert_eq!(read(&paths.work.join("t.log"), "-runs=").as_deref(), Some("42"));

        let (target, paths) =
            folders(dir.path(), "echo 'x; Test unit written to a/crash-1' >&2; exit 77");
        let run = fuzz(&target, &paths, Budget::Time(Duration::from_secs(1)));
        assert!(!run.is_clean());
        assert!(run.explain().contains("cp a/crash-1 "), "{}", run.explain());
    }

    #[test]
    fn a_binary_that_is_not_there_is_no_finding() {
        let dir = tempfile::tempdir().unwrap();
        let (mut target, paths) = folders(dir.path(), "");
        target.name = "u".to_owned();
        let run = fuzz(&target, &paths, Budget::Executions(1));
        assert!(matches!(run.ended, Ended::Broken(_)), "{run:?}");
    }

    #[test]
    fn the_smallest_corpus_takes_the_place_of_the_kept_one() {
        let dir = tempfile::tempdir().unwrap();
        let (target, paths) = folders(dir.path(), "echo small > \"$3\"/new");
        let corpus = paths.corpus(&target);
        fs::create_dir_all(&corpus).unwrap();
        fs::write(corpus.join("old"), "").unwrap();
        minimize(&target, &paths).unwrap();
        assert_eq!(fs::read_to_string(corpus.join("new")).unwrap(), "small\n");
        assert!(!corpus.join("old").exists());
    }
}

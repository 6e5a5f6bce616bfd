//! `crossfade bench rollback`: how soon a rollback holds in all processes of one database, under load.
//!
//! ```text
//! case ─ stub, two crossfades (child processes) ─ live ─ load ─ `crossfade rollback` ─ who answered what, and when it was sent
//! ```
//!
//! Each case is a run of its own. The load generator and the flag provider are this process; the stub of the legacy API and
//! each crossfade are processes of their own, and the command is the program that operators run.

mod document;
mod load;
mod processes;

use std::time::{Duration, Instant};

pub use document::{RollbackCase, RollbackDocument};

use rustix::process::Signal;

use super::document::Machine;
use super::{BUILD, BenchError, spinner};
use crate::clock::SharedClock;
use load::Answer;
use processes::{Place, Processes};

/// The design's bound: a request that is sent so long after the command returned is legacy's.
const BOUND: Duration = Duration::from_secs(1);
/// Sync-served requests that there must be before the rollback, of all: otherwise there is nothing to roll back.
const LEAST_SHARE: f64 = 0.9;
/// How long the load runs before the rollback, and after it.
const BEFORE: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(6);
/// How long a process that is stopped stays so after the rollback.
const STOPPED: Duration = Duration::from_millis(2_500);

/// What to measure.
#[derive(Debug, Clone)]
pub struct RollbackOptions {
    /// Requests a second, over both processes, 10 to 100,000.
    pub rate: f64,
    /// Client connections, 2 to 512.
    pub connections: usize,
    /// Half the time.
    pub quick: bool,
    /// Shows what is measured on stderr; for terminals.
    pub progress: bool,
    /// Wall time.
    pub clock: SharedClock,
}

/// What is in trouble when the switch is thrown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Nothing,
    /// The flag provider is gone.
    Flags,
    /// Another connection keeps the database from being written.
    Database,
    /// The second process is stopped, and continued after the command has returned.
    Stopped,
}

impl Trouble {
    const ALL: [Self; 4] = [Self::Nothing, Self::Flags, Self::Database, Self::Stopped];

    const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Flags => "flag provider down",
            Self::Database => "database not writable",
            Self::Stopped => "one process stopped and continued",
        }
    }
}

/// Measures every case.
///
/// # Errors
/// [`BenchError`]; nothing is left running, and no figure is given for what was not measured.
pub async fn run(options: &RollbackOptions) -> Result<RollbackDocument, BenchError> {
    if !(10.0..=100_000.0).contains(&options.rate) {
        return Err(BenchError::Options("--rate must be from 10 to 100000".to_owned()));
    }
    if !(2..=512).contains(&options.connections) {
        return Err(BenchError::Options("--connections must be from 2 to 512".to_owned()));
    }
    let machine = Machine::here();
    let progress = spinner(options.progress);
    let mut cases = Vec::new();
    for trouble in Trouble::ALL {
        progress.set_message(format!("rollback, trouble: {}", trouble.name()));
        cases.push(case(options, trouble).await?);
    }
    progress.finish_and_clear();
    Ok(RollbackDocument {
        version: 1,
        benchmark: "rollback",
        generated_at: crate::scenario::iso(options.clock.now_ms()),
        machine,
        build: BUILD,
        quick: options.quick,
        rate_per_s: options.rate,
        connections: options.connections,
        bound_ms: BOUND.as_secs_f64() * 1e3,
        cases,
    })
}

async fn case(options: &RollbackOptions, trouble: Trouble) -> Result<RollbackCase, BenchError> {
    let mut processes = Processes::start().await?;
    let measured = measure(options, trouble, &mut processes).await;
    processes.stop().await;
    measured
}

async fn measure(
    options: &RollbackOptions,
    trouble: Trouble,
    processes: &mut Processes,
) -> Result<RollbackCase, BenchError> {
    processes.go_live().await?;
    let shorter = if options.quick { 2 } else { 1 };
    let (before, after) = (BEFORE / shorter, AFTER / shorter);
    let length = before + after + processes::COMMAND_LIMIT;
    let (stop, load) = load::start(options, processes.addresses(), length)?;
    tokio::time::sleep(before).await;
    let held = match trouble {
        Trouble::Nothing => None,
        Trouble::Flags => {
            processes.end_flags();
            None
        }
        Trouble::Database => Some(processes.hold_database().await?),
        Trouble::Stopped => {
            processes.signal(Place::Second, Signal::STOP)?;
            None
        }
    };
    let thrown = Instant::now();
    let said = processes.roll_back().await?;
    let returned = Instant::now();
    if trouble == Trouble::Stopped {
        tokio::time::sleep(STOPPED).await;
        processes.signal(Place::Second, Signal::CONT)?;
    }
    tokio::time::sleep(after).await;
    stop.stop();
    let answers = load.await.map_err(|error| BenchError::Wrong(format!("the load: {error}")))??;
    drop(held);
    let case = count(trouble, &answers, thrown, returned, said);
    if case.sync_share_before < LEAST_SHARE {
        let share = case.sync_share_before;
        return Err(BenchError::Wrong(format!(
            "before the rollback the store gave {share:.2} of all answers: nothing was rolled back"
        )));
    }
    Ok(case)
}

fn count(
    trouble: Trouble,
    answers: &[Answer],
    thrown: Instant,
    returned: Instant,
    replicated: bool,
) -> RollbackCase {
    let answered = |answer: &&Answer| answer.from_store.is_some();
    let sync = |answer: &&Answer| answer.from_store == Some(true);
    let before: Vec<&Answer> =
        answers.iter().filter(|answer| answer.sent < thrown).filter(answered).collect();
    let after = answers.iter().filter(|answer| answer.sent > returned);
    let late = after.clone().filter(|answer| answer.sent > returned + BOUND);
    let last_sync = after.clone().filter(sync).map(|answer| answer.sent - returned).max();
    let seconds = before
        .last()
        .zip(before.first())
        .map_or(0.0, |(last, first)| last.sent.saturating_duration_since(first.sent).as_secs_f64());
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    #[expect(clippy::cast_precision_loss, reason = "counts of requests of some seconds")]
    let share = |part: usize, all: usize| part as f64 / (all.max(1) as f64);
    RollbackCase {
        trouble: trouble.name(),
        answers_per_s_before: share(before.len(), 1) / seconds.max(1e-3),
        sync_share_before: share(before.iter().copied().filter(sync).count(), before.len()),
        command_ms: ms(returned - thrown),
        replicated,
        answers_after: after.clone().filter(answered).count(),
        failed: answers.len() - answers.iter().filter(answered).count(),
        sync_after: after.filter(sync).count(),
        last_sync_ms: last_sync.map(ms),
        answers_late: late.clone().filter(answered).count(),
        sync_late: late.filter(sync).count(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_over_a_second_after_the_command_returned_is_counted_apart() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let answer = |ms, from_store| Answer { sent: at(ms), from_store };
        let answers = [
            answer(0, Some(true)),
            answer(1_000, Some(true)),
            answer(1_050, Some(true)),
            answer(1_200, Some(true)),
            answer(1_300, None),
            answer(2_250, Some(false)),
            answer(2_300, Some(true)),
        ];
        let case = count(Trouble::Nothing, &answers, at(1_020), at(1_100), true);
        assert_eq!((case.answers_after, case.sync_after, case.failed), (3, 2, 1));
        assert_eq!((case.answers_late, case.sync_late), (2, 1));
        assert_eq!(case.last_sync_ms, Some(1_200.0));
        assert!((case.answers_per_s_before - 2.0).abs() < 1e-9);
        assert!(!case.passed(1.0));
        let case = count(Trouble::Nothing, &answers[..6], at(1_020), at(1_100), true);
        assert!(case.passed(1.0) && !case.passed(100.0));
    }
}

//! `cargo xtask prove`: what the documents promise, beside what is measured.
//!
//! Each bound is measured by a command that prints JSON. The commands are run several times, in
//! turns, so that a slow minute of the machine falls on all of them; a bound is judged by the
//! median of its runs and by how sure one can be of it.

mod bounds;
mod measure;
mod table;
mod verdict;

use std::path::Path;

use crate::Outcome;
use crate::binary::{self, Build};
use crate::process::{complain, say};

use verdict::{Judged, MIN_RUNS, Verdict};

/// Runs of each command: the fewest that a verdict can be given for.
const ROUNDS: usize = MIN_RUNS;
/// Runs of each command with `--long`: three outliers at either end do no harm.
const LONG_ROUNDS: usize = 15;

/// How to measure.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Options {
    /// More runs of each measurement, for a narrower answer.
    #[arg(long)]
    long: bool,
    /// Exit with 1 also if a bound was not measured or the runs disagree about it.
    #[arg(long)]
    strict: bool,
    /// Also the comparisons with TinyBase in Node: each run of them takes many minutes.
    #[arg(long)]
    peer: bool,
}

/// Runs the chore.
pub(crate) fn chore(root: &Path, options: &Options) -> Outcome {
    let binary = match binary::build(root, Build::Release) {
        Ok(binary) => binary,
        Err(error) => {
            complain(&error.to_string());
            return Outcome::Failed;
        }
    };
    let rounds = if options.long { LONG_ROUNDS } else { ROUNDS };
    let bounds = bounds::chosen(options.peer);
    let measured = measure::all(&bounds, &binary, root, rounds);
    let judged: Vec<_> =
        bounds.iter().zip(measured).map(|(bound, samples)| Judged::new(*bound, samples)).collect();
    say(&format!("\n{}", table::render(&judged)));
    outcome(judged.iter().map(|one| one.verdict), options.strict)
}

fn outcome(verdicts: impl IntoIterator<Item = Verdict>, strict: bool) -> Outcome {
    let broken = verdicts.into_iter().any(|verdict| match verdict {
        Verdict::Pass => false,
        Verdict::Fail => true,
        Verdict::Insufficient | Verdict::NotMeasured => strict,
    });
    if broken { Outcome::Failed } else { Outcome::Done }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_fails_when_strict() {
        use Verdict::{Fail, Insufficient, NotMeasured, Pass};
        for (verdicts, lenient, strict) in [
            (vec![], Outcome::Done, Outcome::Done),
            (vec![Pass, Pass], Outcome::Done, Outcome::Done),
            (vec![Pass, NotMeasured], Outcome::Done, Outcome::Failed),
            (vec![Insufficient], Outcome::Done, Outcome::Failed),
            (vec![Pass, Fail], Outcome::Failed, Outcome::Failed),
        ] {
            assert_eq!(outcome(verdicts.clone(), false), lenient, "{verdicts:?}");
            assert_eq!(outcome(verdicts.clone(), true), strict, "{verdicts:?}");
        }
    }
}

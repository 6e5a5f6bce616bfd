//! Runs the measurements and collects their numbers.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::bounds::{Bound, Measurement};
use crate::process::{Invocation, complain, say};

/// The longest that one run of one measurement may take.
const RUN_LIMIT: Duration = Duration::from_secs(1800);

/// What the runs said about one bound.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Samples {
    /// One number a run that could be read.
    pub(crate) numbers: Vec<f64>,
    /// Why a run gave no number; the first reason is kept.
    pub(crate) missing: Option<String>,
}

impl Samples {
    fn miss(&mut self, why: &str) {
        self.missing.get_or_insert_with(|| why.to_owned());
    }
}

/// Measures all bounds; the answer has one element a bound, in their order.
pub(crate) fn all(bounds: &[Bound], binary: &Path, root: &Path, rounds: usize) -> Vec<Samples> {
    in_turns(bounds, rounds, |round, measurement| {
        say(&format!("run {round} of {rounds}: crossfade {}", measurement.args.join(" ")));
        Invocation::new(binary, root)
            .args(measurement.args)
            .capture(RUN_LIMIT)
            .map_err(|error| error.to_string())
            .and_then(|text| {
                serde_json::from_str(&text).map_err(|error| format!("no JSON was printed: {error}"))
            })
            .inspect_err(|error| complain(error))
    })
}

/// Runs each measurement once a round, before any runs again. One that failed is not repeated: it
/// would fail again and take its time.
fn in_turns(
    bounds: &[Bound],
    rounds: usize,
    mut run: impl FnMut(usize, Measurement) -> Result<Value, String>,
) -> Vec<Samples> {
    let mut measurements: Vec<Measurement> = Vec::new();
    for bound in bounds {
        if !measurements.contains(&bound.measurement) {
            measurements.push(bound.measurement);
        }
    }
    let mut samples = vec![Samples::default(); bounds.len()];
    for round in 1..=rounds {
        measurements.retain(|measurement| {
            let document = run(round, *measurement);
            let of_this = |(bound, _): &(&Bound, &mut Samples)| bound.measurement == *measurement;
            for (bound, samples) in bounds.iter().zip(&mut samples).filter(of_this) {
                match &document {
                    Ok(document) => match bound.read(document) {
                        Ok(number) => samples.numbers.push(number),
                        Err(error) => samples.miss(&error.to_string()),
                    },
                    Err(error) => samples.miss(error),
                }
            }
            document.is_ok()
        });
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::super::bounds::{Direction, Reading, Selector};
    use super::*;
    use serde_json::json;

    const FAST: Measurement = Measurement { args: &["fast"], version: 1 };
    const SLOW: Measurement = Measurement { args: &["slow"], version: 1 };

    fn bound(measurement: Measurement, key: &'static str) -> Bound {
        Bound {
            name: key,
            promised_in: "",
            direction: Direction::AtMost,
            limit: 1.0,
            measurement,
            reading: Reading::Number(Selector { list: "/list", fields: &[], value: key }),
        }
    }

    #[test]
    fn a_program_is_run_and_its_document_read() {
        const PRINTS: Measurement = Measurement {
            args: &["-c", r#"echo '{"version": 1, "list": [{"a": 0.5}]}'"#],
            version: 1,
        };
        const BABBLES: Measurement = Measurement { args: &["-c", "echo hello"], version: 1 };
        let bounds = [bound(PRINTS, "/a"), bound(BABBLES, "/a")];
        let samples = all(&bounds, Path::new("sh"), Path::new("."), 2);
        assert_eq!(samples[0].numbers, [0.5, 0.5]);
        assert!(samples[1].missing.as_deref().is_some_and(|why| why.contains("no JSON")));
    }

    #[test]
    fn measurements_take_turns_and_are_shared() {
        let bounds = [bound(FAST, "/a"), bound(SLOW, "/a"), bound(FAST, "/b")];
        let mut ran = Vec::new();
        let samples = in_turns(&bounds, 3, |round, measurement| {
            ran.push((round, measurement.args[0]));
            Ok(json!({"version": 1, "list": [{"a": round}]}))
        });
        let turns = (1..=3).flat_map(|round| [(round, "fast"), (round, "slow")]);
        assert_eq!(ran, turns.collect::<Vec<_>>());
        assert_eq!(samples[0].numbers, [1.0, 2.0, 3.0]);
        assert_eq!(samples[1].numbers, [1.0, 2.0, 3.0]);
        assert!(samples[2].numbers.is_empty() && samples[2].missing.is_some());
    }

    #[test]
    fn a_measurement_that_failed_is_not_repeated() {
        let bounds = [bound(FAST, "/a"), bound(SLOW, "/a")];
        let mut slow = 0;
        let samples = in_turns(&bounds, 5, |_, measurement| {
            if measurement == SLOW {
                slow += 1;
                return Err("no such thing".to_owned());
            }
            Ok(json!({"version": 1, "list": [{"a": 1}]}))
        });
        assert_eq!((slow, samples[0].numbers.len()), (1, 5));
        assert_eq!(samples[1].missing.as_deref(), Some("no such thing"));
    }
}

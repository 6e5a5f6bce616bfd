//! From several runs to one verdict.

use super::bounds::Bound;
use super::measure::Samples;

/// How sure the interval around the median has to be.
const CONFIDENCE: f64 = 0.95;
/// The fewest runs whose extremes enclose the true median with that confidence.
pub(crate) const MIN_RUNS: usize = 6;

/// What the runs say about a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The whole interval keeps it.
    Pass,
    /// The whole interval breaks it.
    Fail,
    /// Too few runs, or they lie on both sides of the limit.
    Insufficient,
    /// Not one run gave a number.
    NotMeasured,
}

impl Verdict {
    /// The word in the table.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Insufficient => "insufficient",
            Self::NotMeasured => "not measured",
        }
    }
}

/// The middle of the runs, and where the true median may lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Measured {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) runs: usize,
}

/// A bound, its measurement and the verdict.
#[derive(Debug, Clone)]
pub(crate) struct Judged {
    pub(crate) bound: Bound,
    pub(crate) measured: Option<Measured>,
    pub(crate) verdict: Verdict,
    /// Why runs gave no number.
    pub(crate) missing: Option<String>,
}

impl Judged {
    /// Judges the samples of `bound`.
    pub(crate) fn new(bound: Bound, samples: Samples) -> Self {
        let measured = summarise(samples.numbers);
        let verdict = match measured {
            None => Verdict::NotMeasured,
            Some(Measured { runs, .. }) if runs < MIN_RUNS => Verdict::Insufficient,
            Some(Measured { low, high, .. }) => match (bound.kept_by(low), bound.kept_by(high)) {
                (true, true) => Verdict::Pass,
                (false, false) => Verdict::Fail,
                _ => Verdict::Insufficient,
            },
        };
        Self { bound, measured, verdict, missing: samples.missing }
    }
}

/// Median and order-statistics interval; finite numbers only, as the readings give them.
fn summarise(mut numbers: Vec<f64>) -> Option<Measured> {
    numbers.sort_by(f64::total_cmp);
    let runs = numbers.len();
    let trim = trimmed(runs);
    let (low, high) = (*numbers.get(trim)?, *numbers.get(runs - 1 - trim)?);
    let (left, right) = (*numbers.get((runs - 1) / 2)?, *numbers.get(runs / 2)?);
    Some(Measured { median: f64::midpoint(left, right), low, high, runs })
}

/// How many runs may be left out at either end so that the rest still encloses the true median
/// with [`CONFIDENCE`]. Whatever the distribution, a run is below its median with chance one half;
/// so the number of runs below follows the binomial distribution.
fn trimmed(runs: usize) -> usize {
    let scale = 0.5_f64.powi(i32::try_from(runs).unwrap_or(i32::MAX));
    let (mut chosen, mut outside, mut trim) = (1.0, 0.0, 0);
    for k in 0..runs / 2 {
        outside += 2.0 * chosen * scale;
        if 1.0 - outside < CONFIDENCE {
            break;
        }
        trim = k;
        // The binomial coefficient for k + 1.
        #[expect(clippy::cast_precision_loss, reason = "runs are counted in tens")]
        let step = (runs - k) as f64 / (k + 1) as f64;
        chosen *= step;
    }
    trim
}

#[cfg(test)]
mod tests {
    use super::super::bounds::BOUNDS;
    use super::*;

    fn verdict(numbers: &[f64]) -> Verdict {
        let bound = Bound { limit: 3.0, ..BOUNDS[0] };
        assert_eq!(bound.promise(), "≤ 3.00");
        Judged::new(bound, Samples { numbers: numbers.to_vec(), missing: None }).verdict
    }

    #[test]
    fn how_many_extremes_may_be_left_out() {
        // From tables of the binomial distribution for one half, two-sided 5 %.
        for (runs, trim) in [(0, 0), (1, 0), (6, 0), (8, 0), (9, 1), (11, 1), (12, 2), (15, 3)] {
            assert_eq!(trimmed(runs), trim, "{runs} runs");
        }
    }

    #[test]
    fn six_are_the_fewest() {
        let coverage = |runs: i32| 1.0 - 2.0 * 0.5_f64.powi(runs);
        assert!(coverage(5) < CONFIDENCE && coverage(6) >= CONFIDENCE);
        assert_eq!(MIN_RUNS, 6);
    }

    #[test]
    fn verdicts() {
        assert_eq!(verdict(&[]), Verdict::NotMeasured);
        assert_eq!(verdict(&[1.0; 5]), Verdict::Insufficient);
        assert_eq!(verdict(&[1.0; 6]), Verdict::Pass);
        assert_eq!(verdict(&[4.0; 6]), Verdict::Fail);
        assert_eq!(verdict(&[1.0, 1.0, 1.0, 1.0, 1.0, 4.0]), Verdict::Insufficient);
        // With more runs one outlier no longer decides.
        assert_eq!(verdict(&[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 4.0]), Verdict::Pass);
    }

    #[test]
    fn medians() {
        let middle = |numbers: &[f64]| summarise(numbers.to_vec()).map(|m| m.median);
        assert_eq!(middle(&[]), None);
        assert_eq!(middle(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(middle(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}

//! What a ratio should be, and whether it is.

use std::fmt;

use serde::Serialize;

use crate::bench::stats::PairedRatio;

/// What a ratio should be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "limit")]
pub enum Goal {
    /// The upper bound of its 95 % interval is at most this.
    UpperBoundAtMost(f64),
    /// The ratio itself is at least this.
    AtLeast(f64),
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UpperBoundAtMost(limit) => write!(f, "≤ {limit:.2}"),
            Self::AtLeast(limit) => write!(f, "≥ {limit:.2}"),
        }
    }
}

/// Whether a goal is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is.
    Met,
    /// It is not.
    Missed,
    /// Requests failed, and too few pairs are left to tell.
    TooFewPairs,
    /// It was not measured, or too little to tell, as was asked for.
    NotMeasured,
}

impl Verdict {
    /// Whether the benchmark as a whole may pass.
    pub(super) const fn may_pass(self) -> bool {
        matches!(self, Self::Met | Self::NotMeasured)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Met => "met",
            Self::Missed => "missed",
            Self::TooFewPairs => "too few pairs",
            Self::NotMeasured => "not measured",
        })
    }
}

/// Judges a ratio of `pairs` sound pairs, of which there must be `least`.
pub(super) fn judge(ratio: Option<PairedRatio>, goal: Goal, pairs: usize, least: usize) -> Verdict {
    let Some(ratio) = ratio.filter(|_| pairs >= least) else { return Verdict::TooFewPairs };
    let met = match goal {
        Goal::UpperBoundAtMost(limit) => ratio.high <= limit,
        Goal::AtLeast(limit) => ratio.value >= limit,
    };
    if met { Verdict::Met } else { Verdict::Missed }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATIO: PairedRatio = PairedRatio { value: 1.04, low: 1.02, high: 1.06 };

    #[test]
    fn latency_is_judged_by_the_upper_bound_and_throughput_by_the_ratio() {
        let judged = |goal| judge(Some(RATIO), goal, 10, 10);
        assert_eq!(judged(Goal::UpperBoundAtMost(1.05)), Verdict::Missed);
        assert_eq!(judged(Goal::UpperBoundAtMost(1.06)), Verdict::Met);
        assert_eq!(judged(Goal::AtLeast(1.04)), Verdict::Met);
        assert_eq!(judged(Goal::AtLeast(1.05)), Verdict::Missed);
    }

    #[test]
    fn too_few_pairs_never_meet_a_goal() {
        let goal = Goal::UpperBoundAtMost(2.0);
        assert_eq!(judge(Some(RATIO), goal, 9, 10), Verdict::TooFewPairs);
        assert_eq!(judge(None, goal, 10, 10), Verdict::TooFewPairs);
        assert!(!Verdict::TooFewPairs.may_pass() && !Verdict::Missed.may_pass());
        assert!(Verdict::Met.may_pass() && Verdict::NotMeasured.may_pass());
    }
}

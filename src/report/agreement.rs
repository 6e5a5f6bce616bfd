//! How often two paths agree, with its uncertainty.

use super::model::VerdictTally;
use crate::compare::{TWO_SIDED_95, Verdict, wilson};

/// Under this share of comparisons that could be decided, a rate is labelled (`field.md` §4.3).
const THIN_BELOW: f64 = 0.5;

/// What a set of comparisons says.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// The store showed something that legacy hides.
    Overshare,
    /// At least one comparison disagrees.
    Disagree,
    /// All decided comparisons agree, but under half of them could be decided.
    Thin,
    /// All decided comparisons agree.
    Agree,
    /// No comparison could be decided.
    NotMeasured,
}

impl Finding {
    /// The stable word used in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overshare => "overshare",
            Self::Disagree => "disagree",
            Self::Thin => "thin",
            Self::Agree => "agree",
            Self::NotMeasured => "not_measured",
        }
    }

    /// The words that people read.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Overshare => "Shows too much",
            Self::Disagree => "Paths disagree",
            Self::Thin => "Too little measured",
            Self::Agree => "Paths agree",
            Self::NotMeasured => "Not measured",
        }
    }
}

/// Comparisons counted. Rates are shares between 0 and 1.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Agreement {
    /// What they say.
    pub finding: Finding,
    /// Reads drawn for comparison.
    pub eligible: u64,
    /// Of these, the comparisons with a decided verdict: all but incomparable ones, timeouts, shed.
    pub compared: u64,
    /// Of these, `match`, `lag`, `noise`, and failures alike on both sides.
    pub agreed: u64,
    /// Of these, all others.
    pub disagreed: u64,
    /// `agreed / compared`.
    pub match_rate: Option<f64>,
    /// Lower end of its 95 % Wilson interval.
    pub match_rate_low: Option<f64>,
    /// Upper end.
    pub match_rate_high: Option<f64>,
    /// `compared / eligible`.
    pub coverage: Option<f64>,
    /// Whether coverage is under 50 %: the rate speaks for a minority.
    pub thin: bool,
    /// Each verdict that was reached, in the order of [`Verdict::ALL`].
    pub verdicts: Vec<VerdictTally>,
}

impl Agreement {
    /// Counts verdicts.
    pub fn of(counts: impl IntoIterator<Item = (Verdict, u64)>) -> Self {
        let mut tallies = [0_u64; Verdict::ALL.len()];
        for (verdict, count) in counts {
            let at = Verdict::ALL.iter().position(|one| one.as_str() == verdict.as_str());
            if let Some(tally) = at.and_then(|at| tallies.get_mut(at)) {
                *tally += count;
            }
        }
        let sum = |which: fn(Verdict) -> bool| -> u64 {
            Verdict::ALL.iter().zip(tallies).filter(|(v, _)| which(**v)).map(|(_, n)| n).sum()
        };
        let eligible = sum(|_| true);
        let compared = sum(Verdict::is_decided);
        let agreed = sum(Verdict::agrees);
        let disagreed = compared - agreed;
        let bounds = wilson(agreed, compared, TWO_SIDED_95);
        let coverage = share(compared, eligible);
        let thin = coverage.is_some_and(|coverage| coverage < THIN_BELOW);
        let finding = if sum(|verdict| verdict == Verdict::Overshare) > 0 {
            Finding::Overshare
        } else if disagreed > 0 {
            Finding::Disagree
        } else if compared == 0 {
            Finding::NotMeasured
        } else if thin {
            Finding::Thin
        } else {
            Finding::Agree
        };
        let verdicts = Verdict::ALL
            .iter()
            .zip(tallies)
            .filter(|(_, count)| *count > 0)
            .map(|(verdict, count)| VerdictTally { verdict: verdict.as_str(), count })
            .collect();
        Self {
            finding,
            eligible,
            compared,
            agreed,
            disagreed,
            match_rate: share(agreed, compared),
            match_rate_low: bounds.map(|(low, _)| low),
            match_rate_high: bounds.map(|(_, high)| high),
            coverage,
            thin,
            verdicts,
        }
    }
}

/// A share, or nothing if there is nothing to share.
pub(super) fn share(part: u64, whole: u64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    let ratio = part as f64 / whole as f64;
    (whole > 0).then_some(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Reason;
    use crate::migration::Origin;

    #[test]
    fn what_is_undecided_lowers_coverage_and_not_the_rate() {
        let agreement = Agreement::of([
            (Verdict::Match, 40),
            (Verdict::Lag(70), 5),
            (Verdict::Mismatch, 5),
            (Verdict::Incomparable(Reason::Truncated), 30),
            (Verdict::Timeout(Origin::Sync), 20),
            (Verdict::Shed, 20),
        ]);
        assert_eq!((agreement.eligible, agreement.compared), (120, 50));
        assert_eq!(agreement.match_rate, Some(0.9));
        assert!(agreement.thin);
        assert_eq!(agreement.finding, Finding::Disagree);
        let words: Vec<_> = agreement.verdicts.iter().map(|tally| tally.verdict).collect();
        assert_eq!(words[..3], ["match", "lag", "mismatch"]);
    }

    #[test]
    fn findings_are_told_apart() {
        let finding = |counts: &[(Verdict, u64)]| Agreement::of(counts.iter().copied()).finding;
        assert_eq!(finding(&[]), Finding::NotMeasured);
        assert_eq!(finding(&[(Verdict::Shed, 3)]), Finding::NotMeasured);
        assert_eq!(finding(&[(Verdict::Match, 3)]), Finding::Agree);
        assert_eq!(finding(&[(Verdict::Match, 3), (Verdict::Shed, 4)]), Finding::Thin);
        assert_eq!(finding(&[(Verdict::Match, 3), (Verdict::Overshare, 1)]), Finding::Overshare);
    }
}

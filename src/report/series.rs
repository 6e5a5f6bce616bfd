//! Verdicts over time, in few enough steps to be drawn.

use std::collections::BTreeMap;

use super::text::rfc3339;
use crate::compare::Verdict;

/// At most so many steps.
const MAX_BUCKETS: u64 = 60;
/// Lengths a step may have, in seconds.
const STEPS_S: [u64; 16] =
    [1, 2, 5, 10, 15, 30, 60, 120, 300, 900, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400];

/// Verdicts over time, in steps of equal length.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct VerdictSeries {
    /// Length of a step in seconds.
    pub step_s: u64,
    /// The steps, without gaps.
    pub buckets: Vec<Bucket>,
}

/// One step.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Bucket {
    /// When it begins (RFC 3339, UTC).
    pub at: String,
    /// Comparisons that agree at once: `match`, `noise`, failures alike.
    pub agreed: u64,
    /// Comparisons that agree after settling: `lag`.
    pub lag: u64,
    /// Comparisons that disagree.
    pub disagreed: u64,
    /// Comparisons that could not be decided: incomparable, timeouts, shed.
    pub undecided: u64,
}

impl Bucket {
    /// All comparisons of the step.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.agreed + self.lag + self.disagreed + self.undecided
    }
}

impl VerdictSeries {
    /// Sums up verdicts that were counted from `at_ms` on for `grain_ms`; none if there are none.
    pub fn of(
        counts: impl IntoIterator<Item = (u64, Verdict, u64)>,
        grain_ms: u64,
    ) -> Option<Self> {
        let mut spans: BTreeMap<u64, Bucket> = BTreeMap::new();
        for (at_ms, verdict, count) in counts {
            let bucket = spans.entry(at_ms).or_default();
            *match verdict {
                Verdict::Lag(_) => &mut bucket.lag,
                verdict if verdict.agrees() => &mut bucket.agreed,
                verdict if verdict.is_decided() => &mut bucket.disagreed,
                _ => &mut bucket.undecided,
            } += count;
        }
        let (first, last) = (*spans.keys().next()?, *spans.keys().next_back()?);
        // No step is shorter than the recording's grain, or bars would stand between gaps.
        let fits =
            |step_ms: u64| step_ms >= grain_ms && (last / step_ms - first / step_ms) < MAX_BUCKETS;
        let longest = 86_400_000;
        let step_ms =
            STEPS_S.into_iter().map(|seconds| seconds * 1_000).find(|step| fits(*step)).unwrap_or(
                longest * (last / longest - first / longest).div_ceil(MAX_BUCKETS - 1).max(1),
            );
        let start = first / step_ms;
        let at = |index: u64| rfc3339(index * step_ms);
        let mut buckets: Vec<_> = (start..=last / step_ms)
            .map(|index| Bucket { at: at(index), ..Bucket::default() })
            .collect();
        for (at_ms, span) in spans {
            let index = usize::try_from(at_ms / step_ms - start).unwrap_or(usize::MAX);
            if let Some(bucket) = buckets.get_mut(index) {
                bucket.agreed += span.agreed;
                bucket.lag += span.lag;
                bucket.disagreed += span.disagreed;
                bucket.undecided += span.undecided;
            }
        }
        Some(Self { step_s: step_ms / 1_000, buckets })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::compare::Reason;

    #[test]
    fn steps_have_no_gaps_and_are_not_finer_than_the_recording() {
        let counts = [
            (600_000, Verdict::Match, 5),
            (660_000, Verdict::Lag(9), 1),
            (660_000, Verdict::Mismatch, 2),
            (840_000, Verdict::Incomparable(Reason::Moving), 3),
        ];
        let series = VerdictSeries::of(counts, 60_000).unwrap();
        assert_eq!(series.step_s, 60);
        let totals: Vec<_> = series.buckets.iter().map(Bucket::total).collect();
        assert_eq!(totals, [5, 3, 0, 0, 3]);
        assert_eq!(series.buckets[0].at, "1970-01-01T00:10:00Z");
        assert_eq!(VerdictSeries::of([], 60_000), None);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_the_steps_are_few(
            times in prop::collection::vec(0..40_000_000_u64, 1..50),
            grain_s in 1..100_u64,
        ) {
            let counts = times.iter().map(|minutes| (minutes * 60_000, Verdict::Match, 1));
            let series = VerdictSeries::of(counts, grain_s * 1_000).unwrap();
            let total: u64 = series.buckets.iter().map(Bucket::total).sum();
            prop_assert_eq!(total, times.len() as u64);
            prop_assert!(series.buckets.len() <= 61, "{}", series.buckets.len());
        }
    }
}

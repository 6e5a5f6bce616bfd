//! Samples to figures: percentiles, and ratios with their uncertainty.

use std::time::Duration;

use hdrhistogram::Histogram;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// The longest time that is told apart from longer ones.
const MAX_US: u64 = 120_000_000;
/// So that one run's resampling is another's.
const SEED: u64 = 0x00c0_55fa_de00_2026;
const RESAMPLES: usize = 10_000;

/// Durations of one kind.
#[derive(Debug, Clone)]
pub(super) struct Samples {
    histogram: Histogram<u64>,
}

impl Samples {
    pub(super) fn new() -> Option<Self> {
        // The bounds are constants; three digits are kept of each value.
        Histogram::new_with_bounds(1, MAX_US, 3).ok().map(|histogram| Self { histogram })
    }

    pub(super) fn add(&mut self, duration: Duration) {
        self.histogram.saturating_record(micros(duration).max(1));
    }

    /// Takes in another's samples.
    pub(super) fn absorb(&mut self, other: &Self) {
        // Both have the same bounds, so that nothing is out of range.
        let _ = self.histogram.add(&other.histogram);
    }

    pub(super) fn len(&self) -> u64 {
        self.histogram.len()
    }

    /// A percentile in microseconds, `quantile` in `[0, 1]`.
    pub(super) fn percentile(&self, quantile: f64) -> u64 {
        self.histogram.value_at_quantile(quantile)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A ratio of two medians, with its 95 % bootstrap interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct MedianRatio {
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// The median of the second of each pair by the median of the first. Pairs stay together when they are
/// resampled: what slowed the machine down slowed both. `None` without pairs.
pub(super) fn median_ratio(pairs: &[(Duration, Duration)]) -> Option<MedianRatio> {
    let pairs: Vec<(f64, f64)> =
        pairs.iter().map(|(first, second)| (first.as_secs_f64(), second.as_secs_f64())).collect();
    let value = ratio(pairs.iter().copied())?;
    let mut rng = StdRng::seed_from_u64(SEED);
    let mut resampled: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            let drawn = (0..pairs.len()).map(|_| pairs[rng.random_range(0..pairs.len())]);
            ratio(drawn)
        })
        .collect();
    resampled.sort_by(f64::total_cmp);
    let at = |quantile: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below len")]
        #[expect(clippy::cast_precision_loss, reason = "ten thousand")]
        let place = ((resampled.len() - 1) as f64 * quantile).round() as usize;
        resampled.get(place).copied()
    };
    Some(MedianRatio { value, low: at(0.025)?, high: at(0.975)? })
}

fn ratio(pairs: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let (mut first, mut second): (Vec<f64>, Vec<f64>) = pairs.unzip();
    let (first, second) = (median(&mut first)?, median(&mut second)?);
    (first > 0.0).then_some(second / first)
}

/// The median; of an even number of values the mean of the two in the middle.
pub(super) fn median(values: &mut [f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let middle = values.len() / 2;
    let even = values.len().is_multiple_of(2);
    let (lower, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    if !even {
        return Some(upper);
    }
    let lower = lower.iter().copied().max_by(f64::total_cmp)?;
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(first: &[u64], second: &[u64]) -> Vec<(Duration, Duration)> {
        let us = |n: &u64| Duration::from_micros(*n);
        first.iter().zip(second).map(|(a, b)| (us(a), us(b))).collect()
    }

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3.0]), Some(3.0));
        assert_eq!(median(&mut [9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&mut [9.0, 1.0, 5.0, 3.0]), Some(4.0));
    }

    #[test]
    fn a_constant_ratio_has_no_uncertainty() {
        let found = median_ratio(&pairs(&[100, 200, 300], &[200, 400, 600])).unwrap();
        assert_eq!((found.value, found.low, found.high), (2.0, 2.0, 2.0));
        assert_eq!(median_ratio(&[]), None);
    }

    #[test]
    fn the_interval_is_reproducible_holds_the_value_and_narrows_with_more_pairs() {
        let noisy = |n: u64| -> Vec<(Duration, Duration)> {
            let first: Vec<u64> = (0..n).map(|i| 1000 + (i * 7919) % 400).collect();
            let second: Vec<u64> = (0..n).map(|i| 1500 + (i * 6007) % 600).collect();
            pairs(&first, &second)
        };
        let (few, many) = (median_ratio(&noisy(20)).unwrap(), median_ratio(&noisy(500)).unwrap());
        assert_eq!(Some(few), median_ratio(&noisy(20)));
        for found in [few, many] {
            assert!(found.low <= found.value && found.value <= found.high, "{found:?}");
            assert!(found.low < found.high, "{found:?}");
        }
        assert!(many.high - many.low < few.high - few.low, "{few:?} {many:?}");
    }

    #[test]
    fn percentiles_come_from_the_samples_and_none_is_dropped() {
        let mut samples = Samples::new().unwrap();
        for us in 1..=1000 {
            samples.add(Duration::from_micros(us));
        }
        samples.add(Duration::from_secs(3600));
        samples.add(Duration::ZERO);
        assert_eq!(samples.len(), 1002);
        let close = |found: u64, expected: u64| found.abs_diff(expected) <= expected / 100 + 1;
        assert!(close(samples.percentile(0.5), 500), "{}", samples.percentile(0.5));
        assert!(close(samples.percentile(0.99), 991), "{}", samples.percentile(0.99));
        assert!(samples.percentile(1.0) >= MAX_US);
    }
}

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

/// A ratio over pairs that were measured one after the other, with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct PairedRatio {
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// The geometric mean of the second of each pair by its first, with Student's interval of the ratios'
/// logarithms. With ten pairs a bootstrap's interval would be too narrow; one pair far off widens this one.
/// `None` with fewer than two pairs, or where nothing can be divided.
pub(super) fn paired_ratio(pairs: &[(f64, f64)]) -> Option<PairedRatio> {
    let logs: Vec<f64> = pairs.iter().map(|(first, second)| (second / first).ln()).collect();
    if logs.len() < 2 || logs.iter().any(|log| !log.is_finite()) {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "a benchmark has few pairs")]
    let count = logs.len() as f64;
    let mean = logs.iter().sum::<f64>() / count;
    let squares = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>();
    let error = (squares / (count - 1.0) / count).sqrt();
    let half = student(logs.len() - 1) * error;
    Some(PairedRatio { value: mean.exp(), low: (mean - half).exp(), high: (mean + half).exp() })
}

/// The 97.5 % quantile of Student's t: two-sided 95 %.
fn student(degrees: usize) -> f64 {
    const TABLE: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
        2.052, 2.048, 2.045, 2.042,
    ];
    #[expect(clippy::cast_precision_loss, reason = "a benchmark has few pairs")]
    let beyond = || 1.960 + 2.372 / degrees as f64;
    TABLE.get(degrees.saturating_sub(1)).copied().unwrap_or_else(beyond)
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
    fn a_paired_ratio_is_what_the_books_say() {
        // Logarithms 0.0, 0.1 and 0.2: mean 0.1, standard error 0.1 / sqrt(3).
        let pairs: Vec<(f64, f64)> = [0.0_f64, 0.1, 0.2].map(|log| (2.0, 2.0 * log.exp())).into();
        let found = paired_ratio(&pairs).unwrap();
        let half = 4.303 * 0.1 / 3.0_f64.sqrt();
        assert!((found.value - 0.1_f64.exp()).abs() < 1e-12);
        assert!((found.low - (0.1 - half).exp()).abs() < 1e-12);
        assert!((found.high - (0.1 + half).exp()).abs() < 1e-12);
    }

    #[test]
    fn pairs_that_tell_nothing_have_no_ratio() {
        for pairs in [&[][..], &[(1.0, 2.0)], &[(1.0, 2.0), (0.0, 1.0)], &[(1.0, 0.0), (1.0, 1.0)]]
        {
            assert_eq!(paired_ratio(pairs), None, "{pairs:?}");
        }
    }

    #[test]
    fn quantiles_fall_with_the_degrees_of_freedom() {
        let all: Vec<f64> = (1..200).map(student).collect();
        assert!(all.windows(2).all(|two| two[0] > two[1]) && student(9) == 2.262);
        assert!((student(60) - 2.000).abs() < 0.001 && (student(120) - 1.980).abs() < 0.001);
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

//! The uncertainty of a share that was counted.

/// For both ends of an interval that holds the true share in 95 of 100 cases.
pub const TWO_SIDED_95: f64 = 1.959_963_985;
/// For one end alone that the true share is beyond in 5 of 100 cases.
pub const ONE_SIDED_95: f64 = 1.644_853_627;

/// The Wilson score interval of a proportion, `z` standard deviations wide to either side; none for no trials.
#[must_use]
pub fn wilson(successes: u64, trials: u64, z: f64) -> Option<(f64, f64)> {
    if trials == 0 {
        return None;
    }
    // Counts stay far below 2^53.
    let (p, n) = (successes as f64 / trials as f64, trials as f64);
    let z2 = z * z;
    let middle = p + z2 / (2.0 * n);
    let margin = z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z2 / n;
    // The ends are exact where the formula's are, up to rounding.
    let low = if successes == 0 { 0.0 } else { ((middle - margin) / scale).max(0.0) };
    let high = if successes == trials { 1.0 } else { ((middle + margin) / scale).min(1.0) };
    Some((low, high))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close((low, high): (f64, f64), expected: (f64, f64)) -> bool {
        (low - expected.0).abs() < 5e-5 && (high - expected.1).abs() < 5e-5
    }

    #[test]
    fn it_gives_known_values() {
        let wilson_95 = |s, n| wilson(s, n, TWO_SIDED_95).unwrap();
        assert_eq!(wilson(0, 0, TWO_SIDED_95), None);
        // 381 of 381: the smallest number for "under 1 % disagree".
        assert!(wilson_95(381, 381).0 > 0.99 && wilson_95(380, 380).0 < 0.99);
        assert!(close(wilson_95(8, 10), (0.4902, 0.9433)));
        assert_eq!(wilson_95(8_341, 8_341).1, 1.0);
        assert!(close(wilson_95(0, 10), (0.0, 0.2775)));
        // One-sided: z² / (n + z²) above nothing.
        assert!(close(wilson(0, 50, ONE_SIDED_95).unwrap(), (0.0, 0.05133)));
    }

    proptest! {
        #[test]
        fn it_holds_the_measured_share(trials in 1_u64..100_000, share in 0.0_f64..=1.0) {
            let successes = (trials as f64 * share) as u64;
            let (low, high) = wilson(successes, trials, TWO_SIDED_95).unwrap();
            let measured = successes as f64 / trials as f64;
            prop_assert!(0.0 <= low && low <= measured + 1e-12);
            prop_assert!(measured <= high + 1e-12 && high <= 1.0);
            let (one_low, one_high) = wilson(successes, trials, ONE_SIDED_95).unwrap();
            prop_assert!(low <= one_low && one_high <= high);
        }
    }
}

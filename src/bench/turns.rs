//! Two things measured in turns, so that what slows the machine down slows both.

use std::time::Duration;

use tokio::time::Instant;

use super::BenchError;
use super::document::{Metric, MetricName, Path};
use super::stats::{MedianRatio, Samples, median_ratio};

/// Fewer pairs than this tell nothing.
const MIN_PAIRS: usize = 5;

/// How much may be measured: whichever comes first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    pub(super) pairs: usize,
    pub(super) time: Duration,
    /// Pairs before those that count: connections, caches.
    pub(super) warm_up: usize,
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    First,
    Second,
}

/// Pairs of durations, first and second side.
#[derive(Debug, Default)]
pub(super) struct Pairs(Vec<(Duration, Duration)>);

/// Measures both sides in turns: the first leads in every other pair. `measure` gets the side and the
/// number of the pair, and gives the duration.
pub(super) async fn in_turns(
    what: &str,
    bound: Bound,
    mut measure: impl AsyncFnMut(Side, usize) -> Result<Duration, BenchError>,
) -> Result<Pairs, BenchError> {
    let mut pairs = Vec::with_capacity(bound.pairs);
    let begun = Instant::now();
    for number in 0..bound.warm_up + bound.pairs {
        if begun.elapsed() >= bound.time && pairs.len() >= MIN_PAIRS {
            break;
        }
        // A machine so slow that not even the least is measured in ten times the time.
        if begun.elapsed() >= bound.time * 10 {
            return Err(BenchError::TooSlow(what.to_owned()));
        }
        let pair = if number % 2 == 0 {
            let first = measure(Side::First, number).await?;
            (first, measure(Side::Second, number).await?)
        } else {
            let second = measure(Side::Second, number).await?;
            (measure(Side::First, number).await?, second)
        };
        if number >= bound.warm_up {
            pairs.push(pair);
        }
    }
    Ok(Pairs(pairs))
}

impl Pairs {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Second by first.
    pub(super) fn ratio(&self) -> Option<MedianRatio> {
        median_ratio(&self.0)
    }

    pub(super) fn metric(
        &self,
        side: Side,
        metric: MetricName,
        case: &str,
        path: Path,
    ) -> Option<Metric> {
        let durations = self.0.iter().map(|pair| match side {
            Side::First => pair.0,
            Side::Second => pair.1,
        });
        distribution(durations, metric, case, path)
    }
}

/// A distribution's figures; `None` without samples.
pub(super) fn distribution(
    durations: impl Iterator<Item = Duration>,
    metric: MetricName,
    case: &str,
    path: Path,
) -> Option<Metric> {
    let mut samples = Samples::new()?;
    durations.for_each(|duration| samples.add(duration));
    (samples.len() > 0).then(|| Metric {
        metric,
        case: case.to_owned(),
        path,
        unit: "us",
        n: samples.len(),
        p50: samples.percentile(0.5),
        p95: samples.percentile(0.95),
        p99: samples.percentile(0.99),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sides_take_turns_in_leading_and_warm_up_does_not_count() {
        let mut order = Vec::new();
        let bound = Bound { pairs: 3, time: Duration::from_secs(60), warm_up: 1 };
        let pairs = in_turns("x", bound, async |side, number| {
            order.push(side);
            let us = if side == Side::First { 10 } else { 20 };
            Ok(Duration::from_micros(us + number as u64 * 1000))
        })
        .await
        .unwrap();
        use Side::{First, Second};
        assert_eq!(order, [First, Second, Second, First, First, Second, Second, First]);
        assert_eq!(pairs.len(), 3);
        let first = pairs.metric(First, MetricName::SyncLatency, "x", Path::Sync).unwrap();
        assert_eq!((first.n, first.p50), (3, 2010));
    }

    #[tokio::test(start_paused = true)]
    async fn time_bounds_the_number_of_pairs() {
        let bound = Bound { pairs: 1000, time: Duration::from_secs(10), warm_up: 0 };
        let pairs = in_turns("x", bound, async |_, _| {
            tokio::time::advance(Duration::from_millis(500)).await;
            Ok(Duration::from_millis(1))
        })
        .await
        .unwrap();
        assert_eq!(pairs.len(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_gets_enough_pairs_is_told() {
        let bound = Bound { pairs: 1000, time: Duration::from_secs(1), warm_up: 0 };
        let found = in_turns("the list", bound, async |_, _| {
            tokio::time::advance(Duration::from_secs(3)).await;
            Ok(Duration::from_secs(3))
        })
        .await;
        assert!(matches!(found, Err(BenchError::TooSlow(what)) if what == "the list"));
    }
}

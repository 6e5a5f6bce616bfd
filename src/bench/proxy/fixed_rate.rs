//! Pairs of the pass-through and a stage of crossfade, under the same open load.

use super::arrivals::Arrivals;
use super::load::{self, Latencies, percentile_us};
use super::measure::{Run, blocking};
use super::pairs::{Pairs, Turn, leads};
use super::servers::Side;
use super::verdict::Goal;
use crate::bench::BenchError;

const CASE: &str = "fixed rate";
/// The goals: stages beside the pass-through (docs/benchmarks.md).
const P50: Goal = Goal::UpperBoundAtMost(1.05);
const P99: Goal = Goal::UpperBoundAtMost(1.10);

/// What one turn at the fixed rate found of its side.
#[derive(Debug, Clone)]
struct Sampled {
    p50_us: f64,
    p99_us: f64,
    /// Processor time of the server by request, warm-up included in both.
    cpu_us: Option<f64>,
    late_p99_us: f64,
    requests: u64,
}

impl Run {
    /// Pairs of the pass-through and a stage of crossfade, at the fixed rate.
    pub(super) async fn beside_pass_through(
        &mut self,
        side: Side,
        arrivals: Arrivals,
    ) -> Result<(), BenchError> {
        let case = format!("{CASE}, {}", side.name());
        let before = self.comparisons().await?;
        let mut pairs = Pairs::default();
        let order = leads(self.plan.pairs, self.plan.seed);
        for (number, peer_leads) in (1..).zip(&order) {
            self.progress.set_message(format!("{case}: pair {number} of {}", order.len()));
            if *peer_leads {
                let peer = self.turn(Side::PassThrough, &case, arrivals).await?;
                let side = self.turn(side, &case, arrivals).await?;
                pairs.add(peer, side);
            } else {
                let side = self.turn(side, &case, arrivals).await?;
                let peer = self.turn(Side::PassThrough, &case, arrivals).await?;
                pairs.add(peer, side);
            }
        }
        if side == Side::Shadow {
            self.compared(CASE, &before).await?;
        }
        let least = self.plan.least_pairs;
        for (name, goal, of) in [
            ("latency_p50", P50, (|one| one.p50_us) as fn(&Sampled) -> f64),
            ("latency_p99", P99, |one| one.p99_us),
        ] {
            let result =
                self.result((name, "us"), (side, Side::PassThrough), goal, &pairs, of, least);
            self.found.results.push(result);
        }
        self.extras(&case, side, &pairs);
        Ok(())
    }

    /// One turn of one side. One in which too much failed to tell anything has figures of nothing, and is void.
    async fn turn(
        &mut self,
        side: Side,
        case: &str,
        arrivals: Arrivals,
    ) -> Result<Turn<Sampled>, BenchError> {
        let aim = self.aim(side)?;
        let cpu = self.server(side)?.cpu()?;
        let latencies = blocking(move || load::open(&aim, arrivals)).await?;
        let after = self.server(side)?.cpu()?;
        let used = cpu.zip(after).map(|(before, after)| after.saturating_sub(before));
        let found = sampled(&latencies, used.map(|used| used.as_secs_f64()), arrivals);
        let failed = self.failed(side, case, latencies.failures);
        match found {
            Some(found) => Ok(Turn { found, failed }),
            None if failed > 0 => {
                let nothing = f64::NAN;
                let found = Sampled {
                    p50_us: nothing,
                    p99_us: nothing,
                    cpu_us: None,
                    late_p99_us: nothing,
                    requests: 0,
                };
                Ok(Turn { found, failed })
            }
            None => {
                let text = format!("--rate {}: no request is due in a turn", arrivals.rate);
                Err(BenchError::Options(text))
            }
        }
    }

    fn extras(&mut self, case: &str, side: Side, pairs: &Pairs<Sampled>) {
        let n = pairs.sound() as u64;
        let late = pairs.medians(|one| one.late_p99_us);
        let cpu = pairs.medians(|one| one.cpu_us.unwrap_or(f64::NAN));
        #[expect(clippy::cast_precision_loss, reason = "requests of some seconds")]
        let requests = pairs.medians(|one| one.requests as f64);
        for (name, unit, both) in [
            ("requests a turn", "1", requests),
            ("cpu a request", "us", cpu),
            ("sent late p99", "us", late),
        ] {
            let (peer, ours) = both.unzip();
            self.figure(case, name, Side::PassThrough, unit, peer, n);
            self.figure(case, name, side, unit, ours, n);
        }
    }
}

/// `None` if nothing that counts was answered.
fn sampled(found: &Latencies, cpu_s: Option<f64>, arrivals: Arrivals) -> Option<Sampled> {
    let sent = arrivals.rate * arrivals.end().as_secs_f64();
    Some(Sampled {
        p50_us: percentile_us(&found.latencies, 0.5)?,
        p99_us: percentile_us(&found.latencies, 0.99)?,
        cpu_us: cpu_s.map(|seconds| seconds * 1e6 / sent),
        late_p99_us: percentile_us(&found.lateness, 0.99).unwrap_or(f64::NAN),
        requests: found.latencies.len() as u64,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn processor_time_is_shared_by_all_requests_and_latencies_by_those_that_count() {
        let ms = Duration::from_millis;
        let arrivals =
            Arrivals { rate: 10.0, connections: 1, warm_up: ms(1_000), length: ms(9_000) };
        let latencies: Vec<Duration> = (1..=90).map(ms).collect();
        let found = Latencies { latencies, ..Latencies::default() };
        let turn = sampled(&found, Some(0.5), arrivals).unwrap();
        assert_eq!((turn.p50_us, turn.p99_us, turn.requests), (45_000.0, 90_000.0, 90));
        assert_eq!(turn.cpu_us, Some(5_000.0));
        assert!(sampled(&Latencies::default(), None, arrivals).is_none());
    }
}

//! How much is measured: everything has a bound in count and in time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::{ProxyOptions, SHARE};
use crate::bench::BenchError;
use crate::bench::proxy::arrivals::Arrivals;

/// Fewer pairs than this give no verdict on a latency.
const LEAST_PAIRS: usize = 10;
/// The same of throughput, which is measured once a round.
const LEAST_ROUNDS: usize = 3;
const MAX_PAIRS: usize = 200;
const MAX_SECONDS: f64 = 60.0;
const MAX_CONNECTIONS: usize = 512;
const MAX_RATE: f64 = 200_000.0;

#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) connections: usize,
    /// Pairs of each stage, and how many of them must be sound.
    pub(super) pairs: usize,
    pub(super) least_pairs: usize,
    /// One turn at the fixed rate.
    pub(super) turn: Duration,
    /// Turns of each side as fast as it goes, and how many of a pair must be sound.
    pub(super) rounds: usize,
    pub(super) least_rounds: usize,
    pub(super) round: Duration,
    /// What begins each turn and does not count.
    pub(super) warm_up: Duration,
    /// Requests a second; `None`: a share of what saturates the pass-through.
    rate: Option<f64>,
    pub(super) seed: u64,
}

impl Plan {
    pub(super) fn of(options: &ProxyOptions) -> Result<Self, BenchError> {
        let refuse = |text: String| Err(BenchError::Options(text));
        if !(LEAST_PAIRS..=MAX_PAIRS).contains(&options.pairs) {
            let text = format!("--pairs {}: {LEAST_PAIRS} to {MAX_PAIRS}", options.pairs);
            return refuse(text);
        }
        if !(1.0..=MAX_SECONDS).contains(&options.seconds) {
            return refuse(format!("--seconds {}: from 1 to {MAX_SECONDS}", options.seconds));
        }
        if !(1..=MAX_CONNECTIONS).contains(&options.connections) {
            let text = format!("--connections {}: 1 to {MAX_CONNECTIONS}", options.connections);
            return refuse(text);
        }
        if let Some(rate) = options.rate.filter(|rate| !(1.0..=MAX_RATE).contains(rate)) {
            return refuse(format!("--rate {rate}: from 1 to {MAX_RATE}"));
        }
        let ms = Duration::from_millis;
        let plan = Self {
            connections: options.connections,
            pairs: options.pairs,
            least_pairs: LEAST_PAIRS,
            turn: Duration::from_secs_f64(options.seconds),
            rounds: 5,
            least_rounds: LEAST_ROUNDS,
            round: Duration::from_secs(3),
            warm_up: ms(500),
            rate: options.rate,
            seed: options.seed,
        };
        Ok(if options.quick { plan.quick() } else { plan })
    }

    /// A little of everything: to see that it works.
    fn quick(self) -> Self {
        let ms = Duration::from_millis;
        let (turn, round, warm_up) = (ms(400), ms(300), ms(100));
        Self { pairs: 2, rounds: 2, turn, round, warm_up, ..self }
    }

    /// The open load, where the pass-through answers so many requests a second at most.
    pub(super) fn arrivals(&self, saturation: f64) -> Arrivals {
        Arrivals {
            rate: self.rate.unwrap_or(saturation * SHARE).clamp(1.0, MAX_RATE),
            connections: self.connections,
            warm_up: self.warm_up,
            length: self.turn,
        }
    }

    pub(super) fn setup(&self) -> BTreeMap<&'static str, Value> {
        let ms = |time: Duration| Value::from(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        [
            ("topology", "load generator, stub of the legacy API and each proxy: a process each, loopback sockets".into()),
            ("requests", "three single rows and a list of 20 in turn, kept-alive connections".into()),
            ("connections", self.connections.into()),
            ("pairs", self.pairs.into()),
            ("turn_ms", ms(self.turn)),
            ("rounds", self.rounds.into()),
            ("round_ms", ms(self.round)),
            ("warm_up_ms", ms(self.warm_up)),
            ("seed", self.seed.into()),
        ]
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::proxy::tests::options;

    #[test]
    fn options_out_of_bounds_are_refused() {
        let refused = [
            ProxyOptions { pairs: 9, ..options() },
            ProxyOptions { pairs: 201, ..options() },
            ProxyOptions { seconds: 0.5, ..options() },
            ProxyOptions { seconds: f64::NAN, ..options() },
            ProxyOptions { connections: 0, ..options() },
            ProxyOptions { connections: 513, ..options() },
            ProxyOptions { rate: Some(0.0), ..options() },
            ProxyOptions { rate: Some(f64::INFINITY), ..options() },
        ];
        for options in refused {
            let error = Plan::of(&options).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{error}");
        }
    }

    #[test]
    fn the_rate_is_a_share_of_the_saturation_unless_it_is_given() {
        let plan = Plan::of(&options()).unwrap();
        assert!((plan.arrivals(10_000.0).rate - 3_000.0).abs() < 1e-6);
        let plan = Plan::of(&ProxyOptions { rate: Some(50.0), ..options() }).unwrap();
        assert_eq!(plan.arrivals(10_000.0).rate, 50.0);
    }
}

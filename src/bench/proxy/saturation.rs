//! All sides as fast as they go, in rounds: what the pass-through can carry, and how crossfade stands to nginx.

use std::collections::BTreeMap;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use super::load;
use super::measure::{Run, blocking};
use super::pairs::{Pairs, Turn};
use super::servers::Side;
use super::verdict::{Goal, Verdict};
use crate::bench::BenchError;
use crate::bench::stats::median;

const CASE: &str = "as fast as it goes";
/// The goals: crossfade beside nginx (docs/benchmarks.md).
const NGINX: [(Side, Side, Goal); 2] = [
    (Side::Off, Side::Nginx, Goal::AtLeast(1.0)),
    (Side::Shadow, Side::NginxMirror, Goal::AtLeast(3.0)),
];

/// Answers a second of each side in each round.
pub(super) type Rounds = BTreeMap<Side, Vec<Turn<f64>>>;

impl Run {
    pub(super) async fn as_fast_as_it_goes(&mut self) -> Result<Rounds, BenchError> {
        let (connections, warm_up, length) =
            (self.plan.connections, self.plan.warm_up, self.plan.round);
        let mut sides: Vec<Side> = self.servers.measured.iter().map(|one| one.side).collect();
        let mut rng = StdRng::seed_from_u64(self.plan.seed);
        let mut rounds = Rounds::new();
        let before = self.comparisons().await?;
        for round in 1..=self.plan.rounds {
            sides.shuffle(&mut rng);
            for side in sides.clone() {
                let (name, of) = (side.name(), self.plan.rounds);
                self.progress.set_message(format!("{name}: {CASE}, round {round} of {of}"));
                let aim = self.aim(side)?;
                let load = move || load::closed(&aim, connections, warm_up, length);
                let answers = blocking(load).await?;
                let failed = self.failed(side, CASE, answers.failures);
                #[expect(clippy::cast_precision_loss, reason = "requests of some seconds")]
                let found = answers.count as f64 / length.as_secs_f64();
                rounds.entry(side).or_default().push(Turn { found, failed });
            }
        }
        self.compared(CASE, &before).await?;
        Ok(rounds)
    }

    pub(super) fn throughputs(&mut self, rounds: &Rounds) {
        for (side, turns) in rounds {
            let mut sound: Vec<f64> = sound(turns).collect();
            let n = sound.len() as u64;
            let value = median(&mut sound);
            self.figure(CASE, "answers", *side, "1/s", value, n);
        }
    }

    /// crossfade beside nginx, where that was measured.
    pub(super) fn beside_nginx(&mut self, rounds: &Rounds) {
        for (side, peer, goal) in NGINX {
            let mut pairs = Pairs::default();
            if let (Some(peer), Some(side)) = (rounds.get(&peer), rounds.get(&side)) {
                for (peer, side) in peer.iter().zip(side) {
                    pairs.add(peer.clone(), side.clone());
                }
            }
            let least = self.plan.least_rounds;
            let of = |rate: &f64| *rate;
            let mut result =
                self.result(("throughput", "1/s"), (side, peer), goal, &pairs, of, least);
            if !rounds.contains_key(&peer) {
                result.verdict = Verdict::NotMeasured;
                result.why.clone_from(&self.servers.without_nginx);
            }
            self.found.results.push(result);
        }
    }
}

/// Answers a second of the pass-through: the median over rounds in which nothing failed.
pub(super) fn saturation(rounds: &Rounds) -> Result<f64, BenchError> {
    let turns = rounds.get(&Side::PassThrough).map_or(&[][..], Vec::as_slice);
    let mut sound: Vec<f64> = sound(turns).collect();
    let failed = || "requests failed in every round of the pass-through".to_owned();
    median(&mut sound).ok_or_else(|| BenchError::Wrong(failed()))
}

fn sound(turns: &[Turn<f64>]) -> impl Iterator<Item = f64> {
    turns.iter().filter(|turn| turn.failed == 0).map(|turn| turn.found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_saturation_is_of_rounds_in_which_nothing_failed() {
        let turn = |found, failed| Turn { found, failed };
        let turns = vec![turn(10.0, 0), turn(900.0, 1), turn(30.0, 0), turn(20.0, 0)];
        let rounds = Rounds::from([(Side::PassThrough, turns), (Side::Off, vec![turn(1.0, 0)])]);
        assert_eq!(saturation(&rounds).unwrap(), 20.0);
        assert!(saturation(&[(Side::PassThrough, vec![turn(9.0, 1)])].into()).is_err());
        assert!(saturation(&Rounds::new()).is_err());
    }
}

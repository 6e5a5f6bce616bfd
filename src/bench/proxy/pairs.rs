//! Turns that belong together: one of each side, one after the other, in an order that is drawn.

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use crate::bench::stats::{PairedRatio, median, paired_ratio};

/// One turn of one side.
#[derive(Debug, Clone)]
pub(super) struct Turn<T> {
    pub(super) found: T,
    /// Requests that failed in it, warm-up included.
    pub(super) failed: u64,
}

/// Pairs of turns: the peer's first, whichever was measured first. A pair in which any request failed
/// is void: its figures are not used, and it is counted.
#[derive(Debug)]
pub(super) struct Pairs<T> {
    sound: Vec<(T, T)>,
    pub(super) void: usize,
}

// Deriving it would ask the same of what a turn found.
impl<T> Default for Pairs<T> {
    fn default() -> Self {
        Self { sound: Vec::new(), void: 0 }
    }
}

impl<T> Pairs<T> {
    pub(super) fn add(&mut self, peer: Turn<T>, side: Turn<T>) {
        match (peer.failed, side.failed) {
            (0, 0) => self.sound.push((peer.found, side.found)),
            _ => self.void += 1,
        }
    }

    pub(super) fn sound(&self) -> usize {
        self.sound.len()
    }

    /// The medians of one figure over the pairs, the peer's first.
    pub(super) fn medians(&self, figure: impl Fn(&T) -> f64) -> Option<(f64, f64)> {
        let (mut peer, mut side): (Vec<f64>, Vec<f64>) =
            self.sound.iter().map(|(peer, side)| (figure(peer), figure(side))).unzip();
        Some((median(&mut peer)?, median(&mut side)?))
    }

    /// How one figure of the side stands to the peer's.
    pub(super) fn ratio(&self, figure: impl Fn(&T) -> f64) -> Option<PairedRatio> {
        let pairs: Vec<(f64, f64)> =
            self.sound.iter().map(|(peer, side)| (figure(peer), figure(side))).collect();
        paired_ratio(&pairs)
    }
}

/// For each pair whether the peer leads: in half of them, drawn by `seed`. A fixed alternation could fall
/// in step with something else that comes and goes.
pub(super) fn leads(pairs: usize, seed: u64) -> Vec<bool> {
    let mut leads: Vec<bool> = (0..pairs).map(|number| number % 2 == 0).collect();
    leads.shuffle(&mut StdRng::seed_from_u64(seed));
    leads
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn turn(found: f64, failed: u64) -> Turn<f64> {
        Turn { found, failed }
    }

    #[test]
    fn a_pair_with_a_failed_request_on_either_side_is_void_and_counted() {
        let mut pairs = Pairs::default();
        pairs.add(turn(100.0, 0), turn(110.0, 0));
        pairs.add(turn(100.0, 1), turn(9.0, 0));
        pairs.add(turn(1.0, 0), turn(9.0, 3));
        pairs.add(turn(200.0, 0), turn(220.0, 0));
        assert_eq!((pairs.sound(), pairs.void), (2, 2));
        assert_eq!(pairs.medians(|found| *found), Some((150.0, 165.0)));
        let ratio = pairs.ratio(|found| *found).unwrap();
        assert!((ratio.value - 1.1).abs() < 1e-9 && (ratio.high - 1.1).abs() < 1e-9);
    }

    #[test]
    fn nothing_is_said_of_no_pairs() {
        let mut pairs = Pairs::default();
        pairs.add(turn(1.0, 1), turn(1.0, 0));
        assert_eq!(pairs.medians(|found| *found), None);
        assert_eq!(pairs.ratio(|found| *found), None);
    }

    #[test]
    fn each_side_leads_in_half_of_the_pairs_and_a_seed_gives_one_order() {
        let order = leads(12, 7);
        assert_eq!(order.iter().filter(|leads| **leads).count(), 6);
        assert_eq!(order, leads(12, 7));
        assert!((0..20).any(|seed| leads(12, seed) != order));
    }
}

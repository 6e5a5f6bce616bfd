//! Whether the share of comparisons that disagree is below a budget.
//!
//! Two mixture martingales over the same Bernoulli stream (Howard, Ramdas, McAuliffe, Sekhon: "Time-uniform, nonparametric,
//! nonasymptotic confidence sequences", 2021): each is a bet against "the rate is the budget", and by Ville's inequality it
//! exceeds 1/α with a probability of at most α, whenever one looks. One bets on lower rates, uniformly from 0 to the budget: it
//! passes. The other bets on higher ones, log-uniformly from the budget to a hundred times as much: it fails. Both integrals
//! have closed forms in binomial sums, of which only the terms that weigh anything are added up.

use super::Tally;

/// How likely a pass is although the rate is at the budget or above.
const ALPHA_PASS: f64 = 0.05;
/// How likely a failure is although the rate is at the budget or below.
const ALPHA_FAIL: f64 = 0.01;
/// Rates that the failing bet looks at: up to so many times the budget,
const WORST_TIMES: f64 = 100.0;
/// and never above this.
const WORST: f64 = 0.999;
/// The share of comparisons that must have been possible: below it a pass would speak of the easy ones only.
const MIN_COVERAGE: f64 = 0.5;
/// A bet worth so much is not reckoned any further.
const ENOUGH: f64 = 1e12;
/// More comparisons than these are not foretold.
const FORETOLD: u64 = 1 << 32;

/// What a gate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GateVerdict {
    /// The metric keeps its threshold.
    Pass,
    /// It does not.
    Fail,
    /// Nobody knows yet. It holds a promotion as a failure does.
    Insufficient,
}

/// What a gate says, and upon what.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct GateResult {
    /// The verdict.
    pub verdict: GateVerdict,
    /// What it rests on.
    pub tally: Tally,
    /// The budget: the share of comparisons that may disagree.
    pub max_mismatch_rate: f64,
    /// Further comparisons until a pass, if none of them disagrees; `None` if it has passed or failed, or if they are
    /// more than four billion.
    pub needed: Option<u64>,
}

/// The gate on disagreement: passes while fewer comparisons disagree than the budget allows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MismatchGate {
    budget: f64,
}

impl MismatchGate {
    /// A gate with this budget, a share above 0 and below 1; `None` for anything else.
    #[must_use]
    pub fn new(max_mismatch_rate: f64) -> Option<Self> {
        let sound = max_mismatch_rate > 0.0 && max_mismatch_rate < 1.0;
        sound.then_some(Self { budget: max_mismatch_rate })
    }

    /// Judges what was counted since the test began, which it does anew with each stage.
    #[must_use]
    pub fn judge(&self, tally: Tally) -> GateResult {
        let verdict = self.verdict(&tally);
        let insufficient = verdict == GateVerdict::Insufficient;
        GateResult {
            verdict,
            tally,
            max_mismatch_rate: self.budget,
            needed: insufficient.then(|| self.needed(&tally)).flatten(),
        }
    }

    fn verdict(&self, tally: &Tally) -> GateVerdict {
        if tally.failed || self.has_failed(tally) {
            GateVerdict::Fail
        } else if tally.coverage() >= MIN_COVERAGE && self.passes(tally.compared, tally.disagreed) {
            GateVerdict::Pass
        } else {
            GateVerdict::Insufficient
        }
    }

    /// Whether what was counted so far makes it fail.
    pub(super) fn has_failed(&self, tally: &Tally) -> bool {
        tally.overshared > 0 || self.fails(tally.compared, tally.disagreed)
    }

    fn passes(&self, n: u64, s: u64) -> bool {
        self.evidence_below(n, s) >= 1.0 / ALPHA_PASS
    }

    fn fails(&self, n: u64, s: u64) -> bool {
        self.log_evidence_above(n, s) >= (1.0 / ALPHA_FAIL).ln()
    }

    /// The passing bet's worth after `s` disagreements in `n`.
    ///
    /// The integral of (p/b)^s ((1-p)/(1-b))^(n-s) for p uniform on [0, b] is P(X > s) / ((s+1) P(X = s+1)) for X binomial
    /// with n+1 trials of chance b. The terms of that quotient are positive and made one from the other.
    fn evidence_below(&self, n: u64, s: u64) -> f64 {
        if s > n {
            return 0.0;
        }
        let (trials, odds) = (n as f64 + 1.0, self.budget / (1.0 - self.budget));
        let (mut sum, mut term, mut k) = (1.0_f64, 1.0_f64, s as f64 + 1.0);
        while k < trials {
            term *= (trials - k) / (k + 1.0) * odds;
            sum += term;
            k += 1.0;
            // Terms rise, then fall; the rest of what falls is worth less than a rounding error.
            let falls = (trials - k) * odds < k + 1.0;
            if sum > ENOUGH * (s as f64 + 1.0) || (falls && term < sum * f64::EPSILON) {
                break;
            }
        }
        sum / (s as f64 + 1.0)
    }

    /// The logarithm of the failing bet's worth after `s` disagreements in `n`.
    ///
    /// The integral of (p/b)^s ((1-p)/(1-b))^(n-s) for p log-uniform on [b, w] is
    /// (P(X < s; b) - P(X < s; w)) / (ln(w/b) s P(X = s; b)) for X binomial with n trials. Where the share is above w both
    /// probabilities are next to 1, and their complements are taken instead.
    fn log_evidence_above(&self, n: u64, s: u64) -> f64 {
        let (budget, worst) = (self.budget, (WORST_TIMES * self.budget).min(WORST));
        let (trials, hits) = (n as f64, s as f64);
        // There the bet has lost at every rate that it looks at.
        if s > n || hits <= trials * budget || worst <= budget {
            return f64::NEG_INFINITY;
        }
        let log_span = (worst / budget).ln().ln() + hits.ln();
        let (at_budget, at_worst) = (log_pmf(n, s, budget), log_pmf(n, s, worst));
        let above_budget = from_up(n, s, budget);
        let log_difference = if hits <= trials * worst {
            let below_budget = 1.0 - at_budget.exp() * above_budget;
            (below_budget - at_worst.exp() * below(n, s, worst)).max(0.0).ln() - at_budget
        } else {
            let log_odds = at_worst - at_budget;
            let above_worst = from_up(n, s, worst);
            log_odds + (above_worst - above_budget * (-log_odds).exp()).max(0.0).ln()
        };
        log_difference - log_span
    }

    fn needed(&self, tally: &Tally) -> Option<u64> {
        let (compared, disagreed) = (tally.compared, tally.disagreed);
        // So many more are wanted for the coverage alone.
        let uncovered = tally.excluded.saturating_sub(compared);
        let most = first(compared, FORETOLD, |n| self.passes(n, disagreed))?;
        Some((most - compared).max(uncovered))
    }

    /// Disagreements among so many comparisons at which it fails; `None` if so few cannot tell.
    #[cfg(test)]
    fn fails_at(&self, n: u64) -> Option<u64> {
        first(1, n, |s| self.fails(n, s))
    }
}

/// ln P(X = s), for X binomial with n trials of chance p.
fn log_pmf(n: u64, s: u64, p: f64) -> f64 {
    let (n, s) = (n as f64, s as f64);
    let log_choices = libm::lgamma(n + 1.0) - libm::lgamma(s + 1.0) - libm::lgamma(n - s + 1.0);
    log_choices + s * p.ln() + (n - s) * (-p).ln_1p()
}

/// P(X >= s) / P(X = s), for s above n times p: terms that fall.
fn from_up(n: u64, s: u64, p: f64) -> f64 {
    let (n, odds) = (n as f64, p / (1.0 - p));
    let (mut sum, mut term, mut k) = (1.0, 1.0, s as f64);
    while k < n && term > sum * f64::EPSILON {
        term *= (n - k) / (k + 1.0) * odds;
        sum += term;
        k += 1.0;
    }
    sum
}

/// P(X < s) / P(X = s), for s up to n times p: terms that fall downwards.
fn below(n: u64, s: u64, p: f64) -> f64 {
    let (n, odds) = (n as f64, p / (1.0 - p));
    let (mut sum, mut term, mut k) = (0.0, 1.0, s as f64);
    while k > 0.0 && term > sum * f64::EPSILON {
        term *= k / ((n - k + 1.0) * odds);
        sum += term;
        k -= 1.0;
    }
    sum
}

/// The smallest number from `from` to `to` of which something holds that holds of all greater ones too.
fn first(from: u64, to: u64, holds: impl Fn(u64) -> bool) -> Option<u64> {
    let (mut low, mut step) = (from, 1);
    // Doubled until it holds, so that what is near is not looked for far away.
    let mut high = loop {
        let high = low.saturating_add(step).min(to);
        if holds(high) {
            break high;
        }
        if high >= to {
            return None;
        }
        (low, step) = (high, step * 2);
    };
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) { high = middle } else { low = middle + 1 }
    }
    Some(high)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gate(budget: f64) -> MismatchGate {
        MismatchGate::new(budget).unwrap()
    }

    fn tally(compared: u64, disagreed: u64) -> Tally {
        Tally { compared, disagreed, ..Tally::default() }
    }

    #[test]
    fn without_a_disagreement_it_passes_at_the_published_counts() {
        for (budget, n) in
            [(0.01, 449), (0.005, 901), (0.001, 4_512), (0.0005, 9_026), (0.0001, 45_137)]
        {
            let gate = gate(budget);
            assert!(gate.passes(n, 0) && !gate.passes(n - 1, 0), "{budget}");
            assert_eq!(gate.judge(tally(0, 0)).needed, Some(n));
            assert_eq!(gate.judge(tally(n, 0)).verdict, GateVerdict::Pass);
            assert_eq!(gate.judge(tally(n - 1, 0)).verdict, GateVerdict::Insufficient);
        }
    }

    #[test]
    fn it_fails_at_the_published_counts() {
        let table = [
            (100, [7, 3, 2]),
            (300, [12, 4, 2]),
            (1_000, [24, 7, 3]),
            (3_000, [53, 12, 4]),
            (10_000, [142, 24, 7]),
        ];
        for (n, fails_at) in table {
            for (budget, s) in [0.01, 0.001, 0.0001].into_iter().zip(fails_at) {
                assert_eq!(gate(budget).fails_at(n), Some(s), "{n} at {budget}");
                assert_eq!(gate(budget).judge(tally(n, s)).verdict, GateVerdict::Fail);
            }
        }
        assert_eq!(gate(0.01).fails_at(1), None, "one comparison tells nothing");
        // A share beyond the worst rate that is looked at fails all the more.
        for (n, s) in [(3, 3), (10, 10), (1_000, 1_000), (1_000, 500)] {
            assert!(gate(0.0001).fails(n, s), "{n} {s}");
        }
    }

    #[test]
    fn the_closed_form_is_the_integral() {
        let (budget, steps) = (0.02, 200_000_u32);
        let integral = |n: i32, s: i32, from: f64, to: f64, weight: &dyn Fn(f64) -> f64| {
            let width = (to - from) / f64::from(steps);
            (0..steps)
                .map(|step| {
                    let p = from + width * (f64::from(step) + 0.5);
                    let bet = (p / budget).powi(s) * ((1.0 - p) / (1.0 - budget)).powi(n - s);
                    bet * weight(p) * width
                })
                .sum::<f64>()
        };
        for (n, s) in [(1, 0), (1, 1), (10, 3), (10, 10), (200, 2), (200, 9), (500, 30)] {
            let below = integral(n, s, 0.0, budget, &|_| 1.0 / budget);
            let closed = gate(budget).evidence_below(n as u64, s as u64);
            assert!((closed / below - 1.0).abs() < 1e-6, "{n} {s}: {closed} {below}");
            if f64::from(s) > f64::from(n) * budget {
                let span = (WORST / budget).ln();
                let above = integral(n, s, budget, WORST, &|p| 1.0 / (p * span));
                let closed = gate(budget).log_evidence_above(n as u64, s as u64).exp();
                assert!((closed / above - 1.0).abs() < 1e-4, "{n} {s}: {closed} {above}");
            }
        }
    }

    #[test]
    fn one_row_shown_to_whom_it_must_not_be_fails() {
        let tally = Tally { compared: 10_000, overshared: 1, disagreed: 1, ..Tally::default() };
        let result = gate(0.01).judge(tally);
        assert_eq!((result.verdict, result.needed), (GateVerdict::Fail, None));
    }

    #[test]
    fn what_could_not_be_compared_holds_it_back() {
        let tally = Tally { compared: 5_000, excluded: 6_000, ..Tally::default() };
        let result = gate(0.01).judge(tally);
        assert_eq!((result.verdict, result.needed), (GateVerdict::Insufficient, Some(1_000)));
    }

    #[test]
    fn a_budget_that_is_no_share_makes_no_gate() {
        for budget in [0.0, 1.0, -0.1, f64::NAN, f64::INFINITY] {
            assert_eq!(MismatchGate::new(budget), None);
        }
    }

    /// How often a stream at this rate is ever judged so, looked at after each of its comparisons.
    fn ever(rate: f64, runs: u32, mut judged: impl FnMut(&MismatchGate, u64, u64) -> bool) -> f64 {
        use rand::{Rng as _, SeedableRng as _};
        let gate = gate(0.01);
        let mut random = rand::rngs::StdRng::seed_from_u64(7);
        let hits = (0..runs).filter(|_| {
            let mut disagreed = 0;
            (1..=2_000).any(|compared| {
                disagreed += u64::from(random.random_bool(rate));
                judged(&gate, compared, disagreed)
            })
        });
        f64::from(u32::try_from(hits.count()).unwrap()) / f64::from(runs)
    }

    /// The promise: looked at after every single comparison, errors stay as rare as was said.
    #[test]
    fn looking_all_the_time_makes_no_false_verdict_likelier() {
        let at_budget = ever(0.01, 400, |gate, n, s| gate.fails(n, s));
        assert!(at_budget <= 2.5 * ALPHA_FAIL, "{at_budget}");
        let passed = ever(0.01, 400, |gate, n, s| gate.passes(n, s));
        assert!(passed <= 1.6 * ALPHA_PASS, "{passed}");
        assert!(ever(0.05, 100, |gate, n, s| gate.fails(n, s)) > 0.99);
        assert!(ever(0.0005, 100, |gate, n, s| gate.passes(n, s)) > 0.9);
    }

    proptest! {
        #[test]
        fn more_disagreement_is_never_better(
            budget in 0.0001_f64..0.2, compared in 0_u64..50_000, disagreed in 0_u64..500,
        ) {
            let gate = gate(budget);
            let disagreed = disagreed.min(compared);
            let rank = |disagreed| match gate.judge(tally(compared, disagreed)).verdict {
                GateVerdict::Pass => 0,
                GateVerdict::Insufficient => 1,
                GateVerdict::Fail => 2,
            };
            prop_assert!(rank(disagreed) <= rank((disagreed + 1).min(compared)));
            let result = gate.judge(tally(compared, disagreed));
            if let Some(needed) = result.needed {
                prop_assert!(gate.passes(compared + needed, disagreed));
                prop_assert!(needed == 0 || !gate.passes(compared + needed - 1, disagreed));
            }
            if let Some(fails_at) = gate.fails_at(compared) {
                prop_assert!(gate.fails(compared, fails_at) && !gate.fails(compared, fails_at - 1));
            }
        }

        #[test]
        fn it_answers_whatever_it_is_asked(
            budget in 1e-9_f64..0.999, compared in 0_u64..10_000_000, disagreed in 0_u64..2_000,
            excluded in any::<u64>(), overshared in any::<u64>(),
        ) {
            let tally =
                Tally { compared, disagreed, excluded, overshared, ..Tally::default() };
            let result = gate(budget).judge(tally);
            prop_assert!(result.verdict != GateVerdict::Pass || overshared == 0);
        }
    }
}

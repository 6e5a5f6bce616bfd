//! What comparisons have come to since a resource is in its stage.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::{GateResult, MismatchGate};
use crate::compare::{ErrorSide, Verdict};
use crate::migration::{Origin, ResourceName, Stage};

/// What comparisons have come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Since when, in epoch milliseconds.
    pub since_ms: u64,
    /// Comparisons that say whether both sides agree.
    pub compared: u64,
    /// Those of them that say they do not.
    pub disagreed: u64,
    /// Those that show through sync what legacy hides; they disagree, too.
    pub overshared: u64,
    /// Comparisons that say nothing: shed, incomparable, or legacy gave no answer.
    pub excluded: u64,
    /// Whether the test has failed. It stays so: a sequential test that may take its failure back would forget what it once knew.
    #[serde(default)]
    pub failed: bool,
}

impl Tally {
    /// The share of comparisons that say something; 1 if there were none.
    #[must_use]
    pub fn coverage(&self) -> f64 {
        let all = self.compared as f64 + self.excluded as f64;
        if all > 0.0 { self.compared as f64 / all } else { 1.0 }
    }

    fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Match | Verdict::Lag(_) | Verdict::Noise => self.compared += 1,
            Verdict::Mismatch
            | Verdict::Undershare
            | Verdict::Timeout(Origin::Sync)
            | Verdict::Error(ErrorSide::SyncOnly) => {
                self.compared += 1;
                self.disagreed += 1;
            }
            Verdict::Overshare => {
                self.compared += 1;
                self.disagreed += 1;
                self.overshared += 1;
            }
            // Where legacy failed there is nothing to agree with.
            Verdict::Error(
                ErrorSide::LegacyOnly | ErrorSide::BothSame | ErrorSide::BothDifferent,
            )
            | Verdict::Timeout(Origin::Legacy)
            | Verdict::Incomparable(_)
            | Verdict::Shed => self.excluded += 1,
        }
    }
}

/// A resource's tally, and the stage that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Counted {
    stage: Stage,
    #[serde(flatten)]
    tally: Tally,
}

/// The tallies of all resources. A test begins anew with each stage, so a tally counts the comparisons
/// of one stage only.
#[derive(Debug, Clone)]
pub struct Tallies {
    gate: MismatchGate,
    counted: Arc<Mutex<BTreeMap<ResourceName, Counted>>>,
}

impl Tallies {
    /// Nothing is counted yet.
    #[must_use]
    pub fn new(gate: MismatchGate) -> Self {
        Self { gate, counted: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ResourceName, Counted>> {
        // Every change is one step, so a poisoned lock hides nothing half done.
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up what was kept of a resource. What cannot be read any more is as if nothing had been counted: it
    /// holds a promotion back and makes none.
    pub fn restore(&self, resource: &ResourceName, kept: &str) {
        match serde_json::from_str(kept) {
            Ok(counted) => {
                self.lock().insert(resource.clone(), counted);
            }
            Err(error) => tracing::warn!(%resource, %error, "the kept tally cannot be read"),
        }
    }

    /// What is to be kept of a resource.
    #[must_use]
    pub fn to_keep(&self, resource: &ResourceName) -> Option<String> {
        let counted = self.lock().get(resource).copied()?;
        serde_json::to_string(&counted).ok()
    }

    /// Begins anew if the resource's tally is of another stage.
    pub fn begin(&self, resource: &ResourceName, stage: Stage, now_ms: u64) {
        let mut tallies = self.lock();
        if tallies.get(resource).is_none_or(|counted| counted.stage != stage) {
            let tally = Tally { since_ms: now_ms, ..Tally::default() };
            tallies.insert(resource.clone(), Counted { stage, tally });
        }
    }

    /// Counts a comparison. One of another stage, under way since before the last change, is not.
    pub fn add(&self, resource: &ResourceName, stage: Stage, verdict: Verdict) {
        if let Some(counted) = self.lock().get_mut(resource)
            && counted.stage == stage
        {
            counted.tally.add(verdict);
            counted.tally.failed = counted.tally.failed || self.gate.has_failed(&counted.tally);
        }
    }

    /// What the gate says of a resource in a stage.
    #[must_use]
    pub fn judge(&self, resource: &ResourceName, stage: Stage) -> GateResult {
        self.gate.judge(self.of(resource, stage))
    }

    /// What was counted of a resource in a stage.
    #[must_use]
    pub fn of(&self, resource: &ResourceName, stage: Stage) -> Tally {
        let counted = self.lock().get(resource).copied().filter(|counted| counted.stage == stage);
        counted.map_or_else(Tally::default, |counted| counted.tally)
    }
}

#[cfg(test)]
mod tests {
    use super::super::GateVerdict;
    use super::*;

    #[test]
    fn each_verdict_counts_once_and_what_says_nothing_counts_for_neither() {
        let mut tally = Tally::default();
        Verdict::ALL.into_iter().for_each(|verdict| tally.add(verdict));
        assert_eq!(tally.compared + tally.excluded, Verdict::ALL.len() as u64);
        assert_eq!((tally.compared, tally.disagreed, tally.overshared), (8, 5, 1));
        assert!((tally.coverage() - 8.0 / 22.0).abs() < 1e-9);
        assert!((Tally::default().coverage() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_tally_belongs_to_one_stage_and_survives_a_restart() {
        let users = ResourceName::new("users");
        let tallies = Tallies::new(MismatchGate::new(0.01).unwrap());
        tallies.add(&users, Stage::Shadow, Verdict::Match);
        assert_eq!(tallies.to_keep(&users), None, "nothing is counted before the stage has begun");
        tallies.begin(&users, Stage::Shadow, 7);
        tallies.add(&users, Stage::Shadow, Verdict::Match);
        tallies.add(&users, Stage::Live, Verdict::Mismatch);
        tallies.begin(&users, Stage::Shadow, 9);
        let counted = Tally { since_ms: 7, compared: 1, ..Tally::default() };
        assert_eq!(tallies.of(&users, Stage::Shadow), counted);
        assert_eq!(tallies.of(&users, Stage::Live), Tally::default());

        let again = Tallies::new(MismatchGate::new(0.01).unwrap());
        again.restore(&users, &tallies.to_keep(&users).unwrap());
        assert_eq!(again.of(&users, Stage::Shadow), counted);
        again.begin(&users, Stage::Live, 11);
        assert_eq!(again.of(&users, Stage::Shadow), Tally::default());
        again.restore(&users, "{}");
        assert_eq!(again.of(&users, Stage::Live).since_ms, 11, "rubbish changes nothing");
    }

    #[test]
    fn a_failure_stays_whatever_comes_after_it() {
        let users = ResourceName::new("users");
        let tallies = Tallies::new(MismatchGate::new(0.2).unwrap());
        tallies.begin(&users, Stage::Shadow, 1);
        (0..12).for_each(|_| tallies.add(&users, Stage::Shadow, Verdict::Mismatch));
        assert_eq!(tallies.judge(&users, Stage::Shadow).verdict, GateVerdict::Fail);
        (0..1_000).for_each(|_| tallies.add(&users, Stage::Shadow, Verdict::Match));
        assert_eq!(tallies.judge(&users, Stage::Shadow).verdict, GateVerdict::Fail);
        let again = Tallies::new(MismatchGate::new(0.2).unwrap());
        again.restore(&users, &tallies.to_keep(&users).unwrap());
        assert_eq!(again.judge(&users, Stage::Shadow).verdict, GateVerdict::Fail);
        again.begin(&users, Stage::DualWrite, 2);
        again.begin(&users, Stage::Shadow, 3);
        assert_eq!(again.judge(&users, Stage::Shadow).verdict, GateVerdict::Insufficient);
    }
}

//! What holds stages back: the conditions of each step, with their figures, and the answer to who asks for more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Serialize;

use crate::flags::{Grant, Interlock};
use crate::gate::{GateResult, GateVerdict, Tallies, Tally};
use crate::migration::{Condition, ResourceName, Stage};
use crate::sync::{CaughtUp, Reconciled};

/// Why nothing goes beyond `live`: what the store would have to make itself there (generated and unique columns, the
/// relational projection) is not there yet.
const NOT_BUILT: &str = "this version goes up to live; rampdown and complete are not built yet";

/// A condition, and how it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConditionReport {
    /// Which.
    pub condition: Condition,
    /// Whether it is met.
    pub met: bool,
    /// Whether the configuration passes it over.
    pub waived: bool,
    /// How it stands, for people.
    pub figure: String,
}

/// A step forward, and what it needs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepReport {
    /// The stage that it leads to.
    pub to: Stage,
    /// All of them must be met or waived.
    pub conditions: Vec<ConditionReport>,
    /// Why it cannot be taken at all.
    pub closed: Option<&'static str>,
}

impl StepReport {
    /// What is missing, for people; `None` if nothing is.
    fn missing(&self) -> Option<String> {
        if let Some(closed) = self.closed {
            return Some(closed.to_owned());
        }
        let open = self.conditions.iter().filter(|one| !one.met && !one.waived);
        let missing: Vec<_> =
            open.map(|one| format!("{}: {}", one.condition, one.figure)).collect();
        (!missing.is_empty()).then(|| format!("{} needs {}", self.to, missing.join("; ")))
    }
}

/// The interlocks of all resources. What they say is worked out now and then, by [`Interlocks::refresh`], and read on each request
/// without a lock.
#[derive(Debug)]
pub(crate) struct Interlocks {
    resources: Vec<ResourceName>,
    caught_up: CaughtUp,
    tallies: Tallies,
    waived: BTreeSet<Condition>,
    steps: ArcSwap<BTreeMap<ResourceName, Vec<StepReport>>>,
}

impl Interlocks {
    pub(super) fn new(
        resources: Vec<ResourceName>,
        caught_up: CaughtUp,
        tallies: Tallies,
        waived: BTreeSet<Condition>,
    ) -> Self {
        let steps = ArcSwap::default();
        let interlocks = Self { resources, caught_up, tallies, waived, steps };
        interlocks.refresh();
        interlocks
    }

    /// Looks at every condition again.
    pub(super) fn refresh(&self) {
        let steps = self.resources.iter().map(|resource| (resource.clone(), self.all(resource)));
        self.steps.store(Arc::new(steps.collect()));
    }

    /// The next step from a stage, as it stood at the last refresh.
    pub(super) fn next_step(&self, resource: &ResourceName, from: Stage) -> Option<StepReport> {
        let steps = self.steps.load();
        steps.get(resource)?.iter().find(|step| step.to > from).cloned()
    }

    /// What the comparisons of a stage say by now.
    pub(super) fn gate(&self, resource: &ResourceName, stage: Stage) -> GateResult {
        self.tallies.judge(resource, stage)
    }

    fn all(&self, resource: &ResourceName) -> Vec<StepReport> {
        let step = |to, conditions, closed| StepReport { to, conditions, closed };
        vec![
            step(Stage::DualWrite, Vec::new(), None),
            step(Stage::Shadow, vec![self.backfill(resource), self.reconcile(resource)], None),
            step(Stage::Live, vec![self.backfill(resource), self.mismatch_gate(resource)], None),
            step(Stage::RampDown, Vec::new(), Some(NOT_BUILT)),
            step(Stage::Complete, Vec::new(), Some(NOT_BUILT)),
        ]
    }

    fn report(&self, condition: Condition, met: bool, figure: String) -> ConditionReport {
        ConditionReport { condition, met, waived: self.waived.contains(&condition), figure }
    }

    fn backfill(&self, resource: &ResourceName) -> ConditionReport {
        let met = self.caught_up.is(resource);
        let figure = if met {
            "finished, and no write was missed since"
        } else {
            "not finished, or a write was missed since: run `crossfade backfill`"
        };
        self.report(Condition::Backfill, met, figure.to_owned())
    }

    fn reconcile(&self, resource: &ResourceName) -> ConditionReport {
        let last = self.caught_up.last_reconciled(resource);
        let figure = match last {
            None => "not run since a write was last missed: run `crossfade reconcile`".to_owned(),
            Some(Reconciled { rows, differ, .. }) if differ > 0 => {
                format!("{differ} of {rows} rows differ: `crossfade reconcile` lists them")
            }
            Some(Reconciled { rows, .. }) => format!("{rows} rows agree on both sides"),
        };
        self.report(Condition::Reconcile, last.is_some_and(|last| last.differ == 0), figure)
    }

    fn mismatch_gate(&self, resource: &ResourceName) -> ConditionReport {
        let result = self.gate(resource, Stage::Shadow);
        self.report(Condition::MismatchGate, result.verdict == GateVerdict::Pass, figure(&result))
    }
}

impl Interlock for Interlocks {
    /// As far as every step on the way may be taken. Backward is free.
    fn grant(&self, resource: &ResourceName, from: Stage, requested: Stage) -> Grant {
        let steps = self.steps.load();
        let ahead = |step: &&StepReport| step.to > from && step.to <= requested;
        let mut stage = from;
        for step in steps.get(resource).into_iter().flatten().filter(ahead) {
            if let Some(why) = step.missing() {
                return Grant::Held { stage, why: why.into() };
            }
            stage = step.to;
        }
        Grant::Whole
    }
}

/// What a gate rests on, in a line.
fn figure(result: &GateResult) -> String {
    let GateResult { verdict, tally, max_mismatch_rate, needed } = result;
    let Tally { compared, disagreed, overshared, excluded, .. } = tally;
    let mut text = format!("{disagreed} of {compared} comparisons disagree");
    if *overshared > 0 {
        text += &format!(", {overshared} of them show what legacy hides");
    }
    if *excluded > 0 {
        let coverage = (100.0 * tally.coverage()).floor();
        text += &format!(", {excluded} more say nothing (coverage {coverage} %)");
    }
    text += &format!("; {} % may", max_mismatch_rate * 100.0);
    match (verdict, needed) {
        (GateVerdict::Pass, _) => text += ": passed",
        (GateVerdict::Fail, _) => text += ": failed; correct it, and go back a stage to begin anew",
        (GateVerdict::Insufficient, Some(needed)) => {
            text += &format!(": {needed} more that agree are needed");
        }
        (GateVerdict::Insufficient, None) => text += ": not enough to tell",
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::compare::Verdict;
    use crate::gate::MismatchGate;
    use crate::storage::{MemoryStorage, SharedStorage};
    use crate::sync::Missed;
    use Stage::{Complete, DualWrite, Live, Off, RampDown, Shadow};

    struct World {
        users: ResourceName,
        caught_up: CaughtUp,
        tallies: Tallies,
        interlocks: Interlocks,
    }

    async fn world(waived: &[Condition]) -> World {
        let storage: SharedStorage = Arc::new(MemoryStorage::default());
        let users = ResourceName::new("users");
        let caught_up = CaughtUp::load(storage, 0, Duration::ZERO).await.unwrap();
        let tallies = Tallies::new(MismatchGate::new(0.01).unwrap());
        let waived = waived.iter().copied().collect();
        let (copy, counted) = (caught_up.clone(), tallies.clone());
        let interlocks = Interlocks::new(vec![users.clone()], copy, counted, waived);
        World { users, caught_up, tallies, interlocks }
    }

    impl World {
        async fn backfilled(self) -> Self {
            let begun = self.caught_up.begin(&self.users, u64::MAX);
            assert!(self.caught_up.finish(&self.users, begun).await.unwrap());
            self.reconciled(0).await;
            self
        }

        async fn reconciled(&self, differ: u64) {
            let begun = self.caught_up.begin(&self.users, u64::MAX);
            let came_to = Reconciled { at_ms: 1, rows: 10, differ };
            self.caught_up.reconciled(&self.users, begun, came_to).await.unwrap();
            self.interlocks.refresh();
        }

        fn compared(&self, verdict: Verdict, times: u32) {
            self.tallies.begin(&self.users, Shadow, 1);
            (0..times).for_each(|_| self.tallies.add(&self.users, Shadow, verdict));
            self.interlocks.refresh();
        }

        /// How far one gets.
        fn far(&self, from: Stage, requested: Stage) -> Stage {
            match self.interlocks.grant(&self.users, from, requested) {
                Grant::Whole => requested,
                Grant::Held { stage, .. } => stage,
            }
        }

        fn why(&self, from: Stage, requested: Stage) -> String {
            match self.interlocks.grant(&self.users, from, requested) {
                Grant::Whole => String::new(),
                Grant::Held { why, .. } => why.to_string(),
            }
        }
    }

    #[tokio::test]
    async fn forward_goes_as_far_as_each_step_allows_and_backward_is_free() {
        let world = world(&[]).await;
        assert_eq!(world.far(Off, Complete), DualWrite);
        assert!(world.why(Off, Live).contains("shadow needs backfill"));
        let world = world.backfilled().await;
        assert_eq!(world.far(Off, Complete), Shadow);
        world.reconciled(3).await;
        assert_eq!(world.far(Off, Complete), DualWrite);
        assert!(world.why(DualWrite, Shadow).contains("reconcile: 3 of 10 rows differ"));
        world.reconciled(0).await;
        assert_eq!(world.far(Shadow, Live), Shadow);
        assert!(world.why(Shadow, Live).contains("449 more that agree are needed"));
        world.compared(Verdict::Match, 449);
        assert_eq!(world.far(Shadow, Live), Live);
        assert_eq!(world.far(Shadow, Complete), Live);
        assert!(world.why(Live, RampDown).contains("not built"));
        for (from, to) in [(Live, Shadow), (Live, Off), (Shadow, DualWrite), (DualWrite, Off)] {
            assert_eq!(world.far(from, to), to);
        }
        // A write is missed: who is there already stays, and nobody gets there any more.
        world.caught_up.lose(&world.users, Missed::default());
        world.interlocks.refresh();
        assert_eq!(world.far(DualWrite, Live), DualWrite);
        assert_eq!(world.far(Shadow, Live), Shadow);
    }

    #[tokio::test]
    async fn a_gate_that_fails_holds_and_says_why() {
        let world = world(&[]).await.backfilled().await;
        world.compared(Verdict::Match, 449);
        world.compared(Verdict::Mismatch, 40);
        assert_eq!(world.far(Shadow, Live), Shadow);
        assert!(world.why(Shadow, Live).contains("40 of 489 comparisons disagree"));
        let step = world.interlocks.next_step(&world.users, Shadow).unwrap();
        assert_eq!((step.to, step.conditions[1].met), (Live, false));
        assert_eq!(world.interlocks.gate(&world.users, Shadow).verdict, GateVerdict::Fail);
    }

    #[tokio::test]
    async fn what_is_waived_is_passed_over_and_still_told() {
        let all = [Condition::Backfill, Condition::Reconcile, Condition::MismatchGate];
        let world = world(&all).await;
        assert_eq!(world.far(Off, Live), Live);
        assert_eq!(world.far(Off, RampDown), Live, "what is not built cannot be waived");
        let step = world.interlocks.next_step(&world.users, DualWrite).unwrap();
        assert_eq!((step.conditions[0].met, step.conditions[0].waived), (false, true));
    }
}

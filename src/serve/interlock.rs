//! What holds stages back: the conditions of each step, with their figures, and the answer to who asks for more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Serialize;

use super::backlog::{Backlog, Look};
use crate::flags::{Evaluation, Grant, Interlock, Reach};
use crate::gate::{GateResult, GateVerdict, Tallies, Tally};
use crate::migration::{Condition, ResourceName, Stage};
use crate::resource::{Lack, Resource};
use crate::sync::{CaughtUp, Reconciled};

/// Why nothing goes beyond `rampdown`: the relational table that is written from the store is not there yet.
const NOT_BUILT: &str = "this version goes up to rampdown; complete is not built yet";

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
    parts: InterlockParts,
    backlog: ArcSwap<Backlog>,
    steps: ArcSwap<BTreeMap<ResourceName, Vec<StepReport>>>,
}

/// What interlocks look at.
#[derive(Debug)]
pub(super) struct InterlockParts {
    pub(super) resources: Vec<Arc<Resource>>,
    pub(super) caught_up: CaughtUp,
    pub(super) tallies: Tallies,
    /// For the cohorts.
    pub(super) flags: Evaluation,
    pub(super) waived: BTreeSet<Condition>,
}

impl Interlocks {
    pub(super) fn new(parts: InterlockParts) -> Self {
        let interlocks = Self { parts, backlog: ArcSwap::default(), steps: ArcSwap::default() };
        interlocks.refresh();
        interlocks
    }

    /// Looks at every condition again.
    pub(super) fn refresh(&self) {
        let resources = self.parts.resources.iter();
        let steps = resources.map(|resource| (resource.name.clone(), self.all(resource)));
        self.steps.store(Arc::new(steps.collect()));
    }

    /// Takes in what the outbox holds at `now_ms` (epoch milliseconds); `None`: the database could not be read.
    pub(super) fn looked(&self, look: Option<Look>, now_ms: u64) {
        self.backlog.store(Arc::new(self.backlog.load().after(look, now_ms)));
    }

    /// The next step from a stage, as it stood at the last refresh.
    pub(super) fn next_step(&self, resource: &ResourceName, from: Stage) -> Option<StepReport> {
        let steps = self.steps.load();
        steps.get(resource)?.iter().find(|step| step.to > from).cloned()
    }

    /// What the comparisons of a stage say by now.
    pub(super) fn gate(&self, resource: &ResourceName, stage: Stage) -> GateResult {
        self.parts.tallies.judge(resource, stage)
    }

    fn all(&self, resource: &Resource) -> Vec<StepReport> {
        let step = |to, conditions, closed| StepReport { to, conditions, closed };
        let name = &resource.name;
        vec![
            step(Stage::DualWrite, Vec::new(), None),
            step(Stage::Shadow, vec![self.backfill(name), self.reconcile(name)], None),
            step(Stage::Live, vec![self.backfill(name), self.mismatch_gate(name)], None),
            step(Stage::RampDown, self.before_rampdown(resource), None),
            step(Stage::Complete, Vec::new(), Some(NOT_BUILT)),
        ]
    }

    /// What the step needs after which the store does writes first.
    fn before_rampdown(&self, resource: &Resource) -> Vec<ConditionReport> {
        let name = &resource.name;
        let reach = self.parts.flags.cohort_reach(name);
        let cohort = match &reach {
            Reach::Everybody => "everybody".to_owned(),
            Reach::Some(why) => format!("not everybody: {why}"),
        };
        let backlog = self.backlog.load();
        let ((owed_met, owed), (dead_met, dead)) = (backlog.owed_age(), backlog.dead_letters(name));
        let mut conditions = vec![
            self.backfill(name),
            self.report(Condition::Cohort, reach == Reach::Everybody, cohort),
            self.report(Condition::OwedAge, owed_met, owed),
            self.report(Condition::DeadLetters, dead_met, dead),
        ];
        let lacks = resource.lacks_for_rampdown();
        for condition in [Condition::Unique, Condition::Generated, Condition::WritePermissions] {
            let of_condition = lacks.iter().filter(|lack| lack.condition() == condition);
            let open: Vec<_> = of_condition.map(Lack::to_string).collect();
            let figure = if open.is_empty() { "told".to_owned() } else { open.join(", ") };
            conditions.push(self.report(condition, open.is_empty(), figure));
        }
        conditions
    }

    fn report(&self, condition: Condition, met: bool, figure: String) -> ConditionReport {
        // Without roles there is no judge at all.
        let waivable = condition != Condition::WritePermissions;
        let waived = waivable && self.parts.waived.contains(&condition);
        ConditionReport { condition, met, waived, figure }
    }

    fn backfill(&self, resource: &ResourceName) -> ConditionReport {
        let met = self.parts.caught_up.is(resource);
        let figure = if met {
            "finished, and no write was missed since"
        } else {
            "not finished, or a write was missed since: run `crossfade backfill`"
        };
        self.report(Condition::Backfill, met, figure.to_owned())
    }

    fn reconcile(&self, resource: &ResourceName) -> ConditionReport {
        let last = self.parts.caught_up.last_reconciled(resource);
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
    use crate::clock::SystemClock;
    use crate::compare::Verdict;
    use crate::flags::FixedToggles;
    use crate::gate::MismatchGate;
    use crate::storage::{MemoryStorage, SharedStorage};
    use crate::sync::Missed;
    use Stage::{Complete, DualWrite, Live, Off, RampDown, Shadow};

    struct World {
        users: ResourceName,
        caught_up: CaughtUp,
        tallies: Tallies,
        toggles: FixedToggles,
        interlocks: Interlocks,
    }

    async fn world(waived: &[Condition]) -> World {
        world_of(waived, resource(false)).await
    }

    async fn world_of(waived: &[Condition], resource: Resource) -> World {
        let storage: SharedStorage = Arc::new(MemoryStorage::default());
        let users = ResourceName::new("users");
        let caught_up = CaughtUp::load(storage, 0, Duration::ZERO).await.unwrap();
        let tallies = Tallies::new(MismatchGate::new(0.01).unwrap());
        let toggles = FixedToggles::new("crossfade", Arc::new(SystemClock));
        let interlocks = Interlocks::new(InterlockParts {
            resources: vec![Arc::new(resource)],
            caught_up: caught_up.clone(),
            tallies: tallies.clone(),
            flags: Evaluation::new(toggles.toggles(), "crossfade", [users.clone()]),
            waived: waived.iter().copied().collect(),
        });
        World { users, caught_up, tallies, toggles, interlocks }
    }

    /// The example's resource; `ramped`: with all that rampdown needs.
    fn resource(ramped: bool) -> Resource {
        let mut text = include_str!("../../docs/crossfade.example.toml").to_owned();
        if ramped {
            text = text.replace("#generated", "generated").replace("#unique", "unique");
            text += "\n[resource.write.roles.admin]\ncells = [\"*\"]\n";
        }
        let config = crate::config::Config::parse(&text, std::path::Path::new("."), "test");
        (*config.unwrap().resources[0]).clone()
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
        assert!(world.why(Live, RampDown).contains("rampdown needs cohort"));
        assert!(world.why(RampDown, Complete).contains("not built"));
        for (from, to) in [
            (RampDown, Live),
            (RampDown, Off),
            (Live, Shadow),
            (Live, Off),
            (Shadow, DualWrite),
            (DualWrite, Off),
        ] {
            assert_eq!(world.far(from, to), to);
        }
        // A write is missed: who is there already stays, and nobody gets there any more.
        world.caught_up.lose(&world.users, Missed::default());
        world.interlocks.refresh();
        assert_eq!(world.far(DualWrite, Live), DualWrite);
        assert_eq!(world.far(Shadow, Live), Shadow);
    }

    #[tokio::test]
    async fn each_step_needs_what_the_table_of_steps_says() {
        use Condition::{
            Backfill, Cohort, DeadLetters, Generated, MismatchGate, OwedAge, Reconcile, Unique,
            WritePermissions,
        };
        let world = world(&[]).await;
        let rampdown =
            [Backfill, Cohort, OwedAge, DeadLetters, Unique, Generated, WritePermissions];
        let table: [(Stage, Stage, &[Condition]); 4] = [
            (Off, DualWrite, &[]),
            (DualWrite, Shadow, &[Backfill, Reconcile]),
            (Shadow, Live, &[Backfill, MismatchGate]),
            (Live, RampDown, &rampdown),
        ];
        for (from, to, needs) in table {
            let step = world.interlocks.next_step(&world.users, from).unwrap();
            let conditions: Vec<_> = step.conditions.iter().map(|one| one.condition).collect();
            assert_eq!((step.to, conditions.as_slice(), step.closed), (to, needs, None));
        }
        let complete = world.interlocks.next_step(&world.users, RampDown).unwrap();
        assert_eq!((complete.to, complete.closed), (Complete, Some(NOT_BUILT)));
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
        assert_eq!(world.far(Off, RampDown), Live);
        assert_eq!(world.far(RampDown, Complete), RampDown, "what is not built cannot be waived");
        let step = world.interlocks.next_step(&world.users, DualWrite).unwrap();
        assert_eq!((step.conditions[0].met, step.conditions[0].waived), (false, true));
    }

    const NOW: u64 = 1_800_000_000_000;

    impl World {
        /// A look a second for a minute, at an outbox that is empty.
        fn watched(&self) {
            (0..=60).for_each(|s| self.interlocks.looked(Some(Look::default()), NOW + s * 1_000));
            self.interlocks.refresh();
        }

        fn open(&self) -> Vec<Condition> {
            let step = self.interlocks.next_step(&self.users, Live).unwrap();
            let open = step.conditions.iter().filter(|one| !one.met);
            open.map(|one| one.condition).collect()
        }
    }

    #[tokio::test]
    async fn rampdown_needs_each_of_its_conditions() {
        let world = world_of(&[], resource(true)).await.backfilled().await;
        assert_eq!(world.open(), [Condition::Cohort, Condition::OwedAge, Condition::DeadLetters]);
        world.toggles.set_cohort(&world.users, 99);
        world.watched();
        assert_eq!(world.open(), [Condition::Cohort]);
        assert!(world.why(Live, RampDown).contains("cohort: not everybody: its rollout is 99 %"));
        world.toggles.set_cohort(&world.users, 100);
        world.interlocks.refresh();
        assert_eq!((world.open(), world.far(Live, RampDown)), (vec![], RampDown));
        // An outbox that cannot be read holds, and so does a store that has missed a write.
        world.interlocks.looked(None, NOW + 61_000);
        world.interlocks.refresh();
        assert_eq!(world.open(), [Condition::OwedAge, Condition::DeadLetters]);
        world.watched();
        world.caught_up.lose(&world.users, Missed::default());
        world.interlocks.refresh();
        assert_eq!(world.open(), [Condition::Backfill]);
    }

    #[tokio::test]
    async fn rampdown_needs_what_only_legacy_knew_to_be_told_and_roles_cannot_be_waived() {
        let world =
            world(&[Condition::WritePermissions, Condition::Generated]).await.backfilled().await;
        world.toggles.set_cohort(&world.users, 100);
        world.watched();
        assert_eq!(world.open(), [Condition::Generated, Condition::WritePermissions]);
        let why = world.why(Live, RampDown);
        assert!(why.contains("[resource.write]") && !why.contains("read_only"), "{why}");
    }
}

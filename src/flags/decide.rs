//! Which stage a resource really is in, and why.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use serde::Serialize;

use super::{Evaluation, RollbackSwitch, Scope, StageRequest, Tripped};
use crate::migration::{ResourceName, Stage};

/// How long ago the rollback switch may have been looked at, for the store to answer: a rollback holds everywhere within one
/// second (design rule 7).
const LOOKED_WITHIN_MS: u64 = 900;

/// The stage that a resource is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EffectiveStage {
    /// What the flags ask for.
    pub requested: Option<Stage>,
    /// What holds.
    pub effective: Stage,
    /// Why.
    pub because: Reason,
}

/// Why a stage holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "reason", content = "detail")]
pub enum Reason {
    /// The rollback switch is tripped: for all resources, or for this one.
    RolledBack {
        /// `*` or the resource.
        scope: Scope,
        /// The trip's epoch.
        epoch: u64,
    },
    /// The rollback switch is tripped, and the resource is in `complete`: legacy would serve stale rows.
    CompleteLeftOut {
        /// The trip's epoch.
        epoch: u64,
    },
    /// The flags ask for it.
    Flags,
    /// The flags ask for more than the interlock grants.
    Held(Arc<str>),
    /// The flags ask for `complete`, which holds once it is kept in the database.
    NotKeptYet,
    /// The flags ask for none (why is said here), so the last known stage holds.
    LastKnown(StageRequest),
    /// The flags ask for none and none is known.
    Nothing(StageRequest),
}

/// What an interlock says to a change of stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// Go there.
    Whole,
    /// Go to `stage` only, which may be the present one.
    Held {
        /// How far.
        stage: Stage,
        /// What is missing, for people.
        why: Arc<str>,
    },
}

/// The conditions that a stage change must meet, whoever asks for it.
///
/// Asked on every request while the flags ask for another stage than the last known one: it must
/// answer from memory.
pub trait Interlock: Send + Sync + std::fmt::Debug {
    /// How far `resource` may go from `from` towards `requested`.
    fn grant(&self, resource: &ResourceName, from: Stage, requested: Stage) -> Grant;
}

/// Grants everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoInterlock;

impl Interlock for NoInterlock {
    fn grant(&self, _: &ResourceName, _: Stage, _: Stage) -> Grant {
        Grant::Whole
    }
}

/// A stage to be kept in the database as the last known one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StageChange {
    /// Whose.
    pub resource: ResourceName,
    /// The stage.
    pub stage: Stage,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    stage: Stage,
    /// Whether the caller has said that it is in the database.
    kept: bool,
}

/// Decides: the rollback switch, then the flags, then the last known stage, then `off`.
#[derive(Debug)]
pub struct StageDecider {
    evaluation: Evaluation,
    rollback: Arc<RollbackSwitch>,
    interlock: Arc<dyn Interlock>,
    known: ArcSwap<BTreeMap<ResourceName, Known>>,
    /// The last document whose kill switch was looked at.
    obeyed: AtomicU64,
    /// When the database was last asked for the rollback switch, in milliseconds since `started`; 0 if it never was.
    looked_ms: AtomicU64,
    started: Instant,
}

impl StageDecider {
    /// Starts from the stages that were kept.
    pub fn new(
        evaluation: Evaluation,
        rollback: Arc<RollbackSwitch>,
        interlock: Arc<dyn Interlock>,
        last_known: impl IntoIterator<Item = (ResourceName, Stage)>,
    ) -> Self {
        let kept = |(resource, stage)| (resource, Known { stage, kept: true });
        Self {
            evaluation,
            rollback,
            interlock,
            known: ArcSwap::from_pointee(last_known.into_iter().map(kept).collect()),
            obeyed: AtomicU64::new(0),
            looked_ms: AtomicU64::new(0),
            started: Instant::now(),
        }
    }

    /// Notes that the rollback switch is what the database said at `at`.
    pub fn looked(&self, at: Instant) {
        self.looked_ms.fetch_max(self.since_start(at).max(1), Ordering::AcqRel);
    }

    /// Whether a rollback that was thrown a second ago is known here: not, if this process was stopped, or the database did
    /// not answer. Who never looks (a test, a command) is not asked to.
    #[must_use]
    pub fn is_current(&self) -> bool {
        let looked = self.looked_ms.load(Ordering::Acquire);
        looked == 0 || self.since_start(Instant::now()).saturating_sub(looked) <= LOOKED_WITHIN_MS
    }

    fn since_start(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }

    /// The toggles' side of it: cohort, sample, status.
    #[must_use]
    pub fn evaluation(&self) -> &Evaluation {
        &self.evaluation
    }

    /// The switch.
    #[must_use]
    pub fn rollback(&self) -> &Arc<RollbackSwitch> {
        &self.rollback
    }

    /// The stage of a resource now. From memory, for every request.
    ///
    /// While a rollback holds it is `off`, for reads and REST writes alike; what was accepted before
    /// goes on being delivered, and that is not asked here.
    #[must_use]
    pub fn decide(&self, resource: &ResourceName) -> EffectiveStage {
        let known = self.known.load().get(resource).copied();
        let mut stage = self.unless_rolled_back(resource, known);
        if stage.effective == Stage::Complete && !known.is_some_and(Known::keeps_complete) {
            // Legacy gets no writes any more in `complete`; a rollback after a crash must know that.
            stage.effective = known.map_or(Stage::Off, |known| known.stage.min(Stage::RampDown));
            stage.because = Reason::NotKeptYet;
        }
        let state = self.rollback.load();
        if let Some((scope, tripped)) = state.over(resource) {
            let epoch = tripped.epoch;
            if !tripped.accept_stale && known.is_some_and(Known::keeps_complete) {
                stage.effective = Stage::Complete;
                stage.because = Reason::CompleteLeftOut { epoch };
            } else {
                stage.effective = Stage::Off;
                stage.because = Reason::RolledBack { scope: scope.clone(), epoch };
            }
        }
        stage
    }

    fn unless_rolled_back(&self, resource: &ResourceName, known: Option<Known>) -> EffectiveStage {
        let request = self.evaluation.stage_request(resource);
        let from = known.map_or(Stage::Off, |known| known.stage);
        let (effective, because) = match (request.stage(), known) {
            (Some(requested), _) if requested == from => (requested, Reason::Flags),
            (Some(requested), _) => match self.interlock.grant(resource, from, requested) {
                Grant::Whole => (requested, Reason::Flags),
                Grant::Held { stage, why } => (stage, Reason::Held(why)),
            },
            (None, Some(_)) => (from, Reason::LastKnown(request)),
            (None, None) => (from, Reason::Nothing(request)),
        };
        EffectiveStage { requested: request.stage(), effective, because }
    }

    /// Takes the stages in force as the last known ones, and gives those that are to be kept in the
    /// database: again and again until [`StageDecider::kept`] is told.
    ///
    /// Called when a document arrives and every now and then. A resource under a rollback is left as it is.
    pub fn remember(&self) -> Vec<StageChange> {
        self.known.rcu(|known| self.with_stages_in_force(known));
        let known = self.known.load();
        let owed = known.iter().filter(|(_, known)| !known.kept);
        owed.map(|(resource, known)| StageChange { resource: resource.clone(), stage: known.stage })
            .collect()
    }

    fn with_stages_in_force(
        &self,
        known: &BTreeMap<ResourceName, Known>,
    ) -> BTreeMap<ResourceName, Known> {
        let rollback = self.rollback.load();
        let mut next = known.clone();
        for resource in self.evaluation.resources() {
            let before = known.get(resource).copied();
            let stage = self.unless_rolled_back(resource, before);
            let unknown = matches!(stage.because, Reason::Nothing(_));
            let same = before.is_some_and(|known| known.stage == stage.effective);
            if !unknown && !same && rollback.over(resource).is_none() {
                next.insert(resource.clone(), Known { stage: stage.effective, kept: false });
            }
        }
        next
    }

    /// Takes stages that another process has kept in the database.
    pub fn learn(&self, stages: impl IntoIterator<Item = (ResourceName, Stage)>) {
        let kept = |(resource, stage)| (resource, Known { stage, kept: true });
        let learned: BTreeMap<_, _> = stages.into_iter().map(kept).collect();
        self.known.rcu(|known| {
            let mut next = BTreeMap::clone(known);
            next.extend(learned.clone());
            next
        });
    }

    /// Notes that changes are in the database.
    pub fn kept(&self, changes: &[StageChange]) {
        self.known.rcu(|known| {
            let mut next = BTreeMap::clone(known);
            for change in changes {
                if let Some(known) = next.get_mut(&change.resource) {
                    known.kept |= known.stage == change.stage;
                }
            }
            next
        });
    }

    /// The last known stage of a resource.
    #[must_use]
    pub fn last_known(&self, resource: &ResourceName) -> Option<Stage> {
        self.known.load().get(resource).map(|known| known.stage)
    }

    /// Trips the switch if a document that was not looked at before says that the kill switch is off.
    ///
    /// A provider that never answered, a document without the toggle, and one that merely grows old
    /// never trip it. To be called whenever a document arrives ([`super::Toggles::subscribe`]); what it gives is to be
    /// kept as any other trip.
    pub fn obey_kill_switch(&self, now_ms: u64) -> Option<Tripped> {
        let document = self.evaluation.toggles().documents();
        let fresh = self.obeyed.fetch_max(document, Ordering::AcqRel) < document;
        if !fresh || self.evaluation.enabled() != Some(false) {
            return None;
        }
        if matches!(self.rollback.load().get(&Scope::All), Some(super::SwitchState::Tripped(_))) {
            return None;
        }
        let reason = "the flag document says that the kill switch is off";
        Some(self.rollback.trip(&Scope::All, "flags", reason, now_ms, false))
    }
}

impl Known {
    fn keeps_complete(self) -> bool {
        self.kept && self.stage == Stage::Complete
    }
}

//! How often each fault and each branch happened: a run in which one never did has shown nothing of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Something that a run has to have seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Seen {
    Outage,
    SlowAnswer,
    LostAnswer,
    SlowDatabase,
    FailedCommit,
    Kill,
    KillDuringWrite,
    CleanStop,
    Rollback,
    Lift,
    ClientLost,
    OfflineEdit,
    Drained,
    PastCrossfade,
    Superseded,
    Refused,
    Reread,
    OutOfSight,
    DeadLetter,
    IntentTakenUp,
    MirrorOwed,
    Unrecorded,
    Mended,
    DeleteWins,
    Overtaken,
    Conflict,
    Repaired,
    Reconciled,
    DeletedPast,
    MadePast,
    Unmapped,
    TailMade,
    TailChanged,
    TailGone,
    TailLeft,
    TailAsked,
    RampDown,
    RampBack,
    StoreFirst,
    FellOpen,
    ProbeOurs,
    ProbeNothing,
    Repeated,
    Aliased,
    Twin,
    AwaitedCreate,
    NotKnownAgain,
}

impl Seen {
    /// What only happens where legacy makes ids.
    pub(super) const WITH_OWN_IDS: [Self; 6] = [
        Self::ProbeOurs,
        Self::ProbeNothing,
        Self::Repeated,
        Self::Aliased,
        Self::Twin,
        Self::AwaitedCreate,
    ];

    /// All others.
    pub(super) const ALL: [Self; 40] = [
        Self::Outage,
        Self::SlowAnswer,
        Self::LostAnswer,
        Self::SlowDatabase,
        Self::FailedCommit,
        Self::Kill,
        Self::KillDuringWrite,
        Self::CleanStop,
        Self::Rollback,
        Self::Lift,
        Self::ClientLost,
        Self::OfflineEdit,
        Self::Drained,
        Self::PastCrossfade,
        Self::Superseded,
        Self::Refused,
        Self::Reread,
        Self::OutOfSight,
        Self::DeadLetter,
        Self::IntentTakenUp,
        Self::MirrorOwed,
        Self::Unrecorded,
        Self::Mended,
        Self::DeleteWins,
        Self::Overtaken,
        Self::Conflict,
        Self::Repaired,
        Self::Reconciled,
        Self::DeletedPast,
        Self::MadePast,
        Self::Unmapped,
        Self::TailMade,
        Self::TailChanged,
        Self::TailGone,
        Self::TailLeft,
        Self::TailAsked,
        Self::RampDown,
        Self::RampBack,
        Self::StoreFirst,
        Self::FellOpen,
    ];

    /// The counter of the program that tells it, where one does.
    pub(super) const fn metric(self) -> Option<&'static str> {
        Some(match self {
            Self::Superseded => "crossfade_outbox_superseded_total",
            Self::Refused => "crossfade_outbox_refused_total",
            Self::DeadLetter => "crossfade_outbox_dead_total",
            Self::Reread => {
                "crossfade_legacy_requests_total{purpose=\"reread\",outcome=\"answered\"}"
            }
            Self::OutOfSight => "crossfade_mirror_looked_once_more_total",
            Self::IntentTakenUp => "crossfade_intents_taken_up_total",
            Self::MirrorOwed => "crossfade_mirror_retries_total",
            Self::Unrecorded => "crossfade_writes_unrecorded_total",
            Self::DeleteWins => "crossfade_sync_delete_wins_total",
            Self::Overtaken => "crossfade_overtaken_answers_total",
            Self::Conflict => "crossfade_sync_conflicts_total",
            Self::Repaired => "crossfade_rows_repaired_total",
            Self::TailMade => "crossfade_tail_rows_total{resource=\"users\",what=\"made\"}",
            Self::TailChanged => "crossfade_tail_rows_total{resource=\"users\",what=\"changed\"}",
            Self::TailGone => "crossfade_tail_rows_total{resource=\"users\",what=\"gone\"}",
            Self::TailLeft => "crossfade_tail_rows_total{resource=\"users\",what=\"left\"}",
            Self::TailAsked => "crossfade_tail_asked_total",
            Self::ProbeOurs => "crossfade_outbox_probes_total{found=\"ours\"}",
            Self::ProbeNothing => "crossfade_outbox_probes_total{found=\"nothing\"}",
            Self::Twin => "crossfade_outbox_twins_total",
            Self::AwaitedCreate => "crossfade_outbox_awaits_create_total",
            _ => return None,
        })
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Tally(Arc<Mutex<BTreeMap<Seen, u64>>>);

impl Tally {
    pub(super) fn saw(&self, what: Seen) {
        self.add(what, 1);
    }

    pub(super) fn add(&self, what: Seen, times: u64) {
        *self.0.lock().unwrap().entry(what).or_default() += times;
    }

    pub(super) fn of(&self, what: Seen) -> u64 {
        self.0.lock().unwrap().get(&what).copied().unwrap_or_default()
    }

    /// Adds what the program's own counters say, as they are exported.
    pub(super) fn add_metrics(&self, exported: &str) {
        for what in Seen::ALL.into_iter().chain(Seen::WITH_OWN_IDS) {
            let Some(metric) = what.metric() else { continue };
            let lines = exported.lines().filter_map(|line| line.strip_prefix(metric));
            let values = lines.filter_map(|rest| rest.rsplit(' ').next()?.parse::<u64>().ok());
            self.add(what, values.sum());
        }
    }
}

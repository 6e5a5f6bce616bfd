//! Stage and operation make a plan: who answers, who is compared, who is written (design, table of stages).

use super::{Origin, Stage};

/// What one request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// A read.
    Read(ReadPlan),
    /// A write.
    Write(WritePlan),
}

/// Who answers a read, and who is read and compared afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadPlan {
    /// The side whose answer the caller gets.
    pub answer: Origin,
    /// The side that is also read after the answer is sent.
    pub compare: Option<Origin>,
}

/// Where a REST write goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WritePlan {
    /// Legacy alone.
    Legacy,
    /// Legacy answers; what it answered is then mirrored into the store.
    LegacyThenStore,
    /// The store answers; the write is owed to legacy.
    StoreThenLegacy,
    /// The store alone.
    Store,
}

impl Plan {
    /// A read in `stage`, by a user who is or is not in the cohort; `sampled` says whether this
    /// read was drawn for comparison.
    #[must_use]
    pub const fn read(stage: Stage, in_cohort: bool, sampled: bool) -> Self {
        let (answer, comparable) = match stage {
            Stage::Off | Stage::DualWrite => (Origin::Legacy, false),
            Stage::Shadow => (Origin::Legacy, true),
            Stage::Live if in_cohort => (Origin::Sync, true),
            Stage::Live => (Origin::Legacy, true),
            Stage::RampDown | Stage::Complete => (Origin::Sync, false),
        };
        let compare = if comparable && sampled { Some(answer.other()) } else { None };
        Self::Read(ReadPlan { answer, compare })
    }

    /// A write in `stage`. The user plays no part: write authority belongs to the resource's stage.
    #[must_use]
    pub const fn write(stage: Stage) -> Self {
        Self::Write(match stage {
            Stage::Off => WritePlan::Legacy,
            Stage::DualWrite | Stage::Shadow | Stage::Live => WritePlan::LegacyThenStore,
            Stage::RampDown => WritePlan::StoreThenLegacy,
            Stage::Complete => WritePlan::Store,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Origin::{Legacy, Sync};
    use Stage::{Complete, DualWrite, Live, Off, RampDown, Shadow};

    #[test]
    fn reads_follow_the_table_of_stages() {
        let table = [
            (Off, false, Legacy, None),
            (Off, true, Legacy, None),
            (DualWrite, true, Legacy, None),
            (Shadow, false, Legacy, Some(Sync)),
            (Shadow, true, Legacy, Some(Sync)),
            (Live, true, Sync, Some(Legacy)),
            (Live, false, Legacy, Some(Sync)),
            (RampDown, false, Sync, None),
            (Complete, false, Sync, None),
        ];
        for (stage, cohort, answer, compare) in table {
            assert_eq!(
                Plan::read(stage, cohort, true),
                Plan::Read(ReadPlan { answer, compare }),
                "{stage}"
            );
            assert_eq!(
                Plan::read(stage, cohort, false),
                Plan::Read(ReadPlan { answer, compare: None })
            );
        }
    }

    #[test]
    fn writes_follow_the_table_of_stages() {
        let table = [
            (Off, WritePlan::Legacy),
            (DualWrite, WritePlan::LegacyThenStore),
            (Shadow, WritePlan::LegacyThenStore),
            (Live, WritePlan::LegacyThenStore),
            (RampDown, WritePlan::StoreThenLegacy),
            (Complete, WritePlan::Store),
        ];
        for (stage, plan) in table {
            assert_eq!(Plan::write(stage), Plan::Write(plan), "{stage}");
        }
    }
}

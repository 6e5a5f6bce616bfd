//! The conditions of a step forward (design rule 6).

use std::fmt;

/// What a step from one stage to the next must meet.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Before `shadow` and `live`: all that legacy has was copied, and no write was missed since.
    Backfill,
    /// Before `shadow`: both sides were compared in full and agree, and no write was missed since.
    Reconcile,
    /// Before `live`: the comparisons made in `shadow` show that fewer disagree than may.
    MismatchGate,
    /// Before `rampdown`: the cohort is everybody.
    Cohort,
    /// Before `rampdown`: for a minute no write was owed to legacy for longer than five seconds.
    OwedAge,
    /// Before `rampdown`: no owed write was given up.
    DeadLetters,
    /// Before `rampdown`: what is unique can be told from the rows of one path.
    Unique,
    /// Before `rampdown`: of each cell that legacy makes it is told how.
    Generated,
    /// Before `rampdown`: it is told which role may write what. Cannot be waived: there is no other judge.
    WritePermissions,
}

impl Condition {
    /// Its word in the configuration, in JSON and on the terminal.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backfill => "backfill",
            Self::Reconcile => "reconcile",
            Self::MismatchGate => "mismatch-gate",
            Self::Cohort => "cohort",
            Self::OwedAge => "owed-age",
            Self::DeadLetters => "dead-letters",
            Self::Unique => "unique",
            Self::Generated => "generated",
            Self::WritePermissions => "write-permissions",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

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
}

impl Condition {
    /// Its word in the configuration, in JSON and on the terminal.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backfill => "backfill",
            Self::Reconcile => "reconcile",
            Self::MismatchGate => "mismatch-gate",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

//! The six stages of a resource.

use std::fmt;
use std::str::FromStr;

/// How far a resource has moved. The order of the variants is the order of the migration.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Legacy alone reads and writes.
    #[default]
    Off,
    /// Legacy answers; each write is also put into the store.
    DualWrite,
    /// As `DualWrite`, and reads are compared with the store's answer.
    Shadow,
    /// The store answers reads of users in the cohort; legacy still decides on REST writes.
    Live,
    /// The store answers and accepts everything first; legacy is kept up to date through the outbox.
    RampDown,
    /// The store alone reads and writes.
    Complete,
}

/// A word that names no stage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no stage: use one of off, dualwrite, shadow, live, rampdown, complete")]
pub struct UnknownStage(pub String);

impl Stage {
    /// All stages, in the order of a migration.
    pub const ALL: [Self; 6] =
        [Self::Off, Self::DualWrite, Self::Shadow, Self::Live, Self::RampDown, Self::Complete];

    /// The lower-case word used as a flag variant, in the CLI, in JSON and in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::DualWrite => "dualwrite",
            Self::Shadow => "shadow",
            Self::Live => "live",
            Self::RampDown => "rampdown",
            Self::Complete => "complete",
        }
    }

    /// Whether REST writes go to the store and edits of sync clients go to legacy.
    #[must_use]
    pub fn writes_both(self) -> bool {
        matches!(self, Self::DualWrite | Self::Shadow | Self::Live | Self::RampDown)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Stage {
    type Err = UnknownStage;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|stage| stage.as_str() == word)
            .ok_or_else(|| UnknownStage(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_names_its_stage() {
        for stage in Stage::ALL {
            assert_eq!(stage.as_str().parse(), Ok(stage));
        }
        assert!("Shadow".parse::<Stage>().is_err());
    }
}

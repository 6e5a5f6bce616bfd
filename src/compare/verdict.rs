//! What a comparison found, in one word each.

use std::fmt;
use std::str::FromStr;

use crate::migration::Origin;

/// The result of one comparison (design, "Words").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(tag = "verdict", content = "detail", rename_all = "lowercase")]
pub enum Verdict {
    /// Both answers are equal under the rules.
    Match,
    /// The store's later answer equals legacy's earlier one; the number is how many milliseconds
    /// after the first reading that was seen.
    Lag(u64),
    /// Every difference is one that legacy also shows against itself.
    Noise,
    /// The answers differ.
    Mismatch,
    /// One side or both failed to answer (could not be reached, or status 500 and above).
    Error(ErrorSide),
    /// The two cannot be compared; never counted as agreement nor as disagreement.
    Incomparable(Reason),
    /// The store shows what legacy hides.
    Overshare,
    /// The store hides what legacy shows.
    Undershare,
    /// This side gave no answer within its deadline.
    Timeout(Origin),
    /// One side was not asked: too much work in flight.
    Shed,
}

/// Which side failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorSide {
    /// Legacy failed, the store answered.
    LegacyOnly,
    /// The store failed, legacy answered.
    SyncOnly,
    /// Both failed alike.
    BothSame,
    /// Both failed, each in its own way.
    BothDifferent,
}

/// Why two answers cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A body was longer than the bound.
    Truncated,
    /// A body came in a content coding that is not decoded.
    Encoded,
    /// The data changed while it was being compared.
    Moving,
    /// One side no longer accepts the user's token (401 on one side only).
    Token,
    /// An object names a key twice, so that its meaning depends on the reader (RFC 8259 §4).
    DuplicateKey,
    /// JSON was promised, and neither body is JSON.
    NotJson,
    /// A body is nested deeper than 128 levels.
    TooDeep,
    /// The store cannot answer this yet, or at all.
    Unavailable,
    /// The answers differed, and reading them again failed: nobody knows whether it was lag.
    Unsettled,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 9] = [
        Self::Truncated,
        Self::Encoded,
        Self::Moving,
        Self::Token,
        Self::DuplicateKey,
        Self::NotJson,
        Self::TooDeep,
        Self::Unavailable,
        Self::Unsettled,
    ];
}

/// A word that names no verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no verdict; was the recording made by a newer crossfade?")]
pub struct UnknownVerdict(pub String);

impl Verdict {
    /// One of each, `Lag` with 0 ms, in the order in which reports list them.
    pub const ALL: [Self; 22] = [
        Self::Match,
        Self::Lag(0),
        Self::Noise,
        Self::Mismatch,
        Self::Overshare,
        Self::Undershare,
        Self::Error(ErrorSide::SyncOnly),
        Self::Error(ErrorSide::LegacyOnly),
        Self::Error(ErrorSide::BothDifferent),
        Self::Error(ErrorSide::BothSame),
        Self::Timeout(Origin::Legacy),
        Self::Timeout(Origin::Sync),
        Self::Shed,
        Self::Incomparable(Reason::Truncated),
        Self::Incomparable(Reason::Encoded),
        Self::Incomparable(Reason::Moving),
        Self::Incomparable(Reason::Token),
        Self::Incomparable(Reason::DuplicateKey),
        Self::Incomparable(Reason::NotJson),
        Self::Incomparable(Reason::TooDeep),
        Self::Incomparable(Reason::Unavailable),
        Self::Incomparable(Reason::Unsettled),
    ];

    /// The stable word used in counters, metrics, JSON and reports; a lag's time is not part of it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Lag(_) => "lag",
            Self::Noise => "noise",
            Self::Mismatch => "mismatch",
            Self::Error(ErrorSide::LegacyOnly) => "error_legacy_only",
            Self::Error(ErrorSide::SyncOnly) => "error_sync_only",
            Self::Error(ErrorSide::BothSame) => "error_both_same",
            Self::Error(ErrorSide::BothDifferent) => "error_both_different",
            Self::Incomparable(Reason::Truncated) => "incomparable_truncated",
            Self::Incomparable(Reason::Encoded) => "incomparable_encoded",
            Self::Incomparable(Reason::Moving) => "incomparable_moving",
            Self::Incomparable(Reason::Token) => "incomparable_token",
            Self::Incomparable(Reason::DuplicateKey) => "incomparable_duplicate_key",
            Self::Incomparable(Reason::NotJson) => "incomparable_not_json",
            Self::Incomparable(Reason::TooDeep) => "incomparable_too_deep",
            Self::Incomparable(Reason::Unavailable) => "incomparable_unavailable",
            Self::Incomparable(Reason::Unsettled) => "incomparable_unsettled",
            Self::Overshare => "overshare",
            Self::Undershare => "undershare",
            Self::Timeout(Origin::Legacy) => "timeout_legacy",
            Self::Timeout(Origin::Sync) => "timeout_sync",
            Self::Shed => "shed",
        }
    }

    /// Whether both sides were found to agree: `match`, `lag`, `noise`, or both failed alike.
    #[must_use]
    pub const fn agrees(self) -> bool {
        matches!(self, Self::Match | Self::Lag(_) | Self::Noise | Self::Error(ErrorSide::BothSame))
    }

    /// Whether it says anything about agreement. Timeouts, shed and incomparable comparisons do
    /// not: they are shown beside every rate and lower its coverage.
    #[must_use]
    pub const fn is_decided(self) -> bool {
        !matches!(self, Self::Incomparable(_) | Self::Timeout(_) | Self::Shed)
    }

    /// Whether reading both sides again may turn it into `lag`.
    #[must_use]
    pub const fn wants_settling(self) -> bool {
        matches!(self, Self::Mismatch | Self::Overshare | Self::Undershare)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Verdict {
    type Err = UnknownVerdict;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|verdict| verdict.as_str() == word)
            .ok_or_else(|| UnknownVerdict(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_word_names_one_verdict() {
        let words: BTreeSet<_> = Verdict::ALL.iter().map(|verdict| verdict.as_str()).collect();
        assert_eq!(words.len(), Verdict::ALL.len());
        for verdict in Verdict::ALL {
            assert_eq!(verdict.as_str().parse(), Ok(verdict));
        }
        for reason in Reason::ALL {
            assert!(Verdict::ALL.contains(&Verdict::Incomparable(reason)));
        }
        assert!("matched".parse::<Verdict>().is_err());
    }

    #[test]
    fn agreement_is_always_decided() {
        for verdict in Verdict::ALL {
            assert!(!verdict.agrees() || verdict.is_decided(), "{verdict}");
        }
    }
}

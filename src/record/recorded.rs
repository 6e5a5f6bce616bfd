//! What a recording holds, read back: plain data, from which every report is made.

use super::{ExchangeKind, Latencies, NoteKind, Sample, TimeRange};
use crate::compare::{Signature, Verdict};
use crate::migration::{Origin, Stage};

/// A recording, or a range of it.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Recorded {
    /// Version of the crossfade that made the recording.
    pub made_by: String,
    /// Counters were kept for each span of this length.
    pub grain_ms: u64,
    /// The range that was asked for.
    pub range: TimeRange,
    /// Start of the first span with an event, in milliseconds since 1970.
    pub first_ms: Option<u64>,
    /// End of the last span with an event.
    pub last_ms: Option<u64>,
    /// Who answered what.
    pub answered: Vec<Answered>,
    /// Comparisons over time.
    pub compared: Vec<ComparedSlot>,
    /// Latencies of both sides of comparisons, and lag.
    pub latencies: Vec<RouteLatency>,
    /// Reads that fell back to legacy.
    pub fallbacks: Vec<Fallback>,
    /// Shapes of disagreement, most frequent first.
    pub signatures: Vec<SignatureRecord>,
    /// The timeline, oldest first.
    pub notes: Vec<NoteRecord>,
    /// Everything else that was counted.
    pub counters: Vec<Counter>,
    /// What rules did. Kept for the whole recording, whatever the range.
    pub rules: Vec<RuleRecord>,
}

/// Requests of one route that one origin answered in one stage.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Answered {
    /// The resource.
    pub resource: String,
    /// The route.
    pub route: String,
    /// Read or write.
    pub kind: ExchangeKind,
    /// The stage.
    pub stage: Stage,
    /// Who answered.
    pub origin: Origin,
    /// How many requests.
    pub requests: u64,
    /// How many of status class 1xx to 5xx, in this order.
    pub statuses: [u64; 5],
    /// Their latencies.
    pub latencies: Latencies,
}

/// Comparisons of one route with one verdict in one span of the recording's grain.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ComparedSlot {
    /// The span's start, in milliseconds since 1970.
    pub at_ms: u64,
    /// The resource.
    pub resource: String,
    /// The route.
    pub route: String,
    /// The stage.
    pub stage: Stage,
    /// The verdict's word ([`Verdict::as_str`]).
    #[serde(with = "verdict_word")]
    pub verdict: Verdict,
    /// How many.
    pub count: u64,
}

mod verdict_word {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Verdict;

    pub(super) fn serialize<S: Serializer>(
        verdict: &Verdict,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(verdict.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Verdict, D::Error> {
        let word = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        word.parse().map_err(serde::de::Error::custom)
    }
}

/// Which latency is meant.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Legacy's, in comparisons where both sides answered.
    PairedLegacy,
    /// The store's, in comparisons where both sides answered.
    PairedSync,
    /// How long after the first reading the store was seen to have caught up.
    Lag,
}

impl Measure {
    /// All measures.
    pub const ALL: [Self; 3] = [Self::PairedLegacy, Self::PairedSync, Self::Lag];

    /// The stored word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PairedLegacy => "paired_legacy",
            Self::PairedSync => "paired_sync",
            Self::Lag => "lag",
        }
    }
}

/// Latencies of one route.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RouteLatency {
    /// The resource.
    pub resource: String,
    /// The route.
    pub route: String,
    /// Which latency.
    pub measure: Measure,
    /// The latencies.
    pub latencies: Latencies,
}

/// Reads of one route that fell back to legacy for one reason.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Fallback {
    /// The resource.
    pub resource: String,
    /// The route.
    pub route: String,
    /// Why.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// One shape of disagreement.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SignatureRecord {
    /// The shape.
    pub signature: Signature,
    /// How often it was seen in the range.
    pub count: u64,
    /// When it was first seen in the whole recording, in milliseconds since 1970.
    pub first_seen_ms: u64,
    /// When it was last seen in the whole recording.
    pub last_seen_ms: u64,
    /// The first four samples and the latest one.
    pub samples: Vec<SampleRecord>,
}

/// A kept sample.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SampleRecord {
    /// When it was taken, in milliseconds since 1970.
    pub at_ms: u64,
    /// The sample.
    pub sample: Sample,
}

/// A line of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NoteRecord {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What sort of thing.
    pub kind: NoteKind,
    /// What happened.
    pub text: String,
}

/// Something counted.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counter {
    /// The resource, empty if it belongs to none.
    pub resource: String,
    /// The route, empty if it belongs to none.
    pub route: String,
    /// What is counted.
    pub name: String,
    /// How many.
    pub count: u64,
}

/// What one rule did on one route.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RuleRecord {
    /// The resource.
    pub resource: String,
    /// The route.
    pub route: String,
    /// The rule ([`crate::compare::Rules::names`]).
    pub rule: String,
    /// Comparisons in which it was in force.
    pub compared: u64,
    /// Places that it located.
    pub located: u64,
    /// Differences that it hid.
    pub hidden: u64,
    /// Values that it took out of the comparison, if it is an ignore rule.
    #[serde(default)]
    pub covered: u64,
    /// Values in all those answers, where there are ignore rules.
    #[serde(default)]
    pub values: u64,
}

/// How often one verdict was reached on one route.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct VerdictCount {
    /// The resource.
    pub resource: String,
    /// The route.
    pub route: String,
    /// The verdict's word.
    #[serde(with = "verdict_word")]
    pub verdict: Verdict,
    /// How many.
    pub count: u64,
}

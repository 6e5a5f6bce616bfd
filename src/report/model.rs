//! What a report says, without how it looks. This is `report.json`.

use super::series::VerdictSeries;
use super::{Agreement, Finding};
use crate::compare::{Folded, Shape};
use crate::record::{Latencies, Sample};

/// What is said of a report by whoever makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportMeta {
    /// The headline.
    pub title: String,
    /// Names the report's folder.
    pub run: RunId,
    /// When it is made, in milliseconds since 1970.
    pub generated_at_ms: u64,
}

/// A run's name, fit to be a folder's name: letters, digits, `.`, `_`, `-`; not starting with a
/// dot; 1 to 100 bytes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RunId(String);

/// A text that cannot name a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot name a run: use letters, digits, `.`, `_` and `-`, no dot at the start, 100 at most"
)]
pub struct InvalidRunId(pub String);

impl RunId {
    /// Checks a name.
    ///
    /// # Errors
    /// [`InvalidRunId`] if it could not be a folder's name everywhere.
    pub fn new(text: &str) -> Result<Self, InvalidRunId> {
        let sound = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if sound && !text.is_empty() && text.len() <= 100 && !text.starts_with('.') {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidRunId(text.chars().take(80).collect()))
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A report.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Report {
    /// Version of this format.
    pub format: u32,
    /// The headline.
    pub title: String,
    /// The run's name.
    pub run: RunId,
    /// When the report was made (RFC 3339, UTC).
    pub generated_at: String,
    /// Version of the crossfade that made the report.
    pub crossfade: String,
    /// Version of the crossfade that made the recording.
    pub recorded_by: String,
    /// Start of the first recorded span of time; none if nothing was recorded.
    pub from: Option<String>,
    /// End of the last one.
    pub to: Option<String>,
    /// The worst finding among resources that were measured; `not_measured` if none was.
    pub finding: Finding,
    /// All requests to mapped routes.
    pub requests: u64,
    /// Each resource, the worst finding first.
    pub resources: Vec<ResourceReport>,
    /// Stage changes, rollbacks, faults; oldest first.
    pub timeline: Vec<TimelineEntry>,
    /// What this run could not have seen.
    pub blind_spots: Vec<BlindSpot>,
}

/// One resource.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ResourceReport {
    /// Its name.
    pub name: String,
    /// All requests to its routes.
    pub requests: u64,
    /// All its comparisons.
    pub agreement: Agreement,
    /// Latencies over all its routes.
    pub latency: LatencyTable,
    /// How long the store took to catch up, as far as settling saw it.
    pub lag: Option<Percentiles>,
    /// Each route.
    pub routes: Vec<RouteReport>,
    /// Shapes of disagreement, most frequent first.
    pub signatures: Vec<SignatureReport>,
    /// What rules did, those that ignore and those that tolerate.
    pub ignore_rules: Vec<RuleReport>,
    /// Verdicts over time.
    pub verdicts_over_time: Option<VerdictSeries>,
}

/// One route.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct RouteReport {
    /// Its template.
    pub route: String,
    /// `read` or `write`; none if only comparisons were recorded.
    pub kind: Option<&'static str>,
    /// Stages seen, in the order of a migration.
    pub stages: Vec<&'static str>,
    /// Requests.
    pub requests: u64,
    /// Who answered them.
    pub answered_by: AnsweredBy,
    /// Requests by status class, 1xx to 5xx.
    pub statuses: [u64; 5],
    /// Reads that legacy answered although it was the store's turn.
    pub fallbacks: Vec<FallbackCount>,
    /// Reads in stages that compare (`shadow`, `live`), drawn for comparison or not.
    pub comparable_reads: u64,
    /// Its comparisons; none if there were none.
    pub agreement: Option<Agreement>,
    /// Its latencies.
    pub latency: LatencyTable,
    /// How long the store took to catch up.
    pub lag: Option<Percentiles>,
}

/// Requests by who answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct AnsweredBy {
    /// The existing API.
    pub legacy: u64,
    /// The store.
    pub sync: u64,
}

/// Latencies of both paths; what was not measured is absent.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct LatencyTable {
    /// Legacy, in comparisons where both sides answered: the same requests as `paired_sync`.
    pub paired_legacy: Option<Percentiles>,
    /// The store, in the same comparisons.
    pub paired_sync: Option<Percentiles>,
    /// Requests that legacy answered, as the caller saw them.
    pub answered_legacy: Option<Percentiles>,
    /// Requests that the store answered, as the caller saw them.
    pub answered_sync: Option<Percentiles>,
}

/// Quantiles in milliseconds, each within 1 % of the true one.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Percentiles {
    /// How many were measured.
    pub count: u64,
    /// Half of them took no longer.
    pub p50_ms: f64,
    /// 95 % took no longer.
    pub p95_ms: f64,
    /// 99 % took no longer.
    pub p99_ms: f64,
}

impl Percentiles {
    /// Of measured latencies; none if there are none.
    #[must_use]
    pub fn of(latencies: &Latencies) -> Option<Self> {
        #[expect(clippy::cast_precision_loss, reason = "an hour in microseconds is below 2^53")]
        let ms = |quantile| latencies.quantile_us(quantile).map(|us| us as f64 / 1_000.0);
        Some(Self {
            count: latencies.count(),
            p50_ms: ms(0.50)?,
            p95_ms: ms(0.95)?,
            p99_ms: ms(0.99)?,
        })
    }
}

/// One verdict counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct VerdictTally {
    /// The verdict's word.
    pub verdict: &'static str,
    /// How often.
    pub count: u64,
}

/// Why reads fell back to legacy.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FallbackCount {
    /// The reason.
    pub reason: String,
    /// How often.
    pub count: u64,
}

/// One shape of disagreement.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct SignatureReport {
    /// Its id.
    pub id: String,
    /// The route.
    pub route: String,
    /// The verdict's word.
    pub verdict: String,
    /// Legacy's status, if it answered.
    pub legacy_status: Option<u16>,
    /// The store's status, if it answered.
    pub sync_status: Option<u16>,
    /// Where and how the answers differ.
    pub shapes: Vec<Shape>,
    /// Stands for the shapes where there are more than 8.
    pub folded: Option<Folded>,
    /// How often in this range.
    pub count: u64,
    /// When first seen in the whole recording (RFC 3339, UTC).
    pub first_seen: String,
    /// When last seen.
    pub last_seen: String,
    /// Redacted samples.
    pub samples: Vec<Excerpt>,
}

/// A redacted sample.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Excerpt {
    /// When it was taken (RFC 3339, UTC).
    pub at: String,
    /// The sample.
    #[serde(flatten)]
    pub sample: Sample,
}

/// What one ignore rule did, over the whole recording.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RuleReport {
    /// The JSONPath of an ignore rule; of another, its key in the configuration and its JSONPath.
    pub rule: String,
    /// Comparisons in which it was in force.
    pub compared: u64,
    /// Places that it located.
    pub located: u64,
    /// Differences that it hid.
    pub hidden: u64,
    /// Values that it took out of the comparison, if it is an ignore rule.
    pub covered: u64,
    /// Values in all those answers, where there are ignore rules.
    pub values: u64,
    /// Whether it takes out more than it leaves in.
    #[serde(skip)]
    pub too_much: bool,
}

/// A line of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TimelineEntry {
    /// When (RFC 3339, UTC).
    pub at: String,
    /// `stage`, `cohort`, `rollback`, `fault` or `info`.
    pub kind: &'static str,
    /// What happened.
    pub text: String,
}

/// Something that this run could not have seen.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct BlindSpot {
    /// A stable word for it.
    pub code: &'static str,
    /// How much of it, where that can be counted.
    pub count: Option<u64>,
    /// What that means.
    pub text: String,
}

//! What is recorded. Times come with the events.

use std::borrow::Cow;

use super::Sample;
use crate::compare::{RuleHits, Signature, Verdict};
use crate::migration::{Origin, ResourceName, RouteTemplate, Stage};

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A request was answered.
    Exchange(Exchange),
    /// Two answers were compared, or would have been.
    Compared(Box<Compared>),
    /// Something for the timeline.
    Note(Note),
    /// Something counted.
    Count(Count),
}

/// One answered request to a mapped route.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// When the answer was sent, in milliseconds since 1970.
    pub at_ms: u64,
    /// The resource.
    pub resource: ResourceName,
    /// The route.
    pub route: RouteTemplate,
    /// Read or write.
    pub kind: ExchangeKind,
    /// The resource's effective stage.
    pub stage: Stage,
    /// Whose answer the caller got.
    pub answered_by: Origin,
    /// The status that was sent.
    pub status: u16,
    /// From the request's head until the answer was whole, in microseconds.
    pub latency_us: u64,
    /// Why legacy answered although it was the store's turn. One of a small, fixed set of words.
    pub fallback: Option<Cow<'static, str>>,
}

/// Whether an exchange could change anything.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum ExchangeKind {
    /// It reads.
    Read,
    /// It writes.
    Write,
}

impl ExchangeKind {
    /// The lower-case word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// One comparison, settled; or one that could not be made (`shed`).
#[derive(Debug, Clone)]
pub struct Compared {
    /// When the verdict was reached, in milliseconds since 1970.
    pub at_ms: u64,
    /// The resource.
    pub resource: ResourceName,
    /// The route.
    pub route: RouteTemplate,
    /// The resource's effective stage.
    pub stage: Stage,
    /// The verdict; a lag brings its time along.
    pub verdict: Verdict,
    /// How long legacy took, in microseconds; none if it gave no answer.
    pub legacy_latency_us: Option<u64>,
    /// How long the store took, in microseconds; none if it gave no answer.
    pub sync_latency_us: Option<u64>,
    /// The disagreement's shape.
    pub signature: Option<Signature>,
    /// A redacted sample of it.
    pub sample: Option<Sample>,
    /// What the rules did.
    pub rules: Vec<RuleHits>,
    /// How many places hold integers that JavaScript cannot hold exactly.
    pub unsafe_integers: u64,
}

/// A line of the timeline.
#[derive(Debug, Clone)]
pub struct Note {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What sort of thing.
    pub kind: NoteKind,
    /// What happened, for people, at most 2,000 bytes. It is scrubbed of what looks like a secret
    /// or an address.
    pub text: String,
}

/// Sorts of notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoteKind {
    /// A resource changed its stage.
    Stage,
    /// The cohort changed.
    Cohort,
    /// The rollback switch was thrown or lifted.
    Rollback,
    /// Something broke, or was made to break.
    Fault,
    /// Anything else worth a line.
    Info,
}

impl NoteKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Stage, Self::Cohort, Self::Rollback, Self::Fault, Self::Info];

    /// The lower-case word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Cohort => "cohort",
            Self::Rollback => "rollback",
            Self::Fault => "fault",
            Self::Info => "info",
        }
    }
}

/// An addition to a counter.
#[derive(Debug, Clone)]
pub struct Count {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What it belongs to, if to one route.
    pub of: Option<(ResourceName, RouteTemplate)>,
    /// What is counted: one of a small, fixed set of words.
    pub name: Cow<'static, str>,
    /// How many.
    pub by: u64,
}

impl Event {
    pub(super) const fn at_ms(&self) -> u64 {
        match self {
            Self::Exchange(event) => event.at_ms,
            Self::Compared(event) => event.at_ms,
            Self::Note(event) => event.at_ms,
            Self::Count(event) => event.at_ms,
        }
    }
}

impl From<Exchange> for Event {
    fn from(event: Exchange) -> Self {
        Self::Exchange(event)
    }
}

impl From<Compared> for Event {
    fn from(event: Compared) -> Self {
        Self::Compared(Box::new(event))
    }
}

impl From<Note> for Event {
    fn from(event: Note) -> Self {
        Self::Note(event)
    }
}

impl From<Count> for Event {
    fn from(event: Count) -> Self {
        Self::Count(event)
    }
}

//! What happened, kept: a recordings database for each process, and what is read back from it.
//!
//! Events are folded into counters and latency histograms for each span of time (a minute, unless
//! the settings say otherwise), so that a recording's size follows the number of routes and spans,
//! never the number of requests. Nothing enters it that was not redacted before ([`Redactor`]).
//!
//! On disk: one SQLite file with rollback journal. `PRAGMA application_id` says that it is a
//! recording, `PRAGMA user_version` which version of the schema it has; a newer one is refused.
//!
//! | table | one row for each |
//! | --- | --- |
//! | `meta` | fact about the recording |
//! | `answered` | span, route, stage and origin that answered: requests, status classes, latencies |
//! | `compared` | span, route, stage and verdict: comparisons |
//! | `latency` | span, route and measure: latencies of both sides of a comparison, and lag |
//! | `fallback` | span, route and reason: reads that went to legacy although the store's turn |
//! | `signature`, `signature_slot`, `sample` | shape of disagreement; its count a span; up to 5 redacted samples |
//! | `note` | stage change, rollback or fault |
//! | `counter` | span, route and name: whatever else is counted, dropped events included |
//! | `rule` | route and rule of the comparison: what it located and hid |

mod account;
mod batch;
mod cells;
mod error;
mod event;
mod latencies;
mod reader;
mod recorded;
mod redact;
mod sample;
mod schema;
mod writer;

pub use account::{RuleAccount, RuleFault};
pub use error::RecordError;
pub use event::{Compared, Count, Event, Exchange, ExchangeKind, Note, NoteKind};
pub use latencies::Latencies;
pub use reader::{Recording, TimeRange};
pub use recorded::{
    Answered, ComparedSlot, Counter, Fallback, Measure, NoteRecord, Recorded, RouteLatency,
    RuleRecord, SampleRecord, SignatureRecord, VerdictCount,
};
pub use redact::{Redactor, scrub};
pub use sample::{Sample, SampleDifference, SampleSide};
pub use writer::{Recorder, RecorderSettings};

#[cfg(test)]
mod tests;

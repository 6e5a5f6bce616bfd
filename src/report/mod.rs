//! A recording told to people and to programs: JSON, Markdown and self-contained HTML.
//!
//! A [`Report`] is a pure function of what was recorded, so that the same recording gives the same
//! report at any later time. A number that was not measured is absent (JSON `null`, "not measured"
//! for people); it is never zero and never drawn. The format of `report.json` is described in
//! `docs/report-format.md`.

mod agreement;
mod build;
mod chart;
mod html;
mod json;
mod markdown;
mod model;
mod series;
mod text;
mod unseen;
mod write;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

pub use agreement::{Agreement, Finding};
pub use chart::ChartError;
pub use html::to_html;
pub use json::to_json;
pub use markdown::to_markdown;
pub use model::{
    AnsweredBy, BlindSpot, Excerpt, FallbackCount, InvalidRunId, LatencyTable, Percentiles, Report,
    ReportMeta, ResourceReport, RouteReport, RuleReport, RunId, SignatureReport, TimelineEntry,
    VerdictTally,
};
pub use series::{Bucket, VerdictSeries};
pub use write::{ReportPaths, WriteError, write_report};

/// The version of `report.json`'s format.
pub const FORMAT: u32 = 1;

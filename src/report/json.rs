//! The report for programs.

use super::Report;

/// `report.json`: the report as pretty-printed JSON, one line end at its end.
///
/// # Errors
/// If a number in it is not finite, which no recording can cause.
pub fn to_json(report: &Report) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(report).map(|text| text + "\n")
}

//! The report as Markdown, for pull requests and chat.

use std::fmt::Write as _;

use super::model::{LatencyTable, Report, ResourceReport, RouteReport, SignatureReport};
use super::text::{self, NOT_MEASURED, count, moment, percent, percentiles, plural};
use super::{Agreement, Finding};

/// Signatures shown of each resource; all are in `report.json`.
const MAX_SIGNATURES: usize = 10;

/// `report.md`.
#[must_use]
pub fn to_markdown(report: &Report) -> String {
    let mut out = format!("# {}\n\n", escaped(&report.title));
    let range = match (&report.from, &report.to) {
        (Some(from), Some(to)) => format!("{} to {} UTC", moment(from), moment(to)),
        _ => "nothing was recorded".to_owned(),
    };
    let requests = plural(report.requests, "request", "requests");
    line(&mut out, format!("**{}** · {range} · {requests}", report.finding.title()));
    for resource in &report.resources {
        self::resource(&mut out, resource);
    }
    timeline(&mut out, report);
    line(&mut out, "## What this run could not have seen".to_owned());
    for spot in &report.blind_spots {
        let _ = writeln!(out, "- {}", prose(&spot.text));
    }
    let _ = write!(
        out,
        "\n---\nrun `{}`, made {} UTC by crossfade {}\n",
        report.run.as_str(),
        moment(&report.generated_at),
        escaped(&report.crossfade)
    );
    out
}

fn line(out: &mut String, text: String) {
    let _ = write!(out, "{text}\n\n");
}

fn resource(out: &mut String, resource: &ResourceReport) {
    line(out, format!("## {}", escaped(&resource.name)));
    line(out, headline(&resource.agreement));
    out.push_str("| route | requests | legacy / sync | compared | match rate (95 %) | coverage | verdicts |\n");
    out.push_str("| --- | ---: | ---: | ---: | ---: | ---: | --- |\n");
    for route in &resource.routes {
        let _ = writeln!(out, "| {} |", routes_row(route).join(" | "));
    }
    out.push('\n');
    latencies(out, resource);
    signatures(out, resource);
}

/// One sentence for each finding.
pub(super) fn headline(agreement: &Agreement) -> String {
    let of = format!(
        "{} of {} agree",
        count(agreement.agreed),
        plural(agreement.compared, "decided comparison", "decided comparisons")
    );
    let bound = agreement.match_rate_low.map_or_else(String::new, |low| {
        format!("; with 95 % confidence at least {} do", percent(low))
    });
    let coverage = agreement.coverage.map_or_else(String::new, |coverage| {
        format!(
            "Coverage {}{}.",
            percent(coverage),
            if agreement.thin { ", under 50 %" } else { "" }
        )
    });
    match agreement.finding {
        Finding::NotMeasured if agreement.eligible == 0 => {
            "No read was compared: agreement is not measured.".to_owned()
        }
        Finding::NotMeasured => format!(
            "None of {} could be decided: agreement is not measured.",
            plural(agreement.eligible, "comparison", "comparisons")
        ),
        Finding::Overshare => {
            let shown = agreement.verdicts.iter().find(|tally| tally.verdict == "overshare");
            let shown = shown.map_or(0, |tally| tally.count);
            let answers = plural(shown, "answer shows", "answers show");
            format!("{answers} what legacy hides. {of}{bound}. {coverage}")
        }
        _ => format!("{of}{bound}. {coverage}"),
    }
}

fn routes_row(route: &RouteReport) -> Vec<String> {
    let answered =
        format!("{} / {}", count(route.answered_by.legacy), count(route.answered_by.sync));
    let mut row =
        vec![text::code(&route.route).replace('|', "\\|"), count(route.requests), answered];
    match &route.agreement {
        None => {
            row.extend(["–".to_owned(), NOT_MEASURED.to_owned(), "–".to_owned(), "–".to_owned()])
        }
        Some(agreement) => row.extend([
            count(agreement.compared),
            rate(agreement),
            coverage(agreement),
            agreement
                .verdicts
                .iter()
                .map(|tally| format!("{} {}", count(tally.count), text::verdict(tally.verdict)))
                .collect::<Vec<_>>()
                .join(", "),
        ]),
    }
    row
}

/// The rate with its interval.
pub(super) fn rate(agreement: &Agreement) -> String {
    match (agreement.match_rate, agreement.match_rate_low, agreement.match_rate_high) {
        (Some(rate), Some(low), Some(high)) => {
            format!("{} ({}–{})", percent(rate), percent(low), percent(high))
        }
        _ => NOT_MEASURED.to_owned(),
    }
}

fn coverage(agreement: &Agreement) -> String {
    let label = if agreement.thin { " (thin)" } else { "" };
    agreement.coverage.map_or_else(|| "–".to_owned(), |share| percent(share) + label)
}

fn latencies(out: &mut String, resource: &ResourceReport) {
    line(out, "### Latency".to_owned());
    out.push_str("| route | path | measured | p50, p95, p99 |\n| --- | --- | --- | --- |\n");
    for route in &resource.routes {
        let name = text::code(&route.route).replace('|', "\\|");
        let LatencyTable { paired_legacy, paired_sync, answered_legacy, answered_sync } =
            route.latency;
        let rows = [
            ("legacy", "side by side", paired_legacy),
            ("sync", "side by side", paired_sync),
            ("legacy", "as answered", answered_legacy),
            ("sync", "as answered", answered_sync),
        ];
        for (path, measured, found) in rows.into_iter().filter(|(_, _, found)| found.is_some()) {
            let _ = writeln!(out, "| {name} | {path} | {measured} | {} |", percentiles(found));
        }
        if rows.iter().all(|(_, _, found)| found.is_none()) {
            let _ = writeln!(out, "| {name} | – | – | {NOT_MEASURED} |");
        }
    }
    out.push('\n');
    if let Some(lag) = resource.lag {
        line(out, format!("Lag, as far as settling saw it: {}.", percentiles(Some(lag))));
    }
}

fn signatures(out: &mut String, resource: &ResourceReport) {
    if resource.signatures.is_empty() {
        return;
    }
    line(out, "### Disagreements".to_owned());
    for signature in resource.signatures.iter().take(MAX_SIGNATURES) {
        self::signature(out, signature);
    }
    let more = resource.signatures.len().saturating_sub(MAX_SIGNATURES);
    if more > 0 {
        line(out, format!("{more} more in `report.json`."));
    }
}

fn signature(out: &mut String, signature: &SignatureReport) {
    line(
        out,
        format!(
            "**{}× {}** on {}, status {} (`{}`), first seen {}, last seen {} UTC",
            count(signature.count),
            text::verdict(&signature.verdict),
            text::code(&signature.route),
            statuses(signature),
            signature.id,
            moment(&signature.first_seen),
            moment(&signature.last_seen)
        ),
    );
    for shape in &signature.shapes {
        let _ =
            writeln!(out, "- {}: {}", text::code(text::place(&shape.path)), text::change(shape));
    }
    if let Some(folded) = &signature.folded {
        let _ = writeln!(out, "- {}", escaped(&text::folded(folded)));
    }
    out.push('\n');
    if let Some(excerpt) = signature.samples.iter().find(|one| !one.sample.diff.is_empty()) {
        // JSON starts its lines with spaces, signs or braces, but be sure that no line ends the fence.
        let _ = write!(out, "~~~~diff\n{}~~~~\n\n", excerpt.sample.diff.replace("~~~", "~ ~ ~"));
    }
}

pub(super) fn statuses(signature: &SignatureReport) -> String {
    let pair =
        crate::compare::StatusPair { legacy: signature.legacy_status, sync: signature.sync_status };
    pair.to_string()
}

fn timeline(out: &mut String, report: &Report) {
    if report.timeline.is_empty() {
        return;
    }
    line(out, "## Timeline".to_owned());
    for entry in &report.timeline {
        let _ = writeln!(
            out,
            "- {} UTC · **{}** · {}",
            moment(&entry.at),
            entry.kind,
            escaped(&entry.text)
        );
    }
    out.push('\n');
}

/// A sentence with code in it.
fn prose(sentence: &str) -> String {
    let piece = |(is_code, piece): (bool, &str)| {
        if is_code { format!("`{piece}`") } else { escaped(piece) }
    };
    text::pieces(sentence).map(piece).collect()
}

/// Text that Markdown must not read as markup or as table cells.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#') {
            out.push('\\');
        }
        out.push(if c.is_control() { ' ' } else { c });
    }
    out
}

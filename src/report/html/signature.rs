//! Shapes of disagreement, each with a sample.

use maud::{Markup, html};

use super::super::markdown::statuses;
use super::super::model::{Excerpt, ResourceReport, SignatureReport};
use super::super::text::{self, count, moment};

/// Signatures shown of each resource; all are in `report.json`.
const MAX_SHOWN: usize = 20;

pub(super) fn list(resource: &ResourceReport) -> Markup {
    let more = resource.signatures.len().saturating_sub(MAX_SHOWN);
    html! {
        @if !resource.signatures.is_empty() {
            h3 style="margin-top:24px" { "Disagreements by shape" }
            @for (at, signature) in resource.signatures.iter().take(MAX_SHOWN).enumerate() {
                (card(signature, at == 0))
            }
            @if more > 0 { p.muted { (more) " more in report.json." } }
        }
    }
}

fn card(signature: &SignatureReport, open: bool) -> Markup {
    html! {
        details.signature open[open] {
            summary {
                span.times { (count(signature.count)) "×" }
                span.what {
                    span.pill.disagree { (text::verdict(&signature.verdict)) } " "
                    code { (signature.route) } " "
                    span.muted.small { "status " (statuses(signature)) }
                    (places(signature))
                }
                span.hint {}
            }
            div.body {
                p.muted.small {
                    "First seen " (moment(&signature.first_seen)) ", last seen " (moment(&signature.last_seen))
                    " UTC · " code { (signature.id) }
                }
                // The first sample whose bodies differ says most.
                @match signature.samples.iter().find(|one| !one.sample.diff.is_empty()).or(signature.samples.first()) {
                    Some(excerpt) => (sample(excerpt)),
                    None => p.muted { "No sample was kept." },
                }
            }
        }
    }
}

fn places(signature: &SignatureReport) -> Markup {
    html! {
        ul.places {
            @for shape in &signature.shapes {
                li { code { (text::place(&shape.path)) } " " span.muted.small { (text::change(shape)) } }
            }
            @if let Some(folded) = &signature.folded { li { (text::folded(folded)) } }
        }
    }
}

fn sample(excerpt: &Excerpt) -> Markup {
    let sample = &excerpt.sample;
    let value = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
    html! {
        @if !sample.differences.is_empty() {
            div.scroll {
                table {
                    thead { tr { th { "Place" } th { "How" } th { "Legacy" } th { "Sync" } } }
                    tbody {
                        @for difference in sample.differences.iter().take(8) {
                            tr {
                                td { code { (text::place(&difference.at)) } }
                                td { (difference.kind.as_str()) }
                                td { code.legacy { (value(&difference.legacy)) } }
                                td { code.sync { (value(&difference.sync)) } }
                            }
                        }
                    }
                }
            }
            @let shown = u64::try_from(sample.differences.len().min(8)).unwrap_or(8);
            @let all = u64::try_from(sample.differences.len()).unwrap_or(u64::MAX).saturating_add(sample.more);
            @if all > shown { p.muted.small { (count(all - shown)) " more places in this sample." } }
        }
        @if sample.diff.is_empty() {
            @for (name, side) in [("Legacy", &sample.legacy), ("Sync", &sample.sync)] {
                @if let Some(why) = &side.no_body { p.muted.small style="margin:8px 0 0" { (name) ": " (why) } }
            }
        } @else {
            pre.diff aria-label="Sample, redacted" {
                @for line in sample.diff.lines() { span.(class(line)) { (line) } }
            }
            p.muted.small style="margin:8px 0 0" {
                "Sample of " (moment(&excerpt.at)) " UTC. Values are tokens: equal tokens, equal values."
            }
        }
    }
}

fn class(line: &str) -> &'static str {
    match line.as_bytes().first() {
        Some(b'@') => "at",
        _ if line.starts_with("---") || line.starts_with("+++") => "at",
        Some(b'-') => "del",
        Some(b'+') => "add",
        _ => "same",
    }
}

//! The report as one HTML file: nothing is fetched, nothing runs; light, dark and on paper.
//!
//! Written with `maud`, which escapes whatever is put in. The only unescaped parts are the style
//! sheet, which is constant, and charts, whose texts `plotters` escapes.

mod resource;
mod signature;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart::ChartError;
use super::model::{Report, ResourceReport};
use super::text::{NOT_MEASURED, count, moment, percent, plural};
use super::{Agreement, Finding};

/// `index.html`.
///
/// # Errors
/// [`ChartError`] if a chart cannot be drawn.
pub fn to_html(report: &Report) -> Result<String, ChartError> {
    let sections = report.resources.iter().map(resource::section).collect::<Result<Vec<_>, _>>()?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Even a report that was tampered with fetches and runs nothing.
                meta http-equiv="content-security-policy"
                    content="default-src 'none'; style-src 'unsafe-inline'; img-src data:";
                link rel="icon" href="data:,";
                title { (report.title) " · crossfade" }
                style { (PreEscaped(include_str!("../assets/report.css"))) }
            }
            body {
                (top(report))
                main {
                    @for section in &sections { (section) }
                    (timeline(report))
                    (blind_spots(report))
                }
                (foot(report))
            }
        }
    };
    Ok(page.into_string())
}

fn top(report: &Report) -> Markup {
    html! {
        header.top {
            div.brand {
                svg viewBox="0 0 24 24" fill="none" stroke-width="2.4" stroke-linecap="round" aria-hidden="true" {
                    path style="stroke:var(--legacy)" d="M2 6h5c5 0 5 12 10 12h5" {}
                    path style="stroke:var(--sync)" d="M2 18h5c5 0 5-12 10-12h5" {}
                }
                "crossfade"
            }
            h1 { (report.title) }
            p.muted {
                @match (&report.from, &report.to) {
                    (Some(from), Some(to)) => {
                        time datetime=(from) { (moment(from)) } " to " time datetime=(to) { (moment(to)) } " UTC"
                    }
                    _ => "Nothing was recorded",
                }
                " · " (plural(report.requests, "request", "requests"))
                " · run " code { (report.run.as_str()) }
            }
            div.cards { @for resource in &report.resources { (card(resource)) } }
            @if report.resources.is_empty() {
                div.card { p { "No request to a mapped route was recorded: nothing was measured." } }
            }
        }
    }
}

fn card(resource: &ResourceReport) -> Markup {
    let agreement = &resource.agreement;
    html! {
        a.card.(class(agreement.finding)) href={ "#" (anchor(&resource.name)) } {
            div.row.between {
                strong { (resource.name) }
                (pill(agreement.finding))
            }
            (rate(agreement))
            p.muted.small { (super::markdown::headline(agreement)) }
            (verdict_bar(agreement))
            @if let (Some(legacy), Some(sync)) = (resource.latency.paired_legacy, resource.latency.paired_sync) {
                p.small style="margin:12px 0 0" {
                    "Median answer, same requests: "
                    span.legacy { "legacy " (super::text::ms(legacy.p50_ms)) } ", "
                    span.sync { "sync " (super::text::ms(sync.p50_ms)) }
                }
            }
        }
    }
}

fn rate(agreement: &Agreement) -> Markup {
    html! {
        @match agreement.match_rate {
            Some(rate) => p.big style="margin:8px 0 4px" { (percent(rate)) " agree" },
            None => p.big.none style="margin:8px 0 4px" { "Agreement " (NOT_MEASURED) },
        }
    }
}

/// The class that colours a finding.
const fn class(finding: Finding) -> &'static str {
    match finding {
        Finding::NotMeasured => "unmeasured",
        other => other.as_str(),
    }
}

fn pill(finding: Finding) -> Markup {
    let sign = match finding {
        Finding::Agree => "✓",
        Finding::Disagree | Finding::Overshare => "✕",
        Finding::Thin => "!",
        Finding::NotMeasured => "–",
    };
    html! { span.pill.(class(finding)) { span aria-hidden="true" { (sign) } (finding.title()) } }
}

/// A bar of all reads drawn for comparison, and what became of them in words.
fn verdict_bar(agreement: &Agreement) -> Markup {
    let of = |word: &str| match word.parse::<crate::compare::Verdict>() {
        Ok(crate::compare::Verdict::Lag(_)) => "of-lag",
        Ok(verdict) if verdict.agrees() => "of-agreed",
        Ok(verdict) if verdict.is_decided() => "of-disagreed",
        _ => "of-undecided",
    };
    html! {
        @if agreement.eligible > 0 {
            div.split aria-hidden="true" {
                @for tally in &agreement.verdicts {
                    i.(of(tally.verdict)) style={ "flex:" (tally.count) } {}
                }
            }
            ul.verdicts {
                @for tally in &agreement.verdicts {
                    li.(of(tally.verdict)) { (count(tally.count)) " " (super::text::verdict(tally.verdict)) }
                }
            }
        }
    }
}

/// An id for a resource's section, from a name that may hold anything.
fn anchor(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    format!("resource-{}", name.chars().map(plain).collect::<String>())
}

fn timeline(report: &Report) -> Markup {
    html! {
        h2 { "Timeline" }
        div.card {
            @if report.timeline.is_empty() {
                p.muted style="margin:0" { "No stage change, rollback or fault was recorded." }
            } @else {
                ol.timeline {
                    @for entry in &report.timeline {
                        li {
                            time datetime=(entry.at) { (moment(&entry.at)) }
                            span.kind.(entry.kind) { (entry.kind) }
                            span { (entry.text) }
                        }
                    }
                }
            }
        }
    }
}

fn blind_spots(report: &Report) -> Markup {
    html! {
        h2 { "What this run could not have seen" }
        div.card {
            ul.blind { @for spot in &report.blind_spots { li {
                @for (is_code, piece) in super::text::pieces(&spot.text) {
                    @if is_code { code { (piece) } } @else { (piece) }
                }
            } } }
        }
    }
}

fn foot(report: &Report) -> Markup {
    html! {
        footer {
            p {
                "Rates are shares of decided comparisons, with 95 % Wilson intervals; incomparable ones, timeouts and "
                "shed ones lower the coverage, never the rate. Percentiles come from histograms and are within 1 % of "
                "the true value. “Side by side” means the same requests on both paths; “as answered” is what callers saw. "
                "Values in samples are tokens of a keyed hash: equal tokens, equal values."
            }
            p {
                "Made " time datetime=(report.generated_at) { (moment(&report.generated_at)) }
                " UTC by crossfade " (report.crossfade) " from a recording of crossfade " (report.recorded_by)
                ". The same as data: report.json, format " (report.format) "."
            }
        }
    }
}

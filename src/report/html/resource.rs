//! One resource's section.

use maud::{Markup, PreEscaped, html};

use super::super::chart::{self, ChartError};
use super::super::markdown::{headline, rate};
use super::super::model::{LatencyTable, Percentiles, ResourceReport, RouteReport};
use super::super::text::{NOT_MEASURED, count, ms, percent};
use super::{anchor, pill, signature, verdict_bar};

pub(super) fn section(resource: &ResourceReport) -> Result<Markup, ChartError> {
    let charts = charts(resource)?;
    Ok(html! {
        section id=(anchor(&resource.name)) {
            h2 { div.row { (resource.name) (pill(resource.agreement.finding)) } }
            p.muted { (headline(&resource.agreement)) }
            (facts(resource))
            (charts)
            (routes(resource))
            (latency_table(resource))
            (signature::list(resource))
            (ignore_rules(resource))
        }
    })
}

fn facts(resource: &ResourceReport) -> Markup {
    let sum = |each: fn(&RouteReport) -> u64| -> u64 { resource.routes.iter().map(each).sum() };
    let (legacy, sync) =
        (sum(|route| route.answered_by.legacy), sum(|route| route.answered_by.sync));
    let fallbacks = sum(|route| route.fallbacks.iter().map(|one| one.count).sum());
    let agreement = &resource.agreement;
    html! {
        div.card {
            dl.facts {
                div {
                    dt { "Requests" }
                    dd {
                        (count(resource.requests))
                        small { span.legacy { (count(legacy)) " legacy" } ", " span.sync { (count(sync)) " sync" } }
                    }
                }
                div {
                    dt { "Match rate" }
                    dd {
                        (or_none(agreement.match_rate.map(percent)))
                        @if let (Some(low), Some(high)) = (agreement.match_rate_low, agreement.match_rate_high) {
                            small { "95 %: " (percent(low)) " to " (percent(high)) }
                        }
                    }
                }
                div {
                    dt { "Coverage" }
                    dd {
                        (or_none(agreement.coverage.map(percent)))
                        small {
                            (count(agreement.compared)) " of " (count(agreement.eligible)) " decided"
                            @if agreement.thin { ", under 50 %" }
                        }
                    }
                }
                div {
                    dt { "Lag, median" }
                    dd {
                        (or_none(resource.lag.map(|lag| ms(lag.p50_ms))))
                        @if let Some(lag) = resource.lag { small { "p99 " (ms(lag.p99_ms)) ", n = " (count(lag.count)) } }
                    }
                }
                div {
                    dt { "Fell back to legacy" }
                    dd { (count(fallbacks)) small { "reads that were the store's turn" } }
                }
            }
        }
    }
}

fn or_none(number: Option<String>) -> Markup {
    html! {
        @match number {
            Some(number) => (number),
            None => span.none { (NOT_MEASURED) },
        }
    }
}

fn charts(resource: &ResourceReport) -> Result<Markup, ChartError> {
    let verdicts = match &resource.verdicts_over_time {
        Some(series) => chart::verdicts(series)?.map(|svg| (svg, series.step_s)),
        None => None,
    };
    let latencies = chart::latencies(resource)?;
    Ok(html! {
        div.charts style="margin-bottom:16px" {
            div.card {
                h3 { "Comparisons over time" }
                @match verdicts {
                    Some((svg, step_s)) => {
                        ul.legend {
                            li.of-agreed { "agree" } li.of-lag { "agree after lag" }
                            li.of-disagreed { "disagree" } li.of-undecided { "not decided" }
                        }
                        figure { (PreEscaped(svg)) figcaption { "Comparisons in steps of " (step(step_s)) ", UTC." } }
                    }
                    None => p.muted { "No comparison was recorded: " (NOT_MEASURED) "." },
                }
            }
            div.card {
                h3 { "Latency of both paths" }
                @match latencies {
                    Some(svg) => {
                        ul.legend { li.of-legacy { "legacy" } li.of-sync { "sync" } }
                        figure { (PreEscaped(svg)) figcaption { "Dot: p50, ticks: p95 and p99, numbers: p50 · p99. Logarithmic." } }
                    }
                    None => p.muted { "No latency was recorded: " (NOT_MEASURED) "." },
                }
            }
        }
    })
}

fn step(seconds: u64) -> String {
    match seconds {
        86_400.. if seconds.is_multiple_of(86_400) => format!("{} d", seconds / 86_400),
        3_600.. => format!("{} h", seconds / 3_600),
        60.. => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

fn routes(resource: &ResourceReport) -> Markup {
    html! {
        div.card {
            h3 { "Routes" }
            div.scroll {
                table {
                    thead {
                        tr {
                            th { "Route" } th.number { "Requests" } th { "Answered by" }
                            th.number { "Match rate" } th.number { "Coverage" } th { "Verdicts" }
                        }
                    }
                    tbody { @for route in &resource.routes { (route_row(route)) } }
                }
            }
        }
    }
}

fn route_row(route: &RouteReport) -> Markup {
    let by = route.answered_by;
    html! {
        tr {
            td {
                span.route { (route.route) }
                small { @if let Some(kind) = route.kind { (kind) } " in " (route.stages.join(", ")) }
                @for one in &route.fallbacks {
                    small { (count(one.count)) " fell back: " (one.reason) }
                }
            }
            td.number {
                (count(route.requests))
                @for (at, number) in route.statuses.iter().enumerate().filter(|(at, number)| **number > 0 && *at != 1) {
                    small { (count(*number)) " × " (at + 1) "xx" }
                }
            }
            td {
                @if route.requests > 0 {
                    span.small { span.legacy { (count(by.legacy)) } " / " span.sync { (count(by.sync)) } }
                    div.split aria-hidden="true" {
                        @if by.legacy > 0 { i.of-legacy style={ "flex:" (by.legacy) } {} }
                        @if by.sync > 0 { i.of-sync style={ "flex:" (by.sync) } {} }
                    }
                } @else { span.none { (NOT_MEASURED) } }
            }
            @match &route.agreement {
                Some(agreement) => {
                    td.number {
                        (agreement.match_rate.map_or_else(|| NOT_MEASURED.to_owned(), percent))
                        @if agreement.compared > 0 { small title=(rate(agreement)) {
                            (agreement.match_rate_low.map_or_else(String::new, percent)) " to "
                            (agreement.match_rate_high.map_or_else(String::new, percent))
                        } }
                    }
                    td.number {
                        (agreement.coverage.map_or_else(|| NOT_MEASURED.to_owned(), percent))
                        small { (count(agreement.compared)) " of " (count(agreement.eligible)) }
                        @if agreement.thin { span.pill.thin { "thin" } }
                    }
                    td { (verdict_bar(agreement)) }
                }
                None => {
                    td.number.none { (NOT_MEASURED) }
                    td.number.none { "–" }
                    td.none { @if route.kind == Some("write") { "writes are not compared" } @else { "never compared" } }
                }
            }
        }
    }
}

fn latency_table(resource: &ResourceReport) -> Markup {
    html! {
        div.card {
            h3 { "Latency" }
            div.scroll {
                table.latencies {
                    thead {
                        tr {
                            th { "Route" } th { "Path" } th { "Measured" } th.number { "n" }
                            th.number { "p50" } th.number { "p95" } th.number { "p99" }
                        }
                    }
                    tbody { @for route in &resource.routes { (latency_rows(route)) } }
                }
            }
        }
    }
}

fn latency_rows(route: &RouteReport) -> Markup {
    let LatencyTable { paired_legacy, paired_sync, answered_legacy, answered_sync } = route.latency;
    let rows: Vec<(&str, &str, Percentiles)> = [
        ("legacy", "side by side", paired_legacy),
        ("sync", "side by side", paired_sync),
        ("legacy", "as answered", answered_legacy),
        ("sync", "as answered", answered_sync),
    ]
    .into_iter()
    .filter_map(|(path, measured, found)| found.map(|found| (path, measured, found)))
    .collect();
    let last = rows.len().saturating_sub(1);
    html! {
        @for (at, (path, measured, found)) in rows.iter().enumerate() {
            tr.first[at == 0].last[at == last] {
                td { @if at == 0 { span.route { (route.route) } } }
                td { span.(*path) { (path) } }
                td.muted { (measured) }
                td.number { (count(found.count)) }
                td.number { (ms(found.p50_ms)) }
                td.number { (ms(found.p95_ms)) }
                td.number { (ms(found.p99_ms)) }
            }
        }
        @if rows.is_empty() {
            tr.first.last { td { span.route { (route.route) } } td.none colspan="6" { (NOT_MEASURED) } }
        }
    }
}

fn ignore_rules(resource: &ResourceReport) -> Markup {
    html! {
        @if !resource.ignore_rules.is_empty() {
            div.card {
                h3 { "Rules" }
                div.scroll {
                    table {
                        thead {
                            tr {
                                th { "Rule" } th.number { "In force" } th.number { "Places located" }
                                th.number { "Differences hidden" }
                            }
                        }
                        tbody {
                            @for rule in &resource.ignore_rules {
                                tr {
                                    td { code { (rule.rule) } @if rule.located == 0 { " " span.pill.thin { "never matched" } }
                                        @if rule.too_much { " " span.pill.thin { "hides too much" } }
                                    }
                                    td.number { (count(rule.compared)) }
                                    td.number { (count(rule.located)) }
                                    td.number { (count(rule.hidden)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

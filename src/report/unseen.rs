//! What a run could not have seen, said from what it recorded.

use super::agreement::share;
use super::model::{BlindSpot, ResourceReport};
use super::text::{code, count, percent, plural};
use crate::record::Recorded;

/// All blind spots, the most telling first.
pub(super) fn blind_spots(recorded: &Recorded, resources: &[ResourceReport]) -> Vec<BlindSpot> {
    let mut spots = lost_events(recorded);
    spots.extend(uncompared_routes(resources));
    spots.extend(undecided(resources));
    spots.extend(sampling(resources));
    spots.extend(rules(resources));
    spots.extend(counted(recorded));
    spots.extend(always(recorded, resources));
    spots
}

fn spot(code: &'static str, count: impl Into<Option<u64>>, text: String) -> BlindSpot {
    BlindSpot { code, count: count.into(), text }
}

fn counter(recorded: &Recorded, name: &str) -> u64 {
    recorded.counters.iter().filter(|one| one.name == name).map(|one| one.count).sum()
}

fn lost_events(recorded: &Recorded) -> Vec<BlindSpot> {
    let dropped = counter(recorded, "events_dropped");
    let mut spots = Vec::new();
    if dropped > 0 {
        let text = format!(
            "{} could not be recorded; every count here is too low by what they would have added.",
            plural(dropped, "event", "events")
        );
        spots.push(spot("events_dropped", dropped, text));
    }
    let over = counter(recorded, "signatures_over_bound");
    if over > 0 {
        let text = format!(
            "{} had new shapes after the recording was full of signatures; they are counted as verdicts, without a shape.",
            plural(over, "disagreement", "disagreements")
        );
        spots.push(spot("signatures_over_bound", over, text));
    }
    spots
}

fn uncompared_routes(resources: &[ResourceReport]) -> Option<BlindSpot> {
    let routes: Vec<_> = resources
        .iter()
        .flat_map(|resource| &resource.routes)
        .filter(|route| route.kind == Some("read") && route.agreement.is_none())
        .map(|route| code(&route.route))
        .collect();
    let number = u64::try_from(routes.len()).ok()?;
    (number > 0).then(|| {
        let text = format!("No answer of {} was ever compared.", routes.join(", "));
        spot("routes_not_compared", number, text)
    })
}

fn undecided(resources: &[ResourceReport]) -> Vec<BlindSpot> {
    let mut spots = Vec::new();
    for route in resources.iter().flat_map(|resource| &resource.routes) {
        let Some(agreement) = &route.agreement else { continue };
        let lost = agreement.eligible - agreement.compared;
        if lost == 0 {
            continue;
        }
        let why: Vec<_> = agreement
            .verdicts
            .iter()
            .filter(|tally| {
                tally.verdict.parse::<crate::compare::Verdict>().is_ok_and(|v| !v.is_decided())
            })
            .map(|tally| format!("{} {}", count(tally.count), super::text::verdict(tally.verdict)))
            .collect();
        let coverage = agreement.coverage.map_or_else(String::new, |coverage| {
            format!(
                " Coverage {}{}.",
                percent(coverage),
                if agreement.thin { ", too little to judge by" } else { "" }
            )
        });
        let text = format!(
            "{} of {} could not be decided ({}).{coverage}",
            plural(lost, "comparison", "comparisons"),
            code(&route.route),
            why.join(", ")
        );
        spots.push(spot(if agreement.thin { "low_coverage" } else { "undecided" }, lost, text));
    }
    spots
}

fn sampling(resources: &[ResourceReport]) -> Option<BlindSpot> {
    let reads = |each: fn(&super::RouteReport) -> u64| -> u64 {
        resources.iter().flat_map(|resource| &resource.routes).map(each).sum()
    };
    let comparable = reads(|route| route.comparable_reads);
    let drawn = reads(|route| route.agreement.as_ref().map_or(0, |found| found.eligible));
    let left = comparable.saturating_sub(drawn);
    let part = share(drawn.min(comparable), comparable)?;
    (left > 0).then(|| {
        let text = format!(
            "{} in stages that compare were not drawn for comparison; {} were ({}).",
            plural(left, "read", "reads"),
            count(drawn),
            percent(part)
        );
        spot("not_sampled", left, text)
    })
}

fn rules(resources: &[ResourceReport]) -> Vec<BlindSpot> {
    let mut spots = Vec::new();
    for resource in resources {
        for rule in &resource.ignore_rules {
            let name = format!("The rule {} of {}", code(&rule.rule), resource.name);
            if rule.located == 0 {
                let text = format!("{name} never matched anything: is its path right?");
                spots.push(spot("rule_never_matched", 0, text));
            } else if rule.too_much {
                let text = format!(
                    "{name} took {} of {} out of the comparison.",
                    count(rule.covered),
                    plural(rule.values, "value", "values")
                );
                spots.push(spot("rule_hides_too_much", rule.covered, text));
            } else if rule.hidden > 0 {
                let text = format!(
                    "{name} hid {} in {}.",
                    plural(rule.hidden, "difference", "differences"),
                    plural(rule.compared, "comparison", "comparisons")
                );
                spots.push(spot("rule_hides", rule.hidden, text));
            }
        }
    }
    spots
}

/// Counters that have no place of their own.
fn counted(recorded: &Recorded) -> Vec<BlindSpot> {
    let unsafe_integers = counter(recorded, "unsafe_integers");
    let mut spots = Vec::new();
    if unsafe_integers > 0 {
        let text = format!(
            "{} beyond ±2^53 were compared exactly here; a JavaScript client may read them wrong on either path.",
            plural(unsafe_integers, "integer", "integers")
        );
        spots.push(spot("unsafe_integers", unsafe_integers, text));
    }
    let known = [
        "events_dropped",
        "signatures_over_bound",
        "unsafe_integers",
        "legacy_read_twice",
        "legacy_differs_from_itself",
    ];
    let mut names: Vec<_> = recorded
        .counters
        .iter()
        .map(|one| one.name.as_str())
        .filter(|name| !known.contains(name))
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let number = counter(recorded, name);
        let text = format!("{}: {}.", name.replace('_', " "), count(number));
        spots.push(spot("counted", number, text));
    }
    spots
}

fn always(recorded: &Recorded, resources: &[ResourceReport]) -> Vec<BlindSpot> {
    let writes: u64 = resources
        .iter()
        .flat_map(|resource| &resource.routes)
        .filter(|route| route.kind == Some("write"))
        .map(|route| route.requests)
        .sum();
    let mut spots = Vec::new();
    if writes > 0 {
        let text = format!(
            "{} went through; the answers to writes are not compared, only what reads show afterwards.",
            plural(writes, "write", "writes")
        );
        spots.push(spot("writes_not_compared", writes, text));
    }
    spots.extend(noise(recorded));
    let text = "Only what users asked for in this time was compared: other filters, pages and roles, and users who did not come, were not seen.";
    spots.push(spot("traffic_only", None, text.to_owned()));
    spots
}

fn noise(recorded: &Recorded) -> Option<BlindSpot> {
    let twice = counter(recorded, "legacy_read_twice");
    if twice > 0 {
        let text = format!(
            "{} of legacy were repeated to measure its noise; in {} the two answers differ. A field that it seldom answers at random may still count as a mismatch.",
            plural(twice, "read", "reads"),
            count(counter(recorded, "legacy_differs_from_itself"))
        );
        return Some(spot("noise_measured", twice, text));
    }
    (!recorded.compared.is_empty()).then(|| {
        let text = "Legacy was not compared with itself: a field that it answers at random counts as a mismatch, or as moving.";
        spot("noise_not_measured", None, text.to_owned())
    })
}

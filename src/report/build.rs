//! A recording becomes a report.

use std::collections::BTreeSet;

use super::model::{
    AnsweredBy, Excerpt, FallbackCount, LatencyTable, Percentiles, Report, ReportMeta,
    ResourceReport, RouteReport, RuleReport, SignatureReport, TimelineEntry,
};
use super::series::VerdictSeries;
use super::text::rfc3339;
use super::unseen::blind_spots;
use super::{Agreement, FORMAT, Finding};
use crate::migration::{Origin, Stage};
use crate::record::{
    ExchangeKind, Latencies, Measure, Recorded, RuleAccount, RuleFault, SignatureRecord,
};

impl Report {
    /// Makes a report of what was recorded. Pure: the same recording gives the same report.
    #[must_use]
    pub fn of(recorded: &Recorded, meta: &ReportMeta) -> Self {
        let mut resources: Vec<_> =
            names(recorded).into_iter().map(|name| resource(recorded, name)).collect();
        // The worst finding first, what was not measured last; by name among equals.
        resources.sort_by_key(|resource| resource.agreement.finding);
        let finding =
            resources.first().map_or(Finding::NotMeasured, |resource| resource.agreement.finding);
        let timeline = recorded
            .notes
            .iter()
            .map(|note| TimelineEntry {
                at: rfc3339(note.at_ms),
                kind: note.kind.as_str(),
                text: note.text.clone(),
            })
            .collect();
        Self {
            format: FORMAT,
            title: meta.title.clone(),
            run: meta.run.clone(),
            generated_at: rfc3339(meta.generated_at_ms),
            crossfade: env!("CARGO_PKG_VERSION").to_owned(),
            recorded_by: recorded.made_by.clone(),
            from: recorded.first_ms.map(rfc3339),
            to: recorded.last_ms.map(rfc3339),
            finding,
            requests: resources.iter().map(|resource| resource.requests).sum(),
            timeline,
            blind_spots: blind_spots(recorded, &resources),
            resources,
        }
    }
}

fn names(recorded: &Recorded) -> BTreeSet<&str> {
    let answered = recorded.answered.iter().map(|one| one.resource.as_str());
    let compared = recorded.compared.iter().map(|one| one.resource.as_str());
    answered.chain(compared).collect()
}

/// What is recorded of one resource, or of one route of it.
#[derive(Clone, Copy)]
struct Part<'a> {
    recorded: &'a Recorded,
    resource: &'a str,
    route: Option<&'a str>,
}

impl<'a> Part<'a> {
    fn holds(&self, resource: &str, route: &str) -> bool {
        self.resource == resource && self.route.is_none_or(|own| own == route)
    }

    fn answered(&self) -> impl Iterator<Item = &'a crate::record::Answered> {
        self.recorded.answered.iter().filter(move |one| self.holds(&one.resource, &one.route))
    }

    fn compared(&self) -> impl Iterator<Item = &'a crate::record::ComparedSlot> {
        self.recorded.compared.iter().filter(move |one| self.holds(&one.resource, &one.route))
    }

    fn agreement(&self) -> Agreement {
        Agreement::of(self.compared().map(|slot| (slot.verdict, slot.count)))
    }

    fn measured(&self, measure: Measure) -> Option<Percentiles> {
        let parts = self
            .recorded
            .latencies
            .iter()
            .filter(|one| one.measure == measure && self.holds(&one.resource, &one.route));
        merged(parts.map(|one| &one.latencies))
    }

    fn answered_latency(&self, origin: Origin) -> Option<Percentiles> {
        let parts = self.answered().filter(|one| one.origin == origin);
        merged(parts.map(|one| &one.latencies))
    }

    fn latency(&self) -> LatencyTable {
        LatencyTable {
            paired_legacy: self.measured(Measure::PairedLegacy),
            paired_sync: self.measured(Measure::PairedSync),
            answered_legacy: self.answered_latency(Origin::Legacy),
            answered_sync: self.answered_latency(Origin::Sync),
        }
    }
}

fn merged<'a>(parts: impl Iterator<Item = &'a Latencies>) -> Option<Percentiles> {
    let mut sum = Latencies::new();
    parts.for_each(|part| sum.merge(part));
    Percentiles::of(&sum)
}

fn resource(recorded: &Recorded, name: &str) -> ResourceReport {
    let part = Part { recorded, resource: name, route: None };
    let routes: BTreeSet<_> = part
        .answered()
        .map(|one| one.route.as_str())
        .chain(part.compared().map(|one| one.route.as_str()))
        .collect();
    let mut routes: Vec<_> =
        routes.into_iter().map(|route| self::route(Part { route: Some(route), ..part })).collect();
    // Reads first, the busiest first.
    routes.sort_by_key(|route| (route.kind == Some("write"), std::cmp::Reverse(route.requests)));
    let counts = part.compared().map(|slot| (slot.at_ms, slot.verdict, slot.count));
    ResourceReport {
        name: name.to_owned(),
        requests: routes.iter().map(|route| route.requests).sum(),
        agreement: part.agreement(),
        latency: part.latency(),
        lag: part.measured(Measure::Lag),
        routes,
        signatures: recorded
            .signatures
            .iter()
            .filter(|one| one.signature.parts.resource == name)
            .map(signature)
            .collect(),
        ignore_rules: rules(recorded, name),
        verdicts_over_time: VerdictSeries::of(counts, recorded.grain_ms),
    }
}

fn route(part: Part<'_>) -> RouteReport {
    let sum = |which: &dyn Fn(&crate::record::Answered) -> bool| -> u64 {
        part.answered().filter(|one| which(one)).map(|one| one.requests).sum()
    };
    let mut statuses = [0; 5];
    for one in part.answered() {
        statuses.iter_mut().zip(one.statuses).for_each(|(sum, count)| *sum += count);
    }
    let stages: BTreeSet<Stage> =
        part.answered().map(|one| one.stage).chain(part.compared().map(|one| one.stage)).collect();
    let compares = |stage| matches!(stage, Stage::Shadow | Stage::Live);
    let agreement = part.agreement();
    RouteReport {
        route: part.route.unwrap_or_default().to_owned(),
        kind: part.answered().next().map(|one| one.kind.as_str()),
        stages: stages.into_iter().map(Stage::as_str).collect(),
        requests: sum(&|_| true),
        answered_by: AnsweredBy {
            legacy: sum(&|one| one.origin == Origin::Legacy),
            sync: sum(&|one| one.origin == Origin::Sync),
        },
        statuses,
        fallbacks: part
            .recorded
            .fallbacks
            .iter()
            .filter(|one| part.holds(&one.resource, &one.route))
            .map(|one| FallbackCount { reason: one.reason.clone(), count: one.count })
            .collect(),
        comparable_reads: sum(&|one| one.kind == ExchangeKind::Read && compares(one.stage)),
        agreement: (agreement.eligible > 0).then_some(agreement),
        latency: part.latency(),
        lag: part.measured(Measure::Lag),
    }
}

fn signature(record: &SignatureRecord) -> SignatureReport {
    let parts = &record.signature.parts;
    SignatureReport {
        id: record.signature.id.clone(),
        route: parts.route.clone(),
        verdict: parts.verdict.clone(),
        legacy_status: parts.statuses.legacy,
        sync_status: parts.statuses.sync,
        shapes: parts.shapes.clone(),
        folded: parts.folded.clone(),
        count: record.count,
        first_seen: rfc3339(record.first_seen_ms),
        last_seen: rfc3339(record.last_seen_ms),
        samples: record
            .samples
            .iter()
            .map(|one| Excerpt { at: rfc3339(one.at_ms), sample: one.sample.clone() })
            .collect(),
    }
}

/// A rule is the resource's; its routes are summed up.
fn rules(recorded: &Recorded, name: &str) -> Vec<RuleReport> {
    let accounts = RuleAccount::all(&recorded.rules).into_iter();
    let accounts = accounts.filter(|account| account.resource == name);
    accounts
        .map(|account| RuleReport {
            compared: account.compared,
            too_much: account.fault(&[]) == Some(RuleFault::HidesTooMuch),
            rule: account.rule,
            located: account.located,
            hidden: account.hidden,
            covered: account.covered,
            values: account.values,
        })
        .collect()
}

//! A fixed recording, for the tests of the renderers.

use super::{Report, ReportMeta, RunId};
use crate::compare::{
    ErrorSide, JsonType, Kind, Reason, Shape, Signature, SignatureParts, StatusPair, Verdict,
};
use crate::migration::{Origin, Stage};
use crate::record::{
    Answered, ComparedSlot, Counter, ExchangeKind, Fallback, Latencies, Measure, NoteKind,
    NoteRecord, Recorded, RouteLatency, RuleRecord, Sample, SampleDifference, SampleRecord,
    SampleSide, SignatureRecord,
};

pub(super) const START: u64 = 1_795_428_000_000; // 2026-11-23T10:00:00Z

/// A deterministic spread of latencies around `middle_us`, with a tail.
pub(super) fn latencies(middle_us: u64, count: u64) -> Latencies {
    let mut latencies = Latencies::new();
    for n in 0..count {
        let tail = if n % 50 == 49 { 4 } else { 1 };
        latencies.record(middle_us * tail * (70 + (n * 37) % 61) / 100);
    }
    latencies
}

pub(super) fn answered(
    route: &str,
    kind: ExchangeKind,
    stage: Stage,
    origin: Origin,
    requests: u64,
    middle_us: u64,
) -> Answered {
    Answered {
        resource: "users".to_owned(),
        route: route.to_owned(),
        kind,
        stage,
        origin,
        requests,
        statuses: [0, requests - requests / 40, 0, requests / 40, 0],
        latencies: latencies(middle_us, requests),
    }
}

pub(super) fn slot(at: u64, route: &str, verdict: Verdict, count: u64) -> ComparedSlot {
    ComparedSlot {
        at_ms: START + at * 60_000,
        resource: "users".to_owned(),
        route: route.to_owned(),
        stage: Stage::Shadow,
        verdict,
        count,
    }
}

pub(super) fn signature(route: &str, verdict: &str, shapes: Vec<Shape>) -> Signature {
    let parts = SignatureParts {
        resource: "users".to_owned(),
        route: route.to_owned(),
        verdict: verdict.to_owned(),
        statuses: StatusPair { legacy: Some(200), sync: Some(200) },
        shapes,
        folded: None,
    };
    Signature { id: "v1-380da681048b4de5".to_owned(), parts }
}

pub(super) fn shape(path: &str, kind: Kind, legacy: JsonType, sync: JsonType) -> Shape {
    Shape { path: path.to_owned(), kind, legacy, sync }
}

pub(super) fn sample() -> Sample {
    let side = |role: &str| SampleSide {
        status: Some(200),
        body: Some(serde_json::json!({"data": [{"role": role}]})),
        no_body: None,
    };
    Sample {
        legacy: side("admin"),
        sync: side("member"),
        differences: vec![SampleDifference {
            at: "/data/0/role".to_owned(),
            kind: Kind::Value,
            legacy: Some("admin".to_owned()),
            sync: Some("member".to_owned()),
        }],
        more: 0,
        diff: "--- legacy\n+++ sync\n@@ -2,7 +2,7 @@\n   \"data\": [\n     {\n       \"email\": \"<string len=17 h=09f1c2d3a4b5e6f7>\",\n       \"name\": \"<string len=12 h=5cb01a2f3344d911>\",\n-      \"role\": \"admin\"\n+      \"role\": \"member\"\n     }\n   ]\n }\n".to_owned(),
    }
}

/// Two routes that were compared, one that was not, one that writes.
pub(super) fn recorded() -> Recorded {
    use ExchangeKind::{Read, Write};
    use Origin::{Legacy, Sync};
    let (list, get) = ("GET /users", "GET /users/{id}");
    let paired = |route: &str, measure, middle_us, count| RouteLatency {
        resource: "users".to_owned(),
        route: route.to_owned(),
        measure,
        latencies: latencies(middle_us, count),
    };
    Recorded {
        made_by: "0.1.0".to_owned(),
        grain_ms: 60_000,
        range: Default::default(),
        first_ms: Some(START),
        last_ms: Some(START + 4 * 60_000),
        answered: vec![
            answered(list, Read, Stage::Shadow, Legacy, 1_200, 9_000),
            answered(list, Read, Stage::Live, Sync, 300, 900),
            answered(get, Read, Stage::Shadow, Legacy, 400, 4_000),
            answered("GET /users/search", Read, Stage::Shadow, Legacy, 12, 15_000),
            answered("POST /users", Write, Stage::Shadow, Legacy, 55, 12_000),
        ],
        compared: vec![
            slot(0, list, Verdict::Match, 300),
            slot(1, list, Verdict::Match, 350),
            slot(1, list, Verdict::Lag(0), 12),
            slot(2, list, Verdict::Match, 200),
            slot(2, list, Verdict::Mismatch, 34),
            slot(3, list, Verdict::Match, 310),
            slot(3, list, Verdict::Error(ErrorSide::SyncOnly), 2),
            slot(3, list, Verdict::Incomparable(Reason::Truncated), 7),
            slot(0, get, Verdict::Match, 90),
            slot(3, get, Verdict::Shed, 110),
        ],
        latencies: vec![
            paired(list, Measure::PairedLegacy, 9_000, 1_206),
            paired(list, Measure::PairedSync, 900, 1_206),
            paired(get, Measure::PairedLegacy, 4_000, 90),
            paired(get, Measure::PairedSync, 400, 90),
            paired(list, Measure::Lag, 1_000_000, 12),
        ],
        fallbacks: vec![Fallback {
            resource: "users".to_owned(),
            route: list.to_owned(),
            reason: "not caught up".to_owned(),
            count: 21,
        }],
        signatures: vec![SignatureRecord {
            signature: signature(
                list,
                "mismatch",
                vec![shape("/data/*/role", Kind::Value, JsonType::String, JsonType::String)],
            ),
            count: 34,
            first_seen_ms: START + 121_500,
            last_seen_ms: START + 179_000,
            samples: vec![SampleRecord { at_ms: START + 121_500, sample: sample() }],
        }],
        notes: vec![
            NoteRecord {
                at_ms: START + 1_000,
                kind: NoteKind::Stage,
                text: "users: dualwrite → shadow".to_owned(),
            },
            NoteRecord {
                at_ms: START + 190_000,
                kind: NoteKind::Rollback,
                text: "all resources to legacy: <script>alert(1)</script>".to_owned(),
            },
        ],
        counters: vec![Counter {
            resource: String::new(),
            route: String::new(),
            name: "events_dropped".to_owned(),
            count: 3,
        }],
        rules: vec![RuleRecord {
            resource: "users".to_owned(),
            route: list.to_owned(),
            rule: "$.data[*].updatedAt".to_owned(),
            compared: 1_215,
            located: 48_600,
            hidden: 17,
            covered: 48_600,
            values: 486_000,
        }],
    }
}

pub(super) fn meta() -> ReportMeta {
    ReportMeta {
        title: "Dual run of users".to_owned(),
        run: RunId::new("run-1").unwrap(),
        generated_at_ms: START + 600_000,
    }
}

pub(super) fn report() -> Report {
    Report::of(&recorded(), &meta())
}

/// An hour and a half of traffic of two resources, to look at.
fn busy() -> Recorded {
    use ExchangeKind::{Read, Write};
    use Origin::{Legacy, Sync};
    let routes = [("GET /users", 46), ("GET /users/{id}", 71), ("GET /users/{id}/teams", 9)];
    let mut compared = Vec::new();
    for at in 0..96_u64 {
        for (route, per_minute) in routes {
            let wave = per_minute + (at * 13 + per_minute * 7) % 17 + at / 6;
            compared.push(slot(at, route, Verdict::Match, wave));
            if at % 7 == 3 {
                compared.push(slot(at, route, Verdict::Lag(0), 1 + at % 4));
            }
            if (40..58).contains(&at) && route == "GET /users" {
                compared.push(slot(at, route, Verdict::Mismatch, 5 + at % 9));
            }
            if at % 31 == 9 {
                compared.push(slot(at, route, Verdict::Incomparable(Reason::Moving), 2));
                compared.push(slot(at, route, Verdict::Timeout(Sync), 1));
            }
        }
    }
    let mut projects = answered("GET /projects", Read, Stage::DualWrite, Legacy, 812, 21_000);
    projects.resource = "projects".to_owned();
    let mut recorded = recorded();
    recorded.last_ms = Some(START + 96 * 60_000);
    recorded.answered = vec![
        answered("GET /users", Read, Stage::Shadow, Legacy, 4_310, 8_600),
        answered("GET /users", Read, Stage::Live, Sync, 1_420, 780),
        answered("GET /users/{id}", Read, Stage::Shadow, Legacy, 6_904, 3_100),
        answered("GET /users/{id}", Read, Stage::Live, Sync, 2_218, 240),
        answered("GET /users/{id}/teams", Read, Stage::Shadow, Legacy, 1_120, 31_000),
        answered("GET /users/export", Read, Stage::Shadow, Legacy, 14, 410_000),
        answered("PATCH /users/{id}", Write, Stage::Live, Legacy, 388, 11_800),
        answered("POST /users", Write, Stage::Live, Legacy, 57, 12_400),
        projects,
    ];
    recorded.compared = compared;
    let paired = |route: &str, measure, middle_us, count| RouteLatency {
        resource: "users".to_owned(),
        route: route.to_owned(),
        measure,
        latencies: latencies(middle_us, count),
    };
    recorded.latencies = vec![
        paired("GET /users", Measure::PairedLegacy, 8_700, 5_480),
        paired("GET /users", Measure::PairedSync, 810, 5_480),
        paired("GET /users/{id}", Measure::PairedLegacy, 3_050, 8_520),
        paired("GET /users/{id}", Measure::PairedSync, 260, 8_520),
        paired("GET /users/{id}/teams", Measure::PairedLegacy, 30_500, 1_020),
        paired("GET /users/{id}/teams", Measure::PairedSync, 1_900, 1_020),
        paired("GET /users", Measure::Lag, 1_000_000, 31),
    ];
    let mut second = recorded.signatures[0].clone();
    second.signature = signature(
        "GET /users/{id}",
        "mismatch",
        vec![
            shape("/updatedAt", Kind::Type, JsonType::String, JsonType::Number),
            shape("/nickname", Kind::Missing, JsonType::Null, JsonType::Absent),
        ],
    );
    second.count = 9;
    recorded.signatures[0].count = 161;
    recorded.signatures.push(second);
    for (minute, kind, text) in [
        (9, NoteKind::Cohort, "users: cohort 0 % → 5 %"),
        (40, NoteKind::Fault, "legacy answers role in upper case for new rows"),
        (58, NoteKind::Stage, "users: shadow → live, asked by the flag provider"),
    ] {
        let at_ms = START + minute * 60_000;
        recorded.notes.push(NoteRecord { at_ms, kind, text: text.to_owned() });
    }
    recorded.notes.sort_by_key(|note| note.at_ms);
    recorded
}

#[test]
#[ignore = "writes a report to look at into the folder that CROSSFADE_SAMPLE_DIR names"]
fn a_report_to_look_at() {
    let folder = std::env::var("CROSSFADE_SAMPLE_DIR").unwrap();
    for (run, recorded) in [("busy", busy()), ("small", recorded()), ("empty", Recorded::default())]
    {
        let meta = ReportMeta { run: RunId::new(run).unwrap(), ..meta() };
        super::write_report(folder.as_ref(), &Report::of(&recorded, &meta)).unwrap();
    }
}

//! Each renderer on one fixed recording.

use super::fixture::{meta, recorded, report};
use super::*;
use crate::record::Recorded;

#[test]
fn a_report_sums_up_what_was_recorded() {
    let report = report();
    assert_eq!(report.finding, Finding::Disagree);
    assert_eq!(report.requests, 1_967);
    let users = &report.resources[0];
    let routes: Vec<_> = users.routes.iter().map(|route| route.route.as_str()).collect();
    assert_eq!(routes, ["GET /users", "GET /users/{id}", "GET /users/search", "POST /users"]);

    let list = &users.routes[0];
    assert_eq!(list.stages, ["shadow", "live"]);
    assert_eq!(list.answered_by, AnsweredBy { legacy: 1_200, sync: 300 });
    let agreement = list.agreement.as_ref().unwrap();
    assert_eq!((agreement.eligible, agreement.compared, agreement.disagreed), (1_215, 1_208, 36));
    assert!(!agreement.thin);
    assert_eq!(list.latency.paired_sync.unwrap().count, 1_206);
    assert_eq!(list.lag.unwrap().count, 12);

    let get = &users.routes[1];
    assert!(get.agreement.as_ref().unwrap().thin, "90 of 200 decided");
    let search = &users.routes[2];
    assert!(search.agreement.is_none() && search.latency.paired_sync.is_none());
    assert!(search.latency.answered_legacy.is_some() && search.latency.answered_sync.is_none());

    let codes: Vec<_> = report.blind_spots.iter().map(|spot| spot.code).collect();
    for code in [
        "events_dropped",
        "routes_not_compared",
        "undecided",
        "low_coverage",
        "not_sampled",
        "rule_hides",
        "writes_not_compared",
        "noise_not_measured",
        "traffic_only",
    ] {
        assert!(codes.contains(&code), "{code} in {codes:?}");
    }
}

#[test]
fn the_same_recording_gives_the_same_report() {
    assert_eq!(Report::of(&recorded(), &meta()), Report::of(&recorded(), &meta()));
    assert_eq!(to_html(&report()).unwrap(), to_html(&report()).unwrap());
}

#[test]
fn json_has_a_format_and_absent_numbers_are_null() {
    let text = to_json(&report()).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["format"], 1);
    assert_eq!(json["run"], "run-1");
    assert_eq!(json["from"], "2026-11-23T10:00:00Z");
    assert_eq!(json["finding"], "disagree");
    let list = &json["resources"][0]["routes"][0];
    assert_eq!(list["agreement"]["verdicts"][2]["verdict"], "mismatch");
    assert_eq!(list["agreement"]["verdicts"][2]["count"], 34);
    let search = &json["resources"][0]["routes"][2];
    assert!(search["agreement"].is_null());
    assert!(search["latency"]["paired_sync"].is_null());
    let signature = &json["resources"][0]["signatures"][0];
    assert_eq!(signature["shapes"][0]["path"], "/data/*/role");
    assert!(signature["samples"][0]["diff"].as_str().unwrap().contains("+      \"role\""));
}

#[test]
fn markdown_tells_the_main_things() {
    let text = to_markdown(&report());
    for part in [
        "# Dual run of users\n",
        "**Paths disagree** · 2026-11-23 10:00:00 to 2026-11-23 10:04:00 UTC",
        "| `GET /users` | 1\u{202f}500 | 1\u{202f}200 / 300 | 1\u{202f}208 | 97\u{202f}% (",
        "34 mismatch, 2 error: sync only, 7 incomparable: truncated |",
        "| `GET /users/search` | 12 | 12 / 0 | – | not measured | – | – |",
        "| `GET /users/{id}` | sync | side by side | p50 0.40",
        "**34× mismatch** on `GET /users`, status 200/200",
        "- `/data/*/role`: value (string)",
        "~~~~diff\n--- legacy\n",
        "users: dualwrite → shadow",
        "\\<script\\>alert(1)\\</script\\>",
        "The rule `$.data[*].updatedAt` of users hid 17 differences",
    ] {
        assert!(text.contains(part), "{part:?} in\n{text}");
    }
}

#[test]
fn html_shows_it_and_fetches_nothing() {
    let page = to_html(&report()).unwrap();
    for part in [
        "<h1>Dual run of users</h1>",
        "Paths disagree",
        "97.2\u{202f}% agree",
        "34 mismatch",
        "<span class=\"del\">-      &quot;role&quot;: &quot;admin&quot;</span>",
        "<code>/data/*/role</code>",
        "GET /users · side by side, n = 1\u{202f}206",
        "sync not measured",
        "What this run could not have seen",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("<script"));
    for fetching in [" src=", "@import", "url(", "<iframe", "<object"] {
        assert!(!page.contains(fetching), "{fetching}");
    }
    // The one address is the name of SVG's namespace, which nobody fetches.
    let addresses: Vec<_> = page.match_indices("http").map(|(at, _)| &page[at..at + 26]).collect();
    let svg = "http://www.w3.org/2000/svg";
    assert!(
        addresses.iter().all(|one| *one == svg || one.starts_with("http-equiv")),
        "{addresses:?}"
    );
    // Both charts of the one resource.
    assert_eq!(page.matches("<figure>").count(), 2);
}

#[test]
fn html_of_hostile_names_stays_text() {
    let hostile = "\"><img src=x onerror=alert(1)>";
    let mut recorded = recorded();
    recorded.made_by = hostile.to_owned();
    recorded.answered.iter_mut().for_each(|one| {
        one.resource = hostile.to_owned();
        one.route = hostile.to_owned();
    });
    recorded.compared.iter_mut().for_each(|one| {
        one.resource = hostile.to_owned();
        one.route = hostile.to_owned();
    });
    recorded.signatures.iter_mut().for_each(|one| {
        one.signature.parts.resource = hostile.to_owned();
        one.samples.iter_mut().for_each(|one| hostile.clone_into(&mut one.sample.diff));
    });
    let meta = ReportMeta { title: hostile.to_owned(), ..meta() };
    let page = to_html(&Report::of(&recorded, &meta)).unwrap();
    assert!(page.contains("&gt;&lt;img") && !page.contains("<img"));
}

#[test]
fn an_empty_recording_measures_nothing_and_says_so() {
    let report = Report::of(&Recorded::default(), &meta());
    assert_eq!(report.finding, Finding::NotMeasured);
    assert!(to_markdown(&report).contains("**Not measured** · nothing was recorded · 0 requests"));
    let page = to_html(&report).unwrap();
    assert!(page.contains("nothing was measured") && !page.contains("<figure>"));
    assert!(!page.contains("100\u{202f}%"));
}

#[test]
fn requests_without_comparisons_give_no_rate() {
    let recorded = Recorded { compared: Vec::new(), latencies: Vec::new(), ..recorded() };
    let report = Report::of(&recorded, &meta());
    assert_eq!(report.finding, Finding::NotMeasured);
    assert!(report.resources[0].verdicts_over_time.is_none());
    let page = to_html(&report).unwrap();
    assert!(page.contains("No comparison was recorded: not measured."));
    assert_eq!(page.matches("<figure>").count(), 1);
}

#[test]
fn run_names_are_folder_names() {
    for good in ["2026-11-23", "demo_1.2", "a"] {
        assert!(RunId::new(good).is_ok());
    }
    for bad in ["", ".hidden", "..", "a/b", "a b", "ä", &"a".repeat(101)] {
        assert!(RunId::new(bad).is_err(), "{bad}");
    }
}

/// A made-up secret goes through comparing, recording and reporting; no file may hold it.
#[tokio::test]
async fn no_value_reaches_a_file() {
    use std::time::Duration;

    use http::{HeaderMap, HeaderValue, StatusCode};

    use crate::compare::{RuleSettings, Rules, compare};
    use crate::migration::{
        Answer, Body, Failure, Observation, Origin, ResourceName, RouteTemplate, Stage,
    };
    use crate::record::{
        Compared, Note, NoteKind, Recorder, RecorderSettings, Recording, Redactor, Sample,
        TimeRange,
    };

    const CANARY: &str = "canary7391";
    let answered = |origin, status: u16, body: String| {
        let mut headers = HeaderMap::new();
        headers.insert("set-cookie", HeaderValue::from_str(&format!("s={CANARY}")).unwrap());
        headers.insert("x-note", HeaderValue::from_str(&format!("{origin}{CANARY}")).unwrap());
        let status = StatusCode::from_u16(status).unwrap();
        let answer = Answer { status, headers, body: Body::Whole(body.into()) };
        Observation { origin, outcome: Ok(answer), latency: Duration::from_millis(2) }
    };
    let failed = Observation {
        origin: Origin::Sync,
        outcome: Err(Failure::Unreachable(format!("http://{CANARY}/ refused"))),
        latency: Duration::ZERO,
    };
    let row = |n: u64| {
        format!(
            r#"{{"data":[{{"id":"{CANARY}{n}","{CANARY}@x.test":{n},"token":"{CANARY}","n":[98765432{n}]}}]}}"#
        )
    };
    let legacy = |body: String| answered(Origin::Legacy, 200, body);
    let pairs = [
        (legacy(row(1)), answered(Origin::Sync, 200, row(2))),
        (legacy(row(1)), answered(Origin::Sync, 404, row(2))),
        (legacy(format!("<p>{CANARY}")), answered(Origin::Sync, 200, row(2))),
        (legacy(format!(r#"{{"{CANARY}":1}}"#)), answered(Origin::Sync, 200, "{}".to_owned())),
        (legacy(row(1)), failed),
    ];
    let headers = ["content-type", "set-cookie", "x-note"].map(str::to_owned).to_vec();
    let rules = Rules::compile(&RuleSettings { headers, ..RuleSettings::default() }).unwrap();
    let redactor = Redactor::random(&crate::clock::SystemEntropy);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recordings.db");
    let recorder = Recorder::open(&path, &RecorderSettings::default()).await.unwrap();
    let (resource, route) = (ResourceName::new("users"), RouteTemplate::new("GET /users"));
    for (legacy, sync) in &pairs {
        let comparison = compare(legacy, sync, &rules);
        let signature = comparison.signature(&resource, &route);
        assert!(signature.is_some(), "{comparison:?}");
        recorder.record(Compared {
            at_ms: super::fixture::START,
            resource: resource.clone(),
            route: route.clone(),
            stage: Stage::Shadow,
            verdict: comparison.verdict,
            legacy_latency_us: Some(1),
            sync_latency_us: Some(1),
            signature,
            sample: Some(Sample::of(&redactor, &rules, legacy, sync, &comparison)),
            rules: comparison.rules,
            unsafe_integers: 0,
        });
    }
    recorder.record(Note {
        at_ms: super::fixture::START,
        kind: NoteKind::Fault,
        text: format!("asked by {CANARY}@x.test with Bearer {CANARY}"),
    });
    recorder.close().await.unwrap();

    let recorded = Recording::open_read(&path).await.unwrap().load(TimeRange::default()).await;
    let recorded = recorded.unwrap();
    assert_eq!(recorded.signatures.len(), 5);
    let paths = write_report(folder.path(), &Report::of(&recorded, &meta())).unwrap();
    for file in [&path, &paths.html, &paths.json, &paths.markdown] {
        let bytes = std::fs::read(file).unwrap();
        for secret in [CANARY, "987654321", "987654322"] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} in {}", file.display());
        }
    }
}

//! The comparison as a whole: what each part does, the table of the field's rules, and properties over arbitrary
//! bodies and rules.

mod properties;
mod table;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;

use super::*;
use crate::migration::{Answer, Body, Failure, Observation, Origin, ResourceName, RouteTemplate};

pub(super) fn answer(origin: Origin, status: u16, body: &str) -> Observation {
    bytes_answer(origin, status, body.as_bytes())
}

fn bytes_answer(origin: Origin, status: u16, body: &[u8]) -> Observation {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    let status = StatusCode::from_u16(status).unwrap();
    let body = Body::Whole(Bytes::copy_from_slice(body));
    Observation {
        origin,
        outcome: Ok(Answer { status, headers, body }),
        latency: Duration::from_millis(3),
    }
}

fn failed(origin: Origin, failure: Failure) -> Observation {
    Observation { origin, outcome: Err(failure), latency: Duration::from_millis(3) }
}

pub(super) fn pair(legacy: &str, sync: &str) -> Pair {
    Pair { legacy: answer(Origin::Legacy, 200, legacy), sync: answer(Origin::Sync, 200, sync) }
}

pub(super) fn rules(settings: &str) -> Rules {
    Rules::compile(&toml::from_str(settings).unwrap()).unwrap()
}

pub(super) fn judged(legacy: &str, sync: &str, settings: &str) -> Comparison {
    let pair = pair(legacy, sync);
    compare(&pair.legacy, &pair.sync, &rules(settings))
}

/// `kind place` of each difference, by legacy's place if it has one.
fn found(legacy: &str, sync: &str, settings: &str) -> Vec<String> {
    let comparison = judged(legacy, sync, settings);
    let line = |one: &Difference| format!("{} {}", one.shape.kind.as_str(), one.at().unwrap());
    comparison.differences.iter().map(line).collect()
}

#[test]
fn json_is_compared_as_a_value() {
    for (legacy, sync) in [
        (r#"{"a":1,"b":[true,null]}"#, r#"{ "b": [true, null], "a": 1.0 }"#),
        ("\"\\u00e9\"", "\"é\""),
        ("[1e2, -0]", "[100, 0]"),
        ("", " "),
    ] {
        assert_eq!(judged(legacy, sync, "").verdict, Verdict::Match, "{legacy} {sync}");
    }
    for (legacy, sync, differences) in [
        (r#"{"a":1}"#, r#"{"a":"1"}"#, vec!["type /a"]),
        (r#"{"a":1}"#, r#"{"a":2}"#, vec!["value /a"]),
        (r#"{"a":null}"#, r#"{}"#, vec!["missing /a"]),
        (r#"{}"#, r#"{"a":{}}"#, vec!["added /a"]),
        (r#"{"a":null}"#, r#"{"a":0}"#, vec!["type /a"]),
        ("[1,2,3]", "[1,2]", vec!["missing /2"]),
        ("[1,2]", "[0,1,2]", vec!["added /0"]),
        ("[1,2,3]", "[3,1,2]", vec!["order "]),
        ("[1,2,3]", "[1,2,4]", vec!["value /2"]),
        ("{}", "[]", vec!["type "]),
        ("1", "", vec!["missing "]),
        ("1", "<html>", vec!["type "]),
        ("9007199254740993", "9007199254740992", vec!["value "]),
    ] {
        assert_eq!(found(legacy, sync, ""), differences, "{legacy} {sync}");
    }
}

#[test]
fn rules_say_what_counts() {
    let null = "null_eq_missing = ['$.a']";
    assert!(found(r#"{"a":null}"#, "{}", null).is_empty());
    assert!(found("{}", r#"{"a":null}"#, null).is_empty());
    assert_eq!(found(r#"{"a":null,"b":null}"#, "{}", null), ["missing /b"]);
    assert_eq!(found(r#"{"a":0}"#, "{}", null), ["missing /a"]);

    let set = "arrays = [{ path = '$', as = 'set' }]";
    assert!(found("[1,2,2]", "[2,1]", set).is_empty());
    assert_eq!(found("[1,2]", "[2,3]", set), ["missing /0", "added /1"]);
    let multiset = "arrays = [{ path = '$', as = 'multiset' }]";
    assert_eq!(found("[1,2,2]", "[2,1]", multiset), ["missing /2"]);
    assert!(found("[[2,1],3]", "[3,[2,1]]", multiset).is_empty());

    let ignore = "ignore = ['$.data[*].at']";
    let (l, s) = (r#"{"data":[{"at":1},{"at":2}]}"#, r#"{"data":[{"at":1},{"at":3}]}"#);
    let comparison = judged(l, s, ignore);
    assert_eq!(comparison.verdict, Verdict::Match);
    let rule = "$.data[*].at".to_owned();
    assert_eq!(comparison.rules, [RuleHits { rule, located: 4, hidden: 1, covered: 4, values: 4 }]);
    // A row whose ignored field differs is still the same row when rows are aligned or reordered.
    let (l, s) = (
        r#"{"data":[{"at":1,"n":1},{"at":2,"n":2}]}"#,
        r#"{"data":[{"at":9,"n":2},{"at":8,"n":1}]}"#,
    );
    assert_eq!(found(l, s, ignore), ["order /data"]);
    assert_eq!(found(l, r#"{"data":[{"at":9,"n":2}]}"#, ignore), ["missing /data/0"]);
}

#[test]
fn keyed_rows_are_paired_wherever_they_stand() {
    let keyed = "arrays = [{ path = '$.data', by = 'id' }]";
    let loose = "arrays = [{ path = '$.data', by = 'id', ordered = false }]";
    let legacy = r#"{"data":[{"id":1,"n":"a"},{"id":2,"n":"b"},{"id":3,"n":"c"}]}"#;
    let sync = r#"{"data":[{"id":2,"n":"b"},{"id":1.0,"n":"x"},{"id":4,"n":"d"}]}"#;
    assert_eq!(
        found(legacy, sync, keyed),
        ["value /data/0/n", "missing /data/2", "added /data/2", "order /data"]
    );
    assert_eq!(found(legacy, sync, loose).len(), 3);
    let comparison = judged(legacy, sync, keyed);
    let moved = &comparison.differences[0];
    assert_eq!(moved.sync_at.as_ref().unwrap().to_string(), "/data/1/n");
    assert_eq!(moved.shape.path, "/data/*/n");

    // An ignored key still identifies its row; rows without the key and repeated keys are paired too.
    let ignored = format!("ignore = ['$.data[*].id']\n{loose}");
    assert_eq!(found(legacy, sync, &ignored).len(), 3);
    let odd = r#"{"data":[{"id":1},{"id":1},{"x":1},7]}"#;
    assert_eq!(judged(odd, odd, keyed).verdict, Verdict::Match);
}

#[test]
fn long_arrays_of_different_length_are_said_to_be_that() {
    let list = |length: usize| json!(vec![0; length]).to_string();
    assert_eq!(found(&list(2_001), &list(2_002), ""), ["length "]);
    assert_eq!(found(&list(2_000), &list(1_998), ""), ["missing /1998", "missing /1999"]);
}

#[test]
fn differences_are_bounded_and_counted() {
    let list = |n: u64| json!(vec![n; 1_000]).to_string();
    let comparison = judged(&list(1), &list(2), "");
    assert_eq!((comparison.differences.len(), comparison.more), (256, 744));
}

#[test]
fn each_failure_has_its_verdict() {
    let rules = rules("");
    let ok = |origin| answer(origin, 200, "1");
    let of = |l: Observation, s: Observation| compare(&l, &s, &rules).verdict.as_str();
    let l = |failure| failed(Origin::Legacy, failure);
    let s = |failure| failed(Origin::Sync, failure);
    let broken = || Failure::Unreachable("refused".to_owned());
    let late = || Failure::Timeout(Duration::from_secs(1));
    let cold = || Failure::Unavailable("not caught up".to_owned());
    for (verdict, expected) in [
        (of(l(broken()), ok(Origin::Sync)), "error_legacy_only"),
        (of(ok(Origin::Legacy), s(broken())), "error_sync_only"),
        (of(l(broken()), s(broken())), "error_both_same"),
        (of(l(broken()), answer(Origin::Sync, 500, "")), "error_both_different"),
        (of(l(late()), ok(Origin::Sync)), "timeout_legacy"),
        (of(ok(Origin::Legacy), s(late())), "timeout_sync"),
        (of(ok(Origin::Legacy), s(Failure::Shed)), "shed"),
        (of(l(late()), s(Failure::Shed)), "shed"),
        (of(ok(Origin::Legacy), s(cold())), "incomparable_unavailable"),
    ] {
        assert_eq!(verdict, expected);
    }
}

#[test]
fn each_status_pair_has_its_verdict() {
    let rules = rules("");
    for (legacy, sync, expected) in [
        (200, 200, "match"),
        (500, 500, "error_both_same"),
        (500, 503, "error_both_different"),
        (200, 500, "error_sync_only"),
        (502, 200, "error_legacy_only"),
        (401, 200, "incomparable_token"),
        (200, 401, "incomparable_token"),
        (401, 401, "match"),
        (403, 200, "overshare"),
        (404, 200, "overshare"),
        (200, 404, "undershare"),
        (404, 403, "mismatch"),
        (200, 201, "mismatch"),
        (200, 302, "mismatch"),
    ] {
        let (l, s) = (answer(Origin::Legacy, legacy, "{}"), answer(Origin::Sync, sync, "{}"));
        let comparison = compare(&l, &s, &rules);
        assert_eq!(comparison.verdict.as_str(), expected, "{legacy}/{sync}");
        assert_eq!(comparison.statuses, StatusPair { legacy: Some(legacy), sync: Some(sync) });
    }
}

#[test]
fn rows_on_one_side_alone_are_shared_too_much_or_too_little() {
    let two = r#"{"data":[{"id":1},{"id":2}],"total":2}"#;
    let one = r#"{"data":[{"id":1}],"total":1}"#;
    let other = r#"{"data":[{"id":1},{"id":3}],"total":2}"#;
    let keyed = "arrays = [{ path = '$.data', by = 'id' }]";
    for settings in ["", keyed] {
        assert_eq!(judged(one, two, settings).verdict, Verdict::Overshare);
        assert_eq!(judged(two, one, settings).verdict, Verdict::Undershare);
        assert_eq!(judged(two, other, settings).verdict, Verdict::Mismatch);
    }
    // Tags within a row are no rows.
    let tags = |tags: &str| format!(r#"[{{"tags":{tags}}}]"#);
    assert_eq!(judged(&tags("[]"), &tags("[{}]"), "").verdict, Verdict::Mismatch);
}

#[test]
fn refusals_are_compared_by_code_not_by_message() {
    let rules = rules("");
    let of = |l: &str, s: &str| {
        let (l, s) = (answer(Origin::Legacy, 404, l), answer(Origin::Sync, 404, s));
        compare(&l, &s, &rules).verdict
    };
    assert_eq!(of(r#"{"error":"no such user"}"#, r#"{"error":"not found"}"#), Verdict::Match);
    assert_eq!(of(r#"{"code":"gone"}"#, r#"{"code":"missing"}"#), Verdict::Mismatch);
    assert_eq!(of("<h1>404</h1>", ""), Verdict::Match);
}

#[test]
fn bodies_that_cannot_be_compared_say_why() {
    let rules = rules("");
    let with = |body: Body| {
        let mut observation = answer(Origin::Legacy, 200, "1");
        if let Ok(answer) = &mut observation.outcome {
            answer.body = body;
        }
        compare(&observation, &answer(Origin::Sync, 200, "1"), &rules).verdict
    };
    assert_eq!(with(Body::Truncated), Verdict::Incomparable(Reason::Truncated));
    assert_eq!(with(Body::Encoded("br".to_owned())), Verdict::Incomparable(Reason::Encoded));
    let twice = r#"{"a":1,"a":2}"#;
    assert_eq!(judged(twice, twice, "").verdict, Verdict::Incomparable(Reason::DuplicateKey));
    assert_eq!(judged("{", "[", "").verdict, Verdict::Incomparable(Reason::NotJson));
    assert_eq!(judged("same", "same", "").verdict, Verdict::Match);
    let deep = "[".repeat(200) + &"]".repeat(200);
    assert_eq!(judged(&deep, &deep, "").verdict, Verdict::Incomparable(Reason::TooDeep));
}

#[test]
fn chosen_headers_are_compared_and_others_not() {
    let legacy = answer(Origin::Legacy, 200, "1");
    let mut sync = answer(Origin::Sync, 200, "1");
    if let Ok(answer) = &mut sync.outcome {
        answer.headers.insert("content-type", HeaderValue::from_static("text/plain"));
        answer.headers.insert("x-request-id-of-ours", HeaderValue::from_static("7"));
    }
    let comparison = compare(&legacy, &sync, &rules(""));
    assert_eq!(comparison.verdict, Verdict::Mismatch);
    assert_eq!(comparison.differences[0].shape.path, "header:content-type");
    let with_id = compare(&legacy, &sync, &rules("headers = ['x-request-id-of-ours']"));
    assert_eq!(with_id.differences[0].shape.kind, Kind::Added);
}

#[test]
fn integers_that_javascript_loses_are_flagged_though_equal() {
    let comparison = judged(r#"{"id":9007199254740993}"#, r#"{"id":9007199254740993}"#, "");
    assert_eq!(comparison.verdict, Verdict::Match);
    assert_eq!(comparison.unsafe_integers[0].as_str(), "/id");
}

fn signature(legacy: &str, sync: &str) -> Option<Signature> {
    let (resource, route) = (ResourceName::new("users"), RouteTemplate::new("GET /users"));
    judged(legacy, sync, "").signature(&resource, &route)
}

#[test]
fn a_signature_is_the_shape_and_never_a_value() {
    let one = signature(r#"[{"role":"admin"}]"#, r#"[{"role":"member"}]"#).unwrap();
    let other = signature(r#"[{"role":"x"},{"role":"y"}]"#, r#"[{"role":"x"},{"role":"z"}]"#);
    assert_eq!(Some(&one), other.as_ref());
    let text = serde_json::to_string(&one).unwrap();
    assert!(!text.contains("admin") && !text.contains("member"), "{text}");
    // Pinned: stored signatures must go on meaning the same.
    assert_eq!(one.id, "v1-380da681048b4de5");
    let typed = signature(r#"[{"role":"admin"}]"#, r#"[{"role":null}]"#).unwrap();
    assert_ne!(typed.id, one.id);
    assert_eq!(signature("1", "1"), None);
}

#[test]
fn many_places_fold_into_their_prefix() {
    let body = |value: u64, fields: u64| {
        let member = |n: u64| (format!("f{n}"), json!(value));
        json!({"data": [{"profile": (0..fields).map(member).collect::<serde_json::Map<_, _>>()}]})
            .to_string()
    };
    let nine = signature(&body(1, 9), &body(2, 9)).unwrap();
    assert!(nine.parts.shapes.is_empty());
    let folded = nine.parts.folded.unwrap();
    assert_eq!((folded.prefix.as_str(), folded.count), ("/data/*/profile", 9));
    // One field more or less does not make another signature.
    assert_eq!(signature(&body(1, 12), &body(2, 12)).unwrap().id, nine.id);
    assert_eq!(signature(&body(1, 8), &body(2, 8)).unwrap().parts.shapes.len(), 8);
}

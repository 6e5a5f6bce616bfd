//! The comparison as a whole: table of cases, and properties over arbitrary bodies.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use proptest::prelude::*;
use serde_json::{Value, json};

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

fn judged(legacy: &str, sync: &str, settings: &str) -> Comparison {
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
    let hits = RuleHits { rule: "$.data[*].at".to_owned(), located: 4, hidden: 1 };
    assert_eq!(comparison.ignored, [hits]);
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
        answer.headers.insert("x-request-id", HeaderValue::from_static("7"));
    }
    let comparison = compare(&legacy, &sync, &rules(""));
    assert_eq!(comparison.verdict, Verdict::Mismatch);
    assert_eq!(comparison.differences[0].shape.path, "header:content-type");
    let with_id = compare(&legacy, &sync, &rules("headers = ['x-request-id']"));
    assert_eq!(with_id.differences[0].shape.kind, Kind::Added);
}

#[test]
fn integers_that_javascript_loses_are_flagged_though_equal() {
    let comparison = judged(r#"{"id":9007199254740993}"#, r#"{"id":9007199254740993}"#, "");
    assert_eq!(comparison.verdict, Verdict::Match);
    assert_eq!(comparison.unsafe_integers[0].as_str(), "/id");
}

#[test]
fn noise_is_what_legacy_shows_against_itself() {
    let own = judged(r#"[{"at":1,"n":1}]"#, r#"[{"at":2,"n":1}]"#, "");
    let noisy = judged(r#"[{"at":1,"n":1}]"#, r#"[{"at":3,"n":1}]"#, "").less_noise(&own);
    assert_eq!(noisy.verdict, Verdict::Noise);
    let real = judged(r#"[{"at":1,"n":1}]"#, r#"[{"at":3,"n":2}]"#, "").less_noise(&own);
    assert_eq!(real.verdict, Verdict::Mismatch);
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

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1.0e9..1.0e9).prop_map(Value::from),
        (0..4_i64).prop_map(Value::from),
        "[a-c~/é]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec(("[a-d/~]{0,2}", inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn verdicts(l: &Value, s: &Value, settings: &str) -> Comparison {
    judged(&l.to_string(), &s.to_string(), settings)
}

proptest! {
    #[test]
    fn a_value_matches_itself(value in json_value(), settings in any_rules()) {
        prop_assert_eq!(verdicts(&value, &value, &settings).verdict, Verdict::Match);
    }

    #[test]
    fn swapping_the_sides_swaps_the_places(l in json_value(), s in json_value(), settings in any_rules()) {
        let (one, other) = (verdicts(&l, &s, &settings), verdicts(&s, &l, &settings));
        let places = |c: &Comparison| -> BTreeSet<_> {
            c.differences.iter().map(|d| (d.legacy_at.clone(), d.sync_at.clone())).collect()
        };
        let swapped = places(&other).into_iter().map(|(l, s)| (s, l)).collect();
        prop_assert_eq!(places(&one), swapped);
    }

    #[test]
    fn no_difference_means_equal_values(l in json_value(), s in json_value()) {
        prop_assert_eq!(verdicts(&l, &s, "").verdict == Verdict::Match, equal(&l, &s));
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        l in prop::collection::vec(any::<u8>(), 0..60),
        s in "[\\[\\]{}\",:0-9eE.truefalsn -]{0,60}",
        settings in any_rules(),
    ) {
        let rules = rules(&settings);
        let (legacy, sync) = (bytes_answer(Origin::Legacy, 200, &l), answer(Origin::Sync, 200, &s));
        let comparison = compare(&legacy, &sync, &rules);
        let itself = compare(&legacy, &legacy, &rules);
        prop_assert!(itself.differences.is_empty());
        if l == s.as_bytes() {
            prop_assert!(comparison.differences.is_empty());
        }
    }

    #[test]
    fn ignoring_a_place_removes_exactly_its_differences(l in json_value(), s in json_value(), pick in any::<prop::sample::Index>()) {
        let all = verdicts(&l, &s, "");
        // Elements of reordered or aligned arrays have no place of their own: by position only.
        let by_position = |c: &Comparison| c.differences.iter().all(|d| {
            d.shape.kind != Kind::Order && (d.legacy_at.is_none() || d.sync_at.is_none() || d.legacy_at == d.sync_at)
        });
        prop_assume!(!all.differences.is_empty() && by_position(&all) && !has_unequal_lengths(&l, &s));
        let chosen = all.differences[pick.index(all.differences.len())].at().unwrap().to_string();
        prop_assume!(!chosen.is_empty());
        let settings = format!("ignore = [{}]", json!(normalized(&chosen, &l, &s)));
        let rest = verdicts(&l, &s, &settings);
        prop_assume!(by_position(&rest));
        let places = |c: &Comparison| -> BTreeSet<String> {
            c.differences.iter().map(|d| d.at().unwrap().to_string()).collect()
        };
        let expected: BTreeSet<_> = places(&all).into_iter().filter(|at| *at != chosen).collect();
        prop_assert_eq!(places(&rest), expected);
        prop_assert_eq!(rest.ignored[0].hidden, 1);
    }
}

fn any_rules() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("ignore = ['$..a', '$[0]']".to_owned()),
        Just("null_eq_missing = ['$..*']".to_owned()),
        Just("arrays = [{ path = '$..*', by = 'a' }, { path = '$', as = 'set' }]".to_owned()),
        Just("arrays = [{ path = '$..*', as = 'multiset' }]".to_owned()),
        Just(
            "arrays = [{ path = '$', by = 'a', ordered = false }]\nignore = ['$[*].a']".to_owned()
        ),
    ]
}

fn equal(l: &Value, s: &Value) -> bool {
    match (l, s) {
        (Value::Number(l), Value::Number(s)) => {
            Number::parse(&l.to_string()) == Number::parse(&s.to_string())
        }
        (Value::Array(l), Value::Array(s)) => {
            l.len() == s.len() && l.iter().zip(s).all(|(l, s)| equal(l, s))
        }
        (Value::Object(l), Value::Object(s)) => {
            l.len() == s.len() && l.iter().all(|(key, l)| s.get(key).is_some_and(|s| equal(l, s)))
        }
        (l, s) => l == s,
    }
}

fn has_unequal_lengths(l: &Value, s: &Value) -> bool {
    match (l, s) {
        (Value::Array(l), Value::Array(s)) => {
            l.len() != s.len() || l.iter().zip(s).any(|(l, s)| has_unequal_lengths(l, s))
        }
        (Value::Object(l), Value::Object(s)) => {
            l.iter().any(|(key, l)| s.get(key).is_some_and(|s| has_unequal_lengths(l, s)))
        }
        _ => false,
    }
}

/// A pointer as a JSONPath of one place; which segments are indices is read from the values.
fn normalized(pointer: &str, l: &Value, s: &Value) -> String {
    let (mut path, mut prefix) = ("$".to_owned(), String::new());
    for segment in pointer.split('/').skip(1) {
        let above = l.pointer(&prefix).or_else(|| s.pointer(&prefix)).unwrap();
        prefix = format!("{prefix}/{segment}");
        let name = segment.replace("~1", "/").replace("~0", "~");
        path += &if above.is_array() { format!("[{name}]") } else { format!("[{}]", json!(name)) };
    }
    path
}

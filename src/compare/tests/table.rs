//! The field's rules of structural comparison, a case for each: what holds without a setting, and what each setting
//! changes. In the order of the table that they were taken from.

use super::*;

/// What a case expects.
#[derive(Debug, Clone, Copy)]
enum Expect {
    /// No difference, and nothing that a rule had to hide.
    Equal,
    /// No difference, because this rule hid so many.
    Hidden(&'static str, u64),
    /// These differences.
    Differ(&'static [&'static str]),
}
use Expect::{Differ, Equal, Hidden};

/// What it shows; settings; legacy's body; the store's.
type Case = (&'static str, &'static str, &'static str, &'static str, Expect);

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("key order", "", r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, Equal),

    ("array order: by position", "", "[1,2,3]", "[3,2,1]", Differ(&["order "])),
    ("array order: one element", "", "[1,2,3]", "[1,4,3]", Differ(&["value /1"])),
    ("array order: position", "arrays = [{path='$', as='position'}]", "[1,2]", "[2,1]", Differ(&["order "])),
    ("array order: set", "arrays = [{path='$', as='set'}]", "[1,2,2]", "[2,1]", Hidden("arrays $", 1)),
    ("array order: set, equal", "arrays = [{path='$', as='set'}]", "[1,2]", "[1,2]", Equal),
    ("array order: set, other elements", "arrays = [{path='$', as='set'}]", "[1,2]", "[2,3]", Differ(&["missing /0", "added /1"])),
    ("array order: multiset", "arrays = [{path='$', as='multiset'}]", "[1,2,2]", "[2,1,2]", Hidden("arrays $", 1)),
    ("array order: multiset, repetition", "arrays = [{path='$', as='multiset'}]", "[1,2,2]", "[2,1]", Differ(&["missing /2"])),
    ("array order: keyed", "arrays = [{path='$', by='id'}]", r#"[{"id":1,"n":1},{"id":2,"n":2}]"#, r#"[{"id":2,"n":3},{"id":1,"n":1}]"#, Differ(&["value /1/n", "order "])),
    ("array order: keyed, unordered", "arrays = [{path='$', by='id', ordered=false}]", r#"[{"id":1},{"id":2}]"#, r#"[{"id":2},{"id":1}]"#, Hidden("arrays $", 1)),

    ("length: aligned", "", "[1,2,3,4]", "[1,3,4]", Differ(&["missing /1"])),
    ("length: aligned, added", "", "[1,3]", "[1,2,3,9]", Differ(&["added /1", "added /3"])),
    ("length: keyed", "arrays = [{path='$', by='id'}]", r#"[{"id":1},{"id":2}]"#, r#"[{"id":2},{"id":3},{"id":4}]"#, Differ(&["missing /0", "added /1", "added /2"])),

    ("integer and float", "", "[1,1e2,-0]", "[1.0,100,0.0]", Equal),
    ("integer and float: as decimals", "", "0.1", "0.1000000000000000000001", Differ(&["value "])),
    ("integer and float: strict", "strict = ['$..*']", "[1,2.0]", "[1.0,2.00]", Differ(&["value /0"])),

    ("tolerance: none", "", "1.5", "1.5000001", Differ(&["value "])),
    ("tolerance: abs", "numbers = [{path='$', abs=0.1}]", "1.0", "1.1", Hidden("numbers $", 1)),
    ("tolerance: abs, beyond", "numbers = [{path='$', abs=0.1}]", "1.0", "1.1000000000000001", Differ(&["value "])),
    ("tolerance: abs, never rounding", "numbers = [{path='$[*]', abs=0.005}]", "[1.004,1.004]", "[1.005,1.0091]", Differ(&["value /1"])),
    ("tolerance: rel", "numbers = [{path='$', rel=0.01}]", "100", "99", Hidden("numbers $", 1)),
    ("tolerance: rel, beyond", "numbers = [{path='$', rel=0.01}]", "100", "98.9", Differ(&["value "])),
    ("tolerance: ulp", "numbers = [{path='$', ulp=1}]", "0.3", "0.30000000000000004", Hidden("numbers $", 1)),
    ("tolerance: ulp, beyond", "numbers = [{path='$', ulp=1}]", "0.3", "0.3000000000000003", Differ(&["value "])),
    ("tolerance: not for other types", "numbers = [{path='$', abs=9.0}]", "1", "\"1\"", Differ(&["type "])),
    ("tolerance: in a set", "arrays = [{path='$', as='multiset'}]\nnumbers = [{path='$[*]', abs=0.1}]", "[1.0,5]", "[5,1.1]", Hidden("numbers $[*]", 1)),
    ("tolerance: rows are aligned in spite of it", "numbers = [{path='$[*].n', abs=0.1}]", r#"[{"n":1.0},{"n":2,"x":1}]"#, r#"[{"n":2.1,"x":1}]"#, Differ(&["missing /0"])),

    ("beyond 2^53: exact", "", "9007199254740993", "9007199254740992", Differ(&["value "])),

    ("null and missing", "", r#"{"a":null}"#, "{}", Differ(&["missing /a"])),
    ("null and missing: the other way", "", "{}", r#"{"a":null}"#, Differ(&["added /a"])),
    ("null and missing: equal", "null_eq_missing = ['$.a']", r#"{"a":null}"#, "{}", Hidden("null_eq_missing $.a", 1)),
    ("null and missing: a value is neither", "null_eq_missing = ['$.a']", r#"{"a":0}"#, "{}", Differ(&["missing /a"])),
    ("null and missing: null and a value", "null_eq_missing = ['$.a']", r#"{"a":null}"#, r#"{"a":0}"#, Differ(&["type /a"])),

    ("added fields", "", r#"{"a":1}"#, r#"{"a":1,"b":2}"#, Differ(&["added /b"])),
    ("added fields: allowed", "allow_added = ['$']", r#"{"a":1}"#, r#"{"a":1,"b":2,"c":3}"#, Hidden("allow_added $", 2)),
    ("added fields: not below", "allow_added = ['$']", r#"{"a":{}}"#, r#"{"a":{"b":2}}"#, Differ(&["added /a/b"])),
    ("added fields: what legacy has must be there", "allow_added = ['$']", r#"{"a":1}"#, r#"{"b":2}"#, Differ(&["missing /a"])),
    ("added fields: rows are none", "allow_added = ['$', '$[*]']", r#"[{"a":1}]"#, r#"[{"a":1},{"b":2}]"#, Differ(&["added /1"])),

    ("strings: exact", "", "\"a\"", "\"A\"", Differ(&["value "])),
    ("strings: composed", "", r#""\u00e9""#, r#""e\u0301""#, Differ(&["value "])),
    ("strings: nfc", "strings = [{path='$', as=['nfc']}]", r#""\u00e9""#, r#""e\u0301""#, Hidden("strings $", 1)),
    ("strings: trim", "strings = [{path='$', as=['trim']}]", "\" a\"", "\"a \"", Hidden("strings $", 1)),
    ("strings: fold_case", "strings = [{path='$', as=['fold_case']}]", "\"ADA\"", "\"Ada\"", Hidden("strings $", 1)),
    ("strings: mask", "strings = [{path='$', mask=['sig=[0-9a-f]+']}]", "\"/a?sig=1f\"", "\"/a?sig=2e\"", Hidden("strings $", 1)),
    ("strings: mask, the rest counts", "strings = [{path='$', mask=['sig=[0-9a-f]+']}]", "\"/a?sig=1f\"", "\"/b?sig=2e\"", Differ(&["value "])),
    ("strings: url", "strings = [{path='$', as=['url']}]", "\"HTTP://a.test:80\"", "\"http://A.TEST/\"", Hidden("strings $", 1)),
    ("strings: url, the path's case counts", "strings = [{path='$', as=['url']}]", "\"http://a.test/X\"", "\"http://a.test/x\"", Differ(&["value "])),
    ("strings: in a set", "arrays = [{path='$', as='set'}]\nstrings = [{path='$[*]', as=['trim']}]", "[\"a\",\"b\"]", "[\"b\",\" a\"]", Hidden("arrays $", 1)),

    ("times: one instant", "", "\"2026-01-31T08:00:00Z\"", "\"2026-01-31T09:00:00.000+01:00\"", Hidden(EQUAL_INSTANTS, 1)),
    ("times: another instant", "", "\"2026-01-31T08:00:00Z\"", "\"2026-01-31T08:00:00.001Z\"", Differ(&["value "])),
    ("times: strict", "strict = ['$']", "\"2026-01-31T08:00:00Z\"", "\"2026-01-31T08:00:00.000Z\"", Differ(&["value "])),
    ("times: within", "times = [{path='$', within_ms=500}]", "\"2026-01-31T08:00:00Z\"", "\"2026-01-31T08:00:00.500Z\"", Hidden("times $", 1)),
    ("times: beyond", "times = [{path='$', within_ms=500}]", "\"2026-01-31T08:00:00Z\"", "\"2026-01-31T08:00:00.501Z\"", Differ(&["value "])),
    ("times: milliseconds", "times = [{path='$', unit='ms'}]", "\"1970-01-01T00:00:01.5Z\"", "1500", Hidden("times $", 1)),
    ("times: seconds", "times = [{path='$', unit='s', within_ms=1}]", "1.5", "1.501", Hidden("times $", 1)),
    ("times: a number is none without a unit", "times = [{path='$', within_ms=500}]", "1500", "1501", Differ(&["value "])),
    ("times: SQLite's spelling", "times = [{path='$'}]", "\"2026-01-31 08:00:00\"", "\"2026-01-31T08:00:00Z\"", Hidden("times $", 1)),
    ("times: SQLite's spelling says no offset itself", "", "\"2026-01-31 08:00:00\"", "\"2026-01-31T08:00:00Z\"", Differ(&["value "])),

    ("ids: exact", "", r#"{"id":1}"#, r#"{"id":"x"}"#, Differ(&["type /id"])),
    ("ids: bound", "bind = [['$[*].id', '$[*].boss']]", r#"[{"id":1,"boss":2},{"id":2,"boss":2}]"#, r#"[{"id":"x","boss":"y"},{"id":"y","boss":"y"}]"#, Hidden("bind $[*].id", 2)),
    ("ids: one of legacy's, two of the store's", "bind = [['$[*]']]", "[1,1]", "[\"x\",\"y\"]", Differ(&["type /1"])),
    ("ids: two of legacy's, one of the store's", "bind = [['$[*]']]", "[1,2]", "[\"x\",\"x\"]", Differ(&["type /1"])),
    ("ids: of one type", "bind = [['$[*]']]", "[1,1]", "[3,4]", Differ(&["value /1"])),
    ("ids: of two sorts", "bind = [['$.a'], ['$.b']]", r#"{"a":1,"b":1}"#, r#"{"a":"x","b":"y"}"#, Hidden("bind $.a", 1)),
    ("ids: null is none", "bind = [['$.a']]", r#"{"a":null}"#, r#"{"a":"x"}"#, Differ(&["type /a"])),
    ("ids: rows are aligned in spite of them", "bind = [['$[*].id']]", r#"[{"id":1,"n":1},{"id":2,"n":2}]"#, r#"[{"id":"y","n":2}]"#, Differ(&["missing /0"])),

    ("booleans", "", "[0,1]", "[false,true]", Differ(&["type /0", "type /1"])),
    ("booleans: SQLite's", "sql_bool = ['$[*]']", "[0,1]", "[false,true]", Hidden("sql_bool $[*]", 2)),
    ("booleans: SQLite's, other value", "sql_bool = ['$[*]']", "[0,2]", "[true,true]", Differ(&["type /0", "type /1"])),

    ("ignored", "ignore = ['$.a']", r#"{"a":{"b":1},"c":1}"#, r#"{"a":[],"c":1}"#, Hidden("$.a", 1)),
    ("ignored: nothing else", "ignore = ['$.a']", r#"{"a":1,"c":1}"#, r#"{"a":2,"c":2}"#, Differ(&["value /c"])),
];

#[test]
fn each_row_has_its_default_and_its_options() {
    for (name, settings, legacy, sync, expect) in CASES {
        let comparison = judged(legacy, sync, settings);
        let hidden: Vec<_> = comparison.rules.iter().filter(|hits| hits.hidden > 0).collect();
        match expect {
            Equal => {
                assert_eq!(comparison.verdict, Verdict::Match, "{name}");
                assert!(hidden.is_empty(), "{name}: {hidden:?}");
            }
            Hidden(rule, count) => {
                assert_eq!(comparison.verdict, Verdict::Match, "{name}: {comparison:?}");
                let hits = hidden.iter().find(|hits| hits.rule == *rule);
                assert_eq!(hits.map(|hits| hits.hidden), Some(*count), "{name}: {hidden:?}");
            }
            Differ(places) => {
                assert_eq!(found(legacy, sync, settings), *places, "{name}");
                assert_ne!(comparison.verdict, Verdict::Match, "{name}");
            }
        }
    }
}

#[test]
fn duplicate_keys_are_a_class_of_their_own() {
    let (twice, once) = (r#"{"a":1,"a":1}"#, r#"{"a":1}"#);
    for (legacy, sync) in [(twice, once), (once, twice), (twice, twice)] {
        let verdict = judged(legacy, sync, "").verdict;
        assert_eq!(verdict, Verdict::Incomparable(Reason::DuplicateKey));
    }
}

#[test]
fn not_a_number_is_no_json() {
    assert_eq!(judged("NaN", "Infinity", "").verdict, Verdict::Incomparable(Reason::NotJson));
}

#[test]
fn lengths_are_told_without_an_index() {
    let comparison = judged(r#"{"items":[{"x":1},{"x":2}]}"#, r#"{"items":[{"x":2}]}"#, "");
    assert_eq!(comparison.differences[0].shape.path, "/items/*");
}

#[test]
fn integers_that_javascript_loses_are_flagged_whether_equal_or_not() {
    for sync in ["9007199254740993", "9007199254740992", "1"] {
        assert_eq!(judged("9007199254740993", sync, "").unsafe_integers.len(), 1);
    }
    assert!(judged("9007199254740991", "9007199254740991", "").unsafe_integers.is_empty());
}

#[test]
fn error_bodies_agree_by_status_and_code() {
    let rules = rules("");
    for (legacy, sync, verdict) in [
        (
            (404, r#"{"code":"gone","message":"a"}"#),
            (404, r#"{"code":"gone","message":"b"}"#),
            "match",
        ),
        ((404, r#"{"code":"gone"}"#), (404, r#"{"code":"lost"}"#), "mismatch"),
        ((409, r#"{"error":{"code":1}}"#), (409, r#"{"error":{"code":2}}"#), "mismatch"),
        ((400, r#"{"code":"x"}"#), (422, r#"{"code":"x"}"#), "mismatch"),
    ] {
        let legacy = answer(Origin::Legacy, legacy.0, legacy.1);
        let sync = answer(Origin::Sync, sync.0, sync.1);
        assert_eq!(compare(&legacy, &sync, &rules).verdict.as_str(), verdict);
    }
}

#[test]
fn headers_that_are_chosen_count_in_their_own_way() {
    let with = |origin, headers: &[(&'static str, &'static str)]| {
        let mut observation = answer(origin, 200, "1");
        if let Ok(answer) = &mut observation.outcome {
            for (name, value) in headers {
                answer.headers.append(*name, HeaderValue::from_static(value));
            }
        }
        observation
    };
    let differing = |settings: &str, legacy: &[_], sync: &[_]| {
        let comparison =
            compare(&with(Origin::Legacy, legacy), &with(Origin::Sync, sync), &rules(settings));
        comparison.differences.into_iter().map(|one| one.shape.path).collect::<Vec<_>>()
    };
    let all = "headers = ['content-type', 'cache-control', 'location', 'set-cookie', 'etag']";
    let cache = [("cache-control", "private, no-cache")];
    assert!(differing("", &cache, &[("etag", "1"), ("date", "x"), ("server", "y")]).is_empty());
    assert!(differing(all, &cache, &[("cache-control", "no-cache,private")]).is_empty());
    assert_eq!(differing(all, &cache, &[]), ["header:cache-control"]);
    assert_eq!(differing(all, &[("location", "/a")], &[("location", "/b")]), ["header:location"]);
    let cookie = |value| [("set-cookie", value)];
    assert!(differing(all, &cookie("a=1; Path=/"), &cookie("a=2")).is_empty());
    assert_eq!(differing(all, &cookie("a=1"), &cookie("b=1")), ["header:set-cookie"]);
    assert_eq!(differing(all, &[("etag", "1")], &[("etag", "2")]), ["header:etag"]);
    assert!(differing("headers = []", &[("content-type", "text/html")], &[]).is_empty());
}

#[test]
fn a_status_pair_is_part_of_the_signature() {
    let (resource, route) = (ResourceName::new("users"), RouteTemplate::new("GET /users/{id}"));
    let of = |l, s| {
        let comparison =
            compare(&answer(Origin::Legacy, l, "{}"), &answer(Origin::Sync, s, "{}"), &rules(""));
        comparison.signature(&resource, &route).unwrap()
    };
    assert_ne!(of(200, 404).id, of(200, 410).id);
    assert_ne!(of(404, 200).id, of(200, 404).id);
}

#[test]
fn what_is_truncated_or_encoded_is_in_no_rate() {
    for (body, reason) in
        [(Body::Truncated, Reason::Truncated), (Body::Encoded("gzip".to_owned()), Reason::Encoded)]
    {
        let mut legacy = answer(Origin::Legacy, 200, "1");
        if let Ok(answer) = &mut legacy.outcome {
            answer.body = body;
        }
        let verdict = compare(&legacy, &answer(Origin::Sync, 200, "1"), &rules("")).verdict;
        assert_eq!(verdict, Verdict::Incomparable(reason));
        assert!(!verdict.is_decided() && !verdict.agrees());
    }
}

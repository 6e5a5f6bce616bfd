//! Whatever the bodies and whatever the rules: nothing panics, a value matches itself, and the sides can be swapped.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1.0e9..1.0e9).prop_map(Value::from),
        (0..4_i64).prop_map(Value::from),
        "[a-c~/é]{0,3}".prop_map(Value::from),
        // Equal or nearly so in one sense or another.
        prop::sample::select(vec![
            "2026-01-31T08:00:00Z",
            "2026-01-31T09:00:00.000+01:00",
            "2026-01-31 08:00:01",
            "http://A.test:80",
            "http://a.test/",
            " a",
            "A",
            "e\u{301}"
        ])
        .prop_map(Value::from),
        prop::sample::select(vec![
            "1.0",
            "1",
            "0",
            "0.1",
            "0.10000000001",
            "1769846400",
            "1769846400000",
            "9007199254740993",
            "1e400",
            "-0.0"
        ])
        .prop_map(raw),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec(("[a-d/~]{0,2}", inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A number with this value, as far as `serde_json` holds it.
fn raw(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

fn verdicts(l: &Value, s: &Value, settings: &RuleSettings) -> Comparison {
    let pair = pair(&l.to_string(), &s.to_string());
    compare(&pair.legacy, &pair.sync, &Rules::compile(settings).unwrap())
}

fn plain() -> RuleSettings {
    RuleSettings::default()
}

proptest! {
    #[test]
    fn a_value_matches_itself(value in json_value(), settings in any_rules()) {
        prop_assert_eq!(verdicts(&value, &value, &settings).verdict, Verdict::Match);
    }

    #[test]
    fn swapping_the_sides_swaps_the_places(l in json_value(), s in json_value(), settings in even_rules()) {
        let (one, other) = (verdicts(&l, &s, &settings), verdicts(&s, &l, &settings));
        let places = |c: &Comparison| -> BTreeSet<_> {
            c.differences.iter().map(|d| (d.legacy_at.clone(), d.sync_at.clone())).collect()
        };
        let swapped = places(&other).into_iter().map(|(l, s)| (s, l)).collect();
        prop_assert_eq!(places(&one), swapped);
        prop_assert_eq!(one.rules, other.rules);
    }

    /// Which of two ids is told as the odd one depends on which was seen first; whether there is one does not.
    #[test]
    fn bound_ids_agree_or_not_from_either_side(l in json_value(), s in json_value(), even in even_rules(), paths in any_paths()) {
        let settings = RuleSettings { bind: if paths.is_empty() { vec![] } else { vec![paths] }, ..even };
        let agree = |l, s| verdicts(l, s, &settings).differences.is_empty();
        prop_assert_eq!(agree(&l, &s), agree(&s, &l));
    }

    /// A rule may hide a difference, and never makes one where there is none without it.
    #[test]
    fn rules_make_no_difference_of_their_own(value in json_value(), settings in any_rules(), even in even_rules()) {
        for settings in [settings, even] {
            let comparison = verdicts(&value, &value, &settings);
            prop_assert!(comparison.differences.is_empty());
            let hidden: u64 = comparison.rules.iter().map(|hits| hits.hidden).sum();
            // Of a set, what is repeated is paired once, and that is counted.
            prop_assert!(hidden == 0 || settings.arrays.iter().any(|rule| rule.order == Some(ArrayOrder::Set)));
        }
    }

    #[test]
    fn no_difference_means_equal_values(l in json_value(), s in json_value()) {
        prop_assert_eq!(verdicts(&l, &s, &plain()).verdict == Verdict::Match, equal(&l, &s));
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        l in prop::collection::vec(any::<u8>(), 0..60),
        s in "[\\[\\]{}\",:0-9eE.truefalsn -]{0,60}",
        settings in any_rules(),
    ) {
        let rules = Rules::compile(&settings).unwrap();
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
        let all = verdicts(&l, &s, &plain());
        // Elements of reordered or aligned arrays have no place of their own: by position only.
        let by_position = |c: &Comparison| c.differences.iter().all(|d| {
            d.shape.kind != Kind::Order && (d.legacy_at.is_none() || d.sync_at.is_none() || d.legacy_at == d.sync_at)
        });
        prop_assume!(!all.differences.is_empty() && by_position(&all) && !has_unequal_lengths(&l, &s));
        let chosen = all.differences[pick.index(all.differences.len())].at().unwrap().to_string();
        prop_assume!(!chosen.is_empty());
        let settings = RuleSettings { ignore: vec![normalized(&chosen, &l, &s)], ..plain() };
        let rest = verdicts(&l, &s, &settings);
        prop_assume!(by_position(&rest));
        let places = |c: &Comparison| -> BTreeSet<String> {
            c.differences.iter().map(|d| d.at().unwrap().to_string()).collect()
        };
        let expected: BTreeSet<_> = places(&all).into_iter().filter(|at| *at != chosen).collect();
        prop_assert_eq!(places(&rest), expected);
        prop_assert_eq!(rest.rules[0].hidden, 1);
    }
}

/// Paths that fit the arbitrary values above, broad ones too.
fn any_path() -> impl Strategy<Value = String> {
    let paths = ["$", "$..*", "$..a", "$..b", "$[0]", "$[*].a", "$.a[*]", "$.b", "$[*]", "$.a.b"];
    prop::sample::select(paths.to_vec()).prop_map(str::to_owned)
}

fn any_paths() -> impl Strategy<Value = Vec<String>> {
    prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(any_path(), 1..3)]
}

fn any_array() -> impl Strategy<Value = ArrayRuleSettings> {
    let order =
        prop::sample::select(vec![ArrayOrder::Position, ArrayOrder::Set, ArrayOrder::Multiset]);
    (any_path(), any::<bool>(), any::<Option<bool>>(), order).prop_map(
        |(path, keyed, ordered, as_)| {
            if keyed {
                ArrayRuleSettings { path, by: Some("a".to_owned()), ordered, order: None }
            } else {
                ArrayRuleSettings { path, order: Some(as_), ..ArrayRuleSettings::default() }
            }
        },
    )
}

fn any_number() -> impl Strategy<Value = NumberRuleSettings> {
    (any_path(), 0..3, 1e-9_f64..0.9, 1_u64..1_000).prop_map(|(path, kind, bound, ulp)| {
        NumberRuleSettings {
            path,
            abs: (kind == 0).then_some(bound * 1e9),
            rel: (kind == 1).then_some(bound),
            ulp: (kind == 2).then_some(ulp),
        }
    })
}

fn any_string() -> impl Strategy<Value = StringRuleSettings> {
    use StringForm::{FoldCase, Nfc, Trim, Url};
    let forms = prop::sample::subsequence(vec![Nfc, Trim, FoldCase, Url], 1..=4);
    let mask = prop::sample::subsequence(vec!["[0-9]+".to_owned(), "^a*".to_owned()], 0..=2);
    (any_path(), forms, mask).prop_map(|(path, normalise, mask)| StringRuleSettings {
        path,
        normalise,
        mask,
    })
}

fn any_time() -> impl Strategy<Value = TimeRuleSettings> {
    let unit = prop::sample::select(vec![TimeUnit::Iso, TimeUnit::S, TimeUnit::Ms]);
    (any_path(), 0_u64..100_000, unit).prop_map(|(path, within_ms, unit)| TimeRuleSettings {
        path,
        within_ms,
        unit,
    })
}

fn few<S: Strategy>(one: S) -> impl Strategy<Value = Vec<S::Value>>
where
    S::Value: Clone,
{
    prop_oneof![Just(Vec::new()), prop::collection::vec(one, 1..3)]
}

/// Rules that say the same of both sides.
fn even_rules() -> impl Strategy<Value = RuleSettings> {
    let plain = (any_paths(), any_paths(), any_paths(), any_paths());
    let others = (few(any_array()), few(any_number()), few(any_string()), few(any_time()));
    (plain, others).prop_map(
        |((ignore, null, sql_bool, strict), (arrays, numbers, strings, times))| RuleSettings {
            ignore: ignore.into_iter().filter(|path| path != "$").collect(),
            null_eq_missing: null,
            sql_bool,
            strict,
            arrays,
            numbers,
            strings,
            times,
            ..RuleSettings::default()
        },
    )
}

/// Any rules at all.
fn any_rules() -> impl Strategy<Value = RuleSettings> {
    let bind = few(prop::collection::vec(any_path(), 1..3));
    (even_rules(), any_paths(), bind, any_paths()).prop_map(|(even, allow_added, bind, clear)| {
        RuleSettings { allow_added, bind, clear, ..even }
    })
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
        (Value::String(l), Value::String(s)) => {
            let instant = |text: &str| chrono::DateTime::parse_from_rfc3339(text).ok();
            // SQLite's spelling says no offset: only a rule makes a time of it.
            let instants =
                instant(l).zip(instant(s)).filter(|_| l.contains('T') && s.contains('T'));
            l == s || instants.is_some_and(|(l, s)| l == s)
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

use super::*;

fn settings(text: &str) -> RuleSettings {
    toml::from_str(text).unwrap()
}

#[test]
fn settings_are_read_and_unknown_keys_refused() {
    let read = settings(
        "ignore = ['$.data[*].updatedAt']\narrays = [{ path = '$.data', by = 'id' }, { path = '$..tags', as = 'set' }]",
    );
    assert_eq!(read.headers, ["content-type"]);
    assert_eq!(read.arrays[1].order, Some(ArrayOrder::Set));
    assert!(Rules::compile(&read).is_ok());
    assert!(toml::from_str::<RuleSettings>("ignored = []").is_err());
    assert!(toml::from_str::<RuleSettings>("arrays = [{ path = '$', key = 'id' }]").is_err());
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_remedy() {
    for (text, message) in [
        (
            "ignore = ['$.a', 'data.*']",
            "`ignore[1]`: is no JSONPath (RFC 9535), position 1 of `data.*`",
        ),
        ("null_eq_missing = ['$.a[']", "`null_eq_missing[0]`: is no JSONPath"),
        ("ignore = ['$']", "`ignore[0]`: `$` would ignore every difference"),
        ("headers = ['content type']", "`headers[0]`: `content type` is no header's name"),
        ("headers = ['etag', 'Date']", "`headers[1]`: `date` differs between any two answers"),
        ("arrays = [{ path = '$.data' }]", "`arrays[0]`: needs either `by`"),
        ("arrays = [{ path = '$', by = 'id', as = 'set' }]", "not both"),
        ("arrays = [{ path = '$', as = 'set', ordered = false }]", "`arrays[0]`: needs"),
        ("arrays = [{ path = 'x', as = 'set' }]", "`arrays[0].path`: is no JSONPath"),
        ("numbers = [{ path = '$' }]", "`numbers[0]`: needs one of `abs`, `rel` and `ulp`"),
        ("numbers = [{ path = '$', abs = 1.0, ulp = 1 }]", "`numbers[0]`: needs one of"),
        ("numbers = [{ path = '$', abs = 0.0 }]", "`numbers[0].abs`: must be over 0"),
        ("numbers = [{ path = '$', abs = inf }]", "`numbers[0].abs`: must be over 0"),
        ("numbers = [{ path = '$', rel = 1.0 }]", "`numbers[0].rel`: must be over 0 and under 1"),
        ("numbers = [{ path = '$', rel = nan }]", "`numbers[0].rel`: must be over 0 and under 1"),
        ("numbers = [{ path = '$', ulp = 0 }]", "`numbers[0].ulp`: must be from 1 to 1048576"),
        ("strings = [{ path = '$' }]", "`strings[0]`: needs `as` or `mask`"),
        ("strings = [{ path = '$', mask = ['a', '('] }]", "`strings[0].mask[1]`: is no regular"),
        ("strings = [{ path = '$', mask = ['\\w{999}{99}'] }]", "`strings[0].mask[0]`: is no"),
        ("times = [{ path = '$', within_ms = 86400001 }]", "`times[0].within_ms`: must be at most"),
        ("bind = [['$.id'], []]", "`bind[1]`: is empty: name the places"),
        ("bind = [['$.id', 'id']]", "`bind[0][1]`: is no JSONPath"),
    ] {
        let error = Rules::compile(&settings(text)).unwrap_err().to_string();
        assert!(error.contains(message), "{message:?} is not in {error:?}");
    }
    let all = Rules::problems(&settings("ignore = ['a', 'b']\nheaders = ['c c']"));
    assert_eq!(all.len(), 3, "{all:?}");
}

#[test]
fn a_list_and_all_lists_are_bounded_and_one_too_many_is_told_once() {
    let paths = |count: usize| vec!["$.a".to_owned(); count];
    let list = RuleSettings { strict: paths(1_005), ..RuleSettings::default() };
    let problems = Rules::problems(&list);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].to_string().starts_with("`strict[1000]`: is one too many"));
    let bind = vec![paths(6_000), paths(6_000)];
    let problems = Rules::problems(&RuleSettings { bind, ..RuleSettings::default() });
    assert_eq!(problems.len(), 1);
    assert!(problems[0].to_string().starts_with("`bind[1][4000]`: is one too many"));
}

#[test]
fn marks_what_the_paths_locate() {
    let rules = Rules::compile(&settings(
        "ignore = ['$.data[*].at', '$..at']\narrays = [{ path = '$.data', by = 'id' }]\nclear = ['$.n']",
    ))
    .unwrap();
    let names: Vec<_> = rules.names().collect();
    assert_eq!(names, ["$.data[*].at", "$..at", "arrays $.data"]);
    let mut document =
        Document::parse(br#"{"data":[{"at":1},{"at":2}],"at":3,"n":1e999}"#).unwrap();
    let marked = rules.locate(&mut document);
    assert_eq!(marked.located, [2, 3, 1, 1]);
    assert_eq!((marked.covered, marked.values), (vec![2, 1, 0, 0], 4));
    let marks = |pointer: &str| document.at(pointer).unwrap().marks;
    assert_eq!(marks("/data/1/at").get(Slot::Ignore), RuleId::at(0));
    assert_eq!(marks("/at").get(Slot::Ignore), RuleId::at(1));
    assert_eq!(marks("/data").get(Slot::Array), RuleId::at(3));
    assert!(marks("/n").is_clear());
    assert_eq!(marks("/data/0"), Marks::default());
}

#[test]
fn the_last_rule_that_fits_wins() {
    let rules = Rules::compile(&settings(
        "numbers = [{ path = '$.*', abs = 5.0 }, { path = '$.price', abs = 0.5 }]",
    ))
    .unwrap();
    let mut document = Document::parse(br#"{"price":1,"count":1}"#).unwrap();
    rules.mark(&mut document);
    let rule = |pointer: &str| document.at(pointer).unwrap().marks.get(Slot::Number);
    assert_eq!((rule("/price"), rule("/count")), (RuleId::at(1), RuleId::at(0)));
}

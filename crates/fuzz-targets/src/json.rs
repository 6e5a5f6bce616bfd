//! Reading and writing JSON, against another JSON library.

use mergeable_store::{Cell, Hlc, Json, Text, hash_stamp, hash_text};
use serde_json::Value;

/// Reading accepts what JSON is and nothing else; writing what was read and reading it again gives the same.
///
/// The oracle for what is JSON is `serde_json`, which differs in three known ways: it refuses lone surrogates, numbers beyond
/// an `f64` and more than 128 levels.
pub fn json(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    hlc(text);
    cell(text);
    match (Json::parse(text), serde_json::from_str::<Value>(text)) {
        (Ok(ours), theirs) => {
            match theirs {
                Ok(theirs) => assert!(same(&ours, &theirs), "{ours:?} is not {theirs:?}"),
                Err(error) => assert!(only_ours(&error), "read {text:?} in spite of {error}"),
            }
            round_trip(&ours);
        }
        (Err(error), Ok(_)) => panic!("refused {text:?}: {error}"),
        (Err(_), Err(_)) => {}
    }
}

fn only_ours(error: &serde_json::Error) -> bool {
    let error = error.to_string();
    [
        "lone leading surrogate",
        "unexpected end of hex escape",
        "number out of range",
        "recursion limit exceeded",
    ]
    .iter()
    .any(|known| error.starts_with(known))
}

fn same(ours: &Json, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Json::Null, Value::Null) => true,
        (Json::Bool(one), Value::Bool(two)) => one == two,
        (Json::Number(one), Value::Number(two)) => {
            two.as_f64().is_some_and(|two| one.to_bits() == two.to_bits())
        }
        (Json::String(one), Value::String(two)) => one == two.as_str(),
        (Json::Array(one), Value::Array(two)) => {
            one.len() == two.len() && one.iter().zip(two).all(|(one, two)| same(one, two))
        }
        (Json::Object(one), Value::Object(two)) => {
            let mut keys: Vec<&String> = two.keys().collect();
            // JavaScript's order: array indices ascending, then as they came.
            keys.sort_by_key(|key| array_index(key).unwrap_or(u64::MAX));
            one.len() == two.len()
                && one
                    .iter()
                    .zip(keys)
                    .all(|((key, one), other)| key == other.as_str() && same(one, &two[other]))
        }
        _ => false,
    }
}

/// An integer below 2^32 - 1 written as JavaScript writes it.
fn array_index(key: &str) -> Option<u64> {
    let number: u64 = key.parse().ok()?;
    (number < u64::from(u32::MAX) && number.to_string() == key).then_some(number)
}

fn round_trip(json: &Json) {
    let written = json.stringify();
    let again = Json::parse(&written).expect("what was written is JSON");
    assert_eq!(again, as_written(json), "written as {written}");
    assert_eq!(again.stringify(), written);
}

/// What `JSON.stringify` keeps: numbers beyond an `f64` become null. Strings have to survive as UTF-16 too.
fn as_written(json: &Json) -> Json {
    match json {
        Json::Number(number) if !number.is_finite() => Json::Null,
        Json::Array(items) => Json::Array(items.iter().map(as_written).collect()),
        Json::Object(entries) => Json::Object(
            entries.iter().map(|(key, value)| (utf16(key), as_written(value))).collect(),
        ),
        Json::String(text) => Json::String(utf16(text)),
        other => other.clone(),
    }
}

fn utf16(text: &Text) -> Text {
    Text::from_utf16(&text.to_utf16())
}

fn hlc(text: &str) {
    if let Ok(hlc) = text.parse::<Hlc>() {
        assert_eq!(hlc.to_string(), text);
    }
}

/// A cell's encoded form is a fixed point, and its hash that of the text.
fn cell(text: &str) {
    let Ok(cell) = Cell::from_encoded(text) else {
        return;
    };
    let encoded = cell.encoded();
    assert_eq!(Cell::from_encoded(&encoded).as_ref(), Ok(&cell));
    assert_eq!(hash_stamp(Some(&cell), Hlc::EMPTY), hash_text(format!("{encoded}:")));
}

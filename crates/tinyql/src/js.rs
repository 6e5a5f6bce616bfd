//! JavaScript's operators, as far as TinyBase uses them on cells.

use std::cmp::Ordering;

use mergeable_store::{AsText, Cell, CellRef, Json, Text};

/// Whether TinyBase would store a cell: a finite number, or a string without a meaning of its own.
pub(crate) fn is_storable(cell: &Cell) -> bool {
    match cell {
        Cell::Number(number) => number.is_finite(),
        Cell::String(text) => {
            *text != "\u{FFFC}" && !text.as_wtf8().starts_with("\u{FFFD}".as_bytes())
        }
        Cell::Bool(_) | Cell::Null | Cell::Json(_) | Cell::RawJson(_) => true,
    }
}

/// `a === b`, where an object or array is never the same as another.
pub(crate) fn strictly_equal(a: Option<&Cell>, b: Option<&Cell>) -> bool {
    match (a, b) {
        (Some(Cell::Json(_) | Cell::RawJson(_)), _) => false,
        (a, b) => a == b,
    }
}

/// `a == b` where b is a number.
pub(crate) fn loosely_equals_number(a: &Cell, b: f64) -> bool {
    !matches!(a, Cell::Null) && to_number(a) == b
}

/// `String(cell)`.
pub(crate) fn to_text(cell: &Cell) -> Text {
    match cell {
        Cell::String(text) => text.clone(),
        Cell::Number(number) => number_text(*number).into(),
        Cell::Bool(true) => "true".into(),
        Cell::Bool(false) => "false".into(),
        Cell::Null => "null".into(),
        Cell::Json(text) | Cell::RawJson(text) => match Json::parse(&text.to_string_lossy()) {
            Ok(json) => json_text(&json),
            // Not JSON: TinyBase's clients fail here; a string that nothing else equals is as good.
            Err(_) => text.clone(),
        },
    }
}

/// What `String(value)` gives of an object or array.
fn json_text(json: &Json) -> Text {
    match json {
        Json::Object(_) => "[object Object]".into(),
        Json::Array(items) => {
            let mut units = Vec::new();
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    units.push(u16::from(b','));
                }
                if *item != Json::Null {
                    units.extend(json_text(item).to_utf16());
                }
            }
            Text::from_utf16(&units)
        }
        Json::Null => "null".into(),
        Json::Bool(truth) => to_text(&Cell::Bool(*truth)),
        Json::Number(number) => number_text(*number).into(),
        Json::String(text) => text.clone(),
    }
}

fn number_text(number: f64) -> String {
    ryu_js::Buffer::new().format(number).to_owned()
}

/// `Number(cell)`; not a number is NaN.
pub(crate) fn to_number(cell: &Cell) -> f64 {
    match cell {
        Cell::Number(number) => *number,
        Cell::Bool(truth) => f64::from(u8::from(*truth)),
        Cell::Null => 0.0,
        Cell::String(text) => text_number(text),
        Cell::Json(_) | Cell::RawJson(_) => text_number(&to_text(cell)),
    }
}

/// `Number(string)`.
pub(crate) fn text_number(text: &Text) -> f64 {
    let Some(text) = text.as_str() else { return f64::NAN };
    let text = text.trim_matches(is_js_space);
    let radix = |digits: &str, radix| {
        let all = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
        let value = |value: f64, digit: char| {
            value * f64::from(radix) + f64::from(digit.to_digit(radix).unwrap_or(0))
        };
        // Beyond 2^53 this rounds at each digit, JavaScript once; ids and prices are not written so.
        if all { digits.chars().fold(0.0, value) } else { f64::NAN }
    };
    match text.get(..2) {
        Some("0x" | "0X") => return radix(&text[2..], 16),
        Some("0o" | "0O") => return radix(&text[2..], 8),
        Some("0b" | "0B") => return radix(&text[2..], 2),
        _ => {}
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    match unsigned {
        "" if text.is_empty() => 0.0,
        "Infinity" => text.strip_prefix('-').map_or(f64::INFINITY, |_| f64::NEG_INFINITY),
        // Rust also reads `inf` and `nan`, JavaScript does not.
        _ if unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.') => {
            text.parse().unwrap_or(f64::NAN)
        }
        _ => f64::NAN,
    }
}

fn is_js_space(char: char) -> bool {
    char == '\u{FEFF}' || (char.is_whitespace() && char != '\u{85}')
}

/// `a + b`: text is joined, all else added.
pub(crate) fn add(a: &Cell, b: &Cell) -> Cell {
    let is_text = |cell: &Cell| matches!(cell, Cell::String(_) | Cell::Json(_) | Cell::RawJson(_));
    if is_text(a) || is_text(b) {
        let mut units = to_text(a).to_utf16();
        units.extend(to_text(b).to_utf16());
        Cell::String(Text::from_utf16(&units))
    } else {
        Cell::Number(to_number(a) + to_number(b))
    }
}

/// `a - b`.
pub(crate) fn subtract(a: &Cell, b: &Cell) -> Cell {
    Cell::Number(to_number(a) - to_number(b))
}

/// Strings by UTF-16 units, as JavaScript's `<`.
pub(crate) fn compare_text(a: &Text, b: &Text) -> Ordering {
    let (one, two) = (a.as_wtf8(), b.as_wtf8());
    let differ = one.iter().zip(two).position(|(one, two)| one != two);
    match differ.map(|at| (one[at], two[at])) {
        None => one.len().cmp(&two.len()),
        // Only beyond U+FFFF, whose units are surrogates, is the order of units not that of bytes.
        Some((one, two)) if one.max(two) < 0xF0 || one.min(two) < 0xED => one.cmp(&two),
        Some(_) => a.to_utf16().cmp(&b.to_utf16()),
    }
}

/// `a < b` on keys of a sort.
pub(crate) fn is_less(a: &SortKey, b: &SortKey) -> bool {
    match (a, b) {
        (SortKey::Number(a), SortKey::Number(b)) => a < b,
        (SortKey::Text(a), SortKey::Text(b)) => compare_text(a, b).is_lt(),
        (SortKey::Number(a), SortKey::Text(b)) => *a < text_number(b),
        (SortKey::Text(a), SortKey::Number(b)) => text_number(a) < *b,
    }
}

/// What a row is sorted by: a primitive, as `<` sees a cell.
#[derive(Clone, Debug)]
pub(crate) enum SortKey {
    /// Numbers, booleans, null and what is missing.
    Number(f64),
    /// Strings, objects and arrays.
    Text(Text),
}

impl SortKey {
    pub(crate) fn of(cell: Option<CellRef<'_>>) -> Self {
        match cell {
            None | Some(CellRef::Null) => Self::Number(0.0),
            Some(CellRef::Number(number)) => Self::Number(number),
            Some(CellRef::Bool(truth)) => Self::Number(f64::from(u8::from(truth))),
            Some(CellRef::String(text)) => Self::Text(text.to_text()),
            Some(json @ (CellRef::Json(_) | CellRef::RawJson(_))) => {
                Self::Text(to_text(&json.to_cell()))
            }
        }
    }
}

/// A total order: `<` where both are of a kind, and numbers before text, which only JavaScript can compare.
impl Ord for SortKey {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
            (Self::Text(a), Self::Text(b)) => compare_text(a, b),
            (Self::Number(_), Self::Text(_)) => Ordering::Less,
            (Self::Text(_), Self::Number(_)) => Ordering::Greater,
        }
    }
}

impl PartialOrd for SortKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for SortKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for SortKey {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_reads_as_a_number_as_in_javascript() {
        for (text, number) in [
            ("", 0.0),
            (" 12 ", 12.0),
            ("0x1F", 31.0),
            ("1e3", 1000.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("-Infinity", f64::NEG_INFINITY),
            ("+7", 7.0),
            ("\u{FEFF}3\n", 3.0),
        ] {
            assert_eq!(text_number(&text.into()), number, "{text:?}");
        }
        for text in ["a", "1a", "inf", "nan", "NaN", "-0x1", "0x", "1_0", "+", "--1", "1 2"] {
            assert!(text_number(&text.into()).is_nan(), "{text:?}");
        }
    }

    #[test]
    fn objects_and_arrays_become_text_as_in_javascript() {
        let text = |json: &str| to_text(&Cell::Json(json.into()));
        assert_eq!(text(r#"{"a":1}"#), "[object Object]");
        assert_eq!(text(r#"[1,"x",null,[2,[3]],{},true]"#), "1,x,,2,3,[object Object],true");
        assert_eq!(text("[]"), "");
        assert_eq!(to_text(&Cell::Number(1e21)), "1e+21");
    }

    #[test]
    fn sums_are_javascripts() {
        assert_eq!(add(&Cell::Number(0.0), &"a".into()), Cell::from("0a"));
        assert_eq!(add(&Cell::Null, &Cell::Bool(true)), Cell::Number(1.0));
        assert!(!loosely_equals_number(&Cell::Null, 0.0));
        assert!(loosely_equals_number(&"5".into(), 5.0));
    }

    proptest! {
        #[test]
        fn text_compares_by_units(
            a in prop::collection::vec(prop_oneof![any::<u16>(), 0xD7F0..0xE010_u16], 0..4),
            b in prop::collection::vec(prop_oneof![any::<u16>(), 0xD7F0..0xE010_u16], 0..4),
        ) {
            let (one, two) = (Text::from_utf16(&a), Text::from_utf16(&b));
            prop_assert_eq!(compare_text(&one, &two), a.cmp(&b));
        }
    }
}

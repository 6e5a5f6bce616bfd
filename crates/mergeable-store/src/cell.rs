//! What a cell or a value holds.

use crate::hash::{Fnv, Sink};
use crate::json::{self, Json};
use crate::{AsText as _, Hlc, Text, TextRef};

/// U+FFFC: stands for JavaScript's `undefined` on the wire and on disk.
pub(crate) const UNDEFINED: &[u8] = "\u{FFFC}".as_bytes();
/// U+FFFD: in front of the JSON text of an object or array.
pub(crate) const JSON_MARK: &[u8] = "\u{FFFD}".as_bytes();

/// The content of a cell or value.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A string that neither equals U+FFFC nor starts with U+FFFD.
    String(Text),
    /// A finite number.
    Number(f64),
    /// A boolean.
    Bool(bool),
    /// `null`, which is not the same as no cell.
    Null,
    /// An object or array: its JSON text, without the U+FFFD that TinyBase puts before it. The text may come from
    /// another client and then need not be JSON.
    Json(Text),
    /// An object or array that arrived as such, without encoding, from a client that does not encode: its JSON text. Reads
    /// like [`Cell::Json`], but is hashed and sent on as raw JSON, because that is what its writer hashes.
    RawJson(Text),
}

/// A [`Cell`] as it is read from a store, which may keep it in another form: the same content, borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CellRef<'a> {
    /// As [`Cell::String`].
    String(TextRef<'a>),
    /// As [`Cell::Number`].
    Number(f64),
    /// As [`Cell::Bool`].
    Bool(bool),
    /// As [`Cell::Null`].
    Null,
    /// As [`Cell::Json`].
    Json(TextRef<'a>),
    /// As [`Cell::RawJson`].
    RawJson(TextRef<'a>),
}

impl CellRef<'_> {
    /// The cell, owned.
    #[must_use]
    pub fn to_cell(self) -> Cell {
        match self {
            Self::String(text) => Cell::String(text.to_text()),
            Self::Number(number) => Cell::Number(number),
            Self::Bool(bool) => Cell::Bool(bool),
            Self::Null => Cell::Null,
            Self::Json(text) => Cell::Json(text.to_text()),
            Self::RawJson(text) => Cell::RawJson(text.to_text()),
        }
    }

    /// The cell as a JSON value, as [`Cell::to_json`].
    #[must_use]
    pub fn to_json(self) -> serde_json::Value {
        match self {
            Self::String(text) => text.to_string_lossy().into(),
            Self::Number(number) => number_to_serde(number),
            Self::Bool(bool) => bool.into(),
            Self::Null => serde_json::Value::Null,
            Self::Json(text) | Self::RawJson(text) => match Json::parse_wtf8(text.as_wtf8()) {
                Ok(json) => to_serde(&json),
                Err(_) => format!("\u{FFFD}{text}").into(),
            },
        }
    }

    /// Whether a reader sees the same content, however it was encoded.
    #[must_use]
    pub fn reads_like(self, other: CellRef<'_>) -> bool {
        match (self, other) {
            (
                CellRef::Json(one) | CellRef::RawJson(one),
                CellRef::Json(two) | CellRef::RawJson(two),
            ) => one == two,
            _ => self == other,
        }
    }

    pub(crate) fn write(self, out: &mut impl Sink) {
        match self {
            Self::String(text) => json::write_string(text.as_wtf8(), out),
            Self::Number(number) => json::write_number(number, out),
            Self::Bool(true) => out.push(b"true"),
            Self::Bool(false) => out.push(b"false"),
            Self::Null => out.push(b"null"),
            Self::Json(text) => {
                out.push(b"\"");
                out.push(JSON_MARK);
                json::write_escaped(text.as_wtf8(), out);
                out.push(b"\"");
            }
            // The text came from this crate's own writer, which escapes surrogates: it is UTF-8.
            Self::RawJson(text) => out.push(text.as_wtf8()),
        }
    }
}

impl PartialEq<Cell> for CellRef<'_> {
    fn eq(&self, other: &Cell) -> bool {
        *self == other.view()
    }
}

impl PartialEq<CellRef<'_>> for Cell {
    fn eq(&self, other: &CellRef<'_>) -> bool {
        self.view() == *other
    }
}

/// Why something cannot be a cell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CellError {
    /// Such strings have a meaning of their own in TinyBase's encoding.
    #[error(
        "a string that is U+FFFC or starts with U+FFFD cannot be stored; change its first character"
    )]
    Reserved,
    /// JSON has no such numbers.
    #[error("a number must be finite")]
    NotFinite,
    /// The encoded text is not JSON.
    #[error("an encoded cell must be JSON text: {0}")]
    NotJson(#[from] json::JsonError),
    /// U+FFFC stands for a deleted cell.
    #[error("U+FFFC stands for a deleted cell, which has no content")]
    Undefined,
}

impl Cell {
    /// The cell that a JSON value becomes. Objects keep their key order, array indices first, as JavaScript does.
    ///
    /// # Errors
    /// Reserved strings are refused, as TinyBase's `setCell` does.
    pub fn from_json(value: &serde_json::Value) -> Result<Self, CellError> {
        use serde_json::Value;
        let cell = match value {
            Value::Null => Self::Null,
            Value::Bool(bool) => Self::Bool(*bool),
            Value::Number(number) => Self::Number(number.as_f64().unwrap_or(f64::INFINITY)),
            Value::String(text) => Self::String(text.as_str().into()),
            Value::Array(_) | Value::Object(_) => Self::Json(from_serde(value).stringify().into()),
        };
        cell.check()?;
        Ok(cell)
    }

    /// The cell as a JSON value. Lone surrogates become U+FFFD; a [`Cell::Json`] whose text is not JSON becomes the
    /// encoded string itself.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        self.view().to_json()
    }

    /// The cell as it would be read from a store.
    #[must_use]
    pub fn view(&self) -> CellRef<'_> {
        match self {
            Self::String(text) => CellRef::String(text.view()),
            Self::Number(number) => CellRef::Number(*number),
            Self::Bool(bool) => CellRef::Bool(*bool),
            Self::Null => CellRef::Null,
            Self::Json(text) => CellRef::Json(text.view()),
            Self::RawJson(text) => CellRef::RawJson(text.view()),
        }
    }

    /// The JSON text by which the cell is sent, hashed and saved.
    #[must_use]
    pub fn encoded(&self) -> String {
        let mut out = Vec::new();
        self.write(&mut out);
        json::into_string(out)
    }

    /// The cell of this JSON text: the inverse of [`Cell::encoded`].
    ///
    /// # Errors
    /// Text that is not JSON, U+FFFC (a deleted cell) and numbers beyond the range of an `f64`.
    pub fn from_encoded(text: &str) -> Result<Self, CellError> {
        Self::from_wire(&Json::parse(text)?)?.ok_or(CellError::Undefined)
    }

    /// The cell of a value as received; `None` for U+FFFC, a deleted cell.
    pub(crate) fn from_wire(value: &Json) -> Result<Option<Self>, CellError> {
        Ok(Some(match value {
            Json::Null => Self::Null,
            Json::Bool(bool) => Self::Bool(*bool),
            Json::Number(number) if number.is_finite() => Self::Number(*number),
            Json::Number(_) => return Err(CellError::NotFinite),
            Json::String(text) if text.as_wtf8() == UNDEFINED => return Ok(None),
            Json::String(text) => match text.as_wtf8().strip_prefix(JSON_MARK) {
                Some(json) => Self::Json(Text::from_wtf8(json)),
                None => Self::String(text.clone()),
            },
            Json::Array(_) | Json::Object(_) => {
                Self::RawJson(without_undefined(value).stringify().into())
            }
        }))
    }

    /// Whether TinyBase would store this.
    pub(crate) fn check(&self) -> Result<(), CellError> {
        match self {
            Self::String(text)
                if text.as_wtf8() == UNDEFINED || text.as_wtf8().starts_with(JSON_MARK) =>
            {
                Err(CellError::Reserved)
            }
            Self::Number(number) if !number.is_finite() => Err(CellError::NotFinite),
            _ => Ok(()),
        }
    }

    /// Whether a reader sees the same content, however it was encoded.
    #[must_use]
    pub fn reads_like(&self, other: &Self) -> bool {
        self.view().reads_like(other.view())
    }

    pub(crate) fn write(&self, out: &mut impl Sink) {
        self.view().write(out);
    }
}

/// Writes a cell, or U+FFFC for a deleted one.
pub(crate) fn write_thing(thing: Option<CellRef<'_>>, out: &mut impl Sink) {
    match thing {
        Some(cell) => cell.write(out),
        None => {
            out.push(b"\"");
            out.push(UNDEFINED);
            out.push(b"\"");
        }
    }
}

/// The hash of a cell's or value's stamp: of its JSON text, `:` and HLC. A deleted one hashes as `null`.
#[must_use]
pub fn hash_stamp(thing: Option<&Cell>, hlc: Hlc) -> u32 {
    stamp_hash(thing.map(Cell::view), hlc)
}

/// As [`hash_stamp`], of a cell that is borrowed.
pub(crate) fn stamp_hash(thing: Option<CellRef<'_>>, hlc: Hlc) -> u32 {
    let mut fnv = Fnv::START;
    match thing {
        Some(cell) => cell.write(&mut fnv),
        None => fnv.push(b"null"),
    }
    fnv.push(b":");
    hlc.write(&mut fnv);
    fnv.get()
}

/// TinyBase reads U+FFFC as undefined however deep it stands, and writes an object's text without its undefined entries and
/// with null for the undefined items of an array.
fn without_undefined(value: &Json) -> Json {
    let is_undefined =
        |value: &Json| matches!(value, Json::String(text) if text.as_wtf8() == UNDEFINED);
    match value {
        Json::Array(items) => {
            let null = |item| if is_undefined(item) { Json::Null } else { without_undefined(item) };
            Json::Array(items.iter().map(null).collect())
        }
        Json::Object(entries) => {
            let there = entries.iter().filter(|(_, entry)| !is_undefined(entry));
            Json::Object(there.map(|(id, entry)| (id.clone(), without_undefined(entry))).collect())
        }
        other => other.clone(),
    }
}

fn from_serde(value: &serde_json::Value) -> Json {
    use serde_json::Value;
    match value {
        Value::Null => Json::Null,
        Value::Bool(bool) => Json::Bool(*bool),
        Value::Number(number) => Json::Number(number.as_f64().unwrap_or(f64::INFINITY)),
        Value::String(text) => Json::String(text.as_str().into()),
        Value::Array(items) => Json::Array(items.iter().map(from_serde).collect()),
        Value::Object(entries) => {
            let mut entries = entries
                .iter()
                .map(|(key, value)| (key.as_str().into(), from_serde(value)))
                .collect();
            json::sort_js(&mut entries);
            Json::Object(entries)
        }
    }
}

fn to_serde(value: &Json) -> serde_json::Value {
    match value {
        Json::Null => serde_json::Value::Null,
        Json::Bool(bool) => (*bool).into(),
        Json::Number(number) => number_to_serde(*number),
        Json::String(text) => text.to_string_lossy().into(),
        Json::Array(items) => items.iter().map(to_serde).collect(),
        Json::Object(entries) => {
            entries.iter().map(|(key, value)| (key.to_string(), to_serde(value))).collect()
        }
    }
}

/// Whole numbers that an `f64` holds exactly become JSON integers, so that 1 does not read as 1.0.
fn number_to_serde(number: f64) -> serde_json::Value {
    const EXACT: f64 = 9_007_199_254_740_991.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        (number as i64).into()
    } else {
        number.into()
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

impl From<Text> for Cell {
    fn from(text: Text) -> Self {
        Self::String(text)
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<i32> for Cell {
    fn from(number: i32) -> Self {
        Self::Number(number.into())
    }
}

impl From<bool> for Cell {
    fn from(bool: bool) -> Self {
        Self::Bool(bool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_to_cell_and_back() {
        for value in [
            json!(null),
            json!(true),
            json!("é"),
            json!(1),
            json!(-2.5),
            json!({"b": [1, null], "a": {}}),
            json!([]),
        ] {
            assert_eq!(Cell::from_json(&value).unwrap().to_json(), value);
        }
        assert_eq!(
            Cell::from_json(&json!({"b": 1.0, "2": 2, "1": 1})).unwrap().encoded(),
            "\"\u{FFFD}{\\\"1\\\":1,\\\"2\\\":2,\\\"b\\\":1}\""
        );
    }

    #[test]
    fn reserved_strings_and_infinities_are_refused() {
        assert_eq!(Cell::from_json(&json!("\u{FFFC}")), Err(CellError::Reserved));
        assert_eq!(Cell::from_json(&json!("\u{FFFD}x")), Err(CellError::Reserved));
        assert!(Cell::from_json(&json!("x\u{FFFD}")).is_ok());
        assert_eq!(Cell::Number(f64::NAN).check(), Err(CellError::NotFinite));
    }

    #[test]
    fn undefined_inside_an_object_that_is_not_encoded_is_left_out() {
        let json = Json::parse("{\"a\":\"\u{FFFC}\",\"b\":[1,\"\u{FFFC}\",{\"c\":\"\u{FFFC}\"}]}")
            .unwrap();
        let cell = Cell::from_wire(&json).unwrap();
        assert_eq!(cell, Some(Cell::RawJson("{\"b\":[1,null,{}]}".into())));
        let encoded = Json::String("\u{FFFD}{\"a\":\"\u{FFFC}\"}".into());
        let cell = Cell::from_wire(&encoded).unwrap();
        assert_eq!(cell, Some(Cell::Json("{\"a\":\"\u{FFFC}\"}".into())));
    }

    #[test]
    fn a_cell_survives_encoding() {
        for cell in [
            Cell::from("a"),
            Cell::from(1.5),
            Cell::from(false),
            Cell::Null,
            Cell::Json("{\"a\":1}".into()),
            Cell::Json("no json".into()),
            Cell::RawJson("[1]".into()),
            Cell::String(Text::from_utf16(&[0xD800])),
        ] {
            assert_eq!(Cell::from_encoded(&cell.encoded()).unwrap(), cell);
        }
        assert_eq!(Cell::from_encoded("\"\u{FFFC}\""), Err(CellError::Undefined));
        assert_eq!(Cell::Json("no json".into()).to_json(), json!("\u{FFFD}no json"));
    }
}

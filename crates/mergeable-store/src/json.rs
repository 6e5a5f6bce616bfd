//! JSON as JavaScript reads and writes it.
//!
//! Hashes are taken over the exact text of `JSON.stringify`, and ids or cells may hold lone surrogates, which a
//! UTF-8 JSON library refuses; so this reader and writer are the crate's own. Objects keep JavaScript's key order (array
//! indices ascending, then insertion order), and of equal keys the last value at the first one's place.

use indexmap::IndexMap;

use crate::hash::Sink;
use crate::text::{Chunk, Text, chunks, push_char, push_surrogate};

/// How deep arrays and objects may nest in what is read. JavaScript has no limit; a stack has one.
pub const MAX_DEPTH: usize = 256;

/// A JSON value whose strings may hold lone surrogates.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number; infinite where the text's number exceeds the range of an `f64`.
    Number(f64),
    /// A string.
    String(Text),
    /// An array.
    Array(Vec<Json>),
    /// An object in JavaScript's key order.
    Object(IndexMap<Text, Json>),
}

/// The text is not JSON, or nests deeper than [`MAX_DEPTH`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not JSON at byte {at}: {problem}")]
pub struct JsonError {
    /// Byte offset of the problem.
    pub at: usize,
    problem: &'static str,
}

impl Json {
    /// Reads JSON text.
    pub fn parse(text: &str) -> Result<Self, JsonError> {
        Self::parse_wtf8(text.as_bytes())
    }

    pub(crate) fn parse_wtf8(bytes: &[u8]) -> Result<Self, JsonError> {
        let mut reader = Reader { bytes, at: 0 };
        let value = reader.value(0)?;
        reader.space();
        if reader.at == bytes.len() { Ok(value) } else { Err(reader.error("text after the value")) }
    }

    /// The text that `JSON.stringify` gives.
    #[must_use]
    pub fn stringify(&self) -> String {
        let mut out = Vec::new();
        self.write(&mut out);
        into_string(out)
    }

    pub(crate) fn write(&self, out: &mut impl Sink) {
        match self {
            Self::Null => out.push(b"null"),
            Self::Bool(true) => out.push(b"true"),
            Self::Bool(false) => out.push(b"false"),
            Self::Number(number) => write_number(*number, out),
            Self::String(text) => write_string(text.as_wtf8(), out),
            Self::Array(items) => {
                out.push(b"[");
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(b",");
                    }
                    item.write(out);
                }
                out.push(b"]");
            }
            Self::Object(entries) => {
                write_object(entries.iter(), out, |value, out| value.write(out));
            }
        }
    }
}

/// What JSON text was written, as a `String`: the writers put out UTF-8 only.
pub(crate) fn into_string(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Writes an object whose entries are already in the order wanted.
pub(crate) fn write_object<'a, V, S: Sink>(
    entries: impl Iterator<Item = (&'a Text, V)>,
    out: &mut S,
    mut write_value: impl FnMut(V, &mut S),
) {
    out.push(b"{");
    for (at, (key, value)) in entries.enumerate() {
        if at > 0 {
            out.push(b",");
        }
        write_string(key.as_wtf8(), out);
        out.push(b":");
        write_value(value, out);
    }
    out.push(b"}");
}

/// Writes a finite number in JavaScript's shortest form; others are `null`, as `JSON.stringify` has it.
pub(crate) fn write_number(number: f64, out: &mut impl Sink) {
    if number.is_finite() {
        out.push(ryu_js::Buffer::new().format_finite(number).as_bytes());
    } else {
        out.push(b"null");
    }
}

/// Writes a string with its quotes. Control characters and lone surrogates are escaped, all else is raw.
pub(crate) fn write_string(wtf8: &[u8], out: &mut impl Sink) {
    out.push(b"\"");
    write_escaped(wtf8, out);
    out.push(b"\"");
}

/// The inside of a JSON string.
pub(crate) fn write_escaped(wtf8: &[u8], out: &mut impl Sink) {
    for chunk in chunks(wtf8) {
        match chunk {
            Chunk::Surrogate(unit) => write_unit(unit, out),
            Chunk::Utf8(bytes) => write_plain(bytes, out),
        }
    }
}

fn write_plain(bytes: &[u8], out: &mut impl Sink) {
    let mut start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            0x08 => b"\\b",
            b'\t' => b"\\t",
            b'\n' => b"\\n",
            0x0C => b"\\f",
            b'\r' => b"\\r",
            0..=0x1F => b"",
            _ => continue,
        };
        out.push(&bytes[start..at]);
        if escape.is_empty() {
            write_unit(u16::from(*byte), out);
        } else {
            out.push(escape);
        }
        start = at + 1;
    }
    out.push(&bytes[start..]);
}

fn write_unit(unit: u16, out: &mut impl Sink) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let hex = |shift: u32| HEX[usize::from(unit >> shift & 15)];
    out.push(&[b'\\', b'u', hex(12), hex(8), hex(4), hex(0)]);
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn error(&self, problem: &'static str) -> JsonError {
        JsonError { at: self.at, problem }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes `byte` if it comes next.
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, word: &[u8], value: Json) -> Result<Json, JsonError> {
        if self.bytes[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.error("unknown word"))
        }
    }

    fn value(&mut self, depth: usize) -> Result<Json, JsonError> {
        if depth > MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        self.space();
        match self.peek() {
            Some(b'n') => self.word(b"null", Json::Null),
            Some(b't') => self.word(b"true", Json::Bool(true)),
            Some(b'f') => self.word(b"false", Json::Bool(false)),
            Some(b'"') => self.string().map(Json::String),
            Some(b'[') => self.array(depth),
            Some(b'{') => self.object(depth),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => Err(self.error("no value begins like this")),
            None => Err(self.error("the text ends where a value should be")),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, JsonError> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.take(b']') {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.space();
            if self.take(b']') {
                return Ok(Json::Array(items));
            }
            if !self.take(b',') {
                return Err(self.error("expected , or ]"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, JsonError> {
        self.at += 1;
        let mut entries = IndexMap::new();
        self.space();
        if self.take(b'}') {
            return Ok(Json::Object(entries));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.error("expected a key"));
            }
            let key = self.string()?;
            self.space();
            if !self.take(b':') {
                return Err(self.error("expected :"));
            }
            let value = self.value(depth + 1)?;
            entries.insert(key, value);
            self.space();
            if self.take(b'}') {
                sort_js(&mut entries);
                return Ok(Json::Object(entries));
            }
            if !self.take(b',') {
                return Err(self.error("expected , or }"));
            }
        }
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(self.error("expected a digit")) }
    }

    fn number(&mut self) -> Result<Json, JsonError> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        let text = std::str::from_utf8(&self.bytes[start..self.at]).unwrap_or_default();
        text.parse().map(Json::Number).map_err(|_| self.error("not a number"))
    }

    fn string(&mut self) -> Result<Text, JsonError> {
        self.at += 1;
        let start = self.at;
        // Most strings have no escape and are taken as they are.
        loop {
            match self.peek() {
                Some(b'"') => {
                    let text = Text::from_wtf8(&self.bytes[start..self.at]);
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => return self.escaped_string(start),
                Some(0..=0x1F) => return Err(self.error("control character in a string")),
                Some(_) => self.at += 1,
                None => return Err(self.error("the text ends inside a string")),
            }
        }
    }

    fn escaped_string(&mut self, start: usize) -> Result<Text, JsonError> {
        let mut text = self.bytes[start..self.at].to_vec();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Text::from_wtf8(&text));
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape(&mut text)?;
                }
                Some(0..=0x1F) => return Err(self.error("control character in a string")),
                Some(byte) => {
                    text.push(byte);
                    self.at += 1;
                }
                None => return Err(self.error("the text ends inside a string")),
            }
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Result<(), JsonError> {
        let byte = match self.peek() {
            Some(b'u') => {
                self.at += 1;
                return self.unicode_escape(text);
            }
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0C,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            _ => return Err(self.error("unknown escape")),
        };
        self.at += 1;
        text.push(byte);
        Ok(())
    }

    /// After `\u`. Joins an escaped pair; half a pair stays a lone surrogate.
    fn unicode_escape(&mut self, text: &mut Vec<u8>) -> Result<(), JsonError> {
        let unit = self.hex4()?;
        if let 0xD800..=0xDBFF = unit
            && self.bytes[self.at..].starts_with(b"\\u")
        {
            let back = self.at;
            self.at += 2;
            let low = self.hex4()?;
            if let Some(Ok(char)) = char::decode_utf16([unit, low]).next() {
                push_char(text, char);
                return Ok(());
            }
            self.at = back;
        }
        match char::from_u32(u32::from(unit)) {
            Some(char) => push_char(text, char),
            None => push_surrogate(text, unit),
        }
        Ok(())
    }

    fn hex4(&mut self) -> Result<u16, JsonError> {
        let unit = self.bytes.get(self.at..self.at + 4).and_then(|digits| {
            digits.iter().try_fold(0u16, |unit, digit| {
                char::from(*digit).to_digit(16).map(|digit| unit << 4 | digit as u16)
            })
        });
        let unit = unit.ok_or_else(|| self.error("expected four hex digits"))?;
        self.at += 4;
        Ok(unit)
    }
}

/// Puts the keys of an object in JavaScript's order.
pub(crate) fn sort_js<V>(entries: &mut IndexMap<Text, V>) {
    if entries.keys().any(|key| key.array_index().is_some()) {
        entries.sort_by_cached_key(|key, _| js_rank(key));
    }
}

/// Sorts stably into JavaScript's key order.
pub(crate) fn js_rank(key: &Text) -> u64 {
    key.array_index().map_or(u64::MAX, u64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(text: &str) -> String {
        Json::parse(text).unwrap().stringify()
    }

    #[test]
    fn text_is_what_json_stringify_gives() {
        assert_eq!(
            round(" { \"b\" : [ 1.0 , 1E21 , -0 , 1e-7 ] , \"10\":1,\"2\":2, \"01\":3 } "),
            "{\"2\":2,\"10\":1,\"b\":[1,1e+21,0,1e-7],\"01\":3}"
        );
        assert_eq!(
            round("\"\\u0041\\/\\u007f\\u2028\\u001F\\ud83d\\ude00\\ud800x\\udc00\\ud800\""),
            "\"A/\u{7f}\u{2028}\\u001f😀\\ud800x\\udc00\\ud800\""
        );
        assert_eq!(round("{\"a\":1,\"b\":2,\"a\":3}"), "{\"a\":3,\"b\":2}");
    }

    #[test]
    fn what_javascript_refuses_is_refused() {
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\"}",
            "01",
            "1.",
            "+1",
            ".5",
            "1e",
            "nul",
            "'a'",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12\"",
            "1 2",
            "\u{feff}1",
            "{a:1}",
        ] {
            assert!(Json::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(Json::parse(&deep(MAX_DEPTH)).is_ok());
        assert!(Json::parse(&deep(1_000_000)).is_err());
    }
}

//! JSON as JavaScript reads and writes it.
//!
//! Hashes are taken over the exact text of `JSON.stringify`, and ids or cells may hold lone surrogates, which a
//! UTF-8 JSON library refuses; so this reader and writer are the crate's own. Objects keep JavaScript's key order (array
//! indices ascending, then insertion order), and of equal keys the last value at the first one's place.

mod read;

pub(crate) use self::read::Reader;

use indexmap::IndexMap;

use crate::AsText;
use crate::hash::Sink;
use crate::text::{Chunk, Text, array_index, chunks};

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
        read::read(bytes)
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
pub(crate) fn write_object<K: AsText, V, S: Sink>(
    entries: impl Iterator<Item = (K, V)>,
    out: &mut S,
    mut write_value: impl FnMut(V, &mut S),
) {
    out.push(b"{");
    for (at, (key, value)) in entries.enumerate() {
        if at > 0 {
            out.push(b",");
        }
        write_string(key.wtf8(), out);
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

/// Puts the keys of an object in JavaScript's order.
pub(crate) fn sort_js<V>(entries: &mut IndexMap<Text, V>) {
    if entries.keys().any(|key| array_index(key.as_wtf8()).is_some()) {
        entries.sort_by_cached_key(|key, _| js_rank(key));
    }
}

/// Sorts stably into JavaScript's key order.
pub(crate) fn js_rank(key: impl crate::AsText) -> u64 {
    array_index(key.wtf8()).map_or(u64::MAX, u64::from)
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

//! Reading JSON text.

use std::borrow::Cow;

use indexmap::IndexMap;

use super::{Json, JsonError, MAX_DEPTH, sort_js};
use crate::text::{Text, push_char, push_surrogate};

/// Reads one value, and nothing but space around it.
pub(super) fn read(bytes: &[u8]) -> Result<Json, JsonError> {
    let mut reader = Reader::new(bytes);
    let value = reader.value(0)?;
    reader.space();
    if reader.is_done() { Ok(value) } else { Err(reader.error("text after the value")) }
}

/// What ends the plain part of a string: its quote, an escape, and what may not stand there.
const ENDS_PLAIN: [bool; 256] = {
    let (mut ends, mut byte) = ([false; 256], 0);
    while byte < 0x20 {
        ends[byte] = true;
        byte += 1;
    }
    ends[b'"' as usize] = true;
    ends[b'\\' as usize] = true;
    ends
};

/// Reads JSON text from front to back.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Whether nothing is left.
    pub(crate) fn is_done(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn error(&self, problem: &'static str) -> JsonError {
        JsonError { at: self.at, problem }
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(crate) fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes `byte` if it comes next.
    pub(crate) fn take(&mut self, byte: u8) -> bool {
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

    /// Reads a value that is so many arrays and objects deep.
    pub(crate) fn value(&mut self, depth: usize) -> Result<Json, JsonError> {
        if depth > MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        self.space();
        match self.peek() {
            Some(b'n') => self.word(b"null", Json::Null),
            Some(b't') => self.word(b"true", Json::Bool(true)),
            Some(b'f') => self.word(b"false", Json::Bool(false)),
            Some(b'"') => self.text().map(Json::String),
            Some(b'[') => self.array(depth),
            Some(b'{') => self.object(depth),
            Some(b'-' | b'0'..=b'9') => self.number().map(Json::Number),
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
            let key = self.text()?;
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

    /// Reads a number; the next byte begins one.
    pub(crate) fn number(&mut self) -> Result<f64, JsonError> {
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
        text.parse().map_err(|_| self.error("not a number"))
    }

    fn text(&mut self) -> Result<Text, JsonError> {
        Ok(Text::from_wtf8(&self.string()?))
    }

    /// Reads a string as WTF-8; the next byte is its quote. Most strings have no escape and are taken as they are.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, [u8]>, JsonError> {
        self.at += 1;
        let start = self.at;
        let rest = &self.bytes[start..];
        self.at +=
            rest.iter().position(|byte| ENDS_PLAIN[usize::from(*byte)]).unwrap_or(rest.len());
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                Ok(Cow::Borrowed(&self.bytes[start..self.at - 1]))
            }
            Some(b'\\') => self.escaped_string(start).map(Cow::Owned),
            Some(_) => Err(self.error("control character in a string")),
            None => Err(self.error("the text ends inside a string")),
        }
    }

    fn escaped_string(&mut self, start: usize) -> Result<Vec<u8>, JsonError> {
        let mut text = self.bytes[start..self.at].to_vec();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
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

//! Frames: what travels over a socket, parsed strictly and written as TinyBase writes it.
//!
//! This is the single-store ("legacy") form, `<client id>\n<remainder>`. A multiplexed socket wraps exactly such a payload in
//! `M\n<channel>\n`: see [`Channels`](crate::Channels).

use std::borrow::Cow;

use indexmap::IndexMap;

use crate::changes::{StampForm, read_content_diff};
use crate::diff::{CellHashes, RowHashes, TableHashes, ValueHashes};
use crate::fragment::{Fragment, FragmentForm};
use crate::hash::ContentHashes;
use crate::json::{self, Json};
use crate::{Changes, Text};

/// The largest frame taken, in bytes of UTF-8.
pub const MAX_FRAME_BYTES: usize = 16 << 20;

/// A socket has to be closed; nothing more that it sends counts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("close {code} {reason}")]
pub struct Close {
    /// The WebSocket close code.
    pub code: u16,
    /// The close reason.
    pub reason: Cow<'static, str>,
}

impl Close {
    /// A frame that is no valid message.
    pub const INVALID: Self = Self { code: 1007, reason: Cow::Borrowed("tinybase:14") };
    /// A frame over [`MAX_FRAME_BYTES`], in either direction.
    pub const TOO_LARGE: Self = Self { code: 1013, reason: Cow::Borrowed("tinybase:15:socket") };
    /// Too many channels, or too long a channel id.
    pub const CHANNELS: Self = Self { code: 1013, reason: Cow::Borrowed("tinybase:15:channels") };
    /// Too many, or too much, of unfinished fragmented messages.
    pub const FRAGMENTS: Self = Self { code: 1013, reason: Cow::Borrowed("tinybase:15:fragments") };
}

/// A frame as received.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame<'a> {
    /// The client id in front: to whom (at a server; empty: everybody), or from whom (at a client).
    pub client: &'a str,
    /// What follows, as it came.
    pub remainder: &'a str,
    /// What follows, read.
    pub payload: Payload<'a>,
}

/// A message, or a piece of one.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload<'a> {
    /// A whole message.
    Message(Message),
    /// A fragment of one.
    Fragment(Fragment<'a>),
}

/// A message with its request id.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// `None` for null: the answer, if any, goes to null too.
    pub request: Option<Text>,
    pub(crate) body: Body,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body {
    /// Valid as some answer; which one, only the asker knows.
    Response(Json),
    GetContentHashes,
    ContentHashes(ContentHashes),
    /// `None` for the form of two elements, which is relayed but changes no store.
    ContentDiff(Option<Changes>),
    GetTableDiff(TableHashes),
    GetRowDiff(RowHashes),
    GetCellDiff(CellHashes),
    GetValueDiff(ValueHashes),
}

impl<'a> Frame<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// How the socket has to be closed when the frame is too large or not valid.
    pub fn parse(frame: &'a str) -> Result<Self, Close> {
        let split = frame.split_once('\n');
        if frame.len() > MAX_FRAME_BYTES {
            let fragment =
                split.is_some_and(|(_, remainder)| FragmentForm::of(remainder).is_some());
            return Err(if fragment { Close::FRAGMENTS } else { Close::TOO_LARGE });
        }
        let (client, remainder) = split.ok_or(Close::INVALID)?;
        // JSON first: only what is no valid message can be a fragment, whose first line never is JSON of three elements.
        let payload = match Message::parse(remainder) {
            Some(message) => Payload::Message(message),
            None => Payload::Fragment(Fragment::parse(remainder)?),
        };
        Ok(Self { client, remainder, payload })
    }
}

impl Message {
    /// Reads the part of a frame behind the client id; `None` if it is no valid message.
    #[must_use]
    pub fn parse(remainder: &str) -> Option<Self> {
        if let Some((request, changes)) = read_content_diff(remainder) {
            return Some(Self { request, body: Body::ContentDiff(Some(changes)) });
        }
        let Json::Array(parts) = Json::parse(remainder).ok()? else {
            return None;
        };
        let [request, Json::Number(number), body] = <[Json; 3]>::try_from(parts).ok()? else {
            return None;
        };
        let request = match request {
            Json::Null => None,
            Json::String(text) if text != "\u{FFFC}" => Some(text),
            _ => return None,
        };
        Some(Self { request, body: Body::read(number, body)? })
    }
}

impl Body {
    fn read(number: f64, body: Json) -> Option<Self> {
        Some(match number {
            0.0 if is_response(&body) => Self::Response(body),
            1.0 if body == Json::String(Text::default()) => Self::GetContentHashes,
            2.0 => Self::ContentHashes(read_content_hashes(&body)?),
            3.0 => {
                let changes = Changes::read(&body, StampForm::Wire).ok()?;
                let whole = matches!(&body, Json::Array(parts) if parts.len() == 3);
                Self::ContentDiff(whole.then_some(changes))
            }
            4.0 => Self::GetTableDiff(read_map(&body, read_hash)?),
            5.0 => Self::GetRowDiff(read_map(&body, |rows| read_map(rows, read_hash))?),
            6.0 => Self::GetCellDiff(read_map(&body, |rows| {
                read_map(rows, |cells| read_map(cells, read_hash))
            })?),
            7.0 => Self::GetValueDiff(read_map(&body, read_hash)?),
            _ => return None,
        })
    }
}

fn read_map<V>(
    value: &Json,
    mut read: impl FnMut(&Json) -> Option<V>,
) -> Option<IndexMap<Text, V>> {
    let Json::Object(entries) = value else {
        return None;
    };
    entries.iter().map(|(id, value)| Some((id.clone(), read(value)?))).collect()
}

fn read_hash(value: &Json) -> Option<u32> {
    match value {
        Json::Number(number)
            if number.fract() == 0.0 && (0.0..4_294_967_296.0).contains(number) =>
        {
            Some(*number as u32)
        }
        _ => None,
    }
}

fn is_response(body: &Json) -> bool {
    read_content_hashes(body).is_some()
        || read_tables(body).is_some()
        || read_values(body).is_some()
        || read_table_diff(body).is_some()
        || read_row_diff(body).is_some()
}

/// The answer to GetContentHashes, and the body of ContentHashes.
pub(crate) fn read_content_hashes(body: &Json) -> Option<ContentHashes> {
    match body {
        Json::Array(parts) => match parts.as_slice() {
            [tables, values] => {
                Some(ContentHashes { tables: read_hash(tables)?, values: read_hash(values)? })
            }
            _ => None,
        },
        _ => None,
    }
}

/// The answer to GetCellDiff.
pub(crate) fn read_tables(body: &Json) -> Option<Changes> {
    Changes::read_tables(body, StampForm::Wire).ok()
}

/// The answer to GetValueDiff.
pub(crate) fn read_values(body: &Json) -> Option<Changes> {
    Changes::read_values(body, StampForm::Wire).ok()
}

/// The answer to GetTableDiff.
pub(crate) fn read_table_diff(body: &Json) -> Option<(Changes, TableHashes)> {
    let (tables, hashes) = pair(body)?;
    Some((read_tables(tables)?, read_map(hashes, read_hash)?))
}

/// The answer to GetRowDiff.
pub(crate) fn read_row_diff(body: &Json) -> Option<(Changes, RowHashes)> {
    let (tables, hashes) = pair(body)?;
    Some((read_tables(tables)?, read_map(hashes, |rows| read_map(rows, read_hash))?))
}

fn pair(body: &Json) -> Option<(&Json, &Json)> {
    match body {
        Json::Array(parts) => match parts.as_slice() {
            [one, two] => Some((one, two)),
            _ => None,
        },
        _ => None,
    }
}

/// What to say, borrowed from whoever says it.
pub(crate) enum Say<'a> {
    AnswerHashes(ContentHashes),
    AnswerTables(&'a Changes, &'a TableHashes),
    AnswerRows(&'a Changes, &'a RowHashes),
    AnswerCells(&'a Changes),
    AnswerValues(&'a Changes),
    GetContentHashes,
    ContentHashes(ContentHashes),
    ContentDiff(&'a Changes),
    GetTableDiff(&'a TableHashes),
    GetRowDiff(&'a RowHashes),
    GetCellDiff(&'a CellHashes),
    GetValueDiff(&'a ValueHashes),
}

impl Say<'_> {
    /// The remainder of a frame.
    pub(crate) fn remainder(&self, request: Option<&Text>) -> String {
        let mut out = vec![b'['];
        match request {
            Some(request) => json::write_string(request.as_wtf8(), &mut out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(&[b',', b'0' + self.number(), b',']);
        self.write_body(&mut out);
        out.push(b']');
        json::into_string(out)
    }

    fn number(&self) -> u8 {
        match self {
            Self::AnswerHashes(_)
            | Self::AnswerTables(..)
            | Self::AnswerRows(..)
            | Self::AnswerCells(_)
            | Self::AnswerValues(_) => 0,
            Self::GetContentHashes => 1,
            Self::ContentHashes(_) => 2,
            Self::ContentDiff(_) => 3,
            Self::GetTableDiff(_) => 4,
            Self::GetRowDiff(_) => 5,
            Self::GetCellDiff(_) => 6,
            Self::GetValueDiff(_) => 7,
        }
    }

    fn write_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::GetContentHashes => out.extend_from_slice(b"\"\""),
            Self::AnswerHashes(hashes) | Self::ContentHashes(hashes) => {
                out.extend_from_slice(format!("[{},{}]", hashes.tables, hashes.values).as_bytes());
            }
            Self::ContentDiff(changes) => changes.write(out),
            Self::AnswerTables(changes, hashes) => {
                write_pair(changes, out, |out| write_hashes(hashes, out))
            }
            Self::AnswerRows(changes, hashes) => {
                write_pair(changes, out, |out| write_row_hashes(hashes, out))
            }
            Self::AnswerCells(changes) => changes.write_tables(out),
            Self::AnswerValues(changes) => changes.write_values(out),
            Self::GetTableDiff(hashes) | Self::GetValueDiff(hashes) => write_hashes(hashes, out),
            Self::GetRowDiff(hashes) => write_row_hashes(hashes, out),
            Self::GetCellDiff(hashes) => json::write_object(hashes.iter(), out, write_row_hashes),
        }
    }
}

fn write_pair(changes: &Changes, out: &mut Vec<u8>, write_hashes: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'[');
    changes.write_tables(out);
    out.push(b',');
    write_hashes(out);
    out.push(b']');
}

fn write_hashes(hashes: &IndexMap<Text, u32>, out: &mut Vec<u8>) {
    json::write_object(hashes.iter(), out, |hash, out| json::write_number((*hash).into(), out));
}

fn write_row_hashes(hashes: &RowHashes, out: &mut Vec<u8>) {
    json::write_object(hashes.iter(), out, write_hashes);
}

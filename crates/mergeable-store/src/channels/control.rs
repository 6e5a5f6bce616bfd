//! Control messages of a multiplexed socket.

use crate::json::{self, Json};
use crate::{MAX_CHANNEL_ID_BYTES, Text};

use super::ChannelId;

const CONTROL: f64 = -1.0;
const HELLO: f64 = 0.0;
const SUBSCRIBE: f64 = 1.0;
const UNSUBSCRIBE: f64 = 2.0;
/// The only version of multiplexing so far.
const VERSION: f64 = 1.0;

/// A control message, with the frame that confirms it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Control {
    Hello { reply: String },
    Subscribe { channel: Text, reply: String },
    Unsubscribe { channel: Text },
}

impl Control {
    /// Reads what stands behind `S\n`. TinyBase compares the numbers by JavaScript's `==`, so `"1"` is a version as well.
    pub(crate) fn parse(remainder: &str) -> Option<Self> {
        let message = Json::parse(remainder).ok()?;
        let Json::Array(parts) = &message else {
            return None;
        };
        let [request, number, Json::Array(control)] = parts.as_slice() else {
            return None;
        };
        let [kind, body] = control.as_slice() else {
            return None;
        };
        if !loosely(number, CONTROL) {
            return None;
        }
        let reply = || format!("S\n{}", message.stringify());
        let asked = is_string(request);
        if loosely(kind, HELLO) {
            return (asked && loosely(body, VERSION)).then(|| Self::Hello { reply: reply() });
        }
        let Json::String(channel) = body else {
            return None;
        };
        if !is_string(body) || !may_name_channel(channel) {
            return None;
        }
        let channel = channel.clone();
        if loosely(kind, SUBSCRIBE) {
            return asked.then(|| Self::Subscribe { channel, reply: reply() });
        }
        (loosely(kind, UNSUBSCRIBE) && *request == Json::Null)
            .then_some(Self::Unsubscribe { channel })
    }
}

/// A frame that asks for Hello (no channel) or Subscribe under this request id, or, without one, that unsubscribes.
pub(crate) fn control_frame(request: Option<&str>, channel: Option<&ChannelId>) -> String {
    let mut out = b"S\n[".to_vec();
    match request {
        Some(request) => json::write_string(request.as_bytes(), &mut out),
        None => out.extend_from_slice(b"null"),
    }
    match (request, channel) {
        (_, None) => out.extend_from_slice(b",-1,[0,1]]"),
        (request, Some(channel)) => {
            out.extend_from_slice(if request.is_some() { b",-1,[1," } else { b",-1,[2," });
            json::write_string(channel.as_str().as_bytes(), &mut out);
            out.extend_from_slice(b"]]");
        }
    }
    json::into_string(out)
}

/// A string that is not TinyBase's sign for undefined.
fn is_string(value: &Json) -> bool {
    matches!(value, Json::String(text) if *text != "\u{FFFC}")
}

/// One that is too long is of a valid form, and refused by its length.
fn may_name_channel(text: &Text) -> bool {
    let bytes = text.as_wtf8();
    bytes.len() > MAX_CHANNEL_ID_BYTES || ChannelId::new(&text.to_string_lossy()).is_ok()
}

/// JavaScript's `value == number`.
fn loosely(value: &Json, number: f64) -> bool {
    match value {
        Json::Number(value) => *value == number,
        Json::Bool(value) => f64::from(u8::from(*value)) == number,
        Json::String(text) => text.as_str().is_some_and(|text| {
            let text = text.trim();
            if text.is_empty() { number == 0.0 } else { text.parse() == Ok(number) }
        }),
        Json::Null | Json::Array(_) | Json::Object(_) => false,
    }
}

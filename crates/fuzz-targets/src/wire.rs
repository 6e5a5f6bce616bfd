//! The rules of frames and fragments written down once more, slow and obvious.

use std::collections::BTreeMap;

use mergeable_store::{Close, Frame, Hlc, Json, Limits, MAX_FRAGMENTS, MAX_GROUPS, Payload};

/// Between the frames of one input: at once, or after 600 ms.
const NEXT: [u8; 2] = [0x00, 0x01];

/// The frames of an input, each with the milliseconds until the next one. What is not UTF-8 is left out.
pub(crate) fn frames(data: &[u8]) -> impl Iterator<Item = (&str, u64)> {
    data.split_inclusive(|byte| NEXT.contains(byte)).filter_map(|part| {
        let (frame, pause) = match part.split_last() {
            Some((last, frame)) if NEXT.contains(last) => (frame, 600 * u64::from(*last)),
            _ => (part, 0),
        };
        Some((std::str::from_utf8(frame).ok()?, pause))
    })
}

/// What a frame is.
#[derive(Debug, PartialEq)]
pub(crate) enum Read<'a> {
    Message,
    Fragment(Piece<'a>),
    Close(Close),
}

#[derive(Debug, PartialEq)]
pub(crate) struct Piece<'a> {
    pub(crate) message: &'a str,
    pub(crate) index: usize,
    pub(crate) total: usize,
    pub(crate) text: &'a str,
}

pub(crate) fn outcome(parsed: Result<Frame<'_>, Close>) -> Read<'_> {
    match parsed {
        Ok(Frame { payload: Payload::Message(_), .. }) => Read::Message,
        Ok(Frame { payload: Payload::Fragment(fragment), .. }) => Read::Fragment(Piece {
            message: fragment.message,
            index: fragment.index,
            total: fragment.total,
            text: fragment.text,
        }),
        Err(close) => Read::Close(close),
    }
}

pub(crate) fn read(frame: &str) -> Read<'_> {
    let Some((_, remainder)) = frame.split_once('\n') else {
        return Read::Close(Close::INVALID);
    };
    if Json::parse(remainder).is_ok_and(|json| is_message(&json)) {
        return Read::Message;
    }
    read_fragment(remainder)
}

/// What stands behind the client id, if it is no message.
pub(crate) fn read_fragment(remainder: &str) -> Read<'_> {
    let Some([message, index, total, text]) = fragment_form(remainder) else {
        return Read::Close(Close::INVALID);
    };
    let (index, total) = (decimal(index), decimal(total));
    // TinyBase looks at how many there are first.
    if total > MAX_FRAGMENTS {
        return Read::Close(Close::FRAGMENTS);
    }
    if index >= total {
        return Read::Close(Close::INVALID);
    }
    Read::Fragment(Piece { message, index, total, text })
}

/// Whether it looks like a fragment, whatever the numbers.
pub(crate) fn has_fragment_form(remainder: &str) -> bool {
    fragment_form(remainder).is_some()
}

fn fragment_form(remainder: &str) -> Option<[&str; 4]> {
    let parts: Vec<&str> = remainder.splitn(4, '\n').collect();
    let parts = <[&str; 4]>::try_from(parts).ok()?;
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let id = parts[0].len() == 16 && parts[0].parse::<Hlc>().is_ok();
    (id && number(parts[1]) && number(parts[2])).then_some(parts)
}

/// Digits as a number; those beyond the machine's are all the same.
fn decimal(digits: &str) -> usize {
    digits.parse().unwrap_or(usize::MAX)
}

pub(crate) fn is_message(json: &Json) -> bool {
    let Json::Array(parts) = json else {
        return false;
    };
    let [request, Json::Number(number), body] = &parts[..] else {
        return false;
    };
    let request = match request {
        Json::Null => true,
        Json::String(text) => *text != "\u{FFFC}",
        _ => false,
    };
    request && is_body(*number, body)
}

fn is_body(number: f64, body: &Json) -> bool {
    let maps = |levels: usize| is_map(body, levels);
    match number {
        0.0 => {
            let pair = |levels| {
                matches!(body, Json::Array(parts)
                if parts.len() == 2 && is_stamp(&parts[0], 3) && is_map(&parts[1], levels))
            };
            is_hashes(body) || is_stamp(body, 3) || is_stamp(body, 1) || pair(1) || pair(2)
        }
        1.0 => *body == Json::String("".into()),
        2.0 => is_hashes(body),
        3.0 => matches!(body, Json::Array(parts)
            if (parts.len() == 2 || parts.len() == 3 && parts[2] == Json::Number(1.0))
                && is_stamp(&parts[0], 3) && is_stamp(&parts[1], 1)),
        4.0 | 7.0 => maps(1),
        5.0 => maps(2),
        6.0 => maps(3),
        _ => false,
    }
}

/// `[thing]` or `[thing, hlc]`, around cells (0 levels) or objects of such stamps.
fn is_stamp(json: &Json, levels: usize) -> bool {
    let Json::Array(parts) = json else {
        return false;
    };
    let hlc = match &parts[..] {
        [_] => true,
        [_, Json::String(hlc)] => hlc.as_str().is_some_and(|hlc| hlc.parse::<Hlc>().is_ok()),
        _ => false,
    };
    hlc && match (&parts[0], levels) {
        (Json::Number(number), 0) => number.is_finite(),
        (_, 0) => true,
        (Json::Object(entries), _) => entries.values().all(|entry| is_stamp(entry, levels - 1)),
        _ => false,
    }
}

fn is_hashes(json: &Json) -> bool {
    matches!(json, Json::Array(parts) if parts.len() == 2 && parts.iter().all(is_hash))
}

fn is_hash(json: &Json) -> bool {
    matches!(json, Json::Number(number)
        if *number >= 0.0 && *number <= 4_294_967_295.0 && number.trunc() == *number)
}

fn is_map(json: &Json, levels: usize) -> bool {
    match (json, levels) {
        (json, 0) => is_hash(json),
        (Json::Object(entries), _) => entries.values().all(|entry| is_map(entry, levels - 1)),
        _ => false,
    }
}

/// Unfinished messages, by client id in front and message id; bytes are added up anew each time.
#[derive(Default)]
pub(crate) struct Groups(BTreeMap<(String, String), Group>);

struct Group {
    /// By index: the text, and the whole remainder as it came.
    pieces: BTreeMap<usize, (String, String)>,
    total: usize,
    until: u64,
}

/// A message that came in pieces.
pub(crate) struct Whole {
    /// As one frame.
    pub(crate) frame: String,
    /// What stood behind the client id in each piece, in order.
    pub(crate) remainders: Vec<String>,
}

impl Groups {
    /// The message, once all pieces are there.
    pub(crate) fn take(
        &mut self,
        now: u64,
        frame: &str,
        fragment: &Piece<'_>,
    ) -> Result<Option<Whole>, Close> {
        let (client, remainder) = frame.split_once('\n').ok_or(Close::INVALID)?;
        let Some(pieces) = self.add(now, client, remainder, fragment)? else {
            return Ok(None);
        };
        let (texts, remainders): (Vec<String>, Vec<String>) = pieces.into_iter().unzip();
        let message = texts.concat();
        match Json::parse(&message) {
            Ok(json) if is_message(&json) => {
                Ok(Some(Whole { frame: format!("{client}\n{message}"), remainders }))
            }
            _ => Err(Close::INVALID),
        }
    }

    /// All pieces, once they are there.
    pub(crate) fn add(
        &mut self,
        now: u64,
        client: &str,
        remainder: &str,
        fragment: &Piece<'_>,
    ) -> Result<Option<Vec<(String, String)>>, Close> {
        self.expire(now);
        let key = (client.to_owned(), fragment.message.to_owned());
        if self.0.len() == MAX_GROUPS && !self.0.contains_key(&key) {
            return Err(Close::FRAGMENTS);
        }
        let until = now + Limits::default().fragment_timeout_ms;
        let new = Group { pieces: BTreeMap::new(), total: fragment.total, until };
        let group = self.0.entry(key.clone()).or_insert(new);
        let piece = (fragment.text.to_owned(), remainder.to_owned());
        let again = group.pieces.insert(fragment.index, piece).is_some();
        if again || group.total != fragment.total {
            return Err(Close::INVALID);
        }
        if group.pieces.len() < group.total {
            return Ok(None);
        }
        Ok(self.0.remove(&key).map(|group| group.pieces.into_values().collect()))
    }

    pub(crate) fn expire(&mut self, now: u64) {
        self.0.retain(|_, group| group.until > now);
    }

    /// Forgets what came under client ids that begin like this.
    pub(crate) fn forget(&mut self, prefix: &str) {
        self.0.retain(|(client, _), _| !client.starts_with(prefix));
    }
}

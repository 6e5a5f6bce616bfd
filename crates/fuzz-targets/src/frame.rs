//! Frames and fragments of one hostile socket, against the rules written down once more.

use std::collections::BTreeMap;

use mergeable_store::{
    ClientId, Close, ConnectionId, Edit, Frame, Hlc, Json, Limits, MAX_FRAGMENTS, MAX_GROUPS,
    MergeableStore, Payload, Policy, Ruling, Star,
};

use crate::rng::Rng;

const NOW: u64 = 1_763_800_000_000;

/// Between the frames of one input: at once, or after 600 ms.
const NEXT: [u8; 2] = [0x00, 0x01];

/// Each frame is taken, kept as a fragment or closes the socket exactly as the rules say; and a star that gets a message in
/// fragments does what it does when it gets the message whole.
pub fn frame(data: &[u8]) {
    let (mut pieces, mut whole) = (Side::new(), Side::new());
    let mut groups = Groups::default();
    let mut now = NOW;
    for part in data.split_inclusive(|byte| NEXT.contains(byte)) {
        let (frame, pause) = match part.split_last() {
            Some((last, frame)) if NEXT.contains(last) => (frame, 600 * u64::from(*last)),
            _ => (part, 0),
        };
        let Ok(frame) = std::str::from_utf8(frame) else {
            continue;
        };
        let read = read(frame);
        assert_eq!(outcome(Frame::parse(frame)), read, "{frame:?}");
        let expected = match read {
            Read::Close(close) => Err(close),
            Read::Message => Ok(Some(frame.to_owned())),
            Read::Fragment(fragment) => groups.take(now, frame, fragment),
        };
        let got = pieces.receive(now, frame);
        match expected {
            Err(close) => {
                assert_eq!(got.err(), Some(close), "{frame:?}");
                return;
            }
            Ok(None) => assert!(got.is_ok_and(|effects| effects.is_empty()), "{frame:?}"),
            Ok(Some(message)) => assert_eq!(got, whole.receive(now, &message), "{message:?}"),
        }
        now += pause;
        assert_eq!(pieces.star.tick(now, &mut pieces.rng), whole.star.tick(now, &mut whole.rng));
    }
    assert_eq!(pieces.star.store().content(), whole.star.store().content());
}

/// A star with one connection.
struct Side {
    star: Star,
    rng: Rng,
}

impl Side {
    fn new() -> Self {
        let store = MergeableStore::new(ClientId::from_unique_id("S"));
        let mut side = Self { star: Star::new(store, Limits::default()), rng: Rng(1) };
        let _ = side.star.connect(NOW, ConnectionId::from("c"), &mut side.rng);
        side
    }

    fn receive(&mut self, now: u64, frame: &str) -> Result<mergeable_store::Effects, Close> {
        self.star.receive(now, &ConnectionId::from("c"), frame, &mut AllowAll, &mut self.rng)
    }
}

struct AllowAll;

impl Policy for AllowAll {
    fn judge(&mut self, _: &Edit<'_>) -> Ruling {
        Ruling::Accept
    }
}

/// What a frame is.
#[derive(Debug, PartialEq)]
enum Read<'a> {
    Message,
    Fragment(Piece<'a>),
    Close(Close),
}

#[derive(Debug, PartialEq)]
struct Piece<'a> {
    message: &'a str,
    index: usize,
    total: usize,
    text: &'a str,
}

fn outcome(parsed: Result<Frame<'_>, Close>) -> Read<'_> {
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

fn read(frame: &str) -> Read<'_> {
    let Some((_, remainder)) = frame.split_once('\n') else {
        return Read::Close(Close::INVALID);
    };
    if Json::parse(remainder).is_ok_and(|json| is_message(&json)) {
        return Read::Message;
    }
    let parts: Vec<&str> = remainder.splitn(4, '\n').collect();
    let [message, index, total, text] = parts[..] else {
        return Read::Close(Close::INVALID);
    };
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| decimal(text));
    let (Some(Some(index)), Some(Some(total))) = (number(index), number(total)) else {
        return Read::Close(Close::INVALID);
    };
    if message.len() != 16 || message.parse::<Hlc>().is_err() || index >= total {
        return Read::Close(Close::INVALID);
    }
    if total > MAX_FRAGMENTS as u128 {
        return Read::Close(Close::FRAGMENTS);
    }
    Read::Fragment(Piece { message, index: index as usize, total: total as usize, text })
}

/// Digits as a number; those beyond a machine word are all the same to the rules but for a comparison of two of them, which
/// TinyBase makes in floating point, where both may be infinite.
fn decimal(digits: &str) -> Option<u128> {
    if digits.is_empty() {
        return None;
    }
    Some(digits.parse::<usize>().unwrap_or(usize::MAX) as u128)
}

fn is_message(json: &Json) -> bool {
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
struct Groups(BTreeMap<(String, String), Group>);

struct Group {
    pieces: BTreeMap<usize, String>,
    total: usize,
    until: u64,
}

impl Groups {
    /// The whole frame, once all pieces are there.
    fn take(
        &mut self,
        now: u64,
        frame: &str,
        fragment: Piece<'_>,
    ) -> Result<Option<String>, Close> {
        self.0.retain(|_, group| group.until > now);
        let client = frame.split('\n').next().unwrap_or_default();
        let key = (client.to_owned(), fragment.message.to_owned());
        if self.0.len() == MAX_GROUPS && !self.0.contains_key(&key) {
            return Err(Close::FRAGMENTS);
        }
        let group = self.0.entry(key.clone()).or_insert(Group {
            pieces: BTreeMap::new(),
            total: fragment.total,
            until: now + Limits::default().fragment_timeout_ms,
        });
        let again = group.pieces.insert(fragment.index, fragment.text.to_owned()).is_some();
        if again || group.total != fragment.total {
            return Err(Close::INVALID);
        }
        if group.pieces.len() < group.total {
            return Ok(None);
        }
        let remainder: String = group.pieces.values().map(String::as_str).collect();
        self.0.remove(&key);
        match Json::parse(&remainder) {
            Ok(json) if is_message(&json) => Ok(Some(format!("{client}\n{remainder}"))),
            _ => Err(Close::INVALID),
        }
    }
}

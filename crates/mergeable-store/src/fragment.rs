//! Fragments: long messages in pieces, for transports that limit the size of a frame.

use indexmap::IndexMap;

use crate::hlc::{is_alphabetic, random_id};
use crate::message::Close;
use crate::{Millis, Random};

/// The most pieces of one message.
pub const MAX_FRAGMENTS: usize = 1000;
/// The most unfinished messages of one socket.
pub const MAX_GROUPS: usize = 100;
/// The most bytes of unfinished messages kept for one socket.
pub const MAX_RETAINED_BYTES: usize = 16 << 20;

/// Length of a fragmented message's id.
const ID_LENGTH: usize = 16;

/// A piece of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Fragment<'a> {
    /// Which message.
    pub message: &'a str,
    /// Which piece, from 0.
    pub index: usize,
    /// How many pieces.
    pub total: usize,
    /// The piece.
    pub text: &'a str,
}

/// Text that has the form of a fragment, whatever its numbers.
pub(crate) struct FragmentForm<'a> {
    message: &'a str,
    index: &'a str,
    total: &'a str,
    text: &'a str,
}

impl<'a> FragmentForm<'a> {
    pub(crate) fn of(remainder: &'a str) -> Option<Self> {
        let (message, rest) = remainder.split_once('\n')?;
        let (index, rest) = rest.split_once('\n')?;
        let (total, text) = rest.split_once('\n')?;
        let number =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        (is_alphabetic(message, ID_LENGTH) && number(index) && number(total)).then_some(Self {
            message,
            index,
            total,
            text,
        })
    }
}

impl<'a> Fragment<'a> {
    /// Reads the part of a frame behind the client id.
    pub(crate) fn parse(remainder: &'a str) -> Result<Self, Close> {
        let form = FragmentForm::of(remainder).ok_or(Close::INVALID)?;
        // A number too long for the machine is as much out of bounds as the greatest it has.
        let number = |text: &str| text.parse::<usize>().unwrap_or(usize::MAX);
        let (index, total) = (number(form.index), number(form.total));
        if total == 0 || index >= total {
            return Err(Close::INVALID);
        }
        if total > MAX_FRAGMENTS {
            return Err(Close::FRAGMENTS);
        }
        Ok(Self { message: form.message, index, total, text: form.text })
    }
}

/// A message that is not yet whole.
#[derive(Clone, Debug)]
struct Group {
    pieces: Vec<Option<Box<str>>>,
    missing: usize,
    bytes: usize,
    until: Millis,
}

/// The unfinished messages of one socket.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reassembly {
    /// By client id in front and message id, in order of arrival, hence of expiry.
    groups: IndexMap<(Box<str>, Box<str>), Group>,
    bytes: usize,
}

impl Reassembly {
    /// Takes a fragment; the whole remainder once all pieces are here.
    ///
    /// # Errors
    /// How the socket has to be closed.
    pub(crate) fn take(
        &mut self,
        now: Millis,
        timeout: Millis,
        client: &str,
        fragment: &Fragment<'_>,
    ) -> Result<Option<String>, Close> {
        self.expire(now);
        let key = (Box::from(client), Box::from(fragment.message));
        if !self.groups.contains_key(&key) {
            if self.groups.len() >= MAX_GROUPS {
                return Err(Close::FRAGMENTS);
            }
            let group = Group {
                pieces: vec![None; fragment.total],
                missing: fragment.total,
                bytes: 0,
                until: now + timeout,
            };
            self.groups.insert(key.clone(), group);
        }
        let Some(group) = self.groups.get_mut(&key) else {
            return Ok(None);
        };
        if group.pieces.len() != fragment.total {
            return Err(Close::INVALID);
        }
        match group.pieces.get_mut(fragment.index) {
            Some(piece @ None) => *piece = Some(fragment.text.into()),
            _ => return Err(Close::INVALID),
        }
        group.missing -= 1;
        group.bytes += fragment.text.len();
        self.bytes += fragment.text.len();
        if self.bytes > MAX_RETAINED_BYTES {
            return Err(Close::FRAGMENTS);
        }
        if group.missing > 0 {
            return Ok(None);
        }
        Ok(self.remove(&key).map(|group| group.pieces.into_iter().flatten().collect()))
    }

    /// Drops the messages whose time is over, silently.
    pub(crate) fn expire(&mut self, now: Millis) {
        while let Some((key, group)) = self.groups.first() {
            if group.until > now {
                break;
            }
            let key = key.clone();
            self.remove(&key);
        }
    }

    /// When the next message expires.
    pub(crate) fn next_deadline(&self) -> Option<Millis> {
        self.groups.first().map(|(_, group)| group.until)
    }

    fn remove(&mut self, key: &(Box<str>, Box<str>)) -> Option<Group> {
        let group = self.groups.shift_remove(key)?;
        self.bytes -= group.bytes;
        Some(group)
    }
}

/// A remainder as the texts to send: itself, or its fragments when a size (bytes) is set and it is longer.
pub(crate) fn split(remainder: String, size: Option<usize>, rng: &mut dyn Random) -> Vec<String> {
    let Some(size) = size.filter(|size| *size >= 1) else {
        return vec![remainder];
    };
    // A message has at most 1000 pieces, so long ones get larger pieces; 3 is what a cut between code points can lose.
    let size = size.max(remainder.len().div_ceil(MAX_FRAGMENTS) + 3);
    let pieces = cut(&remainder, size);
    if pieces.len() <= 1 {
        return vec![remainder];
    }
    let (id, total) = (random_id(ID_LENGTH, rng), pieces.len());
    pieces
        .iter()
        .enumerate()
        .map(|(index, text)| format!("{id}\n{index}\n{total}\n{text}"))
        .collect()
}

fn cut(mut text: &str, size: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    while text.len() > size {
        let mut at = size;
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        if at == 0 {
            at = text.chars().next().map_or(text.len(), char::len_utf8);
        }
        let (piece, rest) = text.split_at(at);
        pieces.push(piece);
        text = rest;
    }
    if !text.is_empty() {
        pieces.push(text);
    }
    pieces
}

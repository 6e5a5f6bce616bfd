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
    /// How many pieces, at most [`MAX_FRAGMENTS`].
    pub total: usize,
    /// The piece.
    pub text: &'a str,
    /// All of it as it came: ids, numbers and text.
    pub remainder: &'a str,
}

/// Text that has the form of a fragment, whatever its numbers.
pub(crate) struct FragmentForm<'a> {
    message: &'a str,
    index: &'a str,
    total: &'a str,
    text: &'a str,
    remainder: &'a str,
}

impl<'a> FragmentForm<'a> {
    pub(crate) fn of(remainder: &'a str) -> Option<Self> {
        // Looked at first, so that a long message is not searched for line ends.
        if remainder.as_bytes().get(ID_LENGTH) != Some(&b'\n') {
            return None;
        }
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
            remainder,
        })
    }
}

impl<'a> Fragment<'a> {
    /// Reads the part of a frame behind the client id.
    pub(crate) fn parse(remainder: &'a str) -> Result<Self, Close> {
        FragmentForm::of(remainder).ok_or(Close::INVALID)?.read()
    }
}

impl<'a> FragmentForm<'a> {
    /// Reads the numbers, in TinyBase's order of looking at them: how many there are comes first.
    pub(crate) fn read(self) -> Result<Fragment<'a>, Close> {
        // A number too long for the machine is as much out of bounds as the greatest it has.
        let number = |text: &str| text.parse::<usize>().unwrap_or(usize::MAX);
        let (index, total) = (number(self.index), number(self.total));
        if total > MAX_FRAGMENTS {
            return Err(Close::FRAGMENTS);
        }
        if index >= total {
            return Err(Close::INVALID);
        }
        let Self { message, text, remainder, .. } = self;
        Ok(Fragment { message, index, total, text, remainder })
    }
}

/// A piece as it is kept.
#[derive(Clone, Debug)]
struct Piece {
    index: usize,
    /// The whole remainder, for whoever passes it on; empty where only counted.
    remainder: Box<str>,
    /// Where the piece's text begins in it.
    text_at: usize,
}

/// A message that is not yet whole.
#[derive(Clone, Debug)]
struct Group {
    /// In the order of their indices. As many as have come, so that a small frame cannot claim room for a thousand.
    pieces: Vec<Piece>,
    total: usize,
    bytes: usize,
    until: Millis,
}

/// A message of which all pieces have come.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Whole {
    /// The pieces' texts, joined.
    pub(crate) text: String,
    /// The pieces' remainders as they came, in the order of their indices.
    pub(crate) remainders: Vec<Box<str>>,
}

/// The unfinished messages of one socket.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reassembly {
    /// By client id in front and message id, in order of arrival, hence of expiry.
    groups: IndexMap<(Box<str>, Box<str>), Group>,
    bytes: usize,
}

impl Reassembly {
    /// Takes a fragment; the whole message once all pieces are here.
    ///
    /// # Errors
    /// How the socket has to be closed.
    pub(crate) fn take(
        &mut self,
        now: Millis,
        timeout: Millis,
        client: &str,
        fragment: &Fragment<'_>,
    ) -> Result<Option<Whole>, Close> {
        let piece = Piece {
            index: fragment.index,
            remainder: fragment.remainder.into(),
            text_at: fragment.remainder.len() - fragment.text.len(),
        };
        let group = self.insert(now, timeout, client, fragment, piece)?;
        Ok(group.map(|group| Whole {
            text: group.pieces.iter().map(|piece| &piece.remainder[piece.text_at..]).collect(),
            remainders: group.pieces.into_iter().map(|piece| piece.remainder).collect(),
        }))
    }

    /// Takes note of a fragment that somebody else keeps, by the same rules.
    ///
    /// # Errors
    /// How the socket has to be closed.
    pub(crate) fn count(
        &mut self,
        now: Millis,
        timeout: Millis,
        client: &str,
        fragment: &Fragment<'_>,
    ) -> Result<(), Close> {
        let piece = Piece { index: fragment.index, remainder: Box::default(), text_at: 0 };
        self.insert(now, timeout, client, fragment, piece).map(drop)
    }

    /// Adds a piece; gives the group, no longer kept, once it is whole. What is retained counts as TinyBase counts it: the
    /// remainder, and the key once.
    fn insert(
        &mut self,
        now: Millis,
        timeout: Millis,
        client: &str,
        fragment: &Fragment<'_>,
        piece: Piece,
    ) -> Result<Option<Group>, Close> {
        self.expire(now);
        let key = (Box::from(client), Box::from(fragment.message));
        let known = self.groups.get(&key);
        if known.is_none() && self.groups.len() >= MAX_GROUPS {
            return Err(Close::FRAGMENTS);
        }
        let at = match known {
            None => 0,
            Some(group) if group.total != fragment.total => return Err(Close::INVALID),
            Some(group) => match group.pieces.binary_search_by_key(&piece.index, |p| p.index) {
                Ok(_) => return Err(Close::INVALID),
                Err(at) => at,
            },
        };
        let key_bytes = if known.is_none() { client.len() + 1 + ID_LENGTH } else { 0 };
        let retained = fragment.remainder.len() + key_bytes;
        if self.bytes + retained > MAX_RETAINED_BYTES {
            return Err(Close::FRAGMENTS);
        }
        self.bytes += retained;
        let group = self.groups.entry(key.clone()).or_insert_with(|| Group {
            pieces: Vec::new(),
            total: fragment.total,
            bytes: 0,
            until: now + timeout,
        });
        group.bytes += retained;
        group.pieces.insert(at, piece);
        if group.pieces.len() < group.total {
            return Ok(None);
        }
        Ok(self.remove(&key))
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

    /// Drops the messages of these client ids.
    pub(crate) fn forget(&mut self, is_gone: impl Fn(&str) -> bool) {
        let bytes = &mut self.bytes;
        self.groups.retain(|(client, _), group| {
            let gone = is_gone(client);
            *bytes -= if gone { group.bytes } else { 0 };
            !gone
        });
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

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "msgmsgmsgmsg0001";

    fn frame(id: &str, index: usize, total: usize, text: &str) -> String {
        format!("{id}\n{index}\n{total}\n{text}")
    }

    fn take(
        reassembly: &mut Reassembly,
        now: Millis,
        remainder: &str,
    ) -> Result<Option<Whole>, Close> {
        reassembly.take(now, 1000, "", &Fragment::parse(remainder)?)
    }

    #[test]
    fn pieces_come_in_any_order_and_keep_their_spelling() {
        let mut reassembly = Reassembly::default();
        let pieces = [format!("{ID}\n02\n3\nc"), frame(ID, 0, 3, "a"), frame(ID, 1, 3, "\nb")];
        assert_eq!(take(&mut reassembly, 0, &pieces[0]), Ok(None));
        assert_eq!(take(&mut reassembly, 0, &pieces[1]), Ok(None));
        let whole = take(&mut reassembly, 0, &pieces[2]).unwrap().unwrap();
        assert_eq!(whole.text, "a\nbc");
        let in_order = [&pieces[1], &pieces[2], &pieces[0]].map(|piece| piece.as_str().into());
        assert_eq!(whole.remainders, in_order);
        assert_eq!((reassembly.bytes, reassembly.next_deadline()), (0, None));
    }

    #[test]
    fn how_many_there_are_is_looked_at_before_which_one_it_is() {
        let parse = |index: &str, total: &str| {
            Fragment::parse(&format!("{ID}\n{index}\n{total}\n")).map(|fragment| fragment.index)
        };
        let long = "9".repeat(40);
        assert_eq!(parse("999", "1000"), Ok(999));
        assert_eq!(parse("2000", "1001"), Err(Close::FRAGMENTS));
        assert_eq!(parse(&long, &long), Err(Close::FRAGMENTS));
        assert_eq!(parse(&long, "1000"), Err(Close::INVALID));
        assert_eq!(parse("0", "0"), Err(Close::INVALID));
        for remainder in ["", "short\n0\n1\n", "msgmsgmsgmsg000!\n0\n1\n", "msgmsgmsgmsg0001\n0\n1"]
        {
            assert_eq!(Fragment::parse(remainder), Err(Close::INVALID), "{remainder:?}");
        }
    }

    #[test]
    fn a_group_is_dropped_after_its_time_and_its_place_is_free_again() {
        let mut reassembly = Reassembly::default();
        for number in 0..MAX_GROUPS {
            take(&mut reassembly, 0, &frame(&format!("{number:016}"), 0, 2, "x")).unwrap();
        }
        let one_more = frame(ID, 0, 2, "x");
        assert_eq!(take(&mut reassembly, 999, &one_more), Err(Close::FRAGMENTS));
        assert_eq!(take(&mut reassembly, 1000, &one_more), Ok(None));
        // Too late for the first group: this begins another one.
        assert_eq!(take(&mut reassembly, 1000, &frame(&"0".repeat(16), 1, 2, "x")), Ok(None));
    }

    #[test]
    fn what_is_retained_is_bounded_to_the_byte_and_forgotten_with_its_client() {
        let mut reassembly = Reassembly::default();
        let (first, second) = (frame(ID, 0, 3, ""), frame(ID, 1, 3, ""));
        let room = MAX_RETAINED_BYTES - first.len() - 1 - ID_LENGTH - second.len();
        take(&mut reassembly, 0, &first).unwrap();
        let over = second.clone() + &"x".repeat(room + 1);
        assert_eq!(take(&mut reassembly, 0, &over), Err(Close::FRAGMENTS));
        assert_eq!(take(&mut reassembly, 0, &over[..over.len() - 1]), Ok(None));
        assert_eq!(reassembly.bytes, MAX_RETAINED_BYTES);
        reassembly.forget(str::is_empty);
        assert_eq!((reassembly.bytes, reassembly.groups.len()), (0, 0));
    }
}

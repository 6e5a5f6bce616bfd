//! The hybrid logical clock: stamps that order all writes of all stores.

use std::fmt;
use std::str::FromStr;

use crate::hash::hash_text;
use crate::{AsText, Millis, Random};

/// How far ahead of the own clock a stamp may be, in milliseconds; what is further ahead is refused (TinyBase's limit).
pub const MAX_AHEAD_MS: Millis = 300_000;

/// The 64 characters of HLCs and random ids, in ASCII order, so that encoded HLCs sort as text.
const ALPHABET: &[u8; 64] = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

const CLIENT_BITS: u32 = 30;
const COUNTER_BITS: u32 = 24;
const TIME_BITS: u32 = 42;
const REST_BITS: u32 = COUNTER_BITS + CLIENT_BITS;
/// Size of an HLC that is not empty.
pub(crate) const HLC_BYTES: usize = 12;

fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

/// The value of each character; what is no digit is [`NO_DIGIT`].
const DIGITS: [u8; 256] = {
    let (mut digits, mut at) = ([NO_DIGIT; 256], 0);
    while at < ALPHABET.len() {
        digits[ALPHABET[at] as usize] = at as u8;
        at += 1;
    }
    digits
};
const NO_DIGIT: u8 = u8::MAX;

fn digit(char: u8) -> Option<u64> {
    let digit = DIGITS[usize::from(char)];
    (digit != NO_DIGIT).then_some(digit.into())
}

fn push_digits(text: &mut String, value: u64, digits: u32) {
    for at in (0..digits).rev() {
        text.push(char::from(ALPHABET[(value >> (6 * at) & 63) as usize]));
    }
}

/// `length` random characters of the HLC alphabet, as TinyBase's `getUniqueId`.
pub(crate) fn random_id(length: usize, rng: &mut dyn Random) -> String {
    let mut bytes = vec![0; length];
    rng.fill(&mut bytes);
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 63)])).collect()
}

/// Whether `text` is made of HLC characters only and has this length.
pub(crate) fn is_alphabetic(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| digit(byte).is_some())
}

/// Who writes: 30 bits, the last five characters of an HLC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(u32);

impl ClientId {
    /// The client id that TinyBase derives from a store's unique id.
    #[must_use]
    pub fn from_unique_id(unique_id: &str) -> Self {
        Self(hash_text(unique_id) & mask(CLIENT_BITS) as u32)
    }

    /// A random client id, as TinyBase makes one for a store without unique id.
    #[must_use]
    pub fn random(rng: &mut dyn Random) -> Self {
        let mut bytes = [0; 4];
        rng.fill(&mut bytes);
        Self(u32::from_be_bytes(bytes) & mask(CLIENT_BITS) as u32)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(5);
        push_digits(&mut text, u64::from(self.0), 5);
        f.write_str(&text)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientId({self})")
    }
}

/// A hybrid logical clock reading: time, counter, client. Ordered as its 16-character text is; empty is the lowest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hlc {
    /// Milliseconds plus one; zero only for the empty HLC.
    time: u64,
    /// Counter above client.
    rest: u64,
}

/// The text is neither empty nor 16 characters of the HLC alphabet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an HLC: expected the empty string or 16 characters of [-0-9A-Z_a-z]")]
pub struct HlcError;

impl Hlc {
    /// "Never": the stamp of a default, lower than every other HLC.
    pub const EMPTY: Self = Self { time: 0, rest: 0 };

    /// The HLC of this time (milliseconds, 42 bits), counter (24 bits) and client; higher bits are lost, as in TinyBase.
    #[must_use]
    pub fn new(time_ms: Millis, counter: u32, client: ClientId) -> Self {
        Self {
            time: (time_ms & mask(TIME_BITS)) + 1,
            rest: (u64::from(counter) & mask(COUNTER_BITS)) << CLIENT_BITS | u64::from(client.0),
        }
    }

    /// Whether this is [`Hlc::EMPTY`].
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.time == 0
    }

    /// Milliseconds since 1970; 0 for the empty HLC.
    #[must_use]
    pub fn time_ms(self) -> Millis {
        self.time.saturating_sub(1)
    }

    /// The counter that orders writes of one millisecond.
    #[must_use]
    pub fn counter(self) -> u32 {
        (self.rest >> CLIENT_BITS) as u32
    }

    /// Who wrote; `None` for the empty HLC.
    #[must_use]
    pub fn client(self) -> Option<ClientId> {
        (!self.is_empty()).then_some(ClientId((self.rest & mask(CLIENT_BITS)) as u32))
    }

    /// Whether a store whose clock reads `now` refuses this stamp.
    #[must_use]
    pub fn is_too_far_ahead(self, now: Millis) -> bool {
        self.time_ms() > now.saturating_add(MAX_AHEAD_MS)
    }

    /// Time (42 bits) above counter and client (54 bits), big-endian. Not for the empty HLC, which has no time.
    pub(crate) fn to_bytes(self) -> [u8; HLC_BYTES] {
        let all = u128::from(self.time_ms()) << REST_BITS | u128::from(self.rest);
        let mut bytes = [0; HLC_BYTES];
        bytes.copy_from_slice(&all.to_be_bytes()[16 - HLC_BYTES..]);
        bytes
    }

    /// The inverse of [`Hlc::to_bytes`].
    pub(crate) fn from_bytes(bytes: [u8; HLC_BYTES]) -> Self {
        let mut all = [0; 16];
        all[16 - HLC_BYTES..].copy_from_slice(&bytes);
        let all = u128::from_be_bytes(all);
        Self { time: (all >> REST_BITS) as u64 + 1, rest: all as u64 & mask(REST_BITS) }
    }

    /// This HLC with another counter.
    pub(crate) fn with_counter(self, counter: u32) -> Self {
        let rest = self.rest & mask(CLIENT_BITS)
            | (u64::from(counter) & mask(COUNTER_BITS)) << CLIENT_BITS;
        Self { rest, ..self }
    }

    /// Writes the text form.
    pub(crate) fn write(self, out: &mut impl crate::hash::Sink) {
        if self.is_empty() {
            return;
        }
        let mut text = [0; 16];
        let (time, rest) = (self.time_ms(), self.rest);
        for (at, char) in text.iter_mut().enumerate() {
            let digit = if at < 7 { time >> (6 * (6 - at)) } else { rest >> (6 * (15 - at)) };
            *char = ALPHABET[(digit & 63) as usize];
        }
        out.push(&text);
    }

    /// Reads the text form from WTF-8.
    pub(crate) fn from_text(text: impl AsText) -> Result<Self, HlcError> {
        let bytes = text.wtf8();
        if bytes.is_empty() {
            return Ok(Self::EMPTY);
        }
        if bytes.len() != 16 {
            return Err(HlcError);
        }
        let number = |part: &[u8]| {
            part.iter()
                .try_fold(0, |number, char| digit(*char).map(|digit| number << 6 | digit))
                .ok_or(HlcError)
        };
        Ok(Self { time: number(&bytes[..7])? + 1, rest: number(&bytes[7..])? })
    }
}

impl FromStr for Hlc {
    type Err = HlcError;

    fn from_str(text: &str) -> Result<Self, HlcError> {
        Self::from_text(text)
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(16);
        self.write(&mut text);
        f.write_str(&crate::json::into_string(text))
    }
}

impl fmt::Debug for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hlc({self})")
    }
}

/// The clock of one store: never goes back, whatever `now` does.
#[derive(Clone, Debug)]
pub struct Clock {
    client: ClientId,
    time: Millis,
    counter: i64,
}

impl Clock {
    /// A clock that has seen nothing.
    #[must_use]
    pub fn new(client: ClientId) -> Self {
        Self { client, time: 0, counter: -1 }
    }

    /// The client id in the HLCs that this clock gives.
    #[must_use]
    pub fn client(&self) -> ClientId {
        self.client
    }

    /// The latest time and counter; `(0, -1)` before anything was seen.
    #[must_use]
    pub fn state(&self) -> (Millis, i64) {
        (self.time, self.counter)
    }

    /// Takes note of a stamp. One more than five minutes ahead of `now` changes nothing.
    pub fn seen(&mut self, now: Millis, hlc: Hlc) {
        if hlc.is_too_far_ahead(now) {
            return;
        }
        let (remote_time, remote_counter) = (hlc.time_ms(), i64::from(hlc.counter()));
        let time = self.time.max(remote_time).max(now);
        self.counter = match (time == self.time, time == remote_time) {
            (true, true) => self.counter.max(remote_counter),
            (true, false) => self.counter,
            (false, true) => remote_counter,
            (false, false) => -1,
        };
        self.time = time;
    }

    /// The next HLC, greater than all seen and given before.
    pub fn next(&mut self, now: Millis) -> Hlc {
        self.seen(now, Hlc::EMPTY);
        self.counter += 1;
        if self.counter >= 1 << COUNTER_BITS {
            self.time += 1;
            self.counter = 0;
        }
        Hlc::new(self.time, self.counter as u32, self.client)
    }

    /// Moves the clock to a stamp of the own storage, however far ahead it is.
    pub(crate) fn restore(&mut self, hlc: Hlc) {
        if !hlc.is_empty() {
            self.seen(hlc.time_ms().saturating_sub(MAX_AHEAD_MS), hlc);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back_keeps_the_order() {
        let texts =
            ["", "----------------", "---------------0", "Oeef1N-----m22wq", "zzzzzzzzzzzzzzzz"];
        let hlcs: Vec<Hlc> = texts.iter().map(|text| text.parse().unwrap()).collect();
        assert!(hlcs.is_sorted());
        assert_eq!(hlcs.iter().map(ToString::to_string).collect::<Vec<_>>(), texts);
        for hlc in &hlcs[1..] {
            assert_eq!(Hlc::from_bytes(hlc.to_bytes()), *hlc);
            assert_eq!(hlc.with_counter(77).counter(), 77);
            assert_eq!(hlc.with_counter(77).with_counter(hlc.counter()), *hlc);
        }
    }

    #[test]
    fn malformed_text_is_refused() {
        for text in ["-", "P72A2vO----7JQ!8", "----------------0", "éééééééé"] {
            assert_eq!(text.parse::<Hlc>(), Err(HlcError), "{text:?}");
        }
    }

    #[test]
    fn a_full_counter_moves_to_the_next_millisecond() {
        let client = ClientId::from_unique_id("a");
        let mut clock = Clock::new(client);
        clock.seen(5, Hlc::new(5, (1 << 24) - 1, client));
        assert_eq!(clock.next(5), Hlc::new(6, 0, client));
    }
}

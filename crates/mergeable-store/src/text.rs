//! JavaScript strings.
//!
//! TinyBase ids and string cells are JavaScript strings: sequences of UTF-16 units in which a surrogate may stand
//! alone. [`Text`] keeps them as WTF-8, which is UTF-8 except that a lone surrogate takes its three-byte form. Pairs are
//! always joined, so equal strings have equal bytes.

use std::borrow::{Borrow, Cow};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A JavaScript string, lone surrogates included. Cloning never copies more than a few words: short strings, as most ids
/// are, sit in place, and longer ones share their bytes.
///
/// `Ord` is by code point (as SQLite's `BINARY`), not JavaScript's `<`, which compares UTF-16 units.
#[derive(Clone)]
pub struct Text(Repr);

/// So many bytes fit beside the tag and the length without making [`Text`] larger than three words.
const INLINE_BYTES: usize = 22;

#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    Shared(Arc<[u8]>),
}

/// A [`Text`] that belongs to somebody else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TextRef<'a>(&'a [u8]);

impl<'a> TextRef<'a> {
    /// Takes bytes that are known to be well-formed WTF-8.
    pub(crate) const fn from_wtf8(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The WTF-8 bytes.
    #[must_use]
    pub const fn as_wtf8(self) -> &'a [u8] {
        self.0
    }

    /// The string as UTF-8, or `None` when it holds a lone surrogate.
    #[must_use]
    pub fn as_str(self) -> Option<&'a str> {
        std::str::from_utf8(self.0).ok()
    }

    /// The string with each lone surrogate replaced by U+FFFD.
    #[must_use]
    pub fn to_string_lossy(self) -> Cow<'a, str> {
        if let Some(text) = self.as_str() {
            return Cow::Borrowed(text);
        }
        let mut text = String::with_capacity(self.0.len());
        for chunk in chunks(self.0) {
            match chunk {
                Chunk::Utf8(bytes) => text.push_str(&String::from_utf8_lossy(bytes)),
                Chunk::Surrogate(_) => text.push(char::REPLACEMENT_CHARACTER),
            }
        }
        Cow::Owned(text)
    }
}

impl fmt::Display for TextRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_string_lossy())
    }
}

impl fmt::Debug for TextRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut json = Vec::new();
        crate::json::write_string(self.0, &mut json);
        f.write_str(&String::from_utf8_lossy(&json))
    }
}

impl PartialEq<str> for TextRef<'_> {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl PartialEq<&str> for TextRef<'_> {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == *other.as_bytes()
    }
}

impl AsText for TextRef<'_> {
    fn wtf8(&self) -> &[u8] {
        self.0
    }

    fn to_text(&self) -> Text {
        Text::from_wtf8(self.0)
    }
}

/// Anything that can name a table, row, cell or value: `&str`, `String`, [`Text`] and references to them.
pub trait AsText {
    /// The string's WTF-8 bytes.
    fn wtf8(&self) -> &[u8];

    /// The string as an owned, shareable [`Text`].
    fn to_text(&self) -> Text;
}

impl Text {
    /// The string of these UTF-16 units.
    #[must_use]
    pub fn from_utf16(units: &[u16]) -> Self {
        let mut bytes = Vec::with_capacity(units.len());
        for unit in char::decode_utf16(units.iter().copied()) {
            match unit {
                Ok(char) => push_char(&mut bytes, char),
                Err(error) => push_surrogate(&mut bytes, error.unpaired_surrogate()),
            }
        }
        Self::from_wtf8(&bytes)
    }

    /// The string as UTF-16 units, the way JavaScript sees and compares it.
    #[must_use]
    pub fn to_utf16(&self) -> Vec<u16> {
        let mut units = Vec::with_capacity(self.as_wtf8().len());
        for chunk in chunks(self.as_wtf8()) {
            match chunk {
                Chunk::Utf8(bytes) => units.extend(String::from_utf8_lossy(bytes).encode_utf16()),
                Chunk::Surrogate(unit) => units.push(unit),
            }
        }
        units
    }

    /// The string as UTF-8, or `None` when it holds a lone surrogate.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_wtf8()).ok()
    }

    /// The string with each lone surrogate replaced by U+FFFD.
    #[must_use]
    pub fn to_string_lossy(&self) -> Cow<'_, str> {
        self.view().to_string_lossy()
    }

    /// The string, borrowed.
    #[must_use]
    pub fn view(&self) -> TextRef<'_> {
        TextRef(self.as_wtf8())
    }

    /// The WTF-8 bytes.
    #[must_use]
    pub fn as_wtf8(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Repr::Shared(bytes) => bytes,
        }
    }

    /// Whether this is the empty string, which is a legal id.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_wtf8().is_empty()
    }

    /// Takes bytes that are known to be well-formed WTF-8.
    pub(crate) fn from_wtf8(wtf8: &[u8]) -> Self {
        let mut bytes = [0; INLINE_BYTES];
        match bytes.get_mut(..wtf8.len()) {
            Some(place) => {
                place.copy_from_slice(wtf8);
                Self(Repr::Inline { len: wtf8.len() as u8, bytes })
            }
            None => Self(Repr::Shared(wtf8.into())),
        }
    }
}

/// JavaScript's array index: such keys of an object come first, in ascending order, whatever the insertion order.
pub(crate) fn array_index(key: &[u8]) -> Option<u32> {
    let canonical = match key {
        [b'0'] => true,
        [first, ..] => *first != b'0' && key.len() <= 10 && key.iter().all(u8::is_ascii_digit),
        [] => false,
    };
    if !canonical {
        return None;
    }
    let index: u32 = std::str::from_utf8(key).ok()?.parse().ok()?;
    (index != u32::MAX).then_some(index)
}

pub(crate) fn push_char(bytes: &mut Vec<u8>, char: char) {
    bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
}

pub(crate) fn push_surrogate(bytes: &mut Vec<u8>, unit: u16) {
    let [high, low] = unit.to_be_bytes();
    bytes.extend_from_slice(&[0xED, 0x80 | (high & 0x0F) << 2 | low >> 6, 0x80 | (low & 0x3F)]);
}

/// A stretch of WTF-8: plain UTF-8, or one lone surrogate.
pub(crate) enum Chunk<'a> {
    Utf8(&'a [u8]),
    Surrogate(u16),
}

/// Splits WTF-8 at its lone surrogates.
pub(crate) fn chunks(mut rest: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if rest.is_ascii() {
            return Some(Chunk::Utf8(std::mem::take(&mut rest)));
        }
        // In WTF-8 only a surrogate has 0xED followed by 0xA0 or more.
        let next = rest.windows(2).position(|pair| pair[0] == 0xED && pair[1] >= 0xA0);
        match next {
            Some(0) => {
                let unit = 0xD000
                    | u16::from(rest[1] & 0x3F) << 6
                    | u16::from(rest.get(2).copied().unwrap_or(0) & 0x3F);
                rest = rest.get(3..).unwrap_or_default();
                Some(Chunk::Surrogate(unit))
            }
            Some(at) => {
                let (head, tail) = rest.split_at(at);
                rest = tail;
                Some(Chunk::Utf8(head))
            }
            None => Some(Chunk::Utf8(std::mem::take(&mut rest))),
        }
    })
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::from_wtf8(text.as_bytes())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::from_wtf8(text.as_bytes())
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_wtf8() == other.as_wtf8()
    }
}

impl Eq for Text {}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_wtf8().hash(state);
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_wtf8().cmp(other.as_wtf8())
    }
}

impl From<&Text> for Text {
    fn from(text: &Text) -> Self {
        text.clone()
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::from("")
    }
}

impl Borrow<[u8]> for Text {
    fn borrow(&self) -> &[u8] {
        self.as_wtf8()
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        *self.as_wtf8() == *other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        *self.as_wtf8() == *other.as_bytes()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.view(), f)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.view(), f)
    }
}

impl AsText for Text {
    fn wtf8(&self) -> &[u8] {
        self.as_wtf8()
    }

    fn to_text(&self) -> Text {
        self.clone()
    }
}

impl AsText for str {
    fn wtf8(&self) -> &[u8] {
        self.as_bytes()
    }

    fn to_text(&self) -> Text {
        Text::from(self)
    }
}

impl AsText for String {
    fn wtf8(&self) -> &[u8] {
        self.as_bytes()
    }

    fn to_text(&self) -> Text {
        Text::from(self.as_str())
    }
}

impl<T: AsText + ?Sized> AsText for &T {
    fn wtf8(&self) -> &[u8] {
        (**self).wtf8()
    }

    fn to_text(&self) -> Text {
        (**self).to_text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_surrogates_survive_and_pairs_are_joined() {
        for units in [
            vec![0xD800],
            vec![0x61, 0xD83D],
            vec![0xDC00, 0xD800],
            vec![0xD83D, 0xDE00],
            vec![0xDFFF, 0x7A],
        ] {
            assert_eq!(Text::from_utf16(&units).to_utf16(), units);
        }
        assert_eq!(Text::from_utf16(&[0xD83D, 0xDE00]), Text::from("😀"));
        assert_eq!(Text::from_utf16(&[0x78, 0xD800, 0x79]).to_string_lossy(), "x\u{FFFD}y");
        assert_eq!(Text::from_utf16(&[0xD800]).as_str(), None);
    }

    #[test]
    fn short_and_long_strings_compare_and_hash_by_their_bytes() {
        assert_eq!(size_of::<Text>(), 24);
        for length in [0, 1, INLINE_BYTES, INLINE_BYTES + 1, 300] {
            let text = Text::from("é".repeat(length).as_str());
            assert_eq!((text.as_wtf8().len(), text.is_empty()), (2 * length, length == 0));
            assert_eq!(text, text.clone());
            assert_eq!(text.view().to_text(), text);
            let longer = Text::from("é".repeat(length + 1).as_str());
            assert!(text < longer && longer != text);
        }
    }

    #[test]
    fn array_indices_are_canonical_decimals_below_two_to_the_thirty_two_less_one() {
        let index = |text: &str| array_index(text.as_bytes());
        assert_eq!(
            (index("0"), index("10"), index("4294967294")),
            (Some(0), Some(10), Some(4_294_967_294))
        );
        for other in ["", "01", "-1", "1.0", "4294967295", "99999999999", " 1"] {
            assert_eq!(index(other), None, "{other:?}");
        }
    }
}

//! TinyBase's hashes: 32-bit FNV-1a over UTF-8, and the two ways of folding children into a parent.

use crate::text::{Chunk, chunks};

/// The hashes of a store's tables and of its values. Two stores with equal hashes hold equal content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContentHashes {
    /// Hash of all tables.
    pub tables: u32,
    /// Hash of all values.
    pub values: u32,
}

/// Where JSON text goes: a buffer, or straight into a hash.
pub(crate) trait Sink {
    fn push(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn push(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// A running FNV-1a hash.
#[derive(Clone, Copy)]
pub(crate) struct Fnv(u32);

impl Fnv {
    pub(crate) const START: Self = Self(0x811c_9dc5);

    pub(crate) fn from_state(state: u32) -> Self {
        Self(state)
    }

    pub(crate) fn get(self) -> u32 {
        self.0
    }

    /// Adds text; JavaScript's encoder turns a lone surrogate into U+FFFD.
    pub(crate) fn push_text(&mut self, wtf8: &[u8]) {
        for chunk in chunks(wtf8) {
            match chunk {
                Chunk::Utf8(bytes) => self.push(bytes),
                Chunk::Surrogate(_) => self.push("\u{FFFD}".as_bytes()),
            }
        }
    }

    fn push_decimal(&mut self, mut number: u32) {
        let mut digits = [0u8; 10];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.push(&digits[at..]);
    }
}

impl Sink for Fnv {
    fn push(&mut self, bytes: &[u8]) {
        self.0 = bytes
            .iter()
            .fold(self.0, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    }
}

/// FNV-1a of a string's UTF-8 bytes, as TinyBase's `getHash`.
#[must_use]
pub fn hash_text(text: impl crate::AsText) -> u32 {
    let mut fnv = Fnv::START;
    fnv.push_text(text.wtf8());
    fnv.get()
}

/// The hash state after `id` and `":"`, which every hash of a child with that id begins with.
pub(crate) fn child_prefix(id: &[u8]) -> u32 {
    let mut fnv = Fnv::START;
    fnv.push_text(id);
    fnv.push(b":");
    fnv.get()
}

/// The share of a child in its parent's hash, from [`child_prefix`].
pub(crate) fn share(prefix: u32, child: u32) -> u32 {
    let mut fnv = Fnv::from_state(prefix);
    fnv.push_decimal(child);
    fnv.get()
}

/// The share of a child in its parent's hash: the hash of `id:hash`.
#[must_use]
pub fn hash_in_parent(id: impl crate::AsText, child: u32) -> u32 {
    share(child_prefix(id.wtf8()), child)
}

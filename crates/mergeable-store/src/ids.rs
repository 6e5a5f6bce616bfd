//! Interned ids: each kept once, named by a number.

use std::hash::{BuildHasher, Hasher, RandomState};

use hashbrown::HashTable;

use crate::TextRef;
use crate::hash::{child_prefix, share};

/// The number of an interned id.
pub(crate) type Id = u32;

/// Ids in the order in which they came, each with the start of every hash that begins with it.
///
/// The bytes of all of them lie in one piece, and the index holds numbers only: an id costs its text and about 20 bytes.
/// The index hashes with the standard library's keyed SipHash, so that a client cannot choose ids that collide; which keys it
/// has changes nothing but time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ids {
    bytes: Vec<u8>,
    /// Where each id ends in `bytes`.
    ends: Vec<usize>,
    prefixes: Vec<u32>,
    index: HashTable<Id>,
    keys: RandomState,
}

impl Ids {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn find(&self, wtf8: &[u8]) -> Option<Id> {
        let found = |id: &Id| slice(&self.bytes, &self.ends, *id) == wtf8;
        self.index.find(hash(&self.keys, wtf8), found).copied()
    }

    /// Whether this is the id of that number.
    pub(crate) fn is_at(&self, number: usize, wtf8: &[u8]) -> bool {
        number < self.len() && slice(&self.bytes, &self.ends, number as Id) == wtf8
    }

    /// The number of an id, and whether it is new.
    pub(crate) fn intern(&mut self, wtf8: &[u8]) -> (Id, bool) {
        let hash_of = hash(&self.keys, wtf8);
        let found = |id: &Id| slice(&self.bytes, &self.ends, *id) == wtf8;
        if let Some(id) = self.index.find(hash_of, found) {
            return (*id, false);
        }
        let id = self.ends.len() as Id;
        reserve_gently(&mut self.bytes, wtf8.len());
        self.bytes.extend_from_slice(wtf8);
        push_gently(&mut self.ends, self.bytes.len());
        push_gently(&mut self.prefixes, child_prefix(wtf8));
        let (bytes, ends, keys) = (&self.bytes, &self.ends, &self.keys);
        self.index.insert_unique(hash_of, id, |id| hash(keys, slice(bytes, ends, *id)));
        (id, true)
    }

    /// Takes back the latest new id.
    pub(crate) fn pop(&mut self) {
        let Some(last) = self.ends.len().checked_sub(1) else {
            return;
        };
        let hash_of = hash(&self.keys, slice(&self.bytes, &self.ends, last as Id));
        if let Ok(entry) = self.index.find_entry(hash_of, |id| *id as usize == last) {
            entry.remove();
        }
        self.ends.pop();
        self.prefixes.pop();
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
    }

    pub(crate) fn text(&self, id: Id) -> TextRef<'_> {
        TextRef::from_wtf8(slice(&self.bytes, &self.ends, id))
    }

    /// The share of a child with this id and hash in its parent's hash.
    pub(crate) fn share(&self, id: Id, hash: u32) -> u32 {
        share(self.prefixes[id as usize], hash)
    }
}

fn slice<'a>(bytes: &'a [u8], ends: &[usize], id: Id) -> &'a [u8] {
    let at = id as usize;
    let start = if at == 0 { 0 } else { ends[at - 1] };
    &bytes[start..ends[at]]
}

fn hash(keys: &RandomState, wtf8: &[u8]) -> u64 {
    let mut hasher = keys.build_hasher();
    hasher.write(wtf8);
    hasher.finish()
}

/// Pushes with an eighth of room, not double: large vectors would leave half of it unused, and growing them is cheap.
pub(crate) fn push_gently<T>(vec: &mut Vec<T>, item: T) {
    reserve_gently(vec, 1);
    vec.push(item);
}

fn reserve_gently<T>(vec: &mut Vec<T>, more: usize) {
    if vec.capacity() - vec.len() < more {
        vec.reserve_exact(more.max(vec.len() / 8).max(4));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_and_the_latest_can_be_taken_back() {
        let mut ids = Ids::default();
        let texts: Vec<String> = (0..1000).map(|number| format!("id {number}")).collect();
        for (number, text) in texts.iter().enumerate() {
            assert_eq!(ids.intern(text.as_bytes()), (number as Id, true));
            assert_eq!(ids.intern(text.as_bytes()), (number as Id, false));
        }
        ids.pop();
        assert_eq!((ids.find(b"id 999"), ids.find(b"id 998"), ids.len()), (None, Some(998), 999));
        assert_eq!(ids.intern(b""), (999, true));
        assert_eq!((ids.text(999).as_wtf8(), ids.text(0).as_wtf8()), (&b""[..], &b"id 0"[..]));
        assert!(ids.is_at(5, b"id 5") && !ids.is_at(5, b"id 6") && !ids.is_at(5000, b""));
        assert_eq!(ids.share(7, 3), crate::hash_in_parent("id 7", 3));
    }
}

//! An ordered set that knows each key's place: a B-tree with counts.

mod iter;
mod node;

use std::cmp::Ordering;
use std::ops::Range;

pub use self::iter::Keys;
use self::node::Node;

/// A set of keys in ascending order, in which the place of a key and the key at a place are found in O(log n), as keys
/// come and go.
///
/// The order is the key type's own `Ord`; what is to be told apart must be unequal, so a key that can occur twice has to
/// carry something unique at its end.
#[derive(Clone, Debug)]
pub struct RankedIndex<K> {
    root: Node<K>,
}

impl<K> Default for RankedIndex<K> {
    fn default() -> Self {
        Self { root: Node::Leaf(Vec::new()) }
    }
}

impl<K> RankedIndex<K> {
    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.root.count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The key at a place, counted from 0.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<&K> {
        self.root.get(place)
    }

    /// How many keys stand before the first one that `before` denies. It must hold for all keys up to some place and for
    /// none after it.
    pub fn partition_point(&self, mut before: impl FnMut(&K) -> bool) -> usize {
        self.root.partition_point(&mut before)
    }

    /// The keys at these places, in order; as many as there are.
    #[must_use]
    pub fn range(&self, places: Range<usize>) -> Keys<'_, K> {
        let end = places.end.min(self.len());
        Keys::new(&self.root, places.start.min(end), end)
    }

    /// All keys, in order.
    #[must_use]
    pub fn iter(&self) -> Keys<'_, K> {
        self.range(0..self.len())
    }

    /// The bytes allocated by the tree itself, unused capacity included; not what keys allocate.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.root.heap_bytes()
    }
}

impl<K: Ord> RankedIndex<K> {
    /// An index of all keys at once, in time O(n log n), or O(n) if they come in order. Of equal keys one is kept.
    #[must_use]
    pub fn from_keys(mut keys: Vec<K>) -> Self {
        keys.sort();
        keys.dedup_by(|a, b| (*a).cmp(b) == Ordering::Equal);
        Self { root: Node::from_sorted(keys) }
    }

    /// Adds a key; `false` if it is there already.
    pub fn insert(&mut self, key: K) -> bool {
        let (added, right) = self.root.insert(key);
        if let Some(right) = right {
            self.root.grow(right);
        }
        added
    }

    /// Removes a key; `false` if it is not there.
    pub fn remove(&mut self, key: &K) -> bool {
        let removed = self.root.remove(key);
        self.root.shrink();
        removed
    }

    /// The place of a key, or the place that it would get.
    ///
    /// # Errors
    /// That place, if the key is not there.
    pub fn rank(&self, key: &K) -> Result<usize, usize> {
        let place = self.partition_point(|other| other < key);
        match self.get(place) {
            Some(found) if found.cmp(key) == Ordering::Equal => Ok(place),
            _ => Err(place),
        }
    }
}

impl<'a, K> IntoIterator for &'a RankedIndex<K> {
    type Item = &'a K;
    type IntoIter = Keys<'a, K>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests;

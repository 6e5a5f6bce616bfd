//! A map that keeps the order of insertion, made for many small ones: a list, and an index only where it is long.

use std::hash::{BuildHasher, Hasher, RandomState};

use hashbrown::HashTable;

use crate::json::js_rank;
use crate::{AsText, Text};

/// Beyond this many entries an index replaces the search through the list.
const INDEX_ABOVE: usize = 16;

/// Id to value. Equal to another with the same entries in any order.
#[derive(Clone, Debug)]
pub(crate) struct Map<V> {
    list: Vec<(Text, V)>,
    index: Option<Box<Index>>,
}

/// Positions by the keyed hash of their id; see [`crate::ids::Ids`].
#[derive(Clone, Debug, Default)]
struct Index {
    positions: HashTable<u32>,
    keys: RandomState,
}

impl Index {
    fn hash(&self, id: &[u8]) -> u64 {
        hash(&self.keys, id)
    }

    fn insert<V>(&mut self, hash_of: u64, at: usize, list: &[(Text, V)]) {
        let keys = &self.keys;
        let rehash = |at: &u32| hash(keys, list[*at as usize].0.as_wtf8());
        self.positions.insert_unique(hash_of, at as u32, rehash);
    }
}

fn hash(keys: &RandomState, id: &[u8]) -> u64 {
    let mut hasher = keys.build_hasher();
    hasher.write(id);
    hasher.finish()
}

impl<V> Default for Map<V> {
    fn default() -> Self {
        Self { list: Vec::new(), index: None }
    }
}

impl<V> Map<V> {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { list: Vec::with_capacity(capacity), index: None }
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&Text, &V)> {
        self.list.iter().map(|(id, value)| (id, value))
    }

    pub(crate) fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&Text, &mut V)> {
        self.list.iter_mut().map(|(id, value)| (&*id, value))
    }

    pub(crate) fn at(&self, place: usize) -> (&Text, &V) {
        let (id, value) = &self.list[place];
        (id, value)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.list.iter().map(|(_, value)| value)
    }

    /// The position of an id, or the hash with which to insert it where there is an index.
    fn position(&self, id: &[u8]) -> Result<usize, u64> {
        // Whoever fills a map by cells comes back to the same row many times in a row.
        if let Some(last) = self.list.len().checked_sub(1)
            && self.list[last].0.as_wtf8() == id
        {
            return Ok(last);
        }
        let Some(index) = &self.index else {
            return self.list.iter().position(|(other, _)| other.as_wtf8() == id).ok_or(0);
        };
        let hash = index.hash(id);
        let found = |at: &u32| self.list[*at as usize].0.as_wtf8() == id;
        index.positions.find(hash, found).map(|at| *at as usize).ok_or(hash)
    }

    pub(crate) fn get(&self, id: &[u8]) -> Option<&V> {
        self.position(id).ok().map(|at| &self.list[at].1)
    }

    fn push(&mut self, hash: u64, id: Text, value: V) {
        let at = self.list.len();
        self.list.push((id, value));
        if let Some(index) = &mut self.index {
            index.insert(hash, at, &self.list);
        } else if at >= INDEX_ABOVE {
            let mut index = Index::default();
            for at in 0..self.list.len() {
                index.insert(index.hash(self.list[at].0.as_wtf8()), at, &self.list);
            }
            self.index = Some(Box::new(index));
        }
    }

    /// Puts a value in place of one with the same id, or at the end.
    pub(crate) fn insert(&mut self, id: impl AsText, value: V) {
        match self.position(id.wtf8()) {
            Ok(at) => self.list[at].1 = value,
            Err(hash) => self.push(hash, id.to_text(), value),
        }
    }

    /// Puts a value at the end, unless there is one with this id.
    pub(crate) fn insert_new(&mut self, id: Text, value: V) -> Result<(), Duplicate> {
        match self.position(id.as_wtf8()) {
            Ok(_) => Err(Duplicate),
            Err(hash) => {
                self.push(hash, id, value);
                Ok(())
            }
        }
    }

    pub(crate) fn extend(&mut self, other: Self) {
        other.list.into_iter().for_each(|(id, value)| self.insert(id, value));
    }

    /// Puts the ids in the order of an object's keys in JavaScript.
    pub(crate) fn sort_js(&mut self) {
        if !self.list.is_sorted_by_key(|(id, _)| js_rank(id)) {
            let mut ranked = std::mem::take(self).list;
            ranked.sort_by_cached_key(|(id, _)| js_rank(id));
            ranked.into_iter().for_each(|(id, value)| self.insert(id, value));
        }
    }
}

/// There is an entry with this id already.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Duplicate;

impl<V: Default> Map<V> {
    /// The value with this id, made if need be.
    pub(crate) fn entry(&mut self, id: impl AsText) -> &mut V {
        let at = self.position(id.wtf8()).unwrap_or_else(|hash| {
            self.push(hash, id.to_text(), V::default());
            self.list.len() - 1
        });
        &mut self.list[at].1
    }
}

impl<V: PartialEq> PartialEq for Map<V> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.iter().all(|(id, value)| other.get(id.as_wtf8()) == Some(value))
    }
}

impl<V> IntoIterator for Map<V> {
    type Item = (Text, V);
    type IntoIter = std::vec::IntoIter<(Text, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl<V> FromIterator<(Text, V)> for Map<V> {
    fn from_iter<I: IntoIterator<Item = (Text, V)>>(entries: I) -> Self {
        let mut map = Self::default();
        entries.into_iter().for_each(|(id, value)| map.insert(id, value));
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_maps_keep_the_order_and_replace_in_place() {
        for count in [3usize, 17, 300] {
            let mut map = Map::default();
            for number in 0..count {
                map.insert(format!("id {number}"), number);
                *map.entry(format!("id {}", number / 2)) += 1000;
            }
            map.insert("id 1", 5);
            assert_eq!(map.insert_new("id 2".into(), 0), Err(Duplicate));
            assert_eq!((map.len(), map.get(b"id 1"), map.get(b"none")), (count, Some(&5), None));
            assert!(
                map.iter()
                    .map(|(id, _)| id.to_string())
                    .eq((0..count).map(|number| format!("id {number}")))
            );
            let mut backwards = Map::default();
            let all: Vec<_> = map.clone().into_iter().collect();
            all.into_iter().rev().for_each(|(id, value)| backwards.insert(id, value));
            assert_eq!(map, backwards);
            backwards.insert("id 0", 1);
            assert_ne!(map, backwards);
        }
    }

    #[test]
    fn array_indices_come_first() {
        let mut map: Map<()> =
            ["b", "10", "a", "9"].map(|id| (Text::from(id), ())).into_iter().collect();
        map.sort_js();
        assert!(map.iter().map(|(id, ())| id.as_str()).eq([
            Some("9"),
            Some("10"),
            Some("b"),
            Some("a")
        ]));
    }
}

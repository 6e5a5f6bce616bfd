//! Ordered collections keyed by interned ids: what tables, rows and cells live in.

use std::collections::HashMap;

use indexmap::IndexSet;

use crate::Text;
use crate::hash::{child_prefix, share};

/// An interned table, row, cell or value id.
pub(crate) type Id = u32;

/// All ids of a store, each kept once, with the start of every hash that begins with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ids {
    texts: IndexSet<Text>,
    prefixes: Vec<u32>,
}

impl Ids {
    pub(crate) fn find(&self, wtf8: &[u8]) -> Option<Id> {
        self.texts.get_index_of(wtf8).map(|at| at as Id)
    }

    pub(crate) fn intern(&mut self, text: impl crate::AsText) -> Id {
        if let Some(id) = self.find(text.wtf8()) {
            return id;
        }
        self.prefixes.push(child_prefix(text.wtf8()));
        self.texts.insert_full(text.to_text()).0 as Id
    }

    pub(crate) fn text(&self, id: Id) -> &Text {
        &self.texts[id as usize]
    }

    /// The share of a child with this id and hash in its parent's hash.
    pub(crate) fn share(&self, id: Id, hash: u32) -> u32 {
        share(self.prefixes[id as usize], hash)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Entry<V> {
    pub(crate) id: Id,
    /// Place in the order in which entries came to life; see [`Entries::revive`].
    order: u32,
    pub(crate) value: V,
}

/// Beyond this many entries an index replaces the search through the list.
const INDEX_ABOVE: usize = 16;

/// Entries in the order in which they were first stamped. They are never removed, except by a rollback. A second order is
/// that of TinyBase's plain store, where an entry that was deleted and comes back goes to the end.
#[derive(Clone, Debug)]
#[allow(
    clippy::box_collection,
    reason = "most rows have no index; a box keeps them 40 bytes smaller"
)]
pub(crate) struct Entries<V> {
    list: Vec<Entry<V>>,
    index: Option<Box<HashMap<Id, u32>>>,
    next_order: u32,
    reordered: bool,
}

impl<V> Default for Entries<V> {
    fn default() -> Self {
        Self { list: Vec::new(), index: None, next_order: 0, reordered: false }
    }
}

impl<V> Entries<V> {
    pub(crate) fn position(&self, id: Id) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(&id).map(|at| *at as usize),
            None => self.list.iter().position(|entry| entry.id == id),
        }
    }

    pub(crate) fn find(&self, id: Id) -> Option<&V> {
        self.position(id).map(|at| &self.list[at].value)
    }

    pub(crate) fn get(&self, at: usize) -> &Entry<V> {
        &self.list[at]
    }

    pub(crate) fn get_mut(&mut self, at: usize) -> &mut V {
        &mut self.list[at].value
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Entry<V>> {
        self.list.iter()
    }

    /// Adds an entry whose id is new; its position.
    pub(crate) fn push(&mut self, id: Id, value: V) -> usize {
        let at = self.list.len();
        let order = self.take_order();
        if at < INDEX_ABOVE && at == self.list.capacity() {
            // Most rows have a handful of cells and keep them: doubling would leave a third of the memory unused.
            self.list.reserve_exact(2);
        }
        self.list.push(Entry { id, order, value });
        match &mut self.index {
            Some(index) => {
                index.insert(id, at as u32);
            }
            None if at >= INDEX_ABOVE => {
                self.index =
                    Some(Box::new(self.list.iter().map(|entry| entry.id).zip(0..).collect()));
            }
            None => {}
        }
        at
    }

    /// Takes back the latest [`Entries::push`].
    pub(crate) fn pop(&mut self) {
        if let (Some(entry), Some(index)) = (self.list.pop(), &mut self.index) {
            index.remove(&entry.id);
        }
    }

    /// An entry came to life (again): it moves to the end of the living.
    pub(crate) fn revive(&mut self, at: usize) {
        if self.reordered || at + 1 < self.list.len() {
            let order = self.take_order();
            self.list[at].order = order;
            self.reordered = true;
        }
    }

    /// Positions in the order of the plain store.
    pub(crate) fn positions(&self) -> Vec<usize> {
        let mut positions: Vec<usize> = (0..self.list.len()).collect();
        if self.reordered {
            positions.sort_by_key(|at| self.list[*at].order);
        }
        positions
    }

    fn take_order(&mut self) -> u32 {
        if self.next_order == u32::MAX {
            for (order, at) in (0..).zip(self.positions()) {
                self.list[at].order = order;
            }
            self.next_order = self.list.len() as u32;
        }
        self.next_order += 1;
        self.next_order - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_below_and_above_the_index_bound_and_after_a_pop() {
        let mut entries = Entries::default();
        for id in 0..100 {
            entries.push(id * 7, id);
            assert_eq!(entries.find(id * 7), Some(&id));
        }
        entries.pop();
        assert_eq!((entries.find(98 * 7), entries.find(99 * 7)), (Some(&98), None));
        entries.push(1, 5);
        assert_eq!(entries.find(1), Some(&5));
    }

    #[test]
    fn the_revived_go_to_the_end_and_orders_are_renumbered() {
        let mut entries = Entries::default();
        for id in 0..3 {
            entries.push(id, ());
        }
        entries.revive(0);
        assert_eq!(entries.positions(), [1, 2, 0]);
        entries.next_order = u32::MAX;
        entries.revive(1);
        entries.push(3, ());
        assert_eq!(entries.positions(), [2, 0, 1, 3]);
    }
}

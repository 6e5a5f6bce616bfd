//! Ordered collections keyed by id: what tables and rows live in.

use crate::TextRef;
use crate::ids::{Ids, push_gently};
use crate::order::Order;

/// Entries in the order in which they were first stamped. They are never removed, except by a rollback. An entry's position
/// is the number of its id.
#[derive(Clone, Debug)]
pub(crate) struct Entries<V> {
    ids: Ids,
    list: Vec<V>,
    order: Order,
}

impl<V> Default for Entries<V> {
    fn default() -> Self {
        Self { ids: Ids::default(), list: Vec::new(), order: Order::default() }
    }
}

impl<V> Entries<V> {
    pub(crate) fn position(&self, id: &[u8]) -> Option<usize> {
        self.ids.find(id).map(|at| at as usize)
    }

    pub(crate) fn find(&self, id: &[u8]) -> Option<&V> {
        self.position(id).map(|at| &self.list[at])
    }

    pub(crate) fn get(&self, at: usize) -> &V {
        &self.list[at]
    }

    pub(crate) fn get_mut(&mut self, at: usize) -> &mut V {
        &mut self.list[at]
    }

    pub(crate) fn id(&self, at: usize) -> TextRef<'_> {
        self.ids.text(at as u32)
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (TextRef<'_>, &V)> {
        self.list.iter().enumerate().map(|(at, value)| (self.id(at), value))
    }

    /// In the order of the plain store.
    pub(crate) fn ordered(&self) -> impl Iterator<Item = (TextRef<'_>, &V)> {
        self.order.positions(self.len()).map(|at| (self.id(at), self.get(at)))
    }

    /// The share of an entry with this hash in the hash over all.
    pub(crate) fn share(&self, at: usize, hash: u32) -> u32 {
        self.ids.share(at as u32, hash)
    }

    /// Takes back the latest entry.
    pub(crate) fn pop(&mut self) {
        if self.list.pop().is_some() {
            self.ids.pop();
            self.order.pop(self.list.len());
        }
    }

    /// An entry came to life (again): it moves to the end of the living.
    pub(crate) fn revive(&mut self, at: usize) {
        self.order.revive(at, self.list.len());
    }
}

impl<V: Default> Entries<V> {
    /// The position of the entry with this id, made if need be, and whether it was made.
    pub(crate) fn entry(&mut self, id: &[u8]) -> (usize, bool) {
        let (at, made) = self.ids.intern(id);
        if made {
            self.order.push(self.list.len());
            push_gently(&mut self.list, V::default());
        }
        (at as usize, made)
    }

    /// As [`Entries::entry`], quicker if the guess is right.
    pub(crate) fn entry_near(&mut self, guess: usize, id: &[u8]) -> (usize, bool) {
        if self.ids.is_at(guess, id) { (guess, false) } else { self.entry(id) }
    }
}

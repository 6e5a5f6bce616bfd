//! Rows as lists of cells with an index, for rows that are large.

use std::collections::HashMap;

use super::packed::Packed;
use super::{Rule, StampRef, Stamped, Written};
use crate::Hlc;
use crate::ids::{Id, push_gently};
use crate::order::Order;

/// Beyond this many cells an index replaces the search through the list.
const INDEX_ABOVE: usize = 16;

#[derive(Clone, Debug)]
pub(super) struct Full {
    list: Vec<(Id, Stamped)>,
    index: HashMap<Id, u32>,
    order: Order,
    pub(super) hlc: Hlc,
}

impl Full {
    pub(super) fn from_packed(packed: &Packed) -> Self {
        let header = packed.header();
        let mut full = Self {
            list: Vec::with_capacity(header.count),
            index: HashMap::new(),
            order: Order::default(),
            hlc: header.hlc,
        };
        for (id, stamp) in header.cells() {
            full.push(id, stamp.to_stamped());
        }
        for at in header.order {
            full.order.revive(usize::from(*at), full.list.len());
        }
        full
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Id, StampRef<'_>)> {
        self.list.iter().map(|(id, stamped)| (*id, stamped.view()))
    }

    pub(super) fn ordered(&self) -> impl Iterator<Item = (Id, StampRef<'_>)> {
        let positions = self.order.positions(self.list.len());
        positions.map(|at| (self.list[at].0, self.list[at].1.view()))
    }

    fn position(&self, id: Id) -> Option<usize> {
        if self.index.is_empty() {
            return self.list.iter().position(|(other, _)| *other == id);
        }
        self.index.get(&id).map(|at| *at as usize)
    }

    pub(super) fn get(&self, id: Id) -> Option<StampRef<'_>> {
        self.position(id).map(|at| self.list[at].1.view())
    }

    fn push(&mut self, id: Id, stamped: Stamped) {
        let at = self.list.len();
        self.order.push(at);
        push_gently(&mut self.list, (id, stamped));
        if !self.index.is_empty() {
            self.index.insert(id, at as u32);
        } else if at >= INDEX_ABOVE {
            self.index = self.list.iter().map(|(id, _)| *id).zip(0..).collect();
        }
    }

    pub(super) fn write(
        &mut self,
        stamps: &[(Id, StampRef<'_>)],
        rule: Rule,
        changed: &mut Written<'_>,
    ) {
        for (place, (id, new)) in stamps.iter().enumerate() {
            let Some(at) = self.position(*id) else {
                changed(place, None);
                self.push(*id, new.to_stamped());
                continue;
            };
            let old = self.list[at].1.view();
            if rule == Rule::Replace || old.loses_to(new.hlc) {
                let revived = old.thing.is_none() && new.thing.is_some();
                changed(place, Some(old));
                self.list[at].1 = new.to_stamped();
                if revived {
                    self.order.revive(at, self.list.len());
                }
            }
        }
    }

    pub(super) fn replace(&mut self, id: Id, stamp: StampRef<'_>) {
        if let Some(at) = self.position(id) {
            self.list[at].1 = stamp.to_stamped();
        }
    }

    pub(super) fn pop(&mut self) {
        if let Some((id, _)) = self.list.pop() {
            self.index.remove(&id);
            self.order.pop(self.list.len());
        }
    }

    pub(super) fn revive(&mut self, id: Id) {
        if let Some(at) = self.position(id) {
            self.order.revive(at, self.list.len());
        }
    }
}

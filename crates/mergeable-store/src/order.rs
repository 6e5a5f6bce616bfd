//! The order of TinyBase's plain store, in which what was deleted and comes back goes to the end.

use std::collections::{BTreeMap, HashMap};

/// How the living of a list are ordered. Most lists are in the order in which their entries were first stamped, and cost
/// nothing; where some came back, each of those is placed after all that were there at that moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Order(Option<Box<Revived>>);

#[derive(Clone, Debug, Default)]
struct Revived {
    places: HashMap<u32, Place>,
    by_place: BTreeMap<Place, u32>,
    next: u64,
}

/// After the entries before this position, and after whatever came back earlier.
type Place = (u32, u64);

impl Order {
    /// The entry at a position came back to a list of this length.
    pub(crate) fn revive(&mut self, at: usize, len: usize) {
        let latest = self.0.as_ref().and_then(|revived| revived.by_place.last_key_value());
        if at + 1 == len && latest.is_none_or(|((before, _), _)| (*before as usize) < len) {
            return;
        }
        let revived = self.0.get_or_insert_default();
        revived.settle(len);
        let place = (len as u32, revived.next);
        revived.next += 1;
        if let Some(old) = revived.places.insert(at as u32, place) {
            revived.by_place.remove(&old);
        }
        revived.by_place.insert(place, at as u32);
    }

    /// An entry is about to be added to a list of this length, which may have been longer before.
    pub(crate) fn push(&mut self, len: usize) {
        if let Some(revived) = &mut self.0 {
            revived.settle(len);
        }
    }

    /// The last entry was taken away again; its position.
    pub(crate) fn pop(&mut self, at: usize) {
        if let Some(revived) = &mut self.0
            && let Some(place) = revived.places.remove(&(at as u32))
        {
            revived.by_place.remove(&place);
        }
    }

    /// All positions of a list of this length, in order; the dead stand anywhere.
    pub(crate) fn positions(&self, len: usize) -> impl Iterator<Item = usize> + use<> {
        let (natural, listed) = match &self.0 {
            None => (0..len, Vec::new()),
            Some(revived) => (0..0, revived.positions(len)),
        };
        natural.chain(listed)
    }
}

impl Revived {
    /// What came back when the list was longer than now still comes before whatever is yet to come.
    fn settle(&mut self, len: usize) {
        for ((_, number), at) in self.by_place.split_off(&(len as u32 + 1, 0)) {
            let place = (len as u32, number);
            self.places.insert(at, place);
            self.by_place.insert(place, at);
        }
    }

    fn positions(&self, len: usize) -> Vec<usize> {
        let mut positions = Vec::with_capacity(len);
        let mut revived = self.by_place.iter().peekable();
        for at in 0..len {
            while let Some((_, back)) = revived.next_if(|((before, _), _)| *before as usize <= at) {
                positions.push(*back as usize);
            }
            if !self.places.contains_key(&(at as u32)) {
                positions.push(at);
            }
        }
        positions.extend(revived.map(|(_, back)| *back as usize));
        positions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push,
        Pop,
        Revive(usize),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![Just(Step::Push), Just(Step::Pop), (0usize..20).prop_map(Step::Revive)]
    }

    proptest! {
        /// Against a plain list from which entries are taken and put at the end.
        #[test]
        fn the_order_is_that_of_a_list(steps in prop::collection::vec(any_step(), 0..60)) {
            let (mut order, mut list, mut len) = (Order::default(), Vec::new(), 0);
            for step in steps {
                match step {
                    Step::Push => {
                        order.push(len);
                        list.push(len);
                        len += 1;
                    }
                    Step::Pop if len > 0 => {
                        len -= 1;
                        order.pop(len);
                        list.retain(|at| *at != len);
                    }
                    Step::Revive(at) if at < len => {
                        order.revive(at, len);
                        list.retain(|other| *other != at);
                        list.push(at);
                    }
                    _ => {}
                }
                prop_assert_eq!(order.positions(len).collect::<Vec<_>>(), list.clone());
            }
        }
    }
}

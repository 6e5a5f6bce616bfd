//! A row: its cells with their stamps. The values of a store are kept the same way.
//!
//! Most rows are packed into one piece of memory ([`packed`]); rows of many cells, or of much content, are lists with an
//! index ([`full`]), so that a write costs the same whatever the row holds. A packed row that grows becomes a full one and
//! stays so. Both behave alike.

mod coding;
mod full;
mod packed;
#[cfg(test)]
mod tests;

use self::full::Full;
use self::packed::{MAX_BYTES, MAX_CELLS, Packed};
use crate::cell::stamp_hash;
use crate::hash::hash_text;
use crate::ids::{Id, Ids};
use crate::{Cell, CellRef, Hlc};

/// A cell's or value's stamp as it is read from a row. No thing: deleted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StampRef<'a> {
    pub(crate) thing: Option<CellRef<'a>>,
    pub(crate) hlc: Hlc,
    /// The hash, where it was taken over from saved content and is not that of thing and HLC.
    pub(crate) believed: Option<u32>,
}

impl<'a> StampRef<'a> {
    pub(crate) fn new(thing: Option<CellRef<'a>>, hlc: Hlc) -> Self {
        Self { thing, hlc, believed: None }
    }

    /// A stamp whose hash comes from saved content.
    pub(crate) fn with_hash(thing: Option<CellRef<'a>>, hlc: Hlc, hash: u32) -> Self {
        let believed = (stamp_hash(thing, hlc) != hash).then_some(hash);
        Self { thing, hlc, believed }
    }

    pub(crate) fn hash(&self) -> u32 {
        self.believed.unwrap_or_else(|| stamp_hash(self.thing, self.hlc))
    }

    pub(crate) fn to_stamped(self) -> Stamped {
        let Self { thing, hlc, believed } = self;
        Stamped { thing: thing.map(CellRef::to_cell), hlc, believed }
    }

    /// Whether a stamp with this HLC takes the place of this one.
    pub(crate) fn loses_to(&self, hlc: Hlc) -> bool {
        self.hlc.is_empty() || hlc > self.hlc
    }
}

/// A [`StampRef`] that owns its content.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stamped {
    pub(crate) thing: Option<Cell>,
    pub(crate) hlc: Hlc,
    believed: Option<u32>,
}

impl Stamped {
    pub(crate) fn view(&self) -> StampRef<'_> {
        let Self { thing, hlc, believed } = self;
        StampRef { thing: thing.as_ref().map(Cell::view), hlc: *hlc, believed: *believed }
    }
}

/// Which of the stamps written take the place of those that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Those with a greater HLC, and all where there is no HLC yet.
    Merge,
    /// All.
    Replace,
}

/// Told of each stamp written: its place in what was to be written, and what was there.
type Written<'f> = dyn FnMut(usize, Option<StampRef<'_>>) + 'f;

/// As [`Written`], and told how many cells live after it.
type Changed<'f> = dyn FnMut(usize, Option<StampRef<'_>>, u32) + 'f;

#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    hash: u32,
    /// How many cells live.
    live: u32,
    cells: Cells,
}

#[derive(Clone, Debug)]
enum Cells {
    Packed(Packed),
    Full(Box<Full>),
}

impl Default for Cells {
    fn default() -> Self {
        Self::Packed(Packed::default())
    }
}

impl Row {
    pub(crate) fn hash(&self) -> u32 {
        self.hash
    }

    pub(crate) fn live(&self) -> u32 {
        self.live
    }

    /// The container HLC, which only old clients set.
    pub(crate) fn hlc(&self) -> Hlc {
        match &self.cells {
            Cells::Packed(packed) => packed.header().hlc,
            Cells::Full(full) => full.hlc,
        }
    }

    /// How many cells there are, tombstones included.
    pub(crate) fn len(&self) -> usize {
        match &self.cells {
            Cells::Packed(packed) => packed.header().count,
            Cells::Full(full) => full.len(),
        }
    }

    pub(crate) fn get(&self, id: Id) -> Option<StampRef<'_>> {
        match &self.cells {
            Cells::Packed(packed) => {
                packed.header().cells().find(|(cell, _)| *cell == id).map(|(_, stamp)| stamp)
            }
            Cells::Full(full) => full.get(id),
        }
    }

    /// A living cell's content; quicker than [`Row::get`], for stamps are passed over.
    pub(crate) fn thing(&self, id: Id) -> Option<CellRef<'_>> {
        match &self.cells {
            Cells::Packed(packed) => packed.header().cells().thing(id),
            Cells::Full(full) => full.get(id)?.thing,
        }
    }

    /// All cells, in the order in which they were first stamped.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id, StampRef<'_>)> {
        let (packed, full) = match &self.cells {
            Cells::Packed(packed) => (Some(packed.header().cells()), None),
            Cells::Full(full) => (None, Some(full.iter())),
        };
        packed.into_iter().flatten().chain(full.into_iter().flatten())
    }

    /// The living cells, in the order of the plain store.
    pub(crate) fn living(&self) -> impl Iterator<Item = (Id, CellRef<'_>)> {
        let (natural, ordered) = match &self.cells {
            Cells::Packed(packed) if packed.header().order.is_empty() => {
                (Some(packed.header().cells()), Vec::new())
            }
            Cells::Packed(packed) => {
                let header = packed.header();
                let cells: Vec<_> = header.cells().collect();
                let at = header.order.iter().filter_map(|at| cells.get(usize::from(*at)).copied());
                (None, at.collect())
            }
            Cells::Full(full) => (None, full.ordered().collect()),
        };
        let all = natural.into_iter().flatten().chain(ordered);
        all.filter_map(|(id, stamp)| Some((id, stamp.thing?)))
    }

    /// Takes over a container HLC if it is greater; says whether it was.
    pub(crate) fn raise(&mut self, hlc: Hlc) -> bool {
        let own = self.hlc();
        if hlc <= own {
            return false;
        }
        self.hash ^= raised(own, hlc);
        match &mut self.cells {
            Cells::Packed(packed) => *packed = packed.with_hlc(hlc),
            Cells::Full(full) => full.hlc = hlc,
        }
        true
    }

    /// Writes stamps of different cells, in order; those that lose by the rule change nothing.
    pub(crate) fn write(
        &mut self,
        ids: &Ids,
        stamps: &[(Id, StampRef<'_>)],
        rule: Rule,
        scratch: &mut Vec<u8>,
        changed: &mut Changed<'_>,
    ) {
        if stamps.len() > MAX_CELLS {
            self.unpack();
        }
        let (hash, live) = (&mut self.hash, &mut self.live);
        let mut written = |at: usize, old: Option<StampRef<'_>>| {
            let (id, new) = &stamps[at];
            *hash ^= ids.share(*id, old.map_or(0, |old| old.hash())) ^ ids.share(*id, new.hash());
            recount(live, old.is_some_and(|old| old.thing.is_some()), new.thing.is_some());
            changed(at, old, *live);
        };
        match &mut self.cells {
            Cells::Packed(packed) => {
                if let Some(written) = packed.write(stamps, rule, scratch, &mut written) {
                    *packed = written;
                    if packed.len() > MAX_BYTES || packed.header().count > MAX_CELLS {
                        self.unpack();
                    }
                }
                // One large cell must not keep its room for ever.
                scratch.shrink_to(2 * MAX_BYTES);
            }
            Cells::Full(full) => full.write(stamps, rule, &mut written),
        }
    }

    /// Writes one stamp; what was there, if the stamp won.
    pub(crate) fn put(
        &mut self,
        ids: &Ids,
        stamp: (Id, StampRef<'_>),
        rule: Rule,
        scratch: &mut Vec<u8>,
    ) -> Option<Stamped> {
        let mut old = None;
        self.write(ids, &[stamp], rule, scratch, &mut |_, was, _| {
            old = was.map(StampRef::to_stamped);
        });
        old
    }

    /// Takes back a write: puts back what was there, or takes away the cell, which then is the latest; and the hash.
    pub(crate) fn undo(&mut self, id: Id, old: Option<StampRef<'_>>, hash: u32) {
        let lived = self.get(id).is_some_and(|stamp| stamp.thing.is_some());
        recount(&mut self.live, lived, old.is_some_and(|old| old.thing.is_some()));
        self.hash = hash;
        match (&mut self.cells, old) {
            (Cells::Packed(packed), Some(old)) => *packed = packed.replaced(id, old),
            (Cells::Packed(packed), None) => *packed = packed.popped(),
            (Cells::Full(full), Some(old)) => full.replace(id, old),
            (Cells::Full(full), None) => full.pop(),
        }
    }

    /// A cell came to life again: it moves to the end of the living.
    pub(crate) fn revive(&mut self, id: Id) {
        match &mut self.cells {
            Cells::Packed(packed) => *packed = packed.revived(id),
            Cells::Full(full) => full.revive(id),
        }
    }

    /// Takes over the hash of saved content.
    pub(crate) fn believe(&mut self, hash: u32) {
        self.hash = hash;
    }

    /// The hash computed anew from all stamps.
    pub(crate) fn computed_hash(&self, ids: &Ids) -> u32 {
        self.iter().fold(raised(Hlc::EMPTY, self.hlc()), |hash, (id, stamp)| {
            hash ^ ids.share(id, stamp_hash(stamp.thing, stamp.hlc)) ^ ids.share(id, 0)
        })
    }

    /// Turns a packed row into a full one.
    pub(crate) fn unpack(&mut self) {
        if let Cells::Packed(packed) = &self.cells {
            self.cells = Cells::Full(Box::new(Full::from_packed(packed)));
        }
    }
}

/// What a container HLC adds to its container's hash when it takes the place of another.
pub(crate) fn raised(old: Hlc, new: Hlc) -> u32 {
    let share = |hlc: Hlc| if hlc.is_empty() { 0 } else { hash_text(hlc.to_string()) };
    share(old) ^ share(new)
}

/// Keeps a count of the living.
pub(crate) fn recount(live: &mut u32, lived: bool, lives: bool) {
    match (lived, lives) {
        (false, true) => *live += 1,
        (true, false) => *live -= 1,
        _ => {}
    }
}

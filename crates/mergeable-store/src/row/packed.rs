//! Rows in one piece of memory.
//!
//! A header (flags, number of cells, then where flagged the container HLC and the order of the plain store), and after it
//! the cells ([`super::coding`]).

use super::coding::{Cells, Reader, Writer};
use super::{Rule, StampRef, Written};
use crate::Hlc;
use crate::hlc::HLC_BYTES;
use crate::ids::Id;

/// A packed row is rewritten whole by each write, so it stays small: at most so many cells,
pub(super) const MAX_CELLS: usize = 24;
/// and so many bytes.
pub(super) const MAX_BYTES: usize = 4096;

const HAS_HLC: u8 = 1;
const HAS_ORDER: u8 = 2;

/// The memory of a packed row; empty for a row without anything.
#[derive(Clone, Debug, Default)]
pub(super) struct Packed(Box<[u8]>);

/// A packed row's header, and its cells, not yet looked at.
pub(super) struct Header<'a> {
    pub(super) count: usize,
    pub(super) hlc: Hlc,
    /// Positions in the order of the plain store; empty where that is the order of the cells.
    pub(super) order: &'a [u8],
    cells: &'a [u8],
}

impl<'a> Header<'a> {
    pub(super) fn cells(&self) -> Cells<'a> {
        Cells::new(self.cells, self.count)
    }
}

impl Packed {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn header(&self) -> Header<'_> {
        let mut reader = Reader::new(&self.0);
        let (flags, count) = (reader.byte(), usize::from(reader.byte()));
        let hlc = if flags & HAS_HLC == 0 { Hlc::EMPTY } else { reader.hlc() };
        let order = if flags & HAS_ORDER == 0 { &[] } else { reader.bytes(count) };
        Header { count, hlc, order, cells: reader.rest() }
    }

    fn build(count: usize, hlc: Hlc, order: &[u8], cells: &[u8]) -> Self {
        let mut flags = 0;
        let mut room = 2 + cells.len();
        if !hlc.is_empty() {
            flags |= HAS_HLC;
            room += HLC_BYTES;
        }
        if !order.is_empty() {
            flags |= HAS_ORDER;
            room += order.len();
        }
        let mut bytes = Vec::with_capacity(room);
        bytes.extend_from_slice(&[flags, count as u8]);
        if !hlc.is_empty() {
            bytes.extend_from_slice(&hlc.to_bytes());
        }
        bytes.extend_from_slice(order);
        bytes.extend_from_slice(cells);
        Self(bytes.into_boxed_slice())
    }

    pub(super) fn with_hlc(&self, hlc: Hlc) -> Self {
        let header = self.header();
        Self::build(header.count, hlc, header.order, header.cells)
    }

    /// The row after writing stamps; `None` if all of them lost.
    pub(super) fn write(
        &self,
        stamps: &[(Id, StampRef<'_>)],
        rule: Rule,
        scratch: &mut Vec<u8>,
        changed: &mut Written<'_>,
    ) -> Option<Self> {
        let header = self.header();
        let mut fates = [Fate::New; MAX_CELLS];
        let mut olds = [None; MAX_CELLS];
        let mut out = Writer::new(scratch);
        for (at, (id, old)) in header.cells().enumerate() {
            let place = match stamps.get(at) {
                Some((same, _)) if *same == id => Some(at),
                _ => stamps.iter().position(|(other, _)| *other == id),
            };
            let Some(place) = place else {
                out.push(id, &old);
                continue;
            };
            let new = &stamps[place].1;
            let wins = rule == Rule::Replace || old.loses_to(new.hlc);
            let revived = wins && old.thing.is_none() && new.thing.is_some();
            fates[place] =
                if wins { Fate::Replaces { at: at as u8, revived } } else { Fate::Loses };
            olds[place] = Some(old);
            out.push(id, if wins { new } else { &old });
        }
        let (mut count, mut any) = (header.count, false);
        for (place, (id, new)) in stamps.iter().enumerate() {
            match fates[place] {
                Fate::Loses => continue,
                Fate::Replaces { .. } => {}
                Fate::New => {
                    out.push(*id, new);
                    count += 1;
                }
            }
            any = true;
            changed(place, olds[place]);
        }
        let order = reorder(&header, &fates[..stamps.len()]);
        any.then(|| Self::build(count, header.hlc, &order, scratch))
    }

    /// The row with another stamp for one of its cells.
    pub(super) fn replaced(&self, id: Id, stamp: StampRef<'_>) -> Self {
        self.rewritten(|cell, there| if cell == id { stamp } else { there }, self.header().count)
    }

    /// The row without its latest cell.
    pub(super) fn popped(&self) -> Self {
        self.rewritten(|_, there| there, self.header().count.saturating_sub(1))
    }

    /// The row with a cell at the end of the order.
    pub(super) fn revived(&self, id: Id) -> Self {
        let header = self.header();
        let Some(at) = header.cells().position(|(cell, _)| cell == id) else {
            return self.clone();
        };
        let order = reorder(&header, &[Fate::Replaces { at: at as u8, revived: true }]);
        Self::build(header.count, header.hlc, &order, header.cells)
    }

    fn rewritten<'a>(
        &'a self,
        stamp: impl Fn(Id, StampRef<'a>) -> StampRef<'a>,
        count: usize,
    ) -> Self {
        let (header, mut scratch) = (self.header(), Vec::with_capacity(self.0.len()));
        let mut out = Writer::new(&mut scratch);
        for (id, there) in header.cells().take(count) {
            out.push(id, &stamp(id, there));
        }
        let order: Vec<u8> =
            header.order.iter().copied().filter(|at| usize::from(*at) < count).collect();
        Self::build(count, header.hlc, &order, &scratch)
    }
}

/// What became of a stamp to be written.
#[derive(Clone, Copy)]
enum Fate {
    Loses,
    /// Takes the place of the cell at this position, which may come to life by that.
    Replaces {
        at: u8,
        revived: bool,
    },
    New,
}

/// The order of the plain store after a write.
fn reorder(header: &Header<'_>, fates: &[Fate]) -> Vec<u8> {
    let revives = |fate: &Fate| matches!(fate, Fate::Replaces { revived: true, .. });
    if header.order.is_empty() && !fates.iter().any(revives) {
        return Vec::new();
    }
    let mut order = match header.order {
        [] => (0..header.count as u8).collect(),
        order => order.to_vec(),
    };
    for fate in fates {
        match fate {
            Fate::New => order.push(order.len() as u8),
            Fate::Replaces { at, revived: true } => {
                order.retain(|other| other != at);
                order.push(*at);
            }
            Fate::Replaces { revived: false, .. } | Fate::Loses => {}
        }
    }
    if order.is_sorted() { Vec::new() } else { order }
}

//! Aggregates, kept change by change with TinyBase's own formulas, which decide the last digits.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use mergeable_store::Cell;

use crate::js::{add, is_storable, loosely_equals_number, subtract, to_number};

/// How the cells of a group become one.
#[derive(Clone, Debug)]
pub enum Aggregate {
    /// How many there are.
    Count,
    /// Their sum.
    Sum,
    /// Their mean.
    Avg,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// Something else.
    Custom(CustomAggregate),
}

type Afresh = Arc<dyn Fn(&[&Cell]) -> Option<Cell> + Send + Sync>;
type Step = Arc<dyn Fn(&Cell, &Cell, usize) -> Option<Cell> + Send + Sync>;
type Replace = Arc<dyn Fn(&Cell, &Cell, &Cell, usize) -> Option<Cell> + Send + Sync>;

/// An aggregate of one's own. Where a step is not given, or gives nothing, it is computed afresh, in time proportional to
/// the group.
#[derive(Clone)]
pub struct CustomAggregate {
    afresh: Afresh,
    add: Option<Step>,
    remove: Option<Step>,
    replace: Option<Replace>,
}

impl CustomAggregate {
    /// Computed from all cells, which are never none.
    pub fn new(afresh: impl Fn(&[&Cell]) -> Option<Cell> + Send + Sync + 'static) -> Self {
        Self { afresh: Arc::new(afresh), add: None, remove: None, replace: None }
    }

    /// The aggregate after a cell came: from the aggregate, the cell, and how many there were.
    #[must_use]
    pub fn on_add(
        mut self,
        step: impl Fn(&Cell, &Cell, usize) -> Option<Cell> + Send + Sync + 'static,
    ) -> Self {
        self.add = Some(Arc::new(step));
        self
    }

    /// The aggregate after a cell went: from the aggregate, the cell, and how many there were.
    #[must_use]
    pub fn on_remove(
        mut self,
        step: impl Fn(&Cell, &Cell, usize) -> Option<Cell> + Send + Sync + 'static,
    ) -> Self {
        self.remove = Some(Arc::new(step));
        self
    }

    /// The aggregate after a cell changed: from the aggregate, the new cell, the old one, and how many there are.
    #[must_use]
    pub fn on_replace(
        mut self,
        step: impl Fn(&Cell, &Cell, &Cell, usize) -> Option<Cell> + Send + Sync + 'static,
    ) -> Self {
        self.replace = Some(Arc::new(step));
        self
    }
}

impl fmt::Debug for CustomAggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomAggregate")
    }
}

/// The cells of a group that are aggregated, in TinyBase's order: by when each row came, replaced ones in place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members {
    cells: BTreeMap<u64, Cell>,
    /// Kept where a least or greatest is asked for, so that finding the next one does not pass over all.
    extremes: Option<Extremes>,
}

#[derive(Clone, Debug, Default)]
struct Extremes {
    numbers: BTreeMap<Ordered, usize>,
    not_numbers: usize,
}

/// A number in an order that has -0 below 0, as `Math.min` and `Math.max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ordered(u64);

impl Ordered {
    fn of(number: f64) -> Self {
        let bits = number.to_bits();
        Self(if bits >> 63 == 0 { bits | 1 << 63 } else { !bits })
    }

    fn number(self) -> f64 {
        f64::from_bits(if self.0 >> 63 == 1 { self.0 & !(1 << 63) } else { !self.0 })
    }
}

impl Members {
    pub(crate) fn new(extremes: bool) -> Self {
        Self { cells: BTreeMap::new(), extremes: extremes.then(Extremes::default) }
    }

    pub(crate) fn len(&self) -> usize {
        self.cells.len()
    }

    pub(crate) fn get(&self, place: u64) -> Option<&Cell> {
        self.cells.get(&place)
    }

    /// Puts a cell in its place, or takes it away; what was there.
    pub(crate) fn put(&mut self, place: u64, cell: Option<Cell>) -> Option<Cell> {
        if let (Some(extremes), Some(cell)) = (&mut self.extremes, &cell) {
            extremes.count(cell, 1);
        }
        let old = match cell {
            Some(cell) => self.cells.insert(place, cell),
            None => self.cells.remove(&place),
        };
        if let (Some(extremes), Some(old)) = (&mut self.extremes, &old) {
            extremes.count(old, -1);
        }
        old
    }
}

impl Extremes {
    fn count(&mut self, cell: &Cell, by: isize) {
        let number = to_number(cell);
        if number.is_nan() {
            self.not_numbers = self.not_numbers.saturating_add_signed(by);
            return;
        }
        let number = Ordered::of(number);
        let count = self.numbers.entry(number).or_default();
        *count = count.saturating_add_signed(by);
        if *count == 0 {
            self.numbers.remove(&number);
        }
    }
}

/// A cell of a group that came, went or changed; at least one of the two is there.
pub(crate) struct Change<'a> {
    pub(crate) old: Option<&'a Cell>,
    pub(crate) new: Option<&'a Cell>,
    /// How many cells there were before.
    pub(crate) count: usize,
}

impl Aggregate {
    /// The aggregate after a change, given as it was and the cells as they are.
    pub(crate) fn after(
        &self,
        aggregate: Option<&Cell>,
        change: &Change<'_>,
        members: &Members,
    ) -> Option<Cell> {
        if members.len() == 0 {
            return None;
        }
        let stepped = aggregate.and_then(|aggregate| self.step(aggregate, change));
        stepped.or_else(|| self.afresh(members)).filter(is_storable)
    }

    fn step(&self, was: &Cell, change: &Change<'_>) -> Option<Cell> {
        let count = change.count as f64;
        match (change.old, change.new) {
            (None, Some(new)) => match self {
                Self::Count => None,
                Self::Sum => Some(add(was, new)),
                Self::Avg => Some(moved(was, new, was, count + 1.0)),
                Self::Min => Some(least(new, was)),
                Self::Max => Some(greatest(new, was)),
                Self::Custom(custom) => custom.add.as_ref()?(was, new, change.count),
            },
            (Some(old), None) => match self {
                Self::Count => None,
                Self::Sum => Some(subtract(was, old)),
                Self::Avg if change.count > 1 => Some(moved(was, was, old, count - 1.0)),
                Self::Avg => None,
                Self::Min | Self::Max => (!is(old, was)).then(|| was.clone()),
                Self::Custom(custom) => custom.remove.as_ref()?(was, old, change.count),
            },
            (Some(old), Some(new)) => match self {
                Self::Count => None,
                Self::Sum => Some(add(&subtract(was, old), new)),
                Self::Avg => Some(moved(was, new, old, count)),
                Self::Min => (!is(old, was)).then(|| least(new, was)),
                Self::Max => (!is(old, was)).then(|| greatest(new, was)),
                Self::Custom(custom) => custom.replace.as_ref()?(was, new, old, change.count),
            },
            (None, None) => Some(was.clone()),
        }
    }

    fn afresh(&self, members: &Members) -> Option<Cell> {
        let count = members.len() as f64;
        let cells = || members.cells.values();
        match self {
            Self::Count => Some(Cell::Number(count)),
            Self::Sum => Some(sum(cells())),
            Self::Avg => Some(Cell::Number(to_number(&sum(cells())) / count)),
            Self::Min => members.extreme(BTreeMap::first_key_value),
            Self::Max => members.extreme(BTreeMap::last_key_value),
            Self::Custom(custom) => (custom.afresh)(&cells().collect::<Vec<_>>()),
        }
    }

    pub(crate) const fn is_extreme(&self) -> bool {
        matches!(self, Self::Min | Self::Max)
    }
}

impl Members {
    fn extreme(
        &self,
        end: impl Fn(&BTreeMap<Ordered, usize>) -> Option<(&Ordered, &usize)>,
    ) -> Option<Cell> {
        let extremes = self.extremes.as_ref().filter(|extremes| extremes.not_numbers == 0)?;
        end(&extremes.numbers).map(|(number, _)| Cell::Number(number.number()))
    }
}

fn sum<'a>(cells: impl Iterator<Item = &'a Cell>) -> Cell {
    cells.fold(Cell::Number(0.0), |sum, cell| add(&sum, cell))
}

/// `was + (up - down) / count`.
fn moved(was: &Cell, up: &Cell, down: &Cell, count: f64) -> Cell {
    add(was, &Cell::Number((to_number(up) - to_number(down)) / count))
}

fn least(a: &Cell, b: &Cell) -> Cell {
    extreme(a, b, |a, b| a <= b)
}

fn greatest(a: &Cell, b: &Cell) -> Cell {
    extreme(a, b, |a, b| a >= b)
}

fn extreme(a: &Cell, b: &Cell, first: impl Fn(Ordered, Ordered) -> bool) -> Cell {
    let (a, b) = (to_number(a), to_number(b));
    let number = if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if first(Ordered::of(a), Ordered::of(b)) {
        a
    } else {
        b
    };
    Cell::Number(number)
}

/// `cell == aggregate`.
fn is(cell: &Cell, aggregate: &Cell) -> bool {
    match aggregate {
        Cell::Number(number) => loosely_equals_number(cell, *number),
        // Only where the aggregate has the name of a cell that it is grouped by.
        other => cell == other,
    }
}

//! What the rules say about each node of a document.

use std::num::NonZeroU16;

/// One of the rules of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RuleId(NonZeroU16);

impl RuleId {
    /// The rule at a place of the list; none beyond what a mark can hold.
    pub(super) fn at(place: usize) -> Option<Self> {
        u16::try_from(place + 1).ok().and_then(NonZeroU16::new).map(Self)
    }

    pub(super) fn place(self) -> usize {
        usize::from(self.0.get()) - 1
    }
}

/// What a rule is about. A node has at most one rule for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Ignore,
    AllowAdded,
    NullEqMissing,
    SqlBool,
    Strict,
    Bind,
    Array,
    Number,
    Text,
    Time,
}

const SLOTS: usize = Slot::Time as usize + 1;

/// What the rules say about one node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    rules: [Option<RuleId>; SLOTS],
    /// Its value may be kept in clear in a sample.
    clear: bool,
}

impl Marks {
    /// Whether differences here and below are not counted.
    #[must_use]
    pub const fn is_ignored(&self) -> bool {
        self.rules[Slot::Ignore as usize].is_some()
    }

    /// Whether its value, and what is below, may be kept in clear in a sample.
    #[must_use]
    pub const fn is_clear(&self) -> bool {
        self.clear
    }

    pub(super) const fn get(&self, slot: Slot) -> Option<RuleId> {
        self.rules[slot as usize]
    }

    /// The last rule that fits wins; of ignore rules, which all say the same, the first.
    pub(super) fn set(&mut self, slot: Slot, rule: RuleId) {
        let taken = &mut self.rules[slot as usize];
        if slot != Slot::Ignore || taken.is_none() {
            *taken = Some(rule);
        }
    }

    pub(super) const fn set_clear(&mut self) {
        self.clear = true;
    }

    /// What holds between two nodes: what either side is marked with, and the same with the sides swapped.
    pub(super) fn with(self, other: Self) -> Self {
        let mut rules = self.rules;
        for (mine, theirs) in rules.iter_mut().zip(other.rules) {
            *mine = (*mine).max(theirs);
        }
        Self { rules, clear: self.clear && other.clear }
    }
}

//! The structural difference of two documents.

use super::array::arrays;
use super::bind::Bindings;
use super::document::{Json, Node};
use super::location::{Location, Trail};
use super::marks::{Marks, RuleId, Slot};
use super::scalar::{Judged, judge};
use super::spelling::TextClass;
use super::{Document, Pointer, Rules, Shape};

/// At most so many differences are kept with their locations; the rest is counted.
const MAX_KEPT: usize = 256;
/// At most so many places with integers that JavaScript cannot hold are kept.
const MAX_UNSAFE: usize = 16;

/// How two answers differ at one place.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Values of different types, `null` and a value included.
    Type,
    /// Values of one type that are not equal.
    Value,
    /// Legacy has it, the store does not: a field, or a row of a list.
    Missing,
    /// The store has it, legacy does not.
    Added,
    /// The same elements in another order.
    Order,
    /// Arrays of different length, too long to pair their elements.
    Length,
}

impl Kind {
    /// The lower-case word used in JSON and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Value => "value",
            Self::Missing => "missing",
            Self::Added => "added",
            Self::Order => "order",
            Self::Length => "length",
        }
    }
}

/// What is found at one place on one side.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum JsonType {
    /// Nothing: no such member, element, header or body.
    Absent,
    /// `null`
    Null,
    /// `true` or `false`
    Boolean,
    /// A number, or a status.
    Number,
    /// A string, or a header's value.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
    /// A body that is not JSON.
    Text,
}

impl JsonType {
    /// The lower-case word used in JSON and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
            Self::Text => "text",
        }
    }

    /// The type of a value.
    #[must_use]
    pub const fn of(json: &Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(_) => Self::Boolean,
            Json::Number(_) => Self::Number,
            Json::String(_) => Self::String,
            Json::Array(_) => Self::Array,
            Json::Object(_) => Self::Object,
        }
    }
}

/// One place where two answers differ. It holds no value.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// Where legacy has it; none if it is in the store's answer alone.
    pub legacy_at: Option<Location>,
    /// Where the store has it; none if it is in legacy's answer alone.
    pub sync_at: Option<Location>,
    /// How the two differ there, with indices erased.
    pub shape: Shape,
    /// The same place in a later reading, where rows may have moved. Holds hashes of keys: never
    /// written anywhere.
    #[serde(skip)]
    pub(super) again: String,
    /// Whether both are values of one type and of one class of text: what may be noise.
    #[serde(skip)]
    pub(super) alike: bool,
}

impl Difference {
    /// Where it is, by legacy's positions if legacy has it.
    #[must_use]
    pub fn at(&self) -> Option<&Location> {
        self.legacy_at.as_ref().or(self.sync_at.as_ref())
    }
}

/// What one rule did in one comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RuleHits {
    /// The rule, as [`Rules::names`] calls it.
    pub rule: String,
    /// Places that it located, in both answers together. A rule that never locates any is a mistake.
    pub located: u64,
    /// Differences that it hid.
    pub hidden: u64,
    /// Values that an ignore rule took out of the comparison, of both answers.
    pub covered: u64,
    /// Values that both answers have, where there are ignore rules.
    pub values: u64,
}

/// All differences of two documents.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) differences: Vec<Difference>,
    /// Differences beyond the bound.
    pub(super) more: u64,
    /// Hidden differences for each rule.
    pub(super) hidden: Vec<u64>,
    /// Instants that are written in two ways.
    pub(super) respelled: u64,
    pub(super) unsafe_integers: Vec<Pointer>,
}

pub(super) fn documents(legacy: &Document, sync: &Document, rules: &Rules) -> Found {
    let found = Found { hidden: vec![0; rules.count()], ..Found::default() };
    let mut walk = Walk { rules, found, bindings: Bindings::default() };
    walk.nodes(&legacy.root, &sync.root, Trail::ROOT, None);
    walk.found
}

/// The ignore rule that hides what is below, if one does.
pub(super) type Hidden = Option<RuleId>;

pub(super) struct Walk<'r> {
    pub(super) rules: &'r Rules,
    pub(super) found: Found,
    bindings: Bindings,
}

/// How far the visible differences had come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Visible {
    kept: usize,
    more: u64,
}

impl Walk<'_> {
    pub(super) fn nodes(&mut self, legacy: &Node, sync: &Node, trail: Trail<'_>, hidden: Hidden) {
        let marks = legacy.marks.with(sync.marks);
        let hidden = hidden.or(marks.get(Slot::Ignore));
        match (&legacy.json, &sync.json) {
            (Json::Object(l), Json::Object(s)) => self.members(l, s, &marks, trail, hidden),
            (Json::Array(l), Json::Array(s)) => {
                arrays(self, self.rules.pairing(&marks), (l, s), trail, hidden);
            }
            (l, s) => self.scalars(l, s, &marks, trail, hidden),
        }
    }

    fn scalars(
        &mut self,
        legacy: &Json,
        sync: &Json,
        marks: &Marks,
        trail: Trail<'_>,
        hidden: Hidden,
    ) {
        self.flag_unsafe(legacy, sync, trail);
        // What is ignored teaches nothing about ids.
        let judged = match hidden {
            Some(_) => judge(legacy, sync, marks, self.rules, &mut Bindings::default()),
            None => judge(legacy, sync, marks, self.rules, &mut self.bindings),
        };
        match judged {
            Judged::Equal => {}
            Judged::SameInstant => self.found.respelled += u64::from(hidden.is_none()),
            Judged::Tolerated(rule) => self.tolerate(Some(rule), hidden),
            Judged::Differ => {
                let (l, s) = (JsonType::of(legacy), JsonType::of(sync));
                let kind = if l == s { Kind::Value } else { Kind::Type };
                self.emit(kind, (l, s), trail, hidden);
                if hidden.is_none() && !are_alike(legacy, sync) {
                    self.last_is_unlike();
                }
            }
        }
    }

    fn flag_unsafe(&mut self, legacy: &Json, sync: &Json, trail: Trail<'_>) {
        let lossy = |json: &Json| matches!(json, Json::Number(n) if n.is_unsafe_integer());
        if (lossy(legacy) || lossy(sync)) && self.found.unsafe_integers.len() < MAX_UNSAFE {
            self.found.unsafe_integers.push(trail.legacy());
        }
    }

    /// A rule says of a difference that it is none.
    pub(super) fn tolerate(&mut self, rule: Option<RuleId>, hidden: Hidden) {
        if let (Some(rule), None) = (rule, hidden) {
            self.found.hidden[rule.place()] += 1;
        }
    }

    fn last_is_unlike(&mut self) {
        if self.found.more == 0
            && let Some(last) = self.found.differences.last_mut()
        {
            last.alike = false;
        }
    }

    fn members(
        &mut self,
        legacy: &[(Box<str>, Node)],
        sync: &[(Box<str>, Node)],
        marks: &Marks,
        trail: Trail<'_>,
        hidden: Hidden,
    ) {
        let allow_added = marks.get(Slot::AllowAdded);
        let (mut l, mut s) = (legacy.iter().peekable(), sync.iter().peekable());
        loop {
            // Members are sorted: the smaller key, or the only one left, is on one side alone.
            let order = match (l.peek(), s.peek()) {
                (Some((l, _)), Some((s, _))) => l.cmp(s),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (None, None) => return,
            };
            let left = if order.is_le() { l.next() } else { None };
            let right = if order.is_ge() { s.next() } else { None };
            match (left, right) {
                (Some((key, left)), Some((_, right))) => {
                    self.nodes(left, right, trail.key(key), hidden);
                }
                (Some((key, left)), None) => self.lacking(left, trail.key(key), hidden),
                (None, Some(_)) if allow_added.is_some() => self.tolerate(allow_added, hidden),
                (None, Some((key, right))) => self.extra(right, trail.key(key), hidden),
                (None, None) => return,
            }
        }
    }

    /// Legacy has `node`, the store has nothing there.
    pub(super) fn lacking(&mut self, node: &Node, trail: Trail<'_>, hidden: Hidden) {
        let types = (JsonType::of(&node.json), JsonType::Absent);
        self.alone(Kind::Missing, node, types, trail, hidden);
    }

    /// The store has `node`, legacy has nothing there.
    pub(super) fn extra(&mut self, node: &Node, trail: Trail<'_>, hidden: Hidden) {
        let types = (JsonType::Absent, JsonType::of(&node.json));
        self.alone(Kind::Added, node, types, trail, hidden);
    }

    fn alone(
        &mut self,
        kind: Kind,
        node: &Node,
        types: (JsonType, JsonType),
        trail: Trail<'_>,
        hidden: Hidden,
    ) {
        let hidden = hidden.or(node.marks.get(Slot::Ignore));
        if is_as_good_as_missing(node) {
            self.tolerate(node.marks.get(Slot::NullEqMissing), hidden);
        } else {
            self.emit(kind, types, trail, hidden);
        }
    }

    pub(super) fn emit(
        &mut self,
        kind: Kind,
        (legacy, sync): (JsonType, JsonType),
        trail: Trail<'_>,
        hidden: Hidden,
    ) {
        if let Some(rule) = hidden {
            self.found.hidden[rule.place()] += 1;
        } else if self.found.differences.len() < MAX_KEPT {
            self.found.differences.push(Difference {
                legacy_at: (kind != Kind::Added).then(|| Location::Body(trail.legacy())),
                sync_at: (kind != Kind::Missing).then(|| Location::Body(trail.sync())),
                shape: Shape { path: trail.erased(), kind, legacy, sync },
                again: trail.again(),
                alike: matches!(kind, Kind::Value | Kind::Order),
            });
        } else {
            self.found.more += 1;
        }
    }

    pub(super) fn visible(&self) -> Visible {
        Visible { kept: self.found.differences.len(), more: self.found.more }
    }

    pub(super) fn has_grown_since(&self, then: Visible) -> bool {
        self.found.differences.len() > then.kept || self.found.more > then.more
    }

    /// Takes back the differences found since, to say the same in one.
    pub(super) fn take_back_to(&mut self, then: Visible) {
        self.found.differences.truncate(then.kept);
        self.found.more = then.more;
    }
}

pub(super) const fn is_as_good_as_missing(node: &Node) -> bool {
    node.marks.get(Slot::NullEqMissing).is_some() && matches!(node.json, Json::Null)
}

/// Whether two values that differ are still of one sort.
fn are_alike(legacy: &Json, sync: &Json) -> bool {
    match (legacy, sync) {
        (Json::String(l), Json::String(s)) => TextClass::of(l) == TextClass::of(s),
        (l, s) => JsonType::of(l) == JsonType::of(s),
    }
}

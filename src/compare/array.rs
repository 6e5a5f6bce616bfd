//! Arrays: which element is compared with which.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::Rules;
use super::diff::{Hidden, JsonType, Kind, Walk, is_as_good_as_missing};
use super::document::{Json, Node};
use super::location::Trail;
use super::rules::Pairing;

/// Longer arrays of different length are not aligned, but compared by position as far as both go.
const MAX_ALIGNED: usize = 2_000;

/// Legacy's elements and the store's.
type Sides<'a> = (&'a [Node], &'a [Node]);

pub(super) fn arrays(
    walk: &mut Walk<'_>,
    pairing: &Pairing,
    sides: Sides<'_>,
    trail: Trail<'_>,
    hidden: Hidden,
) {
    match pairing {
        Pairing::Position => by_position(walk, sides, trail, hidden),
        Pairing::Set => as_set(walk, sides, trail, hidden, false),
        Pairing::Multiset => as_set(walk, sides, trail, hidden, true),
        Pairing::Keyed { by, ordered } => by_key(walk, by, *ordered, sides, trail, hidden),
    }
}

fn by_position(walk: &mut Walk<'_>, (l, s): Sides<'_>, trail: Trail<'_>, hidden: Hidden) {
    if l.len() == s.len() {
        let before = walk.visible();
        let differing = in_step(walk, (l, s), trail, hidden);
        // The same elements in another order are one difference, not many; it takes two to swap.
        if differing > 1 && is_reordered(walk.rules, (l, s)) {
            walk.take_back_to(before);
            walk.emit(Kind::Order, (JsonType::Array, JsonType::Array), trail, hidden);
        }
    } else if l.len().max(s.len()) <= MAX_ALIGNED {
        aligned(walk, (l, s), trail, hidden);
    } else {
        walk.emit(Kind::Length, (JsonType::Array, JsonType::Array), trail, hidden);
        in_step(walk, (l, s), trail, hidden);
    }
}

/// Compares by position; gives the number of elements that visibly differ.
fn in_step(walk: &mut Walk<'_>, (l, s): Sides<'_>, trail: Trail<'_>, hidden: Hidden) -> usize {
    let mut differing = 0;
    for (at, (left, right)) in l.iter().zip(s).enumerate() {
        let before = walk.visible();
        walk.nodes(left, right, trail.index(at, at), hidden);
        differing += usize::from(walk.has_grown_since(before));
    }
    differing
}

fn is_reordered(rules: &Rules, (l, s): Sides<'_>) -> bool {
    let mut left: Vec<_> = l.iter().map(|node| canonical(node, rules)).collect();
    let mut right: Vec<_> = s.iter().map(|node| canonical(node, rules)).collect();
    left.sort_unstable();
    right.sort_unstable();
    left == right
}

/// Arrays of different length: equal elements are paired first, what stands between them by
/// position, the rest is missing or added.
fn aligned(walk: &mut Walk<'_>, (l, s): Sides<'_>, trail: Trail<'_>, hidden: Hidden) {
    // The shorter side goes first, so that swapping the sides swaps the result and no more.
    let swapped = l.len() > s.len();
    let (old, new) = if swapped { (s, l) } else { (l, s) };
    let mut names = HashMap::new();
    let mut named = |nodes: &[Node]| -> Vec<usize> {
        let name = |node| {
            let next = names.len();
            *names.entry(canonical(node, walk.rules)).or_insert(next)
        };
        nodes.iter().map(name).collect()
    };
    let (old, new) = (named(old), named(new));
    for op in capture_diff_slices(Algorithm::Myers, &old, &new) {
        let (old_at, old_len, new_at, new_len) = spans(op);
        let ((l_at, l_len), (s_at, s_len)) = if swapped {
            ((new_at, new_len), (old_at, old_len))
        } else {
            ((old_at, old_len), (new_at, new_len))
        };
        for at in 0..l_len.max(s_len) {
            let trail = trail.index(l_at + at, s_at + at);
            match (l[l_at..l_at + l_len].get(at), s[s_at..s_at + s_len].get(at)) {
                (Some(left), Some(right)) => walk.nodes(left, right, trail, hidden),
                (Some(left), None) => walk.lacking(left, trail, hidden),
                (None, Some(right)) => walk.extra(right, trail, hidden),
                (None, None) => {}
            }
        }
    }
}

const fn spans(op: DiffOp) -> (usize, usize, usize, usize) {
    match op {
        DiffOp::Equal { old_index, new_index, len } => (old_index, len, new_index, len),
        DiffOp::Delete { old_index, old_len, new_index } => (old_index, old_len, new_index, 0),
        DiffOp::Insert { old_index, new_index, new_len } => (old_index, 0, new_index, new_len),
        DiffOp::Replace { old_index, old_len, new_index, new_len } => {
            (old_index, old_len, new_index, new_len)
        }
    }
}

fn as_set(
    walk: &mut Walk<'_>,
    (l, s): Sides<'_>,
    trail: Trail<'_>,
    hidden: Hidden,
    repetition_counts: bool,
) {
    let mut waiting: HashMap<String, VecDeque<usize>> = HashMap::new();
    for (at, node) in s.iter().enumerate() {
        waiting.entry(canonical(node, walk.rules)).or_default().push_back(at);
    }
    let mut unmatched: HashMap<String, VecDeque<usize>> = waiting.clone();
    for (at, node) in l.iter().enumerate() {
        let name = canonical(node, walk.rules);
        let met = if repetition_counts {
            unmatched.get_mut(&name).is_some_and(|places| places.pop_front().is_some())
        } else {
            unmatched.remove(&name);
            waiting.contains_key(&name)
        };
        if !met {
            walk.lacking(node, trail.index(at, at), hidden);
        }
    }
    let mut left_over: Vec<_> = unmatched.into_values().flatten().collect();
    left_over.sort_unstable();
    for at in left_over {
        walk.extra(&s[at], trail.index(at, at), hidden);
    }
}

/// Elements with equal keys are paired, repeated keys in their order; elements without the key
/// are paired among themselves.
fn by_key(
    walk: &mut Walk<'_>,
    by: &str,
    ordered: bool,
    (l, s): Sides<'_>,
    trail: Trail<'_>,
    hidden: Hidden,
) {
    let key_of = |node: &Node, rules: &Rules| match &node.json {
        Json::Object(members) => {
            members.iter().find(|(name, _)| **name == *by).map(|(_, key)| spelled(key, rules))
        }
        _ => None,
    };
    let mut waiting: HashMap<Option<String>, VecDeque<usize>> = HashMap::new();
    for (at, node) in s.iter().enumerate() {
        waiting.entry(key_of(node, walk.rules)).or_default().push_back(at);
    }
    let (mut last, mut in_order) = (None, true);
    for (at, left) in l.iter().enumerate() {
        let key = key_of(left, walk.rules);
        let element = hashed(key.as_deref());
        let partner = waiting.get_mut(&key).and_then(|places| places.pop_front());
        match partner {
            Some(partner) => {
                in_order &= last < Some(partner);
                last = Some(partner);
                walk.nodes(left, &s[partner], trail.element(at, partner, element), hidden);
            }
            None => walk.lacking(left, trail.element(at, at, element), hidden),
        }
    }
    let mut left_over: Vec<_> = waiting.into_values().flatten().collect();
    left_over.sort_unstable();
    for at in left_over {
        let element = hashed(key_of(&s[at], walk.rules).as_deref());
        walk.extra(&s[at], trail.element(at, at, element), hidden);
    }
    if ordered && !in_order {
        walk.emit(Kind::Order, (JsonType::Array, JsonType::Array), trail, hidden);
    }
}

/// What tells an element from the others of its array, without its key.
fn hashed(key: Option<&str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// One text for each value as the rules see it: two nodes with equal texts show no difference.
pub(super) fn canonical(node: &Node, rules: &Rules) -> String {
    if node.marks.ignored.is_some() {
        return "~".to_owned();
    }
    spelled(node, rules)
}

/// As [`canonical`], for a node that is needed although it may be ignored: the key of a row.
fn spelled(node: &Node, rules: &Rules) -> String {
    let mut text = String::new();
    spell(node, rules, &mut text);
    text
}

fn spell(node: &Node, rules: &Rules, text: &mut String) {
    match &node.json {
        Json::Null => text.push_str("null"),
        Json::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Json::Number(number) => text.push_str(&number.to_string()),
        Json::String(string) => text.push_str(&quoted(string)),
        Json::Array(items) => {
            let mut items: Vec<_> = items.iter().map(|item| canonical(item, rules)).collect();
            match rules.pairing(node.marks) {
                Pairing::Position | Pairing::Keyed { ordered: true, .. } => {}
                Pairing::Multiset | Pairing::Keyed { ordered: false, .. } => items.sort_unstable(),
                Pairing::Set => {
                    items.sort_unstable();
                    items.dedup();
                }
            }
            text.push('[');
            text.push_str(&items.join(","));
            text.push(']');
        }
        Json::Object(members) => {
            let seen = |node: &Node| node.marks.ignored.is_none() && !is_as_good_as_missing(node);
            text.push('{');
            for (key, member) in members.iter().filter(|(_, member)| seen(member)) {
                text.push_str(&quoted(key));
                text.push(':');
                spell(member, rules, text);
                text.push(',');
            }
            text.push('}');
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

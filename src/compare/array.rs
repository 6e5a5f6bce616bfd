//! Arrays: which element is compared with which.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::Rules;
use super::diff::{Hidden, JsonType, Kind, Walk, is_as_good_as_missing};
use super::document::{Json, Node};
use super::location::Trail;
use super::marks::RuleId;
use super::rules::Pairing;
use super::scalar::{self, Closeness, quoted};

/// Longer arrays of different length are not aligned, but compared by position as far as both go.
const MAX_ALIGNED: usize = 2_000;

/// Legacy's elements and the store's.
type Sides<'a> = (&'a [Node], &'a [Node]);

pub(super) fn arrays(
    walk: &mut Walk<'_>,
    (rule, pairing): (Option<RuleId>, &Pairing),
    sides: Sides<'_>,
    trail: Trail<'_>,
    hidden: Hidden,
) {
    let in_order = match pairing {
        Pairing::Position => {
            by_position(walk, sides, trail, hidden);
            true
        }
        Pairing::Set => as_set(walk, sides, trail, hidden, false),
        Pairing::Multiset => as_set(walk, sides, trail, hidden, true),
        Pairing::Keyed { by, ordered } => {
            let in_order = by_key(walk, by, sides, trail, hidden);
            if *ordered && !in_order {
                walk.emit(Kind::Order, (JsonType::Array, JsonType::Array), trail, hidden);
            }
            in_order || *ordered
        }
    };
    if !in_order {
        walk.tolerate(rule, hidden);
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
    let mut left: Vec<_> = l.iter().map(|node| canonical(node, rules, Closeness::Loose)).collect();
    let mut right: Vec<_> = s.iter().map(|node| canonical(node, rules, Closeness::Loose)).collect();
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
            *names.entry(canonical(node, walk.rules, Closeness::Loose)).or_insert(next)
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

/// Elements that are equal are paired, then those that may belong together: a tolerance or an id of one
/// side's own may be all that tells them apart. Gives whether they stand in the same order, each as often.
fn as_set(
    walk: &mut Walk<'_>,
    (l, s): Sides<'_>,
    trail: Trail<'_>,
    hidden: Hidden,
    repetition_counts: bool,
) -> bool {
    let rules = walk.rules;
    let names = |nodes: &[Node], closeness| -> Vec<String> {
        nodes.iter().map(|node| canonical(node, rules, closeness)).collect()
    };
    let (l_names, s_names) = (names(l, Closeness::Exact), names(s, Closeness::Exact));
    let (mut pairs, lacking, extra) = if repetition_counts {
        let all = |nodes: &[Node]| (0..nodes.len()).collect::<Vec<_>>();
        paired(&all(l), &all(s), |at| &l_names[at], |at| &s_names[at])
    } else {
        met(&l_names, &s_names)
    };
    let (l_loose, s_loose) = (names(l, Closeness::Loose), names(s, Closeness::Loose));
    let (more, lacking, extra) = paired(&lacking, &extra, |at| &l_loose[at], |at| &s_loose[at]);
    pairs.extend(more);
    pairs.sort_unstable();
    for &(left, right) in &pairs {
        walk.nodes(&l[left], &s[right], trail.index(left, right), hidden);
    }
    for &at in &lacking {
        walk.lacking(&l[at], trail.index(at, at), hidden);
    }
    for &at in &extra {
        walk.extra(&s[at], trail.index(at, at), hidden);
    }
    let ascends = pairs.is_sorted_by(|(_, a), (_, b)| a < b);
    // Of a set, what is repeated was paired once.
    let repeats = pairs.len() + lacking.len() < l.len() || pairs.len() + extra.len() < s.len();
    ascends && !repeats
}

/// Pairs of positions, and what is left over on each side.
type Paired = (Vec<(usize, usize)>, Vec<usize>, Vec<usize>);

/// Each of legacy's positions with the first free one of the store's that has the same name.
fn paired<'n>(
    l: &[usize],
    s: &[usize],
    l_name: impl Fn(usize) -> &'n str,
    s_name: impl Fn(usize) -> &'n str,
) -> Paired {
    let mut waiting: HashMap<&str, VecDeque<usize>> = HashMap::new();
    for &at in s {
        waiting.entry(s_name(at)).or_default().push_back(at);
    }
    let (mut pairs, mut lacking) = (Vec::new(), Vec::new());
    for &at in l {
        match waiting.get_mut(l_name(at)).and_then(VecDeque::pop_front) {
            Some(partner) => pairs.push((at, partner)),
            None => lacking.push(at),
        }
    }
    let mut extra: Vec<_> = waiting.into_values().flatten().collect();
    extra.sort_unstable();
    (pairs, lacking, extra)
}

/// As [`paired`], but a name stands for all that have it.
fn met(l_names: &[String], s_names: &[String]) -> Paired {
    let first = |names: &[String]| {
        let mut firsts = HashMap::new();
        for (at, name) in names.iter().enumerate() {
            firsts.entry(name.clone()).or_insert(at);
        }
        firsts
    };
    let (l_first, s_first) = (first(l_names), first(s_names));
    let alone = |names: &[String], others: &HashMap<String, usize>| -> Vec<usize> {
        let alone = names.iter().enumerate().filter(|(_, name)| !others.contains_key(*name));
        alone.map(|(at, _)| at).collect()
    };
    let pairs = l_first.iter().filter_map(|(name, at)| s_first.get(name).map(|to| (*at, *to)));
    (pairs.collect(), alone(l_names, &s_first), alone(s_names, &l_first))
}

/// Elements with equal keys are paired, repeated keys in their order; elements without the key
/// are paired among themselves. Gives whether the pairs stand in the same order.
fn by_key(
    walk: &mut Walk<'_>,
    by: &str,
    (l, s): Sides<'_>,
    trail: Trail<'_>,
    hidden: Hidden,
) -> bool {
    let key_of = |node: &Node, rules: &Rules| match &node.json {
        Json::Object(members) => {
            let key = members.iter().find(|(name, _)| **name == *by);
            key.map(|(_, key)| spelled(key, rules, Closeness::Exact))
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
        let partner = waiting.get_mut(&key).and_then(VecDeque::pop_front);
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
    in_order
}

/// What tells an element from the others of its array, without its key.
fn hashed(key: Option<&str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// One text for each value as the rules see it, as closely as is asked for.
fn canonical(node: &Node, rules: &Rules, closeness: Closeness) -> String {
    if node.marks.is_ignored() {
        return "~".to_owned();
    }
    spelled(node, rules, closeness)
}

/// As [`canonical`], for a node that is needed although it may be ignored: the key of a row.
fn spelled(node: &Node, rules: &Rules, closeness: Closeness) -> String {
    let mut text = String::new();
    spell(node, rules, closeness, &mut text);
    text
}

fn spell(node: &Node, rules: &Rules, closeness: Closeness, text: &mut String) {
    match &node.json {
        Json::Array(items) => {
            let mut items: Vec<_> =
                items.iter().map(|item| canonical(item, rules, closeness)).collect();
            match rules.pairing(&node.marks).1 {
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
            let seen = |node: &Node| !node.marks.is_ignored() && !is_as_good_as_missing(node);
            text.push('{');
            for (key, member) in members.iter().filter(|(_, member)| seen(member)) {
                text.push_str(&quoted(key));
                text.push(':');
                spell(member, rules, closeness, text);
                text.push(',');
            }
            text.push('}');
        }
        _ => text.push_str(&scalar::spell(node, rules, closeness).unwrap_or_default()),
    }
}

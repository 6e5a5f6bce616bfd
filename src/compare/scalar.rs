//! Two scalars under the rules, and the one text that stands for all that are equal.

use super::bind::{Bindings, id_of};
use super::document::{Json, Node};
use super::marks::{Marks, RuleId, Slot};
use super::rules::Effect;
use super::{Rules, times};

/// What is to be said of two scalars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judged {
    /// They are equal.
    Equal,
    /// They are written differently, and by default the writing does not count: one instant.
    SameInstant,
    /// They differ, and a rule says that this is no difference.
    Tolerated(RuleId),
    /// They differ.
    Differ,
}

/// Judges two values with what the rules say of their place.
pub(super) fn judge(
    legacy: &Json,
    sync: &Json,
    marks: &Marks,
    rules: &Rules,
    bindings: &mut Bindings,
) -> Judged {
    if let Some(rule) = marks.get(Slot::Bind)
        && let Some(Effect::Bind(bijection)) = rules.effect(rule)
        && let (Some(l), Some(s)) = (id_of(legacy), id_of(sync))
    {
        let same = l == s;
        return match bindings.hold(*bijection, l, s) {
            false => Judged::Differ,
            true if same => Judged::Equal,
            true => Judged::Tolerated(rule),
        };
    }
    let strict = marks.get(Slot::Strict).is_some();
    if equal(legacy, sync, strict) {
        return Judged::Equal;
    }
    if let Some(rule) = tolerating(legacy, sync, marks, rules) {
        return Judged::Tolerated(rule);
    }
    if !strict && is_one_instant(legacy, sync) { Judged::SameInstant } else { Judged::Differ }
}

fn equal(legacy: &Json, sync: &Json, strict: bool) -> bool {
    match (legacy, sync) {
        (Json::Null, Json::Null) => true,
        (Json::Bool(l), Json::Bool(s)) => l == s,
        (Json::String(l), Json::String(s)) => l == s,
        (Json::Number(l), Json::Number(s)) => {
            l == s && (!strict || l.is_written_as_integer() == s.is_written_as_integer())
        }
        _ => false,
    }
}

/// The rule that says that these two are no difference.
fn tolerating(legacy: &Json, sync: &Json, marks: &Marks, rules: &Rules) -> Option<RuleId> {
    let holds = |rule: &RuleId| match rules.effect(*rule) {
        Some(Effect::SqlBool) => sql_bool(legacy).is_some_and(|l| sql_bool(sync) == Some(l)),
        Some(Effect::Time(rule)) => {
            let both = rule.instant(legacy).zip(rule.instant(sync));
            both.is_some_and(|(l, s)| rule.allows(l, s))
        }
        Some(Effect::Text(rule)) => match (legacy, sync) {
            (Json::String(l), Json::String(s)) => rule.read(l) == rule.read(s),
            _ => false,
        },
        Some(Effect::Number(tolerance)) => match (legacy, sync) {
            (Json::Number(l), Json::Number(s)) => tolerance.allows(l, s),
            _ => false,
        },
        _ => false,
    };
    let slots = [Slot::SqlBool, Slot::Time, Slot::Text, Slot::Number];
    slots.into_iter().filter_map(|slot| marks.get(slot)).find(holds)
}

fn is_one_instant(legacy: &Json, sync: &Json) -> bool {
    match (legacy, sync) {
        (Json::String(l), Json::String(s)) => {
            times::plain(l).is_some_and(|l| times::plain(s) == Some(l))
        }
        _ => false,
    }
}

fn sql_bool(json: &Json) -> Option<bool> {
    match json {
        Json::Bool(value) => Some(*value),
        Json::Number(number) => match number.in_units_of(0) {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        _ => None,
    }
}

/// How closely a text stands for a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closeness {
    /// Two values with one text show no difference, but for bindings.
    Exact,
    /// Two values with one text may belong together: what has no one text, because it may be off by a little or
    /// is an id of its side's own, is left out.
    Loose,
}

/// The text of a scalar; none for an array or object.
pub(super) fn spell(node: &Node, rules: &Rules, closeness: Closeness) -> Option<String> {
    let (json, marks) = (&node.json, &node.marks);
    let loose = closeness == Closeness::Loose;
    let effect = |slot| marks.get(slot).and_then(|rule| rules.effect(rule));
    if loose && effect(Slot::Bind).is_some() && id_of(json).is_some() {
        return Some("~id".to_owned());
    }
    if effect(Slot::SqlBool).is_some()
        && let Some(value) = sql_bool(json)
    {
        return Some(value.to_string());
    }
    if let Some(Effect::Time(rule)) = effect(Slot::Time)
        && let Some(nanos) = rule.instant(json)
    {
        return Some(if loose && !rule.is_exact() { "~time".to_owned() } else { at(nanos) });
    }
    let strict = marks.get(Slot::Strict).is_some();
    Some(match json {
        Json::Null => "null".to_owned(),
        Json::Bool(value) => value.to_string(),
        Json::Number(_) if loose && effect(Slot::Number).is_some() => "~number".to_owned(),
        Json::Number(number) if strict && !number.is_written_as_integer() => format!("{number}."),
        Json::Number(number) => number.to_string(),
        Json::String(text) => match effect(Slot::Text) {
            Some(Effect::Text(rule)) => quoted(&rule.read(text)),
            _ => match times::plain(text) {
                Some(nanos) if !strict => at(nanos),
                _ => quoted(text),
            },
        },
        Json::Array(_) | Json::Object(_) => return None,
    })
}

fn at(nanos: times::Nanos) -> String {
    format!("@{nanos}")
}

pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

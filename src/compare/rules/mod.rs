//! What a resource's owner says about comparing it: plain settings, and the same compiled.

mod compile;
mod error;
mod settings;

use std::collections::BTreeSet;

use serde_json_path::JsonPath;

pub use error::{RuleError, RuleKey, RuleProblem};
pub use settings::{
    ArrayOrder, ArrayRuleSettings, NumberRuleSettings, RuleSettings, StringForm,
    StringRuleSettings, TimeRuleSettings, TimeUnit,
};

use super::Document;
use super::document::{Json, Node};
use super::marks::{Marks, RuleId, Slot};
use super::spelling::TextRule;
use super::times::TimeRule;
use super::tolerance::Tolerance;
use compile::Compiler;

/// How an array's elements are paired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pairing {
    Position,
    Set,
    Multiset,
    Keyed { by: Box<str>, ordered: bool },
}

/// What a rule does where its path leads.
#[derive(Debug)]
pub(super) enum Effect {
    Ignore,
    AllowAdded,
    NullEqMissing,
    SqlBool,
    Strict,
    /// The number of the bijection.
    Bind(usize),
    Array(Pairing),
    Number(Tolerance),
    Text(TextRule),
    Time(TimeRule),
    Clear,
}

impl Effect {
    /// What it is about; none for what has no part in comparing.
    const fn slot(&self) -> Option<Slot> {
        Some(match self {
            Self::Ignore => Slot::Ignore,
            Self::AllowAdded => Slot::AllowAdded,
            Self::NullEqMissing => Slot::NullEqMissing,
            Self::SqlBool => Slot::SqlBool,
            Self::Strict => Slot::Strict,
            Self::Bind(_) => Slot::Bind,
            Self::Array(_) => Slot::Array,
            Self::Number(_) => Slot::Number,
            Self::Text(_) => Slot::Text,
            Self::Time(_) => Slot::Time,
            Self::Clear => return None,
        })
    }
}

#[derive(Debug)]
struct Rule {
    /// What it is called where it is held to account.
    name: String,
    path: JsonPath,
    effect: Effect,
}

/// Compiled settings; made once, used for every comparison of the resource.
#[derive(Debug, Default)]
pub struct Rules {
    all: Vec<Rule>,
    headers: BTreeSet<String>,
}

/// What rules found in a document.
#[derive(Debug, Default)]
pub(super) struct Marked {
    /// Places that each rule located.
    pub(super) located: Vec<u64>,
    /// Values (scalars, and empty arrays and objects) that each ignore rule takes out.
    pub(super) covered: Vec<u64>,
    /// All values.
    pub(super) values: u64,
}

impl Rules {
    /// Compiles settings.
    ///
    /// # Errors
    /// The first [`RuleError`]; [`Rules::problems`] gives all.
    pub fn compile(settings: &RuleSettings) -> Result<Self, RuleError> {
        let Compiler { rules, problems } = Compiler::default().run(settings);
        problems.into_iter().next().map_or(Ok(rules), Err)
    }

    /// All that is wrong with settings.
    #[must_use]
    pub fn problems(settings: &RuleSettings) -> Vec<RuleError> {
        Compiler::default().run(settings).problems
    }

    /// What the rules are called where they are held to account, in the order of [`RuleSettings`]: an ignore
    /// rule by its path, another by its key and its path (`strings $.data[*].name`).
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.accountable().map(|(_, rule)| rule.name.as_str())
    }

    /// The names of the compared headers, in lower case.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().map(String::as_str)
    }

    fn accountable(&self) -> impl Iterator<Item = (usize, &Rule)> {
        self.all.iter().enumerate().filter(|(_, rule)| rule.effect.slot().is_some())
    }

    /// Each rule that has a part in comparing: its place and its name.
    pub(super) fn accounts(&self) -> impl Iterator<Item = (usize, &str)> {
        self.accountable().map(|(place, rule)| (place, rule.name.as_str()))
    }

    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// What a rule of a mark does.
    pub(super) fn effect(&self, rule: RuleId) -> Option<&Effect> {
        self.all.get(rule.place()).map(|rule| &rule.effect)
    }

    /// How an array with these marks is paired, and by which rule.
    pub(super) fn pairing(&self, marks: &Marks) -> (Option<RuleId>, &Pairing) {
        let rule = marks.get(Slot::Array);
        match rule.and_then(|rule| self.effect(rule)) {
            Some(Effect::Array(pairing)) => (rule, pairing),
            _ => (None, &Pairing::Position),
        }
    }

    /// Writes on each node what the rules say about it.
    pub fn mark(&self, document: &mut Document) {
        self.locate(document);
    }

    /// As [`Rules::mark`]; also says what the rules found.
    pub(super) fn locate(&self, document: &mut Document) -> Marked {
        let nothing = || vec![0; self.all.len()];
        let mut marked = Marked { located: nothing(), covered: nothing(), values: 0 };
        if self.all.is_empty() {
            return marked;
        }
        let value = document.root.to_value();
        for (place, rule) in self.all.iter().enumerate() {
            let Some(id) = RuleId::at(place) else { break };
            marked.located[place] =
                each(&rule.path, &value, &mut document.root, |marks| match rule.effect.slot() {
                    Some(slot) => marks.set(slot, id),
                    None => marks.set_clear(),
                });
        }
        if self.all.iter().any(|rule| matches!(rule.effect, Effect::Ignore)) {
            cover(&document.root, None, &mut marked);
        }
        marked
    }
}

/// Marks each node that a path locates; gives their number.
fn each(
    path: &JsonPath,
    value: &serde_json::Value,
    root: &mut Node,
    mut mark: impl FnMut(&mut Marks),
) -> u64 {
    let mut count = 0;
    for location in path.query_located(value).locations() {
        let found = location.iter().try_fold(&mut *root, |node, element| match element.as_name() {
            Some(name) => node.child_mut(name),
            None => node.child_mut(&element.as_index().unwrap_or(usize::MAX).to_string()),
        });
        if let Some(node) = found {
            mark(&mut node.marks);
            count += 1;
        }
    }
    count
}

/// Counts values, and those that are taken out by the uppermost ignore rule above them.
fn cover(node: &Node, above: Option<RuleId>, marked: &mut Marked) {
    let ignored = above.or(node.marks.get(Slot::Ignore));
    match &node.json {
        Json::Array(items) if !items.is_empty() => {
            items.iter().for_each(|item| cover(item, ignored, marked));
        }
        Json::Object(members) if !members.is_empty() => {
            members.iter().for_each(|(_, member)| cover(member, ignored, marked));
        }
        _ => {
            marked.values += 1;
            if let Some(rule) = ignored {
                marked.covered[rule.place()] += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;

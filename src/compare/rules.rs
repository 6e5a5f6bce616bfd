//! What a resource's owner says about comparing it: plain settings, and the same compiled.

use std::collections::BTreeSet;

use http::HeaderName;
use serde_json_path::JsonPath;

use super::Document;
use super::document::{Marks, Node};

/// The settings of a resource's comparison, as written in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuleSettings {
    /// JSONPaths (RFC 9535) whose differences are not counted.
    pub ignore: Vec<String>,
    /// How particular arrays are compared; all others by position. The last rule that fits wins.
    pub arrays: Vec<ArrayRuleSettings>,
    /// JSONPaths where `null` is the same as no such field.
    pub null_eq_missing: Vec<String>,
    /// Response headers that are compared; by default `content-type` alone.
    pub headers: Vec<String>,
    /// JSONPaths whose values samples may keep in clear; everywhere else they are kept as tokens.
    pub clear: Vec<String>,
}

impl Default for RuleSettings {
    fn default() -> Self {
        Self {
            ignore: Vec::new(),
            arrays: Vec::new(),
            null_eq_missing: Vec::new(),
            headers: vec!["content-type".to_owned()],
            clear: Vec::new(),
        }
    }
}

/// How one array is compared.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArrayRuleSettings {
    /// JSONPath of the array itself (`$.data`).
    pub path: String,
    /// Pairs the elements by this member. Not together with `as`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// With `by`: whether a different order of the paired elements is a difference (default: yes).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordered: Option<bool>,
    /// `position`, `set` (order and repetition do not count) or `multiset` (order does not count).
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub order: Option<ArrayOrder>,
}

/// How the elements of an array are paired when no member identifies them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArrayOrder {
    /// By position.
    Position,
    /// Order and repetition do not count.
    Set,
    /// Order does not count, repetition does.
    Multiset,
}

/// A setting that makes no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Not a JSONPath.
    #[error(
        "`{key}`: `{expression}` is no JSONPath (RFC 9535), position {position}: {reason}; write for example `$.data[*].updatedAt`"
    )]
    Syntax {
        /// The setting that names it.
        key: &'static str,
        /// The expression.
        expression: String,
        /// Where it goes wrong, counted from 1.
        position: usize,
        /// What is wrong.
        reason: String,
    },
    /// A path that hides the whole answer.
    #[error("`ignore`: `$` would ignore every difference; name the fields that may differ")]
    IgnoresEverything,
    /// An array rule that contradicts itself.
    #[error(
        "`arrays`: the rule for `{0}` needs either `by` (with `ordered`, if you like) or `as`, not both and not neither"
    )]
    ArrayMode(String),
    /// Not a header name.
    #[error("`headers`: `{0}` is no header name")]
    Header(String),
    /// More rules than can be told apart.
    #[error("`{key}` has {count} entries; at most {max} are possible")]
    TooMany {
        /// The setting.
        key: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
}

/// How an array's elements are paired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pairing {
    Position,
    Set,
    Multiset,
    Keyed { by: Box<str>, ordered: bool },
}

#[derive(Debug)]
struct PathRule {
    expression: String,
    path: JsonPath,
}

/// Compiled settings; made once, used for every comparison of the resource.
#[derive(Debug)]
pub struct Rules {
    ignore: Vec<PathRule>,
    arrays: Vec<(PathRule, Pairing)>,
    null_eq_missing: Vec<PathRule>,
    clear: Vec<PathRule>,
    headers: BTreeSet<String>,
}

/// At most so many entries a list: an index fits the mark that each node carries.
const MAX_RULES: usize = 1_000;

impl Rules {
    /// Compiles settings.
    ///
    /// # Errors
    /// [`RuleError`] names the expression or header that is wrong.
    pub fn compile(settings: &RuleSettings) -> Result<Self, RuleError> {
        let ignore = paths("ignore", &settings.ignore)?;
        if ignore.iter().any(|rule| rule.expression.trim() == "$") {
            return Err(RuleError::IgnoresEverything);
        }
        within_bound("arrays", settings.arrays.len())?;
        let arrays = settings.arrays.iter().map(array_rule).collect::<Result<_, _>>()?;
        let header = |name: &String| {
            name.parse::<HeaderName>()
                .map(|name| name.as_str().to_owned())
                .map_err(|_| RuleError::Header(name.clone()))
        };
        Ok(Self {
            ignore,
            arrays,
            null_eq_missing: paths("null_eq_missing", &settings.null_eq_missing)?,
            clear: paths("clear", &settings.clear)?,
            headers: settings.headers.iter().map(header).collect::<Result<_, _>>()?,
        })
    }

    /// The expressions of the ignore rules, in the order of the settings.
    pub fn ignore_expressions(&self) -> impl Iterator<Item = &str> {
        self.ignore.iter().map(|rule| rule.expression.as_str())
    }

    /// The names of the compared headers, in lower case.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().map(String::as_str)
    }

    pub(super) fn ignore_count(&self) -> usize {
        self.ignore.len()
    }

    pub(super) fn pairing(&self, marks: Marks) -> &Pairing {
        marks
            .array
            .and_then(|at| self.arrays.get(usize::from(at)))
            .map_or(&Pairing::Position, |(_, pairing)| pairing)
    }

    /// Writes on each node what the rules say about it; gives the number of nodes that each ignore
    /// rule located.
    pub fn mark(&self, document: &mut Document) -> Vec<u64> {
        let mut located = vec![0; self.ignore.len()];
        let none = self.ignore.is_empty()
            && self.arrays.is_empty()
            && self.null_eq_missing.is_empty()
            && self.clear.is_empty();
        if none {
            return located;
        }
        let value = document.root.to_value();
        let root = &mut document.root;
        for (at, rule) in (0_u16..).zip(&self.ignore) {
            located[usize::from(at)] = each(rule, &value, root, |marks| {
                marks.ignored = marks.ignored.or(Some(at));
            });
        }
        for (at, (rule, _)) in (0_u16..).zip(&self.arrays) {
            each(rule, &value, root, |marks| marks.array = Some(at));
        }
        for rule in &self.null_eq_missing {
            each(rule, &value, root, |marks| marks.null_eq_missing = true);
        }
        for rule in &self.clear {
            each(rule, &value, root, |marks| marks.clear = true);
        }
        located
    }
}

/// Marks each node that a rule locates; gives their number.
fn each(
    rule: &PathRule,
    value: &serde_json::Value,
    root: &mut Node,
    mut mark: impl FnMut(&mut Marks),
) -> u64 {
    let mut count = 0;
    for location in rule.path.query_located(value).locations() {
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

fn within_bound(key: &'static str, count: usize) -> Result<(), RuleError> {
    if count > MAX_RULES {
        return Err(RuleError::TooMany { key, count, max: MAX_RULES });
    }
    Ok(())
}

fn paths(key: &'static str, expressions: &[String]) -> Result<Vec<PathRule>, RuleError> {
    within_bound(key, expressions.len())?;
    expressions.iter().map(|expression| path(key, expression)).collect()
}

fn path(key: &'static str, expression: &str) -> Result<PathRule, RuleError> {
    let path = JsonPath::parse(expression).map_err(|error| RuleError::Syntax {
        key,
        expression: expression.to_owned(),
        position: error.position(),
        reason: error.message().to_owned(),
    })?;
    Ok(PathRule { expression: expression.to_owned(), path })
}

fn array_rule(settings: &ArrayRuleSettings) -> Result<(PathRule, Pairing), RuleError> {
    let pairing = match (&settings.by, settings.order, settings.ordered) {
        (Some(by), None, ordered) => {
            Pairing::Keyed { by: by.as_str().into(), ordered: ordered.unwrap_or(true) }
        }
        (None, Some(ArrayOrder::Position), None) => Pairing::Position,
        (None, Some(ArrayOrder::Set), None) => Pairing::Set,
        (None, Some(ArrayOrder::Multiset), None) => Pairing::Multiset,
        _ => return Err(RuleError::ArrayMode(settings.path.clone())),
    };
    Ok((path("arrays", &settings.path)?, pairing))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> RuleSettings {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn settings_are_read_and_unknown_keys_refused() {
        let read = settings(
            "ignore = ['$.data[*].updatedAt']\narrays = [{ path = '$.data', by = 'id' }, { path = '$..tags', as = 'set' }]",
        );
        assert_eq!(read.headers, ["content-type"]);
        assert_eq!(read.arrays[1].order, Some(ArrayOrder::Set));
        assert!(Rules::compile(&read).is_ok());
        assert!(toml::from_str::<RuleSettings>("ignored = []").is_err());
        assert!(toml::from_str::<RuleSettings>("arrays = [{ path = '$', key = 'id' }]").is_err());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text: &str| Rules::compile(&settings(text)).unwrap_err().to_string();
        assert!(error("ignore = ['$.a', 'data.*']").contains("`data.*`"));
        assert!(error("null_eq_missing = ['$.a[']").contains("`$.a[`"));
        assert!(error("ignore = ['$']").contains("every difference"));
        assert!(error("headers = ['content type']").contains("`content type`"));
        assert!(error("arrays = [{ path = '$.data' }]").contains("`$.data`"));
        assert!(error("arrays = [{ path = '$', by = 'id', as = 'set' }]").contains("not both"));
    }

    #[test]
    fn marks_what_the_paths_locate() {
        let rules = Rules::compile(&settings(
            "ignore = ['$.data[*].at', '$..at']\narrays = [{ path = '$.data', by = 'id' }]\nclear = ['$.n']",
        ))
        .unwrap();
        let mut document =
            Document::parse(br#"{"data":[{"at":1},{"at":2}],"at":3,"n":1e999}"#).unwrap();
        assert_eq!(rules.mark(&mut document), [2, 3]);
        assert_eq!(document.at("/data/1/at").unwrap().marks.ignored, Some(0));
        assert_eq!(document.at("/at").unwrap().marks.ignored, Some(1));
        assert_eq!(document.at("/data").unwrap().marks.array, Some(0));
        assert!(document.at("/n").unwrap().marks.clear);
        assert_eq!(document.at("/data/0").unwrap().marks, Marks::default());
    }
}

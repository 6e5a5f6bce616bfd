//! `[resource.compare]`: the rules of a comparison, each told where it stands if it makes no rule.

use crate::compare::{
    ArrayRuleSettings, NumberRuleSettings, RuleKey, RuleSettings, Rules, StringRuleSettings,
    TimeRuleSettings,
};

use super::super::key::Key;
use super::super::raw;
use super::Checker;

impl Checker<'_> {
    pub(super) fn rules(&mut self, key: &Key, raw: raw::CompareRules) -> RuleSettings {
        let default = RuleSettings::default();
        let settings = RuleSettings {
            ignore: raw.ignore.unwrap_or_default(),
            allow_added: raw.allow_added.unwrap_or_default(),
            null_eq_missing: raw.null_eq_missing.unwrap_or_default(),
            sql_bool: raw.sql_bool.unwrap_or_default(),
            strict: raw.strict.unwrap_or_default(),
            bind: raw.bind.unwrap_or_default(),
            arrays: list(raw.arrays, |path, raw: raw::ArrayRule| ArrayRuleSettings {
                path,
                by: raw.by,
                ordered: raw.ordered,
                order: raw.r#as,
            }),
            numbers: list(raw.numbers, |path, raw: raw::NumberRule| NumberRuleSettings {
                path,
                abs: raw.abs,
                rel: raw.rel,
                ulp: raw.ulp,
            }),
            strings: list(raw.strings, |path, raw: raw::StringRule| StringRuleSettings {
                path,
                normalise: raw.r#as.unwrap_or_default(),
                mask: raw.mask.unwrap_or_default(),
            }),
            times: list(raw.times, |path, raw: raw::TimeRule| TimeRuleSettings {
                path,
                within_ms: raw.within_ms.unwrap_or_default(),
                unit: raw.unit.unwrap_or_default(),
            }),
            headers: raw.headers.unwrap_or(default.headers),
            clear: raw.clear.unwrap_or_default(),
        };
        for error in Rules::problems(&settings) {
            self.report(&place(key, error.key), error.problem);
        }
        settings
    }
}

/// An entry of a list of rules.
trait Entry {
    fn path(&mut self) -> Option<String>;
}

macro_rules! entry {
    ($($kind:ident)*) => {$(
        impl Entry for raw::$kind {
            fn path(&mut self) -> Option<String> {
                self.path.take()
            }
        }
    )*};
}

entry!(ArrayRule NumberRule StringRule TimeRule);

/// A rule without a path has an empty one, which is none: told as such.
fn list<R: Entry, S>(entries: Option<Vec<R>>, rule: impl Fn(String, R) -> S) -> Vec<S> {
    let entries = entries.unwrap_or_default().into_iter();
    entries.map(|mut entry| rule(entry.path().unwrap_or_default(), entry)).collect()
}

/// Where a rule's setting stands in the file.
fn place(section: &Key, key: RuleKey) -> Key {
    let entry = section.field(key.list).index(key.place);
    let field = key.field.map_or_else(|| entry.clone(), |field| entry.field(field));
    key.inner.map_or(field.clone(), |inner| field.index(inner))
}

//! Settings become rules; all that is wrong with them is found at once.

use http::HeaderName;
use serde_json_path::JsonPath;

use super::error::{MAX_ALL, MAX_RULES, MAX_ULP, MAX_WITHIN_MS};
use super::settings::{
    ArrayOrder, ArrayRuleSettings, NumberRuleSettings, StringRuleSettings, TimeRuleSettings,
};
use super::{Effect, Pairing, Rule, RuleError, RuleKey, RuleProblem, RuleSettings, Rules};
use crate::compare::spelling::TextRule;
use crate::compare::times::TimeRule;
use crate::compare::tolerance::Tolerance;
use crate::compare::{Number, headers};

/// A regular expression, compiled, takes at most so many bytes.
const MAX_MASK_BYTES: usize = 1 << 20;

type Made = Result<(), RuleError>;

/// A list of paths that all have one effect: its key, its entries, the effect.
type PlainList<'s> = (&'static str, &'s [String], fn() -> Effect);

/// What was made, and what is wrong.
#[derive(Default)]
pub(super) struct Compiler {
    pub(super) rules: Rules,
    pub(super) problems: Vec<RuleError>,
}

impl Compiler {
    pub(super) fn run(mut self, settings: &RuleSettings) -> Self {
        self.each("ignore", &settings.ignore, |compiler, key, path| {
            compiler.path(key, path, Effect::Ignore)?;
            if path.trim() == "$" {
                return Err(key.wrong(RuleProblem::IgnoresEverything));
            }
            Ok(())
        });
        let plain: [PlainList<'_>; 5] = [
            ("allow_added", &settings.allow_added, || Effect::AllowAdded),
            ("null_eq_missing", &settings.null_eq_missing, || Effect::NullEqMissing),
            ("sql_bool", &settings.sql_bool, || Effect::SqlBool),
            ("strict", &settings.strict, || Effect::Strict),
            ("clear", &settings.clear, || Effect::Clear),
        ];
        for (list, paths, effect) in plain {
            self.each(list, paths, |compiler, key, path| compiler.path(key, path, effect()));
        }
        self.each("bind", &settings.bind, |compiler, key, paths| compiler.bind(key, paths));
        self.each("arrays", &settings.arrays, Self::array);
        self.each("numbers", &settings.numbers, Self::number);
        self.each("strings", &settings.strings, Self::string);
        self.each("times", &settings.times, Self::time);
        self.each("headers", &settings.headers, |compiler, key, name| compiler.header(key, name));
        self
    }

    fn each<T>(
        &mut self,
        list: &'static str,
        entries: &[T],
        make: impl Fn(&mut Self, RuleKey, &T) -> Made,
    ) {
        for (place, entry) in entries.iter().enumerate() {
            let key = RuleKey::of(list, place);
            let made = if place < MAX_RULES {
                make(self, key, entry)
            } else {
                Err(key.wrong(RuleProblem::TooMany))
            };
            let full = made.as_ref().is_err_and(|error| error.problem == RuleProblem::TooMany);
            self.problems.extend(made.err());
            // One is told, not each that follows.
            if full {
                return;
            }
        }
    }

    /// Adds a rule about a path.
    fn path(&mut self, key: RuleKey, expression: &str, effect: Effect) -> Made {
        if expression.is_empty() {
            return Err(key.wrong(RuleProblem::NoPath));
        }
        let path = JsonPath::parse(expression).map_err(|error| {
            key.wrong(RuleProblem::Syntax {
                expression: expression.to_owned(),
                position: error.position() + 1,
                reason: error.message().to_owned(),
            })
        })?;
        if self.rules.all.len() >= MAX_ALL {
            return Err(key.wrong(RuleProblem::TooMany));
        }
        // An ignore rule is told by its path alone, which begins with `$`.
        let name = match &effect {
            Effect::Ignore => expression.to_owned(),
            _ => format!("{} {expression}", key.list),
        };
        self.rules.all.push(Rule { name, path, effect });
        Ok(())
    }

    fn bind(&mut self, key: RuleKey, paths: &[String]) -> Made {
        if paths.is_empty() {
            return Err(key.wrong(RuleProblem::BindsNothing));
        }
        for (at, path) in paths.iter().enumerate() {
            self.path(key.inner(at), path, Effect::Bind(key.place))?;
        }
        Ok(())
    }

    fn array(&mut self, key: RuleKey, settings: &ArrayRuleSettings) -> Made {
        let pairing = match (&settings.by, settings.order, settings.ordered) {
            (Some(by), None, ordered) => {
                Pairing::Keyed { by: by.as_str().into(), ordered: ordered.unwrap_or(true) }
            }
            (None, Some(ArrayOrder::Position), None) => Pairing::Position,
            (None, Some(ArrayOrder::Set), None) => Pairing::Set,
            (None, Some(ArrayOrder::Multiset), None) => Pairing::Multiset,
            _ => return Err(key.wrong(RuleProblem::ArrayMode)),
        };
        self.path(key.field("path"), &settings.path, Effect::Array(pairing))
    }

    fn number(&mut self, key: RuleKey, settings: &NumberRuleSettings) -> Made {
        let decimal = |value: f64| Number::parse(&value.to_string());
        let tolerance = match (settings.abs, settings.rel, settings.ulp) {
            (Some(abs), None, None) if abs > 0.0 && abs.is_finite() => Tolerance::Abs(decimal(abs)),
            (Some(_), None, None) => return Err(key.field("abs").wrong(RuleProblem::Tolerance)),
            (None, Some(rel), None) if rel > 0.0 && rel < 1.0 => Tolerance::Rel(decimal(rel)),
            (None, Some(_), None) => return Err(key.field("rel").wrong(RuleProblem::Share)),
            (None, None, Some(ulp)) if (1..=MAX_ULP).contains(&ulp) => Tolerance::Ulp(ulp),
            (None, None, Some(_)) => return Err(key.field("ulp").wrong(RuleProblem::Ulp)),
            _ => return Err(key.wrong(RuleProblem::NumberMode)),
        };
        self.path(key.field("path"), &settings.path, Effect::Number(tolerance))
    }

    fn string(&mut self, key: RuleKey, settings: &StringRuleSettings) -> Made {
        if settings.normalise.is_empty() && settings.mask.is_empty() {
            return Err(key.wrong(RuleProblem::StringMode));
        }
        let mut masks = Vec::new();
        for (at, mask) in settings.mask.iter().enumerate() {
            let built = regex::RegexBuilder::new(mask).size_limit(MAX_MASK_BYTES).build();
            let wrong = |e: regex::Error| {
                key.field("mask").inner(at).wrong(RuleProblem::Mask(e.to_string()))
            };
            masks.push(built.map_err(wrong)?);
        }
        let rule = TextRule::new(&settings.normalise, masks);
        self.path(key.field("path"), &settings.path, Effect::Text(rule))
    }

    fn time(&mut self, key: RuleKey, settings: &TimeRuleSettings) -> Made {
        if settings.within_ms > MAX_WITHIN_MS {
            return Err(key.field("within_ms").wrong(RuleProblem::Within));
        }
        let rule = TimeRule::new(settings.within_ms, settings.unit);
        self.path(key.field("path"), &settings.path, Effect::Time(rule))
    }

    fn header(&mut self, key: RuleKey, name: &str) -> Made {
        let parsed = name
            .parse::<HeaderName>()
            .map_err(|_| key.wrong(RuleProblem::Header(name.to_owned())))?;
        if headers::is_volatile(parsed.as_str()) {
            return Err(key.wrong(RuleProblem::VolatileHeader(parsed.as_str().to_owned())));
        }
        self.rules.headers.insert(parsed.as_str().to_owned());
        Ok(())
    }
}

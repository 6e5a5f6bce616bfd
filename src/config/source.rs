//! The text of a file: where each key stands in it, and the raw settings that it spells.

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Problem;
use super::key::{Key, Step};
use super::raw::Settings;

/// At most so many keys that cannot be read are told at once.
const MAX_UNREADABLE: usize = 50;

/// A parsed file.
pub(super) struct Source<'t> {
    file: &'t str,
    text: &'t str,
    root: Spanned<DeTable<'t>>,
}

/// What could be read of a file.
pub(super) struct Read<'t> {
    pub(super) source: Source<'t>,
    pub(super) settings: Settings,
    pub(super) problems: Vec<Problem>,
    /// Keys that could not be read: they are told, and count as if they were not there.
    pub(super) unreadable: Vec<Key>,
}

impl<'t> Source<'t> {
    /// Parses the text and reads the settings: every key that is unknown or of a wrong type is taken out and told, so
    /// that the rest can still be checked.
    ///
    /// # Errors
    /// The syntax errors, if the text is no TOML.
    pub(super) fn read(text: &'t str, file: &'t str) -> Result<Read<'t>, Vec<Problem>> {
        let (root, errors) = DeTable::parse_recoverable(text);
        let source = Self { file, text, root };
        if !errors.is_empty() {
            return Err(errors.iter().map(|error| source.syntax(error)).collect());
        }
        let mut rest = source.root.clone();
        let (mut problems, mut unreadable) = (Vec::new(), Vec::new());
        loop {
            let deserializer = toml::de::Deserializer::from(rest.clone());
            let mut track = serde_path_to_error::Track::new();
            let tracked = serde_path_to_error::Deserializer::new(deserializer, &mut track);
            let error = match Settings::deserialize(tracked) {
                Ok(settings) => return Ok(Read { source, settings, problems, unreadable }),
                Err(error) => error,
            };
            let key = Key::from_serde(&track.path());
            problems.push(source.unreadable(&key, error.message()));
            let removed = remove(rest.get_mut(), &key.named().0);
            unreadable.extend(source.meant(&key, error.message()));
            unreadable.push(key.named());
            if !removed || problems.len() >= MAX_UNREADABLE {
                return Err(problems);
            }
        }
    }

    /// A problem with the setting at `key`.
    pub(super) fn problem(&self, key: &Key, message: impl Into<String>) -> Problem {
        Problem {
            file: self.file.to_owned(),
            place: self.place(key),
            key: key.display(|element| self.element_name(element)),
            value: self.value_text(key),
            message: message.into(),
        }
    }

    /// Where a key begins, for keeping the order of the file.
    pub(super) fn position(&self, key: &Key) -> usize {
        self.find(key).map_or(usize::MAX, |(start, _)| start)
    }

    fn syntax(&self, error: &toml::de::Error) -> Problem {
        // The error's own text shows the line, which may hold a secret; so only its message is taken.
        Problem {
            file: self.file.to_owned(),
            place: error.span().map(|span| self.line_column(span.start)),
            key: String::new(),
            value: None,
            message: format!("this is no TOML: {}", error.message()),
        }
    }

    fn unreadable(&self, key: &Key, message: &str) -> Problem {
        if let Some(known) = known_keys(message) {
            let mut problem = self.problem(key, unknown(key.name().unwrap_or_default(), &known));
            problem.value = None;
            return problem;
        }
        if key.is_secret() {
            return self
                .problem(key, "must be a string: \"env:NAME\", \"file:PATH\" or the secret");
        }
        self.problem(key, in_words_of_toml(message.trim_end()))
    }

    /// The key that an unknown one seems to mean, if that is not there itself: it counts as told, not as missing.
    fn meant(&self, key: &Key, message: &str) -> Option<Key> {
        let known = known_keys(message)?;
        let meant = key.parent()?.field(nearest(key.name()?, &known)?);
        self.find(&meant).is_none().then_some(meant)
    }

    /// The table's own `name`, for an element of an array of tables.
    fn element_name(&self, element: &Key) -> Option<String> {
        let (_, value) = self.find(&element.field("name"))?;
        value.get_ref().as_str().map(str::to_owned)
    }

    fn place(&self, key: &Key) -> Option<(usize, usize)> {
        if let Some((start, _)) = self.find(key) {
            return Some(self.line_column(start));
        }
        key.parent().filter(|parent| !parent.0.is_empty()).and_then(|parent| self.place(&parent))
    }

    fn value_text(&self, key: &Key) -> Option<String> {
        let (_, value) = self.find(key)?;
        if key.is_secret() || matches!(value.get_ref(), DeValue::Table(_)) {
            return None;
        }
        let written = self.text.get(value.span())?;
        // A URL may carry credentials or a token in its query.
        let may_hold_secret = written.contains("://") && written.contains(['@', '?']);
        if may_hold_secret || written.contains('\n') {
            return None;
        }
        let short: String = written.chars().take(80).collect();
        Some(if short.len() < written.len() { format!("{short}…") } else { short })
    }

    fn find(&self, key: &Key) -> Option<(usize, &Spanned<DeValue<'t>>)> {
        let mut steps = key.0.iter();
        let Step::Name(first) = steps.next()? else { return None };
        let (name, mut value) = self.root.get_ref().get_key_value(first.as_str())?;
        let mut start = name.span().start;
        for step in steps {
            match (step, value.get_ref()) {
                (Step::Name(name), DeValue::Table(table)) => {
                    let (name, inner) = table.get_key_value(name.as_str())?;
                    (start, value) = (name.span().start, inner);
                }
                (Step::Index(index), DeValue::Array(array)) => {
                    value = array.get(*index)?;
                    start = value.span().start;
                }
                _ => return None,
            }
        }
        Some((start, value))
    }

    fn line_column(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// serde's message, with what was expected in TOML's words instead of Rust's.
fn in_words_of_toml(message: &str) -> String {
    match message.split_once("expected ") {
        Some((found, "u64")) => format!("{found}expected a whole number, not negative"),
        Some((found, "a sequence")) => format!("{found}expected a list"),
        Some((found, what)) if what == "a map" || what.starts_with("struct ") => {
            format!("{found}expected a table")
        }
        _ => message.to_owned(),
    }
}

/// The keys that are known where an unknown one was found: serde tells them in backticks, after the unknown one.
fn known_keys(message: &str) -> Option<Vec<&str>> {
    let rest = message.strip_prefix("unknown field")?;
    Some(rest.split('`').skip(3).step_by(2).collect())
}

fn unknown(name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(nearest) => format!("unknown key `{name}`; did you mean `{nearest}`?"),
        None if known.is_empty() => format!("unknown key `{name}`: there are no keys here"),
        None => format!("unknown key `{name}`; the keys here are {}", known.join(", ")),
    }
}

fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let distances = known.iter().map(|key| (strsim::damerau_levenshtein(name, key), *key));
    let near = distances.filter(|(distance, key)| *distance <= 1 + key.len() / 4);
    near.min_by_key(|(distance, _)| *distance).map(|(_, key)| key)
}

/// Takes what stands at `steps`, the last of them a name, out of the table.
fn remove(table: &mut DeTable<'_>, steps: &[Step]) -> bool {
    match steps {
        [Step::Name(name)] => table.remove(name.as_str()).is_some(),
        [Step::Name(name), rest @ ..] => {
            table.get_mut(name.as_str()).is_some_and(|value| remove_in(value.get_mut(), rest))
        }
        _ => false,
    }
}

fn remove_in(value: &mut DeValue<'_>, steps: &[Step]) -> bool {
    match (value, steps) {
        (DeValue::Table(table), steps) => remove(table, steps),
        (DeValue::Array(array), [Step::Index(index), rest @ ..]) => {
            array.get_mut(*index).is_some_and(|value| remove_in(value.get_mut(), rest))
        }
        _ => false,
    }
}

//! A file's text: read into raw settings, and where each key stands in it.

use std::path::Path;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ScenarioError;
use super::file::{PLANNED_STEPS, RawScenario};
use crate::config::Problem;

/// The version of the format that this build reads.
const VERSION: i64 = 1;

/// One step into the file.
#[derive(Debug, Clone)]
enum Part {
    Name(String),
    Index(usize),
}

/// A parsed file.
pub(super) struct Source<'t> {
    file: String,
    text: &'t str,
    root: Spanned<DeTable<'t>>,
}

impl<'t> Source<'t> {
    /// Parses the text and reads what it spells.
    ///
    /// # Errors
    /// [`ScenarioError::Invalid`] for what is no TOML, another version, an unknown key or a wrong type.
    pub(super) fn read(text: &'t str, file: &Path) -> Result<(Self, RawScenario), ScenarioError> {
        let file = file.display().to_string();
        let (root, errors) = DeTable::parse_recoverable(text);
        let source = Self { file, text, root };
        if !errors.is_empty() {
            let problem = |error: &toml::de::Error| Problem {
                place: error.span().map(|span| source.line_column(span.start)),
                message: format!("this is no TOML: {}", error.message()),
                ..source.problem("", "")
            };
            return Err(ScenarioError::Invalid(errors.iter().map(problem).collect()));
        }
        source.check_version().map_err(|problem| ScenarioError::Invalid(vec![problem]))?;
        let planned = source.planned_steps();
        if !planned.is_empty() {
            return Err(ScenarioError::Invalid(planned));
        }
        let deserializer = toml::de::Deserializer::from(source.root.clone());
        let mut track = serde_path_to_error::Track::new();
        let tracked = serde_path_to_error::Deserializer::new(deserializer, &mut track);
        match RawScenario::deserialize(tracked) {
            Ok(raw) => Ok((source, raw)),
            Err(error) => {
                let mut key = track.path().to_string();
                if key == "." {
                    key.clear();
                }
                let mut problem = source.problem(&key, error.message().trim_end());
                problem.place = error
                    .span()
                    .map(|span| source.line_column(span.start))
                    .or(problem.place)
                    .or(Some((1, 1)));
                Err(ScenarioError::Invalid(vec![problem]))
            }
        }
    }

    fn check_version(&self) -> Result<(), Problem> {
        let found = self.find("version").map(|(_, value)| value.get_ref());
        match found {
            Some(DeValue::Integer(number)) if number.as_str() == VERSION.to_string() => Ok(()),
            Some(_) => Err(self.problem(
                "version",
                format!("this crossfade reads version {VERSION} of the format: run the one that the file was written for"),
            )),
            None => Err(Problem {
                place: Some((1, 1)),
                ..self.problem("version", format!("is missing: begin the file with `version = {VERSION}`"))
            }),
        }
    }

    /// Steps that a later version of crossfade will know: told before serde calls them unknown.
    fn planned_steps(&self) -> Vec<Problem> {
        let Some((_, value)) = self.find("steps") else { return Vec::new() };
        let DeValue::Array(steps) = value.get_ref() else { return Vec::new() };
        let tables = steps.iter().enumerate().filter_map(|(at, step)| match step.get_ref() {
            DeValue::Table(table) => Some((at, table)),
            _ => None,
        });
        tables
            .flat_map(|(at, table)| table.keys().map(move |key| (at, key.get_ref())))
            .filter(|(_, key)| PLANNED_STEPS.contains(&key.as_ref()))
            .map(|(at, key)| {
                let text = "this step is planned and not supported yet: take it out";
                self.problem(&format!("steps[{at}].{key}"), text)
            })
            .collect()
    }

    /// A problem with the setting at `key`, spelled as `steps[3].edit.actor`.
    pub(super) fn problem(&self, key: &str, message: impl Into<String>) -> Problem {
        Problem {
            file: self.file.clone(),
            place: self.place(key),
            key: key.to_owned(),
            value: self.value_text(key),
            message: message.into(),
        }
    }

    /// The line of a key, or of the nearest table around it; 1 where there is none.
    pub(super) fn line(&self, key: &str) -> usize {
        self.place(key).map_or(1, |(line, _)| line)
    }

    fn place(&self, key: &str) -> Option<(usize, usize)> {
        let mut parts = parts(key);
        while !parts.is_empty() {
            if let Some((start, _)) = self.walk(&parts) {
                return Some(self.line_column(start));
            }
            parts.pop();
        }
        None
    }

    fn value_text(&self, key: &str) -> Option<String> {
        let (_, value) = self.find(key)?;
        match value.get_ref() {
            DeValue::Table(_) | DeValue::Array(_) => None,
            _ => {
                let written = self.text.get(value.span())?;
                Some(written.lines().next()?.chars().take(80).collect())
            }
        }
    }

    fn find(&self, key: &str) -> Option<(usize, &Spanned<DeValue<'t>>)> {
        self.walk(&parts(key))
    }

    fn walk(&self, parts: &[Part]) -> Option<(usize, &Spanned<DeValue<'t>>)> {
        let mut parts = parts.iter();
        let Part::Name(first) = parts.next()? else { return None };
        let (name, mut value) = self.root.get_ref().get_key_value(first.as_str())?;
        let mut start = name.span().start;
        for part in parts {
            match (part, value.get_ref()) {
                (Part::Name(name), DeValue::Table(table)) => {
                    let (name, inner) = table.get_key_value(name.as_str())?;
                    (start, value) = (name.span().start, inner);
                }
                (Part::Index(index), DeValue::Array(array)) => {
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

/// Takes `steps[3].edit.actor` apart.
fn parts(key: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    for piece in key.split('.').filter(|piece| !piece.is_empty()) {
        let mut rest = piece.split('[');
        let name = rest.next().unwrap_or_default();
        if !name.is_empty() {
            parts.push(Part::Name(name.to_owned()));
        }
        let indices = rest.filter_map(|index| index.trim_end_matches(']').parse().ok());
        parts.extend(indices.map(Part::Index));
    }
    parts
}

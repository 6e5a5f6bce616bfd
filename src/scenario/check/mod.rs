//! From what is written to a [`Scenario`]: names resolved, impossible steps refused, all problems told.

mod expect;
mod steps;

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use mergeable_store::Cell;
use serde_json::Value;

use super::error::ScenarioError;
use super::file::{RawActor, RawKind, RawScenario};
use super::model::{
    Actor, ActorId, ActorKind, Expectation, LegacyStart, RowRef, Scenario, StageChange, Start, Step,
};
use super::source::Source;
use crate::config::Problem;
use crate::migration::{PathId, Stage};

/// How long a step may take where the file does not say.
const DEADLINE: Duration = Duration::from_secs(30);
/// The one resource of the built-in sample API.
const RESOURCE: &str = "users";
const MAX_ROWS: usize = 100_000;
const MAX_ACTORS: usize = 1_000;

/// Reads and checks a file's text.
///
/// # Errors
/// [`ScenarioError::Invalid`] with everything that is wrong.
pub(in crate::scenario) fn parse(text: &str, file: &Path) -> Result<Scenario, ScenarioError> {
    let (source, raw) = Source::read(text, file)?;
    let mut check = Check { source: &source, actors: Vec::new(), problems: Vec::new() };
    let scenario = check.scenario(raw, file);
    if check.problems.is_empty() {
        Ok(scenario)
    } else {
        Err(ScenarioError::Invalid(check.problems))
    }
}

struct Check<'a> {
    source: &'a Source<'a>,
    actors: Vec<Actor>,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn refuse(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(self.source.problem(key, message));
    }

    fn scenario(&mut self, raw: RawScenario, file: &Path) -> Scenario {
        let deadline = raw.deadline_ms.map_or(DEADLINE, Duration::from_millis);
        let settle = raw.settle_ms.map_or(deadline, Duration::from_millis);
        for (key, time) in [("deadline_ms", deadline), ("settle_ms", settle)] {
            if !(Duration::from_millis(1)..=Duration::from_secs(600)).contains(&time) {
                self.refuse(key, "must be from 1 to 600000");
            }
        }
        let legacy = LegacyStart {
            rows: raw.legacy.rows.unwrap_or(20),
            organisations: raw.legacy.organisations.unwrap_or(1),
            seed: raw.legacy.seed.unwrap_or(1),
        };
        if legacy.rows > MAX_ROWS {
            self.refuse("legacy.rows", format!("must be at most {MAX_ROWS}"));
        }
        if legacy.organisations == 0 {
            self.refuse("legacy.organisations", "must be at least 1");
        }
        let start = Start {
            stage: self.stage_change(
                "crossfade",
                raw.crossfade.stage.as_deref().unwrap_or("dualwrite"),
                raw.crossfade.cohort,
                raw.crossfade.shadow,
            ),
            backfill: raw.crossfade.backfill.unwrap_or(true),
        };
        self.take_actors(raw.actors);
        let mut connected = HashSet::new();
        let mut steps = Vec::new();
        for (at, step) in raw.steps.into_iter().enumerate() {
            let key = format!("steps[{at}]");
            let line = self.source.line(&key);
            if let Some(action) = self.action(&key, step, &mut connected) {
                steps.push(Step { line, action });
            }
        }
        let mut expect = Vec::new();
        for (at, expectation) in raw.expect.into_iter().enumerate() {
            let key = format!("expect[{at}]");
            let line = self.source.line(&key);
            if let Some(invariant) = self.invariant(&key, expectation, &connected) {
                expect.push(Expectation { line, invariant });
            }
        }
        if self.problems.is_empty() && expect.is_empty() {
            self.refuse("expect", "is missing: a scenario that expects nothing proves nothing; add [[expect]] with `converged = {}`");
        }
        Scenario {
            file: file.to_owned(),
            name: raw.name,
            summary: raw.summary,
            deadline,
            settle,
            legacy,
            start,
            actors: std::mem::take(&mut self.actors),
            steps,
            expect,
        }
    }

    fn stage_change(
        &mut self,
        key: &str,
        word: &str,
        cohort: Option<u8>,
        shadow: Option<u8>,
    ) -> StageChange {
        let stage = word.parse().unwrap_or_else(|error: crate::migration::UnknownStage| {
            self.refuse(&format!("{key}.stage"), error.to_string());
            Stage::Off
        });
        for (name, percent) in [("cohort", cohort), ("shadow", shadow)] {
            if percent.is_some_and(|percent| percent > 100) {
                self.refuse(&format!("{key}.{name}"), "must be a percentage, 0 to 100");
            }
        }
        StageChange { stage, cohort, shadow }
    }

    fn take_actors(&mut self, actors: Vec<RawActor>) {
        if actors.len() > MAX_ACTORS {
            self.refuse("actors", format!("at most {MAX_ACTORS} actors"));
        }
        for (at, raw) in actors.into_iter().enumerate() {
            let key = format!("actors[{at}]");
            let kind = match raw.kind {
                RawKind::Native => ActorKind::Native,
                RawKind::Rest => ActorKind::Rest,
                RawKind::Tinybase | RawKind::Browser => {
                    let text = "this kind of actor is planned and not supported yet: use `native` or `rest`";
                    self.refuse(&format!("{key}.kind"), text);
                    ActorKind::Native
                }
            };
            if raw.name.is_empty() || self.actors.iter().any(|actor| actor.name == raw.name) {
                self.refuse(&format!("{key}.name"), "each actor needs a name of its own");
            }
            let org = raw.org.unwrap_or_else(|| "org_1".to_owned());
            if PathId::new(&default_path(&org)).is_err() {
                self.refuse(
                    &format!("{key}.org"),
                    "an organisation's id is part of a path: use A-Z a-z 0-9 . _ ~ -",
                );
            }
            self.actors.push(Actor {
                kind,
                user: raw.user.unwrap_or_else(|| raw.name.clone()),
                org,
                role: raw.role.unwrap_or_else(|| "admin".to_owned()),
                name: raw.name,
            });
        }
    }

    fn actor(&mut self, key: &str, name: &str) -> Option<ActorId> {
        if let Some(at) = self.actors.iter().position(|actor| actor.name == name) {
            return Some(ActorId(at));
        }
        let near = self
            .actors
            .iter()
            .map(|actor| (strsim::damerau_levenshtein(name, &actor.name), actor))
            .filter(|(distance, _)| *distance <= 2)
            .min_by_key(|(distance, _)| *distance);
        let message = match near {
            Some((_, actor)) => format!("no actor has this name; did you mean `{}`?", actor.name),
            None => "no actor has this name: add it to [[actors]]".to_owned(),
        };
        self.refuse(key, message);
        None
    }

    /// A native actor that has connected by this step.
    fn client(&mut self, key: &str, name: &str, connected: &HashSet<ActorId>) -> Option<ActorId> {
        let id = self.actor(key, name)?;
        if self.actors[id.0].kind != ActorKind::Native {
            self.refuse(key, "is a REST client, which has no store and no connection");
            return None;
        }
        if !connected.contains(&id) {
            self.refuse(key, "has not connected before this: add a step `connect` first");
            return None;
        }
        Some(id)
    }

    fn resource(&mut self, key: &str, resource: Option<String>) -> String {
        let resource = resource.unwrap_or_else(|| RESOURCE.to_owned());
        if resource != RESOURCE {
            let text = format!("the sample legacy API has one resource, `{RESOURCE}`");
            self.refuse(&format!("{key}.resource"), text);
        }
        resource
    }

    fn row(&mut self, key: &str, resource: Option<String>, row: String) -> RowRef {
        if row.is_empty() {
            self.refuse(&format!("{key}.row"), "a row's id is not empty");
        }
        RowRef { resource: self.resource(key, resource), row }
    }

    fn cell(&mut self, key: &str, value: toml::Value) -> Option<Cell> {
        let json = self.json(key, value)?;
        match Cell::from_json(&json) {
            Ok(cell) => Some(cell),
            Err(error) => {
                self.refuse(key, error.to_string());
                None
            }
        }
    }

    fn json(&mut self, key: &str, value: toml::Value) -> Option<Value> {
        if matches!(value, toml::Value::Datetime(_)) {
            self.refuse(key, "is a TOML date; JSON has none: write it as a string");
            return None;
        }
        serde_json::to_value(value).map_err(|error| self.refuse(key, error.to_string())).ok()
    }

    fn cells(&mut self, key: &str, cells: toml::Table) -> Vec<(String, Cell)> {
        cells
            .into_iter()
            .filter_map(|(id, value)| {
                let cell = self.cell(&format!("{key}.cells.{id}"), value)?;
                Some((id, cell))
            })
            .collect()
    }

    /// The named native actors, or all that connect.
    fn clients(
        &mut self,
        key: &str,
        names: Option<Vec<String>>,
        connected: &HashSet<ActorId>,
    ) -> Vec<ActorId> {
        let Some(names) = names else {
            let mut all: Vec<_> = connected.iter().copied().collect();
            all.sort();
            if all.is_empty() {
                self.refuse(key, "no native client connects in this scenario");
            }
            return all;
        };
        if names.is_empty() {
            self.refuse(key, "names no actor");
        }
        let named = names.iter().enumerate();
        named
            .filter_map(|(at, name)| self.client(&format!("{key}[{at}]"), name, connected))
            .collect()
    }
}

/// The path of an organisation, by the sample resource's template.
pub(in crate::scenario) fn default_path(org: &str) -> String {
    format!("org/{org}")
}

//! From what is written to a [`Scenario`]: names resolved, impossible steps refused, all problems told.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use mergeable_store::Cell;
use serde_json::Value;

use super::error::ScenarioError;
use super::file::{RawActor, RawExpect, RawKind, RawRest, RawScenario, RawStep, RawWait};
use super::model::{
    Action, Actor, ActorId, ActorKind, Condition, Expectation, Invariant, LegacyStart, RowRef,
    Scenario, StageChange, Start, Step,
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
pub(super) fn parse(text: &str, file: &Path) -> Result<Scenario, ScenarioError> {
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
        if !(Duration::from_millis(1)..=Duration::from_secs(600)).contains(&deadline) {
            self.refuse("deadline_ms", "must be from 1 to 600000");
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

    fn action(
        &mut self,
        at: &str,
        raw: RawStep,
        connected: &mut HashSet<ActorId>,
    ) -> Option<Action> {
        let who = |action: &str| format!("{at}.{action}.actor");
        match raw {
            RawStep::Connect(raw) => {
                let actor = self.actor(&who("connect"), &raw.actor)?;
                if self.actors[actor.0].kind != ActorKind::Native {
                    self.refuse(&who("connect"), "is a REST client; only native clients connect");
                } else if !connected.insert(actor) {
                    self.refuse(&who("connect"), "is connected already; use `go_online`");
                }
                let path = raw.path.unwrap_or_else(|| default_path(&self.actors[actor.0].org));
                match PathId::new(&path) {
                    Ok(path) => Some(Action::Connect { actor, path }),
                    Err(error) => {
                        self.refuse(&format!("{at}.connect.path"), error.to_string());
                        None
                    }
                }
            }
            RawStep::Edit(raw) => {
                let actor = self.client(&who("edit"), &raw.actor, connected);
                let key = format!("{at}.edit");
                let row = self.row(&key, raw.resource, raw.row);
                let cells = self.cells(&key, raw.cells).into_iter().map(|(id, c)| (id, Some(c)));
                let cells: Vec<_> =
                    cells.chain(raw.clear.into_iter().map(|id| (id, None))).collect();
                if cells.is_empty() {
                    self.refuse(&format!("{key}.cells"), "an edit needs `cells` or `clear`");
                }
                Some(Action::Edit { actor: actor?, row, cells })
            }
            RawStep::DeleteRow(raw) => {
                let actor = self.client(&who("delete_row"), &raw.actor, connected);
                let row = self.row(&format!("{at}.delete_row"), raw.resource, raw.row);
                Some(Action::DeleteRow { actor: actor?, row })
            }
            RawStep::GoOffline(raw) => {
                Some(Action::GoOffline(self.client(&who("go_offline"), &raw.actor, connected)?))
            }
            RawStep::GoOnline(raw) => {
                Some(Action::GoOnline(self.client(&who("go_online"), &raw.actor, connected)?))
            }
            RawStep::Cut(raw) => {
                Some(Action::Cut(self.client(&who("cut"), &raw.actor, connected)?))
            }
            RawStep::Rest(raw) => self.rest(at, raw),
            RawStep::Stage(raw) => {
                let key = format!("{at}.stage");
                let resource = self.resource(&key, raw.resource);
                let change = self.stage_change(&key, &raw.stage, raw.cohort, raw.shadow);
                Some(Action::Stage { resource, change })
            }
            RawStep::WaitUntil(raw) => Some(Action::WaitUntil(self.condition(
                &format!("{at}.wait_until"),
                raw,
                connected,
            )?)),
        }
    }

    fn rest(&mut self, at: &str, raw: RawRest) -> Option<Action> {
        let key = format!("{at}.rest");
        let actor = self.actor(&format!("{key}.actor"), &raw.actor);
        if actor.is_some_and(|actor| self.actors[actor.0].kind != ActorKind::Rest) {
            self.refuse(
                &format!("{key}.actor"),
                "is no REST client; give a step `rest` to an actor of kind `rest`",
            );
        }
        let method = match raw.method.as_str() {
            "GET" => http::Method::GET,
            "POST" => http::Method::POST,
            "PUT" => http::Method::PUT,
            "PATCH" => http::Method::PATCH,
            "DELETE" => http::Method::DELETE,
            _ => {
                self.refuse(&format!("{key}.method"), "use GET, POST, PUT, PATCH or DELETE");
                http::Method::GET
            }
        };
        if !raw.path.starts_with('/') {
            self.refuse(&format!("{key}.path"), "begins with `/`; the host is crossfade's");
        }
        if raw.expect_status.is_some_and(|status| !(100..600).contains(&status)) {
            self.refuse(&format!("{key}.expect_status"), "is no HTTP status");
        }
        let body = match raw.body {
            Some(body) => Some(self.json(&format!("{key}.body"), toml::Value::Table(body))?),
            None => None,
        };
        let (path, expect_status) = (raw.path, raw.expect_status);
        Some(Action::Rest { actor: actor?, method, path, body, expect_status })
    }

    fn condition(
        &mut self,
        key: &str,
        raw: RawWait,
        connected: &HashSet<ActorId>,
    ) -> Option<Condition> {
        let RawWait {
            actor,
            resource,
            row,
            cell,
            value,
            present,
            acknowledged,
            converged,
            outbox_empty,
        } = raw;
        let about_row = row.is_some() || cell.is_some() || value.is_some() || present.is_some();
        let kinds =
            [about_row, acknowledged.is_some(), converged.is_some(), outbox_empty.is_some()];
        if kinds.iter().filter(|kind| **kind).count() != 1 {
            self.refuse(key, "waits for one of: a row (`row`, with `cell` and `value`, or `present`), `acknowledged`, `converged`, `outbox_empty`");
            return None;
        }
        for (name, flag) in [("acknowledged", acknowledged), ("outbox_empty", outbox_empty)] {
            if flag == Some(false) {
                self.refuse(&format!("{key}.{name}"), "can only be waited for: write `true`");
            }
        }
        if let Some(names) = converged {
            return Some(Condition::Converged(self.clients(
                &format!("{key}.converged"),
                Some(names),
                connected,
            )));
        }
        if outbox_empty.is_some() {
            return Some(Condition::OutboxEmpty);
        }
        let Some(actor) = actor else {
            self.refuse(&format!("{key}.actor"), "is missing: whose store is waited for?");
            return None;
        };
        let actor = self.client(&format!("{key}.actor"), &actor, connected)?;
        if acknowledged.is_some() {
            return Some(Condition::Acknowledged(actor));
        }
        let Some(row) = row else {
            self.refuse(&format!("{key}.row"), "is missing");
            return None;
        };
        let row = self.row(key, resource, row);
        match (cell, value, present) {
            (Some(cell), Some(value), None) => {
                let value = self.cell(&format!("{key}.value"), value)?;
                Some(Condition::Cell { actor, row, cell, value })
            }
            (None, None, present) => {
                Some(Condition::Row { actor, row, present: present.unwrap_or(true) })
            }
            _ => {
                self.refuse(
                    key,
                    "waits for a `cell` with its `value`, or for the row with `present`",
                );
                None
            }
        }
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

    /// The organisation that an expectation is about; the first actor's by default.
    fn org(&self, org: Option<String>) -> String {
        org.or_else(|| self.actors.first().map(|actor| actor.org.clone()))
            .unwrap_or_else(|| "org_1".to_owned())
    }

    fn invariant(
        &mut self,
        at: &str,
        raw: RawExpect,
        connected: &HashSet<ActorId>,
    ) -> Option<Invariant> {
        Some(match raw {
            RawExpect::Converged(raw) => Invariant::Converged(self.clients(
                &format!("{at}.converged.actors"),
                raw.actors,
                connected,
            )),
            RawExpect::LegacyEqualsStore(raw) => Invariant::LegacyEqualsStore(
                self.resource(&format!("{at}.legacy_equals_store"), raw.resource),
            ),
            RawExpect::NoAcknowledgedWriteLost(_) => Invariant::NoAcknowledgedWriteLost,
            RawExpect::OutboxEmpty(_) => Invariant::OutboxEmpty,
            RawExpect::Rows(raw) => Invariant::Rows {
                resource: self.resource(&format!("{at}.rows"), raw.resource),
                org: self.org(raw.org),
                count: raw.count,
            },
            RawExpect::Row(raw) => {
                let key = format!("{at}.row");
                let row = self.row(&key, raw.resource, raw.row);
                let cells = self.cells(&key, raw.cells);
                let present = raw.present.unwrap_or(true);
                if !present && !cells.is_empty() {
                    self.refuse(&format!("{key}.cells"), "a row that is gone has no cells");
                }
                Invariant::Row { row, org: self.org(raw.org), cells, present }
            }
        })
    }
}

/// The path of an organisation, by the sample resource's template.
pub(super) fn default_path(org: &str) -> String {
    format!("org/{org}")
}

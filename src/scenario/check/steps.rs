//! Steps, checked.

use std::collections::HashSet;

use super::super::file::{RawRest, RawStep, RawWait};
use super::super::model::{Action, ActorId, ActorKind, Condition};
use super::{Check, default_path};
use crate::migration::PathId;

impl Check<'_> {
    pub(super) fn action(
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
}

//! Steps, carried out.

use std::time::Duration;

use mergeable_store::{Cell, EditError};
use serde_json::Value;

use super::environment::Trouble;
use super::ledger::{By, What, Write};
use super::model::{Action, ActorId, Condition, RowRef};
use super::world::{Connected, World};
use crate::migration::PathId;
use crate::sync::client::{Status, SyncClient};

/// How often what can only be asked for over HTTP is asked for.
pub(super) const LOOK: Duration = Duration::from_millis(20);

impl World<'_> {
    /// Carries a step out; the caller bounds its time.
    pub(super) async fn act(&mut self, action: &Action) -> Result<(), Trouble> {
        match action {
            Action::Connect { actor, path } => self.connect(*actor, path).await,
            Action::Edit { actor, row, cells } => self.edit(*actor, row, cells),
            Action::DeleteRow { actor, row } => self.delete_row(*actor, row),
            Action::GoOffline(actor) => {
                self.client(*actor)?.client.go_offline().await;
                Ok(())
            }
            Action::GoOnline(actor) => {
                self.client(*actor)?.client.go_online();
                Ok(())
            }
            Action::Cut(actor) => {
                let client = &self.client(*actor)?.client;
                client.wait_status(|status| *status == Status::Live).await;
                client.cut();
                client.wait_status(|status| *status != Status::Live).await;
                Ok(())
            }
            Action::Rest { actor, method, path, body, expect_status } => {
                self.rest(*actor, method, path, body.as_ref(), *expect_status).await
            }
            Action::Stage { change, .. } => {
                self.environment.set_stage(*change).await?;
                self.mirrored = change.stage.writes_both();
                Ok(())
            }
            Action::WaitUntil(condition) => self.wait_until(condition).await,
        }
    }

    async fn connect(&mut self, actor: ActorId, path: &PathId) -> Result<(), Trouble> {
        let who = self.scenario.actor(actor);
        let settings = self.environment.client(&Self::login(who), path.as_str(), &who.name)?;
        let client = SyncClient::connect(settings);
        client.wait_caught_up().await;
        self.clients.insert(actor, Connected { path: path.clone(), client });
        Ok(())
    }

    fn edit(
        &mut self,
        actor: ActorId,
        row: &RowRef,
        cells: &[(String, Option<Cell>)],
    ) -> Result<(), Trouble> {
        let table = self.resource().table.clone();
        let Connected { path, client } = self.client(actor)?;
        let stamps = client.edit(|tx| {
            let (table, row) = (table.as_str(), row.row.as_str());
            for (id, value) in cells {
                match value {
                    Some(value) => tx.set_cell(table, row, id.as_str(), value.clone())?,
                    None => tx.del_cell(table, row, id.as_str())?,
                }
            }
            let stamp = |id: &str| tx.store().stamp(table, row, id).map(|(_, hlc)| hlc);
            Ok(cells.iter().map(|(id, _)| stamp(id)).collect::<Vec<_>>())
        });
        let stamps = stamps.map_err(|error: EditError| error.to_string())?;
        let (path, number) = (path.clone(), client.edits());
        for ((id, value), hlc) in cells.iter().zip(stamps) {
            self.ledger.add(Write {
                actor,
                path: path.clone(),
                table: table.clone(),
                row: row.clone(),
                what: What::Cell { id: id.clone(), value: value.clone() },
                by: By::Edit { number, hlc },
            });
        }
        Ok(())
    }

    fn delete_row(&mut self, actor: ActorId, row: &RowRef) -> Result<(), Trouble> {
        let table = self.resource().table.clone();
        let Connected { path, client } = self.client(actor)?;
        if !client.read(|store| store.has_row(&table, row.row.as_str())) {
            return Err(format!("{row} is not in its store, so it cannot delete it"));
        }
        client
            .edit(|tx| tx.del_row(table.as_str(), row.row.as_str()))
            .map_err(|error| error.to_string())?;
        let (path, number) = (path.clone(), client.edits());
        let by = By::Edit { number, hlc: None };
        self.ledger.add(Write { actor, path, table, row: row.clone(), what: What::RowGone, by });
        Ok(())
    }

    async fn rest(
        &mut self,
        actor: ActorId,
        method: &http::Method,
        path: &str,
        body: Option<&Value>,
        expect_status: Option<u16>,
    ) -> Result<(), Trouble> {
        let session = self.environment.session(&Self::login(self.scenario.actor(actor)))?;
        let url = format!("{}{path}", self.environment.url());
        let request = self.environment.http().request(method.clone(), url);
        let request = request.bearer_auth(session.expose());
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let answer = request.send().await.map_err(|e| e.without_url().to_string())?;
        let status = answer.status();
        let text = answer.bytes().await.map_err(|e| e.without_url().to_string())?;
        let expected =
            expect_status.map_or(status.is_success(), |expected| expected == status.as_u16());
        if !expected {
            let wanted = expect_status.map_or("2xx".to_owned(), |status| status.to_string());
            return Err(format!("{status} came back, {wanted} was expected"));
        }
        if status.is_success() {
            let answer = serde_json::from_slice(&text).unwrap_or(Value::Null);
            self.note_rest(actor, method, path, body, &answer);
        }
        Ok(())
    }

    async fn wait_until(&mut self, condition: &Condition) -> Result<(), Trouble> {
        let table = self.resource().table.clone();
        match condition {
            Condition::Cell { actor, row, cell, value } => {
                let there = |store: &mergeable_store::MergeableStore| {
                    store.get_cell(&table, row.row.as_str(), cell.as_str()) == Some(value.view())
                };
                self.client(*actor)?.client.wait_until(there).await;
                Ok(())
            }
            Condition::Row { actor, row, present } => {
                let there = |store: &mergeable_store::MergeableStore| {
                    store.has_row(&table, row.row.as_str()) == *present
                };
                self.client(*actor)?.client.wait_until(there).await;
                Ok(())
            }
            Condition::Acknowledged(actor) => {
                self.client(*actor)?.client.wait_acknowledged().await;
                Ok(())
            }
            Condition::Converged(actors) => {
                while self.converged(actors, false).await.is_err() {
                    tokio::time::sleep(LOOK).await;
                }
                Ok(())
            }
            Condition::OutboxEmpty => loop {
                let owed = self.environment.owed().await?;
                if owed.dead > 0 {
                    return Err(format!("{} deliveries were given up", owed.dead));
                }
                if owed.pending == 0 {
                    return Ok(());
                }
                tokio::time::sleep(LOOK).await;
            },
        }
    }
}

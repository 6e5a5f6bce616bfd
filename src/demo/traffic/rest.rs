//! Someone whose app speaks REST.

use std::sync::Arc;
use std::time::Instant;

use rand::Rng as _;
use rand::rngs::StdRng;
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value};

use super::invent;
use super::{Acts, Shared};
use crate::demo::cast::SignedIn;
use crate::demo::ledger::{Change, Via, WriteId};
use crate::demo::settings::Scale;
use crate::migration::Origin;
use crate::proxy::ORIGIN_HEADER;

/// A person, their app, and the rows that they know.
#[derive(Debug)]
pub(in crate::demo) struct RestUser {
    who: SignedIn,
    http: reqwest::Client,
    users_url: String,
    shared: Shared,
    rng: StdRng,
    /// Rows of the organisation that were there before.
    rows: Arc<Vec<String>>,
    /// Rows that this person made and did not delete.
    own: Vec<String>,
    writes: u32,
}

/// An answer to one request.
struct Answered {
    status: StatusCode,
}

impl RestUser {
    /// Someone whose app asks the API at `base`.
    pub(in crate::demo) fn new(
        who: SignedIn,
        http: reqwest::Client,
        base: &str,
        rows: Arc<Vec<String>>,
        shared: Shared,
    ) -> Self {
        let rng = shared.rng(&who.person.user);
        let users_url = format!("{base}/users");
        Self { who, http, users_url, shared, rng, rows, own: Vec::new(), writes: 0 }
    }

    async fn read(&mut self) {
        match self.rng.random_range(0..20) {
            0..13 => {
                let target = invent::list_query(&mut self.rng);
                self.send(Method::GET, &target, None, None).await;
            }
            13..19 => self.get(None).await,
            // As a browser that has a copy: only the API knows whether it still holds.
            _ => self.get(Some("\"a-copy\"")).await,
        }
    }

    async fn get(&mut self, copy: Option<&str>) {
        let own = self.rng.random_bool(0.1).then(|| self.own.last()).flatten();
        let Some(row) = own.or_else(|| invent::choose(&mut self.rng, &self.rows)) else { return };
        let target = format!("/{row}");
        self.send(Method::GET, &target, None, copy).await;
    }

    async fn write(&mut self) {
        self.writes += 1;
        match self.rng.random_range(0..10) {
            0..2 => self.create().await,
            2 if self.who.person.role.may_delete() => self.delete().await,
            _ => self.update().await,
        }
    }

    async fn create(&mut self) {
        let (id, cells) = invent::new_row(&mut self.rng, &self.who.person, self.writes);
        let written = self.begin(&id, Change::Set { cells: cells.clone(), creates: true });
        if self.write_out(written, Method::POST, "", Some(cells)).await {
            self.own.push(id);
        }
    }

    async fn update(&mut self) {
        let own = self.rng.random_bool(0.1).then(|| self.own.last()).flatten();
        let row = own.or_else(|| invent::choose(&mut self.rng, &self.rows)).cloned();
        let Some(row) = row else { return };
        let cells = invent::change(&mut self.rng, &self.who.person, self.writes);
        let written = self.begin(&row, Change::Set { cells: cells.clone(), creates: false });
        self.write_out(written, Method::PATCH, &format!("/{row}"), Some(cells)).await;
    }

    async fn delete(&mut self) {
        if self.own.is_empty() {
            return;
        }
        let row = self.own.remove(0);
        let written = self.begin(&row, Change::Delete);
        self.write_out(written, Method::DELETE, &format!("/{row}"), None).await;
    }

    fn begin(&self, row: &str, change: Change) -> WriteId {
        self.shared.ledger.begin(Via::Rest, row, change)
    }

    /// Sends a write and enters its fate; says whether it was done.
    async fn write_out(
        &mut self,
        written: WriteId,
        method: Method,
        target: &str,
        body: Option<Map<String, Value>>,
    ) -> bool {
        let Some(answered) = self.send(method, target, body, None).await else { return false };
        let done = answered.status.is_success();
        if done {
            self.shared.ledger.acknowledged(written);
        } else if answered.status.is_client_error() {
            self.shared.ledger.refused(written);
        }
        done
    }

    async fn send(
        &mut self,
        method: Method,
        target: &str,
        body: Option<Map<String, Value>>,
        copy: Option<&str>,
    ) -> Option<Answered> {
        let begun = Instant::now();
        match self.exchange(&method, target, body, copy).await {
            Ok((status, by)) => {
                self.shared.tally.answered(begun, by);
                if !status.is_success() {
                    self.shared.tally.failed(format!("{method} was answered with {status}"));
                }
                Some(Answered { status })
            }
            Err(error) => {
                self.shared.tally.failed(format!("{method}: {error}"));
                None
            }
        }
    }

    async fn exchange(
        &mut self,
        method: &Method,
        target: &str,
        body: Option<Map<String, Value>>,
        copy: Option<&str>,
    ) -> Result<(StatusCode, Origin), String> {
        let token = self.who.token().map_err(|error| error.to_string())?;
        let url = format!("{}{target}", self.users_url);
        let mut request = self.http.request(method.clone(), url).bearer_auth(token);
        if let Some(body) = &body {
            request = request.json(body);
        }
        if let Some(copy) = copy {
            request = request.header("if-none-match", copy);
        }
        let text = |error: reqwest::Error| error.without_url().to_string();
        let response = request.send().await.map_err(text)?;
        let status = response.status();
        let by_store = response.headers().get(ORIGIN_HEADER).is_some_and(|by| by == "sync");
        // The caller has its answer when the body is there.
        response.bytes().await.map_err(text)?;
        Ok((status, if by_store { Origin::Sync } else { Origin::Legacy }))
    }
}

impl Acts for RestUser {
    async fn act(&mut self) {
        if self.who.person.role.may_write() && self.rng.random_bool(0.25) {
            self.write().await;
        } else {
            self.read().await;
        }
    }

    fn rng(&mut self) -> &mut StdRng {
        &mut self.rng
    }

    fn scale(&self) -> &Scale {
        &self.shared.scale
    }
}

//! A running `crossfade serve` of a benchmark: its configuration and flags, and its operators' listener.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{BenchError, recipe};

/// Of no value to anybody: it guards a listener on loopback that lives for minutes.
const ADMIN_TOKEN: &str = "bench-admin-token-0123456789abcdef";
const SERVICE_TOKEN: &str = "bench-service-token-0123456789abcdef";
const LOOK: Duration = Duration::from_millis(20);
/// How long a change of flags may take to be seen.
const STAGE: Duration = Duration::from_secs(20);

/// The operators' listener.
#[derive(Debug, Clone)]
pub(super) struct Admin {
    http: reqwest::Client,
    address: SocketAddr,
}

impl Admin {
    pub(super) const fn new(http: reqwest::Client, address: SocketAddr) -> Self {
        Self { http, address }
    }

    pub(super) async fn get(&self, what: &str) -> Result<Value, BenchError> {
        self.ask(what).await?.json().await.map_err(lost)
    }

    pub(super) async fn text(&self, what: &str) -> Result<String, BenchError> {
        self.ask(what).await?.text().await.map_err(lost)
    }

    async fn ask(&self, what: &str) -> Result<reqwest::Response, BenchError> {
        let request = self.http.get(format!("http://{}{what}", self.address));
        request.bearer_auth(ADMIN_TOKEN).send().await.map_err(lost)
    }

    /// Copies the legacy API's rows into the store.
    pub(super) async fn backfill(&self, within: Duration) -> Result<(), BenchError> {
        self.finish("backfill", within).await
    }

    /// Compares both sides in full; that they agree is for the stage to say.
    pub(super) async fn reconcile(&self, within: Duration) -> Result<(), BenchError> {
        self.finish("reconcile", within).await
    }

    /// Has some work done, and waits for its end.
    async fn finish(&self, work: &str, within: Duration) -> Result<(), BenchError> {
        let url = format!("http://{}/{work}?resource=users", self.address);
        let sent = self.http.post(url).bearer_auth(ADMIN_TOKEN).send().await;
        sent.and_then(reqwest::Response::error_for_status).map_err(lost)?;
        let begun = Instant::now();
        loop {
            let state = self.get(&format!("/{work}")).await?;
            let text = state.to_string();
            if text.contains("\"finished\":true") {
                return Ok(());
            }
            if text.contains("\"error\":\"") || begun.elapsed() >= within {
                return Err(BenchError::Wrong(format!("the {work} did not finish: {text}")));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until the resource is in `stage`.
    pub(super) async fn wait_for_stage(&self, stage: &str) -> Result<(), BenchError> {
        let begun = Instant::now();
        loop {
            let stages = self.get("/stages").await?;
            if stages.pointer("/resources/0/effective") == Some(&json!(stage)) {
                return Ok(());
            }
            if begun.elapsed() > STAGE {
                return Err(BenchError::Start(format!("crossfade is not in {stage}: {stages}")));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn lost(error: reqwest::Error) -> BenchError {
    BenchError::Wrong(format!("crossfade's admin API: {}", error.without_url()))
}

/// Writes the flags that ask for `stage`, whole or not at all: a running crossfade reads them.
pub(super) fn write_flags(folder: &Path, stage: &str) -> std::io::Result<()> {
    let new = folder.join("flags.json.new");
    std::fs::write(&new, flags(stage).to_string())?;
    std::fs::rename(new, folder.join("flags.json"))
}

/// The flags that ask for `stage`, with everybody in the cohort.
pub(super) fn flags(stage: &str) -> Value {
    let name = "crossfade.users.stage";
    let variants = json!([{"name": stage, "weight": 1000, "weightType": "variable",
        "stickiness": "default"}]);
    let flag = json!({"name": name, "type": "release", "enabled": true, "project": "default",
        "stale": false, "impressionData": false, "variants": [],
        "strategies": [{"name": "flexibleRollout", "constraints": [], "variants": variants,
            "parameters": {"rollout": "100", "stickiness": "default", "groupId": name}}]});
    let everybody = json!({"name": "crossfade.users.cohort", "type": "release", "enabled": true,
        "project": "default", "stale": false, "impressionData": false, "variants": [],
        "strategies": [{"name": "default", "constraints": [], "parameters": {}}]});
    json!({"version": 2, "features": [flag, everybody]})
}

/// A configuration with one resource, which has the recipe's cells. `sync` is the section `[sync]`.
pub(super) fn config(legacy: SocketAddr, sync: &str) -> String {
    let table = recipe::TABLE;
    format!(
        r#"
[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
token = "{ADMIN_TOKEN}"
[legacy]
url = "http://{legacy}"
service_token = "{SERVICE_TOKEN}"
[storage]
url = "file:crossfade.db"
recordings = "file:recordings.db"
[identity]
mode = "insecure-dev"
[flags]
file = "flags.json"
[sync]
{sync}
[compare]
max_body_bytes = 67108864

[[resource]]
name = "users"
table = "{table}"
id = "id"
create = "client-id"
path = "org/{{org}}"
claims = {{ org = "org_id" }}
row = {{ org = "orgId" }}
[resource.routes]
list = "GET /users"
get = "GET /users/{{id}}"
create = "POST /users"
update = "PATCH /users/{{id}}"
delete = "DELETE /users/{{id}}"
[resource.envelope]
list = "/data"
total = "/total"
[resource.cells.id]
type = "string"
required = true
[resource.cells.orgId]
type = "string"
required = true
[resource.cells.name]
type = "string"
[resource.cells.email]
type = "string"
[resource.cells.active]
type = "boolean"
[resource.cells.score]
type = "number"
[resource.query.page]
limit = "limit"
offset = "offset"
default_limit = 20
max_limit = 10000
"#
    )
}

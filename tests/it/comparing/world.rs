//! A `crossfade serve` of its own, in `shadow`, before an API whose answers a test decides.

use std::future::Future;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::flags::{document, stage};

/// Only guards against hanging.
const LIMIT: Duration = Duration::from_secs(300);
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// What the API answers: to which method, path and query, and `Crossfade-Purpose` (`none` for users' own).
pub(crate) type Api = fn(&str, &str, &str) -> Response;

pub(crate) struct World {
    folder: TempDir,
    serve: Child,
    http: reqwest::Client,
    pub(crate) listen: String,
    admin: String,
}

impl World {
    /// Backfilled and in `shadow`. `change` changes the documented example.
    pub(crate) async fn start(api: Api, change: impl FnOnce(&mut toml::Table)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let legacy = serve_api(api).await;
        std::fs::write(folder.path().join("crossfade.toml"), config(&legacy, change)).unwrap();
        set_stage(folder.path(), "dualwrite");
        let log = std::fs::File::create(folder.path().join("serve.log")).unwrap();
        let mut serve = crossfade(&folder, &["serve", "--format", "json"]);
        let serve = serve.env("RUST_LOG", "warn,crossfade=trace").stderr(log);
        let mut serve = serve.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(serve.stdout.take().unwrap()).lines();
        let ready = limited(lines.next_line()).await.unwrap().expect("it starts");
        let ready: Value = serde_json::from_str(&ready).unwrap();
        let text = |key: &str| ready[key].as_str().unwrap().to_owned();
        let (listen, admin) = (text("listen"), text("admin"));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let world = Self { folder, serve, http, listen, admin };
        world.reaches("dualwrite").await;
        world.order("backfill").await;
        set_stage(world.folder.path(), "shadow");
        world.reaches("shadow").await;
        world
    }

    /// A request of a signed-in user's.
    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.listen);
        let request = self.http.request(method.parse().unwrap(), url);
        let identity = [("user", "alice"), ("org", "o"), ("role", "admin")];
        identity.into_iter().fold(request, |request, (name, value)| {
            request.header(format!("crossfade-dev-{name}"), value)
        })
    }

    /// Reads as a user.
    pub(crate) async fn get(&self, path: &str) {
        limited(self.request("GET", path).send()).await.unwrap().bytes().await.unwrap();
    }

    /// What the admin API answers.
    pub(crate) async fn admin(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.admin);
        let answer = limited(self.http.get(url).bearer_auth(TOKEN).send()).await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.text().await.unwrap()
    }

    pub(crate) async fn comparisons(&self) -> Value {
        serde_json::from_str(&self.admin("/comparisons").await).unwrap()
    }

    /// Returns once so many comparisons have their verdict.
    pub(crate) async fn compared(&self, count: u64) -> Value {
        limited(async {
            loop {
                let comparisons = self.comparisons().await;
                let verdicts = comparisons["verdicts"].as_object().unwrap();
                if verdicts.values().filter_map(Value::as_u64).sum::<u64>() >= count {
                    return comparisons;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    /// Runs a command on the same configuration.
    pub(crate) async fn run(&self, args: &[&str]) -> Output {
        limited(crossfade(&self.folder, args).output()).await.unwrap()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Stops it as an operator does, and keeps its folder.
    pub(crate) async fn stop(mut self) -> TempDir {
        let pid = self.serve.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        assert!(limited(self.serve.wait()).await.unwrap().success());
        self.folder
    }

    async fn order(&self, what: &str) {
        let url = format!("http://{}/{what}", self.admin);
        let answer = limited(self.http.post(url).bearer_auth(TOKEN).send()).await.unwrap();
        assert!(answer.status().is_success(), "{what}: {}", answer.text().await.unwrap());
    }

    async fn reaches(&self, stage: &str) {
        limited(async {
            loop {
                let stages: Value = serde_json::from_str(&self.admin("/stages").await).unwrap();
                if stages["resources"][0]["effective"] == stage {
                    return;
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// What must come to pass some time.
pub(crate) async fn limited<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("it hangs")
}

/// An answer of the API's.
pub(crate) fn answer(status: u16, body: &Value) -> Response {
    let json = "application/json";
    let answer = Response::builder().status(status).header("content-type", json);
    answer.body(body.to_string().into()).unwrap()
}

/// A page with these rows.
pub(crate) fn page(rows: &[Value]) -> Value {
    json!({ "data": rows, "total": rows.len(), "limit": 20, "offset": 0 })
}

/// A row that fits the example's cells.
pub(crate) fn row(id: &str, name: &str) -> Value {
    json!({
        "id": id, "orgId": "o", "name": name, "email": "a@example.com", "role": "member", "age": 7,
        "active": true, "createdAt": "2026-01-31T08:00:00Z", "updatedAt": "2026-01-31T08:00:00Z",
        "version": 1,
    })
}

async fn serve_api(api: Api) -> String {
    let handle = async |State(api): State<Api>, request: Request| {
        let target = request.uri().path_and_query().unwrap().as_str().to_owned();
        let purpose = request.headers().get("crossfade-purpose");
        let purpose = purpose.map_or("none", |purpose| purpose.to_str().unwrap()).to_owned();
        api(request.method().as_str(), &target, &purpose)
    };
    let app = axum::Router::new().fallback(handle).with_state(api);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

fn set_stage(folder: &Path, name: &str) {
    // Put in its place in one step: it is read at any time.
    let next = folder.join("flags.next");
    std::fs::write(&next, document(&json!([stage(name)])).to_string()).unwrap();
    std::fs::rename(next, folder.join("flags.json")).unwrap();
}

fn config(legacy: &str, change: impl FnOnce(&mut toml::Table)) -> String {
    let mut example: toml::Table =
        toml::from_str(include_str!("../../../docs/crossfade.example.toml")).unwrap();
    let settings = [
        ("server", "listen", "127.0.0.1:0"),
        ("admin", "listen", "127.0.0.1:0"),
        ("admin", "token", TOKEN),
        ("legacy", "url", legacy),
        ("legacy", "service_token", TOKEN),
        ("identity", "mode", "insecure-dev"),
    ];
    for (name, key, value) in settings {
        section(&mut example, name).insert(key.to_owned(), value.into());
    }
    section(&mut example, "identity").remove("jwt_key_file");
    section(&mut example, "flags").insert("reload_ms".to_owned(), 10.into());
    section(&mut example, "compare").insert("settle_ms".to_owned(), vec![1_i64].into());
    // These APIs answer as they like, and not for long the same.
    section(&mut example, "interlocks").insert("waive".to_owned(), vec!["reconcile"].into());
    change(&mut example);
    toml::to_string(&example).unwrap()
}

/// A section of a configuration.
pub(crate) fn section<'t>(config: &'t mut toml::Table, name: &str) -> &'t mut toml::Table {
    config[name].as_table_mut().unwrap()
}

/// The rules of the only resource.
pub(crate) fn set_rules(config: &mut toml::Table, rules: &str) {
    let resource = config["resource"][0].as_table_mut().unwrap();
    resource.insert("compare".to_owned(), toml::from_str::<toml::Table>(rules).unwrap().into());
}

fn crossfade(folder: &TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crossfade"));
    command.args(args).arg("--config").arg(folder.path().join("crossfade.toml"));
    command.current_dir(folder.path()).env_remove("RUST_LOG").kill_on_drop(true);
    command
}

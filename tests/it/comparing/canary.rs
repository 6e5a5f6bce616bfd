//! A secret is pushed through every place that a user's data can be in, and looked for in all that crossfade keeps or
//! tells beside the store: recordings, logs, metrics, answers to operators, reports.

use std::path::Path;
use std::sync::Arc;

use axum::response::Response;
use crossfade::clock::{SystemClock, SystemEntropy};
use crossfade::sync::client::{ClientSettings, SyncClient};
use mergeable_store::Cell;
use serde_json::{Value, json};

use super::world::{World, answer, limited, page, row, section, set_rules};

/// Those that are in the store; each is answered in its own way.
const ROWS: [&str; 8] = ["u1", "u2", "text", "twice", "keys", "broken", "encoded", "typed"];
/// In whatever case.
const CANARY: &str = "c4n4ry";

fn secret(place: &str) -> String {
    format!("{CANARY}{place}")
}

/// Rows whose every text is secret; users, and comparisons, see another name than the backfill did.
fn leaky_row(id: &str, purpose: &str) -> Value {
    let name = if purpose == "backfill" { "backfill" } else { "name" };
    let mut row = row(id, &secret(name));
    row["email"] = json!(format!("{}@example.com", secret("email")));
    row["createdAt"] = json!(secret("created"));
    row["updatedAt"] = json!(secret("updated"));
    row
}

fn refusal(status: u16) -> Response {
    let (code, message) = (secret("code"), secret("message"));
    answer(status, &json!({ "code": code, "message": message, "error": { "code": code } }))
}

fn with_header(row: Value, name: &'static str, value: &str) -> Response {
    let mut response = answer(200, &row);
    response.headers_mut().insert(name, value.parse().unwrap());
    response
}

/// With secrets in all headers that a comparison may look at.
fn with_headers(mut response: Response) -> Response {
    for name in ["etag", "location", "set-cookie", "x-trace", "cache-control"] {
        response.headers_mut().insert(name, secret(name).parse().unwrap());
    }
    response
}

fn leaky(method: &str, target: &str, purpose: &str) -> Response {
    let path = target.split('?').next().unwrap();
    let id = path.strip_prefix("/users/").unwrap_or_default();
    let response = match (method, id) {
        ("GET", "") => answer(200, &page(&ROWS.map(|id| leaky_row(id, purpose)))),
        ("GET", "u1" | "u2") => answer(200, &leaky_row(id, purpose)),
        ("GET", "text") => Response::new(secret("text").into()),
        ("GET", "twice") => answer(200, &json!(0))
            .map(|_| format!(r#"{{"a":"{0}","a":"{0}"}}"#, secret("twice")).into()),
        ("GET", "keys") => {
            answer(200, &json!({ format!("{}@example.com", secret("key")): secret("value") }))
        }
        ("GET", "encoded") => {
            with_header(leaky_row(id, purpose), "content-encoding", &secret("coding"))
        }
        ("GET", "typed") => {
            let kind = format!("application/json; profile={}", secret("parameter"));
            with_header(leaky_row(id, purpose), "content-type", &kind)
        }
        ("GET", "broken") => refusal(500),
        ("GET", _) => refusal(404),
        ("POST", _) => answer(201, &leaky_row("u3", purpose)),
        // What does not fit the cells, and what is refused.
        ("PATCH", "u1") => {
            answer(200, &json!({ "id": "u1", "age": secret("age"), "role": secret("role") }))
        }
        _ => refusal(422),
    };
    with_headers(response)
}

#[tokio::test]
async fn a_secret_of_a_user_is_in_nothing_that_is_kept_or_told() {
    let world = World::start(leaky, |config| {
        section(config, "compare").insert("noise_sample".to_owned(), 1.0.into());
        set_rules(
            config,
            "ignore = ['$.data[*].updatedAt']
             arrays = [{ path = '$.data', by = 'id' }]
             strings = [{ path = '$..email', as = ['trim'], mask = ['x+'] }]
             bind = [['$..createdAt']]
             headers = ['content-type', 'etag', 'location', 'set-cookie', 'cache-control', 'x-trace']
             clear = ['$..role', '$..age']",
        );
    })
    .await;
    let compared = read_all(&world).await;
    write_all(&world).await;
    sync_all(&world).await;
    let comparisons = world.compared(compared).await;
    // Without these, nothing would have had a chance to leak.
    let verdicts = &comparisons["verdicts"];
    for verdict in ["mismatch", "undershare", "error_legacy_only"] {
        assert!(verdicts[verdict].as_u64() > Some(0), "{verdict} is not in {comparisons}");
    }
    let coverage = comparisons["coverage"].as_f64().unwrap();
    assert!(0.0 < coverage && coverage < 1.0, "some say nothing: {comparisons}");
    let samples = comparisons["signatures"].to_string();
    assert!(samples.contains("<string len="), "{comparisons}");

    let mut told = Vec::new();
    for path in
        ["/comparisons", "/metrics", "/stages", "/sync", "/sync?path=org/o", "/outbox", "/backfill"]
    {
        told.push((path.to_owned(), world.admin(path).await.into_bytes()));
    }
    for args in [
        &["report", "--run", "canary"][..],
        &["report", "--format", "json", "--run", "canary2"],
        &["check"],
        &["stage"],
        &["outbox", "list"],
        &["outbox", "list", "--dead"],
        &["path", "list"],
    ] {
        let output = world.run(args).await;
        told.push((args.join(" "), [output.stdout, output.stderr].concat()));
    }
    let folder = world.stop().await;
    // It went through all of them.
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    // What was written last may still be in the log beside it.
    let log = std::fs::read(folder.path().join("crossfade.db-wal")).unwrap_or_default();
    assert!(!leaks("the store", &[read("crossfade.db"), log].concat()).is_empty());
    let log = String::from_utf8(read("serve.log")).unwrap();
    assert!(log.contains("edit refused") && log.contains("legacy refused an edit"), "{log}");
    files(folder.path(), &mut told);
    for name in ["serve.log", "recordings.db", "index.html", "report.json", "report.md"] {
        let there = told.iter().any(|(one, bytes)| one.ends_with(name) && !bytes.is_empty());
        assert!(there, "{name} is searched");
    }
    let leaks: Vec<_> = told.iter().flat_map(|(name, bytes)| leaks(name, bytes)).collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
}

/// Asks everything that can be asked; gives how many of the answers are compared.
async fn read_all(world: &World) -> u64 {
    let query = |key: &str| format!("/users?{key}={}", secret("query"));
    let targets = [
        "/users".to_owned(),
        query("q"),
        query("role"),
        query("sort"),
        query("token"),
        query(&secret("parameter")),
        "/users/u1".to_owned(),
        "/users/u2?expand=1".to_owned(),
        format!("/users/{}", secret("id")),
        "/users/text".to_owned(),
        "/users/twice".to_owned(),
        "/users/keys".to_owned(),
        "/users/broken".to_owned(),
        "/users/encoded".to_owned(),
        "/users/typed".to_owned(),
    ];
    for target in &targets {
        let request = world.request("GET", target);
        let request = request.bearer_auth(secret("bearer"));
        let cookie = format!("__session={}; a={}", secret("session"), secret("cookie"));
        let request = request.header("cookie", cookie).header("x-api-key", secret("header"));
        let request = request.header("accept-language", secret("language"));
        limited(request.send()).await.unwrap().bytes().await.unwrap();
    }
    // Nobody is signed in, and the path is no route's.
    let url = format!("http://{}/users/{}/more", world.listen, secret("path"));
    reqwest::get(url).await.unwrap();
    targets.len() as u64
}

async fn write_all(world: &World) {
    let row = leaky_row("u3", "none");
    let change = json!({ "name": secret("written"), secret("field"): 1 });
    for (method, path, body) in [
        ("POST", "/users".to_owned(), &row),
        ("PATCH", "/users/u1".to_owned(), &change),
        ("PATCH", "/users/u2".to_owned(), &change),
        ("PATCH", format!("/users/{}", secret("unknown")), &change),
        ("DELETE", "/users/u2".to_owned(), &change),
    ] {
        let request = world.request(method, &path).bearer_auth(secret("bearer")).json(body);
        limited(request.send()).await.unwrap().bytes().await.unwrap();
    }
}

/// Edits of a client: one that legacy refuses, ones that crossfade refuses.
async fn sync_all(world: &World) {
    let url = format!("ws://{}/sync/org/o?user=alice&org=o&role=admin", world.listen);
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    let client =
        SyncClient::connect(ClientSettings::new(url.parse().unwrap(), "alice", clock, entropy));
    limited(client.wait_caught_up()).await;
    let edits: [(&str, &str, Cell); 4] = [
        ("users", "name", secret("cell").as_str().into()),
        ("users", "role", secret("enum").as_str().into()),
        ("users", "age", secret("type").as_str().into()),
        ("users", "nick", secret("undeclared").as_str().into()),
    ];
    for (table, cell, value) in edits {
        client.edit(|tx| tx.set_cell(table, "u2", cell, value.clone())).unwrap();
    }
    limited(client.wait_acknowledged()).await;
    client
        .edit(|tx| {
            let row = secret("row");
            // Whole, or it would not be sent.
            for (cell, value) in [("id", row.as_str()), ("orgId", "o"), ("role", "member")] {
                tx.set_cell("users", &row, cell, value)?;
            }
            tx.set_cell("users", &row, "email", secret("email").as_str())?;
            tx.set_cell("users", &row, "active", true)?;
            tx.set_cell("users", &row, "name", secret("cell").as_str())
        })
        .unwrap();
    limited(client.wait_acknowledged()).await;
}

/// All files but the store's own, which holds what users wrote.
fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            files(&path, found);
        } else if !name.starts_with("crossfade.db") {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}

/// The surroundings of each canary.
fn leaks(name: &str, bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    let found = text.match_indices(CANARY).map(|(at, _)| {
        let start = text.floor_char_boundary(at.saturating_sub(200));
        let end = text.floor_char_boundary(at + 60);
        format!("{name}: …{}…", &text[start..end])
    });
    found.take(5).collect()
}

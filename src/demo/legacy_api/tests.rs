//! The contract, over HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::*;
use crate::clock::{Clock, SystemEntropy};

/// One millisecond passes each time somebody looks.
#[derive(Debug)]
struct StepClock(AtomicU64);

impl Clock for StepClock {
    fn now_ms(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

fn text_caller(text: &str) -> Option<Caller> {
    let mut parts = text.split('/').map(str::to_owned);
    Some(Caller { user: parts.next()?, org: parts.next()?, role: parts.next()? })
}

fn config(storage: SampleStorage, seed: Option<Seed>) -> SampleConfig {
    SampleConfig {
        storage,
        seed,
        // A session here is its caller in plain text.
        sessions: SessionCheck::from_fn(|headers| {
            text_caller(headers.get("x-session")?.to_str().ok()?)
        }),
        service: Some(ServiceCredential {
            token: "service-secret".to_owned(),
            on_behalf_of: Arc::new(|text| text_caller(text.strip_prefix("signed:")?)),
        }),
        entropy: Arc::new(SystemEntropy),
    }
}

struct Http {
    api: SampleApi,
    client: reqwest::Client,
}

impl Http {
    async fn start(seed: Option<Seed>) -> Self {
        let clock = Arc::new(StepClock(AtomicU64::new(1_800_000_000_000)));
        let api = SampleApi::start(config(SampleStorage::Memory, seed), clock).await.unwrap();
        Self { api, client: reqwest::Client::new() }
    }

    async fn seeded() -> Self {
        Self::start(Some(Seed { seed: 42, users: 120, organisations: 2 })).await
    }

    fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.api.url()))
    }

    fn as_role(&self, role: &str, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).header("x-session", format!("user_x/org_1/{role}"))
    }

    fn admin(&self, method: Method, path: &str) -> RequestBuilder {
        self.as_role("org:admin", method, path)
    }

    fn service(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).bearer_auth("service-secret")
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = answer(self.admin(Method::GET, path)).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }
}

async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let bytes = response.bytes().await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

async fn assert_error(request: RequestBuilder, status: StatusCode, code: &str) {
    let (got, body) = answer(request).await;
    assert_eq!((got, body["error"]["code"].as_str()), (status, Some(code)), "{body}");
    assert!(body["error"]["message"].as_str().is_some_and(|message| !message.is_empty()));
}

fn texts<'a>(page: &'a Value, field: &str) -> Vec<&'a str> {
    page["data"].as_array().unwrap().iter().map(|row| row[field].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_row_is_made_read_changed_and_removed() {
    let http = Http::start(None).await;
    let body = json!({"email": "ada@example.com", "name": "Ada", "age": 36});
    let response = http.admin(Method::POST, "/users").json(&body).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let made: Value = response.json().await.unwrap();
    let id = made["id"].as_str().unwrap();
    assert_eq!(location, format!("/users/{id}"));
    assert_eq!(
        made,
        json!({"id": id, "orgId": "org_1", "email": "ada@example.com", "name": "Ada",
            "role": "member", "age": 36, "active": true, "createdAt": "2027-01-15T08:00:00.000Z",
            "updatedAt": "2027-01-15T08:00:00.000Z", "version": 1})
    );
    assert_eq!(http.get(&location).await, made);

    let change = json!({"age": null, "role": "admin", "active": false});
    let (status, changed) = answer(http.admin(Method::PATCH, &location).json(&change)).await;
    assert_eq!(status, StatusCode::OK);
    let mut expected = made.clone();
    for (field, value) in change.as_object().unwrap() {
        expected[field] = value.clone();
    }
    expected["version"] = json!(2);
    expected["updatedAt"] = json!("2027-01-15T08:00:00.001Z");
    assert_eq!(changed, expected);

    let removed = http.admin(Method::DELETE, &location).send().await.unwrap();
    assert_eq!(removed.status(), StatusCode::NO_CONTENT);
    assert_eq!(removed.bytes().await.unwrap().len(), 0);
    for method in [Method::GET, Method::DELETE] {
        assert_error(http.admin(method, &location), StatusCode::NOT_FOUND, "not_found").await;
    }
    let gone = http.admin(Method::PATCH, &location).json(&change);
    assert_error(gone, StatusCode::NOT_FOUND, "not_found").await;
}

#[tokio::test]
async fn ids_and_emails_are_unique() {
    let http = Http::start(None).await;
    let post = |id: &str, email: &str| {
        let body = json!({"id": id, "email": email, "name": "N"});
        http.admin(Method::POST, "/users").json(&body)
    };
    assert_eq!(answer(post("u1", "a@example.com")).await.1["id"], "u1");
    assert_error(post("u1", "b@example.com"), StatusCode::CONFLICT, "id_taken").await;
    assert_error(post("u2", "a@example.com"), StatusCode::CONFLICT, "email_taken").await;
    // A refused insert leaves nothing behind, and the table works on.
    assert_eq!(answer(post("u2", "b@example.com")).await.0, StatusCode::CREATED);
    let taken = http.admin(Method::PATCH, "/users/u2").json(&json!({"email": "a@example.com"}));
    assert_error(taken, StatusCode::CONFLICT, "email_taken").await;
    assert_eq!(http.get("/users/u2").await["version"], 1);
    assert_eq!(http.get("/users").await["total"], 2);
}

#[tokio::test]
async fn lists_filter_sort_and_page_as_the_rows_say() {
    let http = Http::seeded().await;
    let all = http.get("/users?limit=100").await;
    assert_eq!(
        (&all["total"], &all["limit"], &all["offset"]),
        (&json!(60), &json!(100), &json!(0))
    );
    let rows = all["data"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["orgId"] == "org_1"));
    assert!(texts(&all, "id").is_sorted());

    // What the API must answer is worked out here from the rows themselves.
    type Check = fn(&Value) -> bool;
    let filters: [(&str, Check); 6] = [
        ("role=admin", |row| row["role"] == "admin"),
        ("roles=admin,viewer", |row| row["role"] != "member"),
        ("active=false", |row| row["active"] == false),
        ("minAge=30&maxAge=50", |row| row["age"].as_i64().is_some_and(|a| (30..=50).contains(&a))),
        ("q=AN", |row| row["name"].as_str().unwrap().to_ascii_lowercase().contains("an")),
        ("q=%25", |_| false),
    ];
    for (query, keep) in filters {
        let page = http.get(&format!("/users?limit=100&{query}")).await;
        let expected: Vec<_> = rows.iter().filter(|row| keep(row)).cloned().collect();
        assert_eq!(page["data"], json!(expected), "{query}");
        assert_eq!(page["total"], json!(expected.len()), "{query}");
    }

    let mut expected = rows.clone();
    let age = |row: &Value| row["age"].as_i64();
    let name = |row: &Value| row["name"].as_str().unwrap().as_bytes().to_vec();
    let id = |row: &Value| row["id"].as_str().unwrap().to_owned();
    expected.sort_by(|a, b| {
        age(b).cmp(&age(a)).then_with(|| name(a).cmp(&name(b))).then_with(|| id(a).cmp(&id(b)))
    });
    assert_eq!(http.get("/users?limit=100&sort=-age,name").await["data"], json!(expected));
    assert_eq!(expected.last().unwrap()["age"], Value::Null, "null is last when descending");
    let page = http.get("/users?sort=-age,name&limit=7&offset=14").await;
    assert_eq!(page["data"], json!(expected[14..21]));
    assert_eq!(
        (&page["total"], &page["limit"], &page["offset"]),
        (&json!(60), &json!(7), &json!(14))
    );
    assert_eq!(http.get("/users?offset=1000").await["data"], json!([]));
}

#[tokio::test]
async fn text_is_ordered_by_bytes_and_searched_by_ascii_case() {
    let http = Http::start(None).await;
    for (n, name) in ["b", "B", "a", "é", "Ä_x", "\u{ffee}", "😀", "100%"].iter().enumerate() {
        let body =
            json!({"id": format!("u{n}"), "email": format!("u{n}@example.com"), "name": name});
        assert_eq!(
            answer(http.admin(Method::POST, "/users").json(&body)).await.0,
            StatusCode::CREATED
        );
    }
    let sorted = http.get("/users?sort=name").await;
    assert_eq!(texts(&sorted, "name"), ["100%", "B", "a", "b", "Ä_x", "é", "\u{ffee}", "😀"]);
    for (part, names) in [
        ("B", vec!["b", "B"]),
        ("_", vec!["Ä_x"]),
        ("%25", vec!["100%"]),
        ("%C3%84", vec!["Ä_x"]),
        ("%C3%A4", vec![]),
        ("%5C", vec![]),
    ] {
        assert_eq!(texts(&http.get(&format!("/users?q={part}")).await, "name"), names, "q={part}");
    }
}

#[tokio::test]
async fn organisations_do_not_see_each_other() {
    let http = Http::seeded().await;
    let foreign = "/users/user_00002";
    assert_eq!(answer(http.service(Method::GET, foreign)).await.1["orgId"], "org_2");
    assert_error(http.admin(Method::GET, foreign), StatusCode::NOT_FOUND, "not_found").await;
    assert_error(http.admin(Method::DELETE, foreign), StatusCode::NOT_FOUND, "not_found").await;
    let change = http.admin(Method::PATCH, foreign).json(&json!({"name": "X"}));
    assert_error(change, StatusCode::NOT_FOUND, "not_found").await;
    assert_eq!(http.get("/users?orgId=org_2").await["total"], 0);
    let elsewhere = json!({"orgId": "org_2", "email": "z@example.com", "name": "Z"});
    let made = http.admin(Method::POST, "/users").json(&elsewhere);
    assert_error(made, StatusCode::FORBIDDEN, "forbidden").await;
}

#[tokio::test]
async fn the_service_credential_reads_everything_and_writes_on_behalf_of_somebody() {
    let http = Http::seeded().await;
    assert_eq!(answer(http.service(Method::GET, "/users")).await.1["total"], 120);
    assert_eq!(answer(http.service(Method::GET, "/users?orgId=org_2")).await.1["total"], 60);
    let body = json!({"email": "s@example.com", "name": "S"});
    let post = || http.service(Method::POST, "/users").json(&body);
    assert_error(post(), StatusCode::FORBIDDEN, "forbidden").await;
    let forged = post().header("crossfade-on-behalf-of", "u/org_2/org:admin");
    assert_error(forged, StatusCode::UNAUTHORIZED, "invalid_on_behalf_of").await;
    let viewer = post().header("crossfade-on-behalf-of", "signed:u/org_2/org:viewer");
    assert_error(viewer, StatusCode::FORBIDDEN, "forbidden").await;
    let admin = post().header("crossfade-on-behalf-of", "signed:u/org_2/org:admin");
    let (status, made) = answer(admin).await;
    assert_eq!((status, &made["orgId"]), (StatusCode::CREATED, &json!("org_2")));
    assert_error(http.service(Method::GET, "/users/me"), StatusCode::FORBIDDEN, "forbidden").await;
}

#[tokio::test]
async fn what_is_refused_and_how() {
    let http = Http::seeded().await;
    let response = http.bare(Method::GET, "/users").send().await.unwrap();
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let wrong = http.bare(Method::GET, "/users").bearer_auth("service-secreT");
    assert_error(wrong, StatusCode::UNAUTHORIZED, "unauthenticated").await;

    let post = |text: String| {
        http.admin(Method::POST, "/users").header("content-type", "application/json").body(text)
    };
    assert_error(post("{".to_owned()), StatusCode::BAD_REQUEST, "bad_json").await;
    assert_error(post(String::new()), StatusCode::BAD_REQUEST, "bad_json").await;
    assert_error(post("[]".to_owned()), StatusCode::UNPROCESSABLE_ENTITY, "validation_failed")
        .await;
    let big = json!({"email": "a@example.com", "name": "x".repeat(70_000)}).to_string();
    assert_error(post(big), StatusCode::PAYLOAD_TOO_LARGE, "body_too_large").await;
    let form = http.admin(Method::POST, "/users").body("email=a");
    assert_error(form, StatusCode::UNPROCESSABLE_ENTITY, "validation_failed").await;
    let list = http.admin(Method::GET, "/users?limit=101");
    assert_error(list, StatusCode::UNPROCESSABLE_ENTITY, "validation_failed").await;
    let member = http.as_role("org:member", Method::DELETE, "/users/user_00001");
    assert_error(member, StatusCode::FORBIDDEN, "forbidden").await;
    let me = http.admin(Method::PATCH, "/users/me").json(&json!({"name": "M"}));
    assert_error(me, StatusCode::NOT_FOUND, "not_found").await;
    assert_error(http.admin(Method::GET, "/elsewhere"), StatusCode::NOT_FOUND, "not_found").await;
    assert_error(http.admin(Method::PUT, "/users"), StatusCode::NOT_FOUND, "not_found").await;
    assert_error(http.admin(Method::GET, "/users/%ff"), StatusCode::NOT_FOUND, "not_found").await;
}

#[tokio::test]
async fn who_is_signed_in_and_health() {
    let http = Http::start(None).await;
    let me = http.get("/users/me").await;
    assert_eq!(me, json!({"userId": "user_x", "orgId": "org_1", "role": "org:admin"}));
    let (status, body) = answer(http.bare(Method::GET, "/healthz")).await;
    assert_eq!((status, body), (StatusCode::OK, json!({"status": "ok"})));
}

#[tokio::test]
async fn faults_are_switched_on_and_off() {
    let http = Http::seeded().await;
    let path = "/users/user_00001";
    let before = http.get(path).await;
    let wrong_field = Some(("name".to_owned(), json!("WRONG")));
    http.api.faults.set(Faults { wrong_field, ..Faults::default() });
    assert_eq!(http.get(path).await["name"], "WRONG");
    assert!(texts(&http.get("/users").await, "name").iter().all(|name| *name == "WRONG"));
    let (_, changed) = answer(http.admin(Method::PATCH, path).json(&json!({"active": true}))).await;
    assert_eq!(changed["name"], before["name"], "a write is answered truthfully");

    let status = Some(StatusCode::SERVICE_UNAVAILABLE);
    http.api.faults.set(Faults { status, ..Faults::default() });
    assert_error(http.admin(Method::DELETE, path), StatusCode::SERVICE_UNAVAILABLE, "fault").await;
    assert_eq!(answer(http.bare(Method::GET, "/healthz")).await.0, StatusCode::OK);

    http.api.faults.clear();
    assert_eq!(http.api.faults.get(), Faults::default());
    assert_eq!(http.get(path).await["name"], before["name"]);
}

#[tokio::test]
async fn a_delayed_answer_does_not_hold_up_others() {
    let http = Http::seeded().await;
    http.api.faults.set(Faults { delay: Duration::from_secs(3600), ..Faults::default() });
    let slow = tokio::spawn(http.admin(Method::GET, "/users").send());
    // Health is outside the faults and answers while the other request waits.
    assert_eq!(answer(http.bare(Method::GET, "/healthz")).await.0, StatusCode::OK);
    assert!(!slow.is_finished());
    slow.abort();
}

#[tokio::test]
async fn concurrent_changes_of_one_row_each_count() {
    let http = Http::seeded().await;
    let changes = (0..40).map(|n| {
        let body = json!({"name": format!("Name {n}")});
        answer(http.admin(Method::PATCH, "/users/user_00001").json(&body))
    });
    let mut versions: Vec<_> = futures_util::future::join_all(changes)
        .await
        .into_iter()
        .map(|(_, row)| row["version"].as_u64().unwrap())
        .collect();
    versions.sort_unstable();
    assert_eq!(versions, (2..=41).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_file_keeps_its_rows_and_is_not_seeded_again() {
    let dir = tempfile::tempdir().unwrap();
    let seed = Some(Seed { seed: 1, users: 10, organisations: 1 });
    let storage = SampleStorage::File(dir.path().join("legacy.db"));
    let clock: SharedClock = Arc::new(StepClock(AtomicU64::new(0)));
    let client = reqwest::Client::new();
    for users in [10, 9] {
        let api = SampleApi::start(config(storage.clone(), seed), clock.clone()).await.unwrap();
        let list = client.get(format!("{}/users", api.url())).bearer_auth("service-secret");
        assert_eq!(answer(list).await.1["total"], users);
        let url = format!("{}/users/user_0000{}", api.url(), 11 - users);
        let delete = client.delete(url).header("x-session", "u/org_1/org:admin");
        assert_eq!(answer(delete).await.0, StatusCode::NO_CONTENT);
        let url = api.url();
        api.stop().await.unwrap();
        assert!(client.get(format!("{url}/healthz")).send().await.is_err(), "the port is free");
    }
}

#[tokio::test]
async fn a_check_may_wait_before_it_answers() {
    let keys_came = Arc::new(tokio::sync::Notify::new());
    let waits = keys_came.clone();
    let sessions = SessionCheck::from_async(move |headers| {
        let waits = waits.clone();
        async move {
            waits.notified().await;
            text_caller(headers.get("x-session")?.to_str().ok()?)
        }
    });
    let config = SampleConfig { sessions, ..config(SampleStorage::Memory, None) };
    let clock = Arc::new(StepClock(AtomicU64::new(0)));
    let api = SampleApi::start(config, clock).await.unwrap();
    let http = Http { api, client: reqwest::Client::new() };
    keys_came.notify_one();
    assert_eq!(http.get("/users/me").await["userId"], "user_x");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("legacy.db");
    std::fs::write(&path, "this is a text, and long enough to be taken for a header of something")
        .unwrap();
    let clock = Arc::new(StepClock(AtomicU64::new(0)));
    let error =
        SampleApi::start(config(SampleStorage::File(path.clone()), None), clock).await.unwrap_err();
    assert!(matches!(error, SampleApiError::Database(TableError::Open(_))), "{error}");
    assert!(std::fs::read_to_string(path).unwrap().starts_with("this is a text"));
}

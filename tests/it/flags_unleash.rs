//! Flags polled from an Unleash server: the client's real protocol over a real socket, and over a
//! transport that can be watched.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use crossfade::flags::{
    Application, Evaluation, FixedToggles, NoInterlock, RollbackSwitch, StageDecider, StageRequest,
    Toggles, UnleashError, UnleashSettings,
};
use crossfade::identity::Secret;
use crossfade::migration::{Stage, UserId};
use serde_json::{Value, json};
use tokio::sync::watch;
use unleash_api_client::http::{Request, Response, Transport};

use crate::flags::{document, rollout, stage, toggle, users};
use crate::identity::{HandClock, NOW_MS};

const TOKEN: &str = "default:development.backend-token";

/// A server that speaks as Unleash does.
struct Unleash {
    features: Mutex<Value>,
    status: Mutex<StatusCode>,
    asked: watch::Sender<usize>,
    posted: watch::Sender<Vec<(String, Value)>>,
}

impl Unleash {
    fn new(features: &Value) -> Arc<Self> {
        Arc::new(Self {
            features: Mutex::new(features.clone()),
            status: Mutex::new(StatusCode::OK),
            asked: watch::channel(0).0,
            posted: watch::channel(Vec::new()).0,
        })
    }

    async fn serve(self: &Arc<Self>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.serve_on(listener)
    }

    fn serve_on(self: &Arc<Self>, listener: tokio::net::TcpListener) -> String {
        let app = Router::new().fallback(answer).with_state(Arc::clone(self));
        let url = format!("http://{}/api", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        url
    }
}

async fn answer(
    State(unleash): State<Arc<Unleash>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    if headers.get("authorization").is_none_or(|token| token != TOKEN) {
        return (StatusCode::UNAUTHORIZED, json!({ "name": "no" }).to_string());
    }
    if uri.path() == "/api/client/features" {
        unleash.asked.send_modify(|count| *count += 1);
        let body = document(&unleash.features.lock().unwrap()).to_string();
        return (*unleash.status.lock().unwrap(), body);
    }
    let body = serde_json::from_slice(&body).unwrap();
    unleash.posted.send_modify(|posted| posted.push((uri.path().to_owned(), body)));
    (StatusCode::ACCEPTED, String::new())
}

fn settings(url: &str) -> UnleashSettings {
    UnleashSettings {
        url: url.to_owned(),
        token: Secret::new(TOKEN),
        application: Application::default(),
        instance_id: "test".to_owned(),
        poll: Duration::from_millis(10),
        timeout: Duration::from_secs(5),
        metrics: Duration::from_millis(10),
    }
}

fn evaluation(toggles: Toggles) -> Evaluation {
    Evaluation::new(Arc::new(toggles), "crossfade", [users()])
}

async fn polled(evaluation: &Evaluation, more: u64) {
    let mut documents = evaluation.toggles().subscribe();
    let before = *documents.borrow_and_update();
    documents.wait_for(|count| *count >= before + more).await.unwrap();
}

async fn failing(evaluation: &Evaluation, what: &str) {
    loop {
        if let Some(error) = evaluation.status().last_error {
            assert!(error.contains(what), "{error}");
            assert!(!error.contains(TOKEN) && !error.contains("stack backtrace"), "{error}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_change_at_the_server_is_followed() {
    let server = Unleash::new(&json!([stage("shadow")]));
    let url = server.serve().await;
    let evaluation = evaluation(Toggles::from_unleash(settings(&url), HandClock::new()).unwrap());
    polled(&evaluation, 1).await;
    assert_eq!(evaluation.requested_stage(&users()), Some(Stage::Shadow));
    // Only the variants differ: a comparison that looks at names alone would miss it.
    *server.features.lock().unwrap() = json!([stage("live")]);
    polled(&evaluation, 2).await;
    assert_eq!(evaluation.requested_stage(&users()), Some(Stage::Live));
}

#[tokio::test]
async fn a_server_that_is_down_at_the_start_is_no_error_and_is_found_later() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("http://{address}/api");
    let evaluation = evaluation(Toggles::from_unleash(settings(&url), HandClock::new()).unwrap());
    assert_eq!(evaluation.stage_request(&users()), StageRequest::NoDocument);
    assert_eq!(evaluation.enabled(), None);
    failing(&evaluation, "Unleash server").await;
    let status = evaluation.status();
    assert_eq!((status.documents, status.last_good_ms, status.age_ms), (0, None, None));
    let server = Unleash::new(&json!([stage("live")]));
    server.serve_on(tokio::net::TcpListener::bind(address).await.unwrap());
    polled(&evaluation, 1).await;
    assert_eq!(evaluation.requested_stage(&users()), Some(Stage::Live));
    assert_eq!(evaluation.status().last_error, None);
}

#[tokio::test]
async fn a_server_that_turns_bad_keeps_the_last_document_and_its_age_grows() {
    let off = toggle("crossfade.enabled", true, &rollout(100, "default"));
    let server = Unleash::new(&json!([stage("live"), off]));
    let url = server.serve().await;
    let clock = HandClock::new();
    let evaluation = evaluation(Toggles::from_unleash(settings(&url), clock.clone()).unwrap());
    polled(&evaluation, 1).await;
    // The body would parse: only the status says that it is no answer.
    *server.features.lock().unwrap() = json!([]);
    *server.status.lock().unwrap() = StatusCode::INTERNAL_SERVER_ERROR;
    failing(&evaluation, "status 500").await;
    clock.set(NOW_MS + 60_000);
    assert_eq!(evaluation.requested_stage(&users()), Some(Stage::Live));
    assert_eq!(evaluation.enabled(), Some(true));
    assert_eq!(evaluation.status().age_ms, Some(60_000));
}

#[tokio::test]
async fn a_server_that_loses_all_of_its_toggles_keeps_the_last_document() {
    let cohort = toggle("crossfade.users.cohort", true, &rollout(100, "userId"));
    let server = Unleash::new(&json!([stage("live"), cohort]));
    let url = server.serve().await;
    let evaluation = evaluation(Toggles::from_unleash(settings(&url), HandClock::new()).unwrap());
    polled(&evaluation, 1).await;
    let ann = UserId::new("ann");
    *server.features.lock().unwrap() = json!([]);
    failing(&evaluation, "no toggle at all").await;
    assert_eq!(evaluation.requested_stage(&users()), Some(Stage::Live));
    assert!(evaluation.in_cohort(&users(), &ann));
    // What is left of them counts.
    *server.features.lock().unwrap() = json!([stage("shadow")]);
    polled(&evaluation, 1).await;
    assert_eq!(evaluation.requested_stage(&users()), Some(Stage::Shadow));
    assert!(!evaluation.in_cohort(&users(), &ann));
    assert_eq!(evaluation.status().last_error, None);
}

#[tokio::test]
async fn a_wrong_token_is_told_with_its_remedy() {
    let server = Unleash::new(&json!([]));
    let mut settings = settings(&server.serve().await);
    settings.token = Secret::new("wrong");
    let evaluation = evaluation(Toggles::from_unleash(settings, HandClock::new()).unwrap());
    failing(&evaluation, "status 401: check `token`").await;
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings(&format!("http://{}/api", listener.local_addr().unwrap()));
    settings.timeout = Duration::from_millis(50);
    let evaluation = evaluation(Toggles::from_unleash(settings, HandClock::new()).unwrap());
    failing(&evaluation, "Unleash server").await;
}

#[tokio::test]
async fn stale_or_unreachable_flags_never_trip() {
    let server = Unleash::new(&json!([]));
    *server.status.lock().unwrap() = StatusCode::SERVICE_UNAVAILABLE;
    let url = server.serve().await;
    let clock = HandClock::new();
    let evaluation = evaluation(Toggles::from_unleash(settings(&url), clock.clone()).unwrap());
    let toggles = Arc::clone(evaluation.toggles());
    let switch = Arc::new(RollbackSwitch::default());
    let known = [(users(), Stage::Live)];
    let decider = StageDecider::new(evaluation, switch, Arc::new(NoInterlock), known);
    let next = async |more: u64| {
        let mut documents = toggles.subscribe();
        let before = *documents.borrow_and_update();
        documents.wait_for(|count| *count >= before + more).await.unwrap();
    };
    failing(decider.evaluation(), "status 503").await;
    assert_eq!(decider.obey_kill_switch(NOW_MS), None, "never polled");
    *server.status.lock().unwrap() = StatusCode::OK;
    next(1).await;
    assert_eq!(decider.obey_kill_switch(NOW_MS), None, "missing");
    let on = |on| json!([toggle("crossfade.enabled", on, &rollout(100, "default"))]);
    *server.features.lock().unwrap() = on(true);
    next(2).await;
    *server.status.lock().unwrap() = StatusCode::SERVICE_UNAVAILABLE;
    failing(decider.evaluation(), "status 503").await;
    clock.set(NOW_MS + 30 * 86_400_000);
    assert_eq!(decider.obey_kill_switch(NOW_MS), None, "stale");
    assert_eq!(decider.decide(&users()).effective, Stage::Live);
    *server.features.lock().unwrap() = on(false);
    *server.status.lock().unwrap() = StatusCode::OK;
    next(2).await;
    assert!(decider.obey_kill_switch(NOW_MS).is_some());
    assert_eq!(decider.decide(&users()).effective, Stage::Off);
}

#[tokio::test]
async fn a_user_is_in_the_same_bucket_under_each_provider() {
    let cohort = toggle("crossfade.users.cohort", true, &rollout(25, "userId"));
    let features = json!([cohort]);
    let server = Unleash::new(&features);
    let url = server.serve().await;
    let polled_ones = evaluation(Toggles::from_unleash(settings(&url), HandClock::new()).unwrap());
    polled(&polled_ones, 1).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flags.json");
    std::fs::write(&path, document(&features).to_string()).unwrap();
    let file = crossfade::flags::FileSettings {
        path,
        reload: Duration::from_secs(60),
        application: Application::default(),
    };
    let of_file = evaluation(Toggles::from_file(file, HandClock::new()).unwrap());
    let everybody: Vec<UserId> = (0..2_000).map(|n| UserId::new(format!("user_{n}"))).collect();
    let buckets = |flags: &Evaluation| -> Vec<bool> {
        everybody.iter().map(|user| flags.in_cohort(&users(), user)).collect()
    };
    let first = buckets(&polled_ones);
    assert_eq!(first, buckets(&of_file));
    assert!(first.contains(&true) && first.contains(&false));
    // A group of its own name falls elsewhere: the comparison above can fail.
    let fixed = FixedToggles::new("crossfade", HandClock::new());
    fixed.set_cohort(&users(), 25);
    let others = Evaluation::new(fixed.toggles(), "crossfade", [users()]);
    assert_ne!(first, buckets(&others));
}

#[tokio::test]
async fn the_server_learns_of_the_application_and_its_counts() {
    let server = Unleash::new(&json!([stage("live")]));
    let url = server.serve().await;
    let evaluation = evaluation(Toggles::from_unleash(settings(&url), HandClock::new()).unwrap());
    let mut posted = server.posted.subscribe();
    let registered = |posted: &Vec<(String, Value)>| {
        posted
            .iter()
            .any(|(path, body)| path == "/api/client/register" && body["appName"] == "crossfade")
    };
    posted.wait_for(registered).await.unwrap();
    polled(&evaluation, 1).await;
    assert!((0..5).all(|_| evaluation.requested_stage(&users()) == Some(Stage::Live)));
    // Another set of variants must not lose what was counted for the ones before.
    *server.features.lock().unwrap() = json!([stage("other")]);
    let told = |posted: &Vec<(String, Value)>| {
        let mut counted = (0, 0);
        for (_, body) in posted.iter().filter(|(path, _)| path == "/api/client/metrics") {
            let toggle = &body["bucket"]["toggles"]["crossfade.users.stage"];
            counted.0 += toggle["yes"].as_u64().unwrap();
            counted.1 += toggle["variants"]["live"].as_u64().unwrap();
        }
        counted == (5, 5)
    };
    posted.wait_for(told).await.unwrap();
}

/// A transport without a network.
struct Answering(&'static str);

#[async_trait::async_trait]
impl Transport for Answering {
    async fn execute(&self, _: Request) -> Result<Response, anyhow::Error> {
        Ok(Response { status: 200, body: self.0.as_bytes().to_vec() })
    }
}

#[tokio::test]
async fn an_answer_that_is_no_document_is_none() {
    for body in ["<html>", "{}", r#"{"version":2,"features":3}"#, ""] {
        let transport = Arc::new(Answering(body));
        let settings = settings("http://127.0.0.1/api");
        let toggles = Toggles::from_unleash_by(settings, HandClock::new(), transport).unwrap();
        let evaluation = evaluation(toggles);
        failing(&evaluation, "Unleash server").await;
        assert_eq!(evaluation.stage_request(&users()), StageRequest::NoDocument, "{body}");
    }
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    for url in ["nonsense", "ftp://x/api"] {
        let refused = Toggles::from_unleash(settings(url), HandClock::new());
        assert_eq!(refused.unwrap_err(), UnleashError::Url);
    }
}

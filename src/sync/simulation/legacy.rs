//! A legacy API in memory, behind a network that loses and delays.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Map, Value, json};

use super::creates::{Creates, Names};
use super::tally::{Seen, Tally};
use super::{Seeded, SimClock, trace};
use crate::clock::Clock as _;
use crate::legacy::{Credentials, LegacyRequest, LegacyTransport};
use crate::migration::{Answer, Body, Failure};
use crate::storage::BoxFuture;

/// How long a request is waited for.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// Users whose writes it refuses begin with this.
pub(super) const VIEWER: &str = "viewer";
/// It refuses names that begin with this.
pub(super) const BAD: &str = "bad";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Mode {
    #[default]
    Up,
    /// Nobody can connect.
    Down,
    /// It answers 503.
    Failing,
    /// It takes seconds.
    Slow,
}

#[derive(Debug)]
struct State {
    rows: BTreeMap<String, Map<String, Value>>,
    mode: Mode,
    creates: Creates,
    /// The names of rows that it has given an id.
    names: Names,
    /// What rows with these emails are called.
    emails: BTreeMap<String, String>,
    /// Of a hundred answers so many are lost.
    lost: u64,
    /// Answers to creates by their idempotency key, with the body that each was for.
    keys: BTreeMap<String, (Value, Value)>,
    /// Deliveries, each with its row, body, and when it was sent and done.
    deliveries: Vec<Delivery>,
}

/// A write of crossfade's own.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) row: String,
    pub(super) body: Value,
    pub(super) sent_ms: u64,
    pub(super) done_ms: u64,
}

#[derive(Debug, Clone)]
pub(super) struct SimLegacy {
    state: Arc<Mutex<State>>,
    random: Seeded,
    tally: Tally,
    clock: SimClock,
}

impl SimLegacy {
    pub(super) fn new(creates: Creates, random: Seeded, tally: Tally, clock: SimClock) -> Self {
        let state = State {
            rows: BTreeMap::new(),
            mode: Mode::Up,
            creates,
            names: Names::new(),
            emails: BTreeMap::new(),
            lost: 0,
            keys: BTreeMap::new(),
            deliveries: Vec::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), random, tally, clock }
    }

    /// What a row with this email will be called.
    pub(super) fn will_be(&self, email: &str, name: &str) {
        self.state.lock().unwrap().emails.insert(email.to_owned(), name.to_owned());
    }

    /// What the rows are called to which it has given an id.
    pub(super) fn names(&self) -> Names {
        self.state.lock().unwrap().names.clone()
    }

    /// The id that it gave a row.
    pub(super) fn id_of(&self, name: &str) -> Option<String> {
        let state = self.state.lock().unwrap();
        let mut named = state.names.iter().filter(|(_, of)| *of == name);
        named.next_back().map(|(id, _)| id.clone())
    }

    pub(super) fn set_mode(&self, mode: Mode) {
        self.state.lock().unwrap().mode = mode;
    }

    pub(super) fn lose_answers(&self, percent: u64) {
        self.state.lock().unwrap().lost = percent;
    }

    pub(super) fn deliveries(&self) -> Vec<Delivery> {
        self.state.lock().unwrap().deliveries.clone()
    }

    pub(super) fn rows(&self) -> BTreeMap<String, Map<String, Value>> {
        self.state.lock().unwrap().rows.clone()
    }

    /// A row that was there before crossfade came.
    pub(super) fn seed(&self, row: Map<String, Value>) {
        let id = row["id"].as_str().unwrap().to_owned();
        self.state.lock().unwrap().rows.insert(id, made(row, &self.time()));
    }

    /// What it writes as the time of a change.
    fn time(&self) -> String {
        let ms = i64::try_from(self.clock.now_ms()).unwrap();
        let time = chrono::DateTime::from_timestamp_millis(ms).unwrap();
        time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
    }

    /// A request on its way there and back. What is on its way goes on when who asked is no more.
    pub(super) async fn exchange(
        &self,
        method: Method,
        path: String,
        body: Option<Value>,
        (user, key): (String, Option<String>),
    ) -> Result<Answer, Failure> {
        let (mode, lost) = {
            let state = self.state.lock().unwrap();
            (state.mode, state.lost)
        };
        if mode == Mode::Down {
            self.tally.saw(Seen::Outage);
            tokio::time::sleep(Duration::from_millis(1)).await;
            return Err(Failure::NotReached("connection refused".to_owned()));
        }
        let longest = if mode == Mode::Slow { 4_000 } else { 60 };
        let (there, back) = (1 + self.random.below(longest), 1 + self.random.below(30));
        let is_lost = self.random.percent(lost);
        let (told, answer) = tokio::sync::oneshot::channel();
        let sent_ms = self.clock.now_ms();
        let legacy = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(there)).await;
            let asked = format!("{user}: {method} {path} {}", body.clone().unwrap_or_default());
            let answer = legacy.handle(&method, &path, body.clone(), (&user, key));
            if let (Some(body), false) = (body, ["rest", "past"].contains(&user.as_str())) {
                let id = path.rsplit('/').next().unwrap_or_default();
                let row = legacy.names().remove(id).unwrap_or_else(|| id.to_owned());
                let done_ms = legacy.clock.now_ms();
                let delivery = Delivery { row, body, sent_ms, done_ms };
                legacy.state.lock().unwrap().deliveries.push(delivery);
            }
            trace(legacy.clock, || format!("legacy {asked} {} lost={is_lost}", answer.status));
            tokio::time::sleep(Duration::from_millis(back)).await;
            if is_lost {
                if method != Method::GET {
                    legacy.tally.saw(Seen::LostAnswer);
                }
                return;
            }
            let _ = told.send(answer);
        });
        match tokio::time::timeout(TIMEOUT, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Failure::Unreachable("connection reset".to_owned())),
            Err(_) => Err(Failure::Timeout(TIMEOUT)),
        }
    }

    fn handle(
        &self,
        method: &Method,
        path: &str,
        body: Option<Value>,
        (user, key): (&str, Option<String>),
    ) -> Answer {
        let state = &mut *self.state.lock().unwrap();
        match state.mode {
            Mode::Failing | Mode::Down => {
                self.tally.saw(Seen::Outage);
                return answer(503, &Value::Null);
            }
            Mode::Slow => self.tally.saw(Seen::SlowAnswer),
            Mode::Up => {}
        }
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        if path == "/users" && method == Method::GET {
            return list(&state.rows, query);
        }
        let forbidden = user.starts_with(VIEWER) && method != Method::GET;
        if forbidden {
            return answer(403, &Value::Null);
        }
        let name = body.as_ref().and_then(|body| body["name"].as_str());
        if name.is_some_and(|name| name.starts_with(BAD)) {
            return answer(422, &Value::Null);
        }
        let time = self.time();
        match path {
            "/users" => {
                let key = key.filter(|_| state.creates != Creates::Probe);
                if key.as_ref().is_some_and(|key| state.keys.contains_key(key)) {
                    self.tally.saw(Seen::Repeated);
                }
                create_once(state, body.unwrap(), key, &time)
            }
            // Routes that crossfade is not told of.
            "/users/import" if *method == Method::POST => create(state, body.unwrap(), &time),
            "/users/purge" if *method == Method::POST => {
                let body = body.unwrap();
                one(&mut state.rows, &Method::DELETE, body["id"].as_str().unwrap(), None, &time)
            }
            _ => one(&mut state.rows, method, path.strip_prefix("/users/").unwrap(), body, &time),
        }
    }
}

fn answer(status: u16, body: &Value) -> Answer {
    let status = StatusCode::from_u16(status).unwrap();
    Answer { status, headers: HeaderMap::new(), body: Body::Whole(Bytes::from(body.to_string())) }
}

fn made(mut row: Map<String, Value>, time: &str) -> Map<String, Value> {
    row.insert("version".to_owned(), json!(1));
    for cell in ["createdAt", "updatedAt"] {
        row.insert(cell.to_owned(), json!(time));
    }
    row.entry("age").or_insert(Value::Null);
    row
}

fn list(rows: &BTreeMap<String, Map<String, Value>>, query: &str) -> Answer {
    let number = |name: &str| {
        let pair = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        pair.and_then(|number| number.parse().ok())
    };
    let (limit, offset) = (number("limit").unwrap_or(20), number("offset").unwrap_or(0));
    let email = query.split('&').find_map(|pair| pair.strip_prefix("email="));
    let mut rows: Vec<_> =
        rows.values().filter(|row| email.is_none_or(|email| row["email"] == email)).collect();
    if query.contains("sort=-updatedAt") {
        rows.sort_by_key(|row| std::cmp::Reverse(row["updatedAt"].as_str().unwrap().to_owned()));
    }
    let page: Vec<_> = rows.iter().skip(offset).take(limit).collect();
    let total = rows.len();
    answer(200, &json!({ "data": page, "total": total, "limit": limit, "offset": offset }))
}

/// The same request again is answered as before; another one with its key is a mistake of its sender.
fn create_once(state: &mut State, body: Value, key: Option<String>, time: &str) -> Answer {
    let Some(key) = key else { return create(state, body, time) };
    match state.keys.get(&key) {
        Some((before, answered)) if *before == body => answer(201, answered),
        Some(_) => answer(422, &Value::Null),
        None => {
            let made = create(state, body.clone(), time);
            if let (201, Body::Whole(bytes)) = (made.status.as_u16(), &made.body) {
                state.keys.insert(key, (body, serde_json::from_slice(bytes).unwrap()));
            }
            made
        }
    }
}

fn create(state: &mut State, body: Value, time: &str) -> Answer {
    let Value::Object(mut row) = body else { return answer(400, &Value::Null) };
    let taken = state.rows.values().any(|other| other["email"] == row["email"]);
    if state.creates == Creates::Probe && taken {
        return answer(409, &Value::Null);
    }
    if state.creates.makes_ids() {
        let id = format!("{:05}", state.names.len() + 1);
        let email = row["email"].as_str().unwrap();
        let name = state.emails.get(email).cloned().unwrap_or_else(|| id.clone());
        state.names.insert(id.clone(), name);
        row.insert("id".to_owned(), json!(id));
        row.entry("managerId").or_insert(Value::Null);
    }
    let id = row["id"].as_str().unwrap().to_owned();
    if state.rows.contains_key(&id) {
        return answer(409, &Value::Null);
    }
    let row = made(row, time);
    state.rows.insert(id, row.clone());
    answer(201, &Value::Object(row))
}

fn one(
    rows: &mut BTreeMap<String, Map<String, Value>>,
    method: &Method,
    id: &str,
    body: Option<Value>,
    time: &str,
) -> Answer {
    let Some(row) = rows.get_mut(id) else { return answer(404, &Value::Null) };
    if method == Method::DELETE {
        rows.remove(id);
        return answer(204, &Value::Null);
    }
    if let Some(Value::Object(changes)) = body {
        row.extend(changes);
        let version = row["version"].as_u64().unwrap() + 1;
        row.insert("version".to_owned(), json!(version));
        row.insert("updatedAt".to_owned(), json!(time));
    }
    answer(200, &Value::Object(row.clone()))
}

/// The way of one process to the API; nothing comes back once it was killed.
#[derive(Debug)]
pub(super) struct SimTransport {
    pub(super) legacy: SimLegacy,
    pub(super) killed: Arc<AtomicBool>,
}

impl LegacyTransport for SimTransport {
    fn exchange(&self, request: LegacyRequest) -> BoxFuture<'_, Result<Answer, Failure>> {
        Box::pin(async move {
            if self.killed.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            let user = match request.credentials {
                // The assertion is the user's name here.
                Credentials::OnBehalfOf(user) => user,
                Credentials::Service | Credentials::Caller(_) => "service".to_owned(),
            };
            let LegacyRequest { method, path_and_query, body, idempotency_key: key, .. } = request;
            let answer = self.legacy.exchange(method, path_and_query, body, (user, key)).await;
            if self.killed.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            answer
        })
    }
}

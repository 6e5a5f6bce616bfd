//! A user's REST request, as the edge carries it out: the store first in `rampdown`, legacy otherwise, and where the store
//! cannot.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::history::{By, History};
use super::legacy::SimLegacy;
use super::tally::{Seen, Tally};
use super::{Seeded, SimClock};
use crate::clock::Clock as _;
use crate::migration::{Answer, Body, Failure, PathId, RowId, WriteKind};
use crate::proxy::forward::Tapped;
use crate::resource::Resource;
use crate::storage::Actor;
use crate::sync::mirror::{Mirror, MirrorJob};
use crate::sync::{CaughtUp, Intents, RestWrite, StoreAnswer, StoreWriter, Writer};

/// Who asks, and what becomes of it.
pub(super) struct Caller {
    pub(super) history: Arc<Mutex<History>>,
    /// The write's place in the history.
    pub(super) number: usize,
    pub(super) legacy: SimLegacy,
    pub(super) clock: SimClock,
    pub(super) random: Seeded,
    pub(super) tally: Tally,
}

impl Caller {
    /// Notes what legacy answered.
    pub(super) fn answered(&self, outcome: &Result<Answer, Failure>) {
        let write = &mut self.history.lock().unwrap().writes[self.number];
        if let Ok(answer) = outcome {
            write.acknowledged = answer.status.is_success();
            write.refused = answer.status.is_client_error();
            write.end_ms = Some(self.clock.now_ms());
        }
    }

    /// Notes what the store answered.
    fn answered_by_store(&self, answer: &StoreAnswer) {
        let write = &mut self.history.lock().unwrap().writes[self.number];
        write.by = By::Store;
        match answer {
            // Nobody was told that it is done.
            StoreAnswer::NotKept(_) => return,
            StoreAnswer::Refused(_) | StoreAnswer::Invalid(_) => write.refused = true,
            StoreAnswer::Created(..)
            | StoreAnswer::Repeated(..)
            | StoreAnswer::Updated(_)
            | StoreAnswer::Deleted => write.acknowledged = true,
        }
        write.end_ms = Some(self.clock.now_ms());
    }
}

/// A request.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Option<Value>,
    pub(super) kind: WriteKind,
}

impl Request {
    fn row(&self) -> Option<RowId> {
        match &self.kind {
            WriteKind::Create => None,
            WriteKind::Update(row) | WriteKind::Delete(row) => Some(row.clone()),
        }
    }
}

/// The process that it goes through.
pub(super) struct Through {
    pub(super) caught_up: CaughtUp,
    pub(super) intents: Intents,
    pub(super) mirror: Mirror,
    pub(super) writer: StoreWriter,
    pub(super) users: Arc<Resource>,
    pub(super) killed: Arc<AtomicBool>,
    pub(super) store_first: bool,
    pub(super) mirrored: bool,
    /// The path that the caller may open.
    pub(super) path: PathId,
}

impl Through {
    fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Relaxed)
    }

    /// Until the process is killed. What is under way in it then never ends, and its callers lose their connections.
    async fn gone(&self) {
        while !self.is_killed() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(super) async fn send(self, caller: Caller, request: Request) {
        if self.store_first && self.done_by_store(&caller, &request).await {
            return;
        }
        self.ask_legacy(caller, request).await;
    }

    /// Whether the request is over: the store has answered it, or a row is owed, or the process is gone.
    async fn done_by_store(&self, caller: &Caller, request: &Request) -> bool {
        let org_id = self.path.as_str().strip_prefix("org/").map(str::to_owned);
        let org_role = Some("org:admin".to_owned());
        let actor = Actor { user: "store".to_owned(), org_id, org_role };
        let fields = request.body.as_ref().and_then(Value::as_object).cloned();
        let asked = RestWrite {
            resource: self.users.clone(),
            kind: request.kind.clone(),
            fields: fields.unwrap_or_default(),
            path: self.path.clone(),
            writer: Arc::new(Writer::new(actor)),
            key: None,
        };
        let answer = tokio::select! {
            answer = self.writer.write(asked) => answer,
            () = self.gone() => return true,
        };
        if self.is_killed() {
            return true;
        }
        if let Ok(answer) = answer {
            caller.tally.saw(Seen::StoreFirst);
            caller.answered_by_store(&answer);
            return true;
        }
        caller.tally.saw(Seen::FellOpen);
        match request.row() {
            Some(row) => {
                !self.writer.owes_nothing(&self.users.name, &row).await || self.is_killed()
            }
            None => false,
        }
    }

    async fn ask_legacy(self, caller: Caller, request: Request) {
        let users = self.users.name.clone();
        let open = if self.mirrored {
            // Only where the store answers it is looked who asks.
            let path = self.store_first.then(|| self.path.clone());
            Ok(self.intents.open(&users, request.row(), path).await)
        } else {
            Err(self.caught_up.pass_by(&users, caller.clock.now_ms()))
        };
        if self.is_killed() {
            return;
        }
        let sent_ms = caller.clock.now_ms();
        let Request { method, path, body, kind } = request;
        let text = body.clone().map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let outcome = caller.legacy.exchange(method, path, body, ("rest".to_owned(), None)).await;
        if self.is_killed() {
            // The caller hears nothing, and the intent is for the next process.
            return;
        }
        let outcome = match outcome {
            // The caller went away first.
            Ok(_) if caller.random.percent(4) => {
                caller.tally.saw(Seen::OutOfSight);
                Err(Failure::Timeout(Duration::ZERO))
            }
            outcome => outcome,
        };
        caller.answered(&outcome);
        let outcome = match outcome {
            // An answer that says too little.
            Ok(answer) if caller.random.percent(10) => {
                Ok(Answer { body: Body::Truncated, ..answer })
            }
            outcome => outcome,
        };
        let tapped = Tapped::of(text, &outcome);
        match open {
            Ok(open) => {
                let resource = self.users.clone();
                self.mirror.take(MirrorJob { resource, write: kind, sent_ms, tapped, open });
            }
            Err(passing) => self.mirror.passed_by(passing, sent_ms, &tapped),
        }
    }
}

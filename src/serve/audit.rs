//! Who changed what crossfade does, when and why: an append-only log in the control database.
//!
//! It is written in the background, for nobody in an incident waits for it, and again until it is kept.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderName, Method};
use tokio_util::task::TaskTracker;

use crate::clock::SharedClock;
use crate::identity::Subject;
use crate::storage::{AuditEntry, ControlOp, SharedStorage};

/// Who gives an order to the operators' listener, which the command line sends, and why, for who wants to say.
pub(crate) const ACTOR_HEADER: HeaderName = HeaderName::from_static("crossfade-actor");
pub(crate) const REASON_HEADER: HeaderName = HeaderName::from_static("crossfade-reason");

/// Characters of a text that are kept.
const MAX_CHARS: usize = 1_000;
/// Entries that wait for the database at most. At the bound one is lost, and counted.
const MAX_WAITING: usize = 256;
/// How long a stop waits for entries.
const STOP_WAIT: Duration = Duration::from_secs(2);
/// How often an entry is tried, while the database cannot be written.
const TRIES: u32 = 240;
/// Wait after each failure.
const WAIT: Duration = Duration::from_millis(500);

/// The log, as a process writes it.
#[derive(Debug, Clone)]
pub(crate) struct Audit {
    storage: SharedStorage,
    clock: SharedClock,
    process: String,
    writing: TaskTracker,
}

impl Audit {
    pub(super) fn new(storage: SharedStorage, clock: SharedClock, listen: SocketAddr) -> Self {
        let writing = TaskTracker::new();
        Self { storage, clock, process: listen.to_string(), writing }
    }

    /// Waits for what is being written, two seconds at most. More may still come.
    pub(super) async fn idle(&self) {
        self.writing.close();
        if tokio::time::timeout(STOP_WAIT, self.writing.wait()).await.is_err() {
            metrics::counter!("crossfade_audit_lost_total").increment(self.writing.len() as u64);
            tracing::warn!(entries = self.writing.len(), "entries of the audit log are not kept");
        }
        self.writing.reopen();
    }

    /// Writes down what `actor` did to `subject`.
    pub(super) fn note(&self, actor: &str, action: &str, subject: &str, reason: &str) {
        self.write(actor, action, (subject, subject), reason);
    }

    /// The same about a person: the entry says who it is, the process's own log does not.
    pub(super) fn note_of_person(
        &self,
        actor: &str,
        action: &str,
        subject: &Subject,
        reason: &str,
    ) {
        let in_full = format!("{} {}", subject.kind(), subject.id());
        self.write(actor, action, (subject.kind(), &in_full), reason);
    }

    fn write(&self, actor: &str, action: &str, (logged, subject): (&str, &str), reason: &str) {
        let short = |text: &str| text.chars().take(MAX_CHARS).collect::<String>();
        let entry = AuditEntry {
            at_ms: self.clock.now_ms(),
            actor: short(actor),
            action: short(action),
            subject: short(subject),
            reason: short(reason),
            process: self.process.clone(),
        };
        tracing::info!(
            actor = entry.actor,
            action = entry.action,
            subject = short(logged),
            "audit"
        );
        if self.writing.len() >= MAX_WAITING {
            metrics::counter!("crossfade_audit_lost_total").increment(1);
            return;
        }
        let storage = self.storage.clone();
        self.writing.spawn(async move {
            for _ in 0..TRIES {
                let append = ControlOp::Audit(entry.clone());
                let Err(error) = storage.commit_control(vec![append]).await else { return };
                tracing::warn!(%error, "an entry of the audit log is not kept yet");
                tokio::time::sleep(WAIT).await;
            }
            metrics::counter!("crossfade_audit_lost_total").increment(1);
        });
    }

    /// Writes down an order to the operators' listener that was taken.
    fn order(&self, order: &Order) {
        self.note(&order.actor, &order.action, &order.subject, &order.reason);
    }
}

struct Order {
    actor: String,
    action: String,
    subject: String,
    reason: String,
}

impl Order {
    /// `None`: it changes nothing, or its handler sees to it.
    fn of(request: &Request) -> Option<Self> {
        let path = request.uri().path();
        let changes = *request.method() == Method::POST;
        // Their bodies say who and why.
        let sees_to_it = ["/rollback", "/outbox", "/sync", "/revocations"]
            .iter()
            .any(|one| path.starts_with(one));
        let asks_only = matches!(path, "/cohort" | "/flush");
        if !changes || sees_to_it || asks_only {
            return None;
        }
        let text = |name| header_text(request.headers(), name);
        Some(Self {
            actor: text(&ACTOR_HEADER).unwrap_or_else(|| "admin-api".to_owned()),
            action: format!("POST {path}"),
            subject: request.uri().query().unwrap_or_default().to_owned(),
            reason: text(&REASON_HEADER).unwrap_or_default(),
        })
    }
}

fn header_text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    Some(String::from_utf8_lossy(headers.get(name)?.as_bytes()).into_owned())
}

/// Writes down every order that was taken.
pub(super) async fn layer(State(audit): State<Audit>, request: Request, next: Next) -> Response {
    let order = Order::of(&request);
    let response = next.run(request).await;
    if let Some(order) = order.filter(|_| response.status().is_success()) {
        audit.order(&order);
    }
    response
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::storage::{MemoryStorage, Storage as _};

    #[tokio::test(start_paused = true)]
    async fn an_entry_is_kept_even_if_the_database_fails_at_first_and_long_texts_are_cut() {
        let storage = MemoryStorage::default();
        let listen = "127.0.0.1:8080".parse().unwrap();
        let audit = Audit::new(Arc::new(storage.clone()), Arc::new(SystemClock), listen);
        storage.fail_commits(3);
        audit.note("ada", "rollback", "*", &"x".repeat(2_000));
        while storage.audit(None, 10).await.unwrap().is_empty() {
            tokio::time::sleep(WAIT).await;
        }
        let kept = storage.audit(None, 10).await.unwrap().remove(0).entry;
        assert_eq!((kept.actor.as_str(), kept.reason.len()), ("ada", MAX_CHARS));
        assert_eq!(kept.process, "127.0.0.1:8080");
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_entries_wait_for_a_database_that_fails_and_a_stop_waits_for_two_seconds() {
        let storage = MemoryStorage::default();
        storage.fail_commits(u32::MAX);
        let listen = "127.0.0.1:8080".parse().unwrap();
        let audit = Audit::new(Arc::new(storage.clone()), Arc::new(SystemClock), listen);
        for _ in 0..MAX_WAITING + 10 {
            audit.note("ada", "rollback", "*", "");
        }
        assert_eq!(audit.writing.len(), MAX_WAITING);
        let begun = tokio::time::Instant::now();
        audit.idle().await;
        assert_eq!(begun.elapsed().as_secs(), 2);
        storage.fail_commits(0);
        audit.idle().await;
        assert_eq!(storage.audit(None, 1_000).await.unwrap().len(), MAX_WAITING);
    }

    #[test]
    fn only_orders_that_change_something_are_written_down() {
        let order = |method: Method, uri: &str| {
            let mut request = Request::new(axum::body::Body::empty());
            *request.method_mut() = method;
            *request.uri_mut() = uri.parse().unwrap();
            request.headers_mut().insert(ACTOR_HEADER, "ada".parse().unwrap());
            Order::of(&request).map(|order| (order.actor, order.action, order.subject))
        };
        let written = |action: &str, subject: &str| {
            Some(("ada".to_owned(), action.to_owned(), subject.to_owned()))
        };
        assert_eq!(
            order(Method::POST, "/backfill?resource=users"),
            written("POST /backfill", "resource=users")
        );
        assert_eq!(order(Method::POST, "/reconcile"), written("POST /reconcile", ""));
        for (method, uri) in [
            (Method::GET, "/outbox"),
            (Method::POST, "/rollback"),
            (Method::POST, "/outbox/retry"),
            (Method::POST, "/revocations"),
            (Method::POST, "/revocations/lift"),
            (Method::POST, "/cohort"),
        ] {
            assert_eq!(order(method, uri), None, "{uri}");
        }
    }
}

//! Revocations: what is revoked, and the orders to revoke and to lift.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::read_body;
use crate::identity::{
    OrderError, RevocationEntry, RevocationOrder, RevocationStanding, Revocations, Subject,
};
use crate::migration::{SessionId, UserId};
use crate::proxy::problem::Problem;
use crate::record::{Event, Note, NoteKind};
use crate::serve::audit::Audit;
use crate::serve::build::Parts;
use crate::serve::revoked;
use crate::storage::{Storage, StorageError};

/// How long the answer to an order waits for the database, each way.
const KEPT_WITHIN: Duration = Duration::from_secs(1);
/// What an order that has to get to the process that mints tokens is about beyond now: it is there within a second, and
/// tokens that are minted until then may be bought by sessions that it is about.
pub(crate) const UNDER_WAY_MS: u64 = 1_000;
/// Characters of an id: longer than the identity provider's, and short enough to keep a thousand of.
const MAX_ID_CHARS: usize = 128;
/// Characters of who and why that are listed; the audit log has more.
const MAX_LISTED_CHARS: usize = 200;

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    user: Option<String>,
    session: Option<String>,
    #[serde(default)]
    reason: String,
    #[serde(default = "super::operator")]
    actor: String,
}

/// Whom an order is about: one of the two, with an id that may be one.
///
/// # Errors
/// What is wrong, for whoever gave the order.
pub(crate) fn subject(user: Option<&str>, session: Option<&str>) -> Result<Subject, &'static str> {
    let subject = match (user, session) {
        (Some(user), None) => Subject::User(UserId::new(user)),
        (None, Some(session)) => Subject::Session(SessionId::new(session)),
        _ => return Err("name a user or a session, one of them"),
    };
    let id = subject.id();
    if id.trim().is_empty() || id.chars().count() > MAX_ID_CHARS || id.contains(char::is_control) {
        return Err("an id has 1 to 128 characters, none of them a control character");
    }
    Ok(subject)
}

/// The order as it is kept.
pub(crate) fn order_of(
    subject: Subject,
    standing: RevocationStanding,
    actor: &str,
    reason: &str,
) -> RevocationOrder {
    let short = |text: &str| text.chars().take(MAX_LISTED_CHARS).collect();
    RevocationOrder { subject, standing, actor: short(actor), reason: short(reason) }
}

/// Where orders are taken: at the process that mints tokens, or at one that follows it.
pub(in crate::serve) struct Desk<'a> {
    pub(in crate::serve) storage: &'a dyn Storage,
    pub(in crate::serve) revocations: &'a Revocations,
    pub(in crate::serve) audit: &'a Audit,
    /// [`UNDER_WAY_MS`], or nothing where tokens are minted.
    pub(in crate::serve) ahead_ms: u64,
}

/// An order that was taken.
pub(in crate::serve) struct Taken {
    order: RevocationOrder,
    entry: RevocationEntry,
    replicated: bool,
}

impl Desk<'_> {
    /// Takes an order: it holds from here on, in memory; the database makes it last, which may fail.
    ///
    /// # Errors
    /// [`Problem`] says why it was not taken.
    pub(in crate::serve) async fn take(
        &self,
        body: &[u8],
        standing: RevocationStanding,
    ) -> Result<Taken, Problem> {
        let remedy = r#"send {"user": "user_…"} or {"session": "sess_…"}, with a "reason" and an "actor" if you like"#;
        let body: Body = read_body(body, "revocation-order", remedy)?;
        let subject = subject(body.user.as_deref(), body.session.as_deref()).map_err(|detail| {
            let title = "What was sent cannot be read";
            Problem::new(StatusCode::BAD_REQUEST, "revocation-order", title)
                .detail(detail)
                .remedy(remedy)
        })?;
        let order = order_of(subject, standing, &body.actor, &body.reason);
        // Another process may have given an order about the same a moment ago: this one is later.
        if let Err(error) = self.keep_soon().await {
            tracing::warn!(%error, "what others revoked cannot be read");
        }
        let entry =
            self.revocations.order(&order, self.ahead_ms).map_err(|error| refused(&error))?;
        let kept = self.keep_soon().await;
        if let Err(error) = &kept {
            tracing::error!(%error, "revoked in memory only: not replicated");
        }
        let action =
            if standing == RevocationStanding::Revoked { "revoke" } else { "lift revocation" };
        self.audit.note_of_person(&body.actor, action, &order.subject, &body.reason);
        Ok(Taken { order, entry, replicated: kept.is_ok() })
    }

    async fn keep_soon(&self) -> Result<(), StorageError> {
        let late = |_| Err(StorageError::Failed("it gave no answer in time".to_owned()));
        let keeping = revoked::keep(self.storage, self.revocations);
        tokio::time::timeout(KEPT_WITHIN, keeping).await.unwrap_or_else(late)
    }
}

fn refused(error: &OrderError) -> Problem {
    let (kind, title) = match error {
        OrderError::NotRevoked => ("not-revoked", "There is nothing to lift"),
        OrderError::TooManySessions => ("too-many-sessions", "The session was not revoked"),
    };
    Problem::new(StatusCode::CONFLICT, kind, title).detail(error.to_string())
}

impl Taken {
    /// A line for the timeline, which names nobody but who gave the order.
    fn in_a_line(&self) -> String {
        let RevocationOrder { subject, standing, actor, reason } = &self.order;
        let what = match standing {
            RevocationStanding::Revoked => "revoked",
            RevocationStanding::Lifted => "revoked no more",
        };
        format!("sync tokens of a {} {what} by {actor}: {reason}", subject.kind())
    }
}

impl IntoResponse for Taken {
    fn into_response(self) -> Response {
        let shown = shown(&self.order.subject, &self.entry);
        Json(json!({ "revocation": shown, "replicated": self.replicated })).into_response()
    }
}

fn shown(subject: &Subject, entry: &RevocationEntry) -> Value {
    json!({
        subject.kind(): subject.id(), "standing": entry.standing, "at_ms": entry.at_ms,
        "epoch": entry.epoch, "actor": entry.actor, "reason": entry.reason,
    })
}

/// What is revoked, the latest order first.
pub(in crate::serve) fn listed(revocations: &Revocations) -> Response {
    let state = revocations.state();
    let revoked =
        |entry: &&(&Subject, &RevocationEntry)| entry.1.standing == RevocationStanding::Revoked;
    let mut entries: Vec<_> = state.iter().collect();
    entries.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.epoch));
    let entries: Vec<Value> =
        entries.iter().filter(revoked).map(|(subject, entry)| shown(subject, entry)).collect();
    Json(json!({ "revocations": entries, "all_before_ms": state.forgotten_ms() })).into_response()
}

pub(super) async fn list(State(parts): State<Parts>) -> Response {
    listed(&parts.revocations)
}

pub(super) async fn revoke(State(parts): State<Parts>, body: bytes::Bytes) -> Response {
    take(&parts, &body, RevocationStanding::Revoked).await
}

pub(super) async fn lift(State(parts): State<Parts>, body: bytes::Bytes) -> Response {
    take(&parts, &body, RevocationStanding::Lifted).await
}

async fn take(parts: &Parts, body: &[u8], standing: RevocationStanding) -> Response {
    let desk = Desk {
        storage: &*parts.storage,
        revocations: &parts.revocations,
        audit: &parts.audit,
        ahead_ms: 0,
    };
    match desk.take(body, standing).await {
        Ok(taken) => {
            let (at_ms, text) = (parts.clock.now_ms(), taken.in_a_line());
            parts.recorder.record(Event::Note(Note { at_ms, kind: NoteKind::Info, text }));
            taken.into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::{SharedClock, SystemClock};
    use crate::identity::RevocationState;
    use crate::storage::MemoryStorage;

    #[tokio::test]
    async fn an_order_is_read_kept_and_written_down_and_a_wrong_one_changes_nothing() {
        let storage = MemoryStorage::default();
        let clock: SharedClock = Arc::new(SystemClock);
        let ttl = Duration::from_secs(900);
        let revocations = Revocations::new(RevocationState::default(), ttl, clock.clone());
        let listen = "127.0.0.1:8080".parse().unwrap();
        let audit = Audit::new(Arc::new(storage.clone()), clock.clone(), listen);
        let desk = Desk {
            storage: &storage,
            revocations: &revocations,
            audit: &audit,
            ahead_ms: UNDER_WAY_MS,
        };
        let long = format!(r#"{{"user": "{}"}}"#, "x".repeat(129));
        for wrong in [
            "",
            "{}",
            r#"{"user": ""}"#,
            r#"{"user": "u", "session": "s"}"#,
            r#"{"user": "u", "all": true}"#,
            "{\"user\": \"a\\nb\"}",
            &long,
        ] {
            let refused = desk.take(wrong.as_bytes(), RevocationStanding::Revoked).await.err();
            assert_eq!(refused.unwrap().into_response().status(), 400, "{wrong}");
        }
        assert_eq!(*revocations.state(), RevocationState::default());
        let nothing = desk.take(br#"{"user": "u"}"#, RevocationStanding::Lifted).await.err();
        assert_eq!(nothing.unwrap().into_response().status(), 409);

        let before = clock.now_ms();
        let order = br#"{"user": "user_ann", "reason": "lost laptop", "actor": "ada"}"#;
        let taken = desk.take(order, RevocationStanding::Revoked).await.ok().unwrap();
        assert!(taken.replicated && taken.entry.at_ms >= before + UNDER_WAY_MS);
        assert!(!taken.in_a_line().contains("user_ann"));
        assert_eq!(revoked::read(&storage).await.unwrap(), *revocations.state());
        audit.idle().await;
        let entry = storage.audit(None, 10).await.unwrap().remove(0).entry;
        let written = (entry.action.as_str(), entry.subject.as_str(), entry.reason.as_str());
        assert_eq!(written, ("revoke", "user user_ann", "lost laptop"));
    }

    #[tokio::test]
    async fn with_a_database_that_fails_it_holds_all_the_same_and_says_so() {
        let storage = MemoryStorage::default();
        let clock: SharedClock = Arc::new(SystemClock);
        let ttl = Duration::from_secs(900);
        let revocations = Revocations::new(RevocationState::default(), ttl, clock.clone());
        let listen = "127.0.0.1:8080".parse().unwrap();
        let audit = Audit::new(Arc::new(storage.clone()), clock, listen);
        let desk =
            Desk { storage: &storage, revocations: &revocations, audit: &audit, ahead_ms: 0 };
        storage.fail_commits(1);
        let order = br#"{"session": "sess_1"}"#;
        let taken = desk.take(order, RevocationStanding::Revoked).await.ok().unwrap();
        assert!(!taken.replicated);
        assert_eq!(revocations.state().iter().count(), 1);
    }
}

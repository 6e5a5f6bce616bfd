//! What is owed to legacy: how much, for how long, by whom; and what becomes of dead letters.

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::{read_body, unavailable};
use crate::proxy::problem::Problem;
use crate::record::{Event, Note, NoteKind};
use crate::serve::build::Parts;
use crate::storage::{OutboxEntry, Seq, StorageError};
use crate::sync::outbox::{self, DeadLetterError};

/// Entries that one answer lists at most.
const MAX_ENTRIES: usize = 100;
/// Owing paths that one answer lists at most.
const MAX_PATHS: usize = 20;
/// Dead letters that one order tries again at most.
const MAX_RETRIED: usize = 10_000;
/// Ages by which owed writes are counted: a word, and milliseconds.
const AGES: [(&str, u64); 3] = [("5s", 5_000), ("1m", 60_000), ("1h", 3_600_000)];

/// Writes that legacy does not have yet: what a rollback would leave behind for a while.
pub(super) async fn owed(parts: &Parts) -> Result<Value, StorageError> {
    let now = parts.clock.now_ms();
    let summary = parts.storage.outbox_summary(0).await?;
    let mut older = serde_json::Map::new();
    for (age, count) in ages(parts, now).await? {
        older.insert(age.to_owned(), count.into());
    }
    let paths = parts.storage.owing_paths(MAX_PATHS).await?;
    let paths = paths.iter().map(|one| {
        json!({
            "path": one.path, "pending": one.pending, "dead": one.dead,
            "oldest_age_ms": now.saturating_sub(one.oldest_ms),
        })
    });
    Ok(json!({
        "pending": summary.pending, "dead": summary.dead,
        "oldest_age_ms": summary.oldest_ms.map(|at| now.saturating_sub(at)),
        "older_than": older, "paths": paths.collect::<Vec<_>>(),
    }))
}

async fn ages(parts: &Parts, now: u64) -> Result<Vec<(&'static str, u64)>, StorageError> {
    let mut counts = Vec::with_capacity(AGES.len());
    for (age, ms) in AGES {
        counts.push((age, parts.storage.owed_since(now.saturating_sub(ms)).await?));
    }
    Ok(counts)
}

/// Brings the gauges up to date. What the database does not tell is left as it was.
pub(super) async fn measure(parts: &Parts) {
    let now = parts.clock.now_ms();
    if let Ok(summary) = parts.storage.outbox_summary(0).await {
        let age = summary.oldest_ms.map_or(0, |at| now.saturating_sub(at));
        metrics::gauge!("crossfade_outbox_pending").set(summary.pending as f64);
        metrics::gauge!("crossfade_outbox_dead").set(summary.dead as f64);
        metrics::gauge!("crossfade_outbox_oldest_seconds").set(age as f64 / 1000.0);
    }
    for (age, count) in ages(parts, now).await.unwrap_or_default() {
        metrics::gauge!("crossfade_outbox_older_than", "age" => age).set(count as f64);
    }
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    /// `dead`: dead letters only.
    #[serde(default)]
    state: Option<ListedState>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum ListedState {
    Dead,
}

pub(super) async fn list(State(parts): State<Parts>, Query(listed): Query<Listed>) -> Response {
    match read(&parts, &listed).await {
        Ok(body) => Json(body).into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn read(parts: &Parts, listed: &Listed) -> Result<Value, StorageError> {
    let entries = match listed.state {
        Some(ListedState::Dead) => parts.storage.dead_letters(MAX_ENTRIES).await?,
        None => parts.storage.outbox_summary(MAX_ENTRIES).await?.entries,
    };
    let mut body = owed(parts).await?;
    body["entries"] = entries.iter().map(shown).collect();
    Ok(body)
}

/// An entry without its values.
fn shown(e: &OutboxEntry) -> Value {
    json!({
        "seq": e.seq, "resource": e.entry.resource, "path": e.entry.path,
        "row": e.entry.row, "cells": e.entry.cells.iter().map(|(id, _)| id).collect::<Vec<_>>(),
        "state": e.state, "attempts": e.attempts, "due_ms": e.due_ms,
        "accepted_ms": e.entry.accepted_ms, "last_error": e.last_error,
    })
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryOrder {
    /// Which; all dead letters without it.
    seq: Option<Seq>,
    #[serde(default = "super::operator")]
    actor: String,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct DiscardOrder {
    seq: Seq,
    reason: String,
    #[serde(default = "super::operator")]
    actor: String,
}

const KIND: &str = "outbox-order";

/// Has one dead letter tried again, or all of them.
pub(super) async fn retry(State(parts): State<Parts>, body: bytes::Bytes) -> Response {
    let remedy = r#"send {"seq": 12}, or {} for all dead letters"#;
    let order: RetryOrder = match read_body(&body, KIND, remedy) {
        Ok(order) => order,
        Err(problem) => return problem.into_response(),
    };
    let seqs = match order.seq {
        Some(seq) => vec![seq],
        None => match parts.storage.dead_letters(MAX_RETRIED).await {
            Ok(dead) => dead.iter().map(|entry| entry.seq).collect(),
            Err(error) => return unavailable(&error),
        },
    };
    let mut retried = 0;
    for seq in seqs {
        match outbox::retry(&parts.outbox, seq).await {
            Ok(()) => retried += 1,
            // Of all of them, one may have been dealt with by somebody else meanwhile.
            Err(DeadLetterError::Unknown(_) | DeadLetterError::Alive(_)) if order.seq.is_none() => {
            }
            Err(error) => return refused(&error),
        }
    }
    let subject = order.seq.map_or("all".to_owned(), |seq| seq.0.to_string());
    parts.audit.note(&order.actor, "outbox retry", &subject, "");
    note(&parts, format!("{retried} dead letters are tried again, by {}", order.actor));
    Json(json!({ "retried": retried })).into_response()
}

/// Gives one dead letter up for good.
pub(super) async fn discard(State(parts): State<Parts>, body: bytes::Bytes) -> Response {
    let remedy = r#"send {"seq": 12, "reason": "why"}"#;
    let order: DiscardOrder = match read_body(&body, KIND, remedy) {
        Ok(order) => order,
        Err(problem) => return problem.into_response(),
    };
    if let Err(error) = outbox::discard(&parts.outbox, order.seq).await {
        return refused(&error);
    }
    let DiscardOrder { seq, reason, actor } = order;
    parts.audit.note(&actor, "outbox discard", &seq.0.to_string(), &reason);
    note(&parts, format!("dead letter {} discarded by {actor}: {reason}", seq.0));
    Json(json!({ "discarded": seq })).into_response()
}

fn note(parts: &Parts, text: String) {
    tracing::info!("{text}");
    let at_ms = parts.clock.now_ms();
    parts.recorder.record(Event::Note(Note { at_ms, kind: NoteKind::Info, text }));
}

fn refused(error: &DeadLetterError) -> Response {
    let (status, kind) = match error {
        DeadLetterError::Unknown(_) => (StatusCode::NOT_FOUND, "no-such-entry"),
        DeadLetterError::Alive(_) => (StatusCode::CONFLICT, "no-dead-letter"),
        DeadLetterError::Legacy(_) => (StatusCode::BAD_GATEWAY, "legacy"),
        DeadLetterError::Path(_) | DeadLetterError::Storage(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "database")
        }
    };
    Problem::new(status, kind, "Nothing was done about the entry")
        .detail(error.to_string())
        .into_response()
}

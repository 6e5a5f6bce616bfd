//! What operators see of paths: what is stored, who wrote, who lacks what; and the order to rebuild one.

use std::collections::HashMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use mergeable_store::{ClientId, Hlc};
use serde_json::{Value, json};

use super::{read_body, unavailable};
use crate::migration::PathId;
use crate::proxy::problem::Problem;
use crate::record::{Event, Note, NoteKind};
use crate::serve::build::Parts;
use crate::storage::{CountChunk, Standing, StorageError};
use crate::sync::vectors::{Conflict, Lag, SeenWriter, Through, ids_of};
use crate::sync::{PathReport, RebuildError};

/// Paths that one answer lists at most; the next answer begins behind the last of them.
const MAX_PATHS: usize = 100;
/// Writers and connections that one answer lists at most.
const MAX_LISTED: usize = 100;
/// How long connections may take to say what they have.
const ASK_LIMIT: Duration = Duration::from_secs(1);
/// How often it is looked whether they have.
const ASK_PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// One path, in full.
    path: Option<String>,
    /// The list, behind this path.
    after: Option<String>,
}

/// The paths, or one of them.
pub(super) async fn sync(State(parts): State<Parts>, Query(which): Query<Which>) -> Response {
    let answer = match &which.path {
        None => list(&parts, which.after.as_deref()).await,
        Some(path) => match known(&parts, path).await {
            Ok(path) => show(&parts, &path).await,
            Err(problem) => return problem.into_response(),
        },
    };
    match answer {
        Ok(body) => Json(body).into_response(),
        Err(error) => unavailable(&error),
    }
}

/// A path of which anything is stored or in memory.
async fn known(parts: &Parts, text: &str) -> Result<PathId, Problem> {
    let path = PathId::new(text).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, "sync-path", "No such path").detail(error.to_string())
    })?;
    let loaded = parts.registry.loaded().iter().any(|handle| *handle.path() == path);
    let stored = parts.storage.generations(Some(path.clone())).await;
    if loaded || stored.is_ok_and(|stored| !stored.is_empty()) {
        return Ok(path);
    }
    Err(Problem::new(StatusCode::NOT_FOUND, "no-such-path", "Nothing is stored of this path")
        .remedy("`crossfade path list` names those of which something is"))
}

async fn list(parts: &Parts, after: Option<&str>) -> Result<Value, StorageError> {
    let owed: HashMap<_, _> = parts.storage.owed_counts().await?.into_iter().collect();
    let loaded: HashMap<_, _> =
        parts.registry.loaded().into_iter().map(|handle| (handle.path().clone(), handle)).collect();
    let stored = parts.storage.generations(None).await?;
    let mut current = stored
        .iter()
        .filter(|one| one.standing == Standing::Current)
        .filter(|one| after.is_none_or(|after| one.path.as_str() > after));
    let mut paths = Vec::new();
    for one in current.by_ref().take(MAX_PATHS) {
        let counted = count(parts, &one.path).await?;
        let handle = loaded.get(&one.path);
        let report = match handle {
            // A path that was dropped just now has no connections.
            Some(handle) => handle.report(0).await.ok(),
            None => None,
        };
        let sum =
            |of: fn(&crate::storage::TableCount) -> u64| counted.tables.iter().map(of).sum::<u64>();
        paths.push(json!({
            "path": one.path, "generation": one.generation,
            "rows": sum(|t| t.rows), "cells": sum(|t| t.cells),
            "tombstones": sum(|t| t.tombstones), "bytes": sum(|t| t.bytes),
            "last_write_ms": counted.tables.iter().map(|t| t.last_write_ms).max(),
            "loaded": handle.is_some(),
            "clients": report.map_or(0, |report| report.connections.len()),
            "owed": owed.get(&one.path).copied().unwrap_or(0),
        }));
    }
    let more = current.next().is_some();
    let next = paths.last().filter(|_| more).map(|last| last["path"].clone());
    Ok(json!({ "paths": paths, "next": next }))
}

async fn count(parts: &Parts, path: &PathId) -> Result<CountChunk, StorageError> {
    let mut counted = CountChunk::default();
    loop {
        let after = counted.next.take();
        counted.add(parts.storage.count(path.clone(), after).await?);
        if counted.next.is_none() {
            return Ok(counted);
        }
    }
}

async fn show(parts: &Parts, path: &PathId) -> Result<Value, StorageError> {
    let counted = count(parts, path).await?;
    let generations = parts.storage.generations(Some(path.clone())).await?;
    let name = parts.registry.name_of(path);
    let owed = parts.storage.owed_counts().await?.into_iter().find(|(of, _)| of == path);
    let handle = parts.registry.get(path).await?;
    let gone = |_| StorageError::Closed;
    // Broadcasts are not answered: whether they arrived, clients say when they are asked.
    handle.ask_hashes().await.map_err(gone)?;
    let asked = tokio::time::timeout(ASK_LIMIT, async {
        loop {
            let report = handle.report(MAX_LISTED).await?;
            if report.connections.iter().all(|lag| lag.edits_behind == 0 && lag.equal_ms.is_some())
            {
                return Ok(report);
            }
            tokio::time::sleep(ASK_PAUSE).await;
        }
    });
    let report = match asked.await {
        Ok(report) => report,
        Err(_) => handle.report(MAX_LISTED).await,
    };
    let mut shown = shown(&report.map_err(gone)?);
    shown["path"] = json!(path);
    shown["name"] = json!(name.to_string());
    shown["generation"] = json!(name.generation);
    shown["generations"] = generations
        .iter()
        .map(|one| json!({ "generation": one.generation, "standing": one.standing }))
        .collect();
    shown["tables"] = json!(counted.tables);
    shown["owed"] = json!(owed.map_or(0, |(_, count)| count));
    Ok(shown)
}

fn shown(report: &PathReport) -> Value {
    let writers = report.writers.iter().map(|(id, seen)| writer(*id, seen));
    let (listed, conflicts) = (report.connections.iter().take(MAX_LISTED), &report.conflicts);
    json!({
        "hashes": { "tables": report.hashes.tables, "values": report.hashes.values },
        "writers": writers.collect::<Vec<_>>(),
        "writer_count": report.writer_count,
        "folded": { "writers": report.folded.writers, "newest": stamp(report.folded.newest) },
        "connections": listed.map(connection).collect::<Vec<_>>(),
        "connection_count": report.connections.len(),
        "conflicts": conflicts.iter().rev().map(conflict).collect::<Vec<_>>(),
        "conflicts_ever": report.conflicts_ever,
    })
}

fn stamp(hlc: Hlc) -> Value {
    if hlc.is_empty() {
        Value::Null
    } else {
        json!({ "hlc": hlc.to_string(), "time_ms": hlc.time_ms() })
    }
}

fn through(through: &Through) -> Value {
    json!({ "connection": through.connection.as_str(), "user": through.user })
}

fn writer(id: ClientId, seen: &SeenWriter) -> Value {
    json!({
        "writer": id.to_string(), "newest": stamp(seen.newest),
        "through": seen.through.as_ref().map(through),
    })
}

fn connection(lag: &Lag) -> Value {
    json!({
        "connection": lag.through.connection.as_str(), "user": lag.through.user,
        "connected_ms": lag.connected_ms, "equal_ms": lag.equal_ms,
        "edits_behind": lag.edits_behind, "lag_ms": lag.lag_ms,
    })
}

fn conflict(one: &Conflict) -> Value {
    json!({
        "ids": ids_of(&one.target), "at_ms": one.at_ms,
        "winner": stamp(one.winner), "winner_writer": one.winner.client().map(|id| id.to_string()),
        "loser": stamp(one.loser), "loser_writer": one.loser.client().map(|id| id.to_string()),
        "through": through(&one.through),
    })
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RebuildOrder {
    path: String,
    reason: String,
    #[serde(default = "super::operator")]
    actor: String,
}

/// Starts a path's next generation.
pub(super) async fn rebuild(State(parts): State<Parts>, body: bytes::Bytes) -> Response {
    let remedy = r#"send {"path": "org/o_1", "reason": "why"}"#;
    let order: RebuildOrder = match read_body(&body, "rebuild-order", remedy) {
        Ok(order) => order,
        Err(problem) => return problem.into_response(),
    };
    let path = match known(&parts, &order.path).await {
        Ok(path) => path,
        Err(problem) => return problem.into_response(),
    };
    match parts.registry.rebuild(&path).await {
        Ok(rebuilt) => {
            let name = parts.registry.name_of(&path);
            parts.audit.note(&order.actor, "path rebuild", &name.to_string(), &order.reason);
            let text = format!("path {name} rebuilt by {}: {}", order.actor, order.reason);
            let at_ms = parts.clock.now_ms();
            parts.recorder.record(Event::Note(Note { at_ms, kind: NoteKind::Info, text }));
            let mut body = json!(rebuilt);
            body["name"] = json!(name.to_string());
            Json(body).into_response()
        }
        Err(RebuildError::Storage(error)) => unavailable(&error),
        Err(error @ (RebuildError::Busy | RebuildError::NotAtRest)) => {
            let title = "The path was not rebuilt";
            Problem::new(StatusCode::CONFLICT, "not-rebuilt", title)
                .detail(error.to_string())
                .into_response()
        }
    }
}

//! What the operators' listener offers, as OpenAPI 3.1.

use serde_json::{Map, Value, json};

/// One operation. Problems (RFC 9457) are the same for all.
struct Operation {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    /// Query parameters.
    query: &'static [&'static str],
    /// Members of the JSON body, those that must be there first; and how many of them must.
    body: (&'static [&'static str], usize),
    /// Status of success, and what it carries.
    success: (u16, &'static str),
}

const NO_BODY: (&[&str], usize) = (&[], 0);
const JSON: &str = "application/json";

const fn get(
    path: &'static str,
    summary: &'static str,
    query: &'static [&'static str],
) -> Operation {
    Operation { method: "get", path, summary, query, body: NO_BODY, success: (200, JSON) }
}

const fn post(
    path: &'static str,
    summary: &'static str,
    query: &'static [&'static str],
    body: (&'static [&'static str], usize),
    status: u16,
) -> Operation {
    Operation { method: "post", path, summary, query, body, success: (status, JSON) }
}

const OPERATIONS: [Operation; 26] = [
    Operation { success: (200, "text/plain"), ..get("/healthz", "It runs. Needs no token.", &[]) },
    get(
        "/readyz",
        "Whether its database answers (503 if not), its role, and how the flags are doing. Needs no token.",
        &[],
    ),
    get("/openapi.json", "This document. Needs no token.", &[]),
    get(
        "/stages",
        "Stages, why they hold, what the next step needs, the gate, flags, the rollback switch.",
        &[],
    ),
    post(
        "/cohort",
        "Which of these users the flags have in the cohort.",
        &[],
        (&["resource", "users", "org_id", "org_role"], 2),
        200,
    ),
    get(
        "/outbox",
        "What legacy is owed: counts, ages, the first entries; or dead letters.",
        &["state"],
    ),
    post("/outbox/retry", "Tries one dead letter again, or all.", &[], (&["seq", "actor"], 0), 200),
    post(
        "/outbox/discard",
        "Gives one dead letter up for good.",
        &[],
        (&["seq", "reason", "actor"], 2),
        200,
    ),
    get("/sync", "A hundred paths, or one in full.", &["path", "after"]),
    post(
        "/sync/rebuild",
        "Starts a path's next generation.",
        &[],
        (&["path", "reason", "actor"], 2),
        200,
    ),
    get(
        "/comparisons",
        "Verdicts, coverage, signatures, what each rule did, the noise of each field.",
        &[],
    ),
    get(
        "/rollback",
        "What a rollback would do, and what legacy does not have yet. Changes nothing.",
        &["scope", "accept_stale"],
    ),
    post(
        "/rollback",
        "Sends everybody, or one resource, back to legacy.",
        &[],
        (&["reason", "scope", "actor", "accept_stale"], 1),
        200,
    ),
    post("/rollback/lift", "Ends a rollback.", &[], (&["reason", "scope", "actor"], 1), 200),
    get("/revocations", "Whose sync tokens are revoked.", &[]),
    post(
        "/revocations",
        "Revokes the sync tokens of a user, or of a session of the identity provider: one of the two.",
        &[],
        (&["user", "session", "reason", "actor"], 0),
        200,
    ),
    post(
        "/revocations/lift",
        "Ends a revocation.",
        &[],
        (&["user", "session", "reason", "actor"], 0),
        200,
    ),
    get("/backfill", "How far each backfill is.", &[]),
    post("/backfill", "Begins a backfill of one resource, or of all.", &["resource"], NO_BODY, 202),
    get("/reconcile", "How far each reconcile is, and what it has found.", &[]),
    post(
        "/reconcile",
        "Begins to compare both sides in full, and repairs if told to.",
        &["resource", "repair"],
        NO_BODY,
        202,
    ),
    get(
        "/tail",
        "How writes past crossfade are followed, and what was found since the start.",
        &[],
    ),
    post(
        "/tail",
        "Has the list of one resource, or of all, looked through now.",
        &["resource"],
        NO_BODY,
        202,
    ),
    get(
        "/audit",
        "Who changed what crossfade does: the newest entries first.",
        &["limit", "before"],
    ),
    Operation {
        success: (200, "text/plain"),
        ..get("/metrics", "Metrics as Prometheus reads them.", &[])
    },
    Operation {
        success: (204, ""),
        ..post("/flush", "Returns once what was recorded can be read.", &[], NO_BODY, 204)
    },
];

/// The document.
pub(super) fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for one in &OPERATIONS {
        let path = paths.entry(one.path).or_insert_with(|| json!({}));
        path[one.method] = operation(one);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "crossfade, for operators", "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "securitySchemes": { "admin": { "type": "http", "scheme": "bearer" } },
            "schemas": { "Problem": {
                "type": "object", "required": ["type", "title", "status"],
                "properties": {
                    "type": { "type": "string" }, "title": { "type": "string" },
                    "status": { "type": "integer" }, "detail": { "type": "string" },
                    "remedy": { "type": "string" },
                },
            } },
        },
    })
}

fn operation(one: &Operation) -> Value {
    let parameters: Vec<Value> = one
        .query
        .iter()
        .map(|name| json!({ "name": name, "in": "query", "schema": { "type": "string" } }))
        .collect();
    let (status, kind) = one.success;
    let success = if kind.is_empty() {
        json!({ "description": "Done" })
    } else {
        json!({ "description": "Done", "content": { kind: {} } })
    };
    let problem = json!({
        "description": "A problem (RFC 9457)",
        "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
    });
    let mut operation = json!({
        "summary": one.summary,
        "parameters": parameters,
        "responses": { status.to_string(): success, "default": problem },
        "security": if one.summary.ends_with("Needs no token.") { json!([]) } else { json!([{ "admin": [] }]) },
    });
    let (members, required) = one.body;
    if !members.is_empty() {
        let properties: Map<String, Value> =
            members.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
        let schema = json!({
            "type": "object", "properties": properties, "additionalProperties": false,
            "required": &members[..required],
        });
        operation["requestBody"] =
            json!({ "required": true, "content": { JSON: { "schema": schema } } });
    }
    operation
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Routes and methods, as the router's own text has them.
    fn routed() -> BTreeSet<(String, String)> {
        let text = include_str!("../admin.rs");
        let mut found = BTreeSet::new();
        for line in text.lines().filter_map(|line| line.trim().strip_prefix(".route(\"")) {
            let (path, handlers) = line.split_once("\", ").unwrap();
            for method in ["get", "post"] {
                let calls = [format!("{method}("), format!(".{method}(")];
                if handlers.starts_with(&calls[0]) || handlers.contains(&calls[1]) {
                    found.insert((path.to_owned(), method.to_owned()));
                }
            }
        }
        found
    }

    #[test]
    fn what_is_described_is_what_is_routed() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let described: BTreeSet<_> = paths
            .iter()
            .flat_map(|(path, operations)| {
                operations.as_object().unwrap().keys().map(|method| (path.clone(), method.clone()))
            })
            .collect();
        assert_eq!(described, routed());
        assert!(described.len() > 15);
    }

    #[test]
    fn what_needs_no_token_says_so() {
        let document = document();
        let security = |path: &str| document["paths"][path]["get"]["security"].clone();
        assert_eq!(security("/healthz"), json!([]));
        assert_eq!(security("/stages"), json!([{ "admin": [] }]));
    }
}

//! The shape of a disagreement, without any value: the unit that people triage.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::{Comparison, JsonType, Kind, StatusPair};
use crate::migration::{ResourceName, RouteTemplate};

/// More places than these are folded into their common prefix, so that one renamed subtree is one
/// signature (`field.md` §4.7).
const MAX_SHAPES: usize = 8;

/// How two answers differ at one kind of place.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct Shape {
    /// JSON Pointer with indices erased (`/data/*/name`), `status`, or `header:<name>`.
    pub path: String,
    /// How they differ.
    pub kind: Kind,
    /// What legacy has there.
    pub legacy: JsonType,
    /// What the store has there.
    pub sync: JsonType,
}

impl Shape {
    /// Whether it is a whole element of an outermost list (`/data/*`): a row that one side lacks.
    #[must_use]
    pub fn is_row(&self) -> bool {
        let is_object = self.legacy == JsonType::Object || self.sync == JsonType::Object;
        is_object
            && self
                .path
                .strip_suffix("/*")
                .is_some_and(|above| !above.split('/').any(|part| part == "*"))
    }
}

/// A recognisable shape of disagreement. Equal ids mean equal parts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Signature {
    /// Version of the algorithm, a dash, 16 hex digits (`v1-0123456789abcdef`).
    pub id: String,
    /// What it was made from.
    pub parts: SignatureParts,
}

/// What a signature says, readable.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct SignatureParts {
    /// The resource.
    pub resource: String,
    /// The route's template, method included.
    pub route: String,
    /// The verdict's word.
    pub verdict: String,
    /// Both statuses.
    pub statuses: StatusPair,
    /// The places that differ, sorted; empty if folded.
    pub shapes: Vec<Shape>,
    /// Stands for the places where there are more than 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folded: Option<Folded>,
}

/// Many places in one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Folded {
    /// What all their paths begin with, whole segments only.
    pub prefix: String,
    /// The ways in which they differ, sorted.
    pub kinds: Vec<Kind>,
    /// How many places there were when the signature was first seen; no part of its identity.
    pub count: usize,
}

impl Comparison {
    /// The signature of a disagreement (`mismatch`, `overshare`, `undershare`, `error` in one
    /// way); none for any other verdict.
    #[must_use]
    pub fn signature(&self, resource: &ResourceName, route: &RouteTemplate) -> Option<Signature> {
        if !self.verdict.is_decided() || self.verdict.agrees() {
            return None;
        }
        let shapes: BTreeSet<_> = self.differences.iter().map(|one| one.shape.clone()).collect();
        let folded = (shapes.len() > MAX_SHAPES).then(|| fold(&shapes));
        let shapes = if folded.is_some() { Vec::new() } else { shapes.into_iter().collect() };
        Some(Signature::new(SignatureParts {
            resource: resource.to_string(),
            route: route.to_string(),
            verdict: self.verdict.to_string(),
            statuses: self.statuses,
            shapes,
            folded,
        }))
    }
}

impl Signature {
    /// Algorithm v1: SHA-256 over a line for each part, its first 64 bits in hex.
    fn new(parts: SignatureParts) -> Self {
        let mut text = format!(
            "crossfade signature v1\n{}\n{}\n{}\n{}\n",
            parts.resource, parts.route, parts.verdict, parts.statuses
        );
        for Shape { path, kind, legacy, sync } in &parts.shapes {
            let (kind, legacy, sync) = (kind.as_str(), legacy.as_str(), sync.as_str());
            let _ = writeln!(text, "{path} {kind} {legacy} {sync}");
        }
        if let Some(folded) = &parts.folded {
            // The count is left out: it may differ from one answer to the next.
            let kinds: Vec<_> = folded.kinds.iter().map(|kind| kind.as_str()).collect();
            let _ = writeln!(text, "{}/... {}", folded.prefix, kinds.join(" "));
        }
        let mut id = "v1-".to_owned();
        for byte in &Sha256::digest(text.as_bytes())[..8] {
            let _ = write!(id, "{byte:02x}");
        }
        Self { id, parts }
    }
}

fn fold(shapes: &BTreeSet<Shape>) -> Folded {
    let mut prefix: Option<Vec<&str>> = None;
    for shape in shapes {
        let segments: Vec<_> = shape.path.split('/').collect();
        prefix = Some(match prefix {
            None => segments,
            Some(known) => known
                .into_iter()
                .zip(segments)
                .take_while(|(a, b)| a == b)
                .map(|(a, _)| a)
                .collect(),
        });
    }
    let kinds: BTreeSet<_> = shapes.iter().map(|shape| shape.kind).collect();
    Folded {
        prefix: prefix.unwrap_or_default().join("/"),
        kinds: kinds.into_iter().collect(),
        count: shapes.len(),
    }
}

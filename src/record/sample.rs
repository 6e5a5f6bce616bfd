//! One disagreement, redacted, as it is kept for people.

use serde_json::Value;

use super::Redactor;
use crate::compare::{
    Comparison, Document, Json, Location, Rules, canonical_pretty, comparable_header, unified_diff,
};
use crate::migration::{Body, Failure, Observation};

/// At most so many differences are kept in a sample.
const MAX_DIFFERENCES: usize = 20;
/// A redacted body longer than this, pretty-printed, is left out; the diff stays.
const MAX_BODY_BYTES: usize = 16 * 1024;
/// A sample's diff is no longer than this.
const MAX_DIFF_BYTES: usize = 8 * 1024;

/// Two redacted answers and how they differ.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Sample {
    /// What legacy answered.
    pub legacy: SampleSide,
    /// What the store answered.
    pub sync: SampleSide,
    /// Where they differ, 20 places at most.
    pub differences: Vec<SampleDifference>,
    /// How many more there are.
    pub more: u64,
    /// Unified diff of both bodies, redacted, 8 KiB at most; empty if the bodies are equal or one
    /// is not JSON.
    pub diff: String,
}

/// One side's answer, redacted.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SampleSide {
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// The body with tokens for its values.
    pub body: Option<Value>,
    /// Why there is no body here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_body: Option<String>,
}

/// One difference, its values redacted.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SampleDifference {
    /// `status`, `header:<name>`, or a JSON Pointer by legacy's positions.
    pub at: String,
    /// How they differ.
    pub kind: crate::compare::Kind,
    /// What legacy has there; none if nothing.
    pub legacy: Option<String>,
    /// What the store has there; none if nothing.
    pub sync: Option<String>,
}

impl Sample {
    /// Redacts a pair of answers and their comparison. Costs a parse of both bodies: make it only
    /// for disagreements, and only if [`super::Recorder::wants_sample`] says so.
    #[must_use]
    pub fn of(
        redactor: &Redactor,
        rules: &Rules,
        legacy: &Observation,
        sync: &Observation,
        comparison: &Comparison,
    ) -> Self {
        let (legacy, sync) = (Side::read(legacy, rules), Side::read(sync, rules));
        let bodies = legacy.document.as_ref().zip(sync.document.as_ref());
        let diff = bodies.map_or_else(String::new, |(legacy, sync)| {
            let (legacy, sync) = (redactor.document(legacy), redactor.document(sync));
            unified_diff(&legacy, &sync, MAX_DIFF_BYTES)
        });
        let differences: Vec<_> = comparison
            .differences
            .iter()
            .take(MAX_DIFFERENCES)
            .map(|difference| SampleDifference {
                at: difference.at().map_or_else(String::new, |at| place(redactor, at)),
                kind: difference.shape.kind,
                legacy: difference.legacy_at.as_ref().and_then(|at| legacy.value(redactor, at)),
                sync: difference.sync_at.as_ref().and_then(|at| sync.value(redactor, at)),
            })
            .collect();
        let left_out = comparison.differences.len() - differences.len();
        let more = comparison.more.saturating_add(u64::try_from(left_out).unwrap_or(u64::MAX));
        Self {
            legacy: legacy.redacted(redactor),
            sync: sync.redacted(redactor),
            differences,
            more,
            diff,
        }
    }
}

fn place(redactor: &Redactor, at: &Location) -> String {
    match at {
        Location::Body(pointer) => redactor.pointer(pointer.as_str()),
        other => other.to_string(),
    }
}

/// One side as read, not yet redacted.
struct Side<'a> {
    observation: &'a Observation,
    document: Option<Document>,
}

impl<'a> Side<'a> {
    fn read(observation: &'a Observation, rules: &Rules) -> Self {
        let document = match &observation.outcome {
            Ok(answer) => match &answer.body {
                Body::Whole(bytes) => Document::parse(bytes).ok(),
                Body::Truncated | Body::Encoded(_) => None,
            },
            Err(_) => None,
        };
        let document = document.map(|mut document| {
            rules.mark(&mut document);
            document
        });
        Self { observation, document }
    }

    /// What stands at a place, short and redacted.
    fn value(&self, redactor: &Redactor, at: &Location) -> Option<String> {
        let answer = self.observation.outcome.as_ref().ok()?;
        match at {
            Location::Status => Some(answer.status.as_u16().to_string()),
            Location::Header(name) if name == "content-type" => {
                comparable_header(&answer.headers, name).map(|value| media_type(redactor, &value))
            }
            Location::Header(name) => {
                comparable_header(&answer.headers, name).map(|value| redactor.string(&value))
            }
            Location::Body(pointer) => match (&self.document, &answer.body) {
                (Some(document), _) => {
                    let (node, clear) = document.clear_at(pointer.as_str())?;
                    Some(match &node.json {
                        Json::Array(items) => format!("[… {} elements]", items.len()),
                        Json::Object(members) => format!("{{… {} members}}", members.len()),
                        _ => plain(&redactor.leaf(pointer.as_str(), node, clear)),
                    })
                }
                (None, Body::Whole(bytes)) if !bytes.is_empty() => Some(redactor.bytes(bytes)),
                _ => None,
            },
        }
    }

    fn redacted(&self, redactor: &Redactor) -> SampleSide {
        let status = self.observation.outcome.as_ref().ok().map(|answer| answer.status.as_u16());
        let (body, no_body) = match &self.document {
            Some(document) => {
                let body = redactor.document(document);
                let bytes = canonical_pretty(&body).len();
                if bytes <= MAX_BODY_BYTES {
                    (Some(body), None)
                } else {
                    (None, Some(format!("too long to keep ({bytes} bytes, redacted)")))
                }
            }
            None => (None, Some(self.why_no_body(redactor))),
        };
        SampleSide { status, body, no_body }
    }

    fn why_no_body(&self, redactor: &Redactor) -> String {
        match &self.observation.outcome {
            Ok(answer) => match &answer.body {
                Body::Truncated => "longer than the bound".to_owned(),
                Body::Encoded(coding) if CODINGS.contains(&coding.as_str()) => {
                    format!("in content coding {coding}")
                }
                Body::Encoded(coding) => format!("in content coding {}", redactor.string(coding)),
                Body::Whole(bytes) if bytes.is_empty() => "empty".to_owned(),
                Body::Whole(bytes) => redactor.bytes(bytes),
            },
            // The failure's own text may name hosts or carry what a server said: its class is enough.
            Err(Failure::Unreachable(_) | Failure::NotReached(_)) => {
                "no answer: unreachable".to_owned()
            }
            Err(Failure::Timeout(_)) => "no answer: timeout".to_owned(),
            Err(Failure::Shed) => "not asked: too much work in flight".to_owned(),
            Err(Failure::Unavailable(_)) => "no answer: unavailable".to_owned(),
        }
    }
}

/// Content codings that may be named: the registered ones that servers use.
const CODINGS: [&str; 5] = ["br", "compress", "deflate", "gzip", "zstd"];

/// Parameters of a media type that may be named.
const CHARSETS: [&str; 3] = ["charset=utf-8", "charset=iso-8859-1", "charset=us-ascii"];

/// A media type without what its parameters say, but a usual charset.
fn media_type(redactor: &Redactor, value: &str) -> String {
    let parameter = |parameter: &str| {
        let named = CHARSETS.contains(&parameter);
        if named { parameter.to_owned() } else { redactor.string(parameter) }
    };
    let mut parts = value.split("; ");
    let essence = parts.next().unwrap_or_default().to_owned();
    std::iter::once(essence).chain(parts.map(parameter)).collect::<Vec<_>>().join("; ")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::compare::{RuleSettings, compare};
    use crate::migration::{Answer, Origin};

    fn observation(origin: Origin, status: u16, body: &str) -> Observation {
        let body = Body::Whole(body.to_owned().into());
        let status = StatusCode::from_u16(status).unwrap();
        Observation {
            origin,
            outcome: Ok(Answer { status, headers: HeaderMap::new(), body }),
            latency: Duration::from_millis(1),
        }
    }

    fn sampled(legacy: &str, sync: &str, clear: &[&str]) -> Sample {
        let clear = clear.iter().map(|path| (*path).to_owned()).collect();
        let rules = Rules::compile(&RuleSettings { clear, ..RuleSettings::default() }).unwrap();
        let (legacy, sync) =
            (observation(Origin::Legacy, 200, legacy), observation(Origin::Sync, 200, sync));
        let comparison = compare(&legacy, &sync, &rules);
        Sample::of(&Redactor::new(&[1; 32]), &rules, &legacy, &sync, &comparison)
    }

    #[test]
    fn a_sample_shows_the_difference_and_no_value() {
        let sample = sampled(
            r#"{"data":[{"id":7,"name":"Ada","role":"admin"}]}"#,
            r#"{"data":[{"id":7,"name":"Bob","role":"member"}]}"#,
            &["$.data[*].role"],
        );
        let text = serde_json::to_string(&sample).unwrap();
        assert!(!text.contains("Ada") && !text.contains("Bob"), "{text}");
        assert!(sample.diff.contains("-      \"role\": \"admin\"\n"), "{}", sample.diff);
        assert!(sample.diff.contains("+      \"role\": \"member\"\n"));
        let name = &sample.differences[0];
        assert_eq!(name.at, "/data/0/name");
        assert!(name.legacy.as_ref().unwrap().starts_with("<string len=3 h="));
        assert_ne!(name.legacy, name.sync);
        assert_eq!(sample.differences[1].legacy.as_deref(), Some("admin"));
    }

    #[test]
    fn secrets_are_dropped_in_differences_too() {
        let sample = sampled(r#"{"apiToken":"abc"}"#, r#"{"apiToken":"abd"}"#, &["$"]);
        assert_eq!(sample.differences[0].legacy.as_deref(), Some("<dropped>"));
    }

    #[test]
    fn headers_show_no_value_that_anybody_may_have_made() {
        let redactor = Redactor::new(&[1; 32]);
        let shown = media_type(&redactor, "text/plain; charset=utf-8; profile=Ada");
        assert!(shown.starts_with("text/plain; charset=utf-8; <string len=11 h="), "{shown}");
        let mut legacy = observation(Origin::Legacy, 200, "1");
        for (coding, named) in [("gzip", true), ("Ada", false)] {
            if let Ok(answer) = &mut legacy.outcome {
                answer.body = Body::Encoded(coding.to_owned());
            }
            let side = Side { observation: &legacy, document: None };
            let why = side.redacted(&redactor).no_body.unwrap();
            assert_eq!(why.contains(coding), named, "{why}");
        }
    }

    #[test]
    fn long_bodies_are_left_out_and_said_to_be() {
        let rows =
            |n: u64| serde_json::json!((0..2_000).map(|i| i * n).collect::<Vec<_>>()).to_string();
        let sample = sampled(&rows(1), &rows(2), &[]);
        assert!(sample.legacy.body.is_none());
        assert!(sample.legacy.no_body.unwrap().starts_with("too long"));
        assert_eq!(sample.differences.len(), 20);
        assert_eq!(sample.more, 1_999 - 20);
        assert!(sample.diff.len() < MAX_DIFF_BYTES + 100);
    }
}

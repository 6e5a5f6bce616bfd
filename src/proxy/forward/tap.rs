//! Copies of what passes through, for whoever compares or mirrors it afterwards.
//!
//! A copy never delays the exchange and never holds more than its bound: past it the copy is
//! dropped while the body goes on.

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body::Frame;
use tokio::time::Instant;

use crate::migration::{Answer, Body, Failure, Observation, Origin};

/// What is to be copied, and who gets it.
///
/// The sink is called exactly once for each tap handed to the forwarder, on the task that serves
/// the exchange: it must only hand the copy on.
pub struct Tap {
    /// Bytes of the request's body kept at most; 0 keeps none of a body that has any.
    pub request_limit: usize,
    /// Bytes of the response's body kept at most, before and after decoding.
    pub response_limit: usize,
    /// Gets the copy when the exchange is over, however it ended.
    pub sink: Box<dyn FnOnce(Tapped) + Send>,
}

/// One exchange with the upstream, as it passed through.
#[derive(Debug)]
pub struct Tapped {
    /// The request's body as the client sent it.
    pub request: Copied,
    /// Status and headers of the response, if they came.
    pub head: Option<TappedHead>,
    /// The response's body, as far as the end says.
    pub response: Copied,
    /// How it ended.
    pub end: End,
    /// From asking the upstream until the end.
    pub latency: Duration,
}

/// The head of a response.
#[derive(Debug)]
pub struct TappedHead {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, without those that concern one connection only.
    pub headers: HeaderMap,
    /// From asking the upstream until the headers came.
    pub latency: Duration,
}

/// How an exchange ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The response came whole and was handed to the client's connection.
    Complete,
    /// The client went away first. What the upstream did is unknown where no head came.
    CallerLeft,
    /// The upstream failed, before the head or in the middle of the body.
    Failed(Failure),
    /// No connection to the upstream stood: it has not seen the request.
    NotReached(Failure),
    /// The request was refused before the upstream was asked.
    Refused,
    /// The connection now speaks another protocol.
    Upgraded,
}

/// A copied body, still in its content coding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    bytes: Option<Bytes>,
    coding: Option<String>,
    limit: usize,
}

impl Copied {
    /// The body, decoded from gzip where it was coded so; other codings are named, not decoded.
    /// [`Body::Truncated`] if it did not come whole, or was longer than the bound, coded or decoded.
    ///
    /// Decoding takes processor time by the length of the body: not for the task of an exchange.
    #[must_use]
    pub fn decode(&self) -> Body {
        let Some(bytes) = &self.bytes else { return Body::Truncated };
        match self.coding.as_deref() {
            None => Body::Whole(bytes.clone()),
            Some("gzip" | "x-gzip") => gunzip(bytes, self.limit),
            Some(other) => Body::Encoded(other.to_owned()),
        }
    }
}

/// At most one byte over the limit is ever decoded: a bomb stays small.
fn gunzip(bytes: &[u8], limit: usize) -> Body {
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut decoded = Vec::new();
    match flate2::read::MultiGzDecoder::new(bytes).take(bound).read_to_end(&mut decoded) {
        Ok(length) if length <= limit => Body::Whole(decoded.into()),
        Ok(_) => Body::Truncated,
        // It says gzip and is none: no one can read it.
        Err(_) => Body::Encoded("gzip".to_owned()),
    }
}

impl Tapped {
    /// What would have passed through for a request with this body and outcome, in a test without a proxy.
    #[cfg(test)]
    pub(crate) fn of(request: Bytes, outcome: &Result<Answer, Failure>) -> Self {
        let copied = |bytes: Option<Bytes>| Copied { bytes, coding: None, limit: usize::MAX };
        let (head, response, end) = match outcome {
            Ok(Answer { status, headers, body }) => {
                let latency = Duration::ZERO;
                let head = TappedHead { status: *status, headers: headers.clone(), latency };
                let body = match body {
                    Body::Whole(bytes) => Some(bytes.clone()),
                    _ => None,
                };
                (Some(head), body, End::Complete)
            }
            Err(failure) if !failure.may_be_done() => {
                (None, None, End::NotReached(failure.clone()))
            }
            Err(failure) => (None, None, End::Failed(failure.clone())),
        };
        let (request, response) = (copied(Some(request)), copied(response));
        Self { request, head, response, end, latency: Duration::ZERO }
    }

    /// What legacy did, where the exchange tells it: the whole answer or the failure. `None` when
    /// the client left or the request never reached legacy: that says nothing about legacy.
    ///
    /// Decodes, see [`Copied::decode`].
    #[must_use]
    pub fn observation(&self) -> Option<Observation> {
        let outcome = match (&self.end, &self.head) {
            (End::Complete, Some(head)) => Ok(Answer {
                status: head.status,
                headers: head.headers.clone(),
                body: self.response.decode(),
            }),
            (End::Failed(failure) | End::NotReached(failure), _) => Err(failure.clone()),
            _ => return None,
        };
        Some(Observation { origin: Origin::Legacy, outcome, latency: self.latency })
    }
}

/// A copy that grows while its body passes.
///
/// It owns its bytes: a shared slice, however small, would keep a whole read buffer alive.
#[derive(Debug)]
struct Copy {
    limit: usize,
    /// `None` once the bound was passed.
    kept: Option<Vec<u8>>,
    whole: bool,
}

impl Copy {
    const fn new(limit: usize) -> Self {
        Self { limit, kept: Some(Vec::new()), whole: false }
    }

    fn frame(&mut self, frame: &Frame<Bytes>) {
        let (Some(data), Some(kept)) = (frame.data_ref(), &mut self.kept) else { return };
        if kept.len() + data.len() <= self.limit {
            kept.extend_from_slice(data);
        } else {
            self.kept = None;
        }
    }

    fn take(&mut self, coding: Option<String>) -> Copied {
        let bytes = self.kept.take().filter(|_| self.whole).map(Bytes::from);
        Copied { bytes, coding, limit: self.limit }
    }
}

/// The request's copy, shared by the body that fills it and the watch that hands it over: a
/// response may end before its request does.
#[derive(Debug, Clone)]
pub(super) struct Copying(Arc<Mutex<Copy>>);

impl Copying {
    pub(super) fn frame(&self, frame: &Frame<Bytes>) {
        self.lock().frame(frame);
    }

    pub(super) fn whole(&self) {
        self.lock().whole = true;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Copy> {
        // A copy has no state between two calls that a panic could leave half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches one exchange from its start to its end, and tells the tap's sink exactly once.
pub(super) struct Watch {
    start: Instant,
    request: Copying,
    request_coding: Option<String>,
    head: Option<TappedHead>,
    response: Copy,
    sink: Option<Box<dyn FnOnce(Tapped) + Send>>,
}

impl Watch {
    pub(super) fn new(tap: Tap, request: &HeaderMap, request_is_empty: bool) -> Self {
        let mut copy = Copy::new(tap.request_limit);
        copy.whole = request_is_empty;
        Self {
            start: Instant::now(),
            request: Copying(Arc::new(Mutex::new(copy))),
            request_coding: coding(request),
            head: None,
            response: Copy::new(tap.response_limit),
            sink: Some(tap.sink),
        }
    }

    /// The request's copy, for its body to fill.
    pub(super) fn request(&self) -> Copying {
        self.request.clone()
    }

    pub(super) fn head(&mut self, status: StatusCode, headers: &HeaderMap) {
        let latency = self.start.elapsed();
        // Who wants no body wants no headers.
        let headers = if self.response.limit > 0 { headers.clone() } else { HeaderMap::new() };
        self.head = Some(TappedHead { status, headers, latency });
    }

    pub(super) fn frame(&mut self, frame: &Frame<Bytes>) {
        self.response.frame(frame);
    }

    pub(super) fn complete(&mut self) {
        self.response.whole = true;
        self.end(End::Complete);
    }

    pub(super) fn broken(&mut self, error: &hyper::Error) {
        self.end(End::Failed(Failure::Unreachable(format!("the response broke off: {error}"))));
    }

    /// Tells the sink, unless it was told.
    pub(super) fn end(&mut self, end: End) {
        let Some(sink) = self.sink.take() else { return };
        let head = self.head.take();
        let response_coding = head.as_ref().and_then(|head| coding(&head.headers));
        let request = self.request.lock().take(self.request_coding.take());
        let response = self.response.take(response_coding);
        let tapped = Tapped { request, head, response, end, latency: self.start.elapsed() };
        sink(tapped);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end(End::CallerLeft);
    }
}

/// The content coding, lower case; `None` for a body that is not coded.
fn coding(headers: &HeaderMap) -> Option<String> {
    let codings: Vec<String> = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|coding| String::from_utf8_lossy(coding.trim_ascii()).to_ascii_lowercase())
        .filter(|coding| !coding.is_empty() && coding != "identity")
        .collect();
    (!codings.is_empty()).then(|| codings.join(", "))
}

//! What one side did with one read: its answer or its failure, and how long it took.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::Origin;

/// What one origin did with an operation.
#[derive(Debug, Clone)]
pub struct Observation {
    /// Who was asked.
    pub origin: Origin,
    /// What came back.
    pub outcome: Result<Answer, Failure>,
    /// From asking until the answer was whole.
    pub latency: Duration,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Response headers.
    pub headers: HeaderMap,
    /// The body, as far as it was kept.
    pub body: Body,
}

/// A kept body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// All of it, decoded from its content coding.
    Whole(Bytes),
    /// It was longer than the bound; what was kept is useless for a comparison and was dropped.
    Truncated,
    /// It came in a content coding that is not decoded here.
    Encoded(String),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Not reachable, or the connection broke.
    #[error("could not be reached: {0}")]
    Unreachable(String),
    /// No connection stood: whoever was to be asked has seen nothing of it.
    #[error("could not be reached, and was not asked: {0}")]
    NotReached(String),
    /// No answer within the deadline.
    #[error("gave no answer within {0:?}")]
    Timeout(Duration),
    /// The bound on concurrent work was reached, nothing was asked.
    #[error("was not asked: too much work in flight")]
    Shed,
    /// The store cannot answer this yet or at all.
    #[error("cannot answer: {0}")]
    Unavailable(String),
}

impl Failure {
    /// Whether the request may have been seen, and done, all the same.
    #[must_use]
    pub const fn may_be_done(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Timeout(_) => true,
            Self::NotReached(_) | Self::Shed | Self::Unavailable(_) => false,
        }
    }
}

//! Why a request got no answer from the upstream, and what its client is told.

use std::error::Error;
use std::io;
use std::time::Duration;

use axum::response::IntoResponse;
use http::{HeaderValue, StatusCode, header};

use super::headers::BadResponse;
use super::{End, Upstream};
use crate::migration::Failure;
use crate::proxy::problem::Problem;

/// Why the upstream gave no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// No connection.
    Unreachable(String),
    /// No connection, or no headers, in time.
    Timeout(Duration),
    /// The connection closed before the response's headers were whole, or they were no HTTP.
    Broken(String),
    /// The response cannot be passed on.
    Invalid(BadResponse),
    /// The client stopped sending its own request.
    ClientAborted,
}

impl NoAnswer {
    /// Reads a client error. `connect_timeout` is what was allowed for connecting.
    pub(super) fn read(
        error: &hyper_util::client::legacy::Error,
        connect_timeout: Duration,
    ) -> Self {
        if error.is_connect() {
            let timed_out = causes(error)
                .filter_map(|cause| cause.downcast_ref::<io::Error>())
                .any(|cause| cause.kind() == io::ErrorKind::TimedOut);
            return if timed_out {
                Self::Timeout(connect_timeout)
            } else {
                Self::Unreachable(innermost(error))
            };
        }
        let by_client = causes(error)
            .filter_map(|cause| cause.downcast_ref::<hyper::Error>())
            .any(hyper::Error::is_user);
        if by_client { Self::ClientAborted } else { Self::Broken(innermost(error)) }
    }

    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "upstream-unreachable",
            Self::Timeout(_) => "upstream-timeout",
            Self::Broken(_) => "upstream-broken",
            Self::Invalid(_) => "upstream-invalid",
            Self::ClientAborted => "client-aborted",
        }
    }

    /// How the exchange ended by it.
    pub(super) fn end(&self) -> End {
        match (self, self.failure()) {
            (Self::Unreachable(_), Some(failure)) => End::NotReached(failure),
            (_, Some(failure)) => End::Failed(failure),
            (_, None) => End::CallerLeft,
        }
    }

    /// What it says about legacy; `None` if it says nothing.
    fn failure(&self) -> Option<Failure> {
        match self {
            Self::Unreachable(cause) | Self::Broken(cause) => {
                Some(Failure::Unreachable(cause.clone()))
            }
            Self::Timeout(limit) => Some(Failure::Timeout(*limit)),
            Self::Invalid(BadResponse(reason)) => Some(Failure::Unavailable((*reason).to_owned())),
            Self::ClientAborted => None,
        }
    }

    pub(super) fn respond(&self, upstream: &Upstream) -> axum::response::Response {
        self.problem(upstream).into_response()
    }

    fn problem(&self, upstream: &Upstream) -> Problem {
        let (bad, late) = (StatusCode::BAD_GATEWAY, StatusCode::GATEWAY_TIMEOUT);
        match self {
            Self::Unreachable(cause) => Problem::new(bad, self.kind(), "The API cannot be reached")
                .detail(format!("No connection to {upstream}: {cause}."))
                .remedy("Start the API, or correct `[legacy] url`. The request was not delivered."),
            Self::Timeout(limit) => Problem::new(late, self.kind(), "The API did not answer in time")
                .detail(format!("{upstream} gave no response within {limit:?}."))
                .remedy("Look at the API's load, or allow more time. The request may have been carried out."),
            Self::Broken(cause) => Problem::new(bad, self.kind(), "The API broke off")
                .detail(format!("{upstream} closed the connection or sent no HTTP: {cause}."))
                .remedy("Look at the API's log. The request may have been carried out."),
            Self::Invalid(BadResponse(reason)) => {
                Problem::new(bad, self.kind(), "The API's response cannot be passed on")
                    .detail(format!("The response of {upstream} was dropped: {reason}."))
                    .remedy("Let the API frame its responses as RFC 9112 §6 says.")
            }
            Self::ClientAborted => Refusal::Incomplete.problem(),
        }
    }
}

/// Why a request was not forwarded at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The method CONNECT.
    Connect,
    /// A transfer coding besides `chunked`.
    TransferCoding,
    /// No host, or several.
    Host,
    /// The target is too long together with the upstream's path.
    Target,
    /// As many tunnels are open as may be.
    Tunnels,
    /// The body ended before its end.
    Incomplete,
}

impl Refusal {
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::Connect => "connect-refused",
            Self::TransferCoding => "transfer-coding-unknown",
            Self::Host => "host-invalid",
            Self::Target => "target-too-long",
            Self::Tunnels => "tunnels-exhausted",
            Self::Incomplete => "client-aborted",
        }
    }

    pub(super) fn respond(self) -> axum::response::Response {
        self.problem().into_response()
    }

    fn problem(self) -> Problem {
        let problem = |status, title| Problem::new(status, self.kind(), title);
        match self {
            Self::Connect => problem(StatusCode::NOT_IMPLEMENTED, "CONNECT is not offered")
                .remedy("Address the API directly: this is no forward proxy."),
            Self::TransferCoding => problem(StatusCode::NOT_IMPLEMENTED, "Unknown transfer coding")
                .remedy(
                    "Send the body with `Transfer-Encoding: chunked` alone, or with its length.",
                ),
            Self::Host => problem(StatusCode::BAD_REQUEST, "The request must name one host")
                .remedy("Send exactly one Host header."),
            Self::Target => problem(StatusCode::URI_TOO_LONG, "The request's target is too long")
                .remedy("Shorten the path or the query."),
            Self::Tunnels => problem(StatusCode::SERVICE_UNAVAILABLE, "Too many open tunnels")
                .remedy("Try again later, or allow more tunnels."),
            Self::Incomplete => problem(StatusCode::BAD_REQUEST, "The request broke off")
                .remedy("Send the request again, whole."),
        }
        // What follows such a request on its connection cannot be trusted to be a request.
        .header(header::CONNECTION, HeaderValue::from_static("close"))
    }
}

/// Whether a connection was closed without a byte of an answer.
pub(super) fn closed_unanswered(error: &hyper_util::client::legacy::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    causes(error).any(|cause| {
        cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message)
            || cause.downcast_ref::<io::Error>().is_some_and(|cause| {
                matches!(cause.kind(), BrokenPipe | ConnectionAborted | ConnectionReset)
            })
    })
}

fn causes(
    error: &hyper_util::client::legacy::Error,
) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause| (*cause).source())
}

/// The cause that says most: the last of the chain.
fn innermost(error: &hyper_util::client::legacy::Error) -> String {
    causes(error).last().map_or_else(|| error.to_string(), ToString::to_string)
}

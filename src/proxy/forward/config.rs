//! Where requests are forwarded to, and within which limits.

use std::fmt;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};

use crate::clock::SharedEntropy;
use crate::proxy::server::MAX_HEADERS;

/// The server that requests are forwarded to: scheme, authority, and a path put before every
/// request's own.
///
/// It holds no credentials and no query, so it can be shown anywhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Upstream {
    scheme: Scheme,
    authority: Authority,
    base: String,
}

impl Upstream {
    /// Reads an `http://` or `https://` URL.
    ///
    /// # Errors
    /// [`ForwardError::Upstream`] if it is no such URL, or carries credentials, a query or a fragment.
    pub fn parse(url: &str) -> Result<Self, ForwardError> {
        let refuse = |reason| ForwardError::Upstream { reason };
        if url.contains('#') {
            return Err(refuse("it has a fragment"));
        }
        let parts = url.parse::<Uri>().map_err(|_| refuse("it is no URL"))?.into_parts();
        let scheme = parts.scheme.ok_or_else(|| refuse("it has no scheme"))?;
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(refuse("its scheme is neither http nor https"));
        }
        let authority = parts.authority.ok_or_else(|| refuse("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("it carries credentials"));
        }
        let path = parts.path_and_query.unwrap_or(PathAndQuery::from_static("/"));
        if path.query().is_some() {
            return Err(refuse("it has a query"));
        }
        Ok(Self { scheme, authority, base: path.path().trim_end_matches('/').to_owned() })
    }

    /// The authority, as a `Host` header names it.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// The URI of a request to this upstream. Without a base path, the request's path and query
    /// keep every byte that they came with.
    ///
    /// # Errors
    /// [`http::Error`] if base path and path together are longer than a URI may be (65,534 bytes).
    pub(super) fn uri(&self, target: Option<PathAndQuery>) -> Result<Uri, http::Error> {
        let target = target.unwrap_or(PathAndQuery::from_static("/"));
        let target = if self.base.is_empty() || target.as_str() == "*" {
            target
        } else {
            PathAndQuery::try_from(format!("{}{target}", self.base))?
        };
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(target);
        Ok(Uri::from_parts(parts)?)
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upstream({self}{})", self.base)
    }
}

/// Which `Host` the upstream sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostPolicy {
    /// The one that the client sent: cookies, redirects and links that the app builds stay right.
    #[default]
    Client,
    /// The upstream's own, for hosts that choose a site by it.
    Upstream,
}

/// What becomes of `Forwarded`, `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardedPolicy {
    /// The client is added to `Forwarded` and `X-Forwarded-For`; protocol and host are set where
    /// nobody set them before. For a proxy behind another one, and no worse than direct access.
    #[default]
    Append,
    /// What came in is dropped first: for a proxy that clients reach directly and whose upstream
    /// believes these headers.
    Replace,
    /// Left as they came.
    Keep,
}

/// The protocol that clients speak to whatever stands outermost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientScheme {
    /// Plain HTTP.
    #[default]
    Http,
    /// TLS, ended before crossfade.
    Https,
}

impl ClientScheme {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// What happens to a request that carries no valid `traceparent` (W3C Trace Context).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TracePolicy {
    /// It goes on without one.
    Pass,
    /// It gets one. `sampled` says what it tells samplers that follow their parent: with `false`
    /// they record nothing, with `true` everything that reaches them.
    Create {
        /// The `sampled` flag of a created context.
        sampled: bool,
    },
}

/// Settings of a [`Forwarder`](super::Forwarder).
#[derive(Debug, Clone)]
pub struct ForwardConfig {
    /// Where requests go.
    pub upstream: Upstream,
    /// Until a TCP connection stands. Past it the request is answered 504.
    pub connect_timeout: Duration,
    /// How long the upstream may be silent before its response's headers came, counted from the
    /// moment that the last byte of the request that was there was handed over; time spent waiting
    /// for the client's upload does not count. Past it the request is answered 504.
    pub response_timeout: Duration,
    /// How long a request with `Expect: 100-continue` waits for the upstream's word before its body
    /// is asked for anyway (RFC 9110 §10.1.1 lets no one wait for ever).
    pub continue_timeout: Duration,
    /// How long an idle connection is kept. Shorter than the upstream's own limit, or requests meet
    /// connections that are being closed; Node closes after 5 s.
    pub idle_timeout: Duration,
    /// Idle connections kept at most; more are closed when their request is done.
    pub max_idle_connections: usize,
    /// Response headers accepted at most; a response with more is answered 502.
    pub max_response_headers: usize,
    /// Tunnels (upgraded connections) open at most; past it a request to upgrade is answered 503.
    pub max_tunnels: usize,
    /// Which `Host` the upstream sees.
    pub host: HostPolicy,
    /// What it is told about the client.
    pub forwarded: ForwardedPolicy,
    /// The protocol named in `Forwarded` and `X-Forwarded-Proto` where nobody named one before.
    pub client_scheme: ClientScheme,
    /// The name under which crossfade adds itself to `Via`, in requests and responses. `None` adds nothing: common
    /// servers stop compressing for requests that carry `Via`, and then the legacy path gets worse.
    pub via: Option<HeaderValue>,
    /// What happens to a request that carries no trace context.
    pub trace: TracePolicy,
    /// Whether the upstream is a crossfade, too: it sees to a request's `Crossfade-*` itself.
    pub towards_crossfade: bool,
    /// Where trace ids come from.
    pub entropy: SharedEntropy,
}

impl ForwardConfig {
    /// The defaults: 5 s to connect, 60 s to answer, 1 s to agree to a body, idle connections kept
    /// 4 s and 256 at most, 256 response headers, 16,384 tunnels, the client's `Host`, client
    /// appended to `Forwarded`, no `Via`, a sampled trace context where there is none: without a
    /// context, the usual samplers record, and with an unsampled one they would stop.
    #[must_use]
    pub fn new(upstream: Upstream, entropy: SharedEntropy) -> Self {
        Self {
            upstream,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(60),
            continue_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(4),
            max_idle_connections: 256,
            max_response_headers: MAX_HEADERS,
            max_tunnels: 16_384,
            host: HostPolicy::default(),
            forwarded: ForwardedPolicy::default(),
            client_scheme: ClientScheme::default(),
            via: None,
            trace: TracePolicy::Create { sampled: true },
            towards_crossfade: false,
            entropy,
        }
    }
}

/// Why a forwarder could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The upstream's URL cannot be used. It is not repeated here: it may hold credentials.
    #[error(
        "the upstream's URL cannot be used: {reason}; write http://host:port or https://host, with a path at most"
    )]
    Upstream {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// TLS could not be set up.
    #[error("TLS towards the upstream could not be set up: {0}")]
    Tls(#[from] rustls::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(upstream: &str, target: &str) -> String {
        let target = PathAndQuery::try_from(target).unwrap();
        Upstream::parse(upstream).unwrap().uri(Some(target)).unwrap().to_string()
    }

    #[test]
    fn path_and_query_keep_their_bytes() {
        let odd = "/a//b/../c%2f?x=%zz&y=|";
        assert_eq!(sent("http://h:1", odd), format!("http://h:1{odd}"));
        assert_eq!(sent("http://h:1/", odd), format!("http://h:1{odd}"));
        assert_eq!(sent("https://h/base/", odd), format!("https://h/base{odd}"));
        assert_eq!(sent("http://h/base", "/"), "http://h/base/");
    }

    #[test]
    fn an_upstream_has_no_secrets() {
        for bad in [
            "",
            "/x",
            "h:80",
            "ftp://h",
            "ws://h",
            "http://u:p@h/",
            "http://u@h/",
            "http://h/?key=1",
            "http://h/#f",
            "http://",
        ] {
            let refused = Upstream::parse(bad);
            assert!(refused.is_err(), "{bad}");
            assert!(!refused.unwrap_err().to_string().contains("u:p"));
        }
    }
}

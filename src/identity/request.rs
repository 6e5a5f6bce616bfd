//! Where a request carries its token: session tokens on HTTP, sync tokens on WebSocket upgrades.

use std::fmt;

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL};

/// The subprotocol that a client with a sync token offers, and that the server selects.
pub(super) const SUBPROTOCOL: &str = "crossfade";
/// TinyBase's subprotocol: several stores on one socket.
pub const MULTIPLEXED: &str = "tinybase";
/// What stands before the token in the subprotocol that carries it.
const TOKEN_PREFIX: &str = "crossfade.token.";

/// The session token of a request: `Authorization: Bearer`, else the cookie `__session`.
///
/// As Clerk's backend: an `Authorization` value without a scheme is taken as the token itself, and
/// one with another scheme is passed over.
#[must_use]
pub fn session_token(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
    bearer.or_else(|| {
        headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(name, value)| *name == "__session" && !value.is_empty())
            .map(|(_, value)| value)
    })
}

fn bearer(value: &str) -> Option<&str> {
    let value = value.trim();
    let token = match value.split_once(' ') {
        None if value.eq_ignore_ascii_case("bearer") => return None,
        None => value,
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        Some(_) => return None,
    };
    (!token.is_empty()).then_some(token)
}

/// What a WebSocket upgrade offers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SyncOffer<'a> {
    /// The sync token, unverified.
    pub token: Option<&'a str>,
    /// The subprotocol to confirm: [`MULTIPLEXED`] if the client offers it, else `crossfade` if it offers that. Never the
    /// one with the token. Who offers TinyBase's own can multiplex, and would fall back on it only unwillingly.
    pub select: Option<&'static str>,
}

impl fmt::Debug for SyncOffer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncOffer")
            .field("token", &self.token.map(|_| "***"))
            .field("select", &self.select)
            .finish()
    }
}

/// Subprotocols that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubprotocolError {
    /// More than one token.
    #[error("the upgrade offers more than one `crossfade.token.` subprotocol: offer one")]
    TwoTokens,
    /// The token is empty.
    #[error("the upgrade offers `crossfade.token.` without a token: append the sync token")]
    NoToken,
    /// The header is not ASCII.
    #[error("the header Sec-WebSocket-Protocol is not ASCII")]
    NotAscii,
}

/// Reads `Sec-WebSocket-Protocol: crossfade, crossfade.token.<jwt>, tinybase`.
///
/// # Errors
/// [`SubprotocolError`] if the offer is ambiguous.
pub fn sync_token_from_subprotocols(
    headers: &HeaderMap,
) -> Result<SyncOffer<'_>, SubprotocolError> {
    let mut offer = SyncOffer { token: None, select: None };
    for line in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        let line = line.to_str().map_err(|_| SubprotocolError::NotAscii)?;
        for word in line.split(',').map(str::trim) {
            if word == MULTIPLEXED {
                offer.select = Some(MULTIPLEXED);
            } else if word == SUBPROTOCOL {
                offer.select = offer.select.or(Some(SUBPROTOCOL));
            } else if let Some(token) = word.strip_prefix(TOKEN_PREFIX) {
                if token.is_empty() {
                    return Err(SubprotocolError::NoToken);
                }
                if offer.token.replace(token).is_some() {
                    return Err(SubprotocolError::TwoTokens);
                }
            }
        }
    }
    Ok(offer)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    type Lines<'a> = &'a [(HeaderName, &'static str)];

    fn headers(lines: Lines<'_>) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_session_token_is_found_where_clerk_finds_it() {
        let table: [(Lines<'_>, Option<&str>); 12] = [
            (&[(AUTHORIZATION, "Bearer a.b.c")], Some("a.b.c")),
            (&[(AUTHORIZATION, "bearer a.b.c")], Some("a.b.c")),
            (&[(AUTHORIZATION, "a.b.c")], Some("a.b.c")),
            (&[(AUTHORIZATION, "Basic dTpw")], None),
            (&[(AUTHORIZATION, "Bearer ")], None),
            (&[(COOKIE, "x=1; __session=t; y=2")], Some("t")),
            (&[(COOKIE, "x=1"), (COOKIE, "__session=t")], Some("t")),
            (&[(COOKIE, "__sessions=t; my__session=u")], None),
            (&[(COOKIE, "__session=")], None),
            (&[(AUTHORIZATION, "Bearer h"), (COOKIE, "__session=c")], Some("h")),
            (&[(AUTHORIZATION, "Basic dTpw"), (COOKIE, "__session=c")], Some("c")),
            (&[], None),
        ];
        for (lines, token) in table {
            assert_eq!(session_token(&headers(lines)), token, "{lines:?}");
        }
    }

    #[test]
    fn an_offer_gives_its_token_and_never_selects_it() {
        let table: [(Lines<'_>, _); 8] = [
            (
                &[(SEC_WEBSOCKET_PROTOCOL, "crossfade, crossfade.token.a.b-_.c, tinybase")],
                Ok((Some("a.b-_.c"), Some("tinybase"))),
            ),
            (
                &[
                    (SEC_WEBSOCKET_PROTOCOL, "crossfade.token.t"),
                    (SEC_WEBSOCKET_PROTOCOL, "tinybase,crossfade"),
                ],
                Ok((Some("t"), Some("tinybase"))),
            ),
            (
                &[(SEC_WEBSOCKET_PROTOCOL, "crossfade.token.t, crossfade")],
                Ok((Some("t"), Some("crossfade"))),
            ),
            (&[(SEC_WEBSOCKET_PROTOCOL, "crossfade.token.t")], Ok((Some("t"), None))),
            (&[(SEC_WEBSOCKET_PROTOCOL, "tinybase")], Ok((None, Some("tinybase")))),
            (&[], Ok((None, None))),
            (
                &[(SEC_WEBSOCKET_PROTOCOL, "crossfade.token.a, crossfade.token.b")],
                Err(SubprotocolError::TwoTokens),
            ),
            (&[(SEC_WEBSOCKET_PROTOCOL, "crossfade.token.")], Err(SubprotocolError::NoToken)),
        ];
        for (lines, expected) in table {
            let lines = headers(lines);
            let offer = sync_token_from_subprotocols(&lines);
            assert_eq!(offer.map(|offer| (offer.token, offer.select)), expected);
        }
    }

    #[test]
    fn an_offer_does_not_show_its_token() {
        let lines = headers(&[(SEC_WEBSOCKET_PROTOCOL, "crossfade.token.hunter2")]);
        let shown = format!("{:?}", sync_token_from_subprotocols(&lines));
        assert!(shown.contains("***") && !shown.contains("hunter2"));
    }
}

//! Which headers pass the proxy, and which it takes away or adds (RFC 9110 §7.6, RFC 9112 §6).

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, FORWARDED, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};

use super::{ForwardConfig, ForwardedPolicy};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Headers that concern one connection only (RFC 9110 §7.6.1, RFC 9113 §8.2.2).
const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HTTP2_SETTINGS,
];

/// Prefix of the headers that only crossfade itself may set on a request.
const OWN_PREFIX: &str = "crossfade-";

/// What the `Connection` family of a message asked for, read before it is taken away.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hop {
    /// The protocols to change to, where `Connection` lists `upgrade`. `h2c` is never among them:
    /// an upgrade to it would hide all further requests from the proxy.
    pub(super) upgrade: Option<HeaderValue>,
    /// Whether the sender takes trailers (`TE: trailers`).
    pub(super) trailers: bool,
    /// Whether the body has a transfer coding besides `chunked`, which nobody here decodes.
    pub(super) coded: bool,
    /// Whether there was a `Transfer-Encoding` at all.
    pub(super) framed: bool,
}

/// Takes away everything that concerns one connection only, including what `Connection` lists.
///
/// `Host`, `Content-Length` and `Trailer` stay even when they are listed: they concern the message,
/// and without them the next hop reads another message than this one.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) -> Hop {
    let mut hop = Hop {
        trailers: accepts_trailers(headers),
        framed: headers.contains_key(TRANSFER_ENCODING),
        ..Hop::default()
    };
    hop.coded = hop.framed
        && tokens(headers, &TRANSFER_ENCODING)
            .any(|coding| !coding.eq_ignore_ascii_case(b"chunked"));
    if headers.contains_key(CONNECTION) {
        // A connection option has no parameters: `upgrade;q=1` is none.
        if tokens(headers, &CONNECTION).any(|option| option.eq_ignore_ascii_case(b"upgrade")) {
            hop.upgrade = upgrade_without_h2c(headers);
        }
        let listed: Vec<HeaderName> = tokens(headers, &CONNECTION)
            .filter_map(|token| HeaderName::from_bytes(token).ok())
            .filter(|name| ![HOST, CONTENT_LENGTH, TRAILER].contains(name))
            .collect();
        for name in listed {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    hop
}

fn upgrade_without_h2c(headers: &HeaderMap) -> Option<HeaderValue> {
    let wanted: Vec<&[u8]> =
        tokens(headers, &UPGRADE).filter(|token| !token.eq_ignore_ascii_case(b"h2c")).collect();
    if wanted.is_empty() {
        return None;
    }
    HeaderValue::from_bytes(&wanted.join(&b", "[..])).ok()
}

/// The non-empty members of a comma-separated list header.
fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

/// Whether `TE` lists `trailers`, which may carry a weight (`trailers;q=0.5`).
fn accepts_trailers(headers: &HeaderMap) -> bool {
    tokens(headers, &TE).any(|token| {
        let word = token.split(|byte| *byte == b';').next().unwrap_or(token);
        word.trim_ascii().eq_ignore_ascii_case(b"trailers")
    })
}

/// What is wrong with a request's own account of its host.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadHost;

/// The host that the client asked for: from the request's target, else from its one `Host` header.
///
/// A target in absolute form, or HTTP/2's `:authority`, wins over `Host` (RFC 9112 §3.2.2,
/// RFC 9113 §8.3.1). `None` is possible with HTTP/1.0 alone.
pub(super) fn client_host(
    uri: &http::Uri,
    headers: &HeaderMap,
    version: Version,
) -> Result<Option<HeaderValue>, BadHost> {
    if let Some(authority) = uri.authority() {
        let text = authority.as_str();
        // Credentials in a target are none of the upstream's host.
        let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
        return HeaderValue::from_str(host).map(Some).map_err(|_| BadHost);
    }
    let mut values = headers.get_all(HOST).iter();
    match (values.next(), values.next()) {
        (Some(host), None) => Ok(Some(host.clone())),
        (None, _) if version == Version::HTTP_10 => Ok(None),
        _ => Err(BadHost),
    }
}

/// Makes a client's headers ready for the upstream, once [`strip_hop_by_hop`] has run.
pub(super) fn prepare_request(
    headers: &mut HeaderMap,
    hop: &Hop,
    host: Option<&HeaderValue>,
    peer: IpAddr,
    config: &ForwardConfig,
) {
    if !config.towards_crossfade {
        strip_own(headers);
    }
    join_cookies(headers);
    let towards = match (config.host, host) {
        (super::HostPolicy::Client, Some(host)) => Some(host.clone()),
        _ => HeaderValue::from_str(config.upstream.authority()).ok(),
    };
    if let Some(towards) = towards {
        headers.insert(HOST, towards);
    }
    if hop.trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.append(CONNECTION, HeaderValue::from_static("te"));
    }
    if let Some(protocols) = &hop.upgrade {
        headers.insert(UPGRADE, protocols.clone());
        headers.append(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    add_forwarded(headers, host, peer, config);
}

/// Nobody but crossfade may speak for crossfade.
fn strip_own(headers: &mut HeaderMap) {
    let own: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(OWN_PREFIX)).cloned().collect();
    for name in own {
        headers.remove(name);
    }
}

/// HTTP/2 clients split their cookies over several lines; HTTP/1.1 has one (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

fn add_forwarded(
    headers: &mut HeaderMap,
    host: Option<&HeaderValue>,
    peer: IpAddr,
    config: &ForwardConfig,
) {
    match config.forwarded {
        ForwardedPolicy::Keep => return,
        ForwardedPolicy::Append => {}
        ForwardedPolicy::Replace => {
            for name in [FORWARDED, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO] {
                headers.remove(name);
            }
        }
    }
    // A client that reached a dual-stack socket over IPv4 is known by its IPv4 address.
    let peer = peer.to_canonical();
    let scheme = config.client_scheme.as_str();
    let host_text = host.and_then(|host| host.to_str().ok()).filter(|host| is_quotable(host));
    let node = match peer {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("\"[{ip}]\""),
    };
    let element = match host_text {
        Some(host) => format!("for={node};host=\"{host}\";proto={scheme}"),
        None => format!("for={node};proto={scheme}"),
    };
    add_to_list(headers, FORWARDED, &element);
    add_to_list(headers, X_FORWARDED_FOR, &peer.to_string());
    if let Some(host) = host {
        headers.entry(X_FORWARDED_HOST).or_insert_with(|| host.clone());
    }
    headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static(scheme));
}

/// Whether a host can stand in a quoted string as it is (RFC 7239 §4).
fn is_quotable(host: &str) -> bool {
    host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}

/// Adds to a list header, on its one line: many readers look at the first line or the last alone.
pub(super) fn add_to_list(headers: &mut HeaderMap, name: HeaderName, element: &str) {
    if !headers.contains_key(&name) {
        if let Ok(value) = HeaderValue::from_bytes(element.as_bytes()) {
            headers.insert(name, value);
        }
        return;
    }
    let mut all: Vec<&[u8]> = headers.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
    all.push(element.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&all.join(&b", "[..])) {
        headers.insert(name, value);
    }
}

/// A response that cannot be passed on without changing its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadResponse(pub(super) &'static str);

/// Makes an upstream's headers ready for the client.
pub(super) fn prepare_response(
    status: StatusCode,
    headers: &mut HeaderMap,
) -> Result<Hop, BadResponse> {
    let upgrade = headers.get(UPGRADE).cloned();
    let hop = strip_hop_by_hop(headers);
    if hop.coded {
        return Err(BadResponse("it uses a transfer coding that was not asked for"));
    }
    if hop.framed {
        // Chunked wins, and a length beside it is a smuggler's tool (RFC 9112 §6.3).
        headers.remove(CONTENT_LENGTH);
    } else {
        one_content_length(headers);
    }
    // 426 names the protocols that it requires (RFC 9110 §15.5.22).
    if let (StatusCode::SWITCHING_PROTOCOLS | StatusCode::UPGRADE_REQUIRED, Some(protocols)) =
        (status, upgrade)
    {
        headers.insert(UPGRADE, protocols);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    Ok(hop)
}

/// Writes a length that was given several times, always the same, once (RFC 9112 §6.3).
fn one_content_length(headers: &mut HeaderMap) {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let listed = values.next().is_some_and(|value| value.as_bytes().contains(&b','));
    if !listed && values.next().is_none() {
        return;
    }
    let first = tokens(headers, &CONTENT_LENGTH).next().map(HeaderValue::from_bytes);
    if let Some(Ok(first)) = first {
        headers.insert(CONTENT_LENGTH, first);
    }
}

/// Adds crossfade to `Via` (RFC 9110 §7.6.3).
pub(super) fn add_via(headers: &mut HeaderMap, received: Version, name: &HeaderValue) {
    let version = match received {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    };
    if let Ok(name) = name.to_str() {
        add_to_list(headers, VIA, &format!("{version} {name}"));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header as a client may send it: few names, so that they meet.
    fn header() -> impl Strategy<Value = (HeaderName, HeaderValue)> {
        let names = "connection|te|upgrade|keep-alive|transfer-encoding|host|content-length|x-[ab]";
        let words =
            "[ ,]{0,2}((close|upgrade|te|trailers|h2c|chunked|x-a|host|;q=1|é)[ ,]{0,2}){0,3}";
        (names, words).prop_map(|(name, value)| {
            (name.parse().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        })
    }

    proptest! {
        #[test]
        fn stripping_leaves_nothing_of_the_connection(list in prop::collection::vec(header(), 0..12)) {
            let before: HeaderMap = list.into_iter().fold(HeaderMap::new(), |mut map, (name, value)| {
                map.append(name, value);
                map
            });
            let listed: Vec<String> = tokens(&before, &CONNECTION)
                .map(|token| String::from_utf8_lossy(token).to_ascii_lowercase())
                .collect();
            let mut after = before.clone();
            let hop = strip_hop_by_hop(&mut after);
            for name in before.keys() {
                let essential = [HOST, CONTENT_LENGTH].contains(name);
                let gone = HOP_BY_HOP.contains(name)
                    || !essential && listed.contains(&name.as_str().to_owned());
                let kept: Vec<_> = after.get_all(name).iter().collect();
                let had: Vec<_> = before.get_all(name).iter().collect();
                prop_assert_eq!(kept, if gone { Vec::new() } else { had }, "{}", name);
            }
            prop_assert_eq!(hop.upgrade.is_some(),
                listed.contains(&"upgrade".to_owned())
                    && tokens(&before, &UPGRADE).any(|token| token != b"h2c"));
            let again = strip_hop_by_hop(&mut after.clone());
            prop_assert_eq!(again, Hop::default(), "nothing is left to strip");
        }

        #[test]
        fn a_list_grows_by_one(before in prop::collection::vec("[ -~]{0,9}", 0..4), more in "[a-z]{1,9}") {
            let mut headers = HeaderMap::new();
            for value in &before {
                headers.append(VIA, HeaderValue::from_str(value).unwrap());
            }
            let count = tokens(&headers, &VIA).count();
            add_to_list(&mut headers, VIA, &more);
            prop_assert_eq!(tokens(&headers, &VIA).count(), count + 1);
            prop_assert_eq!(tokens(&headers, &VIA).last(), Some(more.as_bytes()));
            prop_assert_eq!(headers.get_all(VIA).iter().count(), 1);
        }
    }

    #[test]
    fn one_length_is_written_once() {
        for (values, kept) in [(&["5"][..], "5"), (&["5", "5"], "5"), (&["5, 5"], "5")] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_LENGTH, HeaderValue::from_static(value));
            }
            prepare_response(StatusCode::OK, &mut headers).unwrap();
            let all: Vec<_> = headers.get_all(CONTENT_LENGTH).iter().collect();
            assert_eq!(all, [kept], "{values:?}");
        }
        let mut both = HeaderMap::new();
        both.insert(CONTENT_LENGTH, HeaderValue::from_static("5"));
        both.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        prepare_response(StatusCode::OK, &mut both).unwrap();
        assert!(both.is_empty());
    }
}

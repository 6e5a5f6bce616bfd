//! W3C Trace Context: the `traceparent` that ties a request to the spans of everyone it passes.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::TracePolicy;
use crate::clock::Entropy;

/// `traceparent` (W3C Trace Context §3.2).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `tracestate` (W3C Trace Context §3.3).
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Passes a valid trace context on unchanged, and creates one where `policy` says so.
///
/// A `traceparent` that is invalid or there twice is dropped together with its `tracestate`, as
/// W3C Trace Context §4.3 says. Whoever calls this before forwarding can read the trace id from the
/// header; the forwarder then passes it on.
pub fn ensure(headers: &mut HeaderMap, policy: TracePolicy, entropy: &dyn Entropy) {
    let mut values = headers.get_all(&TRACEPARENT).iter();
    let sound = match (values.next(), values.next()) {
        (None, _) => None,
        (Some(only), None) => Some(is_valid(only.as_bytes())),
        (Some(_), Some(_)) => Some(false),
    };
    if sound == Some(true) {
        return;
    }
    let TracePolicy::Create { sampled } = policy else { return };
    headers.remove(&TRACESTATE);
    if let Ok(value) = HeaderValue::try_from(create(sampled, entropy)) {
        headers.insert(TRACEPARENT, value);
    }
}

/// A new trace context, version 00.
fn create(sampled: bool, entropy: &dyn Entropy) -> String {
    // All-zero ids are invalid (§3.2.2.3, §3.2.2.4). A trace id begins with 64 random bits that
    // are not all zero; drawing again cannot be needed twice in practice, but must end under a
    // source of randomness that only knows zeros: hence `max`.
    let high = entropy.next_u64().max(1);
    let low = entropy.next_u64();
    let parent = entropy.next_u64().max(1);
    format!("00-{high:016x}{low:016x}-{parent:016x}-{:02x}", u8::from(sampled))
}

fn is_valid(value: &[u8]) -> bool {
    let hex = |bytes: &[u8]| bytes.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let zero = |bytes: &[u8]| bytes.iter().all(|b| *b == b'0');
    let Some((known, rest)) = value.split_at_checked(55) else { return false };
    let (version, trace, parent, flags) =
        (&known[..2], &known[3..35], &known[36..52], &known[53..]);
    let length_fits =
        if version == b"00" { rest.is_empty() } else { matches!(rest, [] | [b'-', ..]) };
    length_fits
        && version != b"ff"
        && [2, 35, 52].iter().all(|at| known[*at] == b'-')
        && [version, trace, parent, flags].into_iter().all(hex)
        && !zero(trace)
        && !zero(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Zeros;
    impl Entropy for Zeros {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0);
        }
    }

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    fn after(values: &[&str], policy: TracePolicy) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, value.parse().unwrap());
        }
        headers.insert(TRACESTATE, "a=b".parse().unwrap());
        ensure(&mut headers, policy, &Zeros);
        let kept = headers.get(TRACESTATE).is_some();
        let parent = headers.get(TRACEPARENT)?.to_str().unwrap().to_owned();
        assert!(is_valid(parent.as_bytes()) || policy == TracePolicy::Pass);
        assert_eq!(kept, values == [parent.as_str()] || policy == TracePolicy::Pass);
        Some(parent)
    }

    #[test]
    fn a_valid_context_passes_and_an_invalid_one_is_replaced() {
        let create = TracePolicy::Create { sampled: true };
        let created = "00-00000000000000010000000000000000-0000000000000001-01";
        assert_eq!(after(&[GOOD], create).as_deref(), Some(GOOD));
        let future = format!("cc{}-what-comes", &GOOD[2..]);
        assert_eq!(after(&[&future], create), Some(future));
        let upper = GOOD.to_uppercase();
        let long = format!("{GOOD}-x");
        let forbidden = format!("ff{}", &GOOD[2..]);
        for bad in [&[][..], &["junk"], &[&upper], &[&long], &[&forbidden], &[GOOD, GOOD]] {
            assert_eq!(after(bad, create).as_deref(), Some(created), "{bad:?}");
        }
        assert_eq!(after(&[], TracePolicy::Pass), None);
        assert_eq!(after(&["junk"], TracePolicy::Pass).as_deref(), Some("junk"));
    }
}

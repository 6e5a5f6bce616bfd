//! The user by mere assertion: mode `insecure-dev`, on loopback addresses only.

use http::HeaderMap;
use percent_encoding::percent_decode_str;

use super::Identity;
use crate::migration::UserId;

/// The user that a request says it comes from, unchecked: query `?user=&org=&role=`, else the headers
/// `crossfade-dev-user`, `crossfade-dev-org`, `crossfade-dev-role`.
///
/// `None` without a user. A role without Clerk's prefix gets it (`admin` is `org:admin`), so that
/// permissions read the same in both modes. The identity does not expire.
///
/// The caller answers for using this on loopback only.
#[must_use]
pub fn insecure_dev(headers: &HeaderMap, query: Option<&str>) -> Option<Identity> {
    let asserted = |key: &str| {
        parameter(query.unwrap_or_default(), key).or_else(|| {
            let header = headers.get(format!("crossfade-dev-{key}"))?;
            header.to_str().ok().map(str::to_owned)
        })
    };
    let present = |key: &str| asserted(key).filter(|value| !value.is_empty());
    let org_id = present("org");
    let org_role = present("role")
        .map(|role| if role.starts_with("org:") { role } else { format!("org:{role}") });
    Some(Identity {
        user: UserId::new(present("user")?),
        org_slug: org_id.clone(),
        org_id,
        org_role,
        permissions: Vec::new(),
        session_id: None,
        // Whoever asserts it now says so now: no revocation is younger.
        issued_at_ms: Some(u64::MAX),
        expires_at_ms: u64::MAX,
    })
}

fn parameter(query: &str, key: &str) -> Option<String> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| *name == key)
        .and_then(|(_, value)| {
            let spaced = value.replace('+', " ");
            percent_decode_str(&spaced).decode_utf8().ok().map(std::borrow::Cow::into_owned)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_taken_from_the_query_before_the_headers() {
        let mut headers = HeaderMap::new();
        headers.insert("crossfade-dev-user", "header".parse().unwrap());
        headers.insert("crossfade-dev-role", "org:member".parse().unwrap());
        let identity = insecure_dev(&headers, Some("a=b&user=ann%20b+c&org=o_1")).unwrap();
        assert_eq!(identity.user.as_str(), "ann b c");
        assert_eq!(identity.org_id.as_deref(), Some("o_1"));
        assert_eq!(identity.org_role.as_deref(), Some("org:member"));
        assert_eq!(insecure_dev(&headers, None).unwrap().user.as_str(), "header");
    }

    #[test]
    fn a_role_gets_clerks_prefix() {
        let identity = insecure_dev(&HeaderMap::new(), Some("user=u&role=admin")).unwrap();
        assert_eq!(identity.org_role.as_deref(), Some("org:admin"));
    }

    #[test]
    fn nobody_is_nobody() {
        assert_eq!(insecure_dev(&HeaderMap::new(), Some("user=&org=o")), None);
        assert_eq!(insecure_dev(&HeaderMap::new(), None), None);
    }
}

//! What a verified session says about its user, in Clerk's two claim versions.

use serde_json::{Map, Value};

use super::jwt::{text_claim, time_claim};
use crate::migration::UserId;

/// A signed-in user, as the verified session token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who (`sub`).
    pub user: UserId,
    /// The active organisation's id.
    pub org_id: Option<String>,
    /// The active organisation's slug.
    pub org_slug: Option<String>,
    /// The role in it, with Clerk's prefix (`org:admin`).
    pub org_role: Option<String>,
    /// The permissions in it (`org:<feature>:<permission>`).
    pub permissions: Vec<String>,
    /// The session (`sid`), where the token names it.
    pub session_id: Option<String>,
    /// When the token was issued (`iat`, whole seconds), in milliseconds since the epoch, where it says so.
    pub issued_at_ms: Option<u64>,
    /// When the token ends, in milliseconds since the epoch, without leeway.
    pub expires_at_ms: u64,
}

impl Identity {
    /// Reads the claims as `@clerk/backend` does: `v` equal to the number 2 is version 2, anything
    /// else version 1.
    pub(super) fn read(user: UserId, expires_at_ms: u64, claims: &Map<String, Value>) -> Self {
        let owned = |name: &str| text_claim(claims, name).map(str::to_owned);
        let session_id = owned("sid");
        let issued_at_ms = time_claim(claims, "iat").ok().flatten();
        let issued_at_ms = issued_at_ms.map(|at| u64::try_from(at).unwrap_or(0));
        if claims.get("v").and_then(Value::as_f64) != Some(2.0) {
            return Self {
                user,
                org_id: owned("org_id"),
                org_slug: owned("org_slug"),
                org_role: owned("org_role"),
                permissions: texts(claims.get("org_permissions")),
                session_id,
                issued_at_ms,
                expires_at_ms,
            };
        }
        let none = Map::new();
        let org = claims.get("o").and_then(Value::as_object).unwrap_or(&none);
        Self {
            user,
            org_id: text_claim(org, "id").map(str::to_owned),
            org_slug: text_claim(org, "slg").map(str::to_owned),
            org_role: text_claim(org, "rol").map(|role| format!("org:{role}")),
            permissions: feature_permissions(
                text_claim(claims, "fea").unwrap_or_default(),
                text_claim(org, "per").unwrap_or_default(),
                text_claim(org, "fpm").unwrap_or_default(),
            ),
            session_id,
            issued_at_ms,
            expires_at_ms,
        }
    }
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

/// Unfolds version 2's permissions: entry i of `fpm` belongs to the i-th feature of `fea` whose
/// scope has an `o` (organisation); its bits, lowest first, choose from `per`.
fn feature_permissions(fea: &str, per: &str, fpm: &str) -> Vec<String> {
    let features = fea
        .split(',')
        .filter_map(|entry| entry.trim().split_once(':'))
        .filter(|(scope, _)| scope.contains('o'))
        .map(|(_, feature)| feature);
    let names: Vec<&str> = per.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let masks = fpm.split(',').map(|mask| mask.trim().parse::<u128>().unwrap_or(0));
    features
        .zip(masks)
        .flat_map(|(feature, mask)| {
            let chosen = move |bit: &usize| *bit < 128 && mask >> bit & 1 == 1;
            (0..names.len()).filter(chosen).map(move |bit| (feature, bit))
        })
        .map(|(feature, bit)| format!("org:{feature}:{}", names[bit]))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(claims: &Value) -> Identity {
        Identity::read(UserId::new("u"), 0, claims.as_object().unwrap())
    }

    #[test]
    fn version_1_is_read_as_it_stands() {
        let identity = read(&json!({
            "sid": "s", "iat": 7, "org_id": "org_1", "org_slug": "acme", "org_role": "org:admin",
            "org_permissions": ["org:sys_memberships:read"],
        }));
        assert_eq!(identity.org_id.as_deref(), Some("org_1"));
        assert_eq!(identity.org_slug.as_deref(), Some("acme"));
        assert_eq!(identity.org_role.as_deref(), Some("org:admin"));
        assert_eq!(identity.permissions, ["org:sys_memberships:read"]);
        assert_eq!(identity.session_id.as_deref(), Some("s"));
        assert_eq!(identity.issued_at_ms, Some(7_000));
    }

    #[test]
    fn version_2_is_unfolded() {
        let identity = read(&json!({
            "v": 2, "fea": "o:dashboard,o:teams,u:profile",
            "o": { "id": "org_1", "slg": "acme", "rol": "admin", "per": "manage,read", "fpm": "3,2" },
        }));
        assert_eq!(identity.org_id.as_deref(), Some("org_1"));
        assert_eq!(identity.org_role.as_deref(), Some("org:admin"));
        assert_eq!(
            identity.permissions,
            ["org:dashboard:manage", "org:dashboard:read", "org:teams:read"]
        );
    }

    #[test]
    fn another_version_is_read_as_version_1() {
        for version in [json!(3), json!("2"), json!(null)] {
            let identity = read(&json!({ "v": version, "org_id": "one", "o": { "id": "two" } }));
            assert_eq!(identity.org_id.as_deref(), Some("one"));
        }
    }

    #[test]
    fn a_user_without_organisation_has_no_permission() {
        let identity = read(&json!({ "v": 2, "fea": "o:a,u:b" }));
        assert_eq!((identity.org_id, identity.org_role), (None, None));
        assert_eq!((identity.session_id, identity.issued_at_ms), (None, None));
        assert!(identity.permissions.is_empty());
    }

    #[test]
    fn a_users_own_feature_takes_no_mask() {
        let permissions = feature_permissions("u:own,o:a,ou:b", "read,write", "1,2");
        assert_eq!(permissions, ["org:a:read", "org:b:write"]);
    }

    proptest! {
        #[test]
        fn no_mask_grants_more_than_it_names(fea in ".{0,40}", per in ".{0,40}", fpm in ".{0,40}") {
            let names = per.split(',').count();
            prop_assert!(feature_permissions(&fea, &per, &fpm).len() <= names * fea.split(',').count());
            prop_assert!(feature_permissions(&fea, &per, "0").is_empty());
        }
    }
}

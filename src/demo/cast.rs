//! The people of the demo, and their sessions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::legacy_api::Seed;
use crate::identity::{KeyError, SessionSpec, TestIssuer};

/// A session is renewed when it is this old; it lives for a minute, as Clerk's do.
const RENEW_AFTER: Duration = Duration::from_secs(30);

/// What a person may do in their organisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Everything.
    Admin,
    /// Create and change.
    Member,
    /// Read.
    Viewer,
}

impl Role {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Member => "member",
            Self::Viewer => "viewer",
        }
    }

    pub(super) fn may_write(self) -> bool {
        self != Self::Viewer
    }

    pub(super) fn may_delete(self) -> bool {
        self == Self::Admin
    }
}

/// Someone who uses the product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    /// The user's id.
    pub(super) user: String,
    /// The organisation's id.
    pub(super) org: String,
    /// The role in it.
    pub(super) role: Role,
}

impl Person {
    /// The claims of their session.
    pub(super) fn session(&self) -> SessionSpec {
        SessionSpec::of(&self.user).in_organisation(&self.org, self.role.as_str())
    }
}

/// Who uses the app that speaks REST, in each organisation.
const BY_REST: [Role; 4] = [Role::Admin, Role::Member, Role::Member, Role::Viewer];
/// Who uses the app that syncs.
const BY_SYNC: [Role; 2] = [Role::Admin, Role::Member];

/// Everybody who uses the app that speaks REST.
pub(super) fn by_rest(organisations: usize) -> Vec<Person> {
    people("rest", &BY_REST, organisations)
}

/// Everybody who uses the app that syncs.
pub(super) fn by_sync(organisations: usize) -> Vec<Person> {
    people("sync", &BY_SYNC, organisations)
}

fn people(app: &str, roles: &[Role], organisations: usize) -> Vec<Person> {
    let of = |number: usize| {
        roles.iter().enumerate().map(move |(place, role)| Person {
            user: format!("{app}_{}_{}", number + 1, place + 1),
            org: Seed::organisation(number),
            role: *role,
        })
    };
    (0..organisations).flat_map(of).collect()
}

/// A person with a session that is always fresh.
#[derive(Debug)]
pub(super) struct SignedIn {
    pub(super) person: Person,
    issuer: Arc<TestIssuer>,
    session: Option<(String, Instant)>,
}

impl SignedIn {
    pub(super) fn new(person: Person, issuer: Arc<TestIssuer>) -> Self {
        Self { person, issuer, session: None }
    }

    /// A session token that is good now.
    pub(super) fn token(&mut self) -> Result<String, KeyError> {
        if let Some((token, since)) = &self.session
            && since.elapsed() < RENEW_AFTER
        {
            return Ok(token.clone());
        }
        let token = self.issuer.session(&self.person.session())?;
        self.session = Some((token.clone(), Instant::now()));
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_organisation_has_people_of_both_kinds_and_nobody_is_two() {
        let everybody: Vec<_> = by_rest(3).into_iter().chain(by_sync(3)).collect();
        let users: HashSet<_> = everybody.iter().map(|person| &person.user).collect();
        assert_eq!(users.len(), everybody.len());
        let orgs: HashSet<_> = everybody.iter().map(|person| person.org.as_str()).collect();
        assert_eq!(orgs, HashSet::from(["org_1", "org_2", "org_3"]));
        assert!(by_sync(1).iter().any(|person| person.role.may_delete()));
    }
}

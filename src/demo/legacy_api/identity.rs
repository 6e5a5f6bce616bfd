//! Who is asking, and what they may do.

use std::fmt;
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use futures_util::future::{BoxFuture, FutureExt as _};
use sha2::{Digest as _, Sha256};

use super::answer::ApiError;

/// A signed-in member of one organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user's id.
    pub user: String,
    /// The organisation's id.
    pub org: String,
    /// The role in it, as Clerk spells it: `org:admin`, `org:member`.
    pub role: String,
}

/// Tells from a request's headers who is signed in.
#[derive(Clone)]
pub struct SessionCheck(CheckFn);

type CheckFn = Arc<dyn Fn(HeaderMap) -> BoxFuture<'static, Option<Caller>> + Send + Sync>;

impl SessionCheck {
    /// A check that answers at once; `None` for nobody.
    pub fn from_fn(check: impl Fn(&HeaderMap) -> Option<Caller> + Send + Sync + 'static) -> Self {
        Self(Arc::new(move |headers| std::future::ready(check(&headers)).boxed()))
    }

    /// A check that may have to wait, for example for keys; `None` for nobody.
    pub fn from_async<F>(check: impl Fn(HeaderMap) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Option<Caller>> + Send + 'static,
    {
        Self(Arc::new(move |headers| check(headers).boxed()))
    }
}

/// Tells from the text of `Crossfade-On-Behalf-Of` whom a delivery is for; `None` if it does not
/// verify.
pub type OnBehalfOfVerifier = Arc<dyn Fn(&str) -> Option<Caller> + Send + Sync>;

/// What crossfade's own requests show.
#[derive(Clone)]
pub struct ServiceCredential {
    /// The bearer token.
    pub token: String,
    /// Verifies on whose behalf it writes.
    pub on_behalf_of: OnBehalfOfVerifier,
}

impl fmt::Debug for ServiceCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceCredential").finish_non_exhaustive()
    }
}

/// Who a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    /// A user, by a session or through the service credential.
    User(Caller),
    /// The service credential, on nobody's behalf.
    Service,
}

/// The rows that a request may touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// One organisation's; all others do not exist.
    Org(String),
    /// Every organisation's.
    All,
}

/// What a request would change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteAction {
    Create,
    Update,
    Delete,
}

impl WriteAction {
    const fn verb(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

impl Identity {
    /// The rows that may be read.
    pub(super) fn read_scope(&self) -> Scope {
        match self {
            Self::User(caller) => Scope::Org(caller.org.clone()),
            Self::Service => Scope::All,
        }
    }

    /// The organisation that may be changed.
    pub(super) fn write_org(&self, action: WriteAction) -> Result<String, ApiError> {
        match self {
            Self::Service => Err(ApiError::Forbidden(
                "the service credential writes only with Crossfade-On-Behalf-Of".to_owned(),
            )),
            Self::User(caller) if may_write(&caller.role, action) => Ok(caller.org.clone()),
            Self::User(caller) => Err(ApiError::Forbidden(format!(
                "the role {} may not {} users",
                caller.role,
                action.verb()
            ))),
        }
    }
}

/// A role that is not named here only reads.
fn may_write(role: &str, action: WriteAction) -> bool {
    match role {
        "org:admin" => true,
        "org:member" => matches!(action, WriteAction::Create | WriteAction::Update),
        _ => false,
    }
}

/// Finds out who a request comes from.
pub(super) struct Authenticator {
    sessions: SessionCheck,
    service: Option<ServiceCredential>,
}

impl Authenticator {
    pub(super) fn new(sessions: SessionCheck, service: Option<ServiceCredential>) -> Self {
        Self { sessions, service }
    }

    /// The service credential goes first: it is no session.
    pub(super) async fn identify(&self, headers: &HeaderMap) -> Result<Identity, ApiError> {
        if let Some(service) = self.service.as_ref().filter(|s| is_token(headers, &s.token)) {
            let Some(on_behalf_of) = headers.get("crossfade-on-behalf-of") else {
                return Ok(Identity::Service);
            };
            return on_behalf_of
                .to_str()
                .ok()
                .and_then(|text| (service.on_behalf_of)(text))
                .map(Identity::User)
                .ok_or(ApiError::InvalidOnBehalfOf);
        }
        (self.sessions.0)(headers.clone())
            .await
            .map(Identity::User)
            .ok_or(ApiError::Unauthenticated)
    }
}

fn is_token(headers: &HeaderMap, expected: &str) -> bool {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    // Digests are compared, so that the time taken tells nothing about the token.
    given.is_some_and(|token| Sha256::digest(token) == Sha256::digest(expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(role: &str) -> Caller {
        Caller { user: "u".to_owned(), org: "o".to_owned(), role: role.to_owned() }
    }

    #[test]
    fn roles_and_what_they_may_change() {
        use WriteAction::{Create, Delete, Update};
        for (role, allowed) in [
            ("org:admin", vec![Create, Update, Delete]),
            ("org:member", vec![Create, Update]),
            ("org:viewer", vec![]),
            ("admin", vec![]),
        ] {
            for action in [Create, Update, Delete] {
                let may = Identity::User(caller(role)).write_org(action).is_ok();
                assert_eq!(may, allowed.contains(&action), "{role} {action:?}");
            }
        }
        assert!(Identity::Service.write_org(Create).is_err());
        assert_eq!(Identity::Service.read_scope(), Scope::All);
    }

    #[test]
    fn the_service_credential_is_shown_in_full() {
        let token = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, text.parse().unwrap());
            is_token(&headers, "secret")
        };
        assert!(token("Bearer secret") && token("bearer secret"));
        assert!(!token("Bearer secre") && !token("Basic secret") && !token("secret"));
        assert!(!is_token(&HeaderMap::new(), "secret"));
    }
}

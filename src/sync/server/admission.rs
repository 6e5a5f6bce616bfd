//! Who may open a socket, and which paths on it.

use std::sync::Arc;

use http::{HeaderMap, Uri};

use crate::identity::FollowedToken;
use crate::migration::PathId;
use crate::sync::policy::Writer;

/// Who is behind a socket, and what it may open.
#[derive(Debug, Clone)]
pub struct Session {
    /// Who it is and whether it may write.
    pub writer: Arc<Writer>,
    /// When its token runs out, in epoch milliseconds.
    pub expires_ms: Option<u64>,
    /// The paths that it may open, and no others.
    pub paths: Vec<PathId>,
    /// Its token, where it may be revoked.
    pub token: Option<FollowedToken>,
}

impl Session {
    /// Whether the path is one of the session's: its one spelling, compared as a whole.
    #[must_use]
    pub fn may_open(&self, path: &PathId) -> bool {
        self.paths.contains(path)
    }

    /// Whether its token was revoked by now.
    pub(super) fn is_revoked(&self) -> bool {
        self.token.as_ref().is_some_and(FollowedToken::is_revoked)
    }
}

/// Why a client may not connect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// No token, or one that does not hold.
    #[error("a valid sync token is needed: {0}")]
    Unauthenticated(String),
    /// The token was revoked.
    #[error("the sync token was revoked: fetch a new one with a new session token")]
    Revoked,
    /// The token does not name the path.
    #[error("the sync token does not name this path")]
    WrongPath,
}

/// Decides who may connect.
pub trait Admission: Send + Sync + std::fmt::Debug {
    /// Finds out who asks, from the upgrade request alone and without waiting for anything. What the session may open is
    /// looked at for each path: at the upgrade, and at each subscription to a channel.
    ///
    /// # Errors
    /// [`NotAdmitted`] says why not; it never holds the token.
    fn authenticate(&self, headers: &HeaderMap, uri: &Uri) -> Result<Session, NotAdmitted>;

    /// Whether a resource may keep rows at this path.
    fn is_mapped(&self, path: &PathId) -> bool;

    /// Whether sync is switched off by now: asked once more when a connection stands, because a
    /// rollback in between has drained only those that stood before.
    fn is_off(&self) -> bool;
}

//! What is revoked, as it is kept in the database: merged from all processes, bounded.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Grant, GrantedIn};
use crate::identity::Identity;
use crate::migration::{SessionId, UserId};

/// Users that are listed at most. At the bound the oldest is no longer listed by itself: instead, all tokens from before its
/// revocation are revoked, whoever's, which costs their clients a new one.
pub(super) const MAX_USERS: usize = 1_000;
/// Sessions that are listed at most. At the bound no further one is taken: whoever has a session that was forgotten could go
/// on with it.
pub(super) const MAX_SESSIONS: usize = 1_000;

/// Whose tokens are revoked. It shows its kind only, not who it is.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// All of a user's.
    User(UserId),
    /// Those that were given to one session of the identity provider (`sid`).
    Session(SessionId),
}

impl Subject {
    /// The kind, in a word: all that a log may have.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Session(_) => "session",
        }
    }

    /// Who it is.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::User(user) => user.as_str(),
            Self::Session(session) => session.as_str(),
        }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:***", self.kind())
    }
}

impl Serialize for Subject {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}:{}", self.kind(), self.id()))
    }
}

impl<'de> Deserialize<'de> for Subject {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.split_once(':') {
            Some(("user", id)) => Ok(Self::User(UserId::new(id))),
            Some(("session", id)) => Ok(Self::Session(SessionId::new(id))),
            // The text is not repeated: it may name somebody.
            _ => Err(serde::de::Error::custom("neither `user:…` nor `session:…`")),
        }
    }
}

/// What holds of a subject.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It is revoked no more.
    Lifted,
    /// Tokens up to the time are revoked; a session gets none any more.
    Revoked,
}

/// The latest order about a subject. Of two the greater one holds: that of the higher epoch; a revocation where both have
/// the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entry {
    /// Grows with every order about any subject.
    pub epoch: u64,
    /// What it says.
    pub standing: Standing,
    /// Of when the last token is that it is about, in milliseconds since the epoch of time.
    pub at_ms: u64,
    /// By whom.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// An order.
#[derive(Debug, Clone)]
pub struct Order {
    /// About whom.
    pub subject: Subject,
    /// What.
    pub standing: Standing,
    /// By whom.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// Why an order is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// There is nothing to lift.
    #[error("it is not revoked: `crossfade revoke --list` shows what is")]
    NotRevoked,
    /// As many sessions are listed as may be.
    #[error(
        "{MAX_SESSIONS} sessions are revoked, and no more are listed: lift those that have ended, or revoke the user"
    )]
    TooManySessions,
}

/// Why no sync token is minted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotMinted {
    /// The session is revoked.
    #[error("this session was revoked, and gets no sync token any more")]
    Session,
    /// The session token is from before a revocation.
    #[error("the session token was issued before the user's tokens were revoked")]
    Before,
}

/// All orders that count: what is kept in the database and told to other processes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RevocationState {
    /// The latest order about each subject.
    entries: BTreeMap<Subject, Entry>,
    /// Of the users' revocations that are not listed any more, the latest. No token from before counts, whoever's.
    #[serde(default)]
    forgotten_ms: u64,
}

impl RevocationState {
    /// The latest order about each subject.
    pub fn iter(&self) -> impl Iterator<Item = (&Subject, &Entry)> {
        self.entries.iter()
    }

    /// No token from before this counts, whoever's, in milliseconds since the epoch.
    #[must_use]
    pub const fn forgotten_ms(&self) -> u64 {
        self.forgotten_ms
    }

    /// Takes an order that is about tokens up to `at_ms`. Gives what holds now, and how many users are not listed any more.
    ///
    /// # Errors
    /// [`OrderError`]; nothing has changed then.
    pub fn order(&mut self, order: &Order, at_ms: u64) -> Result<(Entry, u64), OrderError> {
        let is_revoked = |entry: &Entry| entry.standing == Standing::Revoked;
        match order.standing {
            Standing::Lifted if !self.entries.get(&order.subject).is_some_and(is_revoked) => {
                return Err(OrderError::NotRevoked);
            }
            Standing::Lifted => {}
            Standing::Revoked => self.make_room(&order.subject)?,
        }
        let epoch = self.entries.values().map(|entry| entry.epoch).max().unwrap_or(0);
        let entry = Entry {
            epoch: epoch.saturating_add(1),
            standing: order.standing,
            at_ms,
            actor: order.actor.clone(),
            reason: order.reason.clone(),
        };
        self.entries.insert(order.subject.clone(), entry.clone());
        Ok((entry, self.fold()))
    }

    /// Has the order of this epoch be about tokens up to `at_ms`, if it is still the latest about its subject.
    pub fn extend(&mut self, subject: &Subject, epoch: u64, at_ms: u64) {
        if let Some(entry) = self.entries.get_mut(subject).filter(|entry| entry.epoch == epoch) {
            entry.at_ms = entry.at_ms.max(at_ms);
        }
    }

    /// Room for one more session.
    fn make_room(&mut self, subject: &Subject) -> Result<(), OrderError> {
        let is_new = matches!(subject, Subject::Session(_)) && !self.entries.contains_key(subject);
        let sessions = || self.entries.iter().filter(|(one, _)| matches!(one, Subject::Session(_)));
        if !is_new || sessions().count() < MAX_SESSIONS {
            return Ok(());
        }
        let lifted = sessions().filter(|(_, entry)| entry.standing == Standing::Lifted);
        let oldest = lifted.min_by_key(|(_, entry)| entry.epoch).map(|(one, _)| one.clone());
        self.entries.remove(&oldest.ok_or(OrderError::TooManySessions)?);
        Ok(())
    }

    /// Keeps the list of users within its bound; gives how many are not listed any more.
    fn fold(&mut self) -> u64 {
        let users = self.entries.iter().filter(|(one, _)| matches!(one, Subject::User(_)));
        let mut times: Vec<u64> = users.map(|(_, entry)| entry.at_ms).collect();
        let Some(over) = times.len().checked_sub(MAX_USERS).filter(|over| *over > 0) else {
            return 0;
        };
        times.sort_unstable();
        self.forget(times[over - 1])
    }

    /// Lists no user any more whose entry is from this time or before; gives how many those were.
    fn forget(&mut self, up_to_ms: u64) -> u64 {
        self.forgotten_ms = self.forgotten_ms.max(up_to_ms);
        let before = self.entries.len();
        let forgotten = self.forgotten_ms;
        self.entries.retain(|subject, entry| {
            !matches!(subject, Subject::User(_)) || entry.at_ms > forgotten
        });
        (before - self.entries.len()) as u64
    }

    /// Adds what is known elsewhere; gives how many users are not listed any more because they are too many.
    pub fn merge_all(&mut self, other: &Self) -> u64 {
        for (subject, entry) in &other.entries {
            match self.entries.get_mut(subject) {
                Some(known) if *known >= *entry => {}
                Some(known) => *known = entry.clone(),
                None => {
                    self.entries.insert(subject.clone(), entry.clone());
                }
            }
        }
        self.forget(other.forgotten_ms);
        self.fold()
    }

    /// Drops what no token can be about any more: orders about users, and lifted ones, that are older than `keep_ms`. A
    /// session's revocation stays, since the session itself may be older than anything.
    pub fn prune(&mut self, now_ms: u64, keep_ms: u64) {
        let Some(old_ms) = now_ms.checked_sub(keep_ms) else { return };
        let is_old = |entry: &Entry| entry.at_ms <= old_ms;
        let users = self.entries.iter().filter(|(one, _)| matches!(one, Subject::User(_)));
        let latest = users.filter(|(_, entry)| is_old(entry)).map(|(_, entry)| entry.at_ms).max();
        if let Some(latest) = latest {
            self.forget(latest);
        }
        self.entries.retain(|_, entry| entry.standing == Standing::Revoked || !is_old(entry));
    }

    /// Whether a sync token is revoked.
    #[must_use]
    pub fn is_revoked(&self, grant: &Grant) -> bool {
        let covers = |entry: &Entry| {
            entry.standing == Standing::Revoked && grant.issued_at_ms <= entry.at_ms
        };
        if self.is_forgotten(grant.issued_at_ms)
            || self.entries.get(&Subject::User(grant.user.clone())).is_some_and(covers)
        {
            return true;
        }
        match &grant.session {
            GrantedIn::Session(session) => self.is_session_revoked(session),
            GrantedIn::NoSession => false,
            // It may be the one. Its client gets a new token, which says so.
            GrantedIn::Unknown => {
                let mut sessions = self.entries.iter();
                sessions.any(|(one, entry)| matches!(one, Subject::Session(_)) && covers(entry))
            }
        }
    }

    /// Whether a token of this time may be about a user who is not listed any more.
    const fn is_forgotten(&self, issued_at_ms: u64) -> bool {
        self.forgotten_ms > 0 && issued_at_ms <= self.forgotten_ms
    }

    fn is_session_revoked(&self, session: &SessionId) -> bool {
        let entry = self.entries.get(&Subject::Session(session.clone()));
        entry.is_some_and(|entry| entry.standing == Standing::Revoked)
    }

    /// Whether a session may have a sync token: one that is revoked never; that of a revoked user if its token is from
    /// after it.
    ///
    /// # Errors
    /// [`NotMinted`] says why not.
    pub fn may_mint(&self, identity: &Identity) -> Result<(), NotMinted> {
        let session = identity.session_id.as_deref().map(SessionId::new);
        if session.is_some_and(|session| self.is_session_revoked(&session)) {
            return Err(NotMinted::Session);
        }
        let user = self.entries.get(&Subject::User(identity.user.clone()));
        let revoked = user.filter(|entry| entry.standing == Standing::Revoked);
        let is_before = match (identity.issued_at_ms, revoked) {
            (Some(issued_at_ms), revoked) => {
                self.is_forgotten(issued_at_ms)
                    || revoked.is_some_and(|entry| issued_at_ms <= entry.at_ms)
            }
            // It does not say when: who has been revoked needs one that does.
            (None, revoked) => revoked.is_some(),
        };
        if is_before { Err(NotMinted::Before) } else { Ok(()) }
    }
}

//! Sync tokens that are revoked: all of a user's, or those of one session, up to a time.
//!
//! Whoever opens a socket is looked up in memory, without a lock and without waiting. What is revoked is told to those who
//! wait for it, so that open sockets close; keeping it in the database is the caller's part.

mod state;
#[cfg(test)]
mod tests;

pub use state::{Entry, NotMinted, Order, OrderError, RevocationState, Standing, Subject};

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::Identity;
use crate::clock::SharedClock;
use crate::migration::{SessionId, UserId};

/// For how long beyond a sync token's life a user's revocation is listed: session tokens from before it may live longer
/// than sync tokens. Of those that are older still, none gets a sync token any more.
const LISTED_BEYOND: Duration = Duration::from_secs(24 * 60 * 60);

/// What of a sync token a revocation is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Whose it is.
    pub user: UserId,
    /// For which session it was minted.
    pub session: GrantedIn,
    /// When, in milliseconds since the epoch.
    pub issued_at_ms: u64,
}

/// The session that a sync token was minted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantedIn {
    /// The one that the session token named (`sid`).
    Session(SessionId),
    /// The session token named none.
    NoSession,
    /// The sync token is of a version that did not write it down.
    Unknown,
}

/// What is revoked, in memory: shared by all that ask.
#[derive(Debug, Clone)]
pub struct Revocations(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: ArcSwap<RevocationState>,
    /// Held by who changes it, for the length of the change; reading needs none.
    changing: Mutex<()>,
    changes: watch::Sender<u64>,
    clock: SharedClock,
    /// How long what is about users is listed, in milliseconds.
    keep_ms: u64,
}

impl Revocations {
    /// What was kept; sync tokens live `ttl`.
    #[must_use]
    pub fn new(state: RevocationState, ttl: Duration, clock: SharedClock) -> Self {
        let keep = ttl.saturating_add(LISTED_BEYOND).as_millis();
        Self(Arc::new(Inner {
            state: ArcSwap::from_pointee(state),
            changing: Mutex::default(),
            changes: watch::channel(0).0,
            clock,
            keep_ms: u64::try_from(keep).unwrap_or(u64::MAX),
        }))
    }

    /// What holds now, to be kept, told or shown.
    #[must_use]
    pub fn state(&self) -> Arc<RevocationState> {
        self.0.state.load_full()
    }

    /// Takes an order about all tokens until now; with `ahead_ms`, also about those of the time that the order takes to get
    /// to the process that mints them. Gives what holds from here on.
    ///
    /// # Errors
    /// [`OrderError`]; nothing has changed then.
    pub fn order(&self, order: &Order, ahead_ms: u64) -> Result<Entry, OrderError> {
        let now_ms = || self.0.clock.now_ms().saturating_add(ahead_ms);
        let taken = self.change(|state| state.order(order, now_ms()));
        let counted = |(entry, folded): (Entry, u64)| {
            count_over_bound("user", folded);
            entry
        };
        if taken == Err(OrderError::TooManySessions) {
            count_over_bound("session", 1);
        }
        let entry = taken.map(counted)?;
        if order.standing == Standing::Lifted {
            return Ok(entry);
        }
        // A token that was minted between the look at the clock and here was let pass: it is about that one, too.
        let at_ms = now_ms();
        self.change(|state| state.extend(&order.subject, entry.epoch, at_ms));
        Ok(Entry { at_ms, ..entry })
    }

    /// Adds what the database or another process knows, and drops what no token can be about any more.
    pub fn merge(&self, other: &RevocationState) {
        let now_ms = self.0.clock.now_ms();
        let folded = self.change(|state| {
            let folded = state.merge_all(other);
            state.prune(now_ms, self.0.keep_ms);
            folded
        });
        count_over_bound("user", folded);
    }

    /// Changes the state as one step, and tells those who wait if it did.
    fn change<T>(&self, change: impl FnOnce(&mut RevocationState) -> T) -> T {
        // What a panic left half done was not stored.
        let _changing = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.0.state.load_full();
        let mut next = RevocationState::clone(&before);
        let outcome = change(&mut next);
        if next != *before {
            let list = |kind: &'static str| {
                let of_kind = next.iter().filter(|(subject, _)| subject.kind() == kind);
                of_kind.filter(|(_, entry)| entry.standing == Standing::Revoked).count()
            };
            for kind in ["user", "session"] {
                metrics::gauge!("crossfade_revocations", "of" => kind).set(list(kind) as f64);
            }
            self.0.state.store(Arc::new(next));
            self.0.changes.send_modify(|count| *count += 1);
        }
        outcome
    }

    /// Whether a sync token is revoked: from memory, without waiting.
    #[must_use]
    pub fn is_revoked(&self, grant: &Grant) -> bool {
        self.0.state.load().is_revoked(grant)
    }

    /// Whether a session may have a sync token. To be asked once the token is made: an order that comes between is then
    /// either seen here, or about that token.
    ///
    /// # Errors
    /// [`NotMinted`] says why not.
    pub fn may_mint(&self, identity: &Identity) -> Result<(), NotMinted> {
        self.0.state.load().may_mint(identity)
    }

    /// Follows one sync token.
    #[must_use]
    pub fn follow(&self, grant: Grant) -> FollowedToken {
        FollowedToken { grant, revocations: self.clone() }
    }
}

fn count_over_bound(of: &'static str, by: u64) {
    if by > 0 {
        metrics::counter!("crossfade_revocations_over_bound_total", "of" => of).increment(by);
    }
}

/// A sync token that may be revoked while it is in use.
#[derive(Debug, Clone)]
pub struct FollowedToken {
    grant: Grant,
    revocations: Revocations,
}

impl FollowedToken {
    /// Whether it is revoked by now.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.revocations.is_revoked(&self.grant)
    }

    /// Returns once it is revoked.
    pub async fn revoked(self) {
        let mut changes = self.revocations.0.changes.subscribe();
        while !self.is_revoked() {
            if changes.changed().await.is_err() {
                // Nobody is left who could revoke it.
                std::future::pending::<()>().await;
            }
        }
    }
}

//! How much of what a user writes may be refused.
//!
//! A refused edit is answered by a newer stamp, or a client that made it would keep it; and a stamp,
//! once there, can never be dropped. So whoever writes what is refused, by mistake or on purpose, makes
//! the store grow for everybody, without ever being let write anything. Hence an allowance for each
//! user, over all paths and connections.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Refused cells that a user who had none refused lately may have at once. A client with an old schema
/// has some hundreds.
pub(super) const ALLOWED: usize = 1000;
/// How long until one more is allowed, in milliseconds.
const REGAIN_MS: u64 = 10_000;
/// How long a user who went beyond it may not write at all, in milliseconds.
const SUSPENDED_MS: u64 = 60_000;
/// Users remembered. Beyond it those are forgotten whose allowance is whole again, then the one for whom
/// it is soonest.
const MAX_USERS: usize = 16_384;

/// What was refused lately, by user.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<HashMap<Box<str>, Spent>>);

#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    /// When the allowance is whole again, in epoch milliseconds: each refused cell puts it off.
    whole_at: u64,
    /// Until when nothing may be written.
    suspended_until: u64,
}

impl Spent {
    fn left(&self, now: u64) -> usize {
        let spent = self.whole_at.saturating_sub(now).div_ceil(REGAIN_MS);
        ALLOWED.saturating_sub(usize::try_from(spent).unwrap_or(usize::MAX))
    }

    /// From when on there is nothing to remember.
    fn over_at(&self) -> u64 {
        self.whole_at.max(self.suspended_until)
    }
}

impl Refusals {
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Spent>> {
        // Every change is one step, so a poisoned lock hides nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What of this user may be refused in one message.
    pub(super) fn allowance(&self, user: &str, now: u64) -> Allowance {
        let spent = self.lock().get(user).copied().unwrap_or_default();
        if spent.suspended_until > now {
            return Allowance::Suspended;
        }
        Allowance::Left(spent.left(now))
    }

    /// Cells of this user were refused.
    pub(super) fn spend(&self, user: &str, now: u64, cells: usize) {
        if cells > 0 {
            self.change(user, now, |spent| {
                let cells = u64::try_from(cells).unwrap_or(u64::MAX);
                let put_off = cells.saturating_mul(REGAIN_MS);
                spent.whole_at = spent.whole_at.max(now).saturating_add(put_off);
            });
        }
    }

    /// A message of the user was not merged, and its connection closed: if it went beyond the allowance,
    /// writing is suspended.
    pub(super) fn closed(&self, user: &str, now: u64, allowance: Allowance) {
        if allowance != Allowance::Exceeded {
            return;
        }
        metrics::counter!("crossfade_sync_suspended_total").increment(1);
        tracing::warn!(user, "more was refused of a user than may be: writing is suspended");
        self.change(user, now, |spent| spent.suspended_until = now.saturating_add(SUSPENDED_MS));
    }

    fn change(&self, user: &str, now: u64, change: impl FnOnce(&mut Spent)) {
        let mut users = self.lock();
        if users.len() >= MAX_USERS && !users.contains_key(user) {
            users.retain(|_, spent| spent.over_at() > now);
            if users.len() >= MAX_USERS {
                let least = users.iter().min_by_key(|(_, spent)| spent.over_at());
                if let Some(least) = least.map(|(user, _)| user.clone()) {
                    users.remove(&least);
                }
            }
        }
        change(users.entry(user.into()).or_default());
    }
}

/// What of a user may be refused while one message is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allowance {
    /// So many cells more.
    Left(usize),
    /// One more was refused than may be.
    Exceeded,
    /// Nothing may be written for the time being.
    Suspended,
}

impl Allowance {
    /// Takes one refused cell off; `false` if none is left.
    pub(super) fn take(&mut self) -> bool {
        match self {
            Self::Left(left) if *left > 0 => {
                *left -= 1;
                true
            }
            Self::Left(_) => {
                *self = Self::Exceeded;
                false
            }
            Self::Exceeded | Self::Suspended => false,
        }
    }

    pub(super) fn is_suspended(self) -> bool {
        self == Self::Suspended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_763_800_000_000;

    #[test]
    fn the_allowance_is_spent_and_comes_back_with_time() {
        let refusals = Refusals::default();
        refusals.spend("u", NOW, ALLOWED - 1);
        assert_eq!(refusals.allowance("u", NOW), Allowance::Left(1));
        assert_eq!(refusals.allowance("other", NOW), Allowance::Left(ALLOWED));
        refusals.spend("u", NOW, 5);
        assert_eq!(refusals.allowance("u", NOW), Allowance::Left(0));
        assert_eq!(refusals.allowance("u", NOW + 5 * REGAIN_MS), Allowance::Left(1));
        let whole = NOW + (ALLOWED as u64 + 4) * REGAIN_MS;
        assert_eq!(refusals.allowance("u", whole), Allowance::Left(ALLOWED));
    }

    #[test]
    fn whoever_goes_beyond_it_is_suspended_for_a_while() {
        let refusals = Refusals::default();
        let mut allowance = Allowance::Left(1);
        assert!(allowance.take());
        refusals.closed("u", NOW, allowance);
        assert_eq!(
            refusals.allowance("u", NOW),
            Allowance::Left(ALLOWED),
            "closed for a reason else"
        );
        assert!(!allowance.take() && !allowance.take());
        refusals.closed("u", NOW, allowance);
        assert!(refusals.allowance("u", NOW + SUSPENDED_MS - 1).is_suspended());
        assert_eq!(refusals.allowance("u", NOW + SUSPENDED_MS), Allowance::Left(ALLOWED));
        // What it tries meanwhile does not make it longer.
        let mut suspended = refusals.allowance("u", NOW);
        assert!(!suspended.take());
        refusals.closed("u", NOW + 1, suspended);
        assert_eq!(refusals.allowance("u", NOW + SUSPENDED_MS), Allowance::Left(ALLOWED));
    }

    #[test]
    fn users_are_bounded_and_who_has_spent_most_is_remembered() {
        let refusals = Refusals::default();
        refusals.spend("worst", NOW, ALLOWED);
        for number in 0..MAX_USERS + 10 {
            refusals.spend(&format!("u{number}"), NOW, 1 + number % 3);
        }
        assert_eq!(refusals.lock().len(), MAX_USERS);
        assert_eq!(refusals.allowance("worst", NOW), Allowance::Left(0));
        // Those are forgotten for whom nothing is to be remembered: all but these two.
        refusals.spend("late", NOW + 4 * REGAIN_MS, 1);
        assert_eq!(refusals.lock().len(), 2);
    }

    #[test]
    fn who_is_suspended_is_not_forgotten_for_those_who_spent_little() {
        let refusals = Refusals::default();
        refusals.closed("worst", NOW, Allowance::Exceeded);
        for number in 0..MAX_USERS + 10 {
            refusals.spend(&format!("u{number}"), NOW, 1);
        }
        assert_eq!(refusals.lock().len(), MAX_USERS);
        assert!(refusals.allowance("worst", NOW).is_suspended());
    }
}

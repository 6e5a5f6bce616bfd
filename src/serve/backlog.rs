//! What is owed to legacy, watched: for how long nothing has been owed for long, and what was given up.

use std::collections::BTreeMap;

use crate::migration::ResourceName;
use crate::storage::{Storage, StorageError};

/// An owed write may be so old (design rule 6), in milliseconds.
const FRESH_MS: u64 = 5_000;
/// For how long that must have been so, in milliseconds.
const FOR_MS: u64 = 60_000;
/// A longer time without a look proves nothing of the time between, in milliseconds.
const GAP_MS: u64 = 5_000;
/// Dead letters that are told apart by their resources. Of more, all count for each.
const MAX_DEAD: usize = 1_000;

/// What the outbox holds, at one look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// When the oldest write was accepted that waits, in epoch milliseconds.
    oldest_ms: Option<u64>,
    /// Dead letters, by resource.
    dead: BTreeMap<ResourceName, u64>,
    /// Dead letters beyond those that are told apart.
    more_dead: u64,
}

impl Look {
    /// Looks.
    ///
    /// # Errors
    /// [`StorageError`] if the database cannot be read.
    pub(super) async fn at(storage: &dyn Storage) -> Result<Self, StorageError> {
        let summary = storage.outbox_summary(0).await?;
        let mut look = Self { oldest_ms: summary.oldest_ms, ..Self::default() };
        if summary.dead > 0 {
            for letter in storage.dead_letters(MAX_DEAD).await? {
                *look.dead.entry(letter.entry.resource).or_default() += 1;
            }
            look.more_dead = summary.dead.saturating_sub(look.dead.values().sum());
        }
        Ok(look)
    }
}

/// What the looks so far say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Backlog {
    /// Since when nothing was found that was owed for long, and the last look, both in epoch milliseconds.
    fresh: Option<(u64, u64)>,
    /// The age of the oldest owed write at the last look, in milliseconds.
    oldest_age_ms: u64,
    dead: Option<(BTreeMap<ResourceName, u64>, u64)>,
}

impl Backlog {
    /// The same after one more look, at `now_ms` (epoch milliseconds); `None`: the database could not be read.
    pub(super) fn after(&self, look: Option<Look>, now_ms: u64) -> Self {
        let Some(Look { oldest_ms, dead, more_dead }) = look else { return Self::default() };
        let oldest_age_ms = oldest_ms.map_or(0, |at| now_ms.saturating_sub(at));
        let since = match self.fresh {
            // A clock that was set back begins anew as well.
            Some((since, looked)) if looked <= now_ms && now_ms - looked <= GAP_MS => since,
            _ => now_ms,
        };
        let fresh = (oldest_age_ms < FRESH_MS).then_some((since, now_ms));
        Self { fresh, oldest_age_ms, dead: Some((dead, more_dead)) }
    }

    /// Whether nothing has been owed for long for long enough, and how that stands.
    pub(super) fn owed_age(&self) -> (bool, String) {
        let (limit_s, for_s) = (FRESH_MS / 1_000, FOR_MS / 1_000);
        match self.fresh {
            Some((since, looked)) => {
                let ms = looked - since;
                let text = format!(
                    "no write owed for {limit_s} s or longer since {} s, of {for_s} s; the oldest now: {} ms",
                    ms / 1_000,
                    self.oldest_age_ms
                );
                (ms >= FOR_MS, text)
            }
            None if self.dead.is_none() => {
                (false, "not looked at yet, or the database cannot be read".to_owned())
            }
            None => {
                let text = format!(
                    "the oldest owed write waits for {} s; it must be under {limit_s} s for {for_s} s",
                    self.oldest_age_ms / 1_000
                );
                (false, text)
            }
        }
    }

    /// Whether a resource has no dead letters, and how that stands.
    pub(super) fn dead_letters(&self, resource: &ResourceName) -> (bool, String) {
        let Some((dead, more)) = &self.dead else {
            return (false, "not looked at yet, or the database cannot be read".to_owned());
        };
        match dead.get(resource).copied().unwrap_or_default() + more {
            0 => (true, "none".to_owned()),
            count => (false, format!("{count}: `crossfade outbox list --dead` shows them")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn owed(age_ms: u64, now_ms: u64) -> Option<Look> {
        Some(Look { oldest_ms: Some(now_ms - age_ms), ..Look::default() })
    }

    /// After a look each second, so many, each with the oldest write that old.
    fn watched(backlog: Backlog, from_ms: u64, seconds: u64, age_ms: u64) -> Backlog {
        (0..=seconds).fold(backlog, |backlog, second| {
            let now = from_ms + second * 1_000;
            backlog.after(owed(age_ms, now), now)
        })
    }

    #[test]
    fn a_minute_without_an_old_write_is_needed_and_one_old_write_begins_it_anew() {
        assert!(!Backlog::default().owed_age().0);
        let backlog = watched(Backlog::default(), NOW, 59, 4_999);
        assert!(!backlog.owed_age().0 && backlog.owed_age().1.contains("since 59 s, of 60 s"));
        let backlog = watched(backlog, NOW + 60_000, 0, 10);
        assert!(backlog.owed_age().0);
        let old = backlog.after(owed(5_000, NOW + 61_000), NOW + 61_000);
        assert!(!old.owed_age().0 && old.owed_age().1.contains("waits for 5 s"));
        assert!(!watched(old.clone(), NOW + 62_000, 59, 10).owed_age().0);
        assert!(watched(old, NOW + 62_000, 60, 10).owed_age().0);
        let nothing = (0..=60).fold(Backlog::default(), |backlog, second| {
            backlog.after(Some(Look::default()), NOW + second * 1_000)
        });
        assert!(nothing.owed_age().0);
    }

    #[test]
    fn what_was_not_looked_at_proves_nothing() {
        let minute = watched(Backlog::default(), NOW, 60, 0);
        assert!(minute.owed_age().0);
        let later = NOW + 60_000 + GAP_MS + 1;
        assert!(!minute.after(owed(0, later), later).owed_age().0, "nobody looked");
        assert!(!minute.after(owed(0, NOW), NOW).owed_age().0, "the clock was set back");
        assert!(!minute.after(None, NOW + 61_000).owed_age().0, "the database was away");
    }

    #[test]
    fn dead_letters_count_for_their_resource_and_those_that_are_not_told_apart_for_all() {
        let (users, teams) = (ResourceName::new("users"), ResourceName::new("teams"));
        assert!(!Backlog::default().dead_letters(&users).0);
        let dead = BTreeMap::from([(users.clone(), 2)]);
        let look = |more_dead| Some(Look { oldest_ms: None, dead: dead.clone(), more_dead });
        let backlog = Backlog::default().after(look(0), NOW);
        assert_eq!(backlog.dead_letters(&teams), (true, "none".to_owned()));
        assert!(backlog.dead_letters(&users).1.starts_with("2:"));
        assert!(!Backlog::default().after(look(1), NOW).dead_letters(&teams).0);
    }
}

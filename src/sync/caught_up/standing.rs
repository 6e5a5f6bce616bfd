//! Where a store stands, and the text under which that is kept.

use std::fmt;

const FINISHED: &str = "finished";
const LOST: &str = "lost.";
const MENDING: &str = "mending.";

/// Whether a resource's store holds all that legacy has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// No: nobody has run a backfill, or writes passed it by that crossfade was not to mirror. An operator runs one.
    #[default]
    Unfinished,
    /// Not for now: a write may be missing that crossfade was to mirror. It runs a backfill by itself, not before
    /// this time in epoch milliseconds, when no request that may still change legacy is under way any more.
    Mending {
        /// When, at the earliest.
        after_ms: u64,
    },
    /// Yes: its backfill is finished, and no write was missed since.
    Finished,
}

/// Writes that legacy has, or may have, and the store lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Missed {
    /// Until when such writes were done, in epoch milliseconds: what a user wrote later is newer than all of them.
    pub done_ms: u64,
    /// Until when a request that crossfade lost sight of may change legacy, in epoch milliseconds: no backfill that began
    /// before is believed.
    pub settled_ms: u64,
}

impl Missed {
    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            done_ms: self.done_ms.max(other.done_ms),
            settled_ms: self.settled_ms.max(other.settled_ms),
        }
    }
}

impl Missed {
    /// Reads what [`Missed`] is written as.
    pub(crate) fn parse(kept: &str) -> Option<Self> {
        let (done_ms, settled_ms) = kept.split_once('.')?;
        Some(Self { done_ms: done_ms.parse().ok()?, settled_ms: settled_ms.parse().ok()? })
    }
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.done_ms, self.settled_ms)
    }
}

impl Standing {
    pub(super) fn to_kept(self, missed: Missed) -> String {
        match self {
            Self::Unfinished => format!("{LOST}{missed}"),
            Self::Mending { .. } => format!("{MENDING}{missed}"),
            Self::Finished => FINISHED.to_owned(),
        }
    }

    pub(super) fn of_kept(kept: &str) -> (Self, Missed) {
        let missed = |prefix: &str| Missed::parse(kept.strip_prefix(prefix)?);
        match (kept, missed(MENDING)) {
            (FINISHED, _) => (Self::Finished, Missed::default()),
            (_, Some(missed)) => (Self::Mending { after_ms: missed.settled_ms }, missed),
            // Also what nobody can read: a store is not believed by mistake.
            _ => (Self::Unfinished, missed(LOST).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_what_is_not_understood_is_not_believed() {
        let missed = Missed { done_ms: 3, settled_ms: 7 };
        for standing in [Standing::Unfinished, Standing::Mending { after_ms: 7 }] {
            assert_eq!(Standing::of_kept(&standing.to_kept(missed)), (standing, missed));
        }
        let finished = Standing::Finished.to_kept(missed);
        assert_eq!(Standing::of_kept(&finished), (Standing::Finished, Missed::default()));
        for kept in ["", "lost.", "lost.x.1", "mending.7", "FINISHED"] {
            assert_eq!(
                Standing::of_kept(kept),
                (Standing::Unfinished, Missed::default()),
                "{kept}"
            );
        }
    }
}

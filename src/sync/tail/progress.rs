//! What is told of a tail.

/// Why nobody looks for writes past crossfade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TailWait {
    /// The resource is in a stage that leaves the store alone.
    Stage,
    /// The store is not caught up: a backfill has to finish first.
    Backfill,
}

impl std::fmt::Display for TailWait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Stage => {
                "it is in a stage that leaves the store alone: move it to dualwrite first"
            }
            Self::Backfill => "its store is not caught up: run `crossfade backfill` first",
        })
    }
}

/// How far a tail is, and what it has found since the process started.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TailProgress {
    /// The cell by which changes are followed.
    pub by: Option<String>,
    /// Its greatest value so far: what was changed before is known, but for what came to light late.
    pub watermark: Option<String>,
    /// Why nobody looks now.
    pub waits_for: Option<TailWait>,
    /// Polls that came to their end.
    pub polls: u64,
    /// When the last one began, in epoch milliseconds.
    pub polled_ms: Option<u64>,
    /// Sweeps that came to their end.
    pub sweeps: u64,
    /// When the last one began, in epoch milliseconds.
    pub swept_ms: Option<u64>,
    /// Rows that the sweep under way has read, or the last one had.
    pub read: u64,
    /// Rows that legacy says there are, if its list tells.
    pub total: Option<u64>,
    /// Rows that were new in legacy.
    pub made: u64,
    /// Rows that were otherwise in legacy.
    pub changed: u64,
    /// Rows that were gone in legacy.
    pub gone: u64,
    /// Rows that seemed gone, and were left: an edit of them is owed, or a mirror under way.
    pub left: u64,
    /// Rows of which the store knew something newer.
    pub stale: u64,
    /// How long the last change took from legacy into the store, in milliseconds, if its cell holds times.
    pub lag_ms: Option<u64>,
    /// Unmapped writes that wait for a sweep.
    pub asked: u64,
}

/// How a tail is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TailState {
    /// Whether a sweep is under way, or was ordered.
    pub running: bool,
    /// How far it is.
    pub progress: TailProgress,
    /// Why the last look failed.
    pub error: Option<String>,
}

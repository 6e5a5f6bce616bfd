//! How long a demo is, and how much happens in it.

use std::path::PathBuf;
use std::time::Duration;

use crate::report::RunId;

/// The shortest demo: less does not show every stage.
pub const MIN_LENGTH: Duration = Duration::from_secs(8);
/// The longest: its ledger is kept in memory.
pub const MAX_LENGTH: Duration = Duration::from_secs(600);

/// What a demo is like.
#[derive(Debug, Clone)]
pub struct DemoSettings {
    /// Decides which rows there are and what people choose to do.
    pub seed: u64,
    /// How long it is, and how much happens.
    pub scale: Scale,
    /// The folder that the report's folder is made in.
    pub reports: PathBuf,
    /// Names the report's folder.
    pub run: RunId,
}

/// How long a demo is, and how much happens in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    /// How long people do things; starting, waiting for quiet and checking come on top.
    pub length: Duration,
    /// Rows to begin with.
    pub rows: usize,
    /// Organisations: each is a path of its own.
    pub organisations: usize,
    /// What one person does at most in one scene.
    pub max_actions: u32,
    /// Pause between two actions of one person: at least this, at most four times it.
    pub pause: Duration,
}

impl Scale {
    /// A demo of about this length, kept between [`MIN_LENGTH`] and [`MAX_LENGTH`].
    #[must_use]
    pub fn of(length: Duration) -> Self {
        Self {
            length: length.clamp(MIN_LENGTH, MAX_LENGTH),
            rows: 1_200,
            organisations: 4,
            max_actions: 4_000,
            pause: Duration::from_millis(25),
        }
    }

    /// The shortest one, with less traffic: for tests.
    #[must_use]
    pub fn quick() -> Self {
        let pause = Duration::from_millis(40);
        Self { rows: 240, organisations: 3, pause, ..Self::of(MIN_LENGTH) }
    }
}

//! What is known of a store's edits at the server: how many it has for certain, and when to ask.

use std::time::Duration;

use mergeable_store::{ContentHashes, Synchronizer};
use tokio::time::Instant;

/// The wait after asking for hashes, before asking again; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The edits of a store and what proves that the server has them.
pub(super) struct Proof {
    /// Edits so far, and how many of them the server is known to have.
    pub(super) edits: u64,
    pub(super) acknowledged: u64,
    /// The last question for hashes: how many edits there were, and the own hashes.
    asked: Option<(u64, ContentHashes)>,
    /// When to ask, or to ask again.
    ask_at: Option<Instant>,
    pause: Duration,
    /// Callers that wait for proof.
    pub(super) waiting: usize,
    /// Answers to questions for hashes at which the client was caught up.
    pub(super) proofs: u64,
}

impl Default for Proof {
    fn default() -> Self {
        Self {
            edits: 0,
            acknowledged: 0,
            asked: None,
            ask_at: None,
            pause: FIRST_PAUSE,
            waiting: 0,
            proofs: 0,
        }
    }
}

impl Proof {
    /// Something has changed: the server is asked after a quiet moment, the first pause is short again.
    pub(super) fn ask_after(&mut self, quiet: Duration) {
        self.pause = FIRST_PAUSE;
        self.ask_at = Some(Instant::now() + quiet);
    }

    /// The connection is gone, and with it what was asked.
    pub(super) fn forget_questions(&mut self) {
        (self.asked, self.ask_at) = (None, None);
    }

    /// Notes what the server's hashes prove.
    pub(super) fn note(&mut self, sync: &Synchronizer) {
        if sync.caught_up() {
            self.acknowledged = self.edits;
        } else if let Some((edits, hashes)) = self.asked
            && sync.last_peer_hashes() == Some(hashes)
        {
            self.acknowledged = self.acknowledged.max(edits);
        }
    }

    /// When to ask next, if there is anything to find out.
    pub(super) fn due(&self, sync: &Synchronizer) -> Option<Instant> {
        let unsure = self.acknowledged < self.edits && !sync.caught_up();
        self.ask_at.filter(|_| sync.is_live() && (unsure || self.waiting > 0))
    }

    /// The server is being asked now.
    pub(super) fn asking(&mut self, hashes: ContentHashes) {
        self.asked = Some((self.edits, hashes));
        self.ask_at = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

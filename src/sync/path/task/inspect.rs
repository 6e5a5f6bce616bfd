//! What is told of a path, and how it ends for a rebuild.

use mergeable_store::Effects;

use super::PathTask;
use crate::sync::path::PathReport;
use crate::sync::path::batch::Batch;

/// Connections that are asked for their hashes at once.
const MAX_ASKED: usize = 256;

impl PathTask {
    /// Keeps and sends what the star did.
    pub(super) fn keep(&mut self, effects: &mut Effects, batch: &mut Batch) {
        self.vectors.take(effects, self.now());
        self.indexes.apply(self.star.store(), &effects.changed);
        batch.take(&self.path, effects);
    }

    pub(super) fn drain_all(&mut self, batch: &mut Batch) {
        for client in self.clients.keys().cloned().collect::<Vec<_>>() {
            self.drain(&client, batch);
        }
    }

    /// Ends the path with this batch if it has no connection; otherwise begins to drain them, and gives
    /// `false`: ask again.
    pub(super) fn retire(&mut self, batch: &mut Batch) -> bool {
        self.retired = self.clients.is_empty();
        if !self.retired {
            self.drain_all(batch);
        }
        self.retired
    }

    /// Asks those connections for their hashes of which it is not known that they have everything.
    pub(super) fn ask_hashes(&mut self, batch: &mut Batch) {
        for client in self.vectors.behind(MAX_ASKED) {
            let (now, mut random) = (self.now(), self.random());
            let mut effects = self.star.ask_hashes(now, &client, &mut random);
            self.take(&mut effects, batch);
        }
    }

    pub(super) fn report(&self, writers: usize) -> PathReport {
        let (vectors, now) = (&self.vectors, self.now());
        PathReport {
            hashes: self.star.store().hashes(),
            writers: vectors.writers(writers),
            writer_count: vectors.writer_count(),
            folded: vectors.folded(),
            connections: vectors.lags(now),
            conflicts: vectors.conflicts().cloned().collect(),
            conflicts_ever: vectors.conflicts_ever(),
        }
    }
}

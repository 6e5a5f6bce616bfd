//! A path that nobody uses is dropped from memory; its next use loads it again.

use std::time::Duration;

use super::PathTask;

impl PathTask {
    /// How long the path may still stay unused; `None` while it is in use.
    pub(super) fn idle_wait(&self) -> Option<Duration> {
        if !self.is_unused() {
            return None;
        }
        Some(self.context.idle_unload.saturating_sub(self.last_used.elapsed()))
    }

    /// Whether memory holds nothing that storage does not: no connection, nothing on its way to storage,
    /// and nothing owed, of which only memory knows whether legacy was asked for it.
    fn is_unused(&self) -> bool {
        self.clients.is_empty() && self.is_kept() && self.owed.is_empty()
    }

    pub(super) fn unload_if_unused(&mut self) {
        if self.idle_wait().is_some_and(|wait| wait.is_zero()) {
            self.unload();
        }
    }

    /// Takes the path out of the registry, if nothing needs it. Nobody can reach it then, and its task ends.
    pub(super) fn unload(&mut self) {
        let paths = self.context.paths.upgrade();
        if self.is_unused() && paths.is_some_and(|paths| paths.remove_unheld(&self.path)) {
            metrics::counter!("crossfade_sync_paths_unloaded_total").increment(1);
            tracing::debug!(path = %self.path, "path unloaded: nobody uses it");
        }
        // Whoever holds a handle is about to use it.
        self.last_used = tokio::time::Instant::now();
    }
}

//! The rollback switch as a file: who cannot reach the operators' listener, nor the database, makes it, and every process that
//! watches it rolls back.
//!
//! An empty file is for all resources; otherwise each line names a resource, or `all`. While it is there, its scopes are rolled
//! back. Taking it away lifts nothing: that takes an explicit command, and the file to be gone.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::audit::Audit;
use crate::clock::SharedClock;
use crate::config::{Config, Database};
use crate::flags::{RollbackState, Scope, StageDecider, SwitchState};
use crate::record::{Event, Note, NoteKind, Recorder};

/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(250);
/// A longer file is not read to its end: all resources are rolled back.
const MAX_BYTES: usize = 64 * 1024;
/// Who threw the switch.
const ACTOR: &str = "rollback-file";

/// The file that a configuration names; without one, that beside a local database.
pub(super) fn of(configured: Option<&Path>, control: &Database) -> Option<PathBuf> {
    match (configured, control) {
        (Some(path), _) => Some(path.to_owned()),
        (None, Database::File(database)) => {
            let mut path = database.clone().into_os_string();
            path.push(".rollback");
            Some(path.into())
        }
        (None, Database::Remote { .. }) => None,
    }
}

/// The file of this process, if it is there, or may be.
pub(super) async fn there(config: &Config) -> Option<PathBuf> {
    let storage = &config.storage;
    let path = of(storage.rollback_file.as_deref(), &storage.control)?;
    let there = tokio::fs::try_exists(&path).await.unwrap_or(true);
    there.then_some(path)
}

/// What throws the switch where the file says so.
pub(super) struct Watch {
    /// The file.
    pub(super) path: PathBuf,
    /// Whose resources, and whose switch.
    pub(super) config: Arc<Config>,
    /// The switch.
    pub(super) stages: Arc<StageDecider>,
    /// Wall time.
    pub(super) clock: SharedClock,
    /// Where it is noted, if this process records.
    pub(super) recorder: Option<Recorder>,
    /// Where it is written down.
    pub(super) audit: Audit,
}

/// Watches the file until told to stop. Nothing here waits for the database.
pub(super) async fn run(watch: Watch, stopping: watch::Receiver<bool>) {
    let mut stop = std::pin::pin!(super::told(stopping));
    let path = &watch.path;
    let names: Vec<_> = watch.config.resources.iter().map(|one| one.name.as_str()).collect();
    let mut unreadable = false;
    loop {
        match tokio::fs::read(path).await {
            Ok(content) => watch.trip(&scopes(&content, &names)),
            Err(error) if error.kind() == ErrorKind::NotFound => unreadable = false,
            // It is there, whatever it says.
            Err(error) if !unreadable => {
                unreadable = true;
                tracing::error!(path = %path.display(), %error, "the rollback file cannot be read");
                watch.trip(&[Scope::All]);
            }
            Err(_) => watch.trip(&[Scope::All]),
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = &mut stop => return,
        }
    }
}

/// What a file's content is for. What cannot be understood is for all resources: somebody wanted to roll back.
fn scopes(content: &[u8], names: &[&str]) -> Vec<Scope> {
    let text = if content.len() > MAX_BYTES { None } else { std::str::from_utf8(content).ok() };
    let lines = text.unwrap_or_default().lines().map(str::trim);
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    if lines.is_empty() || !lines.iter().all(|line| names.contains(line)) {
        return vec![Scope::All];
    }
    lines.into_iter().map(Scope::from).collect()
}

impl Watch {
    fn trip(&self, scopes: &[Scope]) {
        let (switch, path) = (self.stages.rollback(), self.path.display());
        for scope in scopes {
            if is_tripped(&switch.state(), scope) {
                continue;
            }
            let (at_ms, reason) = (self.clock.now_ms(), format!("{path} is there"));
            switch.trip(scope, ACTOR, &reason, at_ms, false);
            self.audit.note(ACTOR, "rollback", &scope.to_string(), &reason);
            tracing::warn!(%scope, %path, "rolled back by file");
            let text = format!("rolled back ({scope}) by {ACTOR}: {reason}");
            if let Some(recorder) = &self.recorder {
                recorder.record(Event::Note(Note { at_ms, kind: NoteKind::Rollback, text }));
            }
        }
    }
}

fn is_tripped(state: &RollbackState, scope: &Scope) -> bool {
    let tripped = |scope: &Scope| matches!(state.get(scope), Some(SwitchState::Tripped(_)));
    tripped(scope) || tripped(&Scope::All)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::ResourceName;

    #[test]
    fn an_empty_file_is_for_all_and_so_is_one_that_nobody_understands() {
        let names = ["users", "orders"];
        let of = |content: &str| scopes(content.as_bytes(), &names);
        let one = |name: &str| Scope::Resource(ResourceName::new(name));
        assert_eq!(of(""), [Scope::All]);
        assert_eq!(of(" \n\n"), [Scope::All]);
        assert_eq!(of("users\n"), [one("users")]);
        assert_eq!(of(" orders \r\nusers"), [one("orders"), one("users")]);
        for unclear in ["all", "users\nuzers", "it is on fire", "*"] {
            assert_eq!(of(unclear), [Scope::All], "{unclear}");
        }
        assert_eq!(scopes(&[0xff, 0xfe], &names), [Scope::All]);
        assert_eq!(scopes(&vec![b'\n'; MAX_BYTES + 1], &names), [Scope::All]);
    }

    #[test]
    fn it_lies_beside_a_local_database_unless_it_is_named() {
        let local = Database::File("/data/crossfade.db".into());
        assert_eq!(of(None, &local), Some("/data/crossfade.db.rollback".into()));
        assert_eq!(of(Some(Path::new("/run/stop")), &local), Some("/run/stop".into()));
    }
}

//! Flags from a file in Unleash's client-features JSON, evaluated as a server's would be.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use unleash_types::client_features::ClientFeatures;

use super::engine::{Application, Engine};
use super::{ProviderKind, Toggles};
use crate::clock::SharedClock;

/// Longest flag file that is read.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;
const REMEDY: &str = "write the document that Unleash serves at /api/client/features";

/// Where the file is and how often it is looked at.
#[derive(Debug, Clone)]
pub struct FileSettings {
    /// The file.
    pub path: PathBuf,
    /// How long between two looks.
    pub reload: Duration,
    /// What constraints may know of this program.
    pub application: Application,
}

/// A flag file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error(
        "flag file `{path}` cannot be read ({why}): create it, or correct `file` under [flags]"
    )]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        why: String,
    },
    /// It is longer than 16 MiB.
    #[error("flag file `{path}` is longer than {MAX_FILE_BYTES} bytes: shorten it")]
    TooLong {
        /// The file.
        path: String,
    },
    /// It is no JSON.
    #[error("flag file `{path}`, line {line}, column {column}: no JSON ({why}); {REMEDY}")]
    NotJson {
        /// The file.
        path: String,
        /// From 1.
        line: usize,
        /// From 1; 0 before the first character.
        column: usize,
        /// What is wrong.
        why: String,
    },
    /// It is JSON of another form.
    #[error("flag file `{path}`, line {line}, column {column}, at `{place}`: {why}; {REMEDY}")]
    WrongForm {
        /// The file.
        path: String,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// The path to the value inside the document.
        place: String,
        /// What is wrong.
        why: String,
    },
}

impl Toggles {
    /// Reads the file, and again whenever its content changes. Must be called in a tokio runtime.
    ///
    /// A file that turns bad later changes nothing: the last good content stays in force, and the
    /// status tells what is wrong.
    ///
    /// # Errors
    /// [`FileError`] if the file is bad now.
    pub fn from_file(settings: FileSettings, clock: SharedClock) -> Result<Self, FileError> {
        let engine = Arc::new(Engine::new(ProviderKind::File, settings.application, clock));
        let content = read_now(&settings.path)?;
        engine.accept(parse(&settings.path, &content)?);
        let feeder = follow(settings.path, settings.reload, content, Arc::clone(&engine));
        Ok(Self::new(engine, Some(tokio::spawn(feeder))))
    }
}

/// Looks at the file for ever.
async fn follow(path: PathBuf, reload: Duration, mut good: Vec<u8>, engine: Arc<Engine>) {
    let mut bad: Option<Result<Vec<u8>, FileError>> = None;
    let mut ticks = tokio::time::interval(reload.max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let read = read(&path).await;
        match read {
            Ok(content) if content == good => {
                bad = None;
                engine.confirm();
            }
            // Content is compared, not its time: two writes within one clock tick differ all the same.
            read if bad.as_ref() == Some(&read) => {}
            Ok(content) => match parse(&path, &content) {
                Ok(features) => {
                    (good, bad) = (content, None);
                    engine.accept(features);
                }
                Err(error) => {
                    engine.fail(error.to_string());
                    bad = Some(Ok(content));
                }
            },
            Err(error) => {
                engine.fail(error.to_string());
                bad = Some(Err(error));
            }
        }
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let owned = path.to_owned();
    let task = tokio::task::spawn_blocking(move || read_now(&owned));
    task.await.unwrap_or_else(|error| Err(unreadable(path, &error)))
}

fn read_now(path: &Path) -> Result<Vec<u8>, FileError> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut content = Vec::new();
    let mut bounded = file.take(MAX_FILE_BYTES + 1);
    bounded.read_to_end(&mut content).map_err(|error| unreadable(path, &error))?;
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(FileError::TooLong { path: path.display().to_string() });
    }
    Ok(content)
}

fn unreadable(path: &Path, why: &dyn std::fmt::Display) -> FileError {
    FileError::Unreadable { path: path.display().to_string(), why: why.to_string() }
}

fn parse(path: &Path, content: &[u8]) -> Result<ClientFeatures, FileError> {
    let path = path.display().to_string();
    let mut reader = serde_json::Deserializer::from_slice(content);
    let parsed = serde_path_to_error::deserialize(&mut reader);
    let (place, error) = match parsed {
        Ok(features) => match reader.end() {
            Ok(()) => return Ok(features),
            Err(error) => (String::new(), error),
        },
        Err(error) => (error.path().to_string(), error.into_inner()),
    };
    let (line, column) = (error.line(), error.column());
    // serde_json appends the position, which stands in front already.
    let why = error.to_string().replace(&format!(" at line {line} column {column}"), "");
    Err(if error.is_data() {
        FileError::WrongForm { path, line, column, place, why }
    } else {
        FileError::NotJson { path, line, column, why }
    })
}

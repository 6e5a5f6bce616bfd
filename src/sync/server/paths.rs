//! From the text of a path to the task that serves it: admitted, loaded, connected.

use std::sync::Arc;

use mergeable_store::ConnectionId;

use super::admission::{Admission, NotAdmitted, Session};
use crate::migration::InvalidPath;
use crate::storage::StorageError;
use crate::sync::late::LatePath;
use crate::sync::name::PathName;
use crate::sync::path::{ClientSink, PathError, PathHandle};
use crate::sync::peer::{PeerPath, PeerPaths};
use crate::sync::policy::Writer;
use crate::sync::registry::PathRegistry;

/// Why a path is not opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotOpened {
    #[error(transparent)]
    Spelling(#[from] InvalidPath),
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    #[error("the path cannot be loaded now; try again")]
    Unavailable(#[from] StorageError),
}

impl NotOpened {
    /// The reason as metrics and problem types name it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Spelling(_) => "sync-path",
            Self::NotAdmitted(NotAdmitted::Unauthenticated(_)) => "sync-token",
            Self::NotAdmitted(NotAdmitted::Revoked) => "sync-token-revoked",
            Self::NotAdmitted(NotAdmitted::WrongPath) => "sync-path-forbidden",
            Self::Unavailable(_) => "sync-path-unavailable",
        }
    }
}

/// A path that a session may open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Allowed {
    /// One that belongs to resources, by the name of one of its generations.
    Star(PathName),
    /// One that belongs to nobody, under its raw spelling.
    Peer(Arc<str>),
}

/// All paths of a server.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    pub(super) registry: PathRegistry,
    /// Present where paths that no resource maps are relayed.
    pub(super) peers: Option<PeerPaths>,
    pub(super) admission: Arc<dyn Admission>,
}

impl Paths {
    /// Whether a session may open a path, spelled as in a URL or joined from URL and channel. Both ways in, and every
    /// subscription, go through here.
    pub(super) fn allow(
        &self,
        path: &str,
        session: &Result<Session, NotAdmitted>,
    ) -> Result<Allowed, NotOpened> {
        let name = path.parse::<PathName>();
        let mapped = |name: &PathName| self.admission.is_mapped(&name.path);
        if self.peers.is_some() && !name.as_ref().is_ok_and(mapped) {
            return Ok(Allowed::Peer(path.into()));
        }
        let name = name?;
        match session {
            Ok(session) if session.is_revoked() => Err(NotAdmitted::Revoked.into()),
            Ok(session) if session.may_open(&name.path) => Ok(Allowed::Star(name)),
            Ok(_) => Err(NotAdmitted::WrongPath.into()),
            Err(error) => Err(error.clone().into()),
        }
    }

    /// Loads a path, if it is not in memory.
    pub(super) async fn load(&self, allowed: Allowed) -> Result<Path, NotOpened> {
        match (allowed, &self.peers) {
            (Allowed::Peer(name), Some(peers)) => Ok(Path::Peer(peers.path(name))),
            (Allowed::Peer(name), None) => Err(InvalidPath(name.to_string()).into()),
            (Allowed::Star(name), _) => {
                let handle = self.registry.get(&name.path).await;
                let handle = handle.inspect_err(|error| {
                    tracing::error!(path = %name, %error, "path cannot be loaded");
                })?;
                // Looked at after the path was got, which waits for a rebuild: a client of another generation must
                // not bring back what was deleted.
                let current = self.registry.name_of(&name.path);
                if current == name {
                    return Ok(Path::Star(handle));
                }
                let is_former = name.generation.next() == current.generation;
                let late = LatePath::new(self.registry.context().clone(), name, handle);
                Ok(Path::Late { late: Box::new(late), is_former })
            }
        }
    }
}

/// A path that can be connected to.
#[derive(Debug)]
pub(super) enum Path {
    Star(PathHandle),
    Peer(PeerPath),
    Late {
        late: Box<LatePath>,
        /// The generation before the one of now.
        is_former: bool,
    },
}

impl Path {
    /// Takes up a connection; drains it if sync is off, also if that happened while it was being made.
    pub(super) async fn connect(
        &mut self,
        client: &ConnectionId,
        writer: &Arc<Writer>,
        sink: ClientSink,
        admission: &dyn Admission,
    ) -> Result<(), PathError> {
        match self {
            Self::Star(path) => {
                let off = admission.is_off();
                path.connect(client.clone(), writer.clone(), sink, off).await?;
                if !off && admission.is_off() {
                    path.drain().await?;
                }
                Ok(())
            }
            Self::Peer(path) => {
                path.connect(client.clone(), sink).await;
                Ok(())
            }
            Self::Late { late, is_former } => {
                late.connect(client.clone(), writer.clone(), sink, *is_former);
                Ok(())
            }
        }
    }

    pub(super) async fn frame(&self, client: &ConnectionId, text: &str) -> Result<(), PathError> {
        match self {
            Self::Star(path) => path.frame(client.clone(), text).await,
            Self::Peer(path) => {
                path.frame(client, text).await;
                Ok(())
            }
            Self::Late { late, .. } => {
                late.frame(text.to_owned()).await;
                Ok(())
            }
        }
    }

    /// Returns once everything sent before has been worked on.
    pub(super) async fn worked_on(&self) -> Result<(), PathError> {
        match self {
            Self::Star(path) => path.settled().await,
            // A relayed frame is passed on before the next one is read.
            Self::Peer(_) | Self::Late { .. } => Ok(()),
        }
    }

    /// Lets the connection go. A path that is gone has done so already.
    pub(super) async fn disconnect(&self, client: &ConnectionId) {
        let _ = match self {
            Self::Star(path) => path.disconnect(client.clone()).await,
            Self::Peer(path) => {
                path.disconnect(client).await;
                Ok(())
            }
            // Its drain ends when nothing can send it frames any more.
            Self::Late { .. } => Ok(()),
        };
    }

    /// Whether its clients are ever drained.
    pub(super) fn drains(&self) -> bool {
        matches!(self, Self::Star(_))
    }
}

//! One process of several on one database: it holds the database if nobody else does, follows the holder otherwise, and
//! takes over when the holder ends.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::follower::Follower;
use super::{Listeners, ServeError, Server, Surroundings, bind};
use crate::config::Config;
use crate::storage::StorageError;

/// How often a follower tries to get the database.
const TRY: Duration = Duration::from_millis(250);

/// How long one that has lost the database lets requests under way end.
const LEAVE: Duration = Duration::from_secs(15);

/// What a process is to its database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It has the database.
    Holder,
    /// Another process has it.
    Follower,
}

/// A process of several.
#[derive(Debug)]
pub struct Clustered {
    listen: SocketAddr,
    admin: SocketAddr,
    role: watch::Receiver<Role>,
    shutdown: watch::Sender<bool>,
    task: JoinHandle<Result<(), ServeError>>,
}

/// Bound once, for whichever role: no connection is refused while they change.
struct Bound {
    users: TcpListener,
    operators: TcpListener,
}

impl Bound {
    fn listeners(&self) -> Result<Listeners, ServeError> {
        let again = |listener: &TcpListener| {
            let listener = listener.try_clone().map_err(ServeError::Address)?;
            tokio::net::TcpListener::from_std(listener).map_err(ServeError::Address)
        };
        Ok(Listeners { users: again(&self.users)?, operators: again(&self.operators)? })
    }
}

enum Running {
    Holder(Box<Server>),
    Follower(Follower),
}

impl Clustered {
    /// Binds both listeners, and starts in the role that is free.
    ///
    /// # Errors
    /// [`ServeError`] names what could not be used; nothing is left running then.
    pub async fn start(config: Config, around: Surroundings) -> Result<Self, ServeError> {
        let config = Arc::new(config);
        let std =
            |listener: tokio::net::TcpListener| listener.into_std().map_err(ServeError::Address);
        let users = std(bind("[server] listen", config.server.listen).await?)?;
        let operators = std(bind("[admin] listen", config.admin.listen).await?)?;
        let listen = users.local_addr().map_err(ServeError::Address)?;
        let admin = operators.local_addr().map_err(ServeError::Address)?;
        let bound = Bound { users, operators };
        let running = match hold(&bound, &config, &around).await? {
            Some(server) => Running::Holder(Box::new(server)),
            None => Running::Follower(
                Follower::start(bound.listeners()?, config.clone(), around.clone()).await?,
            ),
        };
        let (told, role) = watch::channel(running.role());
        let (shutdown, stopping) = watch::channel(false);
        let task = tokio::spawn(run(running, bound, config, around, told, stopping));
        Ok(Self { listen, admin, role, shutdown, task })
    }

    /// Where users' requests are answered.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Where operators' requests are answered.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Its role, followed.
    #[must_use]
    pub fn role(&self) -> watch::Receiver<Role> {
        self.role.clone()
    }

    /// Stops, as [`Server::stop`] does.
    ///
    /// # Errors
    /// [`ServeError`] if it could not take over when it had to, or if events could not be kept.
    pub async fn stop(self) -> Result<(), ServeError> {
        // The receiver is gone only if the task ended already.
        let _ = self.shutdown.send(true);
        self.task.await.unwrap_or_else(|error| Err(ServeError::Broken(error.to_string())))
    }

    /// Waits until it ends by itself, which it does only for an error.
    pub async fn ended(&mut self) -> Result<(), ServeError> {
        (&mut self.task).await.unwrap_or_else(|error| Err(ServeError::Broken(error.to_string())))
    }
}

impl Running {
    const fn role(&self) -> Role {
        match self {
            Self::Holder(_) => Role::Holder,
            Self::Follower(_) => Role::Follower,
        }
    }
}

/// A server, if the database is free.
async fn hold(
    bound: &Bound,
    config: &Arc<Config>,
    around: &Surroundings,
) -> Result<Option<Server>, ServeError> {
    match Server::on(bound.listeners()?, config.clone(), around.clone()).await {
        Ok(server) => Ok(Some(server)),
        Err(ServeError::Storage(StorageError::InUse { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn run(
    mut running: Running,
    bound: Bound,
    config: Arc<Config>,
    around: Surroundings,
    told: watch::Sender<Role>,
    stopping: watch::Receiver<bool>,
) -> Result<(), ServeError> {
    let mut stop = std::pin::pin!(super::told(stopping));
    loop {
        match running {
            Running::Holder(server) => {
                tokio::select! {
                    () = &mut stop => return server.stop().await,
                    () = server.fenced() => {}
                }
                tracing::warn!("another process has taken the database: this one follows it");
                told.send_replace(Role::Follower);
                // Of what it has in hand nothing can be kept any more: it is the other's.
                if tokio::time::timeout(LEAVE, server.stop()).await.is_err() {
                    tracing::warn!("what was under way was cut off");
                }
                let listeners = bound.listeners()?;
                let follower = Follower::start(listeners, config.clone(), around.clone()).await?;
                running = Running::Follower(follower);
            }
            Running::Follower(follower) => {
                tokio::select! {
                    () = &mut stop => {
                        follower.stop().await;
                        return Ok(());
                    }
                    () = tokio::time::sleep(TRY) => {}
                }
                running = match hold(&bound, &config, &around).await {
                    Ok(None) => Running::Follower(follower),
                    // Both answer for a moment: then the follower's requests end.
                    Ok(Some(server)) => {
                        tracing::warn!("this process has taken over: it holds the database now");
                        told.send_replace(Role::Holder);
                        tokio::spawn(follower.stop());
                        Running::Holder(Box::new(server))
                    }
                    // As a follower it does legacy's users no harm.
                    Err(error) => {
                        tracing::error!(%error, "the database is free, and could not be taken");
                        Running::Follower(follower)
                    }
                };
            }
        }
    }
}

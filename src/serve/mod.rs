//! A whole crossfade in one process: put together from a configuration, started, drained, stopped.

mod admin;
mod admission;
mod audit;
mod backlog;
mod build;
mod clustered;
mod error;
mod flags;
mod follower;
mod interlock;
mod jobs;
mod keeper;
mod lease;
mod mender;
mod outage;
mod own;
mod passed;
pub(crate) mod revoked;
mod rollback_file;
mod stages_mirrored;
pub(crate) mod switch;

pub use admin::{StageView, StagesView};
pub use clustered::{Clustered, Role};
pub use error::ServeError;
pub use interlock::{ConditionReport, StepReport};
pub use jobs::JobState;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::{SharedClock, SharedEntropy, SystemClock, SystemEntropy};
use crate::config::Config;
use crate::proxy::server::{ServeConfig, serve};
use crate::sync::CloseReason;

pub(crate) use admin::revocations;
pub(crate) use audit::ACTOR_HEADER;
pub(crate) use build::{Parts, compile_rules, open_beside};
pub(crate) use keeper::kept_stages;

/// What the caller supplies besides the configuration.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Wall time.
    pub clock: SharedClock,
    /// Randomness.
    pub entropy: SharedEntropy,
    /// How long requests under way get to end at a stop.
    pub grace: Duration,
    /// Toggles set by the caller instead of those that the configuration names.
    pub toggles: Option<Arc<crate::flags::Toggles>>,
    /// How the recorder is bounded, and how fine its spans of time are.
    pub recorder: crate::record::RecorderSettings,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            grace: Duration::from_secs(10),
            toggles: None,
            recorder: crate::record::RecorderSettings::default(),
        }
    }
}

/// Where a process is reached.
#[derive(Debug)]
struct Listeners {
    users: TcpListener,
    operators: TcpListener,
}

/// A crossfade that runs.
#[derive(Debug)]
pub struct Server {
    listen: SocketAddr,
    admin: SocketAddr,
    parts: Parts,
    shutdown: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Server {
    /// Opens the databases, binds both listeners and starts everything.
    ///
    /// # Errors
    /// [`ServeError`] names what could not be used; nothing is left running then.
    pub async fn start(config: Config, surroundings: Surroundings) -> Result<Self, ServeError> {
        let users = bind("[server] listen", config.server.listen).await?;
        let operators = bind("[admin] listen", config.admin.listen).await?;
        Self::on(Listeners { users, operators }, Arc::new(config), surroundings).await
    }

    /// The same on listeners that are bound.
    async fn on(
        listeners: Listeners,
        config: Arc<Config>,
        surroundings: Surroundings,
    ) -> Result<Self, ServeError> {
        let Listeners { users, operators } = listeners;
        let (listen, admin) = (local(&users)?, local(&operators)?);
        let grace = surroundings.grace;
        let parts = build::build(config, surroundings).await?;
        // What they send is answered once everything runs.
        if let Some(advertise) = &parts.config.cluster.advertise {
            lease::take(&*parts.storage, advertise.as_str()).await?;
        }
        metrics::gauge!("crossfade_holding").set(1.0);
        let (shutdown, stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let max_headers = parts.config.server.max_headers;
        let limits = ServeConfig { grace, max_headers, ..ServeConfig::default() };
        tasks.spawn(serve(users, own::Users::new(&parts), limits, told(stopping.clone())));
        tasks.spawn(serve(operators, admin::router(&parts), limits, told(stopping.clone())));
        tasks.spawn(keeper::run(parts.clone(), stopping.clone()));
        tasks.spawn(crate::sync::run_owed_mirrors(parts.mirror.clone(), stopping.clone()));
        let configured = parts.config.storage.rollback_file.as_deref();
        if let Some(path) = rollback_file::of(configured, &parts.config.storage.control) {
            tasks.spawn(rollback_file::run(parts.rollback_file(path), stopping.clone()));
        }
        tasks.spawn(mender::run(parts.clone(), stopping.clone()));
        tasks.spawn(crate::sync::tail::run(parts.tail.clone(), stopping.clone()));
        tasks.spawn(crate::sync::outbox::run(parts.outbox.clone(), stopping));
        Ok(Self { listen, admin, parts, shutdown, tasks })
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

    /// The stages in force, for whoever runs a crossfade inside its own process.
    #[must_use]
    pub fn stages(&self) -> &Arc<crate::flags::StageDecider> {
        &self.parts.stages
    }

    /// The paths in memory.
    #[must_use]
    pub fn registry(&self) -> &crate::sync::PathRegistry {
        &self.parts.registry
    }

    /// What is kept.
    #[must_use]
    pub fn storage(&self) -> &crate::storage::SharedStorage {
        &self.parts.storage
    }

    /// What happened, kept.
    #[must_use]
    pub fn recorder(&self) -> &crate::record::Recorder {
        &self.parts.recorder
    }

    /// The copier of legacy's rows.
    #[must_use]
    pub fn backfill(&self) -> &crate::sync::backfill::Backfill {
        &self.parts.backfill
    }

    /// Waits until no mirror and no comparison is under way. New ones may start meanwhile.
    pub async fn idle(&self) {
        self.parts.mirror.idle().await;
        self.parts.shadow.idle().await;
        self.parts.parity.idle().await;
    }

    /// Waits until another process has taken the database, over the network: then this one must be stopped.
    pub async fn fenced(&self) {
        self.parts.storage.fenced().await;
    }

    /// Stops: accepts no more, lets requests under way end, closes sockets with a code of their own,
    /// waits for deliveries under way, and keeps what was recorded.
    ///
    /// # Errors
    /// [`ServeError::Record`] if events could not be kept.
    pub async fn stop(mut self) -> Result<(), ServeError> {
        // Receivers live in the tasks; they are all gone only if every task ended already.
        let _ = self.shutdown.send(true);
        self.parts.sync.close_all(CloseReason::going_away()).await;
        self.parts.forwarder.close_tunnels().await;
        while self.tasks.join_next().await.is_some() {}
        self.parts.tail.close().await;
        self.parts.mirror.close().await;
        self.parts.audit.idle().await;
        self.parts.recorder.close().await.map_err(ServeError::Record)
    }
}

async fn told(mut stopping: watch::Receiver<bool>) {
    // An error means that the server was dropped, which stops as well.
    let _ = stopping.wait_for(|stop| *stop).await;
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Bind { key, address, source })
}

fn local(listener: &TcpListener) -> Result<SocketAddr, ServeError> {
    listener.local_addr().map_err(ServeError::Address)
}

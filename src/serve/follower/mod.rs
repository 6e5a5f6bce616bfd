//! A process that found its database held by another one (design §5, sync backend `embedded`).
//!
//! It follows flags and the rollback switch as every process does, passes on to the holder what needs the store, and has
//! legacy answer everything else; also all of it while the holder does not answer.

mod admin;
mod front;
mod holder;
mod keeper;

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::audit::Audit;
use super::passed::PassedBy;
use super::{Listeners, ServeError, Surroundings, build, flags, rollback_file, told};
use crate::clock::{SharedClock, SharedEntropy};
use crate::config::Config;
use crate::flags::{NoInterlock, StageDecider};
use crate::identity::{Revocations, Secret};
use crate::proxy::forward::Forwarder;
use crate::proxy::server::{ServeConfig, serve};
use crate::resource::RouteTable;
use crate::storage::SharedStorage;

use holder::HolderLink;

/// A follower's parts, shared.
#[derive(Debug, Clone)]
struct Parts(Arc<AllParts>);

impl std::ops::Deref for Parts {
    type Target = AllParts;

    fn deref(&self) -> &AllParts {
        &self.0
    }
}

#[derive(Debug)]
struct AllParts {
    config: Arc<Config>,
    clock: SharedClock,
    entropy: SharedEntropy,
    storage: SharedStorage,
    stages: Arc<StageDecider>,
    routes: RouteTable,
    legacy: Forwarder,
    holder: HolderLink,
    passed: PassedBy,
    revocations: Revocations,
    audit: Audit,
    metrics: PrometheusHandle,
    admin_token: Secret,
}

/// A follower that runs.
#[derive(Debug)]
pub(super) struct Follower {
    parts: Parts,
    shutdown: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Follower {
    /// Starts it on listeners that are bound.
    ///
    /// # Errors
    /// [`ServeError`] names what could not be used; nothing is left running then.
    pub(super) async fn start(
        listeners: Listeners,
        config: Arc<Config>,
        around: Surroundings,
    ) -> Result<Self, ServeError> {
        let grace = around.grace;
        let (told_of_holder, link) = HolderLink::new();
        let parts = parts(config, around, link).await?;
        let (shutdown, stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let max_headers = parts.config.server.max_headers;
        let limits = ServeConfig { grace, max_headers, ..ServeConfig::default() };
        let (users, operators) = (front::router(&parts), admin::router(&parts));
        tasks.spawn(serve(listeners.users, users, limits, told(stopping.clone())));
        tasks.spawn(serve(listeners.operators, operators, limits, told(stopping.clone())));
        let configured = parts.config.storage.rollback_file.as_deref();
        if let Some(path) = rollback_file::of(configured, &parts.config.storage.control) {
            let watch = rollback_file::Watch {
                path,
                config: parts.config.clone(),
                stages: parts.stages.clone(),
                clock: parts.clock.clone(),
                recorder: None,
                audit: parts.audit.clone(),
            };
            tasks.spawn(rollback_file::run(watch, stopping.clone()));
        }
        tasks.spawn(keeper::run(parts.clone(), stopping.clone()));
        tasks.spawn(holder::run(parts.clone(), told_of_holder, stopping));
        metrics::gauge!("crossfade_holding").set(0.0);
        Ok(Self { parts, shutdown, tasks })
    }

    /// Stops: accepts no more, lets requests under way end, closes tunnels.
    pub(super) async fn stop(mut self) {
        // Receivers live in the tasks; they are all gone only if every task ended already.
        let _ = self.shutdown.send(true);
        self.parts.legacy.close_tunnels().await;
        if let Some(holder) = self.parts.holder.now() {
            holder.forwarder.close_tunnels().await;
        }
        while self.tasks.join_next().await.is_some() {}
        self.parts.passed.idle().await;
        self.parts.audit.idle().await;
    }
}

async fn parts(
    config: Arc<Config>,
    around: Surroundings,
    holder: HolderLink,
) -> Result<Parts, ServeError> {
    let Surroundings { clock, entropy, toggles: given, .. } = around;
    let metrics = build::metrics_handle()?;
    let admin_token = Secret::new(config.admin.token.resolve()?);
    let storage = build::open_beside(&config.storage.control).await?;
    let legacy = build::forwarder(&config, &entropy)?;
    let toggles = match given {
        Some(toggles) => toggles,
        None => Arc::new(flags::toggles(&config.flags, clock.clone())?),
    };
    let stages = build::stage_decider(&config, toggles, &storage, Arc::new(NoInterlock)).await?;
    let settle = config.legacy.response_timeout;
    let passed = PassedBy::new(storage.clone(), clock.clone(), settle, entropy.next_u64());
    let revocations = build::revocations(&config, &storage, &clock).await?;
    let routes = RouteTable::new(&config.resources).map_err(ServeError::Routes)?;
    let stages = Arc::new(stages);
    let audit = Audit::new(storage.clone(), clock.clone(), config.server.listen);
    Ok(Parts(Arc::new(AllParts {
        config,
        clock,
        entropy,
        storage,
        stages,
        routes,
        legacy,
        holder,
        passed,
        revocations,
        audit,
        metrics,
        admin_token,
    })))
}

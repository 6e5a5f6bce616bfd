//! All parts of a crossfade, from a configuration.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::admission::{Signer, TokenAdmission};
use super::audit::Audit;
use super::flags::toggles;
use super::interlock::{InterlockParts, Interlocks};
use super::jobs::Jobs;
use super::stages_mirrored::StagesMirrored;
use super::{ServeError, Surroundings, rollback_file};
use crate::clock::{SharedClock, SharedEntropy};
use crate::compare::Rules;
use crate::config::{Config, Database, IdentityMode, KeySource as ConfiguredKeys, Topology};
use crate::flags::{Evaluation, Interlock, RollbackSwitch, StageDecider};
use crate::gate::Tallies;
use crate::identity::{
    KeySource, OnBehalfOf, Revocations, Secret, SessionSettings, SessionVerifier, SyncTokens,
};
use crate::legacy::{LegacyClient, LegacySettings};
use crate::migration::ResourceName;
use crate::proxy::forward::{ForwardConfig, Forwarder, Upstream};
use crate::proxy::{
    Authenticator, Background, Edge, EdgeParts, Parity, ParityParts, ParitySettings, Shadow,
    ShadowParts, ShadowSettings, StoreReader,
};
use crate::record::{Recorder, Redactor};
use crate::resource::{Resource, RouteTable};
use crate::storage::{ControlOp, LibsqlStorage, SharedStorage};
use crate::sync::backfill::{Backfill, BackfillProgress};
use crate::sync::mirror::{Mirror, MirrorParts};
use crate::sync::outbox::{OutboxContext, OutboxSettings};
use crate::sync::reconcile::{Reconcile, Reconciliation};
use crate::sync::server::{SocketLimits, SyncServer, SyncServerSettings};
use crate::sync::tail::{Tail, TailParts};
use crate::sync::{
    CaughtUp, IntentParts, Intents, LegacyPace, LegacyRows, MappedTables, OwedMirrors, OwedWaits,
    PathRegistry, RegistrySettings, RowTraffic, StoreWriter,
};

/// A store read over this goes to legacy.
const STORE_READ_DEADLINE: Duration = Duration::from_secs(2);
/// Deliveries under way at once.
const OUTBOX_CONCURRENCY: usize = 16;

/// All parts, shared: a request takes them along, and a copy of each would cost it more than it does itself.
#[derive(Debug, Clone)]
pub(crate) struct Parts(Arc<AllParts>);

impl std::ops::Deref for Parts {
    type Target = AllParts;

    fn deref(&self) -> &AllParts {
        &self.0
    }
}

impl AllParts {
    /// What watches the rollback file.
    pub(super) fn rollback_file(&self, path: std::path::PathBuf) -> rollback_file::Watch {
        rollback_file::Watch {
            path,
            config: self.config.clone(),
            stages: self.stages.clone(),
            clock: self.clock.clone(),
            recorder: Some(self.recorder.clone()),
            audit: self.audit.clone(),
        }
    }
}

/// What [`Parts`] shares.
#[derive(Debug)]
pub(crate) struct AllParts {
    pub(crate) config: Arc<Config>,
    pub(crate) clock: SharedClock,
    pub(crate) storage: SharedStorage,
    pub(crate) registry: PathRegistry,
    pub(crate) stages: Arc<StageDecider>,
    pub(crate) interlocks: Arc<Interlocks>,
    pub(crate) tallies: Tallies,
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) tokens: Arc<SyncTokens>,
    pub(crate) revocations: Revocations,
    pub(crate) forwarder: Forwarder,
    pub(crate) edge: Edge,
    pub(crate) sync: SyncServer,
    pub(crate) shadow: Shadow,
    pub(crate) parity: Parity,
    pub(crate) mirror: Mirror,
    pub(crate) tail: Tail,
    pub(crate) backfill: Backfill,
    pub(crate) backfills: Jobs<BackfillProgress>,
    pub(crate) reconcile: Reconcile,
    pub(crate) reconciles: Jobs<Reconciliation>,
    pub(crate) outbox: OutboxContext,
    pub(crate) recorder: Recorder,
    pub(crate) audit: Audit,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) admin_token: Secret,
}

/// Puts the parts together.
pub(super) async fn build(config: Arc<Config>, around: Surroundings) -> Result<Parts, ServeError> {
    let Surroundings { clock, entropy, toggles: given, recorder, .. } = around;
    let metrics = metrics_handle()?;
    let admin_token = Secret::new(config.admin.token.resolve()?);
    let service_token = Secret::new(config.legacy.service_token.resolve()?);
    let storage = open_storage(&config.storage.control).await?;
    let recorder =
        Recorder::open(&config.storage.recordings, &recorder).await.map_err(ServeError::Record)?;
    let legacy = legacy_client(&config, &service_token)?;
    let forwarder = forwarder(&config, &entropy)?;
    let tokens = Arc::new(sync_tokens(&config, &storage, &clock, &entropy).await?);
    let revocations = revocations(&config, &storage, &clock).await?;
    let authenticator = Arc::new(authenticator(&config, &clock)?);
    let toggles = match given {
        Some(toggles) => toggles,
        None => Arc::new(toggles(&config.flags, clock.clone())?),
    };
    let now_ms = clock.now_ms();
    let settle = config.legacy.response_timeout;
    let caught_up = CaughtUp::load(storage.clone(), now_ms, settle).await?;
    let tallies = tallies(&config, &storage).await?;
    let names = config.resources.iter().map(|resource| resource.name.clone());
    let interlocks = Arc::new(Interlocks::new(InterlockParts {
        resources: config.resources.clone(),
        caught_up: caught_up.clone(),
        tallies: tallies.clone(),
        flags: Evaluation::new(toggles.clone(), &config.flags.prefix, names),
        waived: config.interlocks.waive.clone(),
    }));
    let stages = Arc::new(stage_decider(&config, toggles, &storage, interlocks.clone()).await?);
    // What followers sent past the process that held the database before.
    super::passed::take_in(&*storage, &caught_up, &stages).await?;
    let tables = Arc::new(MappedTables::new(&config.resources));
    let unique_id = unique_id(&storage, &entropy).await?;
    let registry = PathRegistry::new(RegistrySettings {
        storage: storage.clone(),
        tables: tables.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
        unique_id,
        durability: config.sync.durability,
        idle_unload: config.sync.idle_unload,
        pace: config.sync.pace,
        max_cell_bytes: config.sync.max_cell_bytes,
    })
    .decided_by(stages.clone());
    registry.learn_generations().await?;
    let traffic = RowTraffic::default();
    let rows = LegacyRows {
        registry: registry.clone(),
        storage: storage.clone(),
        legacy: legacy.clone(),
        traffic: traffic.clone(),
        pace: LegacyPace::new(config.backfill.requests_per_s),
    };
    let writer = StoreWriter {
        registry: registry.clone(),
        storage: storage.clone(),
        caught_up: caught_up.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
        waits: OwedWaits::default(),
    };
    let reader = StoreReader::new(registry.clone(), caught_up.clone(), STORE_READ_DEADLINE);
    let shadow = Shadow::new(ShadowParts {
        settings: ShadowSettings {
            max_concurrent: config.compare.max_concurrent,
            settle: config.compare.settle.clone(),
            noise_sample: config.compare.noise_sample,
        },
        rules: compile_rules(&config.resources)?,
        reader: reader.clone(),
        legacy: legacy.clone(),
        authenticator: authenticator.clone(),
        recorder: recorder.clone(),
        redactor: Redactor::random(&*entropy),
        tallies: tallies.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
        background: Background::start().map_err(ServeError::Threads)?,
    });
    let parity = Parity::new(ParityParts {
        settings: ParitySettings {
            sample: config.compare.parity_sample,
            settle: config.compare.settle.clone(),
        },
        resources: config.resources.clone(),
        stages: stages.clone(),
        registry: registry.clone(),
        caught_up: caught_up.clone(),
        storage: storage.clone(),
        legacy: legacy.clone(),
        recorder: recorder.clone(),
        redactor: Redactor::random(&*entropy),
        tallies: tallies.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
    });
    let intents = Intents::new(IntentParts {
        storage: storage.clone(),
        caught_up: caught_up.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
        settle,
    });
    let owed = OwedMirrors::default();
    owed.take_up(&storage, &intents, &tables, now_ms).await?;
    let mirror = Mirror::new(MirrorParts {
        rows: rows.clone(),
        caught_up: caught_up.clone(),
        intents: intents.clone(),
        owed: owed.clone(),
        clock: clock.clone(),
    });
    let tail = Tail::new(TailParts {
        resources: config.resources.clone(),
        rows: rows.clone(),
        caught_up: caught_up.clone(),
        mirror: mirror.clone(),
        mirrored: Arc::new(StagesMirrored(stages.clone())),
        clock: clock.clone(),
    });
    let edge = Edge::new(EdgeParts {
        routes: RouteTable::new(&config.resources).map_err(ServeError::Routes)?,
        stages: stages.clone(),
        authenticator: authenticator.clone(),
        forwarder: forwarder.clone(),
        reader,
        writer,
        shadow: shadow.clone(),
        mirror: mirror.clone(),
        caught_up: caught_up.clone(),
        intents: intents.clone(),
        tail: tail.clone(),
        recorder: recorder.clone(),
        clock: clock.clone(),
        max_body_bytes: config.compare.max_body_bytes,
    });
    let admission = TokenAdmission {
        tokens: tokens.clone(),
        revocations: revocations.clone(),
        insecure_dev: matches!(config.identity.mode, IdentityMode::InsecureDev),
        stages: stages.clone(),
        resources: config.resources.clone(),
        clock: clock.clone(),
    };
    let sync = SyncServer::new(SyncServerSettings {
        registry: registry.clone(),
        admission: Arc::new(admission),
        clock: clock.clone(),
        entropy: entropy.clone(),
        relay_unmapped: config.sync.topology == Topology::Peer,
        limits: SocketLimits {
            max_connections: config.sync.max_connections,
            ping: config.sync.ping,
            silence: config.sync.silence,
            send_timeout: config.sync.send_timeout,
        },
    });
    let outbox = OutboxContext {
        storage: storage.clone(),
        registry: registry.clone(),
        legacy,
        traffic,
        intents: intents.clone(),
        owed: owed.clone(),
        on_behalf_of: Arc::new(Signer(OnBehalfOf::new(&service_token, clock.clone()))),
        clock: clock.clone(),
        entropy,
        settings: OutboxSettings {
            concurrency: OUTBOX_CONCURRENCY,
            initial_backoff: config.outbox.initial_backoff,
            max_backoff: config.outbox.max_backoff,
            max_attempts: config.outbox.max_attempts,
        },
    };
    let reconcile = Reconcile {
        rows: rows.clone(),
        caught_up: caught_up.clone(),
        clock: clock.clone(),
        settle: config.compare.settle.clone(),
    };
    let backfill = Backfill { rows, caught_up, clock: clock.clone() };
    let audit = Audit::new(storage.clone(), clock.clone(), config.server.listen);
    Ok(Parts(Arc::new(AllParts {
        config,
        clock,
        storage,
        registry,
        stages,
        interlocks,
        tallies,
        authenticator,
        tokens,
        revocations,
        forwarder,
        edge,
        sync,
        shadow,
        parity,
        mirror,
        tail,
        backfill,
        backfills: Jobs::default(),
        reconcile,
        reconciles: Jobs::default(),
        outbox,
        recorder,
        audit,
        metrics,
        admin_token,
    })))
}

/// One recorder of metrics for the process, however many servers it runs.
pub(super) fn metrics_handle() -> Result<PrometheusHandle, ServeError> {
    static HANDLE: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();
    HANDLE
        .get_or_init(|| PrometheusBuilder::new().install_recorder().map_err(|e| e.to_string()))
        .clone()
        .map_err(ServeError::Metrics)
}

/// Opens the database that the configuration names beside the process that has it.
pub(crate) async fn open_beside(database: &Database) -> Result<SharedStorage, ServeError> {
    Ok(match database {
        Database::File(path) => Arc::new(LibsqlStorage::open_beside(path).await?),
        Database::Remote { url, auth_token } => {
            let token = auth_token.as_ref().map(|token| token.resolve()).transpose()?;
            Arc::new(LibsqlStorage::open_remote_beside(url, token.unwrap_or_default()).await?)
        }
    })
}

/// Opens the control database that the configuration names, for this process alone.
async fn open_storage(database: &Database) -> Result<SharedStorage, ServeError> {
    Ok(match database {
        Database::File(path) => Arc::new(LibsqlStorage::open_file(path).await?),
        Database::Remote { url, auth_token } => {
            let token = auth_token.as_ref().map(|token| token.resolve()).transpose()?;
            Arc::new(LibsqlStorage::open_remote(url, token.unwrap_or_default()).await?)
        }
    })
}

fn legacy_client(config: &Config, service_token: &Secret) -> Result<LegacyClient, ServeError> {
    Ok(LegacyClient::new(LegacySettings {
        base_url: config.legacy.url.as_str().trim_end_matches('/').to_owned(),
        connect_timeout: config.legacy.connect_timeout,
        // Nobody waits for what crossfade asks on its own: it has the longer of the two.
        timeout: config.legacy.response_timeout.max(config.compare.timeout),
        compare_timeout: config.compare.timeout,
        service_token: Some(service_token.expose().to_owned()),
        max_body_bytes: config.compare.max_body_bytes,
    })?)
}

pub(super) fn forwarder(config: &Config, entropy: &SharedEntropy) -> Result<Forwarder, ServeError> {
    let upstream = Upstream::parse(config.legacy.url.as_str())?;
    let forward = ForwardConfig {
        connect_timeout: config.legacy.connect_timeout,
        response_timeout: config.legacy.response_timeout,
        max_response_headers: config.server.max_headers,
        ..ForwardConfig::new(upstream, entropy.clone())
    };
    Ok(Forwarder::new(forward)?)
}

fn authenticator(config: &Config, clock: &SharedClock) -> Result<Authenticator, ServeError> {
    match &config.identity.mode {
        IdentityMode::InsecureDev => Ok(Authenticator::InsecureDev),
        IdentityMode::Clerk { keys, authorized_parties, issuer } => {
            let keys = match keys {
                ConfiguredKeys::PemFile(path) => KeySource::PemFile(path.clone()),
                ConfiguredKeys::Jwks(url) => KeySource::JwksUrl(url.as_str().to_owned()),
            };
            let settings = SessionSettings {
                authorized_parties: authorized_parties.clone(),
                issuer: issuer.clone(),
                ..SessionSettings::new(keys)
            };
            Ok(Authenticator::Clerk(SessionVerifier::new(settings, clock.clone())?))
        }
    }
}

/// The key that signs sync tokens: from a file, or made once and kept, so that tokens survive a restart.
async fn sync_tokens(
    config: &Config,
    storage: &SharedStorage,
    clock: &SharedClock,
    entropy: &SharedEntropy,
) -> Result<SyncTokens, ServeError> {
    let settings = &config.identity.sync_token;
    let pem = match &settings.signing_key_file {
        Some(file) => Secret::new(crate::config::SecretRef::File(file.clone()).resolve()?),
        None => match storage.control("sync_token_key".to_owned()).await? {
            Some(pem) => Secret::new(pem),
            None => {
                let pem = SyncTokens::generate_pem()?;
                put(storage, "sync_token_key", pem.expose()).await?;
                pem
            }
        },
    };
    Ok(SyncTokens::new(&pem, settings.ttl, clock.clone(), entropy.clone())?)
}

/// What was revoked.
pub(super) async fn revocations(
    config: &Config,
    storage: &SharedStorage,
    clock: &SharedClock,
) -> Result<Revocations, ServeError> {
    let kept = super::revoked::read(&**storage).await?;
    Ok(Revocations::new(kept, config.identity.sync_token.ttl, clock.clone()))
}

pub(super) async fn stage_decider(
    config: &Config,
    toggles: Arc<crate::flags::Toggles>,
    storage: &SharedStorage,
    interlocks: Arc<dyn Interlock>,
) -> Result<StageDecider, ServeError> {
    let names: Vec<ResourceName> = config.resources.iter().map(|r| r.name.clone()).collect();
    let evaluation = Evaluation::new(toggles, &config.flags.prefix, names);
    let known = super::keeper::kept_stages(&**storage).await?;
    let rollback = super::switch::read(&**storage).await?;
    let switch = Arc::new(RollbackSwitch::new(rollback));
    Ok(StageDecider::new(evaluation, switch, interlocks, known))
}

/// The tallies that were kept.
async fn tallies(config: &Config, storage: &SharedStorage) -> Result<Tallies, ServeError> {
    let tallies = Tallies::new(config.interlocks.gate);
    for (key, kept) in storage.controls(super::keeper::TALLY_KEY.to_owned()).await? {
        if let Some(name) = key.strip_prefix(super::keeper::TALLY_KEY) {
            tallies.restore(&ResourceName::new(name), &kept);
        }
    }
    Ok(tallies)
}

/// The unique id of this database's stores. Made once: stamps of the server are told by it.
async fn unique_id(
    storage: &SharedStorage,
    entropy: &SharedEntropy,
) -> Result<Arc<str>, ServeError> {
    let id = match storage.control("unique_id".to_owned()).await? {
        Some(id) => id,
        None => {
            let id = format!("crossfade-{:016x}", entropy.next_u64());
            put(storage, "unique_id", &id).await?;
            id
        }
    };
    // Over the network, one that was stopped may stamp what it can no longer keep: never as its successor does.
    Ok(match storage.epoch() {
        Some(epoch) => format!("{id}-{epoch}").into(),
        None => id.into(),
    })
}

async fn put(storage: &SharedStorage, key: &str, value: &str) -> Result<(), ServeError> {
    let op = ControlOp::Put { key: key.to_owned(), value: value.to_owned() };
    storage.commit_control(vec![op]).await?;
    Ok(())
}

/// Each resource's comparison rules, compiled.
pub(crate) fn compile_rules(
    resources: &[Arc<Resource>],
) -> Result<HashMap<ResourceName, Rules>, ServeError> {
    let compiled = resources.iter().map(|resource| {
        let rules = Rules::compile(&resource.compare).map_err(|source| ServeError::Rules {
            resource: resource.name.to_string(),
            source: Box::new(source),
        })?;
        Ok((resource.name.clone(), rules))
    });
    compiled.collect()
}

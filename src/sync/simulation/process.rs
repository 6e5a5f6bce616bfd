//! A process of crossfade: all of its sync half, and the loops that serve runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::legacy::{SimLegacy, SimTransport, TIMEOUT};
use super::tally::{Seen, Tally};
use super::{Seeded, SimClock};
use crate::clock::{SharedClock, SharedEntropy};
use crate::config::Durability;
use crate::legacy::LegacyClient;
use crate::resource::Resource;
use crate::storage::{Actor, MemoryStorage, SharedStorage};
use crate::sync::backfill::Backfill;
use crate::sync::mirror::{Mirror, MirrorParts};
use crate::sync::outbox::{self, OnBehalfOf, OutboxContext, OutboxSettings};
use crate::sync::reconcile::Reconcile;
use crate::sync::{
    CaughtUp, IntentParts, Intents, LegacyRows, MappedTables, OwedMirrors, PaceSettings,
    PathRegistry, RegistrySettings, RowTraffic, Standing, run_owed_mirrors,
};

/// How often a dead letter is tried before it is one.
const MAX_ATTEMPTS: u32 = 4;

pub(super) struct Process {
    pub(super) registry: PathRegistry,
    pub(super) caught_up: CaughtUp,
    pub(super) intents: Intents,
    pub(super) mirror: Mirror,
    pub(super) owed: OwedMirrors,
    pub(super) backfill: Backfill,
    pub(super) reconcile: Reconcile,
    pub(super) outbox: OutboxContext,
    pub(super) users: Arc<Resource>,
    pub(super) disk: MemoryStorage,
    pub(super) killed: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// Signs with the user's name.
#[derive(Debug)]
struct Plain;

impl OnBehalfOf for Plain {
    fn sign(&self, actor: &Actor, _: u64) -> Result<String, String> {
        Ok(actor.user.clone())
    }
}

impl Process {
    pub(super) async fn start(
        disk: &MemoryStorage,
        users: Arc<Resource>,
        legacy: &SimLegacy,
        clock: SimClock,
        random: &Seeded,
        tally: &Tally,
    ) -> Self {
        let tables = Arc::new(MappedTables::new(std::slice::from_ref(&users)));
        let (disk, killed) = (disk.for_process(), Arc::new(AtomicBool::new(false)));
        let storage: SharedStorage = Arc::new(disk.clone());
        let clock: SharedClock = Arc::new(clock);
        let entropy: SharedEntropy = Arc::new(random.clone());
        let transport = SimTransport { legacy: legacy.clone(), killed: killed.clone() };
        let client = LegacyClient::over(Arc::new(transport));
        let registry = PathRegistry::new(RegistrySettings {
            storage: storage.clone(),
            tables: tables.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            unique_id: "server".into(),
            durability: Durability::Committed,
            idle_unload: Duration::from_secs(20),
            pace: PaceSettings::default(),
            max_cell_bytes: 1 << 20,
        });
        let now_ms = clock.now_ms();
        let caught_up = CaughtUp::load(storage.clone(), now_ms, TIMEOUT).await.unwrap();
        let intents = Intents::new(IntentParts {
            storage: storage.clone(),
            caught_up: caught_up.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            settle: TIMEOUT,
        });
        let owed = OwedMirrors::default();
        owed.take_up(&storage, &intents, &tables, now_ms).await.unwrap();
        let traffic = RowTraffic::default();
        let rows = LegacyRows {
            registry: registry.clone(),
            storage: storage.clone(),
            legacy: client.clone(),
            traffic: traffic.clone(),
        };
        let mirror = Mirror::new(MirrorParts {
            rows: rows.clone(),
            caught_up: caught_up.clone(),
            intents: intents.clone(),
            owed: owed.clone(),
            clock: clock.clone(),
        });
        let outbox = OutboxContext {
            storage,
            registry: registry.clone(),
            legacy: client,
            traffic,
            intents: intents.clone(),
            owed: owed.clone(),
            on_behalf_of: Arc::new(Plain),
            clock: clock.clone(),
            entropy,
            settings: OutboxSettings {
                concurrency: 4,
                initial_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(2),
                max_attempts: MAX_ATTEMPTS,
            },
        };
        let backfill =
            Backfill { rows: rows.clone(), caught_up: caught_up.clone(), clock: clock.clone() };
        let settle = [1, 3, 10].map(Duration::from_secs).to_vec();
        let reconcile =
            Reconcile { rows, caught_up: caught_up.clone(), clock: clock.clone(), settle };
        let (stop, stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(outbox::run(outbox.clone(), stopping.clone()));
        tasks.spawn(run_owed_mirrors(mirror.clone(), stopping.clone()));
        tasks.spawn(mend(backfill.clone(), users.clone(), clock, stopping, tally.clone()));
        Self {
            registry,
            caught_up,
            intents,
            mirror,
            owed,
            backfill,
            reconcile,
            outbox,
            users,
            disk,
            killed,
            stop,
            tasks,
        }
    }

    /// `kill -9`: what is committed stays, and nothing that it still does reaches anybody.
    pub(super) fn kill(mut self) {
        self.killed.store(true, Ordering::Relaxed);
        self.disk.kill();
        self.tasks.abort_all();
    }

    /// A stop that waits for what is under way.
    pub(super) async fn stop(mut self) {
        self.registry.close_all(crate::sync::CloseReason::going_away()).await;
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
        self.mirror.close().await;
        self.kill();
    }
}

/// What serve's mender does.
async fn mend(
    backfill: Backfill,
    users: Arc<Resource>,
    clock: SharedClock,
    mut stopping: watch::Receiver<bool>,
    tally: Tally,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
            _ = stopping.changed() => return,
        }
        let Standing::Mending { after_ms } = backfill.caught_up.standing(&users.name) else {
            continue;
        };
        if after_ms > clock.now_ms() {
            continue;
        }
        tokio::select! {
            done = backfill.run(&users, |_| {}) => if done.is_ok() {
                tally.saw(Seen::Mended);
            },
            _ = stopping.changed() => return,
        }
    }
}

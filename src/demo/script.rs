//! The script: what happens, in which order, for how long.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Outcome;
use super::error::DemoError;
use super::legacy_api::Faults;
use super::meters::{Meters, Reader};
use super::settings::DemoSettings;
use super::traffic::{RestUser, SyncUser, Until, all_act};
use super::verify::{Sockets, verify};
use super::world::World;
use crate::migration::Stage;
use crate::record::{Note, NoteKind, Recording, TimeRange};
use crate::report::{Report, ReportMeta, write_report};
use crate::serve::JobState;
use crate::sync::CloseReason;
use crate::sync::backfill::BackfillProgress;
use crate::sync::client::{Lost, Status};
use crate::sync::reconcile::Reconciliation;

/// The field that the sample API shows wrongly for a while.
pub(super) const WRONG_FIELD: &str = "createdAt";
/// What it shows there: what a lost time looks like.
const WRONG_VALUE: &str = "1970-01-01T00:00:00.000Z";
/// How slow it gets for a while.
const SLOW: Duration = Duration::from_millis(120);
/// What must come is waited for this long; it guards against hanging, nothing more.
const GUARD: Duration = Duration::from_secs(30);
/// How often something is looked at that is waited for.
const LOOK: Duration = Duration::from_millis(50);
/// Scenes in all.
const SCENES: u32 = 8;

/// A scene begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scene {
    /// From 1.
    pub number: u32,
    /// How many there are.
    pub of: u32,
    /// The stage and what happens in it, in a line.
    pub title: &'static str,
}

/// Who watches.
pub trait Audience: Send + Sync {
    /// A scene begins.
    fn scene(&self, scene: &Scene);
    /// Something happened.
    fn tell(&self, text: &str);
    /// The backfill got on.
    fn backfill(&self, progress: &BackfillProgress);
    /// The meters were read.
    fn meters(&self, meters: &Meters);
}

/// Plays all scenes, checks, and writes the report.
pub(super) async fn play(
    world: &mut World,
    settings: &DemoSettings,
    audience: &Arc<dyn Audience>,
    stop: &CancellationToken,
) -> Result<Outcome, DemoError> {
    let reader = Reader::of(world);
    let showing = reader.show(audience.clone());
    let people = People { rest: world.rest_users(), sync: Vec::new() };
    let mut script = Script { world, audience, stop, people, scene: 0 };
    let played = tokio::select! {
        played = script.scenes(settings.scale.length) => played,
        // Whatever is under way is dropped; the world stops it.
        () = stop.cancelled() => Err(DemoError::Interrupted),
    };
    let sockets = match played {
        Ok(sockets) => sockets,
        Err(error) => {
            script.people.leave().await;
            return Err(error);
        }
    };
    let checks = verify(world, sockets).await;
    script.people.leave().await;
    drop(showing);
    let (checks, meters) = (checks?, reader.read().await?);
    audience.meters(&meters);
    Ok(Outcome { checks, report: write(world, settings).await?, meters })
}

/// Makes the report of what was recorded.
async fn write(
    world: &World,
    settings: &DemoSettings,
) -> Result<crate::report::ReportPaths, DemoError> {
    world.server.recorder().flush().await?;
    let recorded =
        Recording::open_read(&world.recordings).await?.load(TimeRange::default()).await?;
    let meta = ReportMeta {
        title: "crossfade demo: users, from off to live and back".to_owned(),
        run: settings.run.clone(),
        generated_at_ms: world.clock.now_ms(),
    };
    let (folder, report) = (settings.reports.clone(), Report::of(&recorded, &meta));
    let written = tokio::task::spawn_blocking(move || write_report(&folder, &report)).await;
    Ok(written.map_err(|error| DemoError::Broken(error.to_string()))??)
}

/// Everybody.
#[derive(Debug)]
struct People {
    rest: Vec<RestUser>,
    sync: Vec<SyncUser>,
}

impl People {
    async fn act(&mut self, until: &Until) -> Result<(), DemoError> {
        let (rest, sync) = (std::mem::take(&mut self.rest), std::mem::take(&mut self.sync));
        let (rest, sync) = tokio::try_join!(all_act(rest, until), all_act(sync, until))?;
        (self.rest, self.sync) = (rest, sync);
        Ok(())
    }

    async fn leave(&mut self) {
        join_all(std::mem::take(&mut self.sync).into_iter().map(SyncUser::close)).await;
    }
}

struct Script<'a> {
    world: &'a World,
    audience: &'a Arc<dyn Audience>,
    stop: &'a CancellationToken,
    people: People,
    scene: u32,
}

impl Script<'_> {
    async fn scenes(&mut self, length: Duration) -> Result<Sockets, DemoError> {
        let share = |percent: u32| length * percent / 100;
        self.off(share(8)).await?;
        self.dualwrite(share(17)).await?;
        self.shadow(share(18)).await?;
        self.wrong_field(share(12)).await?;
        self.slow(share(9)).await?;
        self.live(share(13), 50, "live for half: the store answers 50 % of the users").await?;
        self.live(share(13), 100, "live for all: the store answers everybody").await?;
        self.rollback(share(10)).await
    }

    /// Only REST, and nothing but a proxy.
    async fn off(&mut self, length: Duration) -> Result<(), DemoError> {
        self.begin("off: crossfade is a plain proxy");
        self.act(length).await
    }

    /// Both sides are written; what was there before is copied while everybody goes on.
    async fn dualwrite(&mut self, length: Duration) -> Result<(), DemoError> {
        self.begin("dualwrite: sync clients come, both sides are written, the store is filled");
        self.stage(Stage::DualWrite);
        self.people.sync = self.world.sync_users()?;
        for user in &self.people.sync {
            self.within("a sync client", user.client().wait_status(|s| *s == Status::Live)).await?;
        }
        let until = Until::after(length, self.stop);
        let (world, audience) = (self.world, self.audience);
        let backfill = async {
            tokio::time::sleep(length / 5).await;
            backfill(world, audience).await
        };
        let (done, ()) = tokio::try_join!(backfill, self.people.act(&until))?;
        self.tell(&format!(
            "backfill: {} rows read in {} pass(es), {} of them older than what the store had",
            done.read, done.passes, done.stale
        ));
        self.quiet().await?;
        let found = reconcile(self.world).await?;
        self.tell(&format!(
            "reconcile: {} rows in legacy and {} in the store, {} of them differ",
            found.legacy_rows,
            found.store_rows,
            found.diverged()
        ));
        Ok(())
    }

    /// Every read is answered by legacy and compared with the store.
    async fn shadow(&mut self, length: Duration) -> Result<(), DemoError> {
        self.begin("shadow: legacy answers, every answer is compared with the store's");
        self.stage(Stage::Shadow);
        self.act(length).await
    }

    async fn wrong_field(&mut self, length: Duration) -> Result<(), DemoError> {
        self.begin("shadow, and legacy shows a field wrongly: this must be found");
        let wrong_field = Some((WRONG_FIELD.to_owned(), json!(WRONG_VALUE)));
        self.fault(Faults { wrong_field, ..Faults::default() }, "legacy shows createdAt wrongly");
        self.act(length).await?;
        self.mend("legacy shows createdAt rightly again");
        let stages = self.world.operate(Method::GET, "/stages", None).await?;
        let conditions = stages.pointer("/resources/0/next/conditions").and_then(Value::as_array);
        let gate = conditions.into_iter().flatten().find(|one| one["condition"] == "mismatch-gate");
        if let Some(figure) = gate.and_then(|gate| gate["figure"].as_str()) {
            self.tell(&format!("mismatch gate: {figure} (the demo waives it)"));
        }
        Ok(())
    }

    async fn slow(&mut self, length: Duration) -> Result<(), DemoError> {
        self.begin("shadow, and legacy is slow: the comparison must not make it worse");
        self.fault(
            Faults { delay: SLOW, ..Faults::default() },
            "legacy waits 120 ms before each answer",
        );
        self.act(length).await?;
        self.mend("legacy is as fast as before");
        Ok(())
    }

    /// The store answers the cohort, and legacy is compared with it.
    async fn live(
        &mut self,
        length: Duration,
        cohort: u8,
        title: &'static str,
    ) -> Result<(), DemoError> {
        self.begin(title);
        self.stage(Stage::Live);
        self.world.toggles.set_cohort(&self.world.resource.name, cohort);
        self.note(NoteKind::Cohort, format!("users: cohort of {cohort} %"));
        self.act(length).await
    }

    /// In the middle of it all, one switch; then everything owed still arrives.
    async fn rollback(&mut self, length: Duration) -> Result<Sockets, DemoError> {
        self.begin("rollback: one switch, in the middle of it all");
        let until = Until::after(length, self.stop);
        let world = self.world;
        let switch = async {
            tokio::time::sleep(length / 3).await;
            let order = json!({ "scope": "all", "reason": "the demo shows it", "actor": "demo" });
            world.shared.ledger.rolling_back();
            let answer = world.operate(Method::POST, "/rollback", Some(order)).await?;
            world.shared.tally.switched();
            Ok::<Value, DemoError>(answer)
        };
        let (answer, ()) = tokio::try_join!(switch, self.people.act(&until))?;
        // On a busy machine the order may have been answered at the end of the scene: somebody has to come after it.
        self.people.act(&Until::after(length / 3, self.stop)).await?;
        let owed = answer["owed"]["pending"].as_u64().unwrap_or(0);
        self.tell(&format!("rolled back; {owed} writes were owed at that moment"));
        self.quiet().await?;
        let mut sockets = Sockets { all: self.people.sync.len(), drained: 0 };
        for user in &self.people.sync {
            let drained = user.client().wait_status(is_drained);
            sockets.drained += usize::from(tokio::time::timeout(GUARD, drained).await.is_ok());
        }
        Ok(sockets)
    }

    fn begin(&mut self, title: &'static str) {
        self.scene += 1;
        self.audience.scene(&Scene { number: self.scene, of: SCENES, title });
    }

    /// People act; then all that is under way comes to its end.
    async fn act(&mut self, length: Duration) -> Result<(), DemoError> {
        let until = Until::after(length, self.stop);
        self.people.act(&until).await?;
        self.quiet().await
    }

    /// Waits until every edit is acknowledged, nothing is owed and nothing is under way.
    async fn quiet(&mut self) -> Result<(), DemoError> {
        let settled = join_all(self.people.sync.iter_mut().map(SyncUser::settle)).await;
        if let Some(Err(where_it_stands)) = settled.into_iter().find(Result::is_err) {
            return Err(stuck(&format!("sync edits to be acknowledged ({where_it_stands})")));
        }
        let (server, storage) = (&self.world.server, self.world.server.storage());
        let quiet = async {
            loop {
                server.idle().await;
                if storage.outbox_summary(0).await?.pending == 0 {
                    return Ok::<(), DemoError>(());
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        self.within("what is owed to be delivered", quiet).await??;
        self.world.shared.ledger.next_scene();
        Ok(())
    }

    fn stage(&self, stage: Stage) {
        self.world.toggles.set_stage(&self.world.resource.name, stage);
    }

    fn fault(&self, faults: Faults, text: &str) {
        self.world.api.faults.set(faults);
        self.note(NoteKind::Fault, text.to_owned());
        self.tell(text);
    }

    fn mend(&self, text: &str) {
        self.world.api.faults.clear();
        self.note(NoteKind::Fault, text.to_owned());
    }

    fn note(&self, kind: NoteKind, text: String) {
        let at_ms = self.world.clock.now_ms();
        self.world.server.recorder().record(Note { at_ms, kind, text });
    }

    fn tell(&self, text: &str) {
        self.audience.tell(text);
    }

    async fn within<T>(&self, what: &str, future: impl Future<Output = T>) -> Result<T, DemoError> {
        tokio::time::timeout(GUARD, future).await.map_err(|_| stuck(what))
    }
}

fn stuck(what: &str) -> DemoError {
    DemoError::Stuck { what: what.to_owned(), seconds: GUARD.as_secs() }
}

/// Whether the connection ended because crossfade had taken over all that the client had.
fn is_drained(status: &Status) -> bool {
    let code = CloseReason::drained().code;
    matches!(status, Status::Waiting(Lost::Closed { code: closed, .. }) if *closed == code)
}

/// Has the operators' listener copy legacy's rows, and follows it to its end.
async fn backfill(
    world: &World,
    audience: &Arc<dyn Audience>,
) -> Result<BackfillProgress, DemoError> {
    job(world, "backfill", |progress| audience.backfill(progress)).await
}

/// Has the operators' listener compare both sides in full, and waits for its end.
async fn reconcile(world: &World) -> Result<Reconciliation, DemoError> {
    job(world, "reconcile", |_| {}).await
}

/// Has the operators' listener do some work, tells how far it is, and gives what it came to.
async fn job<P: serde::de::DeserializeOwned>(
    world: &World,
    work: &str,
    told: impl Fn(&P),
) -> Result<P, DemoError> {
    let address = format!("/{work}");
    world.operate(Method::POST, &address, None).await?;
    loop {
        let answer = world.operate(Method::GET, &address, None).await?;
        let state = answer["resources"][world.resource.name.as_str()].clone();
        let state: JobState<P> =
            serde_json::from_value(state).map_err(|error| DemoError::Broken(error.to_string()))?;
        told(&state.progress);
        match (state.running, state.error) {
            (true, _) => tokio::time::sleep(LOOK).await,
            (false, None) => return Ok(state.progress),
            (false, Some(error)) => return Err(DemoError::Broken(format!("{work}: {error}"))),
        }
    }
}

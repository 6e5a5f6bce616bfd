//! REST writes, brought into the store once legacy has answered them.
//!
//! The caller has its answer by then and waits for nothing here. An answer that does not say what
//! legacy has now (an empty body, a broken connection, a status that leaves it open) is settled by
//! reading the row again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio_util::task::TaskTracker;

use super::caught_up::{CaughtUp, OpenMirror};
use super::legacy_rows::{LegacyRowError, LegacyRows, json_of, read_row};
use super::path::{Source, Wrote};
use crate::clock::SharedClock;
use crate::migration::{RowId, WriteKind};
use crate::proxy::forward::{End, Tapped};
use crate::resource::{Resource, RowCells};

/// How often a mirror is tried before it is given up and counted.
const TRIES: u32 = 8;
/// Wait after the first failed try; doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// A REST write that legacy was asked to do.
#[derive(Debug)]
pub struct MirrorJob {
    /// The resource.
    pub resource: Arc<Resource>,
    /// What was asked.
    pub write: WriteKind,
    /// When it was sent, in epoch milliseconds.
    pub sent_ms: u64,
    /// What passed through.
    pub tapped: Tapped,
    /// Says that the store does not have the write yet.
    pub open: OpenMirror,
}

/// Brings REST writes into the store.
#[derive(Debug, Clone)]
pub struct Mirror {
    rows: LegacyRows,
    caught_up: CaughtUp,
    clock: SharedClock,
    under_way: TaskTracker,
}

/// What an answer says about the row.
enum Told {
    /// Nothing happened.
    Nothing,
    /// The row is this now.
    Row(Value),
    /// The row is gone.
    Gone(RowId),
    /// Look at the row again.
    Open(Option<RowId>),
}

impl Mirror {
    /// A mirror into these paths.
    #[must_use]
    pub fn new(rows: LegacyRows, caught_up: CaughtUp, clock: SharedClock) -> Self {
        Self { rows, caught_up, clock, under_way: TaskTracker::new() }
    }

    /// Takes an answered write; returns at once. As many mirrors are under way as callers had writes
    /// under way, which the server's bound on connections bounds.
    pub fn take(&self, job: MirrorJob) {
        if let (WriteKind::Delete(row), Some(head)) = (&job.write, &job.tapped.head)
            && head.status.is_success()
        {
            // Before the caller's next request: answers that are older than this are not believed.
            let now = self.clock.now_ms();
            self.rows.traffic.deleted(&job.resource.name, row, now);
        }
        let mirror = self.clone();
        self.under_way.spawn(async move {
            if let Err(error) = mirror.run(&job).await {
                mirror.failed(&job.resource, &error);
            }
            // Only now may the store answer again: with the write, or not at all.
            drop(job);
        });
    }

    /// Reads a row again, because something may have changed it; returns at once.
    pub fn reread(&self, resource: Arc<Resource>, row: RowId) {
        let mirror = self.clone();
        self.under_way.spawn(async move {
            let open = mirror.caught_up.open(&resource.name, None).await;
            if let Err(error) = mirror.reread_with_retry(&resource, row).await {
                mirror.failed(&resource, &error);
            }
            drop(open);
        });
    }

    /// Waits until no mirror is under way. New ones may still be taken.
    pub async fn idle(&self) {
        self.under_way.close();
        self.under_way.wait().await;
        self.under_way.reopen();
    }

    /// A write that the store does not get: it answers no more reads until a backfill has run.
    fn failed(&self, resource: &Resource, error: &LegacyRowError) {
        metrics::counter!("crossfade_mirror_failed_total").increment(1);
        tracing::error!(resource = %resource.name, %error, "a REST write did not reach the store");
        self.caught_up.lose(&resource.name);
    }

    async fn run(&self, job: &MirrorJob) -> Result<(), LegacyRowError> {
        match told(job) {
            Told::Nothing => Ok(()),
            Told::Open(Some(row)) => self.reread_with_retry(&job.resource, row).await,
            Told::Open(None) => Err(LegacyRowError::NoAnswer(
                "left open whether it made a row, and which".to_owned(),
            )),
            Told::Gone(row) => {
                let source = self.source(job);
                retry(|| self.rows.remove(&job.resource, row.clone(), &source)).await
            }
            Told::Row(value) => match read_row(&job.resource, &value) {
                Ok(found) => {
                    let source = self.source(job);
                    let now = || self.clock.now_ms();
                    retry(|| self.rows.apply_one(&job.resource, found.clone(), &source, now()))
                        .await
                }
                // A part of the row, or another shape: what legacy gives for a read is the row.
                Err(problem) => match known_row(job, &value) {
                    Some(row) => self.reread_with_retry(&job.resource, row).await,
                    None => Err(problem),
                },
            },
        }
    }

    async fn reread_with_retry(
        &self,
        resource: &Arc<Resource>,
        row: RowId,
    ) -> Result<(), LegacyRowError> {
        let reread = || async {
            self.rows.reread(resource, row.clone(), self.clock.now_ms()).await.map(drop)
        };
        retry(reread).await
    }

    fn source(&self, job: &MirrorJob) -> Source {
        let wrote = match job.write {
            WriteKind::Create => Wrote::All,
            // A delete takes all cells; it has none to compare.
            WriteKind::Delete(_) | WriteKind::Update(_) => Wrote::Cells(request_cells(job)),
        };
        Source::Request { wrote, sent_ms: job.sent_ms }
    }
}

/// The fields that the request's body names.
fn request_cells(job: &MirrorJob) -> BTreeSet<String> {
    match json_of(&job.tapped.request.decode()) {
        Ok(Value::Object(fields)) => fields.into_iter().map(|(name, _)| name).collect(),
        _ => BTreeSet::new(),
    }
}

fn told(job: &MirrorJob) -> Told {
    let asked = match &job.write {
        WriteKind::Create => None,
        WriteKind::Update(row) | WriteKind::Delete(row) => Some(row.clone()),
    };
    let created = || asked.clone().or_else(|| client_id(job));
    let Some(head) = &job.tapped.head else {
        return match job.tapped.end {
            End::Refused | End::NotReached(_) | End::Upgraded => Told::Nothing,
            // Legacy may have done it all the same.
            End::Complete | End::CallerLeft | End::Failed(_) => Told::Open(created()),
        };
    };
    match (head.status.as_u16(), &job.write) {
        (200..=299, WriteKind::Delete(row)) => Told::Gone(row.clone()),
        (200..=299, _) => match json_of(&job.tapped.response.decode()) {
            Ok(body) if job.tapped.end == End::Complete => {
                match job.resource.envelope.item(&body).cloned() {
                    Some(item) => Told::Row(item),
                    None => Told::Open(created()),
                }
            }
            _ => Told::Open(created()),
        },
        (500..=599, _) => created().map_or(Told::Nothing, |row| Told::Open(Some(row))),
        _ => Told::Nothing,
    }
}

/// The id that a create's own body asks for.
fn client_id(job: &MirrorJob) -> Option<RowId> {
    let body = json_of(&job.tapped.request.decode()).ok()?;
    row_id_in(&job.resource, &body)
}

fn known_row(job: &MirrorJob, answer: &Value) -> Option<RowId> {
    match &job.write {
        WriteKind::Update(row) | WriteKind::Delete(row) => Some(row.clone()),
        WriteKind::Create => row_id_in(&job.resource, answer),
    }
}

fn row_id_in(resource: &Resource, object: &Value) -> Option<RowId> {
    let cell = mergeable_store::Cell::from_json(object.get(&*resource.id)?).ok()?;
    let cells: RowCells = [(resource.id.clone(), cell)].into_iter().collect();
    resource.row_id(&cells)
}

/// Tries again what may work later: a path that was just dropped, a legacy API that is away.
async fn retry<F: Future<Output = Result<(), LegacyRowError>>>(
    attempt: impl Fn() -> F,
) -> Result<(), LegacyRowError> {
    let mut wait = FIRST_WAIT;
    for _ in 1..TRIES {
        match attempt().await {
            Err(
                LegacyRowError::NoAnswer(_)
                | LegacyRowError::NotKept(_)
                | LegacyRowError::Storage(_),
            ) => {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
            outcome => return outcome,
        }
    }
    attempt().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::Body;

    #[tokio::test(start_paused = true)]
    async fn what_may_work_later_is_tried_again_and_what_cannot_is_not() {
        let tries = std::cell::Cell::new(0);
        let outcome =
            retry(|| {
                tries.set(tries.get() + 1);
                let away = tries.get() < 3;
                async move {
                    if away { Err(LegacyRowError::NoAnswer("away".to_owned())) } else { Ok(()) }
                }
            })
            .await;
        assert!(outcome.is_ok());
        assert_eq!(tries.get(), 3);
        tries.set(0);
        let outcome = retry(|| {
            tries.set(tries.get() + 1);
            async { Err(LegacyRowError::NoId) }
        })
        .await;
        assert!(outcome.is_err());
        assert_eq!(tries.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_up_ends_being_caught_up() {
        use crate::clock::{SystemClock, SystemEntropy};
        use crate::legacy::{LegacyClient, LegacySettings};
        use crate::storage::{MemoryStorage, SharedStorage};
        use crate::sync::row_traffic::RowTraffic;
        use crate::sync::{MappedTables, PaceSettings, PathRegistry, RegistrySettings};

        let example = include_str!("../../docs/crossfade.example.toml");
        let config =
            crate::config::Config::parse(example, std::path::Path::new("."), "example").unwrap();
        let users = config.resources[0].clone();
        let storage: SharedStorage = Arc::new(MemoryStorage::default());
        let clock: SharedClock = Arc::new(SystemClock);
        let registry = PathRegistry::new(RegistrySettings {
            storage: storage.clone(),
            tables: Arc::new(MappedTables::new(&config.resources)),
            clock: clock.clone(),
            entropy: Arc::new(SystemEntropy),
            unique_id: "server".into(),
            durability: crate::config::Durability::Committed,
            idle_unload: Duration::from_secs(300),
            pace: PaceSettings::default(),
            max_cell_bytes: 1 << 20,
        });
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let legacy = LegacyClient::new(LegacySettings {
            base_url: format!("http://{free}"),
            connect_timeout: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            compare_timeout: Duration::from_secs(1),
            service_token: Some("service".to_owned()),
            max_body_bytes: 1024,
        })
        .unwrap();
        let caught_up = CaughtUp::load(storage.clone()).await.unwrap();
        caught_up.finish(&users.name, caught_up.begin(&users.name)).await.unwrap();
        let rows = LegacyRows { registry, storage, legacy, traffic: RowTraffic::default() };
        let mirror = Mirror::new(rows, caught_up.clone(), clock);
        mirror.reread(users.clone(), RowId::new("u1"));
        assert!(caught_up.is(&users.name), "not before it is given up");
        mirror.idle().await;
        assert!(!caught_up.is(&users.name));
    }

    #[test]
    fn only_a_whole_body_is_json() {
        assert!(json_of(&Body::Truncated).is_err());
        assert!(json_of(&Body::Whole("{}".into())).is_ok());
    }
}

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

use super::caught_up::{CaughtUp, Missed, PassingBy};
use super::intents::{Intents, OpenIntent};
use super::legacy_rows::{LegacyRowError, LegacyRows, Requested, json_of};
use super::owed_mirrors::{OwedMirror, OwedMirrors};
use super::path::{Source, Wrote};
use crate::clock::SharedClock;
use crate::migration::{RowId, WriteKind};
use crate::proxy::forward::{End, Tapped};
use crate::resource::{Resource, RowCells};

/// How often a mirror is tried before it is owed.
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
    pub open: OpenIntent,
}

/// What a mirror works with.
#[derive(Debug, Clone)]
pub struct MirrorParts {
    /// The way into the paths.
    pub rows: LegacyRows,
    /// Which stores hold all that legacy has.
    pub caught_up: CaughtUp,
    /// What is under way.
    pub intents: Intents,
    /// What could not be done at once.
    pub owed: OwedMirrors,
    /// Wall time.
    pub clock: SharedClock,
}

/// Brings REST writes into the store.
#[derive(Debug, Clone)]
pub struct Mirror {
    parts: MirrorParts,
    under_way: TaskTracker,
}

/// What an answer says about the row.
#[derive(Debug, PartialEq)]
enum Told {
    /// Nothing happened.
    Nothing,
    /// The row is this now.
    Row(Value),
    /// The row is gone.
    Gone(RowId),
    /// Look at the row again, if it is known which.
    Look(Option<RowId>, Request),
}

/// Whether a request may still change legacy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// It was answered.
    Over,
    /// Nobody knows.
    OutOfSight,
}

impl Mirror {
    /// A mirror of these parts.
    #[must_use]
    pub fn new(parts: MirrorParts) -> Self {
        Self { parts, under_way: TaskTracker::new() }
    }

    /// Takes an answered write; returns at once. As many mirrors are under way as callers had writes
    /// under way, which the server's bound on connections bounds.
    pub fn take(&self, job: MirrorJob) {
        if let (WriteKind::Delete(row), Some(head)) = (&job.write, &job.tapped.head)
            && head.status.is_success()
        {
            // Before the caller's next request: answers that are older than this are not believed.
            self.parts.rows.traffic.deleted(&job.resource.name, row, self.now_ms());
        }
        let mirror = self.clone();
        self.under_way.spawn(async move { mirror.bring(job).await });
    }

    /// Notes how a write of `sent_ms` (epoch milliseconds) was answered that went to legacy alone.
    pub fn passed_by(&self, passing: PassingBy, sent_ms: u64, tapped: &Tapped) {
        let done_ms = self.now_ms();
        let settled_ms = match request_of(tapped) {
            Request::Over => done_ms,
            Request::OutOfSight => self.parts.intents.settled_ms(sent_ms),
        };
        let missed = Missed { done_ms, settled_ms };
        self.parts.caught_up.lose_for_now(passing.resource(), missed);
        drop(passing);
    }

    /// Reads a row again, because a request of `sent_ms` (epoch milliseconds) that went with this intent may have changed it;
    /// and once more if crossfade lost sight of it. Returns at once.
    pub(super) fn reread(
        &self,
        resource: Arc<Resource>,
        row: RowId,
        intent: OpenIntent,
        (sent_ms, request): (u64, Request),
    ) {
        let due_ms = self.now_ms();
        let settled_ms = self.parts.intents.settled_ms(sent_ms);
        let once_more_ms = (request == Request::OutOfSight).then_some(settled_ms);
        let requested = None;
        self.parts.owed.owe(OwedMirror { resource, row, intent, due_ms, once_more_ms, requested });
    }

    /// Waits until no mirror is under way. New ones may still be taken.
    pub async fn idle(&self) {
        self.under_way.close();
        self.under_way.wait().await;
        self.under_way.reopen();
    }

    /// Ends: waits for what is under way, and leaves what is owed to the next process.
    pub async fn close(&self) {
        self.idle().await;
        self.parts.owed.leave();
        self.parts.intents.idle().await;
        self.parts.caught_up.close().await;
    }

    /// What is owed to the store.
    pub(super) fn owed(&self) -> &OwedMirrors {
        &self.parts.owed
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.parts.clock.now_ms()
    }

    /// Reads a row once, and brings what legacy says into the store.
    pub(super) async fn read(
        &self,
        resource: &Arc<Resource>,
        row: RowId,
        requested: &[Requested],
    ) -> Result<(), LegacyRowError> {
        let now_ms = self.now_ms();
        self.parts.rows.reread_for(resource, row, now_ms, requested).await.map(drop)
    }

    /// A write that the store cannot take: it answers no more reads until somebody has looked, and a backfill has run.
    pub(super) fn failed(&self, resource: &Resource, error: &LegacyRowError) {
        metrics::counter!("crossfade_mirror_failed_total").increment(1);
        tracing::error!(resource = %resource.name, %error, "a REST write did not reach the store");
        let now_ms = self.now_ms();
        let missed = Missed { done_ms: now_ms, settled_ms: now_ms };
        self.parts.caught_up.lose(&resource.name, missed);
    }

    /// Brings a write into the store, or owes it.
    async fn bring(&self, job: MirrorJob) {
        let told = told(&job);
        let row = row_of(&job, &told);
        let once_more_ms = matches!(told, Told::Look(_, Request::OutOfSight))
            .then(|| self.parts.intents.settled_ms(job.sent_ms));
        let outcome = self.run(&job, told).await;
        let requested = Some(requested(&job));
        let MirrorJob { resource, open: intent, sent_ms, .. } = job;
        let now_ms = self.now_ms();
        match (outcome, row, once_more_ms) {
            (Ok(()), Some(row), Some(due_ms)) if due_ms > now_ms => {
                self.parts.owed.look_once_more(resource, row, intent, sent_ms, requested);
            }
            (Ok(()), ..) => intent.done(),
            (Err(error), Some(row), once_more_ms) if error.may_pass() => {
                tracing::warn!(resource = %resource.name, %error, "a REST write is owed to the store");
                let due_ms = now_ms;
                self.parts.owed.owe(OwedMirror {
                    resource,
                    row,
                    intent,
                    due_ms,
                    once_more_ms,
                    requested,
                });
            }
            // Which row it is, only the list tells.
            (Err(error), None, _) if error.may_pass() => drop(intent),
            (Err(error), ..) => {
                self.failed(&resource, &error);
                intent.done();
            }
        }
    }

    async fn run(&self, job: &MirrorJob, told: Told) -> Result<(), LegacyRowError> {
        let rows = &self.parts.rows;
        match told {
            Told::Nothing => Ok(()),
            Told::Look(Some(row), _) => self.reread_with_retry(job, row).await,
            Told::Look(None, _) => Err(LegacyRowError::NoAnswer(
                "left open whether it made a row, and which".to_owned(),
            )),
            Told::Gone(row) => {
                let source = source(job);
                retry(|| rows.remove(&job.resource, row.clone(), &source)).await
            }
            Told::Row(value) => match rows.read_row(&job.resource, &value).await {
                Ok(found) => {
                    let source = source(job);
                    if job.write == WriteKind::Create {
                        rows.traffic.made(&job.resource.name, &found.row, self.now_ms());
                    }
                    let apply =
                        || rows.apply_one(&job.resource, found.clone(), &source, self.now_ms());
                    retry(apply).await
                }
                // A part of the row, or another shape: what legacy gives for a read is the row.
                Err(problem) => match known_row(job, &value) {
                    Some(row) => self.reread_with_retry(job, row).await,
                    None => Err(problem),
                },
            },
        }
    }

    async fn reread_with_retry(&self, job: &MirrorJob, row: RowId) -> Result<(), LegacyRowError> {
        let requested = [requested(job)];
        retry(|| self.read(&job.resource, row.clone(), &requested)).await
    }
}

fn source(job: &MirrorJob) -> Source {
    let wrote = match job.write {
        WriteKind::Create => Wrote::All,
        // A delete takes all cells; it has none to compare.
        WriteKind::Delete(_) | WriteKind::Update(_) => Wrote::Cells(request_cells(job)),
    };
    Source::Request { wrote, sent_ms: job.sent_ms }
}

/// The row that a write is about, where anything tells.
fn row_of(job: &MirrorJob, told: &Told) -> Option<RowId> {
    match (&job.write, told) {
        (_, Told::Look(Some(row), _) | Told::Gone(row)) => Some(row.clone()),
        (WriteKind::Update(row) | WriteKind::Delete(row), _) => Some(row.clone()),
        (WriteKind::Create, Told::Row(value)) => row_id_in(&job.resource, value),
        (WriteKind::Create, _) => None,
    }
}

/// The fields that the request's body names.
fn request_cells(job: &MirrorJob) -> BTreeSet<String> {
    let fields = requested(job).fields.unwrap_or_default();
    fields.into_iter().map(|(name, _)| name).collect()
}

/// What the request asked to be written, as far as its body tells.
fn requested(job: &MirrorJob) -> Requested {
    let fields = match json_of(&job.tapped.request.decode()) {
        Ok(Value::Object(fields)) => Some(fields),
        // It writes no cell.
        _ if matches!(job.write, WriteKind::Delete(_)) => Some(serde_json::Map::new()),
        _ => None,
    };
    Requested { fields, sent_ms: job.sent_ms }
}

fn told(job: &MirrorJob) -> Told {
    let asked = match &job.write {
        WriteKind::Create => None,
        WriteKind::Update(row) | WriteKind::Delete(row) => Some(row.clone()),
    };
    let row = || asked.clone().or_else(|| client_id(job));
    let Some(head) = &job.tapped.head else {
        return match request_of(&job.tapped) {
            Request::Over => Told::Nothing,
            Request::OutOfSight => Told::Look(row(), Request::OutOfSight),
        };
    };
    match (head.status.as_u16(), &job.write) {
        (200..=299, WriteKind::Delete(row)) => Told::Gone(row.clone()),
        (200..=299, _) => match json_of(&job.tapped.response.decode()) {
            Ok(body) if job.tapped.end == End::Complete => {
                match job.resource.envelope.item(&body).cloned() {
                    Some(item) => Told::Row(item),
                    None => Told::Look(row(), Request::Over),
                }
            }
            _ => Told::Look(row(), Request::Over),
        },
        _ if request_of(&job.tapped) == Request::OutOfSight => {
            Told::Look(row(), Request::OutOfSight)
        }
        (500..=599, _) => row().map_or(Told::Nothing, |row| Told::Look(Some(row), Request::Over)),
        _ => Told::Nothing,
    }
}

pub(super) fn request_of(tapped: &Tapped) -> Request {
    match (&tapped.head, &tapped.end) {
        // A gateway's answers: what stands behind it may do it yet.
        (Some(head), _) if matches!(head.status.as_u16(), 502 | 504) => Request::OutOfSight,
        (Some(_), _) | (None, End::Refused | End::NotReached(_) | End::Upgraded) => Request::Over,
        // Legacy may have done it all the same, or may do it yet.
        (None, End::Complete | End::CallerLeft | End::Failed(_)) => Request::OutOfSight,
    }
}

/// The id that a create's own body asks for.
fn client_id(job: &MirrorJob) -> Option<RowId> {
    if job.resource.legacy_makes_ids() {
        return None;
    }
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

/// Tries again what may work later.
async fn retry<F: Future<Output = Result<(), LegacyRowError>>>(
    attempt: impl Fn() -> F,
) -> Result<(), LegacyRowError> {
    let mut wait = FIRST_WAIT;
    for _ in 1..TRIES {
        match attempt().await {
            Err(error) if error.may_pass() => {
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

    #[test]
    fn only_a_whole_body_is_json() {
        assert!(json_of(&Body::Truncated).is_err());
        assert!(json_of(&Body::Whole("{}".into())).is_ok());
    }
}

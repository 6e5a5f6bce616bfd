//! Sync latency: how long a change made by one client takes to be visible to another.
//!
//! - sync: a native client edits a cell; visible when another native client's store has it.
//! - legacy, `refetch at once`: a REST client sends PATCH; visible when another REST client, that asks
//!   the moment the PATCH is answered, has an answer that shows it. The best that React Query can do,
//!   were the other client told out of band to invalidate.
//! - legacy, `refetch every …`: the other client asks at an interval, as React Query's
//!   `refetchInterval` does, and knows nothing of the change. What users see today without a push.
//!
//! The first two are measured in turns, in stage `dualwrite`; each waits until what the one before it
//! owed is delivered or mirrored, so that neither pays for the other.

use std::time::Duration;

use mergeable_store::{Cell, CellRef};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::document::{Metric, MetricName, Path, Ratio};
use super::http::Caller;
use super::turns::{Side, distribution, in_turns};
use super::{BenchError, ORG, Plan, queries};
use crate::migration::Stage;
use crate::scenario::StageChange;
use crate::scenario::environment::{Environment, Login};
use crate::sync::client::{Seen, SyncClient};

/// How long a change may take to arrive before the run is given up.
const DEADLINE: Duration = Duration::from_secs(30);
/// The row that everybody edits.
const ROW: &str = "user_00001";
/// The cell that is edited, and the one that legacy raises with every write.
const CELL: &str = "name";
const VERSION: &str = "version";

/// Two clients of each kind on one organisation.
struct Stand<'e> {
    environment: &'e Environment,
    table: String,
    writer: SyncClient,
    reader: SyncClient,
    patcher: Caller,
    refetcher: Caller,
}

/// Measures both paths.
pub(super) async fn sync_latency(
    environment: &Environment,
    plan: &Plan,
    metrics: &mut Vec<Metric>,
    ratios: &mut Vec<Ratio>,
) -> Result<(), BenchError> {
    let dualwrite = StageChange { stage: Stage::DualWrite, cohort: None, shadow: Some(0) };
    environment.set_stage(dualwrite).await.map_err(BenchError::Start)?;
    let stand = Stand::up(environment).await?;
    let pairs = in_turns("sync latency", plan.latency, async |side, number| match side {
        Side::First => stand.refetch_at_once(&format!("Rest {number}")).await,
        Side::Second => stand.edit_to_visible(&format!("Sync {number}")).await,
    })
    .await?;
    let name = MetricName::SyncLatency;
    metrics.extend(pairs.metric(Side::First, name, "refetch at once", Path::Legacy));
    metrics.extend(pairs.metric(Side::Second, name, "edit to visible", Path::Sync));
    ratios.extend(super::ratio("sync_latency_sync_by_legacy_p50", "refetch at once", &pairs));
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let mut polled = Vec::new();
    let begun = Instant::now();
    for number in 0..plan.polls {
        if begun.elapsed() >= plan.latency.time * 2 {
            break;
        }
        // The change falls anywhere between two polls.
        let until_next = plan.poll_every.mul_f64(rng.random_range(0.0..1.0));
        let change = format!("Poll {number}");
        polled.push(stand.refetch_every(plan.poll_every, until_next, &change).await?);
    }
    let case = format!("refetch every {} ms", plan.poll_every.as_millis());
    metrics.extend(distribution(polled.into_iter(), name, &case, Path::Legacy));
    stand.writer.close().await;
    stand.reader.close().await;
    Ok(())
}

impl<'e> Stand<'e> {
    async fn up(environment: &'e Environment) -> Result<Self, BenchError> {
        let client = |user: &str| {
            let login =
                Login { user: user.to_owned(), org: ORG.to_owned(), role: "admin".to_owned() };
            let settings = environment.client(&login, &format!("org/{ORG}"), user);
            settings.map(SyncClient::connect).map_err(BenchError::Start)
        };
        let (writer, reader) = (client("writer")?, client("reader")?);
        for client in [&writer, &reader] {
            within("a client's first exchange", client.wait_caught_up()).await?;
        }
        Ok(Self {
            environment,
            table: environment.resource().table.clone(),
            writer,
            reader,
            patcher: Caller::new(environment, "patcher", environment.url())?,
            refetcher: Caller::new(environment, "refetcher", environment.url())?,
        })
    }

    fn version(&self) -> Option<Cell> {
        self.reader.read(|store| store.get_cell(&self.table, ROW, VERSION).map(CellRef::to_cell))
    }

    /// Returns once legacy has raised the row's version above this and the reader knows it: what the
    /// change owed is delivered, or mirrored.
    async fn settled(&self, before: Option<&Cell>) -> Result<(), BenchError> {
        let raised = |store: &mergeable_store::MergeableStore| {
            store.get_cell(&self.table, ROW, VERSION) != before.map(Cell::view)
        };
        within("a delivery to legacy", self.reader.wait_until(raised)).await?;
        within("the writer", self.writer.wait_caught_up()).await?;
        loop {
            let owed = self.environment.owed().await.map_err(BenchError::Wrong)?;
            if owed.pending == 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn edit_to_visible(&self, name: &str) -> Result<Duration, BenchError> {
        let before = self.version();
        let mut changes = self.reader.changes();
        let begun = Instant::now();
        self.writer
            .edit(|tx| tx.set_cell(self.table.as_str(), ROW, CELL, name))
            .map_err(|error| BenchError::Wrong(error.to_string()))?;
        let seen = within("an edit at the other client", seen(&mut changes, name)).await??;
        let took = seen.duration_since(begun);
        self.settled(before.as_ref()).await?;
        Ok(took)
    }

    async fn refetch_at_once(&self, name: &str) -> Result<Duration, BenchError> {
        let before = self.version();
        let target = queries::row(0);
        let begun = Instant::now();
        self.patcher.patch(&target, &json!({ CELL: name })).await?;
        let shown = self.refetcher.get(&target).await?.json()?;
        let took = begun.elapsed();
        if shown.get(CELL).and_then(Value::as_str) != Some(name) {
            return Err(BenchError::Wrong("a GET after a PATCH shows the old value".to_owned()));
        }
        self.settled(before.as_ref()).await?;
        Ok(took)
    }

    /// `until_next` is how long after the PATCH is sent the other client's next poll is due.
    async fn refetch_every(
        &self,
        every: Duration,
        until_next: Duration,
        name: &str,
    ) -> Result<Duration, BenchError> {
        let before = self.version();
        let target = queries::row(0);
        let begun = Instant::now();
        let patch = async { self.patcher.patch(&target, &json!({ CELL: name })).await };
        let poll = async {
            let mut next = begun + until_next;
            loop {
                tokio::time::sleep_until(next).await;
                let shown = self.refetcher.get(&target).await?.json()?;
                if shown.get(CELL).and_then(Value::as_str) == Some(name) {
                    return Ok(begun.elapsed());
                }
                if begun.elapsed() > DEADLINE {
                    return Err(BenchError::TooSlow("a PATCH at the polling client".to_owned()));
                }
                next += every;
            }
        };
        let (patched, took) = tokio::join!(patch, poll);
        patched?;
        let took = took?;
        self.settled(before.as_ref()).await?;
        Ok(took)
    }
}

/// When the reader's store had the new name.
async fn seen(changes: &mut broadcast::Receiver<Seen>, name: &str) -> Result<Instant, BenchError> {
    let name = Cell::from(name);
    loop {
        match changes.recv().await {
            Ok(Seen { change, at }) if change.new.as_ref() == Some(&name) => return Ok(at),
            Ok(_) => {}
            Err(error) => return Err(BenchError::Wrong(format!("changes: {error}"))),
        }
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T, BenchError> {
    let done = tokio::time::timeout(DEADLINE, future).await;
    done.map_err(|_| BenchError::TooSlow(what.to_owned()))
}

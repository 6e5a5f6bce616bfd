//! Whether sync shows a user the rows that legacy shows them: a few users are asked for, after they got their sync token, with
//! the credentials that they showed for it.
//!
//! Row ids only. What differs is looked at again, row by row, since both sides move; a row counts once legacy hid it and the
//! store had it (or the other way round) twice, with nothing on its way. Never in anybody's way: bounded in number, and one
//! check too many is shed.

mod legacy;
mod suspects;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderMap, StatusCode};
use serde_json::json;
use tokio::sync::Semaphore;

use self::legacy::{AsUser, MAX_ROWS};
use self::suspects::{Found, ShownBy, Suspects};
use super::store_read::claim_of;
use crate::clock::{SharedClock, SharedEntropy};
use crate::compare::{Comparison, Reason, Rules, Verdict, compare};
use crate::flags::StageDecider;
use crate::gate::Tallies;
use crate::identity::Identity;
use crate::legacy::{CallerHeaders, LegacyClient};
use crate::migration::{Answer, Body, Observation, Origin, PathId, RouteTemplate, RowId, Stage};
use crate::record::{Compared, Event, Recorder, Redactor, Sample};
use crate::resource::Resource;
use crate::storage::SharedStorage;
use crate::sync::{CaughtUp, PathRegistry};

/// Users whose rows are compared at once. At the bound a check is shed, and counted.
const MAX_CHECKS: usize = 4;
/// Rows of one user that legacy is asked for at once.
const TOGETHER: usize = 4;
/// When it is looked again where nothing is configured: a row counts only after a second look.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// How users are chosen, and when it is looked again.
#[derive(Debug, Clone)]
pub struct ParitySettings {
    /// The share of sync tokens, 0 to 1, after which their user's rows are compared.
    pub sample: f64,
    /// When rows that differ are looked at again, counted from the first look.
    pub settle: Vec<Duration>,
}

/// What the check needs.
#[derive(Debug)]
pub struct ParityParts {
    /// How users are chosen.
    pub settings: ParitySettings,
    /// The resources.
    pub resources: Vec<Arc<Resource>>,
    /// Where each of them is.
    pub stages: Arc<StageDecider>,
    /// The stores.
    pub registry: PathRegistry,
    /// Which of them hold all that legacy has.
    pub caught_up: CaughtUp,
    /// What is owed to legacy.
    pub storage: SharedStorage,
    /// Legacy.
    pub legacy: LegacyClient,
    /// What was found, kept.
    pub recorder: Recorder,
    /// What is kept of ids.
    pub redactor: Redactor,
    /// What was found, counted for the gate.
    pub tallies: Tallies,
    /// Wall time.
    pub clock: SharedClock,
    /// Draws the users.
    pub entropy: SharedEntropy,
}

/// Compares which rows both sides show a user.
#[derive(Debug, Clone)]
pub struct Parity {
    parts: Arc<ParityParts>,
    checking: Arc<Semaphore>,
}

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    verdict: Verdict,
    /// Rows that sync shows and legacy hides.
    over: Vec<RowId>,
    /// Rows that legacy shows and sync lacks.
    under: Vec<RowId>,
}

impl From<Verdict> for Outcome {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, over: Vec::new(), under: Vec::new() }
    }
}

/// One user's rows of one resource.
struct Check<'a> {
    parts: &'a ParityParts,
    resource: &'a Arc<Resource>,
    path: PathId,
    as_user: AsUser<'a>,
}

impl Parity {
    /// A check of these parts.
    #[must_use]
    pub fn new(parts: ParityParts) -> Self {
        Self { parts: Arc::new(parts), checking: Arc::new(Semaphore::new(MAX_CHECKS)) }
    }

    /// Waits until no check is under way.
    pub async fn idle(&self) {
        // The semaphore is never closed.
        drop(self.checking.acquire_many(u32::try_from(MAX_CHECKS).unwrap_or(u32::MAX)).await);
    }

    /// Compares what both sides show this user, if it is drawn and there is room; returns at once. `headers` are those of
    /// the request that the user made just now.
    pub fn submit(&self, identity: &Identity, headers: &HeaderMap) {
        if self.parts.entropy.unit() >= self.parts.settings.sample {
            return;
        }
        let comparable: Vec<_> = self
            .parts
            .resources
            .iter()
            .filter_map(|resource| {
                let path = resource.path.from_claims(|claim| claim_of(identity, claim)).ok()?;
                let stage = self.parts.may_compare(resource)?;
                Some((resource.clone(), path, stage))
            })
            .collect();
        if comparable.is_empty() {
            return;
        }
        let Ok(permit) = self.checking.clone().try_acquire_owned() else {
            for (resource, _, stage) in &comparable {
                self.parts.record(resource, *stage, Verdict::Shed.into());
            }
            return;
        };
        let (parts, caller) = (self.parts.clone(), CallerHeaders::of(headers));
        tokio::spawn(async move {
            for (resource, path, stage) in comparable {
                let (client, caller) = (&parts.legacy, &caller);
                let as_user = AsUser { client, caller, resource: &resource };
                let check = Check { parts: &parts, resource: &resource, path, as_user };
                let outcome = check.run().await.unwrap_or_else(Outcome::from);
                parts.record(&resource, stage, outcome);
            }
            drop(permit);
        });
    }
}

/// The name under which results are recorded: it is no route that anybody asks, and none has its name.
fn route_of(resource: &Resource) -> RouteTemplate {
    RouteTemplate::new(format!("parity {}", resource.routes.list.template))
}

impl ParityParts {
    /// The stage, where sync clients may be connected and the store says what legacy has.
    fn may_compare(&self, resource: &Resource) -> Option<Stage> {
        let stage = self.stages.decide(&resource.name).effective;
        let why_not = if !stage.writes_both() {
            "stage"
        } else if resource.legacy_makes_ids() {
            // A row has another id on each side, and one that is new on both cannot be told from one too many.
            "ids-of-legacy"
        } else if !self.caught_up.is(&resource.name) {
            "not-caught-up"
        } else {
            return Some(stage);
        };
        metrics::counter!("crossfade_parity_skipped_total", "reason" => why_not).increment(1);
        None
    }

    /// Keeps what was found. Only a disagreement counts for the gate: to show the same rows says less than to give the same
    /// answers, and must not promote.
    fn record(&self, resource: &Resource, stage: Stage, outcome: Outcome) {
        let Outcome { verdict, over, under } = outcome;
        let name = resource.name.to_string();
        metrics::counter!("crossfade_parity_total",
            "resource" => name.clone(), "verdict" => verdict.as_str())
        .increment(1);
        for (rows, shown_by) in [(&over, "sync"), (&under, "legacy")] {
            metrics::counter!("crossfade_parity_rows_total",
                "resource" => name.clone(), "shown_by" => shown_by)
            .increment(rows.len() as u64);
        }
        let found = match verdict {
            Verdict::Overshare => Some((Vec::new(), over)),
            Verdict::Undershare => Some((under, Vec::new())),
            _ => None,
        };
        if let Some((legacy, sync)) = &found {
            let rows = legacy.len() + sync.len();
            tracing::warn!(resource = name, %verdict, rows, "one side alone shows rows to a user");
            self.tallies.add(&resource.name, stage, verdict);
        }
        let at_ms = self.clock.now_ms();
        let route = route_of(resource);
        let evidence = found.map(|(legacy, sync)| Evidence::of(resource, verdict, &legacy, &sync));
        let signature =
            evidence.as_ref().and_then(|one| one.comparison.signature(&resource.name, &route));
        let wanted = signature.as_ref().is_some_and(|one| self.recorder.wants_sample(one, at_ms));
        let sample = evidence.filter(|_| wanted).map(|one| one.sample(&self.redactor));
        self.recorder.record(Event::Compared(Box::new(Compared {
            at_ms,
            resource: resource.name.clone(),
            route,
            stage,
            verdict,
            legacy_latency_us: None,
            sync_latency_us: None,
            signature,
            sample,
            rules: Vec::new(),
            unsafe_integers: 0,
        })));
    }
}

/// A disagreement as if both sides had answered with the rows that they alone show, so that it is kept, redacted and shown
/// as any other.
struct Evidence {
    legacy: Observation,
    sync: Observation,
    comparison: Comparison,
}

impl Evidence {
    fn of(resource: &Resource, verdict: Verdict, legacy: &[RowId], sync: &[RowId]) -> Self {
        let (legacy, sync) =
            (listed(resource, Origin::Legacy, legacy), listed(resource, Origin::Sync, sync));
        let comparison = Comparison { verdict, ..compare(&legacy, &sync, &Rules::default()) };
        Self { legacy, sync, comparison }
    }

    fn sample(&self, redactor: &Redactor) -> Sample {
        Sample::of(redactor, &Rules::default(), &self.legacy, &self.sync, &self.comparison)
    }
}

fn listed(resource: &Resource, origin: Origin, rows: &[RowId]) -> Observation {
    let rows: Vec<_> = rows.iter().map(|row| json!({ &*resource.id: row })).collect();
    let body = Body::Whole(Bytes::from(json!(rows).to_string()));
    let answer = Answer { status: StatusCode::OK, headers: HeaderMap::new(), body };
    Observation { origin, outcome: Ok(answer), latency: Duration::ZERO }
}

impl Check<'_> {
    /// Compares the ids of both sides, and looks again at those that differ until they agree or the time is up.
    ///
    /// # Errors
    /// The verdict, if nothing can be told.
    async fn run(&self) -> Result<Outcome, Verdict> {
        let store = self.store_rows().await?;
        if store.len() > MAX_ROWS {
            return Err(Verdict::Incomparable(Reason::Truncated));
        }
        let mut suspects = Suspects::of(&self.as_user.list().await?, &store);
        let started = Instant::now();
        let settle = &self.parts.settings.settle;
        let again =
            if settle.is_empty() { std::slice::from_ref(&SECOND_LOOK) } else { &settle[..] };
        let mut cleared_at_first = 0;
        for (nth, after) in std::iter::once(&Duration::ZERO).chain(again).enumerate() {
            if suspects.is_empty() {
                break;
            }
            tokio::time::sleep(after.saturating_sub(started.elapsed())).await;
            if let Err(verdict) = self.look(&mut suspects).await {
                // What is certain by now stays so.
                let certain = Some(outcome(&suspects, 0, 0));
                let overshares = |one: &Outcome| one.verdict == Verdict::Overshare;
                return certain.filter(overshares).ok_or(verdict);
            }
            if nth == 0 {
                cleared_at_first = suspects.cleared;
            }
        }
        let elapsed = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(outcome(&suspects, suspects.cleared - cleared_at_first, elapsed))
    }

    async fn store_rows(&self) -> Result<BTreeSet<RowId>, Verdict> {
        let unavailable = Verdict::Incomparable(Reason::Unavailable);
        let handle = self.parts.registry.get(&self.path).await.map_err(|_| unavailable)?;
        let table = self.resource.table.clone();
        let rows = handle.read(move |store| {
            let ids = store.row_ids(table.as_str());
            ids.iter().filter_map(|id| Some(RowId::new(id.as_str()?))).collect()
        });
        rows.await.map_err(|_| unavailable)
    }

    /// Looks at each suspect: first in legacy, then whether a write of it is on its way, then in the store. So a write that
    /// was on its way before is either seen, or in the store.
    async fn look(&self, suspects: &mut Suspects) -> Result<(), Verdict> {
        let rows = suspects.rows();
        let in_legacy: Vec<bool> = stream::iter(rows.clone())
            .map(|row| self.as_user.shows(row))
            .buffered(TOGETHER)
            .try_collect()
            .await?;
        let caught_up = &self.parts.caught_up;
        if !caught_up.is(&self.resource.name) {
            return Err(Verdict::Incomparable(Reason::Unavailable));
        }
        // A row that is being made has no name yet: it may be any that the store lacks.
        let any_new = caught_up.is_unknown_row_open(&self.resource.name);
        let owed = self.owed_rows().await?;
        let on_its_way = |row: &RowId, in_legacy: bool| {
            owed.contains(row)
                || caught_up.is_row_open(&self.resource.name, row)
                || (in_legacy && any_new)
        };
        let on_its_way: Vec<bool> =
            rows.iter().zip(&in_legacy).map(|(row, shown)| on_its_way(row, *shown)).collect();
        let store = self.store_rows().await?;
        let found: BTreeMap<RowId, Found> = rows
            .into_iter()
            .zip(in_legacy.into_iter().zip(on_its_way))
            .map(|(row, (in_legacy, on_its_way))| {
                let in_store = store.contains(&row);
                (row, Found { in_legacy, in_store, on_its_way })
            })
            .collect();
        suspects.looked(&found);
        Ok(())
    }

    /// Rows of which legacy is owed an edit, or was and it was given up.
    async fn owed_rows(&self) -> Result<HashSet<RowId>, Verdict> {
        let entries = self.parts.storage.entries_of(self.path.clone()).await;
        let entries = entries.map_err(|_| Verdict::Incomparable(Reason::Unavailable))?;
        let ours = entries.into_iter().filter(|one| one.entry.resource == self.resource.name);
        Ok(ours.map(|one| one.entry.row).collect())
    }
}

/// What looking came to: `lagged` rows agreed later than at the first look, after `elapsed_ms`.
fn outcome(suspects: &Suspects, lagged: u64, elapsed_ms: u64) -> Outcome {
    let rows = |by| suspects.confirmed(by).into_iter().cloned().collect::<Vec<_>>();
    let (over, under) = (rows(ShownBy::Sync), rows(ShownBy::Legacy));
    let verdict = if !over.is_empty() {
        Verdict::Overshare
    } else if !under.is_empty() {
        Verdict::Undershare
    } else if suspects.beyond > 0 {
        Verdict::Incomparable(Reason::Unsettled)
    } else if lagged + suspects.on_their_way() > 0 {
        Verdict::Lag(elapsed_ms)
    } else {
        Verdict::Match
    };
    Outcome { verdict, over, under }
}

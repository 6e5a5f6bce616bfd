//! Comparisons: after the answer, bounded, never in the caller's way.
//!
//! At either bound (comparisons under way, comparisons waiting to settle) a comparison is shed and
//! counted; it is never queued.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, Method};
use tokio::sync::Semaphore;

use super::background::Background;
use super::caller::Authenticator;
use super::forward::Tapped;
use super::store_read::{NoStoreAnswer, ReadFor, ReadQuestion, StoreReader};
use crate::clock::{SharedClock, SharedEntropy};
use crate::compare::{
    Comparison, LegacyPair, NoiseFloor, Pair, Reason, Rules, Settled, Verdict, compare, settle,
};
use crate::gate::Tallies;
use crate::identity::Identity;
use crate::legacy::{CallerHeaders, Credentials, LegacyClient, LegacyRequest, Purpose};
use crate::migration::{Failure, Observation, Origin, ResourceName, RouteTemplate, Stage};
use crate::record::{Compared, Count, Event, Recorder, Redactor, Sample};
use crate::resource::Resource;

/// Where two answers of legacy's differ, it is asked so many times more, to tell noise from an edit. Of a field
/// that takes one of two values at random, one difference in 16 is taken for an edit.
const READS_TO_TELL_AN_EDIT: usize = 4;

/// How comparisons are made.
#[derive(Debug, Clone)]
pub struct ShadowSettings {
    /// Comparisons under way at once; as many more may wait to settle.
    pub max_concurrent: usize,
    /// When both sides are read again, counted from the first reading.
    pub settle: Vec<Duration>,
    /// The share of compared reads, 0 to 1, that legacy is asked a second time.
    pub noise_sample: f64,
}

/// What the comparer needs.
#[derive(Debug)]
pub struct ShadowParts {
    /// How comparisons are made.
    pub settings: ShadowSettings,
    /// Each resource's rules.
    pub rules: std::collections::HashMap<ResourceName, Rules>,
    /// The store's answers.
    pub reader: StoreReader,
    /// Legacy's answers.
    pub legacy: LegacyClient,
    /// Who asked.
    pub authenticator: Arc<Authenticator>,
    /// What was found, kept.
    pub recorder: Recorder,
    /// What is kept of values.
    pub redactor: Redactor,
    /// What was found, counted for the gate.
    pub tallies: Tallies,
    /// Wall time.
    pub clock: SharedClock,
    /// Draws the reads that legacy is asked a second time.
    pub entropy: SharedEntropy,
    /// Where it is done.
    pub background: Background,
}

/// Compares both sides' answers to reads.
#[derive(Debug, Clone)]
pub struct Shadow {
    parts: Arc<ShadowParts>,
    comparing: Arc<Semaphore>,
    settling: Arc<Semaphore>,
    noise: Arc<Mutex<NoiseFloor>>,
}

/// Legacy's side of a comparison.
#[derive(Debug)]
pub enum LegacyRead {
    /// It answered the caller: this is a copy.
    Tapped(Box<Tapped>),
    /// It has to be asked.
    Ask,
}

/// A read to be compared.
#[derive(Debug)]
pub struct ShadowJob {
    /// The resource.
    pub resource: Arc<Resource>,
    /// The route.
    pub route: RouteTemplate,
    /// The stage that the caller's answer was given in.
    pub stage: Stage,
    /// What was asked.
    pub question: ReadQuestion,
    /// The request's target.
    pub path_and_query: String,
    /// The headers that say who asked.
    pub headers: HeaderMap,
    /// The caller's own headers, for asking legacy.
    pub caller: CallerHeaders,
    /// Legacy's side.
    pub legacy: LegacyRead,
    /// The store's side, if it answered the caller.
    pub store: Option<Observation>,
}

impl Shadow {
    /// A comparer of these parts.
    #[must_use]
    pub fn new(parts: ShadowParts) -> Self {
        let permits = || Arc::new(Semaphore::new(parts.settings.max_concurrent));
        let (comparing, settling) = (permits(), permits());
        Self { comparing, settling, noise: Arc::default(), parts: Arc::new(parts) }
    }

    /// What is known of legacy's disagreement with itself.
    pub fn noise<T>(&self, look: impl FnOnce(&NoiseFloor) -> T) -> T {
        look(&self.floor())
    }

    fn floor(&self) -> MutexGuard<'_, NoiseFloor> {
        // Counts that a panic left half done are off by one.
        self.noise.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no comparison is under way and none waits to settle.
    pub async fn idle(&self) {
        let all = u32::try_from(self.parts.settings.max_concurrent).unwrap_or(u32::MAX);
        for permits in [&self.comparing, &self.settling] {
            // The semaphores are never closed.
            drop(permits.acquire_many(all).await);
        }
    }

    /// Compares, if there is room; returns at once.
    pub fn submit(&self, job: ShadowJob) {
        let Ok(permit) = self.comparing.clone().try_acquire_owned() else {
            self.record_bare(&job, Verdict::Shed);
            return;
        };
        let shadow = self.clone();
        self.parts.background.spawn(async move {
            let first = shadow.first(job).await;
            let Some((job, identity, pair, comparison)) = first else { return };
            if !comparison.verdict.wants_settling() {
                shadow.record(&job, &pair, &comparison, comparison.verdict);
                shadow.read_twice(&job, &pair.legacy).await;
                return;
            }
            // Waiting is not comparing: it has a bound of its own.
            let Ok(_waiting) = shadow.settling.clone().try_acquire_owned() else {
                shadow.record_bare(&job, Verdict::Shed);
                return;
            };
            drop(permit);
            let legacy = pair.legacy.clone();
            let settle = shadow.settle(&job, &identity, pair, comparison);
            tokio::join!(settle, shadow.read_twice(&job, &legacy));
        });
    }

    async fn first(&self, mut job: ShadowJob) -> Option<(ShadowJob, Identity, Pair, Comparison)> {
        let query = job.path_and_query.split_once('?').map(|(_, query)| query.to_owned());
        let identity = self.parts.authenticator.identify(&job.headers, query.as_deref()).await;
        // Nobody is signed in: the store has no answer for them, and legacy's is not about rows.
        let Some(identity) = identity else {
            self.record_bare(&job, Verdict::Incomparable(Reason::Token));
            return None;
        };
        let sync = match job.store.take() {
            Some(observation) => observation,
            None => self.ask_store(&job, &identity).await,
        };
        let legacy = match std::mem::replace(&mut job.legacy, LegacyRead::Ask) {
            LegacyRead::Ask => self.ask_legacy(&job, Purpose::Compare).await,
            // The caller went away: nothing is known of legacy's answer.
            LegacyRead::Tapped(tapped) => tapped.observation()?,
        };
        let rules = self.parts.rules.get(&job.resource.name)?;
        let pair = aligned(legacy, sync);
        let comparison = compare(&pair.legacy, &pair.sync, rules);
        // Before it is settled: what is noise would look as if it moved.
        let comparison = self.floor().judged(&job.route, comparison);
        Some((job, identity, pair, comparison))
    }

    /// For a small share of reads: asks legacy again, and compares its answers with each other.
    async fn read_twice(&self, job: &ShadowJob, first: &Observation) {
        let drawn = self.parts.entropy.unit() < self.parts.settings.noise_sample;
        let Some(rules) = self.parts.rules.get(&job.resource.name).filter(|_| drawn) else {
            return;
        };
        if first.outcome.is_err() {
            return;
        }
        let second = self.ask_legacy(job, Purpose::Noise).await;
        let mut pair = LegacyPair::of(compare(first, &second, rules));
        for _ in 0..READS_TO_TELL_AN_EDIT {
            if pair.is_told() {
                break;
            }
            let later = self.ask_legacy(job, Purpose::Noise).await;
            pair.later(&compare(&second, &later, rules));
        }
        let Some(own) = pair.restless() else { return };
        self.floor().legacy_pair(&job.route, &own);
        let differs = own.verdict.is_decided() && !own.differences.is_empty();
        let names = ["legacy_read_twice", "legacy_differs_from_itself"];
        for name in &names[..1 + usize::from(differs)] {
            self.parts.recorder.record(Event::Count(Count {
                at_ms: self.parts.clock.now_ms(),
                of: Some((job.resource.name.clone(), job.route.clone())),
                name: (*name).into(),
                by: 1,
            }));
        }
    }

    async fn settle(
        &self,
        job: &ShadowJob,
        identity: &Identity,
        first: Pair,
        comparison: Comparison,
    ) {
        let Some(rules) = self.parts.rules.get(&job.resource.name) else { return };
        let started = Instant::now();
        let (mut pair, mut comparison, mut verdict) =
            (first.clone(), comparison.clone(), comparison.verdict);
        let mut so_far: Option<Settled> = None;
        for after in &self.parts.settings.settle {
            tokio::time::sleep(after.saturating_sub(started.elapsed())).await;
            let (sync, legacy) =
                tokio::join!(self.ask_store(job, identity), self.ask_legacy(job, Purpose::Compare));
            let later = aligned(legacy, sync);
            let settled = settle(&first, &later, rules);
            let settled = match so_far.take() {
                Some(before) => before.then(settled),
                None => settled,
            };
            let elapsed = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            verdict = settled.verdict(elapsed);
            if let Settled::Differs(differs) = &settled {
                comparison = differs.clone();
                pair = later;
            }
            if settled.is_final() {
                break;
            }
            so_far = Some(settled);
        }
        self.record(job, &pair, &comparison, verdict);
    }

    async fn ask_store(&self, job: &ShadowJob, identity: &Identity) -> Observation {
        let started = Instant::now();
        match self.read_store(job, identity).await {
            Ok(observation) => observation,
            Err(no_answer) => Observation {
                origin: Origin::Sync,
                outcome: match no_answer {
                    NoStoreAnswer::Deadline(after) => Err(Failure::Timeout(after)),
                    NoStoreAnswer::NoRow => Ok(no_row()),
                    other => Err(Failure::Unavailable(other.to_string())),
                },
                latency: started.elapsed(),
            },
        }
    }

    async fn read_store(
        &self,
        job: &ShadowJob,
        identity: &Identity,
    ) -> Result<Observation, NoStoreAnswer> {
        let reading_for = ReadFor::Comparison;
        self.parts.reader.read(&job.resource, &job.question, identity, reading_for).await
    }

    async fn ask_legacy(&self, job: &ShadowJob, purpose: Purpose) -> Observation {
        let request = LegacyRequest {
            method: Method::GET,
            path_and_query: job.path_and_query.clone(),
            body: None,
            purpose,
            credentials: Credentials::Caller(job.caller.clone()),
            idempotency_key: None,
        };
        let (legacy, started) = (self.parts.legacy.clone(), Instant::now());
        let asking = self.parts.background.in_foreground(async move { legacy.ask(request).await });
        asking.await.unwrap_or_else(|| Observation {
            origin: Origin::Legacy,
            outcome: Err(Failure::Unavailable("crossfade is being stopped".to_owned())),
            latency: started.elapsed(),
        })
    }

    fn record(&self, job: &ShadowJob, pair: &Pair, comparison: &Comparison, verdict: Verdict) {
        let judged = Comparison { verdict, ..comparison.clone() };
        let signature = judged.signature(&job.resource.name, &job.route);
        let rules = self.parts.rules.get(&job.resource.name);
        let at_ms = self.parts.clock.now_ms();
        let wanted = signature.as_ref().filter(|s| self.parts.recorder.wants_sample(s, at_ms));
        let sample = wanted.and(rules).map(|rules| {
            Sample::of(&self.parts.redactor, rules, &pair.legacy, &pair.sync, &judged)
        });
        let latency = |observation: &Observation| {
            let answered = observation.outcome.is_ok();
            answered.then(|| u64::try_from(observation.latency.as_micros()).unwrap_or(u64::MAX))
        };
        self.send(Compared {
            at_ms,
            resource: job.resource.name.clone(),
            route: job.route.clone(),
            stage: job.stage,
            verdict,
            legacy_latency_us: latency(&pair.legacy),
            sync_latency_us: latency(&pair.sync),
            signature,
            sample,
            unsafe_integers: judged.unsafe_integers.len() as u64,
            rules: judged.rules,
        });
    }

    fn record_bare(&self, job: &ShadowJob, verdict: Verdict) {
        self.send(Compared {
            at_ms: self.parts.clock.now_ms(),
            resource: job.resource.name.clone(),
            route: job.route.clone(),
            stage: job.stage,
            verdict,
            legacy_latency_us: None,
            sync_latency_us: None,
            signature: None,
            sample: None,
            rules: Vec::new(),
            unsafe_integers: 0,
        });
    }

    fn send(&self, compared: Compared) {
        metrics::counter!("crossfade_comparisons_total",
            "resource" => compared.resource.to_string(), "verdict" => compared.verdict.as_str())
        .increment(1);
        self.parts.tallies.add(&compared.resource, compared.stage, compared.verdict);
        self.parts.recorder.record(Event::Compared(Box::new(compared)));
    }
}

/// A store cannot know how legacy words "no such row": where both say it, they agree.
fn aligned(legacy: Observation, mut sync: Observation) -> Pair {
    if let (Ok(theirs), Ok(ours)) = (&legacy.outcome, &mut sync.outcome)
        && theirs.status == http::StatusCode::NOT_FOUND
        && ours.status == theirs.status
    {
        *ours = theirs.clone();
    }
    Pair { legacy, sync }
}

/// "No such row", as far as a store can say it: a status without a body.
fn no_row() -> crate::migration::Answer {
    crate::migration::Answer {
        status: http::StatusCode::NOT_FOUND,
        headers: HeaderMap::new(),
        body: crate::migration::Body::Whole(bytes::Bytes::new()),
    }
}

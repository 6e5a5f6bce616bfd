//! The engine that every provider feeds: Unleash's own, `unleash-yggdrasil`.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use unleash_types::client_features::ClientFeatures;
use unleash_types::client_metrics::MetricBucket;
use unleash_yggdrasil::state::{EnrichedContext, PropertiesCow, PropertiesRef};
use unleash_yggdrasil::{EngineState, UpdateMessage};

use super::Reach;
use super::document::{Counts, Document, tame_weights};
use crate::clock::SharedClock;
use crate::identity::Identity;
use crate::migration::UserId;

/// Who provides the documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// A file in Unleash's client-features JSON.
    File,
    /// An Unleash server.
    Unleash,
    /// Set by the program itself.
    Fixed,
}

/// What the engine knows of this program: constraints may name both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// `appName`.
    pub name: String,
    /// `environment`.
    pub environment: String,
}

impl Default for Application {
    fn default() -> Self {
        Self { name: "crossfade".to_owned(), environment: "development".to_owned() }
    }
}

/// For whom a toggle is evaluated: `userId`, and the properties `orgId` and `orgRole` for constraints
/// and stickiness.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    user: &'a UserId,
    org_id: Option<&'a str>,
    org_role: Option<&'a str>,
}

impl<'a> Subject<'a> {
    /// A user, and the organisation and role in it, if any.
    #[must_use]
    pub const fn new(user: &'a UserId, org_id: Option<&'a str>, org_role: Option<&'a str>) -> Self {
        Self { user, org_id, org_role }
    }
}

impl<'a> From<&'a UserId> for Subject<'a> {
    fn from(user: &'a UserId) -> Self {
        Self { user, org_id: None, org_role: None }
    }
}

impl<'a> From<&'a Identity> for Subject<'a> {
    fn from(identity: &'a Identity) -> Self {
        Self {
            user: &identity.user,
            org_id: identity.org_id.as_deref(),
            org_role: identity.org_role.as_deref(),
        }
    }
}

/// How the provider is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FlagsStatus {
    /// Who provides.
    pub provider: ProviderKind,
    /// Good documents so far, unchanged ones included.
    pub documents: u64,
    /// When the last good one was read, in milliseconds since the epoch.
    pub last_good_ms: Option<u64>,
    /// Milliseconds since then.
    pub age_ms: Option<u64>,
    /// Failures so far: a bad file counts once per content, a poll each time.
    pub failures: u64,
    /// The last failure, until a good document follows.
    pub last_error: Option<String>,
    /// What the engine could not use of the last document.
    pub warnings: Vec<String>,
}

/// The toggles in force: read by every request, fed by one provider.
#[derive(Debug)]
pub struct Toggles {
    engine: Arc<Engine>,
    /// The task that feeds the engine; ends with the toggles.
    _feeder: Option<AbortOnDropHandle<()>>,
}

impl Toggles {
    pub(super) fn new(engine: Arc<Engine>, feeder: Option<tokio::task::JoinHandle<()>>) -> Self {
        Self { engine, _feeder: feeder.map(AbortOnDropHandle::new) }
    }

    /// How the provider is doing.
    #[must_use]
    pub fn status(&self) -> FlagsStatus {
        self.engine.status()
    }

    /// The number of good documents so far; changes with each, also with an unchanged one.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.engine.documents.subscribe()
    }

    /// How many good documents there have been.
    #[must_use]
    pub fn documents(&self) -> u64 {
        *self.engine.documents.borrow()
    }

    /// Whether a toggle is on for a subject; `None` if no document has it.
    #[must_use]
    pub fn is_on(&self, toggle: &str, subject: Option<Subject<'_>>) -> Option<bool> {
        self.engine.is_on(toggle, subject)
    }

    /// The name of the variant that a toggle has without a user; `None` if no document has the
    /// toggle, `Some(None)` if it is off or no variant applies.
    #[must_use]
    pub fn variant(&self, toggle: &str) -> Option<Option<String>> {
        self.engine.variant(toggle)
    }

    /// Counts a variant once more that was looked at before, as [`Toggles::variant`] gave it.
    pub fn count_variant(&self, toggle: &str, variant: Option<&Option<String>>) {
        if let Some(variant) = variant {
            self.engine.count_variant(toggle, variant.as_deref());
        }
    }

    /// Whether a constraint of the last document looks at the time.
    #[must_use]
    pub fn depend_on_time(&self) -> bool {
        self.engine.document.load().as_ref().is_some_and(|document| document.timed)
    }

    /// Whether any document was read.
    #[must_use]
    pub fn has_document(&self) -> bool {
        self.engine.document.load().is_some()
    }

    /// Whom a toggle reaches, as the last document says; `None` if it has no such toggle.
    #[must_use]
    pub fn reach(&self, toggle: &str) -> Option<Reach> {
        self.engine.document.load().as_ref()?.reach(toggle).cloned()
    }

    /// Whether the last document itself says that a toggle is on, whatever its strategies.
    ///
    /// `None` if no document has it.
    #[must_use]
    pub fn document_says(&self, toggle: &str) -> Option<bool> {
        self.engine.document.load().as_ref()?.says(toggle)
    }
}

/// The engine, with what is known of its provider.
pub(super) struct Engine {
    state: EngineState,
    application: Application,
    provider: ProviderKind,
    clock: SharedClock,
    document: ArcSwapOption<Document>,
    documents: watch::Sender<u64>,
    last_good_ms: AtomicU64,
    failures: AtomicU64,
    last_error: ArcSwap<Option<String>>,
    counted_since_ms: AtomicU64,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Engine {
    pub(super) fn new(
        provider: ProviderKind,
        application: Application,
        clock: SharedClock,
    ) -> Self {
        Self {
            counted_since_ms: AtomicU64::new(clock.now_ms()),
            state: EngineState::initial_state(time_at(clock.now_ms())),
            application,
            provider,
            clock,
            document: ArcSwapOption::empty(),
            documents: watch::channel(0).0,
            last_good_ms: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            last_error: ArcSwap::default(),
        }
    }

    /// Puts a document in force.
    pub(super) fn accept(&self, mut features: ClientFeatures) {
        let mut warnings = tame_weights(&mut features);
        let before = self.document.load_full();
        let mut document = Document::new(&features, before.as_deref());
        let refused = self.state.take_state(UpdateMessage::FullResponse(features));
        for warning in refused.into_iter().flatten() {
            warnings.push(format!("toggle `{}`: {}", warning.toggle_name, warning.message));
        }
        if before.is_none_or(|before| before.warnings != warnings) {
            for warning in &warnings {
                tracing::warn!(%warning, "the flag document has a toggle that cannot be used");
            }
        }
        document.warnings = warnings;
        self.document.store(Some(Arc::new(document)));
        self.confirm();
    }

    /// Whether a document with any toggle is in force.
    pub(super) fn has_toggles(&self) -> bool {
        self.document.load().as_ref().is_some_and(|document| !document.is_empty())
    }

    /// Notes that the document in force was read again and is still the one.
    pub(super) fn confirm(&self) {
        self.last_good_ms.store(self.clock.now_ms(), Ordering::Relaxed);
        if self.last_error.load().is_some() {
            tracing::info!(provider = ?self.provider, "flags can be read again");
            self.last_error.store(Arc::new(None));
        }
        self.documents.send_modify(|count| *count += 1);
    }

    /// Notes that no document could be had; what is in force stays.
    pub(super) fn fail(&self, error: String) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("crossfade_flags_failures_total").increment(1);
        if self.last_error.load().as_ref().as_ref() != Some(&error) {
            tracing::warn!(provider = ?self.provider, %error, "flags cannot be read; the last good ones stay");
            self.last_error.store(Arc::new(Some(error)));
        }
    }

    pub(super) fn status(&self) -> FlagsStatus {
        let documents = *self.documents.borrow();
        let last_good = self.last_good_ms.load(Ordering::Relaxed);
        let last_good_ms = (documents > 0).then_some(last_good);
        FlagsStatus {
            provider: self.provider,
            documents,
            last_good_ms,
            age_ms: last_good_ms.map(|at| self.clock.now_ms().saturating_sub(at)),
            failures: self.failures.load(Ordering::Relaxed),
            last_error: self.last_error.load().as_ref().clone(),
            warnings: self.document.load().as_ref().map_or_else(Vec::new, |d| d.warnings.clone()),
        }
    }

    fn is_on(&self, toggle: &str, subject: Option<Subject<'_>>) -> Option<bool> {
        let time = self.time();
        let properties = subject.map(properties).unwrap_or_default();
        let context = self.context(toggle, subject, &properties, time.as_deref());
        let on = self.state.check_enabled(&context)?;
        self.count(toggle, |counts| counts.toggle(on));
        Some(on)
    }

    fn variant(&self, toggle: &str) -> Option<Option<String>> {
        let (time, properties) = (self.time(), PropertiesCow::new());
        let context = self.context(toggle, None, &properties, time.as_deref());
        let variant = self.state.check_variant(&context)?;
        let variant = variant.enabled.then_some(variant.name);
        self.count_variant(toggle, variant.as_deref());
        Some(variant)
    }

    /// Unleash's own clients call what a toggle that is off gives `disabled`.
    fn count_variant(&self, toggle: &str, variant: Option<&str>) {
        self.count(toggle, |counts| {
            counts.toggle(variant.is_some());
            counts.variant(variant.unwrap_or("disabled"));
        });
    }

    fn context<'a>(
        &'a self,
        toggle: &'a str,
        subject: Option<Subject<'a>>,
        properties: &'a PropertiesCow<'a>,
        time: Option<&'a str>,
    ) -> EnrichedContext<'a> {
        EnrichedContext {
            user_id: subject.map(|subject| subject.user.as_str()),
            session_id: None,
            environment: Some(&self.application.environment),
            app_name: Some(&self.application.name),
            current_time: time,
            remote_address: None,
            properties: Some(PropertiesRef::Cows(properties)),
            external_results: None,
            toggle_name: toggle,
            runtime_hostname: None,
        }
    }

    /// The clock's time, where a constraint asks for it; without it the engine would ask the system.
    fn time(&self) -> Option<String> {
        let timed = self.document.load().as_ref().is_some_and(|document| document.timed);
        timed.then(|| time_at(self.clock.now_ms()).to_rfc3339())
    }

    /// Only a server is interested in how often a toggle was asked for.
    fn count(&self, toggle: &str, count: impl FnOnce(&Counts)) {
        if self.provider == ProviderKind::Unleash
            && let Some(counts) = self.document.load().as_ref().and_then(|d| d.counts(toggle))
        {
            count(counts);
        }
    }

    /// What was counted since the last call.
    pub(super) fn take_metrics(&self) -> Option<MetricBucket> {
        let toggles = self.document.load().as_ref()?.take_counts();
        if toggles.is_empty() {
            return None;
        }
        let now = self.clock.now_ms();
        let start = self.counted_since_ms.swap(now, Ordering::Relaxed);
        Some(MetricBucket { start: time_at(start), stop: time_at(now), toggles })
    }
}

fn time_at(ms: u64) -> DateTime<Utc> {
    i64::try_from(ms).ok().and_then(DateTime::from_timestamp_millis).unwrap_or_default()
}

fn properties(subject: Subject<'_>) -> PropertiesCow<'_> {
    let entry = |name: &'static str, value: Option<_>| {
        value.map(|value: &str| (Cow::Borrowed(name), Cow::Borrowed(value)))
    };
    [entry("orgId", subject.org_id), entry("orgRole", subject.org_role)]
        .into_iter()
        .flatten()
        .collect()
}

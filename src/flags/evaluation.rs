//! What the toggles say of each resource.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use serde::Serialize;

use super::{FlagsStatus, Reach, Subject, Toggles};
use crate::migration::{ResourceName, Stage};

/// Which stage the flags ask for, or why they ask for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageRequest {
    /// This one.
    Stage(Stage),
    /// No document was read yet.
    NoDocument,
    /// The document has no such toggle.
    Absent,
    /// The toggle is off, or none of its strategies gives a variant without a user.
    NoVariant,
    /// The variant's name is no stage.
    UnknownVariant,
}

impl StageRequest {
    /// The stage, if one is asked for.
    #[must_use]
    pub const fn stage(self) -> Option<Stage> {
        match self {
            Self::Stage(stage) => Some(stage),
            Self::NoDocument | Self::Absent | Self::NoVariant | Self::UnknownVariant => None,
        }
    }
}

/// A variant whose name is no stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnknownVariant {
    /// The toggle.
    pub toggle: String,
    /// The variant's name.
    pub variant: String,
}

/// The toggles of the configured resources:
///
/// - `<prefix>.enabled`: the kill switch;
/// - `<prefix>.<resource>.stage`: a variant names the stage asked for;
/// - `<prefix>.<resource>.cohort`: on for users in the cohort;
/// - `<prefix>.<resource>.shadow`: on for reads that are compared.
#[derive(Debug)]
pub struct Evaluation {
    toggles: Arc<Toggles>,
    enabled: String,
    names: HashMap<ResourceName, Names>,
    unknown_variants: AtomicU64,
}

#[derive(Debug)]
struct Names {
    stage: String,
    cohort: String,
    shadow: String,
    /// The last variant that named no stage, so that each is reported once.
    unknown: ArcSwap<Option<String>>,
    /// What the toggle asked for when it was last looked at.
    last: ArcSwap<Option<Asked>>,
}

/// What a stage's toggle asks for. No user takes part in it: it is worked out once a document, not once a request.
#[derive(Debug, Clone)]
struct Asked {
    document: u64,
    /// As the engine says it: its server is told of each time that it was asked for.
    variant: Option<Option<String>>,
    request: StageRequest,
}

impl Evaluation {
    /// Names the toggles of `resources`. Others are as if no document had them.
    pub fn new(
        toggles: Arc<Toggles>,
        prefix: &str,
        resources: impl IntoIterator<Item = ResourceName>,
    ) -> Self {
        let names = |resource: ResourceName| {
            let name = |what: &str| format!("{prefix}.{resource}.{what}");
            let (stage, cohort, shadow) = (name("stage"), name("cohort"), name("shadow"));
            let (unknown, last) = (ArcSwap::default(), ArcSwap::default());
            (resource, Names { stage, cohort, shadow, unknown, last })
        };
        Self {
            toggles,
            enabled: format!("{prefix}.enabled"),
            names: resources.into_iter().map(names).collect(),
            unknown_variants: AtomicU64::new(0),
        }
    }

    /// The toggles behind it.
    #[must_use]
    pub fn toggles(&self) -> &Arc<Toggles> {
        &self.toggles
    }

    /// The resources whose toggles are known.
    pub fn resources(&self) -> impl Iterator<Item = &ResourceName> {
        self.names.keys()
    }

    /// The kill switch, as the last document itself says; `None` if there is none or it has no such toggle.
    ///
    /// Strategies are passed over: "off" means switched off in the environment. A rollout that a
    /// request without a user does not fall into must not stop everything.
    #[must_use]
    pub fn enabled(&self) -> Option<bool> {
        self.toggles.document_says(&self.enabled)
    }

    /// The stage that the flags ask for, evaluated without a user.
    #[must_use]
    pub fn requested_stage(&self, resource: &ResourceName) -> Option<Stage> {
        self.stage_request(resource).stage()
    }

    /// As [`Evaluation::requested_stage`], with the reason where there is none.
    #[must_use]
    pub fn stage_request(&self, resource: &ResourceName) -> StageRequest {
        let Some(names) = self.names.get(resource) else { return StageRequest::Absent };
        // Before the toggle is looked at: a document that comes meanwhile is looked at again.
        let document = self.toggles.documents();
        if let Some(last) = names.last.load().as_ref()
            && last.document == document
            && !self.toggles.depend_on_time()
        {
            self.toggles.count_variant(&names.stage, last.variant.as_ref());
            return last.request;
        }
        let variant = self.toggles.variant(&names.stage);
        let request = self.read_stage(names, variant.clone());
        names.last.store(Arc::new(Some(Asked { document, variant, request })));
        request
    }

    fn read_stage(&self, names: &Names, variant: Option<Option<String>>) -> StageRequest {
        let Some(variant) = variant else {
            return if self.toggles.has_document() {
                StageRequest::Absent
            } else {
                StageRequest::NoDocument
            };
        };
        let Some(variant) = variant else { return StageRequest::NoVariant };
        match variant.parse() {
            Ok(stage) => {
                if names.unknown.load().is_some() {
                    names.unknown.store(Arc::new(None));
                }
                StageRequest::Stage(stage)
            }
            Err(error) => {
                self.report_unknown(names, variant, &error);
                StageRequest::UnknownVariant
            }
        }
    }

    fn report_unknown(
        &self,
        names: &Names,
        variant: String,
        error: &crate::migration::UnknownStage,
    ) {
        if names.unknown.load().as_ref().as_ref() == Some(&variant) {
            return;
        }
        self.unknown_variants.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("crossfade_flags_unknown_variants_total").increment(1);
        tracing::warn!(toggle = %names.stage, %error, "a variant names no stage; the last known stage holds");
        names.unknown.store(Arc::new(Some(variant)));
    }

    /// Whether a user's reads come from the sync path in stage `live`. Without the toggle: no.
    #[must_use]
    pub fn in_cohort<'a>(&self, resource: &ResourceName, who: impl Into<Subject<'a>>) -> bool {
        let names = self.names.get(resource);
        names.and_then(|names| self.toggles.is_on(&names.cohort, Some(who.into()))).unwrap_or(false)
    }

    /// Whom the cohort of a resource takes in, as its toggle says; without the toggle, nobody.
    #[must_use]
    pub fn cohort_reach(&self, resource: &ResourceName) -> Reach {
        let names = self.names.get(resource);
        let reach = names.and_then(|names| self.toggles.reach(&names.cohort));
        reach.unwrap_or_else(|| Reach::Some("there is no such toggle".to_owned()))
    }

    /// Whether this read is compared. Without the toggle: yes, every read is; what is too much is
    /// shed and counted by whoever compares.
    #[must_use]
    pub fn sampled(&self, resource: &ResourceName) -> bool {
        let names = self.names.get(resource);
        names.and_then(|names| self.toggles.is_on(&names.shadow, None)).unwrap_or(true)
    }

    /// How the provider is doing.
    #[must_use]
    pub fn status(&self) -> FlagsStatus {
        self.toggles.status()
    }

    /// Variants that name no stage, now; and how many there have been.
    #[must_use]
    pub fn unknown_variants(&self) -> (Vec<UnknownVariant>, u64) {
        let now = self.names.values().filter_map(|names| {
            let variant = names.unknown.load().as_ref().clone()?;
            Some(UnknownVariant { toggle: names.stage.clone(), variant })
        });
        (now.collect(), self.unknown_variants.load(Ordering::Relaxed))
    }
}

//! Flags that the program sets itself: for the demo and for tests.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use unleash_types::client_features::{ClientFeature, ClientFeatures, Strategy, StrategyVariant};

use super::engine::{Application, Engine};
use super::{ProviderKind, Toggles};
use crate::clock::SharedClock;
use crate::migration::{ResourceName, Stage};

/// Toggles by hand, in the same engine as any document's.
#[derive(Debug)]
pub struct FixedToggles {
    toggles: Arc<Toggles>,
    engine: Arc<Engine>,
    prefix: String,
    features: Mutex<BTreeMap<String, ClientFeature>>,
}

impl FixedToggles {
    /// An empty document.
    #[must_use]
    pub fn new(prefix: &str, clock: SharedClock) -> Self {
        let engine = Arc::new(Engine::new(ProviderKind::Fixed, Application::default(), clock));
        let toggles = Arc::new(Toggles::new(Arc::clone(&engine), None));
        let fixed = Self { toggles, engine, prefix: prefix.to_owned(), features: Mutex::default() };
        fixed.change(|_| {});
        fixed
    }

    /// The toggles, to be evaluated.
    #[must_use]
    pub fn toggles(&self) -> Arc<Toggles> {
        Arc::clone(&self.toggles)
    }

    /// Turns the kill switch on (running) or off (stopped).
    pub fn set_enabled(&self, on: bool) {
        self.set(&format!("{}.enabled", self.prefix), on, None);
    }

    /// Asks for a stage.
    pub fn set_stage(&self, resource: &ResourceName, stage: Stage) {
        self.set_variant(resource, stage.as_str());
    }

    /// Sets the variant of a resource's stage toggle, whatever its name.
    pub fn set_variant(&self, resource: &ResourceName, variant: &str) {
        let mut strategy = rollout(100, "random");
        strategy.variants = Some(vec![StrategyVariant {
            name: variant.to_owned(),
            weight: 1000,
            payload: None,
            stickiness: Some("default".to_owned()),
        }]);
        self.set(&format!("{}.{resource}.stage", self.prefix), true, Some(strategy));
    }

    /// Puts a share of the users, in percent, into a resource's cohort.
    pub fn set_cohort(&self, resource: &ResourceName, percent: u8) {
        let name = format!("{}.{resource}.cohort", self.prefix);
        self.set(&name, true, Some(rollout(percent, "userId")));
    }

    /// Compares a share of the reads, in percent.
    pub fn set_shadow(&self, resource: &ResourceName, percent: u8) {
        let name = format!("{}.{resource}.shadow", self.prefix);
        self.set(&name, true, Some(rollout(percent, "random")));
    }

    /// Takes a toggle (its whole name) out of the document.
    pub fn remove(&self, toggle: &str) {
        self.change(|features| drop(features.remove(toggle)));
    }

    fn set(&self, name: &str, enabled: bool, strategy: Option<Strategy>) {
        let feature = ClientFeature {
            name: name.to_owned(),
            enabled,
            strategies: Some(vec![strategy.unwrap_or_else(|| rollout(100, "default"))]),
            ..ClientFeature::default()
        };
        self.change(|features| drop(features.insert(feature.name.clone(), feature)));
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, ClientFeature>)) {
        // Held until the engine has the document, so that two changes cannot overtake each other.
        let mut features = self.features.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut features);
        let features = features.values().cloned().collect();
        self.engine.accept(ClientFeatures {
            version: 2,
            features,
            segments: None,
            query: None,
            meta: None,
        });
    }
}

fn rollout(percent: u8, stickiness: &str) -> Strategy {
    let parameter = |name: &str, value: String| (name.to_owned(), value);
    Strategy {
        name: "flexibleRollout".to_owned(),
        sort_order: None,
        segments: None,
        constraints: None,
        parameters: Some(HashMap::from([
            parameter("rollout", percent.min(100).to_string()),
            parameter("stickiness", stickiness.to_owned()),
        ])),
        variants: None,
    }
}

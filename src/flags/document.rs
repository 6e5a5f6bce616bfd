//! A flag document: brought into a form that the engine can take, and what is kept of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use unleash_types::client_features::{
    ClientFeature, ClientFeatures, Constraint, Operator, Strategy,
};
use unleash_types::client_metrics::ToggleStats;

use super::Reach;

/// Greatest weight of a variant. Unleash's own sum to 1,000.
const MAX_WEIGHT: i32 = 100_000;

/// What is kept of a document beside the engine's compiled form.
#[derive(Debug, Default)]
pub(super) struct Document {
    toggles: HashMap<String, Entry>,
    /// Whether any constraint looks at the time.
    pub(super) timed: bool,
    /// What the engine could not use of it.
    pub(super) warnings: Vec<String>,
}

#[derive(Debug)]
struct Entry {
    on: bool,
    reach: Reach,
    counts: Arc<Counts>,
}

/// How often a toggle was asked for. Counted without a lock, so variants must be known beforehand.
#[derive(Debug, Default)]
pub(super) struct Counts {
    yes: AtomicU32,
    no: AtomicU32,
    variants: HashMap<String, AtomicU32>,
}

impl Document {
    /// Counts go on where the document before had the toggle with the same variants.
    pub(super) fn new(features: &ClientFeatures, before: Option<&Self>) -> Self {
        let entry = |feature: &ClientFeature| {
            let known = before.and_then(|before| before.toggles.get(&feature.name));
            let counts = Counts::going_on(feature, known.map(|entry| &entry.counts));
            let reach = Reach::of(feature);
            (feature.name.clone(), Entry { on: feature.enabled, reach, counts })
        };
        Self {
            toggles: features.features.iter().map(entry).collect(),
            timed: looks_at_time(features),
            warnings: Vec::new(),
        }
    }

    /// Whether it has no toggle at all.
    pub(super) fn is_empty(&self) -> bool {
        self.toggles.is_empty()
    }

    /// Whether a toggle is switched on, whatever its strategies.
    pub(super) fn says(&self, toggle: &str) -> Option<bool> {
        self.toggles.get(toggle).map(|entry| entry.on)
    }

    /// Whom a toggle reaches.
    pub(super) fn reach(&self, toggle: &str) -> Option<&Reach> {
        self.toggles.get(toggle).map(|entry| &entry.reach)
    }

    pub(super) fn counts(&self, toggle: &str) -> Option<&Counts> {
        self.toggles.get(toggle).map(|entry| &*entry.counts)
    }

    /// What was counted since the last call, by toggle; empty if nothing was.
    pub(super) fn take_counts(&self) -> HashMap<String, ToggleStats> {
        let asked = self.toggles.iter().map(|(name, entry)| (name.clone(), entry.counts.take()));
        asked.filter(|(_, stats)| stats.yes > 0 || stats.no > 0).collect()
    }
}

impl Counts {
    fn going_on(feature: &ClientFeature, before: Option<&Arc<Self>>) -> Arc<Self> {
        let strategies = feature.strategies.iter().flatten();
        let of_strategies = strategies.flat_map(|s| s.variants.iter().flatten().map(|v| &v.name));
        let own = feature.variants.iter().flatten().map(|variant| &variant.name);
        // The engine's word for "no variant".
        let names = of_strategies.chain(own).map(String::as_str).chain(["disabled"]);
        let variants: HashMap<String, AtomicU32> =
            names.map(|name| (name.to_owned(), AtomicU32::new(0))).collect();
        let Some(before) = before else { return Arc::new(Self { variants, ..Self::default() }) };
        if variants.keys().all(|name| before.variants.contains_key(name)) {
            return Arc::clone(before);
        }
        let past = before.take();
        for (name, count) in past.variants {
            if let Some(variant) = variants.get(&name) {
                variant.store(count, Ordering::Relaxed);
            }
        }
        Arc::new(Self { yes: past.yes.into(), no: past.no.into(), variants })
    }

    pub(super) fn toggle(&self, on: bool) {
        let counter = if on { &self.yes } else { &self.no };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn variant(&self, name: &str) {
        if let Some(counter) = self.variants.get(name) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn take(&self) -> ToggleStats {
        let take = |counter: &AtomicU32| counter.swap(0, Ordering::Relaxed);
        let variants = self.variants.iter().map(|(name, counter)| (name.clone(), take(counter)));
        ToggleStats {
            yes: take(&self.yes),
            no: take(&self.no),
            variants: variants.filter(|(_, count)| *count > 0).collect(),
        }
    }
}

/// Brings weights into a range that the engine can add up, and drops lists of variants that weigh
/// nothing: the engine would panic on both when it draws.
pub(super) fn tame_weights(features: &mut ClientFeatures) -> Vec<String> {
    let mut warnings = Vec::new();
    for feature in &mut features.features {
        let strategies = feature.strategies.iter_mut().flatten();
        let of_strategies = strategies.filter_map(|strategy: &mut Strategy| {
            let variants = strategy.variants.as_mut()?;
            let tamed = tame(variants.iter_mut().map(|variant| &mut variant.weight));
            if tamed == Tamed::Weightless {
                variants.clear();
            }
            Some(tamed)
        });
        let mut worst = of_strategies.max().unwrap_or(Tamed::Untouched);
        if let Some(variants) = feature.variants.as_mut() {
            let tamed = tame(variants.iter_mut().map(|variant| &mut variant.weight));
            if tamed == Tamed::Weightless {
                variants.clear();
            }
            worst = worst.max(tamed);
        }
        let why = match worst {
            Tamed::Untouched => continue,
            Tamed::Cut => "a variant's weight was brought into 0 to 100,000",
            Tamed::Weightless => "variants whose weights add up to 0 were left out",
        };
        warnings.push(format!("toggle `{}`: {why}", feature.name));
    }
    warnings
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tamed {
    Untouched,
    Cut,
    Weightless,
}

fn tame<'a>(weights: impl Iterator<Item = &'a mut i32>) -> Tamed {
    let (mut tamed, mut total, mut count) = (Tamed::Untouched, 0_u32, 0_usize);
    for weight in weights {
        // 40,000 variants of the greatest weight still fit the engine's sum; later ones weigh nothing.
        let most = if count < 40_000 { MAX_WEIGHT } else { 0 };
        let fitting = (*weight).clamp(0, most);
        if fitting != *weight {
            *weight = fitting;
            tamed = Tamed::Cut;
        }
        total = total.saturating_add(fitting.unsigned_abs());
        count += 1;
    }
    if count > 0 && total == 0 { Tamed::Weightless } else { tamed }
}

fn looks_at_time(features: &ClientFeatures) -> bool {
    let of_time = |constraint: &Constraint| {
        constraint.context_name == "currentTime"
            || matches!(constraint.operator, Operator::DateAfter | Operator::DateBefore)
    };
    let strategies = features.features.iter().flat_map(|f| f.strategies.iter().flatten());
    let inline = strategies.flat_map(|strategy| strategy.constraints.iter().flatten());
    let shared = features.segments.iter().flatten().flat_map(|segment| &segment.constraints);
    inline.chain(shared).any(of_time)
}

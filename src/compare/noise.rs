//! The noise floor: how often the legacy path disagrees with itself, for each field of each route.
//!
//! A small share of compared reads is read from legacy a second time. Where the two sides of a comparison
//! differ no more often than legacy differs from itself, a difference is noise, and no mismatch. Both are
//! counted over a window, so that what an old, clean time says does not hide what is wrong now.
//!
//! Noise are only values of one type and class that differ, and elements in another order: a UUID that becomes
//! null, a field or row that is missing, or another status is never noise.

use std::collections::{BTreeSet, HashMap};

use super::wilson::{ONE_SIDED_95, wilson};
use super::{Comparison, Difference, Verdict};
use crate::migration::RouteTemplate;

/// Fewer pairs of legacy's own say nothing about a field.
const ENOUGH_PAIRS: u64 = 50;
/// From so many on, a field that legacy mostly disagrees about is proposed to be ignored.
const ENOUGH_TO_PROPOSE: u64 = 200;
/// What must differ more often than noise explains, before a difference counts as real.
const SURPLUS: f64 = 3.0;
/// A window is the latest whole part of so many pairs and the part that has begun after it.
const LEGACY_PART: u64 = 500;
/// The same, for comparisons of both sides.
const PART: u64 = 5_000;
/// A part holds so many fields of a route; what is beyond is counted and is never noise.
const MAX_FIELDS: usize = 256;

/// Two answers of legacy's to one read, and what its later ones say of them: somebody may have edited the data
/// in between, which shows once; noise shows again.
#[derive(Debug)]
pub struct LegacyPair {
    pair: Comparison,
    again: BTreeSet<String>,
}

impl LegacyPair {
    /// Of the first answer compared with the second.
    #[must_use]
    pub const fn of(pair: Comparison) -> Self {
        Self { pair, again: BTreeSet::new() }
    }

    /// Whether no later answer can tell more.
    #[must_use]
    pub fn is_told(&self) -> bool {
        !is_about_bodies(self.pair.verdict) || names(&self.pair).is_subset(&self.again)
    }

    /// Takes in the second answer compared with a later one.
    pub fn later(&mut self, comparison: &Comparison) {
        self.again.extend(names(comparison));
    }

    /// The pair with only those differences that showed again; none if it shows an edit and nothing else.
    #[must_use]
    pub fn restless(self) -> Option<Comparison> {
        let Self { mut pair, again } = self;
        let differed = !names(&pair).is_empty();
        pair.differences.retain(|one| one.alike && again.contains(&name(one)));
        (!differed || !pair.differences.is_empty()).then_some(pair)
    }
}

/// What is known of noise. Its size is bounded by the number of routes.
#[derive(Debug, Default)]
pub struct NoiseFloor {
    routes: HashMap<RouteTemplate, RouteNoise>,
    over_bound: u64,
}

#[derive(Debug)]
struct RouteNoise {
    /// Legacy's answers compared with each other.
    legacy: Window,
    /// Legacy's answers compared with the store's.
    both: Window,
}

/// What is known of the noise of one field.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct FieldNoise {
    /// The route.
    pub route: String,
    /// The place, indices erased, and the kind of difference.
    pub field: String,
    /// Pairs of legacy's answers.
    pub legacy_pairs: u64,
    /// Those in which it differs.
    pub legacy_differs: u64,
    /// The upper bound of its noise (Wilson, 95 %, one-sided).
    pub noise_at_most: f64,
    /// Comparisons of both sides.
    pub pairs: u64,
    /// Those in which it differs.
    pub differs: u64,
    /// Whether what differs is more than noise explains.
    pub real: bool,
    /// Whether legacy disagrees with itself so often that the field had better be ignored.
    pub better_ignored: bool,
}

impl NoiseFloor {
    /// Takes in a comparison of two answers of legacy's to one read.
    pub fn legacy_pair(&mut self, route: &RouteTemplate, own: &Comparison) {
        if is_about_bodies(own.verdict) {
            self.over_bound += self.route(route).legacy.add(own);
        }
    }

    /// Takes in a first comparison of both sides, and judges it again: a mismatch that shows nothing but noise is
    /// [`Verdict::Noise`].
    #[must_use]
    pub fn judged(&mut self, route: &RouteTemplate, comparison: Comparison) -> Comparison {
        if !is_about_bodies(comparison.verdict) {
            return comparison;
        }
        let noise = self.route(route);
        let over_bound = noise.both.add(&comparison);
        let is_noise = comparison.verdict == Verdict::Mismatch
            && comparison.more == 0
            && comparison.differences.iter().all(|one| noise.is_noise(one));
        self.over_bound += over_bound;
        if is_noise { Comparison { verdict: Verdict::Noise, ..comparison } } else { comparison }
    }

    /// How often a field was not counted because its route has too many.
    #[must_use]
    pub const fn over_bound(&self) -> u64 {
        self.over_bound
    }

    /// The fields that legacy was seen to disagree with itself about, by route and name.
    #[must_use]
    pub fn fields(&self) -> Vec<FieldNoise> {
        let mut fields: Vec<_> =
            self.routes.iter().flat_map(|(route, noise)| noise.fields(route)).collect();
        fields.sort_by(|a, b| (&a.route, &a.field).cmp(&(&b.route, &b.field)));
        fields
    }

    fn route(&mut self, route: &RouteTemplate) -> &mut RouteNoise {
        self.routes.entry(route.clone()).or_insert_with(|| RouteNoise {
            legacy: Window::of(LEGACY_PART),
            both: Window::of(PART),
        })
    }
}

impl RouteNoise {
    fn is_noise(&self, difference: &Difference) -> bool {
        let field = name(difference);
        // A field that is not counted cannot be told from one that is noisier than legacy.
        difference.alike && self.both.differing(&field) > 0 && !self.is_real(&field)
    }

    /// Whether a field differs more often than legacy's own disagreement explains, or that is not known.
    fn is_real(&self, field: &str) -> bool {
        let (own, own_pairs) = (self.legacy.differing(field), self.legacy.pairs());
        if own_pairs < ENOUGH_PAIRS || own == 0 {
            return true;
        }
        let (seen, pairs) = (self.both.differing(field), self.both.pairs());
        let at_most = wilson(own, own_pairs, ONE_SIDED_95).map_or(1.0, |(_, high)| high);
        let at_least = wilson(seen, pairs, ONE_SIDED_95).map_or(0.0, |(low, _)| low);
        let expected = own as f64 * pairs as f64 / own_pairs as f64;
        at_least > at_most && seen as f64 - expected >= SURPLUS
    }

    fn fields(&self, route: &RouteTemplate) -> Vec<FieldNoise> {
        let legacy_pairs = self.legacy.pairs();
        let field = |field: &str| {
            let legacy_differs = self.legacy.differing(field);
            let bound = wilson(legacy_differs, legacy_pairs, ONE_SIDED_95);
            let noise_at_most = bound.map_or(1.0, |(_, high)| high);
            FieldNoise {
                route: route.to_string(),
                field: field.to_owned(),
                legacy_pairs,
                legacy_differs,
                noise_at_most,
                pairs: self.both.pairs(),
                differs: self.both.differing(field),
                real: self.is_real(field),
                better_ignored: legacy_pairs >= ENOUGH_TO_PROPOSE && noise_at_most > 0.5,
            }
        };
        self.legacy.names().into_iter().map(field).collect()
    }
}

/// The latest pairs: a whole part, and one that has begun.
#[derive(Debug)]
struct Window {
    part: u64,
    before: Pairs,
    now: Pairs,
}

#[derive(Debug, Default)]
struct Pairs {
    count: u64,
    differing: HashMap<Box<str>, u64>,
}

impl Window {
    fn of(part: u64) -> Self {
        Self { part, before: Pairs::default(), now: Pairs::default() }
    }

    /// Counts a pair and each field that differs in it, once; gives how many fields there was no room for.
    fn add(&mut self, comparison: &Comparison) -> u64 {
        if self.now.count >= self.part {
            self.before = std::mem::take(&mut self.now);
        }
        self.now.count += 1;
        let mut over_bound = 0;
        for name in names(comparison) {
            if let Some(count) = self.now.differing.get_mut(name.as_str()) {
                *count += 1;
            } else if self.now.differing.len() < MAX_FIELDS {
                self.now.differing.insert(name.into(), 1);
            } else {
                over_bound += 1;
            }
        }
        over_bound
    }

    const fn pairs(&self) -> u64 {
        self.before.count + self.now.count
    }

    fn differing(&self, field: &str) -> u64 {
        [&self.before, &self.now].into_iter().filter_map(|part| part.differing.get(field)).sum()
    }

    fn names(&self) -> BTreeSet<&str> {
        let parts = [&self.before, &self.now].into_iter();
        parts.flat_map(|part| part.differing.keys()).map(|name| &**name).collect()
    }
}

fn name(difference: &Difference) -> String {
    format!("{} {}", difference.shape.path, difference.shape.kind.as_str())
}

/// The fields that may be noise.
fn names(comparison: &Comparison) -> BTreeSet<String> {
    comparison.differences.iter().filter(|one| one.alike).map(name).collect()
}

/// Whether two bodies were compared, so that each field either differs or does not.
const fn is_about_bodies(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Match | Verdict::Mismatch | Verdict::Overshare | Verdict::Undershare)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{judged as compared, rules};
    use super::*;
    use crate::compare::compare;

    fn route() -> RouteTemplate {
        RouteTemplate::new("GET /users")
    }

    fn differing(legacy: &str, sync: &str) -> Comparison {
        compared(legacy, sync, "")
    }

    const AT: [&str; 2] = [r#"{"at":1,"n":1}"#, r#"{"at":2,"n":1}"#];

    /// Legacy differs from itself in `at`, so often of so many.
    fn floor(differs: u64, pairs: u64) -> NoiseFloor {
        let mut floor = NoiseFloor::default();
        for pair in 0..pairs {
            let second = if pair < differs { AT[1] } else { AT[0] };
            floor.legacy_pair(&route(), &differing(AT[0], second));
        }
        floor
    }

    fn verdict(floor: &mut NoiseFloor, legacy: &str, sync: &str) -> Verdict {
        floor.judged(&route(), differing(legacy, sync)).verdict
    }

    #[test]
    fn a_difference_under_the_floor_is_noise() {
        let mut floor = floor(50, 100);
        assert_eq!(verdict(&mut floor, AT[0], AT[1]), Verdict::Noise);
        assert_eq!(verdict(&mut floor, AT[0], AT[0]), Verdict::Match);
        // Beside it something that legacy never disagrees about.
        assert_eq!(verdict(&mut floor, AT[0], r#"{"at":2,"n":2}"#), Verdict::Mismatch);
        // Of another route nothing is known.
        let other = RouteTemplate::new("GET /users/{id}");
        assert_eq!(floor.judged(&other, differing(AT[0], AT[1])).verdict, Verdict::Mismatch);
    }

    #[test]
    fn an_edit_between_two_answers_is_no_noise() {
        let told = |second: &str, later: &[&str]| {
            let mut pair = LegacyPair::of(differing(AT[0], second));
            for body in later {
                assert!(!pair.is_told());
                pair.later(&differing(second, body));
            }
            (pair.is_told(), pair.restless())
        };
        let (told_all, pair) = told(AT[1], &[AT[1], AT[1], AT[1], AT[1]]);
        assert!(!told_all && pair.is_none(), "it stays as it is");
        let (told_all, pair) = told(AT[1], &[AT[1], AT[0]]);
        assert!(told_all && pair.is_some_and(|pair| pair.differences.len() == 1));
        // `n` was edited, `at` is noise.
        let (told_all, pair) = told(r#"{"at":2,"n":2}"#, &[r#"{"at":3,"n":2}"#]);
        assert!(!told_all);
        assert_eq!(pair.unwrap().differences[0].shape.path, "/at");
        let (told_all, pair) = told(AT[0], &[]);
        assert!(told_all && pair.is_some(), "that legacy agrees with itself counts");
    }

    #[test]
    fn nothing_is_noise_before_it_was_measured() {
        assert_eq!(verdict(&mut floor(49, 49), AT[0], AT[1]), Verdict::Mismatch);
        assert_eq!(verdict(&mut floor(1, 50), AT[0], AT[1]), Verdict::Noise);
        assert_eq!(verdict(&mut floor(0, 400), AT[0], AT[1]), Verdict::Mismatch);
    }

    #[test]
    fn what_differs_more_often_than_legacy_from_itself_is_real() {
        let mut floor = floor(10, 400);
        let verdicts: Vec<_> = (0..40).map(|_| verdict(&mut floor, AT[0], AT[1])).collect();
        assert_eq!(verdicts[0], Verdict::Noise, "one difference proves nothing");
        assert_eq!(verdicts[39], Verdict::Mismatch, "always is more than 1 in 40");
        assert!(floor.fields()[0].real);
    }

    #[test]
    fn a_late_change_is_not_diluted_by_an_old_clean_time() {
        let mut floor = floor(20, 400);
        for _ in 0..3 * PART {
            assert_eq!(verdict(&mut floor, AT[0], AT[0]), Verdict::Match);
        }
        let clean = floor.fields().remove(0);
        assert!(clean.pairs <= 2 * PART, "{clean:?}");
        let until = (0..2 * PART).find(|_| verdict(&mut floor, AT[0], AT[1]) != Verdict::Noise);
        assert!(until.is_some_and(|seen| seen < 1_000), "{until:?}");
    }

    #[test]
    fn a_value_that_changes_its_sort_is_never_noise() {
        let id = "\"6a0c1a3e-4f5b-4c6d-8e7f-0123456789ab\"";
        let mut floor = NoiseFloor::default();
        for other in ["null", "\"\"", "\"x\"", "1", "\"6a0c1a3e-0000-4c6d-8e7f-0123456789ab\""] {
            let (own, changed) = (format!("[{id}]"), format!("[{other}]"));
            for _ in 0..100 {
                floor.legacy_pair(&route(), &differing(&own, &changed));
            }
            let expected = if other.len() == id.len() { Verdict::Noise } else { Verdict::Mismatch };
            assert_eq!(verdict(&mut floor, &own, &changed), expected, "{other}");
        }
        // Nor is a field or a row that one side lacks, or a length.
        for (l, s) in [(r#"{"a":1}"#, "{}"), ("[1,2]", "[1]")] {
            (0..100).for_each(|_| floor.legacy_pair(&route(), &differing(l, s)));
            assert_eq!(verdict(&mut floor, l, s), Verdict::Mismatch, "{l} {s}");
        }
        let rows = (r#"[{"a":1}]"#, r#"[{"a":1},{"a":2}]"#);
        (0..100).for_each(|_| floor.legacy_pair(&route(), &differing(rows.0, rows.1)));
        assert_eq!(verdict(&mut floor, rows.0, rows.1), Verdict::Overshare);
        // An order that legacy does not keep itself is.
        (0..100).for_each(|_| floor.legacy_pair(&route(), &differing("[1,2]", "[2,1]")));
        assert_eq!(verdict(&mut floor, "[3,4]", "[4,3]"), Verdict::Noise);
    }

    #[test]
    fn fields_beyond_the_bound_are_counted_and_never_noise() {
        let body = |field: usize, value: u64| {
            let name: String = std::iter::repeat_n('a', field % 26 + 1)
                .chain(std::iter::repeat_n('b', field / 26 + 1))
                .collect();
            format!("{{\"{name}\":{value}}}")
        };
        let mut floor = NoiseFloor::default();
        for field in 0..MAX_FIELDS + 7 {
            floor.legacy_pair(&route(), &differing(&body(field, 1), &body(field, 2)));
        }
        assert_eq!((floor.fields().len(), floor.over_bound()), (MAX_FIELDS, 7));
        assert_eq!(verdict(&mut floor, &body(0, 1), &body(0, 2)), Verdict::Noise);
        let last = MAX_FIELDS + 6;
        assert_eq!(verdict(&mut floor, &body(last, 1), &body(last, 2)), Verdict::Mismatch);
        // The store may be the one with too many.
        let mut floor = NoiseFloor::default();
        (0..100).for_each(|_| floor.legacy_pair(&route(), &differing(AT[0], AT[1])));
        for field in 0..MAX_FIELDS {
            assert_eq!(verdict(&mut floor, &body(field, 1), &body(field, 2)), Verdict::Mismatch);
        }
        assert_eq!(
            verdict(&mut floor, AT[0], AT[1]),
            Verdict::Mismatch,
            "there was no room for it"
        );
        assert_eq!(floor.over_bound(), 1);
    }

    #[test]
    fn a_field_that_is_mostly_noise_is_proposed_to_be_ignored() {
        assert!(floor(150, 200).fields()[0].better_ignored);
        assert!(!floor(149, 199).fields()[0].better_ignored);
        assert!(!floor(50, 200).fields()[0].better_ignored);
        let field = floor(50, 200).fields().remove(0);
        assert_eq!((field.field.as_str(), field.legacy_differs), ("/at value", 50));
        assert!((field.noise_at_most - 0.3035).abs() < 1e-4, "{field:?}");
    }

    #[test]
    fn failures_are_no_pairs() {
        let mut floor = NoiseFloor::default();
        let pair = super::super::tests::pair("1", "2");
        let mut failed = compare(&pair.legacy, &pair.sync, &rules(""));
        failed.verdict = Verdict::Shed;
        floor.legacy_pair(&route(), &failed);
        assert_eq!(floor.judged(&route(), failed).verdict, Verdict::Shed);
        assert!(floor.fields().is_empty());
    }
}

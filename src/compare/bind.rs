//! Ids that each side makes for itself: which one is which, learned inside one comparison.

use std::collections::HashMap;

use super::document::Json;

/// What was learned: for each bijection, legacy's ids with the store's, and the other way round.
#[derive(Debug, Default)]
pub(super) struct Bindings(HashMap<usize, (Pairs, Pairs)>);

type Pairs = HashMap<String, String>;

impl Bindings {
    /// Whether two ids belong together by all that was seen so far. Ids not seen before are bound by it.
    pub(super) fn hold(&mut self, bijection: usize, legacy: String, sync: String) -> bool {
        let (there, back) = self.0.entry(bijection).or_default();
        match (there.get(&legacy), back.get(&sync)) {
            (None, None) => {
                there.insert(legacy.clone(), sync.clone());
                back.insert(sync, legacy);
                true
            }
            (Some(known), Some(known_back)) => *known == sync && *known_back == legacy,
            _ => false,
        }
    }
}

/// A value that may be an id, each with a text of its own.
pub(super) fn id_of(json: &Json) -> Option<String> {
    match json {
        Json::String(text) => Some(format!("\"{text}")),
        Json::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bijection_is_broken_from_either_side() {
        let mut bindings = Bindings::default();
        let mut hold = |bijection, l: &str, s: &str| bindings.hold(bijection, l.into(), s.into());
        assert!(hold(0, "1", "a") && hold(0, "2", "b") && hold(0, "1", "a"));
        assert!(!hold(0, "1", "b"), "1 is a");
        assert!(!hold(0, "3", "a"), "a is 1");
        assert!(!hold(0, "1", "c"));
        assert!(hold(1, "1", "b"), "another sort of id");
    }
}

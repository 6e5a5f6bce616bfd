//! Lag or mismatch: the same question asked again a little later.

use std::collections::BTreeSet;

use super::{Comparison, Pair, Reason, Rules, Verdict, compare};

/// What a later reading says about a first one that differed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// The store now answers what legacy answered first: it was late, not wrong.
    Lag,
    /// It cannot be told. `Moving`: the data changed meanwhile; `Token`: the user's token is no
    /// longer accepted; `Unsettled`: reading again failed. Another reading may tell more.
    Incomparable(Reason),
    /// The answers still differ: the later comparison. Another reading may still find lag.
    Differs(Comparison),
}

impl Settled {
    /// The verdict, if this was the last reading, `elapsed_ms` after the first.
    #[must_use]
    pub const fn verdict(&self, elapsed_ms: u64) -> Verdict {
        match self {
            Self::Lag => Verdict::Lag(elapsed_ms),
            Self::Incomparable(reason) => Verdict::Incomparable(*reason),
            Self::Differs(comparison) => comparison.verdict,
        }
    }

    /// What this reading and a later one say together: a difference has to be in every reading that
    /// could be judged. A list that many people edit never stands still, and somewhere in it always
    /// differs something; only what is wrong differs in the same place again and again.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        match (self, later) {
            (Self::Lag, _) | (_, Self::Lag) => Self::Lag,
            (known, Self::Incomparable(Reason::Unsettled)) => known,
            (Self::Incomparable(Reason::Moving), Self::Differs(_)) => {
                Self::Incomparable(Reason::Moving)
            }
            (Self::Differs(earlier), Self::Differs(mut now)) => {
                let before = places(&earlier);
                now.keep_only(|one| before.contains(&*one.again));
                Self::differing(now)
            }
            (_, later) => later,
        }
    }

    fn differing(comparison: Comparison) -> Self {
        if comparison.differences.is_empty() {
            Self::Incomparable(Reason::Moving)
        } else {
            Self::Differs(comparison)
        }
    }

    /// Whether no further reading can change it.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Lag | Self::Incomparable(Reason::Token))
    }
}

/// Judges a pair that differed, given a later pair.
///
/// `Lag` only if the store's later answer equals legacy's *earlier* one. If both later answers are
/// equal but legacy moved on, nobody saw the store catch up: `Incomparable(Moving)`. If they still
/// differ, only places that differed before and that legacy did not change meanwhile count as a
/// difference that stays; when there is none, the data was moving.
#[must_use]
pub fn settle(first: &Pair, later: &Pair, rules: &Rules) -> Settled {
    if compare(&first.legacy, &later.sync, rules).verdict == Verdict::Match {
        return Settled::Lag;
    }
    let now = compare(&later.legacy, &later.sync, rules);
    match now.verdict {
        Verdict::Match => return Settled::Incomparable(Reason::Moving),
        Verdict::Incomparable(reason) => return Settled::Incomparable(reason),
        Verdict::Mismatch | Verdict::Overshare | Verdict::Undershare => {}
        _ => return Settled::Incomparable(Reason::Unsettled),
    }
    let moved = compare(&first.legacy, &later.legacy, rules);
    match moved.verdict {
        Verdict::Match | Verdict::Mismatch | Verdict::Overshare | Verdict::Undershare => {}
        _ => return Settled::Incomparable(Reason::Unsettled),
    }
    what_stays(&compare(&first.legacy, &first.sync, rules), now, &moved)
}

/// The places that differed before, differ now, and that legacy did not change meanwhile: the rest is
/// data on its way, and has no part in what is told.
fn what_stays(before: &Comparison, mut now: Comparison, moved: &Comparison) -> Settled {
    let (before, moved) = (places(before), places(moved));
    now.keep_only(|one| before.contains(&*one.again) && !moved.contains(&*one.again));
    Settled::differing(now)
}

fn places(comparison: &Comparison) -> BTreeSet<&str> {
    comparison.differences.iter().map(|one| &*one.again).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{answer, pair, rules};
    use super::*;

    fn settled(first: (&str, &str), later: (&str, &str)) -> Settled {
        settle(&pair(first.0, first.1), &pair(later.0, later.1), &rules(""))
    }

    #[test]
    fn lag_only_if_the_store_reaches_what_legacy_said_first() {
        assert_eq!(settled(("1", "0"), ("1", "1")), Settled::Lag);
        // Legacy has moved on to 2, and still the store was seen to reach 1.
        assert_eq!(settled(("1", "0"), ("2", "1")), Settled::Lag);
        assert_eq!(Settled::Lag.verdict(1_000), Verdict::Lag(1_000));
    }

    #[test]
    fn legacy_moved_and_both_agree_is_moving() {
        let moving = Settled::Incomparable(Reason::Moving);
        assert_eq!(settled(("1", "0"), ("2", "2")), moving);
        assert!(!moving.is_final());
        // Everything that differs is what legacy changed.
        assert_eq!(settled((r#"{"n":1}"#, r#"{"n":0}"#), (r#"{"n":3}"#, r#"{"n":2}"#)), moving);
    }

    #[test]
    fn what_stays_wrong_differs() {
        let Settled::Differs(now) = settled(("1", "0"), ("1", "0")) else { panic!() };
        assert_eq!(now.verdict, Verdict::Mismatch);
        // `n` moves, `role` stays wrong: moving data must not hide it.
        let first = (r#"{"n":1,"role":"a"}"#, r#"{"n":1,"role":"b"}"#);
        let later = (r#"{"n":2,"role":"a"}"#, r#"{"n":2,"role":"b"}"#);
        assert!(matches!(settled(first, later), Settled::Differs(_)));
    }

    #[test]
    fn only_what_stays_is_told() {
        let first = (r#"{"n":1,"role":"a"}"#, r#"{"n":1,"role":"b"}"#);
        // `n` is on its way at the second reading, on either side.
        for later in [
            (r#"{"n":2,"role":"a"}"#, r#"{"n":1,"role":"b"}"#),
            (r#"{"n":1,"role":"a"}"#, r#"{"n":2,"role":"b"}"#),
        ] {
            let Settled::Differs(now) = settled(first, later) else { panic!() };
            assert_eq!(places(&now), BTreeSet::from(["/role"]));
        }
        // Another place than before, and legacy as it was: an edit that legacy is still owed.
        let first = (r#"{"n":1,"role":"a"}"#, r#"{"n":2,"role":"a"}"#);
        let later = (r#"{"n":1,"role":"a"}"#, r#"{"n":1,"role":"b"}"#);
        assert_eq!(settled(first, later), Settled::Incomparable(Reason::Moving));
    }

    #[test]
    fn a_difference_has_to_be_in_every_reading() {
        let differs = |cells: &str| {
            let other = cells.replace(':', ":1");
            settled((&other, cells), (&other, cells))
        };
        let (n, m, both) = (differs(r#"{"n":1}"#), differs(r#"{"m":1}"#), r#"{"n":1,"m":1}"#);
        let moving = Settled::Incomparable(Reason::Moving);
        assert_eq!(n.clone().then(m.clone()), moving);
        assert_eq!(moving.clone().then(n.clone()), moving);
        assert_eq!(n.clone().then(moving.clone()), moving);
        let Settled::Differs(stays) = differs(both).then(n.clone()) else { panic!() };
        assert_eq!(places(&stays), BTreeSet::from(["/n"]));
        // A reading that failed says nothing; lag is the best there is; a dead token ends it.
        let (failed, token) = (Reason::Unsettled, Reason::Token);
        assert_eq!(n.clone().then(Settled::Incomparable(failed)), n);
        assert_eq!(Settled::Incomparable(failed).then(n.clone()), n);
        assert_eq!(moving.then(Settled::Lag), Settled::Lag);
        assert_eq!(m.then(Settled::Incomparable(token)), Settled::Incomparable(token));
    }

    #[test]
    fn rows_with_a_key_are_found_again_wherever_they_stand() {
        let rules = rules(r#"arrays = [{ path = "$", by = "id" }]"#);
        let rows = |n: [i32; 3]| {
            serde_json::json!([{"id": "a", "n": n[0]}, {"id": "b", "n": n[1]}, {"id": "c", "n": n[2]}])
                .to_string()
        };
        let settled = |first: [String; 2], later: [String; 2]| {
            settle(&pair(&first[0], &first[1]), &pair(&later[0], &later[1]), &rules)
        };
        // One row on its way, then another one.
        let now = settled([rows([1, 1, 1]), rows([2, 1, 1])], [rows([1, 1, 1]), rows([1, 2, 1])]);
        assert_eq!(now, Settled::Incomparable(Reason::Moving));
        // Legacy changes one row; another one stays wrong.
        let now = settled([rows([1, 1, 1]), rows([2, 1, 1])], [rows([1, 5, 1]), rows([2, 1, 1])]);
        let Settled::Differs(now) = now else { panic!() };
        assert_eq!(now.differences.len(), 1);
        // A row that is on its way at the later reading does not make the rest an undershare.
        let short = |n: i32| format!(r#"[{{"id":"a","n":{n}}}]"#);
        let now = settled([short(1), short(2)], [rows([1, 1, 1]), short(2)]);
        let Settled::Differs(now) = now else { panic!() };
        assert_eq!(now.verdict, Verdict::Mismatch);
    }

    #[test]
    fn a_reading_that_failed_tells_nothing() {
        let first = pair("1", "0");
        let mut later = pair("1", "0");
        later.legacy = answer(crate::migration::Origin::Legacy, 401, "{}");
        let token = settle(&first, &later, &rules(""));
        assert_eq!(token, Settled::Incomparable(Reason::Token));
        assert!(token.is_final());
        later.legacy = answer(crate::migration::Origin::Legacy, 503, "");
        assert_eq!(settle(&first, &later, &rules("")), Settled::Incomparable(Reason::Unsettled));
    }
}

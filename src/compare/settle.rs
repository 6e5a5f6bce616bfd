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
        Verdict::Match => return Settled::Differs(now),
        Verdict::Mismatch | Verdict::Overshare | Verdict::Undershare => {}
        _ => return Settled::Incomparable(Reason::Unsettled),
    }
    let before = compare(&first.legacy, &first.sync, rules);
    let (before, moved) = (places(&before), places(&moved));
    let stays = places(&now).into_iter().any(|at| before.contains(at) && !moved.contains(at));
    if stays { Settled::Differs(now) } else { Settled::Incomparable(Reason::Moving) }
}

fn places(comparison: &Comparison) -> BTreeSet<&str> {
    comparison.differences.iter().map(|one| one.shape.path.as_str()).collect()
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

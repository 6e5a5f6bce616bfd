//! By how much two numbers may differ.

use super::Number;

/// A bound on the distance of two numbers. Nothing is rounded: rounding would tell 1.004 and 1.005 apart and
/// not 1.005 and 1.014.
#[derive(Debug, Clone)]
pub(super) enum Tolerance {
    /// At most this.
    Abs(Number),
    /// At most this share of the greater magnitude.
    Rel(Number),
    /// At most so many 64-bit floats from one to the other.
    Ulp(u64),
}

impl Tolerance {
    /// Whether two numbers are near enough, in exact decimals as long as 128 bits hold them, else in 64-bit floats.
    pub(super) fn allows(&self, a: &Number, b: &Number) -> bool {
        match self {
            Self::Abs(bound) => {
                let exact = within(a, b, bound);
                exact.unwrap_or_else(|| (a.to_f64() - b.to_f64()).abs() <= bound.to_f64())
            }
            Self::Rel(share) => {
                let (x, y) = (a.to_f64(), b.to_f64());
                let rough = || (x - y).abs() <= share.to_f64() * x.abs().max(y.abs());
                within_share(a, b, share).unwrap_or_else(rough)
            }
            Self::Ulp(bound) => {
                floats_between(a.to_f64(), b.to_f64()).is_some_and(|steps| steps <= *bound)
            }
        }
    }
}

fn within(a: &Number, b: &Number, bound: &Number) -> Option<bool> {
    let unit = a.exponent().min(b.exponent()).min(bound.exponent());
    let distance = a.in_units_of(unit)?.checked_sub(b.in_units_of(unit)?)?;
    Some(distance.unsigned_abs() <= bound.in_units_of(unit)?.unsigned_abs())
}

fn within_share(a: &Number, b: &Number, share: &Number) -> Option<bool> {
    let unit = a.exponent().min(b.exponent());
    let (a, b) = (a.in_units_of(unit)?, b.in_units_of(unit)?);
    let greater = a.unsigned_abs().max(b.unsigned_abs());
    // A share under 1 has a negative exponent: the distance is scaled instead.
    let scale = 10_u128.checked_pow(u32::try_from(share.exponent().checked_neg()?).ok()?)?;
    let share = share.in_units_of(share.exponent())?.unsigned_abs();
    let distance = a.checked_sub(b)?.unsigned_abs();
    Some(distance.checked_mul(scale)? <= share.checked_mul(greater)?)
}

/// How many steps lead from one float to the other; none if one of them is not finite.
fn floats_between(a: f64, b: f64) -> Option<u64> {
    // Floats of one sign are ordered as their bits are; negative ones are mirrored below zero.
    let place = |float: f64| {
        let magnitude = i128::from(float.abs().to_bits());
        if float.is_sign_negative() { -magnitude } else { magnitude }
    };
    let both = a.is_finite() && b.is_finite();
    let steps = (place(a) - place(b)).unsigned_abs();
    both.then(|| u64::try_from(steps).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text)
    }

    fn allows(tolerance: &Tolerance, a: &str, b: &str) -> bool {
        tolerance.allows(&number(a), &number(b))
    }

    #[test]
    fn a_bound_is_exact_where_floats_are_not() {
        let tenth = Tolerance::Abs(number("0.1"));
        // In floats, 1.1 - 1.0 is over 0.1.
        assert!(allows(&tenth, "1.1", "1.0") && allows(&tenth, "1.0", "1.1"));
        assert!(!allows(&tenth, "1.1000000000000001", "1"));
        assert!(allows(&tenth, "-0.05", "0.05") && !allows(&tenth, "-0.05", "0.0500000000001"));
        let percent = Tolerance::Rel(number("0.01"));
        assert!(allows(&percent, "99", "100") && !allows(&percent, "98.999", "100"));
        assert!(!allows(&percent, "-1", "1") && !allows(&percent, "0", "0.0001"));
    }

    #[test]
    fn what_128_bits_do_not_hold_is_compared_in_floats() {
        let one = Tolerance::Abs(number("1"));
        assert!(!allows(&one, "1e400", "2e400"), "infinite as floats");
        assert!(!allows(&one, "1e300", "2e300") && allows(&one, "1e-300", "2e-300"));
        let percent = Tolerance::Rel(number("0.01"));
        assert!(allows(&percent, "1.000e300", "1.001e300"));
        let digits = "1234567890123456789012345678901234567890";
        assert!(allows(&percent, digits, "1234567890123456789012345678901234567891"));
        assert!(!allows(&one, "1e99999999999999999999", "1e99999999999999999998"));
    }

    #[test]
    fn floats_are_counted_over_zero_too() {
        let two = Tolerance::Ulp(2);
        assert!(allows(&two, "0.30000000000000004", "0.3"));
        assert!(!allows(&two, "0.3000000000000003", "0.3"));
        assert!(allows(&two, "5e-324", "-5e-324") && !allows(&two, "1e-323", "-5e-324"));
        assert!(!allows(&two, "1e999", "1e998"));
        assert_eq!(floats_between(-0.0, 0.0), Some(0));
    }

    proptest! {
        #[test]
        fn it_is_reflexive_and_symmetric(
            a in "-?[0-9]{1,25}(\\.[0-9]{1,25})?([eE]-?[0-9]{1,4})?",
            b in "-?[0-9]{1,25}(\\.[0-9]{1,25})?([eE]-?[0-9]{1,4})?",
        ) {
            for tolerance in
                [Tolerance::Abs(number("0.5")), Tolerance::Rel(number("0.001")), Tolerance::Ulp(4)]
            {
                prop_assert_eq!(allows(&tolerance, &a, &b), allows(&tolerance, &b, &a));
            }
            prop_assert!(allows(&Tolerance::Rel(number("0.1")), "1", "1"));
        }

        #[test]
        fn whole_numbers_agree_with_plain_arithmetic(
            a in -1_000_i64..1_000, b in -1_000_i64..1_000, bound in 1_i64..100,
        ) {
            let tolerance = Tolerance::Abs(number(&bound.to_string()));
            prop_assert_eq!(
                allows(&tolerance, &a.to_string(), &b.to_string()), (a - b).abs() <= bound
            );
        }
    }
}

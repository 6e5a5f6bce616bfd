//! JSON numbers by decimal value, never through a binary float.

use std::fmt;

/// The largest integer below which every integer is exact in JavaScript: 2^53 − 1.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// A number as a decimal value: `1`, `1.0` and `1e0` are one value; `-0` is `0`.
///
/// Kept normalised (no trailing zero in the digits), so that equality of fields is equality of value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Number {
    digits: Digits,
    /// Power of ten of the last digit.
    exponent: i64,
    /// Written as an integer, and beyond what JavaScript holds exactly.
    unsafe_integer: Remark,
    /// Written without fraction and exponent.
    integer: Remark,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Digits {
    /// All digits fit; the sign is the number's. Most numbers are this.
    Small(i64),
    /// Sign and digits, too many for 64 bits.
    Large(Box<str>),
    /// The exponent itself does not fit 64 bits: compared as written.
    AsWritten(Box<str>),
}

/// A remark about the spelling: it takes no part in equality.
#[derive(Debug, Clone, Copy)]
struct Remark(bool);

impl PartialEq for Remark {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Remark {}

impl std::hash::Hash for Remark {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

impl Number {
    /// Reads the text of a JSON number. The caller has checked that it is one.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (mantissa, written_exponent) = match text.split_once(['e', 'E']) {
            None => (text, Some(0)),
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |unsigned| ("-", unsigned));
        let is_integer = mantissa.len() == text.len() && fraction.is_empty();
        let unsafe_integer = Remark(
            is_integer && whole.parse::<u64>().map_or(true, |value| value > MAX_SAFE_INTEGER),
        );
        let integer = Remark(is_integer);

        let all = format!("{whole}{fraction}");
        let significant = all.trim_start_matches('0');
        let kept = significant.trim_end_matches('0');
        if kept.is_empty() {
            let unsafe_integer = Remark(false);
            return Self { digits: Digits::Small(0), exponent: 0, unsafe_integer, integer };
        }
        let shift = i64::try_from(significant.len() - kept.len())
            .ok()
            .zip(i64::try_from(fraction.len()).ok())
            .map(|(zeros, decimals)| zeros - decimals);
        let exponent =
            written_exponent.zip(shift).and_then(|(written, shift)| written.checked_add(shift));
        let Some(exponent) = exponent else {
            let digits = Digits::AsWritten(text.into());
            return Self { digits, exponent: 0, unsafe_integer, integer };
        };
        let signed = format!("{sign}{kept}");
        let digits = signed.parse().map_or_else(|_| Digits::Large(signed.into()), Digits::Small);
        Self { digits, exponent, unsafe_integer, integer }
    }

    /// Whether it is written as an integer beyond ±(2^53 − 1): JavaScript may have lost digits.
    #[must_use]
    pub const fn is_unsafe_integer(&self) -> bool {
        self.unsafe_integer.0
    }

    /// Whether it is written as an integer: `1`, and neither `1.0` nor `1e0`.
    #[must_use]
    pub const fn is_written_as_integer(&self) -> bool {
        self.integer.0
    }

    /// The power of ten of its last digit.
    pub(super) const fn exponent(&self) -> i64 {
        self.exponent
    }

    /// How many times 10^`exponent` it is; none if that is no whole number, or one of more than 128 bits.
    pub(super) fn in_units_of(&self, exponent: i64) -> Option<i128> {
        let Digits::Small(digits) = self.digits else { return None };
        if digits == 0 {
            return Some(0);
        }
        let power = u32::try_from(self.exponent.checked_sub(exponent)?).ok()?;
        i128::from(digits).checked_mul(10_i128.checked_pow(power)?)
    }

    /// The nearest binary float; infinite if there is none.
    pub(super) fn to_f64(&self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }
}

impl fmt::Display for Number {
    /// One spelling for each value: plain while that stays short, scientific beyond.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match &self.digits {
            Digits::AsWritten(text) => return f.write_str(text),
            Digits::Small(value) => value.to_string(),
            Digits::Large(text) => text.to_string(),
        };
        let (sign, digits) = digits.strip_prefix('-').map_or(("", &*digits), |rest| ("-", rest));
        let length = i64::try_from(digits.len()).unwrap_or(i64::MAX);
        match self.exponent {
            zeros @ 0..=20 if length + zeros <= 21 => {
                let zeros = usize::try_from(zeros).unwrap_or(0);
                write!(f, "{sign}{digits}{}", "0".repeat(zeros))
            }
            exponent @ -40..0 if -exponent < length => {
                let at = usize::try_from(length + exponent).unwrap_or(0);
                write!(f, "{sign}{}.{}", &digits[..at], &digits[at..])
            }
            exponent @ -12..0 => {
                let zeros = usize::try_from(-exponent - length).unwrap_or(0);
                write!(f, "{sign}0.{}{digits}", "0".repeat(zeros))
            }
            exponent => write!(f, "{sign}{digits}e{exponent}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn same(a: &str, b: &str) -> bool {
        Number::parse(a) == Number::parse(b)
    }

    #[test]
    fn equal_by_decimal_value() {
        for (a, b) in [
            ("1", "1.0"),
            ("100", "1e2"),
            ("0.10", "0.1"),
            ("-0", "0"),
            ("0e99", "0.000"),
            ("1.5E+3", "1500"),
            ("123456789012345678901234567890", "1.2345678901234567890123456789e29"),
            ("1e99999999999999999999", "1e99999999999999999999"),
        ] {
            assert!(same(a, b), "{a} = {b}");
        }
        for (a, b) in [
            ("1", "-1"),
            ("0.1", "0.1000000000000000000001"),
            ("9007199254740993", "9007199254740992"),
            ("1e400", "1e401"),
            ("1e99999999999999999999", "1e99999999999999999998"),
        ] {
            assert!(!same(a, b), "{a} ≠ {b}");
        }
    }

    #[test]
    fn integers_beyond_javascript_are_flagged() {
        for (text, flagged) in [
            ("9007199254740991", false),
            ("9007199254740992", true),
            ("-9007199254740993", true),
            ("99999999999999999999999", true),
            ("1e30", false),
            ("9007199254740993.5", false),
        ] {
            assert_eq!(Number::parse(text).is_unsafe_integer(), flagged, "{text}");
        }
    }

    #[test]
    fn one_spelling_for_each_value() {
        for (text, spelling) in [
            ("1.0", "1"),
            ("-12.50", "-12.5"),
            ("0.00120", "0.0012"),
            ("1e3", "1000"),
            ("1e30", "1e30"),
            ("5e-20", "5e-20"),
            ("-0.0", "0"),
        ] {
            assert_eq!(Number::parse(text).to_string(), spelling);
        }
    }

    proptest! {
        #[test]
        fn the_spelling_reads_back_as_the_same_value(
            text in "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,4})?"
        ) {
            let number = Number::parse(&text);
            prop_assert_eq!(Number::parse(&number.to_string()), number);
        }
    }
}

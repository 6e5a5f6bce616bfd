//! Two answers to one read, judged: a [`Comparison`] with its [`Verdict`] and every [`Difference`].
//!
//! Pure: no clock, no I/O, no randomness. JSON is compared as a value. Object order never counts;
//! numbers are equal when their decimal values are; arrays are compared by position unless a rule
//! says by key or as a set; a missing field and `null` differ unless a rule says otherwise.
//! Rules name places by JSONPath (RFC 9535), differences are located by JSON Pointer (RFC 6901).
//! No difference carries a value: whoever wants values looks them up, redacted, by location.

mod array;
mod bind;
mod diff;
mod document;
mod headers;
mod judge;
mod location;
mod marks;
mod noise;
mod number;
mod rules;
mod scalar;
mod settle;
mod signature;
mod spelling;
mod text;
mod times;
mod tolerance;
mod verdict;
mod wilson;

pub use diff::{Difference, JsonType, Kind, RuleHits};
pub use document::{Document, Json, Node, Unreadable};
pub use headers::comparable_header;
pub use judge::{Comparison, EQUAL_INSTANTS, Pair, StatusPair, compare};
pub(crate) use location::is_name;
pub use location::{Location, Pointer};
pub use marks::Marks;
pub use noise::{FieldNoise, LegacyPair, NoiseFloor};
pub use number::Number;
pub use rules::{
    ArrayOrder, ArrayRuleSettings, NumberRuleSettings, RuleError, RuleKey, RuleProblem,
    RuleSettings, Rules, StringForm, StringRuleSettings, TimeRuleSettings, TimeUnit,
};
pub use settle::{Settled, settle};
pub use signature::{Folded, Shape, Signature, SignatureParts};
pub use text::{canonical_pretty, unified_diff};
pub(crate) use times::instant;
pub use verdict::{ErrorSide, Reason, UnknownVerdict, Verdict};
pub use wilson::{ONE_SIDED_95, TWO_SIDED_95, wilson};

#[cfg(test)]
mod tests;

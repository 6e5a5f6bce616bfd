//! Latencies as a histogram of bounded size.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};

/// Longer ones count as an hour.
const MAX_US: u64 = 3_600_000_000;

/// Many latencies in microseconds, each kept to two significant digits: every quantile is within
/// 1 % of the true one. Stored as HdrHistogram's V2 format in base64.
#[derive(Debug, Clone, PartialEq)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl Latencies {
    /// None yet.
    #[must_use]
    #[expect(clippy::missing_panics_doc, clippy::expect_used, reason = "constant arguments")]
    pub fn new() -> Self {
        Self(Histogram::new(2).expect("2 is a legal number of digits"))
    }

    /// Adds one, in microseconds.
    pub fn record(&mut self, latency_us: u64) {
        // It resizes itself up to the bound, so the one error there is cannot happen.
        let _ = self.0.record(latency_us.min(MAX_US));
    }

    /// Adds all of another's.
    pub fn merge(&mut self, other: &Self) {
        let _ = self.0.add(&other.0);
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that the share `quantile` (0 to 1) of them does not exceed, in microseconds;
    /// none if nothing was measured.
    #[must_use]
    pub fn quantile_us(&self, quantile: f64) -> Option<u64> {
        (self.count() > 0).then(|| self.0.value_at_quantile(quantile))
    }

    /// The text that is stored.
    #[must_use]
    pub fn to_base64(&self) -> String {
        let mut bytes = Vec::new();
        // Writing into a Vec fails only for histograms of more counters than a u32 can number.
        let _ = V2Serializer::new().serialize(&self.0, &mut bytes);
        STANDARD.encode(bytes)
    }

    /// Reads the stored text.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn from_base64(text: &str) -> Result<Self, String> {
        let bytes = STANDARD.decode(text).map_err(|error| error.to_string())?;
        let read = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| error.to_string())?;
        let mut own = Self::new();
        own.0.add(&read).map_err(|error| error.to_string())?;
        Ok(own)
    }
}

impl serde::Serialize for Latencies {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_base64())
    }
}

impl<'de> serde::Deserialize<'de> for Latencies {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        Self::from_base64(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_measured_has_no_quantile() {
        assert_eq!(Latencies::new().quantile_us(0.5), None);
        assert!(Latencies::from_base64("AAAA").is_err());
        assert!(Latencies::from_base64("ü").is_err());
    }

    proptest! {
        #[test]
        fn quantiles_are_within_one_percent_after_storing_and_merging(
            values in prop::collection::vec(1..10_000_000_u64, 1..300),
            split in any::<prop::sample::Index>(),
        ) {
            let (mut one, mut other) = (Latencies::new(), Latencies::new());
            let split = split.index(values.len());
            values[..split].iter().for_each(|value| one.record(*value));
            values[split..].iter().for_each(|value| other.record(*value));
            let mut merged = Latencies::from_base64(&one.to_base64()).unwrap();
            merged.merge(&Latencies::from_base64(&other.to_base64()).unwrap());
            prop_assert_eq!(merged.count(), values.len() as u64);

            let mut sorted = values;
            sorted.sort_unstable();
            for quantile in [0.5, 0.95, 0.99] {
                let rank = ((quantile * sorted.len() as f64).ceil() as usize).max(1);
                let (exact, kept) = (sorted[rank - 1], merged.quantile_us(quantile).unwrap());
                prop_assert!(kept.abs_diff(exact) * 100 <= exact, "{kept} for {exact}");
            }
        }
    }
}

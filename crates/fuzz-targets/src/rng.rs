//! Randomness that gives the same every time, so that a finding repeats.

use mergeable_store::Random;

/// SplitMix64.
pub(crate) struct Rng(pub(crate) u64);

impl Random for Rng {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            *byte = (z ^ (z >> 27)) as u8;
        }
    }
}

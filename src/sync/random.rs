//! The process's randomness, as the sync engine takes it.

use mergeable_store::Random;

use crate::clock::SharedEntropy;

/// Adapts [`SharedEntropy`] to the engine's own trait.
#[derive(Debug, Clone)]
pub struct StarRandom(pub SharedEntropy);

impl Random for StarRandom {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

//! Wall time and randomness, handed in by whoever builds a component.
//!
//! Nothing below `cli` reads the system's clock or random source directly, so that the same code
//! runs under simulated time and with reproducible seeds. Timers go through `tokio::time`, which
//! a test can pause.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Wall clock, in milliseconds since the Unix epoch.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    fn now_ms(&self) -> u64;
}

/// A shared clock.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        // A clock set before 1970 reads as 0: every stamp is then "in the past", none is refused.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A source of random bytes.
pub trait Entropy: Send + Sync + std::fmt::Debug {
    /// Fills `bytes` with random bytes.
    fn fill(&self, bytes: &mut [u8]);

    /// A random number, uniform over all of `u64`.
    fn next_u64(&self) -> u64 {
        let mut bytes = [0_u8; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A random number, uniform in `[0, 1)`.
    fn unit(&self) -> f64 {
        // 53 random bits: every value is exactly representable.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit a f64 exactly")]
        let numerator = (self.next_u64() >> 11) as f64;
        numerator / 9_007_199_254_740_992.0
    }
}

/// A shared source of randomness.
pub type SharedEntropy = Arc<dyn Entropy>;

/// The thread's cryptographically secure generator, seeded by the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        rand::Rng::fill(&mut rand::rng(), bytes);
    }
}

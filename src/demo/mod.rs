//! `crossfade demo`: a whole migration on this machine, with nothing to install and nothing to configure.
//!
//! One process, loopback only, in a folder of its own that goes with it: a sample legacy API, a
//! crossfade before it, people who use it by REST and people who use it by sync. A script moves the
//! one resource from `off` to `live` and rolls it back, and in the end looks whether all that was
//! acknowledged is there. No part is a stand-in: the traffic goes over sockets, sessions are signed
//! and verified, and what the report says was recorded by the crossfade that ran.
//!
//! ```text
//! script ─ toggles, switch ─▶ crossfade ─▶ sample legacy API
//! people ─ REST, WebSocket ─▶    │             │
//!    └─ ledger of what was acknowledged ──▶ checks ─▶ report
//! ```

mod cast;
mod checks;
mod error;
mod ledger;
pub mod legacy_api;
mod meters;
mod script;
mod settings;
mod tally;
mod traffic;
mod verify;
mod world;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use checks::Check;
pub use error::DemoError;
pub use meters::Meters;
pub use script::{Audience, Scene};
pub use settings::{DemoSettings, MAX_LENGTH, MIN_LENGTH, Scale};
pub use world::Invitation;

use crate::report::ReportPaths;
use world::World;

/// What a demo came to.
#[derive(Debug)]
pub struct Outcome {
    /// What was looked at in the end, and what was found.
    pub checks: Vec<Check>,
    /// Where the report is.
    pub report: ReportPaths,
    /// The last reading of the meters.
    pub meters: Meters,
}

impl Outcome {
    /// Whether every check passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.passed)
    }
}

/// A demo that was played and whose crossfade still runs.
#[derive(Debug)]
pub struct Played {
    /// What it came to.
    pub outcome: Outcome,
    world: World,
}

impl Played {
    /// How to look around while it runs.
    ///
    /// # Errors
    /// [`DemoError`] if the session token or the configuration file cannot be made.
    pub fn invitation(&self) -> Result<Invitation, DemoError> {
        self.world.invitation()
    }

    /// Stops everything and deletes the demo's folder.
    ///
    /// # Errors
    /// [`DemoError`] if something did not stop cleanly; what can be stopped is stopped all the same.
    pub async fn stop(self) -> Result<(), DemoError> {
        self.world.stop().await
    }
}

/// Plays the demo, telling `audience` what happens. `stop` ends it early, cleanly.
///
/// # Errors
/// [`DemoError::Interrupted`] after `stop`; otherwise what kept the demo from being played. Nothing is
/// left running then. A demo that was played and found something wrong is no error: see
/// [`Outcome::passed`].
pub async fn run(
    settings: DemoSettings,
    audience: Arc<dyn Audience>,
    stop: CancellationToken,
) -> Result<Played, DemoError> {
    let mut world = World::start(&settings.scale, settings.seed).await?;
    match script::play(&mut world, &settings, &audience, &stop).await {
        Ok(outcome) => Ok(Played { outcome, world }),
        Err(error) => {
            // The first error is the one to tell.
            let _ = world.stop().await;
            Err(error)
        }
    }
}

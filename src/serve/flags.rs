//! Toggles from the configuration.

use crate::clock::SharedClock;
use crate::config::{FlagSource, Flags};
use crate::flags::{Application, FileSettings, StageDecider, Toggles, UnleashSettings};
use crate::identity::Secret;
use crate::migration::{ResourceName, Stage};
use crate::sync::Authority;

use super::ServeError;

/// How often Unleash is told which toggles were asked for; its own clients do so once a minute.
const METRICS_EVERY: std::time::Duration = std::time::Duration::from_secs(60);

/// The provider that the configuration names.
pub(super) fn toggles(flags: &Flags, clock: SharedClock) -> Result<Toggles, ServeError> {
    match &flags.source {
        FlagSource::File { path, reload } => {
            let settings = FileSettings {
                path: path.clone(),
                reload: *reload,
                application: Application::default(),
            };
            Ok(Toggles::from_file(settings, clock)?)
        }
        FlagSource::Unleash(unleash) => {
            let application = Application {
                name: unleash.app_name.clone(),
                environment: unleash.environment.clone(),
            };
            let settings = UnleashSettings {
                url: unleash.url.as_str().trim_end_matches('/').to_owned(),
                token: Secret::new(unleash.token.resolve()?),
                application,
                instance_id: format!("crossfade-{}", std::process::id()),
                poll: unleash.poll,
                metrics: METRICS_EVERY,
                timeout: unleash.timeout,
            };
            Ok(Toggles::from_unleash(settings, clock)?)
        }
    }
}

/// Write authority belongs to the resource's stage (design rule 1).
impl Authority for StageDecider {
    fn store_decides(&self, resource: &ResourceName) -> bool {
        self.decide(resource).effective >= Stage::RampDown
    }
}

//! Work that a running crossfade does, watched from the command line.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::CliError;
use super::admin_client::AdminClient;
use crate::serve::JobState;

/// How often a running crossfade is asked how far it is.
const POLL: Duration = Duration::from_millis(200);

/// How far each resource's job is.
pub(super) type States<P> = BTreeMap<String, JobState<P>>;

/// Shows how far the jobs at this address are until all have ended; then gives what they came to.
pub(super) async fn watch<P: DeserializeOwned>(
    admin: &AdminClient,
    address: &str,
    only: Option<&str>,
    show: impl Fn(&ProgressBar, &States<P>),
) -> Result<States<P>, CliError> {
    let bar = bar();
    loop {
        let states = states(admin, address, only).await?;
        show(&bar, &states);
        if states.values().all(|state| !state.running) {
            bar.finish_and_clear();
            return Ok(states);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// How far they are now.
pub(super) async fn states<P: DeserializeOwned>(
    admin: &AdminClient,
    address: &str,
    only: Option<&str>,
) -> Result<States<P>, CliError> {
    let answer = admin.get(address).await?;
    let states = answer.get("resources").cloned().unwrap_or(Value::Null);
    let mut states: States<P> = serde_json::from_value(states).map_err(CliError::dependency)?;
    states.retain(|name, _| only.is_none_or(|only| only == name));
    Ok(states)
}

/// Fails if a job has.
pub(super) fn failures<P>(states: &States<P>) -> Result<(), CliError> {
    let error = |(resource, state): (&String, &JobState<P>)| {
        Some(format!("{resource}: {}", state.error.as_ref()?))
    };
    let errors: Vec<_> = states.iter().filter_map(error).collect();
    if errors.is_empty() { Ok(()) } else { Err(CliError::dependency(errors.join("; "))) }
}

fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:40} {pos}/{len} rows, {per_sec}, {eta} left")
    {
        bar.set_style(style);
    }
    bar
}

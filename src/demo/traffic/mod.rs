//! What people do: each is a task that acts, pauses and acts again until the scene is over.
//!
//! What someone chooses comes from a generator of their own, seeded by the demo's seed and their name, so
//! that the same seed gives the same choices; only how many of them fit into a scene depends on the
//! machine. Both the number and the time are bounded.

mod invent;
mod rest;
mod sync;

pub(super) use rest::RestUser;
pub(super) use sync::SyncUser;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::DemoError;
use super::ledger::Ledger;
use super::settings::Scale;
use super::tally::Tally;

/// What everybody in the demo writes into, and how busy they are.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) tally: Arc<Tally>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) scale: Scale,
    pub(super) seed: u64,
}

impl Shared {
    /// The generator of one person.
    fn rng(&self, user: &str) -> StdRng {
        // The standard hasher's keys are fixed, so that the same name gives the same number.
        let mut hasher = DefaultHasher::new();
        (self.seed, user).hash(&mut hasher);
        StdRng::seed_from_u64(hasher.finish())
    }
}

/// Until when people act.
#[derive(Debug, Clone)]
pub(super) struct Until {
    deadline: Instant,
    stop: CancellationToken,
}

impl Until {
    /// For this long, or until `stop`.
    pub(super) fn after(length: Duration, stop: &CancellationToken) -> Self {
        Self { deadline: Instant::now() + length, stop: stop.clone() }
    }

    fn is_over(&self) -> bool {
        self.stop.is_cancelled() || Instant::now() >= self.deadline
    }

    async fn pause(&self, length: Duration) {
        tokio::select! {
            () = tokio::time::sleep_until(self.deadline) => {}
            () = tokio::time::sleep(length) => {}
            () = self.stop.cancelled() => {}
        }
    }
}

/// Someone who acts.
pub(super) trait Acts: Send + 'static {
    /// One action.
    fn act(&mut self) -> impl Future<Output = ()> + Send;
    /// The generator that decides.
    fn rng(&mut self) -> &mut StdRng;
    /// How busy they are.
    fn scale(&self) -> &Scale;
}

async fn work<A: Acts>(mut person: A, until: Until) -> A {
    for _ in 0..person.scale().max_actions {
        if until.is_over() {
            break;
        }
        person.act().await;
        let pause = person.scale().pause;
        let length = pause.mul_f64(person.rng().random_range(1.0..4.0));
        until.pause(length).await;
    }
    person
}

/// Lets everybody act until it is over; gives them back in their order.
pub(super) async fn all_act<A: Acts>(people: Vec<A>, until: &Until) -> Result<Vec<A>, DemoError> {
    let mut tasks = JoinSet::new();
    for (place, person) in people.into_iter().enumerate() {
        let until = until.clone();
        tasks.spawn(async move { (place, work(person, until).await) });
    }
    let mut back = Vec::new();
    while let Some(done) = tasks.join_next().await {
        back.push(done.map_err(|error| DemoError::Broken(error.to_string()))?);
    }
    back.sort_by_key(|(place, _)| *place);
    Ok(back.into_iter().map(|(_, person)| person).collect())
}

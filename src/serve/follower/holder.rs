//! Where the process is that holds the database, and whether it answers.

use std::time::Duration;

use tokio::sync::watch;

use super::Parts;
use crate::proxy::forward::{ForwardConfig, ForwardError, Forwarder, Upstream};
use crate::serve::lease::{self, Lease};

/// How often the holder is asked whether it is there.
const LOOK: Duration = Duration::from_millis(250);
/// How long its answer may take: one that is stopped accepts connections, and says nothing.
const ANSWER: Duration = Duration::from_secs(1);
/// Beyond what the holder waits for legacy, so that its own answer for a late legacy comes first.
const BEYOND: Duration = Duration::from_secs(5);

/// The holder, while it answers.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    pub(super) lease: Lease,
    pub(super) forwarder: Forwarder,
}

/// The holder, followed.
#[derive(Debug, Clone)]
pub(super) struct HolderLink(watch::Receiver<Option<Holder>>);

impl HolderLink {
    /// The link, and what tells it.
    pub(super) fn new() -> (watch::Sender<Option<Holder>>, Self) {
        let (told, link) = watch::channel(None);
        (told, Self(link))
    }

    /// The holder, if it answers.
    pub(super) fn now(&self) -> Option<Holder> {
        self.0.borrow().clone()
    }

    /// Waits until this one does not answer any more, or another one holds the database.
    pub(super) async fn lost(&self, epoch: u64) {
        let mut link = self.0.clone();
        let gone = |now: &Option<Holder>| now.as_ref().is_none_or(|now| now.lease.epoch != epoch);
        // An error means that this follower ends, which is the end of its link as well.
        let _ = link.wait_for(gone).await;
    }
}

/// Follows the holder until told to stop.
pub(super) async fn run(
    parts: Parts,
    told: watch::Sender<Option<Holder>>,
    stopping: watch::Receiver<bool>,
) {
    let Ok(http) = reqwest::Client::builder().no_proxy().timeout(ANSWER).build() else {
        tracing::error!(
            "no HTTP client can be made: the process that holds the database is not asked"
        );
        return;
    };
    let mut stop = std::pin::pin!(crate::serve::told(stopping));
    loop {
        let before = told.borrow().clone();
        let now = look(&parts, &http, before.as_ref()).await;
        metrics::gauge!("crossfade_follower_holder_up").set(f64::from(u8::from(now.is_some())));
        let changed =
            before.as_ref().map(|one| one.lease.epoch) != now.as_ref().map(|one| one.lease.epoch);
        if changed {
            let who = now.as_ref().map(|one| one.lease.advertise.as_str());
            tracing::info!(holder = who, "the process that holds the database");
            told.send_replace(now);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = &mut stop => return,
        }
    }
}

/// The holder, if there is one and it answers.
async fn look(parts: &Parts, http: &reqwest::Client, before: Option<&Holder>) -> Option<Holder> {
    let lease = match lease::read(&*parts.storage).await {
        Ok(lease) => lease?,
        // It may be there all the same.
        Err(error) => {
            tracing::warn!(%error, "it cannot be read which process holds the database");
            before?.lease.clone()
        }
    };
    if parts.config.cluster.advertise.as_ref().is_some_and(|own| own.as_str() == lease.advertise) {
        // From a run of this process before: whoever holds the database has not said so yet.
        return None;
    }
    let url = format!("{}{}/holder", lease.advertise, parts.config.server.own_mount);
    let answer = http.get(url).send().await.ok()?;
    if !answer.status().is_success() {
        return None;
    }
    if let Some(before) = before.filter(|before| before.lease == lease) {
        return Some(before.clone());
    }
    match forwarder(parts, &lease) {
        Ok(forwarder) => Some(Holder { lease, forwarder }),
        Err(error) => {
            tracing::error!(%error, "the process that holds the database advertises an address that cannot be used");
            None
        }
    }
}

fn forwarder(parts: &Parts, lease: &Lease) -> Result<Forwarder, ForwardError> {
    let upstream = Upstream::parse(&lease.advertise)?;
    let config = ForwardConfig {
        connect_timeout: ANSWER,
        response_timeout: parts.config.legacy.response_timeout + BEYOND,
        towards_crossfade: true,
        ..ForwardConfig::new(upstream, parts.entropy.clone())
    };
    Forwarder::new(config)
}

//! The load: reads at a fixed rate, dealt to both processes, each noted with when it was sent and who answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::RollbackOptions;
use crate::bench::BenchError;
use crate::bench::proxy::arrivals::Arrivals;
use crate::bench::proxy::load::{on_threads, wait_until};
use crate::bench::proxy::requests;
use crate::bench::proxy::wire::Client;

/// A request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) sent: Instant,
    /// Whether the store answered; `None` if nobody did, or not with a success.
    pub(super) from_store: Option<bool>,
}

/// Ends the load; also when it is dropped.
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(super) fn stop(self) {}
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// All requests, in the order in which they were sent.
type Load = JoinHandle<Result<Vec<Answer>, BenchError>>;

/// Starts it: half of the connections to each address. It ends when it is stopped, or after `length`.
pub(super) fn start(
    options: &RollbackOptions,
    addresses: [SocketAddr; 2],
    length: Duration,
) -> Result<(Stop, Load), BenchError> {
    let stopped = Arc::new(AtomicBool::new(false));
    let arrivals = Arrivals {
        rate: options.rate,
        connections: options.connections,
        warm_up: Duration::ZERO,
        length,
    };
    let stop = Stop(stopped.clone());
    let load = tokio::task::spawn_blocking(move || run(arrivals, addresses, &stopped));
    Ok((stop, load))
}

fn run(
    arrivals: Arrivals,
    addresses: [SocketAddr; 2],
    stopped: &AtomicBool,
) -> Result<Vec<Answer>, BenchError> {
    let (start, requests) = (Instant::now(), requests());
    let drive = |connection: usize| {
        let mut client = Client::new(addresses[connection % addresses.len()]);
        let mut answers = Vec::new();
        for arrival in arrivals.of(connection) {
            wait_until(start + arrival.due);
            if stopped.load(Ordering::Relaxed) {
                break;
            }
            let at = usize::try_from(arrival.number).unwrap_or(usize::MAX) % requests.len().max(1);
            let sent = Instant::now();
            let asked = client.ask(requests.get(at).map_or(b"", Vec::as_slice));
            let from_store = asked.ok().map(|()| client.is_from_store());
            answers.push(Answer { sent, from_store });
        }
        answers
    };
    let mut all: Vec<Answer> =
        on_threads(arrivals.connections, drive)?.into_iter().flatten().collect();
    all.sort_unstable_by_key(|answer| answer.sent);
    Ok(all)
}

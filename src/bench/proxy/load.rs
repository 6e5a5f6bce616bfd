//! The load: an open one at a fixed rate, and a closed one as fast as it goes. Both block.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::arrivals::Arrivals;
use super::wire::{Client, Failure};
use crate::bench::BenchError;

/// All threads are there before the first request is due.
const LEAD: Duration = Duration::from_millis(20);
/// What is not sent so long after the last request was due counts as failed.
const GRACE: Duration = Duration::from_secs(10);

/// Who is asked what.
#[derive(Debug, Clone)]
pub(super) struct Aim {
    pub(super) address: SocketAddr,
    /// Whole requests, asked in turn. Never empty.
    pub(super) requests: Arc<[Vec<u8>]>,
}

impl Aim {
    fn request(&self, number: u64) -> &[u8] {
        let count = self.requests.len().max(1);
        let at = usize::try_from(number).unwrap_or(usize::MAX) % count;
        self.requests.get(at).map_or(b"", Vec::as_slice)
    }
}

/// Failed requests by kind.
pub(super) type Failures = BTreeMap<Failure, u64>;

/// What an open load found.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    /// Of each request that was answered, from when it was due until its answer's last byte.
    pub(super) latencies: Vec<Duration>,
    /// By how much requests were sent late although their connection was free: the generator's own share.
    pub(super) lateness: Vec<Duration>,
    /// Warm-up included.
    pub(super) failures: Failures,
}

/// What a closed load found.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Answers in the time that counts.
    pub(super) count: u64,
    /// Warm-up included.
    pub(super) failures: Failures,
}

/// Sends requests when they are due, whether or not earlier ones were answered: one that finds its
/// connection busy waits, and its waiting counts.
pub(super) fn open(aim: &Aim, arrivals: Arrivals) -> Result<Latencies, BenchError> {
    let start = Instant::now() + LEAD;
    let drive = |connection| drive(aim, arrivals, connection, start);
    let mut all = Latencies::default();
    for one in on_threads(arrivals.connections, drive)? {
        all.latencies.extend(one.latencies);
        all.lateness.extend(one.lateness);
        absorb(&mut all.failures, one.failures);
    }
    all.latencies.sort_unstable();
    all.lateness.sort_unstable();
    Ok(all)
}

fn drive(aim: &Aim, arrivals: Arrivals, connection: usize, start: Instant) -> Latencies {
    let mut client = Client::new(aim.address);
    let mut found = Latencies::default();
    for arrival in arrivals.of(connection) {
        let due = start + arrival.due;
        let was_free = wait_until(due);
        if start.elapsed() > arrivals.end() + GRACE {
            count(&mut found.failures, Failure::NotSent);
            continue;
        }
        if was_free && arrival.counts {
            found.lateness.push(due.elapsed());
        }
        match client.ask(aim.request(arrival.number)) {
            Ok(()) if arrival.counts => found.latencies.push(due.elapsed()),
            Ok(()) => {}
            Err(failure) => count(&mut found.failures, failure),
        }
    }
    found
}

/// Whether there was anything to wait for.
pub(in crate::bench) fn wait_until(due: Instant) -> bool {
    let left = due.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return false;
    }
    std::thread::sleep(left);
    true
}

/// Each connection asks again as soon as it was answered. What is answered within `warm_up` does
/// not count; `length` follows it.
pub(super) fn closed(
    aim: &Aim,
    connections: usize,
    warm_up: Duration,
    length: Duration,
) -> Result<Answers, BenchError> {
    let start = Instant::now() + LEAD;
    let (counts, end) = (start + warm_up, start + warm_up + length);
    let ask = |connection: usize| {
        let mut client = Client::new(aim.address);
        let mut found = Answers::default();
        let first = u64::try_from(connection).unwrap_or(u64::MAX);
        wait_until(start);
        for number in first.. {
            let answered = client.ask(aim.request(number));
            let now = Instant::now();
            match answered {
                Ok(()) if now >= counts && now < end => found.count += 1,
                Ok(()) => {}
                Err(failure) => count(&mut found.failures, failure),
            }
            if now >= end {
                break;
            }
        }
        found
    };
    let mut all = Answers::default();
    for one in on_threads(connections, ask)? {
        all.count += one.count;
        absorb(&mut all.failures, one.failures);
    }
    Ok(all)
}

/// Runs `work` for each connection on a thread of its own.
pub(in crate::bench) fn on_threads<T: Send>(
    connections: usize,
    work: impl Fn(usize) -> T + Sync,
) -> Result<Vec<T>, BenchError> {
    let work = &work;
    let finer = |connection| {
        finer_timer();
        work(connection)
    };
    std::thread::scope(|scope| {
        let threads: Result<Vec<_>, _> = (0..connections)
            .map(|connection| {
                std::thread::Builder::new().spawn_scoped(scope, move || finer(connection))
            })
            .collect();
        let threads = threads.map_err(|error| BenchError::Start(format!("a thread: {error}")))?;
        let lost = |_| BenchError::Wrong("a thread of the load generator panicked".to_owned());
        threads.into_iter().map(|thread| thread.join().map_err(lost)).collect()
    })
}

/// Linux lets a sleeping thread wake up to 50 us late, a good part of what is measured.
fn finer_timer() {
    // Where it is refused, the lateness that is reported shows it.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
}

fn count(failures: &mut Failures, failure: Failure) {
    *failures.entry(failure).or_default() += 1;
}

pub(super) fn absorb(into: &mut Failures, failures: Failures) {
    for (failure, times) in failures {
        *into.entry(failure).or_default() += times;
    }
}

/// A percentile of sorted durations, in microseconds; `None` of nothing.
pub(super) fn percentile_us(sorted: &[Duration], quantile: f64) -> Option<f64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below len")]
    #[expect(clippy::cast_precision_loss, reason = "a load has far fewer than 2^52 requests")]
    let rank = (sorted.len() as f64 * quantile).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).map(|one| one.as_secs_f64() * 1e6)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let ms: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(percentile_us(&ms, 0.5), Some(50_000.0));
        assert_eq!(percentile_us(&ms, 0.99), Some(99_000.0));
        assert_eq!(percentile_us(&ms[..1], 0.99), Some(1_000.0));
        assert_eq!(percentile_us(&[], 0.5), None);
    }

    #[test]
    fn every_request_that_fails_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let aim = Aim { address, requests: vec![b"x".to_vec()].into() };
        let (warm_up, length) = (Duration::from_millis(10), Duration::from_millis(40));
        let arrivals = Arrivals { rate: 1000.0, connections: 3, warm_up, length };
        let found = open(&aim, arrivals).unwrap();
        assert!(found.latencies.is_empty());
        assert_eq!(found.failures, [(Failure::Connect, 50)].into());
        let found = closed(&aim, 2, Duration::ZERO, length).unwrap();
        assert!(found.count == 0 && found.failures[&Failure::Connect] >= 2);
    }

    #[test]
    fn requests_take_turns() {
        let address = ([127, 0, 0, 1], 1).into();
        let aim = Aim { address, requests: vec![b"a".to_vec(), b"b".to_vec()].into() };
        assert_eq!([aim.request(0), aim.request(1), aim.request(4)], [b"a", b"b", b"a"]);
    }
}

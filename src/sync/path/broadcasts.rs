//! What a path has for all of its clients, until it leaves.
//!
//! It waits here once, not once for each client, and is handed over when its time has come (see [`Pace`]). What goes to one
//! client alone (an answer, a close) never waits, and takes along what waits for that client, so that each is told everything
//! in its order.

use std::sync::Arc;

use axum::extract::ws::Utf8Bytes;
use tokio::time::Instant;

use super::pace::Pace;
use super::sink::{ClientSink, CloseReason, SinkId, TAKE_BYTES};

/// Frames that wait at most: with one more they leave at once.
const MAX_WAITING: usize = 1024;

/// What waits, and until when.
#[derive(Debug)]
pub(in crate::sync) struct Broadcasts {
    pace: Arc<Pace>,
    frames: Vec<Broadcast>,
    bytes: usize,
    /// When they leave.
    due: Option<Instant>,
}

#[derive(Debug)]
struct Broadcast {
    /// Who does not get it.
    except: Option<SinkId>,
    frame: Utf8Bytes,
}

impl Broadcasts {
    pub(in crate::sync) fn new(pace: Arc<Pace>) -> Self {
        Self { pace, frames: Vec::new(), bytes: 0, due: None }
    }

    /// A client is there from now on: what waits already is not for it.
    pub(in crate::sync) fn joined(&self, sink: &mut ClientSink) {
        sink.had = self.frames.len();
    }

    /// Queues a frame for every client but one, of so many.
    pub(in crate::sync) fn queue(
        &mut self,
        except: Option<SinkId>,
        frame: Utf8Bytes,
        clients: usize,
    ) {
        let wait = self.pace.wait(clients);
        self.due.get_or_insert_with(|| {
            if !wait.is_zero() {
                metrics::counter!("crossfade_sync_paced_total").increment(1);
            }
            Instant::now() + wait
        });
        self.bytes += frame.len();
        self.frames.push(Broadcast { except, frame });
    }

    /// Sends one client a frame, behind what waits for it.
    pub(in crate::sync) fn send(&self, sink: &mut ClientSink, frame: Utf8Bytes) {
        self.hand_over(sink);
        sink.send([frame]);
    }

    /// Closes a connection, behind what waits for it.
    pub(in crate::sync) fn close(&self, sink: &mut ClientSink, reason: CloseReason) {
        self.hand_over(sink);
        sink.close(reason);
    }

    /// When they leave; `None` if nothing waits.
    pub(in crate::sync) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Hands over what waits to all clients, if it is time.
    pub(in crate::sync) fn leave<'a>(&mut self, sinks: impl Iterator<Item = &'a mut ClientSink>) {
        if !self.may_leave() {
            return;
        }
        for sink in sinks {
            self.hand_over(sink);
            sink.had = 0;
        }
        self.frames.clear();
        // A burst's room is not kept.
        self.frames.shrink_to(MAX_WAITING / 8);
        self.bytes = 0;
        self.due = None;
    }

    fn may_leave(&self) -> bool {
        // More than fits into one write gains nothing by waiting.
        let full = self.bytes >= TAKE_BYTES || self.frames.len() > MAX_WAITING;
        full || self.due.is_some_and(|due| due <= Instant::now())
    }

    fn hand_over(&self, sink: &mut ClientSink) {
        let lacks = self.frames.get(sink.had..).unwrap_or_default();
        let id = sink.id();
        let frames = lacks.iter().filter(|broadcast| broadcast.except != Some(id));
        sink.send(frames.map(|broadcast| broadcast.frame.clone()));
        sink.had = self.frames.len();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::sync::path::pace::PaceSettings;
    use crate::sync::path::sink::{ClientSource, Outbound, client_channel};

    fn clients<const N: usize>() -> ([ClientSink; N], [ClientSource; N]) {
        let channels: Vec<_> = (0..N).map(|_| client_channel()).collect();
        let (sinks, sources): (Vec<_>, Vec<_>) = channels.into_iter().unzip();
        (sinks.try_into().unwrap(), sources.try_into().unwrap())
    }

    fn got(source: &mut ClientSource) -> Vec<String> {
        match source.next().now_or_never() {
            Some(Outbound::Frames(frames)) => frames.iter().map(ToString::to_string).collect(),
            Some(Outbound::Close(reason)) => vec![reason.code.to_string()],
            None => Vec::new(),
        }
    }

    const WAIT: Duration = Duration::from_millis(100);

    /// A path where all broadcasts wait.
    fn waiting() -> Broadcasts {
        let settings = PaceSettings { broadcasts_per_s: 0, broadcast_wait: WAIT };
        Broadcasts::new(Pace::new(settings))
    }

    #[tokio::test(start_paused = true)]
    async fn each_client_gets_what_is_for_it_in_its_order_and_once() {
        let mut broadcasts = waiting();
        let ([mut a, mut b, mut late], [mut of_a, mut of_b, mut of_late]) = clients();
        broadcasts.queue(Some(a.id()), "by a".into(), 2);
        broadcasts.queue(None, "for all".into(), 2);
        broadcasts.leave([&mut a, &mut b].into_iter());
        assert!(got(&mut of_a).is_empty() && got(&mut of_b).is_empty(), "it is not yet time");
        // An answer takes along what waits, for its client alone.
        broadcasts.send(&mut a, "answer".into());
        assert_eq!(got(&mut of_a), ["for all", "answer"]);
        broadcasts.joined(&mut late);
        broadcasts.queue(Some(b.id()), "by b".into(), 2);
        tokio::time::sleep_until(broadcasts.due().unwrap()).await;
        broadcasts.leave([&mut a, &mut b, &mut late].into_iter());
        assert_eq!(got(&mut of_a), ["by b"]);
        assert_eq!(got(&mut of_b), ["by a", "for all"]);
        assert_eq!(got(&mut of_late), ["by b"], "what waited before it came is not for it");
        broadcasts.queue(None, "last".into(), 2);
        broadcasts.close(&mut b, CloseReason::drained());
        assert_eq!(got(&mut of_b), ["last"]);
        assert_eq!(got(&mut of_b), ["4001"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_fills_a_write_leaves_whatever_the_budget_says() {
        let ([mut a], [mut of_a]) = clients();
        let mut broadcasts = waiting();
        broadcasts.queue(None, "x".repeat(TAKE_BYTES).into(), 2);
        broadcasts.leave([&mut a].into_iter());
        assert_eq!(got(&mut of_a).len(), 1);
        let mut broadcasts = waiting();
        for number in 0..=MAX_WAITING {
            assert!(got(&mut of_a).is_empty(), "{number}");
            broadcasts.queue(None, "y".into(), 2);
            broadcasts.leave([&mut a].into_iter());
        }
        assert_eq!(got(&mut of_a).len(), MAX_WAITING + 1);
        assert_eq!(broadcasts.due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn without_load_nothing_waits() {
        let ([mut a], [mut of_a]) = clients();
        let mut broadcasts = Broadcasts::new(Pace::new(PaceSettings::default()));
        for _ in 0..100 {
            broadcasts.queue(None, "a".into(), 1);
            broadcasts.leave([&mut a].into_iter());
            assert_eq!(got(&mut of_a), ["a"]);
        }
    }
}

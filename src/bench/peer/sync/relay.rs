//! Edits relayed: what one costs, how many a server takes, and how long they are under way.

use std::time::Duration;

use super::Run;
use super::crowd::{Crowd, Delivered};
use super::server::{Server, SyncSide};
use crate::bench::BenchError;

/// The goals: crossfade by TinyBase at most this (docs/benchmarks.md).
const CPU_GOAL: f64 = 0.1;
const P99_GOAL: f64 = 0.2;
const HIGHEST: &str = "highest rate sustained";
const EDITS: &str = "edits";
const NOT_SUSTAINED: &str = "edits, lowest rate not sustained";

/// A server with its clients.
struct Stand {
    server: Server,
    crowd: Crowd,
}

impl Stand {
    /// Starts a server, connects its clients, and warms both up.
    async fn up(run: &Run, side: SyncSide) -> Result<Self, BenchError> {
        run.say(side, "starting");
        let server = Server::start(side, &run.starting).await?;
        let crowd = Crowd::gather(&server, run.plan.shape, run.clock.clone()).await?;
        server.settle(run.plan.settle).await?;
        let stand = Self { server, crowd };
        stand.crowd.load(run.plan.rate, run.plan.warm_up).await?;
        stand.server.settle(run.plan.settle).await?;
        Ok(stand)
    }

    /// Ends the clients first: a server's farewell to each costs nothing that is measured.
    async fn down(self) {
        drop(self.crowd);
        self.server.stop().await;
    }
}

/// What one load cost.
struct Measured {
    delivered: Delivered,
    /// Of the server, until it was at rest again.
    cpu: Duration,
    owed: u64,
}

async fn load(run: &Run, stand: &Stand, rate: f64, time: Duration) -> Result<Measured, BenchError> {
    let before = stand.server.cpu()?;
    let delivered = stand.crowd.load(rate, time).await?;
    let owed = stand.server.settle(run.plan.settle).await?;
    Ok(Measured { delivered, cpu: stand.server.cpu()?.saturating_sub(before), owed })
}

/// Processor time at the same offered load, which all sides sustain.
pub(super) async fn same_load(run: &mut Run) -> Result<(), BenchError> {
    let case = format!("{} edits/s", run.plan.rate);
    let (rate, sides) = (run.plan.rate, run.plan.sides.clone());
    in_turns(run, &case, rate, &sides).await?;
    let peers = run.plan.peers();
    run.goal("cpu_per_relay", &case, "cpu per 1000 relays", &peers, CPU_GOAL);
    Ok(())
}

/// All sides stand at the same time, and take turns in being loaded: the others are idle meanwhile.
async fn in_turns(
    run: &mut Run,
    case: &str,
    rate: f64,
    sides: &[SyncSide],
) -> Result<(), BenchError> {
    let mut stands = Vec::new();
    for side in sides {
        match Stand::up(run, *side).await {
            Ok(stand) => stands.push((*side, stand, Vec::new())),
            Err(why) => run.not_measured(*side, case, &why),
        }
    }
    for round in 0..run.plan.rounds {
        let count = stands.len();
        for at in 0..count {
            // Each side leads once before any leads again.
            let (side, stand, measured) = &mut stands[(at + round) % count];
            run.say(*side, case);
            measured.push(load(run, stand, rate, run.plan.load).await?);
        }
    }
    for (side, stand, measured) in stands {
        let gone = stand.crowd.gone();
        stand.down().await;
        if let Err(why) = report(run, case, side, &measured) {
            run.not_measured(side, case, &why);
        }
        if gone > 0 {
            run.notes.push(format!("{}, {case}: {gone} connections were closed", side.name()));
        }
    }
    Ok(())
}

fn report(
    run: &mut Run,
    case: &str,
    side: SyncSide,
    measured: &[Measured],
) -> Result<(), BenchError> {
    let rounds = measured.len() as u64;
    let relays: u64 = measured.iter().map(|one| one.delivered.received).sum();
    let expected: u64 = measured.iter().map(|one| one.delivered.expected).sum();
    let cpu: Duration = measured.iter().map(|one| one.cpu).sum();
    if relays == 0 {
        return Err(BenchError::Wrong(format!("{}, {case}: nothing came through", side.name())));
    }
    let mut latency = crate::bench::stats::Samples::new()
        .ok_or_else(|| BenchError::Wrong("no histogram".to_owned()))?;
    measured.iter().for_each(|one| latency.absorb(&one.delivered.latency));
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let (relays, expected) = (relays as f64, expected as f64);
    let per_thousand = cpu.as_secs_f64() / relays * 1000.0;
    run.figure(case, "cpu per 1000 relays", side, (per_thousand, "s", rounds));
    run.figure(case, "delivered", side, (relays / expected, "share", rounds));
    for (name, quantile) in
        [("edit to visible p50", 0.5), ("edit to visible p95", 0.95), ("edit to visible p99", 0.99)]
    {
        let ms = latency.percentile(quantile) as f64 / 1000.0;
        run.figure(case, name, side, (ms, "ms", latency.len()));
    }
    let repeated: u64 = measured.iter().map(|one| one.delivered.repeated).sum();
    if repeated > 0 {
        let text = format!("{}, {case}: {repeated} deliveries were repetitions", side.name());
        run.notes.push(text);
    }
    let owed: u64 = measured.iter().map(|one| one.owed).sum();
    if owed > 0 {
        run.notes.push(format!(
            "{}, {case}: {owed} edits were still owed to legacy when the processor time was read",
            side.name()
        ));
    }
    Ok(())
}

/// The highest rate of each side.
pub(super) async fn highest_rate(run: &mut Run) -> Result<(), BenchError> {
    for side in run.plan.sides.clone() {
        if let Err(why) = highest_of(run, side).await {
            run.not_measured(side, HIGHEST, &why);
        }
    }
    Ok(())
}

/// Steps up until edits come late or not at all; then narrows what lies between.
async fn highest_of(run: &mut Run, side: SyncSide) -> Result<(), BenchError> {
    let (mut good, mut bad) = (None, None);
    let mut rate = run.plan.first_rate;
    let mut left = run.plan.refinements;
    let mut stand = Stand::up(run, side).await?;
    loop {
        if let Some(delivered) = tried(run, &mut stand, rate).await? {
            good = Some((rate, delivered));
        } else {
            bad = Some(rate);
        }
        rate = match (good.as_ref().map(|(rate, _)| *rate), bad) {
            (Some(good), None) if good >= run.plan.last_rate => break,
            (Some(good), None) => (good * 2.0).min(run.plan.last_rate),
            (Some(good), Some(bad)) if left > 0 => (good * bad).sqrt(),
            (None, Some(bad)) if left > 0 && bad > 1.0 => bad / 2.0,
            _ => break,
        };
        left -= usize::from(bad.is_some());
        stand.server.settle(run.plan.settle).await?;
    }
    stand.down().await;
    if let Some(rate) = bad {
        run.figure(HIGHEST, NOT_SUSTAINED, side, (rate, "1/s", run.plan.tries as u64));
    }
    match good {
        Some((rate, delivered)) => {
            let fan_out = run.plan.shape.fan_out() as f64;
            run.figure(HIGHEST, EDITS, side, (rate, "1/s", 1));
            run.figure(HIGHEST, "relays", side, (rate * fan_out, "1/s", 1));
            let p99 = delivered.latency.percentile(0.99) as f64 / 1000.0;
            run.figure(HIGHEST, "edit to visible p99", side, (p99, "ms", delivered.received));
        }
        None => run.notes.push(format!("{}: no rate that was tried was sustained", side.name())),
    }
    Ok(())
}

/// Offers the rate, up to so many times: a moment in which the machine did something else is no limit of the
/// server. `None` if it was never sustained.
async fn tried(run: &Run, stand: &mut Stand, rate: f64) -> Result<Option<Delivered>, BenchError> {
    let side = stand.server.side();
    for _ in 0..run.plan.tries {
        run.say(side, &format!("{rate:.0} edits/s"));
        let delivered = stand.crowd.load(rate, run.plan.step).await?;
        if sustained(run, &delivered) && stand.crowd.gone() == 0 {
            return Ok(Some(delivered));
        }
        // What an overloaded server and its clients have left undone must not count in the next load.
        let new = Stand::up(run, side).await?;
        std::mem::replace(stand, new).down().await;
    }
    Ok(None)
}

fn sustained(run: &Run, delivered: &Delivered) -> bool {
    let p99 = Duration::from_micros(delivered.latency.percentile(0.99));
    delivered.share() >= 1.0 && p99 <= run.plan.p99_limit
}

/// All sides at the highest rate that TinyBase's relay sustains, and at the lowest that it does not: the rate that
/// saturates it, at which what it has not relayed piles up.
pub(super) async fn at_saturation(run: &mut Run) -> Result<(), BenchError> {
    let peer = SyncSide::NodeRelay;
    let sides = run.plan.sides.clone();
    let case = "at node_relay's highest rate";
    if let Some(rate) = found(run, peer, EDITS) {
        in_turns(run, case, rate, &sides).await?;
        run.goal("cpu_per_relay", case, "cpu per 1000 relays", &[peer], CPU_GOAL);
    }
    let case = "at the rate that saturates node_relay";
    let Some(rate) = found(run, peer, NOT_SUSTAINED) else {
        run.notes.push(format!("{} was not measured: nothing says what saturates it", peer.name()));
        return Ok(());
    };
    in_turns(run, case, rate, &sides).await?;
    run.goal("cpu_per_relay", case, "cpu per 1000 relays", &[peer], CPU_GOAL);
    run.goal("p99", case, "edit to visible p99", &[peer], P99_GOAL);
    Ok(())
}

/// A rate that the search has found.
fn found(run: &Run, side: SyncSide, name: &str) -> Option<f64> {
    let of_side = |figure: &&crate::bench::peer::document::Figure| {
        figure.case == HIGHEST && figure.name == name && figure.side == side.name()
    };
    run.figures.iter().find(of_side).map(|figure| figure.value)
}

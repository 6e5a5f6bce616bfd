//! A large store: loaded from where it is kept, and brought whole to a new client.
//!
//! The client is crossfade's own synchronizer on both sides; its merge is part of the time, and the same.

use std::time::Duration;

use mergeable_store::{ClientId, Clock, MergeableStore, Synchronizer};
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::Run;
use super::crowd::org;
use super::server::{Server, SyncSide};
use super::wire::{self, Kind};
use crate::bench::{BenchError, recipe};
use crate::clock::SharedClock;

/// A client that has not got everything by then gives up.
const DEADLINE: Duration = Duration::from_secs(120);
const BACKFILL: Duration = Duration::from_secs(300);

/// Measures both sizes.
pub(super) async fn large_store(run: &mut Run) -> Result<(), BenchError> {
    for rows in run.plan.first_sync_rows {
        run.legacy.fill(&org(0), rows);
        for side in run.plan.sides.clone() {
            // A pure relay has nothing to load; both durabilities load the same way.
            if side.keeps() && side != SyncSide::CrossfadeRelaxed {
                let case = format!("first sync of {rows} rows");
                if let Err(why) = one(run, side, rows, &case).await {
                    run.not_measured(side, &case, &why);
                }
            }
        }
    }
    Ok(())
}

async fn one(run: &mut Run, side: SyncSide, rows: u32, case: &str) -> Result<(), BenchError> {
    run.say(side, case);
    let server = stored(run, side, rows).await?;
    let empty = server.peak()?;
    for (which, number) in [("first client", 1), ("second client", 2)] {
        let (cpu, begun) = (server.cpu()?, Instant::now());
        match sync(&server, rows, number, &run.clock).await {
            Ok(()) => {
                let ms = begun.elapsed().as_secs_f64() * 1000.0;
                let cpu = server.cpu()?.saturating_sub(cpu).as_secs_f64();
                let names = match number {
                    1 => ("first client has all", "server cpu, first client"),
                    _ => ("second client has all", "server cpu, second client"),
                };
                run.figure(case, names.0, side, (ms, "ms", 1));
                run.figure(case, names.1, side, (cpu, "s", 1));
            }
            Err(why) => {
                run.notes.push(format!("{}, {case}: the {which} did not: {why}", side.name()));
                break;
            }
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let grown = server.peak()?.saturating_sub(empty) as f64 / 1048576.0;
    run.figure(case, "peak memory above an empty server", side, (grown, "MiB", 1));
    server.stop().await;
    Ok(())
}

/// A server, just started, that has so many rows in its storage.
async fn stored(run: &Run, side: SyncSide, rows: u32) -> Result<Server, BenchError> {
    let server = Server::start(side, &run.starting).await?;
    if side.is_node() {
        let mut store = MergeableStore::new(ClientId::from_unique_id("writer"));
        let now = run.clock.now_ms();
        let mut clock = Clock::new(ClientId::from_unique_id("writer"));
        let changes = recipe::synced_rows(&org(0), 0..rows, &mut clock, now);
        store.merge(now, &changes).map_err(|error| BenchError::Wrong(error.to_string()))?;
        let file = server.folder().join(format!("org%2F{}.json", org(0)));
        std::fs::write(&file, store.content())
            .map_err(|error| BenchError::Start(format!("{}: {error}", file.display())))?;
        return Ok(server);
    }
    server.backfill(BACKFILL).await?;
    server.restart().await
}

/// Connects a new client and waits until it has all rows and the same hashes as `S`.
async fn sync(
    server: &Server,
    rows: u32,
    number: u64,
    clock: &SharedClock,
) -> Result<(), BenchError> {
    let target = server.target(&org(0));
    let opening = wire::open(server.address(), &target, number);
    let opened = tokio::time::timeout(DEADLINE, opening).await;
    let (mut stream, mut incoming) =
        opened.map_err(|_| BenchError::TooSlow("opening a connection".to_owned()))??;
    let mut rng = Random(StdRng::seed_from_u64(number));
    let store = MergeableStore::new(ClientId::from_unique_id(&format!("client {number}")));
    let mut client = Synchronizer::new(store);
    let mut send = client.connected(clock.now_ms(), &mut rng);
    let (begun, mut buffer) = (Instant::now(), vec![0; 256 * 1024]);
    let failed = |why: String| Err(BenchError::Wrong(why));
    loop {
        let mut out = Vec::new();
        for frame in send.drain(..) {
            wire::put_frame(&mut out, Kind::Text, frame.as_bytes());
        }
        if let Err(error) = stream.write_all(&out).await {
            return failed(error.to_string());
        }
        let has_all = client.store().row_count(recipe::TABLE) == rows as usize;
        if has_all && client.caught_up() {
            return Ok(());
        }
        if begun.elapsed() > DEADLINE {
            let has = client.store().row_count(recipe::TABLE);
            return failed(format!("after {} s it has {has} rows", DEADLINE.as_secs()));
        }
        let until = client.next_deadline().map_or(1000, |at| at.saturating_sub(clock.now_ms()));
        let wait = Duration::from_millis(until.clamp(1, 1000));
        match tokio::time::timeout(wait, stream.read(&mut buffer)).await {
            Ok(Ok(0)) => return failed("the server ended the connection".to_owned()),
            Ok(Ok(read)) => incoming.add(&buffer[..read]),
            Ok(Err(error)) => return failed(error.to_string()),
            Err(_) => {
                let now = clock.now_ms();
                send.extend(client.tick(now, &mut rng).send);
                // TinyBase's server tells a client nothing before it has loaded: ask again.
                if client.is_live() && !client.is_asking() {
                    send.extend(client.request_hashes(now, &mut rng));
                }
            }
        }
        loop {
            let frame = match incoming.next() {
                Ok(Some((Kind::Text, payload))) => payload,
                Ok(Some((Kind::Close, payload))) => {
                    let code = payload.first_chunk().map_or(0, |two| u16::from_be_bytes(*two));
                    let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default());
                    return failed(format!("the server closed with {code} {reason}"));
                }
                Ok(Some(_)) => continue,
                Ok(None) => break,
                Err(error) => return failed(error.to_string()),
            };
            let text = String::from_utf8_lossy(frame);
            match client.receive(clock.now_ms(), &text, &mut rng) {
                Ok(effects) => send.extend(effects.send),
                Err(close) => return failed(format!("a frame is not valid: {}", close.reason)),
            }
        }
    }
}

/// Ids need to differ, not to be unpredictable.
struct Random(StdRng);

impl mergeable_store::Random for Random {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

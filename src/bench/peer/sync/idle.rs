//! What a connection costs that does nothing.

use std::time::Duration;

use super::Run;
use super::crowd::{Crowd, Shape};
use super::server::{Server, SyncSide};
use crate::bench::BenchError;

const CASE: &str = "idle connections";
const MEMORY_GOAL: f64 = 0.2;
/// After the last connection: first exchanges end.
const REST: Duration = Duration::from_secs(2);

/// Every side.
pub(super) async fn connections(run: &mut Run) -> Result<(), BenchError> {
    for side in run.plan.sides.clone() {
        if let Err(why) = connections_of(run, side).await {
            run.not_measured(side, CASE, &why);
        }
    }
    let peers = run.plan.peers();
    run.goal("memory_per_connection", CASE, "memory per connection", &peers, MEMORY_GOAL);
    Ok(())
}

/// Resident memory with all connections, minus that of the same server without any, by connection.
async fn connections_of(run: &mut Run, side: SyncSide) -> Result<(), BenchError> {
    run.say(side, CASE);
    let mut server = Server::start(side, &run.starting).await?;
    let shape = run.plan.idle;
    // Code and buffers that any first connection makes are there before.
    let few = Shape { clients: 2, ..shape };
    drop(Crowd::gather(&server, few, run.clock.clone()).await?);
    tokio::time::sleep(REST).await;
    let empty = server.memory().await?;
    let crowd = Crowd::gather(&server, shape, run.clock.clone()).await?;
    tokio::time::sleep(REST).await;
    let full = server.memory().await?;
    let gone = crowd.gone();
    drop(crowd);
    server.stop().await;
    if gone > 0 {
        return Err(BenchError::Wrong(format!("{gone} connections were closed")));
    }
    let connections = (shape.paths * shape.clients) as u64;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let (per, empty) =
        (full.saturating_sub(empty) as f64 / connections as f64, empty as f64 / 1048576.0);
    run.figure(CASE, "memory per connection", side, (per / 1024.0, "KiB", connections));
    run.figure(CASE, "memory without connections", side, (empty, "MiB", 1));
    Ok(())
}

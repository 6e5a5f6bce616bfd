//! A sync client: the engine's own, with a store that outlives its connections.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mergeable_store::{
    Cell, CellRef, ClientId, ConnectionId, EditError, Hlc, MergeableStore, Synchronizer,
};
use tokio::sync::{mpsc, watch};

use super::process::Process;
use super::{Seeded, SimClock};
use crate::clock::Clock as _;
use crate::migration::PathId;
use crate::storage::Actor;
use crate::sync::StarRandom;
use crate::sync::path::{ClientSource, Outbound, PathHandle, client_channel};
use crate::sync::policy::Writer;

#[derive(Clone)]
pub(super) struct SimClient {
    pub(super) name: String,
    pub(super) org: &'static str,
    clock: SimClock,
    random: Seeded,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Counts connections, so that no two have the same id.
    cut: watch::Sender<u64>,
    drained: AtomicBool,
}

struct State {
    engine: Synchronizer,
    /// Where frames of the connection go; none without one.
    out: Option<mpsc::UnboundedSender<String>>,
}

impl SimClient {
    pub(super) fn new(name: &str, org: &'static str, clock: SimClock, random: Seeded) -> Self {
        let store = MergeableStore::new(ClientId::from_unique_id(name));
        let state = Mutex::new(State { engine: Synchronizer::new(store), out: None });
        let (cut, drained) = (watch::Sender::new(0), AtomicBool::new(false));
        let shared = Arc::new(Shared { state, cut, drained });
        Self { name: name.to_owned(), org, clock, random, shared }
    }

    fn random(&self) -> StarRandom {
        StarRandom(Arc::new(self.random.clone()))
    }

    pub(super) fn is_connected(&self) -> bool {
        self.shared.state.lock().unwrap().out.is_some()
    }

    /// Whether it knows that the server has all that it has, and the other way round.
    pub(super) fn is_caught_up(&self) -> bool {
        let state = self.shared.state.lock().unwrap();
        state.out.is_some() && state.engine.is_live() && state.engine.caught_up()
    }

    /// Whether a drain has closed a connection of it.
    pub(super) fn was_drained(&self) -> bool {
        self.shared.drained.swap(false, Ordering::Relaxed)
    }

    /// Changes its own store, and sends that if it is connected. Gives the time of the edit's stamp.
    pub(super) fn edit(
        &self,
        edit: impl FnOnce(&mut mergeable_store::Transaction<'_>) -> Result<(), EditError>,
    ) -> u64 {
        let mut state = self.shared.state.lock().unwrap();
        let now = self.clock.now_ms();
        let ((), frames) = state.engine.edit(now, &mut self.random(), edit).unwrap();
        if let Some(out) = &state.out {
            frames.into_iter().for_each(|frame| drop(out.send(frame)));
        }
        now
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&MergeableStore) -> T) -> T {
        read(self.shared.state.lock().unwrap().engine.store())
    }

    pub(super) fn cell(&self, row: &str, cell: &str) -> Option<Cell> {
        self.read(|store| store.get_cell("users", row, cell).map(CellRef::to_cell))
    }

    /// The stamp of a cell that every row has and nobody changes, deleted or not.
    pub(super) fn stamp(&self, row: &str) -> Option<Hlc> {
        self.read(|store| store.stamp("users", row, "orgId").map(|(_, hlc)| hlc))
    }

    pub(super) fn rows(&self) -> Vec<String> {
        self.read(|store| {
            let ids = store.row_ids("users");
            ids.iter().map(|id| id.to_string_lossy().into_owned()).collect()
        })
    }

    /// Connects to a process; with `drain`, to hand over what it has.
    pub(super) async fn connect(&self, process: &Process, drain: bool) {
        if self.is_connected() {
            return;
        }
        let path = PathId::new(&format!("org/{}", self.org)).unwrap();
        let Ok(path) = process.registry.get(&path).await else { return };
        let (sink, source) = client_channel();
        let number = {
            self.shared.cut.send_modify(|number| *number += 1);
            *self.shared.cut.borrow()
        };
        let id = ConnectionId::from(format!("{}-{number}", self.name).as_str());
        let org_id = Some(self.org.to_owned());
        let org_role = Some("org:admin".to_owned());
        let actor = Actor { user: self.name.clone(), org_id, org_role };
        let writer = Arc::new(Writer::new(actor));
        if path.connect(id.clone(), writer, sink, drain).await.is_err() {
            return;
        }
        let (out, outgoing) = mpsc::unbounded_channel();
        {
            let mut state = self.shared.state.lock().unwrap();
            let frames = state.engine.connected(self.clock.now_ms(), &mut self.random());
            frames.into_iter().for_each(|frame| drop(out.send(frame)));
            state.out = Some(out);
        }
        let cut = self.shared.cut.subscribe();
        tokio::spawn(send(self.clone(), path.clone(), id.clone(), outgoing, cut.clone()));
        tokio::spawn(self.clone().receive(path, id, source, cut));
    }

    /// Cuts its connection.
    pub(super) fn disconnect(&self) {
        let mut state = self.shared.state.lock().unwrap();
        if state.out.take().is_some() {
            state.engine.disconnected();
            self.shared.cut.send_modify(|number| *number += 1);
        }
    }

    async fn receive(
        self,
        path: PathHandle,
        id: ConnectionId,
        mut source: ClientSource,
        mut cut: watch::Receiver<u64>,
    ) {
        let number = *cut.borrow_and_update();
        loop {
            let due = {
                let state = self.shared.state.lock().unwrap();
                state
                    .engine
                    .next_deadline()
                    .map_or(60_000, |at| at.saturating_sub(self.clock.now_ms()))
            };
            tokio::select! {
                biased;
                _ = cut.changed() => break,
                next = source.next() => match next {
                    Outbound::Close(reason) => {
                        let drained = reason.code == crate::sync::CloseReason::drained().code;
                        self.shared.drained.fetch_or(drained, Ordering::Relaxed);
                        self.disconnect();
                        break;
                    }
                    Outbound::Frames(frames) => {
                        self.latency().await;
                        if *cut.borrow() != number {
                            break;
                        }
                        let frames = frames.into_iter().map(|frame| frame.to_string()).collect();
                        self.take(frames);
                    }
                },
                () = tokio::time::sleep(Duration::from_millis(due.max(1))) => {
                    let mut state = self.shared.state.lock().unwrap();
                    let told = state.engine.tick(self.clock.now_ms(), &mut self.random());
                    reply(&state, told.send);
                }
            }
        }
        let _ = path.disconnect(id).await;
    }

    fn take(&self, frames: Vec<String>) {
        let mut state = self.shared.state.lock().unwrap();
        for frame in frames {
            let told = state.engine.receive(self.clock.now_ms(), &frame, &mut self.random());
            reply(&state, told.unwrap().send);
        }
    }

    async fn latency(&self) {
        tokio::time::sleep(Duration::from_millis(self.random.below(20))).await;
    }
}

fn reply(state: &State, frames: Vec<String>) {
    if let Some(out) = &state.out {
        frames.into_iter().for_each(|frame| drop(out.send(frame)));
    }
}

async fn send(
    client: SimClient,
    path: PathHandle,
    id: ConnectionId,
    mut outgoing: mpsc::UnboundedReceiver<String>,
    mut cut: watch::Receiver<u64>,
) {
    let number = *cut.borrow_and_update();
    while let Some(frame) = outgoing.recv().await {
        client.latency().await;
        if *cut.borrow() != number || path.frame(id.clone(), &frame).await.is_err() {
            return;
        }
    }
}

//! Everything of one schedule: legacy, the disk, at most one process, clients, writers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use mergeable_store::Cell;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use super::client::SimClient;
use super::creates::{Creates, named};
use super::history::{By, History, Kind, Rows, Write};
use super::legacy::{BAD, SimLegacy, VIEWER};
use super::process::{Decides, OfWorld, Process, simulated};
use super::rest::{Caller, Request, Through};
use super::tally::{Seen, Tally};
use super::{Seeded, SimClock, trace};
use crate::clock::Clock as _;
use crate::migration::{PathId, RowId, WriteKind};
use crate::proxy::forward::Tapped;
use crate::resource::{CreateMode, Resource};
use crate::storage::{MemoryStorage, Storage as _};
use crate::sync::Missed;
use crate::sync::path::row_cells;
use crate::sync::tail::UnmappedWrite;

const ORGS: [&str; 2] = ["o_1", "o_2"];
const TAIL: &str = "\n[resource.tail]\nby = \"updatedAt\"\npoll_ms = 300\nsweep_s = 4\n";

pub(super) struct World {
    pub(super) random: Seeded,
    pub(super) clock: SimClock,
    pub(super) disk: MemoryStorage,
    pub(super) legacy: SimLegacy,
    pub(super) process: Option<Process>,
    pub(super) clients: Vec<SimClient>,
    pub(super) rolled_back: bool,
    /// The same, for the process.
    stage: Arc<AtomicBool>,
    /// The resource, with a tail in most schedules.
    pub(super) users: Arc<Resource>,
    /// Whether the resource is in stage `rampdown`, and not in `live`.
    ramped: bool,
    decides: Decides,
    pub(super) tally: Tally,
    history: Arc<Mutex<History>>,
    /// Rows that were ever made, with their organisation.
    rows: Vec<(String, &'static str)>,
    values: u64,
    callers: JoinSet<()>,
}

impl World {
    pub(super) async fn new(creates: Creates, seed: u64, tally: &Tally) -> Self {
        let (random, clock) = (Seeded::new(seed), SimClock::new());
        let legacy = SimLegacy::new(creates, random.clone(), tally.clone(), clock);
        let mut world = Self {
            disk: MemoryStorage::default(),
            legacy,
            process: None,
            clients: Vec::new(),
            rolled_back: false,
            stage: Arc::default(),
            users: match creates {
                // Without a tail, what is done past crossfade is left to a reconcile.
                Creates::ClientId if seed.is_multiple_of(4) => simulated(""),
                Creates::ClientId => simulated(TAIL),
                Creates::Key | Creates::Probe => creates.resource(),
            },
            ramped: false,
            decides: Decides::default(),
            tally: tally.clone(),
            history: Arc::default(),
            rows: Vec::new(),
            values: 0,
            callers: JoinSet::new(),
            random,
            clock,
        };
        for number in 0..8 {
            let org = ORGS[usize::from(number >= 6)];
            let row = world.new_row(format!("s{number}"), org);
            world.legacy.seed(row);
        }
        world.history.lock().unwrap().seeded = world.legacy.rows();
        world.start().await;
        let process = world.process.as_ref().unwrap();
        process.backfill.run(&process.users, |_| {}).await.unwrap();
        for (name, org) in [("ada", "o_1"), ("bob", "o_1"), (VIEWER, "o_1"), ("eve", "o_2")] {
            let skew_ms = i64::try_from(world.random.below(1_000)).unwrap() - 500;
            let (clock, random) = (world.clock.skewed(skew_ms), world.random.clone());
            world.clients.push(SimClient::new(name, org, clock, random));
        }
        world.connect_all(false).await;
        if world.random.percent(25) {
            world.change_stage();
        }
        world
    }

    /// From `live` to `rampdown`, or back.
    pub(super) fn change_stage(&mut self) {
        // Not to be reached where legacy makes ids.
        if self.users.legacy_makes_ids() {
            return;
        }
        self.ramped = !self.ramped;
        self.tally.saw(if self.ramped { Seen::RampDown } else { Seen::RampBack });
        self.stage_changed();
    }

    fn stage_changed(&self) {
        self.decides.set(self.ramped && !self.rolled_back);
    }

    fn new_row(&mut self, id: String, org: &'static str) -> Map<String, Value> {
        let value = self.value();
        self.rows.push((id.clone(), org));
        self.legacy.will_be(&format!("e{value}"), &id);
        let mut row = json!({
            "id": id, "orgId": org, "name": format!("n{value}"), "email": format!("e{value}"),
            "role": "member", "age": value, "active": true,
        });
        if self.users.legacy_makes_ids() {
            // What nobody refers to yet.
            row["managerId"] = Value::Null;
        }
        row.as_object().unwrap().clone()
    }

    /// A number that no other write has.
    fn value(&mut self) -> u64 {
        self.values += 1;
        self.values
    }

    fn row(&self) -> (String, &'static str) {
        self.random.pick(&self.rows).clone()
    }

    /// The cells that an update gives.
    fn some_cells(&mut self) -> Vec<(&'static str, Value)> {
        let value = self.value();
        match self.random.below(3) {
            0 => vec![("name", json!(format!("n{value}")))],
            1 => vec![("age", json!(value))],
            _ => vec![("name", json!(format!("n{value}"))), ("age", json!(value))],
        }
    }

    pub(super) async fn start(&mut self) {
        if self.process.is_none() {
            let of_world = OfWorld {
                users: &self.users,
                rolled_back: &self.stage,
                decides: &self.decides,
                tally: &self.tally,
            };
            let started =
                Process::start(&self.disk, &self.legacy, self.clock, &self.random, of_world);
            self.process = Some(started.await);
        }
    }

    pub(super) fn kill(&mut self) {
        // With a slow database, or one that cannot be written, there are some milliseconds in which nothing tells of a write
        // (see the README's limits).
        if self.process.as_ref().is_some_and(|one| one.disk.is_troubled() && self.is_noting(one)) {
            return;
        }
        let Some(process) = self.process.take() else { return };
        self.tally.saw(Seen::Kill);
        if process.caught_up.under_way(&process.users.name) > 0 {
            self.tally.saw(Seen::KillDuringWrite);
        }
        process.kill();
        self.clients.iter().for_each(SimClient::disconnect);
    }

    /// Whether it has just begun to be told to the database that a write is under way, or passes the store by.
    fn is_noting(&self, process: &Process) -> bool {
        self.rolled_back || process.caught_up.under_way(&process.users.name) > 0
    }

    pub(super) async fn stop(&mut self) {
        // A stop waits for callers, as serve does.
        self.callers_done().await;
        let Some(process) = self.process.take() else { return };
        self.tally.saw(Seen::CleanStop);
        process.stop().await;
        self.clients.iter().for_each(SimClient::disconnect);
    }

    pub(super) async fn connect_all(&self, drain: bool) {
        let Some(process) = &self.process else { return };
        for client in &self.clients {
            client.connect(process, drain).await;
        }
    }

    pub(super) async fn roll_back(&mut self) {
        let Some(process) = &self.process else { return };
        self.rolled_back = true;
        self.stage.store(true, Ordering::Relaxed);
        self.stage_changed();
        self.tally.saw(Seen::Rollback);
        process.caught_up.lose(&process.users.name, Missed::default());
        process.registry.drain_all().await;
    }

    /// Lifts a rollback, and does what the runbook says then.
    pub(super) async fn lift(&mut self) {
        let Some(process) = &self.process else { return };
        self.rolled_back = false;
        self.stage.store(false, Ordering::Relaxed);
        self.stage_changed();
        self.tally.saw(Seen::Lift);
        // Fails while legacy is away; the end of the schedule tries again.
        let _ = process.backfill.run(&process.users, |_| {}).await;
    }

    /// A user's REST request through crossfade.
    pub(super) fn rest(&mut self) {
        let (method, write) = match self.random.below(10) {
            0 | 1 => {
                let value = self.value();
                let org = *self.random.pick(&ORGS);
                let row = self.new_row(format!("r{value}"), org);
                (Method::POST, self.write_of(By::Rest, Kind::Create, &row))
            }
            2 => (Method::DELETE, self.write(By::Rest, Kind::Delete, Vec::new())),
            _ => {
                let cells = self.some_cells();
                (Method::PATCH, self.write(By::Rest, Kind::Update, cells))
            }
        };
        self.send(method, write, true);
    }

    /// Whether somebody follows what is done past crossfade.
    pub(super) fn has_tail(&self) -> bool {
        self.users.tail.is_some()
    }

    /// A row that no client has made: what deletes it past crossfade must not meet a create that is tried again.
    fn row_of_legacy(&self) -> String {
        let of_legacy = |(row, _): &&(String, &str)| !row.starts_with('c');
        let rows: Vec<_> = self.rows.iter().filter(of_legacy).collect();
        self.random.pick(&rows).0.clone()
    }

    /// Two at once: a change of a row, and its deletion.
    pub(super) fn race(&mut self) {
        let cells = self.some_cells();
        let update = self.write(By::Rest, Kind::Update, cells);
        let row = update.row.clone();
        let delete = Write { row, ..self.write(By::Rest, Kind::Delete, Vec::new()) };
        self.send(Method::PATCH, update, true);
        self.send(Method::DELETE, delete, true);
    }

    /// A write past crossfade: into a row that was there before; and where somebody follows that, a row made or deleted.
    pub(super) fn past(&mut self) {
        self.tally.saw(Seen::PastCrossfade);
        let chance = if self.has_tail() { self.random.below(4) } else { 0 };
        match chance {
            2 => {
                let value = self.value();
                let org = *self.random.pick(&ORGS);
                let row = self.new_row(format!("p{value}"), org);
                let write = self.write_of(By::Past, Kind::Create, &row);
                self.tally.saw(Seen::MadePast);
                self.send(Method::POST, write, false);
            }
            3 => {
                let row = self.row_of_legacy();
                let write = Write { row, ..self.write(By::Past, Kind::Delete, Vec::new()) };
                self.tally.saw(Seen::DeletedPast);
                self.send(Method::DELETE, write, false);
            }
            _ => {
                let cells = vec![("email", json!(format!("e{}", self.value())))];
                let row = format!("s{}", self.random.below(8));
                let write = Write { row, ..self.write(By::Past, Kind::Update, cells) };
                self.send(Method::PATCH, write, false);
            }
        }
    }

    /// A write through crossfade to a route that it is not told of.
    pub(super) fn unmapped(&mut self) {
        if self.users.legacy_makes_ids() {
            return;
        }
        let (what, write) = if self.random.percent(50) {
            let value = self.value();
            let org = *self.random.pick(&ORGS);
            let row = self.new_row(format!("i{value}"), org);
            ("import", self.write_of(By::Rest, Kind::Create, &row))
        } else {
            let row = self.row_of_legacy();
            ("purge", Write { row, ..self.write(By::Rest, Kind::Delete, Vec::new()) })
        };
        let Some(process) = &self.process else { return };
        self.tally.saw(Seen::Unmapped);
        let body = self.body(&write).unwrap_or_else(|| json!({ "id": write.row }));
        trace(self.clock, || format!("{what} {} {:?}", write.row, write.cells));
        let number = self.history.lock().unwrap().add(write);
        let caller = self.caller(number);
        let (legacy, clock) = (self.legacy.clone(), self.clock);
        let (caught_up, intents) = (process.caught_up.clone(), process.intents.clone());
        let (tail, mirror) = (process.tail.clone(), process.mirror.clone());
        let (users, killed) = (process.users.clone(), process.killed.clone());
        let mirrored = !self.rolled_back;
        // As the edge does it, with and without a path that seems to name a row.
        let row = self.random.percent(50).then(|| RowId::new(what));
        self.callers.spawn(async move {
            let open = if mirrored {
                let of_row = async {
                    match &row {
                        Some(row) => Some(intents.open(&users.name, Some(row.clone()), None).await),
                        None => None,
                    }
                };
                Ok(tokio::join!(intents.open(&users.name, None, None), of_row))
            } else {
                Err(caught_up.pass_by(&users.name, clock.now_ms()))
            };
            if killed.load(Ordering::Relaxed) {
                return;
            }
            let sent_ms = clock.now_ms();
            let path = format!("/users/{what}");
            let user = ("rest".to_owned(), None);
            let outcome = legacy.exchange(Method::POST, path, Some(body), user).await;
            if killed.load(Ordering::Relaxed) {
                return;
            }
            caller.answered(&outcome);
            let tapped = Tapped::of(Bytes::new(), &outcome);
            match open {
                Ok((of_rows, of_row)) => {
                    let row = row.zip(of_row);
                    let write = UnmappedWrite { resource: users, row, of_rows, sent_ms };
                    tail.unmapped(write, &tapped);
                }
                Err(passing) => mirror.passed_by(passing, sent_ms, &tapped),
            }
        });
    }

    fn caller(&self, number: usize) -> Caller {
        Caller {
            history: self.history.clone(),
            number,
            legacy: self.legacy.clone(),
            clock: self.clock,
            random: self.random.clone(),
            tally: self.tally.clone(),
        }
    }

    fn write(&self, by: By, kind: Kind, cells: Vec<(&'static str, Value)>) -> Write {
        let start_ms = self.clock.now_ms();
        let (row, _) = self.row();
        let (acknowledged, lost_the_merge, refused) = (false, false, false);
        let unmirrored = by == By::Rest && self.rolled_back;
        Write {
            row,
            kind,
            cells,
            by,
            start_ms,
            end_ms: None,
            acknowledged,
            unmirrored,
            lost_the_merge,
            refused,
        }
    }

    fn write_of(&self, by: By, kind: Kind, row: &Map<String, Value>) -> Write {
        let cells = ["name", "age", "email"].map(|cell| (cell, row[cell].clone())).to_vec();
        let id = row["id"].as_str().unwrap().to_owned();
        Write { row: id, ..self.write(by, kind, cells) }
    }

    fn send(&mut self, method: Method, write: Write, through: bool) {
        let process = self.process.as_ref().filter(|_| through);
        if through && process.is_none() {
            return;
        }
        let body = self.body(&write);
        // By either of its ids, if it has two.
        let theirs = self.legacy.id_of(&write.row);
        let by_row_id = write.row.starts_with('c') && self.random.percent(50);
        let named = RowId::new(theirs.filter(|_| !by_row_id).unwrap_or_else(|| write.row.clone()));
        let asked = write.kind;
        trace(self.clock, || {
            format!("{:?} {:?} {} {:?}", write.by, write.kind, write.row, write.cells)
        });
        let org = self.rows.iter().find(|(id, _)| *id == write.row).map(|(_, org)| *org);
        let number = self.history.lock().unwrap().add(write);
        let caller = self.caller(number);
        let Some(process) = process else {
            let path = match asked {
                Kind::Create => "/users".to_owned(),
                Kind::Update | Kind::Delete => format!("/users/{named}"),
            };
            self.callers.spawn(async move {
                let past = ("past".to_owned(), None);
                caller.answered(&caller.legacy.exchange(method, path, body, past).await);
            });
            return;
        };
        let aliases = process.registry.aliases().clone();
        let through = Through {
            caught_up: process.caught_up.clone(),
            intents: process.intents.clone(),
            mirror: process.mirror.clone(),
            writer: process.writer.clone(),
            users: process.users.clone(),
            killed: process.killed.clone(),
            store_first: self.decides.now(),
            mirrored: !self.rolled_back,
            path: PathId::new(&format!("org/{}", org.unwrap_or(ORGS[0]))).unwrap(),
        };
        let users = process.users.clone();
        self.callers.spawn(async move {
            // As the edge does.
            let row = aliases.row_of(&users, &named).await.unwrap();
            let id = aliases.legacy_id(&users, &row).await.unwrap().unwrap_or_else(|| row.clone());
            let (path, kind) = match asked {
                Kind::Create => ("/users".to_owned(), WriteKind::Create),
                Kind::Update => (format!("/users/{id}"), WriteKind::Update(row)),
                Kind::Delete => (format!("/users/{id}"), WriteKind::Delete(row)),
            };
            through.send(caller, Request { method, path, body, kind }).await;
        });
    }

    fn body(&self, write: &Write) -> Option<Value> {
        let mut body: Map<String, Value> =
            write.cells.iter().map(|(cell, value)| ((*cell).to_owned(), value.clone())).collect();
        match write.kind {
            Kind::Delete => return None,
            Kind::Update => {}
            Kind::Create => {
                let of = |(id, _): &&(String, &str)| *id == write.row;
                let org = self.rows.iter().find(of).unwrap().1;
                if !self.users.legacy_makes_ids() {
                    body.insert("id".to_owned(), json!(write.row));
                }
                body.extend([
                    ("orgId".to_owned(), json!(org)),
                    ("role".to_owned(), json!("member")),
                    ("active".to_owned(), json!(true)),
                ]);
            }
        }
        Some(Value::Object(body))
    }

    /// An edit of a sync client, connected or not.
    pub(super) fn edit(&mut self) {
        let client = self.random.pick(&self.clients).clone();
        self.edit_of(&client);
    }

    /// Edits of one client, one after the other: before it and the server have told each other what they have, if it has
    /// just come back.
    pub(super) async fn burst(&mut self, client: &SimClient) {
        for _ in 0..self.random.below(4) {
            self.edit_of(client);
            tokio::time::sleep(Duration::from_millis(self.random.below(15))).await;
        }
    }

    fn edit_of(&mut self, client: &SimClient) {
        if !client.is_connected() {
            self.tally.saw(Seen::OfflineEdit);
        }
        let mut there = client.rows();
        // A row of which it has heard an edit only, and not the rest yet, is not on its screen.
        there.retain(|row| client.cell(row, "orgId").is_some());
        there.sort();
        let viewer = client.name.starts_with(VIEWER);
        let by = By::Sync(client.name.clone());
        let chance = self.random.below(10);
        if chance < 2 && !viewer {
            let value = self.value();
            let mut row = self.new_row(format!("c{value}"), client.org);
            let write = self.write_of(by, Kind::Create, &row);
            if self.users.legacy_makes_ids() {
                row.remove("id");
                if !there.is_empty() && self.random.percent(60) {
                    row["managerId"] = json!(self.random.pick(&there));
                }
            }
            let at = client.edit(|tx| {
                for (cell, value) in &row {
                    tx.set_cell("users", write.row.as_str(), cell.as_str(), cell_of(value))?;
                }
                Ok(())
            });
            return self.edited(write, at, false);
        }
        // Refusals are of rows that legacy has: with a create that is refused all that follows it falls.
        if viewer {
            there.retain(|row| row.starts_with('s'));
        }
        if there.is_empty() {
            return;
        }
        let row = self.random.pick(&there).clone();
        let name = self.legacy.names().remove(&row).unwrap_or_else(|| row.clone());
        if chance == 2 {
            let write = Write { row: name, ..self.write(by, Kind::Delete, Vec::new()) };
            let at = client.edit(|tx| tx.del_row("users", row.as_str()));
            return self.edited(write, at, viewer);
        }
        let bad = chance == 3 && row.starts_with('s');
        let cells = if bad {
            vec![("name", json!(format!("{BAD}{}", self.value())))]
        } else {
            self.some_cells()
        };
        let write = Write { row: name, ..self.write(by, Kind::Update, cells) };
        let at = client.edit(|tx| {
            for (cell, value) in &write.cells {
                tx.set_cell("users", row.as_str(), *cell, cell_of(value))?;
            }
            Ok(())
        });
        self.edited(write, at, viewer || bad);
    }

    fn edited(&self, write: Write, at_ms: u64, refused: bool) {
        let write = Write { start_ms: at_ms, end_ms: Some(at_ms), refused, ..write };
        trace(self.clock, || {
            format!("{:?} {:?} {} {:?}", write.by, write.kind, write.row, write.cells)
        });
        self.history.lock().unwrap().add(write);
    }

    /// A device is lost: of its edits only those are acknowledged that another one has.
    pub(super) fn lose_client(&mut self) {
        let place = usize::try_from(self.random.below(2)).unwrap();
        let lost = self.clients[place].clone();
        lost.disconnect();
        self.tally.saw(Seen::ClientLost);
        let others: Vec<_> = self.clients.iter().filter(|c| c.name != lost.name).collect();
        self.history().lost(&lost, &others);
        let name = format!("{}+", lost.name);
        let client = SimClient::new(&name, lost.org, self.clock, self.random.clone());
        self.clients[place] = client;
    }

    /// Notes what clients know to have arrived.
    pub(super) fn note_arrivals(&self) {
        for client in self.clients.iter().filter(|client| client.is_caught_up()) {
            self.history().arrived(client);
        }
    }

    pub(super) async fn callers_done(&mut self) {
        while self.callers.join_next().await.is_some() {}
    }

    /// Whether a caller waits.
    pub(super) fn somebody_waits(&mut self) -> bool {
        while self.callers.try_join_next().is_some() {}
        !self.callers.is_empty()
    }

    pub(super) fn history(&self) -> std::sync::MutexGuard<'_, History> {
        let mut history = self.history.lock().unwrap();
        // Rows that legacy has made itself have its ids in the store.
        let made_there = self.legacy.names().into_iter().filter(|(_, name)| name.starts_with('r'));
        history.ids = made_there.map(|(id, name)| (name, id)).collect();
        history
    }

    /// Rows that a client has made and that the store has under legacy's id, by their names. That may be only where a probe
    /// could not know them again, since they were changed.
    pub(super) fn fallen(&self, store: &Rows) -> Result<BTreeMap<String, String>, String> {
        let names = self.legacy.names();
        let by_client = |id: &String| Some((names.get(id)?.clone(), id.clone()));
        let mut fell = BTreeMap::new();
        for (name, id) in
            store.keys().filter_map(by_client).filter(|(name, _)| name.starts_with('c'))
        {
            if self.users.create != CreateMode::Probe || !self.history().was_changed(&name) {
                return Err(format!(
                    "{name} has lost its id, and is {id}{}",
                    self.history().story(&name)
                ));
            }
            self.tally.saw(Seen::NotKnownAgain);
            fell.insert(name, id);
        }
        Ok(fell)
    }

    /// Legacy's rows under their names.
    pub(super) fn legacy_rows(&self) -> Result<Rows, String> {
        named(self.legacy.rows(), &self.legacy.names())
    }

    /// The store's rows of all organisations.
    pub(super) async fn store_rows(&self) -> Rows {
        let process = self.process.as_ref().unwrap();
        let mut rows = Rows::new();
        for org in ORGS {
            let path = PathId::new(&format!("org/{org}")).unwrap();
            let users = process.users.clone();
            let read = loop {
                // A path whose commit failed is loaded anew.
                let handle = process.registry.get(&path).await.unwrap();
                let users = users.clone();
                let read = handle.read(move |store| {
                    let ids = store.row_ids("users");
                    let row = |id: &mergeable_store::Text| {
                        let id = RowId::new(id.as_str().unwrap());
                        let cells = row_cells(&users, &id, store);
                        let json =
                            cells.iter().map(|(cell, value)| (cell.to_string(), value.to_json()));
                        (id.as_str().to_owned(), json.collect())
                    };
                    ids.iter().map(row).collect::<Rows>()
                });
                if let Ok(read) = read.await {
                    break read;
                }
            };
            rows.extend(read);
        }
        rows
    }

    /// Rows of which something is in the outbox.
    async fn owed_rows(&self) -> Vec<String> {
        let summary = self.disk.outbox_summary(1_000).await.unwrap();
        let names = self.legacy.names();
        let row = |id: &str| names.get(id).cloned().unwrap_or_else(|| id.to_owned());
        summary.entries.iter().map(|entry| row(entry.entry.row.as_str())).collect()
    }

    /// While the store may answer, and nothing is on its way, it has what legacy has.
    pub(super) async fn check_answers(&mut self) -> Result<(), String> {
        if self.somebody_waits() || self.rolled_back {
            return Ok(());
        }
        let Some(process) = &self.process else { return Ok(()) };
        let name = process.users.name.clone();
        let past = self.history().past().iter().map(|row| (*row).to_owned()).collect::<Vec<_>>();
        for org in ORGS {
            let path = PathId::new(&format!("org/{org}")).unwrap();
            let quiet = process.caught_up.may_answer(&name, &path) && process.owed.is_empty();
            if !quiet {
                return Ok(());
            }
        }
        let before = self.legacy_rows()?;
        let mut owed = self.owed_rows().await;
        let store = self.store_rows().await;
        owed.extend(self.owed_rows().await);
        if self.legacy_rows()? != before {
            return Ok(());
        }
        let store = match named(store, &self.legacy.names()) {
            Ok(store) => store,
            // A row that was read before its alias was known: while it is owed, both are there.
            Err(_) if !owed.is_empty() => return Ok(()),
            Err(twice) => return Err(twice),
        };
        let all: std::collections::BTreeSet<_> = before.keys().chain(store.keys()).collect();
        for row in all {
            if owed.contains(row) || past.contains(row) {
                continue;
            }
            if before.get(row) != store.get(row) {
                let (legacy, store) = (before.get(row), store.get(row));
                return Err(format!(
                    "the store answers {row} with {store:?}, legacy has {legacy:?}"
                ));
            }
        }
        Ok(())
    }
}

fn cell_of(value: &Value) -> Cell {
    Cell::from_json(value).unwrap()
}

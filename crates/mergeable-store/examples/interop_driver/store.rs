//! Stores without a network: `{"store": {stores, steps}}` runs a whole schedule and answers with what each step did.
//!
//! A step has `now`, the true time; store `i` reads `now + skewMs`. By its other keys it is one of
//!
//! | key | does | outcome |
//! | --- | --- | --- |
//! | `edit` | `ops` in one transaction, taken back if `rollBack` | how it ended, the changes to broadcast |
//! | `apply` | the changes of edit `diffOf`, if it had any | |
//! | `inject` | changes made by hand, `body` | |
//! | `merge` | all content of store `from`, as changes | |
//! | `pull` | what differs in store `from`, found by hashes | the hashes asked with, the answers |
//! | `load` | replaced by the saved content of store `from` | |
//! | `loadPlain` | replaced by plain `content` | |
//! | `skew` | sets `skewMs` of a store | |
//! | `check` | nothing | saved content of all stores; if `all`, live content too |
//!
//! and, but for `skew` and `check`, the two content hashes afterwards.

use std::collections::HashMap;

use indexmap::IndexMap;
use mergeable_store::{
    CellHashes, Changes, Json, MergeableStore, Millis, RowHashes, TableHashes, Text,
};

use super::command::{self, DriverError, Fields, text};
use super::edit::{Stop, carry_out, new_store};

struct Host {
    store: MergeableStore,
    skew_ms: f64,
}

struct World {
    hosts: Vec<Host>,
    diffs: HashMap<usize, Changes>,
}

/// Runs a schedule: the outcome of each step, in order.
pub(crate) fn run(schedule: &Json) -> Result<Json, DriverError> {
    let mut world = World { hosts: Vec::new(), diffs: HashMap::new() };
    for host in schedule.field("stores")?.items("stores")? {
        let store = new_store(host.field("uniqueId")?.text("uniqueId")?);
        let skew_ms = host.field("skewMs")?.number("skewMs")?;
        world.hosts.push(Host { store, skew_ms });
    }
    let steps = schedule.field("steps")?.items("steps")?;
    Ok(Json::Array(steps.iter().map(|step| world.step(step)).collect::<Result<_, _>>()?))
}

impl World {
    fn step(&mut self, step: &Json) -> Result<Json, DriverError> {
        if let Ok(what) = step.field("check") {
            return self.check(*what.text("check")? == "all");
        }
        if let Ok(at) = step.index("skew") {
            self.host(at)?.skew_ms = step.field("skewMs")?.number("skewMs")?;
            return Ok(Json::Array(Vec::new()));
        }
        for key in ["edit", "apply", "inject", "merge", "pull", "load", "loadPlain"] {
            let Ok(at) = step.index(key) else {
                continue;
            };
            let now = self.now(at, step)?;
            let mut outcome = match key {
                "edit" => self.edit(at, now, step)?,
                "pull" => self.pull(at, now, step.index("from")?)?,
                _ => {
                    self.take(key, at, now, step)?;
                    Vec::new()
                }
            };
            let hashes = self.host(at)?.store.hashes();
            outcome.extend([hashes.tables, hashes.values].map(|hash| Json::Number(hash.into())));
            return Ok(Json::Array(outcome));
        }
        Err(DriverError::Unknown(step.stringify()))
    }

    fn host(&mut self, at: usize) -> Result<&mut Host, DriverError> {
        self.hosts.get_mut(at).ok_or(DriverError::Field("store"))
    }

    fn now(&mut self, at: usize, step: &Json) -> Result<Millis, DriverError> {
        Ok((step.field("now")?.number("now")? + self.host(at)?.skew_ms) as Millis)
    }

    fn edit(&mut self, at: usize, now: Millis, step: &Json) -> Result<Vec<Json>, DriverError> {
        let ops = step.field("ops")?.items("ops")?;
        let roll_back = step.is_set("rollBack");
        let result = self.host(at)?.store.transaction(now, |tx| carry_out(tx, ops, roll_back));
        let (ended, diff) = match result {
            Ok(((), changes)) if changes.is_empty() => ("done", Json::Null),
            Ok(((), changes)) => {
                let diff = command::changes(&changes)?;
                self.diffs.insert(step.index("id")?, command::as_received(&changes)?);
                ("done", diff)
            }
            Err(Stop::Wanted) => ("rolled back", Json::Null),
            Err(Stop::Overtaken) => ("tinybase:13", Json::Null),
            Err(Stop::Driver(error)) => return Err(error),
        };
        Ok(vec![text(ended), diff])
    }

    /// What cannot be merged or loaded is ignored, as TinyBase does.
    fn take(&mut self, key: &str, at: usize, now: Millis, step: &Json) -> Result<(), DriverError> {
        match key {
            "apply" => {
                if let Some(changes) = self.diffs.get(&step.index("diffOf")?).cloned() {
                    self.host(at)?.store.merge(now, &changes).ok();
                }
            }
            "inject" => {
                if let Ok(changes) = Changes::from_json(&step.field("body")?.stringify()) {
                    self.host(at)?.store.merge(now, &changes).ok();
                }
            }
            "merge" => {
                let content = self.host(step.index("from")?)?.store.content();
                let changes = content.strip_suffix(']').unwrap_or_default();
                self.host(at)?.store.load(now, &format!("{changes},1]")).ok();
            }
            "load" => {
                let content = self.host(step.index("from")?)?.store.content();
                self.host(at)?.store.load(now, &content).ok();
            }
            _ => {
                let content = step.field("content")?.stringify();
                self.host(at)?.store.load(now, &content).ok();
            }
        }
        Ok(())
    }

    /// The ladder of hashes, each rung's answer applied at once.
    fn pull(&mut self, at: usize, now: Millis, from: usize) -> Result<Vec<Json>, DriverError> {
        let mut said = Vec::new();
        let mut apply = |world: &mut Self, changes: Changes| {
            said.push(command::changes(&changes)?);
            world.host(at)?.store.merge(now, &command::as_received(&changes)?).ok();
            Ok::<_, DriverError>(())
        };
        let asked = self.host(at)?.store.table_hashes();
        let (changes, tables) = self.host(from)?.store.table_diff(&asked);
        apply(self, changes)?;
        let row_hashes = self.host(at)?.store.row_hashes(&tables);
        let (changes, rows) = self.host(from)?.store.row_diff(&row_hashes);
        apply(self, changes)?;
        let cell_hashes = self.host(at)?.store.cell_hashes(&rows);
        let changes = self.host(from)?.store.cell_diff(&cell_hashes);
        apply(self, changes)?;
        let value_hashes = self.host(at)?.store.value_hashes();
        let changes = self.host(from)?.store.value_diff(&value_hashes);
        apply(self, changes)?;
        let hashes = [
            flat(&asked),
            flat(&tables),
            nested(&row_hashes),
            nested(&rows),
            deep(&cell_hashes),
            flat(&value_hashes),
        ];
        said.extend(hashes);
        Ok(said)
    }

    fn check(&self, all: bool) -> Result<Json, DriverError> {
        let mut outcome = Vec::new();
        for host in &self.hosts {
            same_in_other_forms(&host.store)?;
            outcome.push(text(host.store.content()));
        }
        if all {
            outcome.extend(self.hosts.iter().map(|host| live(&host.store)));
        }
        Ok(Json::Array(outcome))
    }
}

/// All that a store holds: `[saved content, live content]`.
pub(crate) fn state_of(store: &MergeableStore) -> Json {
    Json::Array(vec![text(store.content()), live(store)])
}

/// What is live, with its order: `[[table, [[row, [[cell, encoded]]]]], [[value, encoded]]]`.
fn live(store: &MergeableStore) -> Json {
    let pair = |id: &Text, value: Json| Json::Array(vec![Json::String(id.clone()), value]);
    let tables = store.table_ids().into_iter().map(|table| {
        let rows = store.row_ids(&table).into_iter().map(|row| {
            let cells = store.cell_ids(&table, &row).into_iter().map(|cell| {
                let encoded = store
                    .get_cell(&table, &row, &cell)
                    .map_or(Json::Null, |cell| as_read(&cell.to_cell().encoded()));
                pair(&cell, encoded)
            });
            pair(&row, Json::Array(cells.collect()))
        });
        pair(&table, Json::Array(rows.collect()))
    });
    let values = store.value_ids().into_iter().map(|value| {
        let encoded =
            store.get_value(&value).map_or(Json::Null, |cell| as_read(&cell.to_cell().encoded()));
        pair(&value, encoded)
    });
    Json::Array(vec![Json::Array(tables.collect()), Json::Array(values.collect())])
}

/// An object that arrived without encoding reads like an encoded one.
fn as_read(encoded: &str) -> Json {
    match Json::parse(encoded) {
        Ok(Json::Array(_) | Json::Object(_)) => text(format!("\u{FFFD}{encoded}")),
        Ok(json) => json,
        Err(_) => Json::Null,
    }
}

/// The store's other ways out and in lead to the same: stamp by stamp, and as changes.
fn same_in_other_forms(store: &MergeableStore) -> Result<(), DriverError> {
    let mut loaded = MergeableStore::new(store.client());
    for (container, hlc) in store.container_stamps() {
        loaded.load_container(&container, hlc);
    }
    for (table, row, cell, stamp) in store.cell_stamps() {
        loaded.load_cell(table, row, cell, stamp.thing, stamp.hlc);
    }
    for (value, stamp) in store.value_stamps() {
        loaded.load_value(value, stamp.thing, stamp.hlc);
    }
    if loaded.hashes() != store.computed_hashes() {
        return Err(DriverError::Contradiction(format!(
            "loaded stamp by stamp it has {:?}, computed {:?}",
            loaded.hashes(),
            store.computed_hashes()
        )));
    }
    if Changes::from_json(&store.to_changes().to_json())? != store.to_changes() {
        return Err(DriverError::Contradiction("changes differ when read back".into()));
    }
    Ok(())
}

fn flat(hashes: &TableHashes) -> Json {
    object(hashes, |hash| Json::Number((*hash).into()))
}

fn nested(hashes: &RowHashes) -> Json {
    object(hashes, flat)
}

fn deep(hashes: &CellHashes) -> Json {
    object(hashes, nested)
}

fn object<V>(entries: &IndexMap<Text, V>, value: impl Fn(&V) -> Json) -> Json {
    Json::Object(entries.iter().map(|(id, entry)| (id.clone(), value(entry))).collect())
}

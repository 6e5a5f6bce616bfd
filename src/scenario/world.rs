//! What a run works on: the environment, the actors in it, and what they wrote.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use mergeable_store::MergeableStore;
use serde_json::Value;

use super::environment::{Environment, Login, Trouble};
use super::ledger::{By, Ledger, What, Write};
use super::model::{Actor, ActorId, RowRef, Scenario};
use crate::migration::{OperationKind, PathId, WriteKind};
use crate::resource::{Resource, RouteTable, Routed, RowCells};
use crate::sync::client::SyncClient;

/// Rows by id.
pub(super) type Rows = BTreeMap<String, RowCells>;

/// Rows that legacy's list is read by.
const PAGE: usize = 100;
/// Differences that a failure lists; the rest is counted.
const MAX_LISTED: usize = 5;

/// A connected native client.
pub(super) struct Connected {
    pub(super) path: PathId,
    pub(super) client: SyncClient,
}

/// The state of a run.
pub(super) struct World<'s> {
    pub(super) scenario: &'s Scenario,
    pub(super) environment: Environment,
    pub(super) clients: BTreeMap<ActorId, Connected>,
    /// Clients of the run itself, one a path, that see what a newcomer sees.
    observers: BTreeMap<PathId, SyncClient>,
    pub(super) ledger: Ledger,
    /// Whether the resource's stage now has REST writes mirrored into the store.
    pub(super) mirrored: bool,
    routes: RouteTable,
}

impl<'s> World<'s> {
    pub(super) fn new(scenario: &'s Scenario, environment: Environment) -> Result<Self, Trouble> {
        let routes = RouteTable::new(std::slice::from_ref(environment.resource()))
            .map_err(|_| "the example configuration maps a route twice")?;
        Ok(Self {
            scenario,
            environment,
            clients: BTreeMap::new(),
            observers: BTreeMap::new(),
            ledger: Ledger::default(),
            mirrored: scenario.start.stage.stage.writes_both(),
            routes,
        })
    }

    pub(super) fn resource(&self) -> &Resource {
        self.environment.resource()
    }

    pub(super) fn client(&self, actor: ActorId) -> Result<&Connected, Trouble> {
        self.clients.get(&actor).ok_or_else(|| "is not connected".to_owned())
    }

    pub(super) fn login(actor: &Actor) -> Login {
        Login { user: actor.user.clone(), org: actor.org.clone(), role: actor.role.clone() }
    }

    /// The paths that clients are connected to.
    pub(super) fn paths(&self) -> Vec<PathId> {
        let mut paths: Vec<_> = self.clients.values().map(|one| one.path.clone()).collect();
        paths.sort();
        paths.dedup();
        paths
    }

    /// A client of the run's own on this path; the first use connects it.
    pub(super) async fn observer(&mut self, path: &PathId) -> Result<&SyncClient, Trouble> {
        if !self.observers.contains_key(path) {
            let org = path.as_str().rsplit('/').next().unwrap_or_default().to_owned();
            let login = Login { user: "observer".to_owned(), org, role: "admin".to_owned() };
            let settings = self.environment.client(&login, path.as_str(), "observer")?;
            self.observers.insert(path.clone(), SyncClient::connect(settings));
        }
        let observer = self.observers.get(path).ok_or("no observer")?;
        observer.wait_caught_up().await;
        Ok(observer)
    }

    /// The rows that a path's store has, as the run's own client sees them.
    pub(super) async fn store_rows(&mut self, path: &PathId) -> Result<Rows, Trouble> {
        let resource = self.environment.resource().clone();
        let observer = self.observer(path).await?;
        Ok(observer.read(|store| rows_of(store, &resource)))
    }

    /// Whether a write of the ledger is in the path's store, or something later.
    pub(super) async fn survived_in_store(
        &mut self,
        place: usize,
        path: &PathId,
    ) -> Result<bool, Trouble> {
        self.observer(path).await?;
        let observer = self.observers.get(path).ok_or("no observer")?;
        Ok(observer.read(|store| self.ledger.survived(place, store)))
    }

    /// Legacy's rows, by the path that they belong to.
    pub(super) async fn legacy_rows(&self) -> Result<BTreeMap<PathId, Rows>, Trouble> {
        let resource = self.resource();
        let mut all: BTreeMap<PathId, Rows> = BTreeMap::new();
        let mut offset = 0;
        loop {
            let page = self.environment.legacy_page(offset, PAGE).await?;
            let rows = resource.envelope.rows(&page).ok_or("legacy's list is not as configured")?;
            for row in rows {
                let cells =
                    resource.schema.row_from_json(row).map_err(|e| format!("legacy: {e}"))?;
                let id = resource.row_id(&cells.cells).ok_or("a row of legacy has no id")?;
                let path = resource.path.from_row(&cells.cells).map_err(|e| e.to_string())?;
                all.entry(path).or_default().insert(id.as_str().to_owned(), cells.cells);
            }
            offset += rows.len();
            if rows.len() < PAGE {
                return Ok(all);
            }
        }
    }

    /// Waits until these clients, and the run's own on their paths if `newcomers`, are caught up; then
    /// says whether they are equal.
    pub(super) async fn converged(
        &mut self,
        actors: &[ActorId],
        newcomers: bool,
    ) -> Result<(), Trouble> {
        if newcomers {
            for path in self.paths() {
                self.observer(&path).await?;
            }
        }
        let mut by_path: BTreeMap<&PathId, Vec<(&str, &SyncClient)>> = BTreeMap::new();
        for actor in actors {
            let one = self.client(*actor)?;
            let name = self.scenario.actor(*actor).name.as_str();
            by_path.entry(&one.path).or_default().push((name, &one.client));
        }
        for (path, clients) in &mut by_path {
            if let Some(observer) = self.observers.get(*path).filter(|_| newcomers) {
                clients.push(("a newcomer", observer));
            }
            join_all(clients.iter().map(|(_, client)| client.wait_caught_up())).await;
            for pair in clients.windows(2) {
                if let [(first, one), (second, other)] = pair {
                    same(first, one, second, other)?;
                }
            }
        }
        Ok(())
    }

    /// Notes what a REST request wrote, by the configured routes.
    pub(super) fn note_rest(
        &mut self,
        actor: ActorId,
        method: &http::Method,
        target: &str,
        sent: Option<&Value>,
        answer: &Value,
    ) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let Routed::Mapped { resource, operation } = self.routes.match_request(method, path, query)
        else {
            return;
        };
        let OperationKind::Write(kind) = operation.kind else { return };
        let row = match &kind {
            WriteKind::Update(row) | WriteKind::Delete(row) => Some(row.clone()),
            WriteKind::Create => resource
                .envelope
                .item(answer)
                .and_then(|item| resource.schema.row_from_json(item).ok())
                .and_then(|read| resource.row_id(&read.cells)),
        };
        let Some(row) = row else { return };
        let Ok(path) = PathId::new(&super::check::default_path(&self.scenario.actor(actor).org))
        else {
            return;
        };
        let row = RowRef { resource: resource.name.to_string(), row: row.as_str().to_owned() };
        let mut whats = Vec::new();
        if let WriteKind::Delete(_) = kind {
            whats.push(What::RowGone);
        }
        if let Some(Value::Object(fields)) = sent {
            for (id, value) in fields {
                let known = resource.schema.cell(id).filter(|spec| !spec.read_only);
                if let (Some(_), Ok(cell)) = (known, mergeable_store::Cell::from_json(value)) {
                    whats.push(What::Cell { id: id.clone(), value: Some(cell) });
                }
            }
        }
        for what in whats {
            let (path, row, table) = (path.clone(), row.clone(), resource.table.clone());
            let by = By::Rest { mirrored: self.mirrored };
            self.ledger.add(Write { actor, path, table, row, what, by });
        }
    }

    /// Whether a write was acknowledged, as far as is known now.
    pub(super) fn is_acknowledged(&self, write: &Write) -> bool {
        match write.by {
            By::Rest { .. } => true,
            By::Edit { number, .. } => self.clients.get(&write.actor).is_some_and(|one| {
                let client = &one.client;
                client.edits().saturating_sub(client.unacknowledged()) >= number
            }),
        }
    }

    pub(super) async fn end(self) -> Result<(), Trouble> {
        let Self { environment, clients, observers, .. } = self;
        join_all(clients.into_values().map(|one| one.client.close())).await;
        join_all(observers.into_values().map(SyncClient::close)).await;
        environment.stop().await
    }
}

/// A store's live rows of a resource.
fn rows_of(store: &MergeableStore, resource: &Resource) -> Rows {
    let ids = store.row_ids(resource.table.as_str());
    ids.into_iter()
        .map(|id| {
            let cells = store.row(resource.table.as_str(), &id);
            let cells = cells.map(|(cell, value)| (cell.to_string_lossy().into_owned(), value));
            (id.to_string_lossy().into_owned(), cells.collect())
        })
        .collect()
}

/// Whether two clients have the same content, down to the stamps.
fn same(first: &str, one: &SyncClient, second: &str, other: &SyncClient) -> Result<(), Trouble> {
    let (hashes, others) = (one.hashes(), other.hashes());
    let (changes, other_changes) =
        (one.read(MergeableStore::to_changes), other.read(MergeableStore::to_changes));
    let stamps = |changes: &mergeable_store::Changes| -> BTreeMap<[String; 3], String> {
        let cells = changes.cells().map(|(table, row, cell, stamp)| {
            let ids = [table, row, cell].map(|id| id.to_string_lossy().into_owned());
            (ids, format!("{:?}", (&stamp.thing, stamp.hlc)))
        });
        cells.collect()
    };
    let (mine, theirs) = (stamps(&changes), stamps(&other_changes));
    let differ = mine
        .keys()
        .chain(theirs.keys().filter(|key| !mine.contains_key(*key)))
        .filter(|key| mine.get(*key) != theirs.get(*key))
        .map(|key| key.join("/"));
    let differ: Vec<_> = differ.collect();
    if !differ.is_empty() {
        return Err(format!("{first} and {second} differ in {}", listed(&differ)));
    }
    if hashes != others {
        return Err(format!("{first} and {second} have the same cells and different hashes"));
    }
    Ok(())
}

/// Says in what two sets of rows differ; names rows and cells, never values.
pub(super) fn differences(store: &Rows, legacy: &Rows) -> Result<(), Trouble> {
    let mut found = Vec::new();
    for (id, row) in store {
        match legacy.get(id) {
            None => found.push(format!("{id} is not in legacy")),
            Some(other) => {
                let changes = row.changes_to(other);
                let mut cells: Vec<_> = changes.set.iter().map(|(id, _)| id.clone()).collect();
                // Legacy's null and a cell that is not there say the same.
                cells.retain(|cell| {
                    let null = |cells: &RowCells| {
                        cells.get(cell).is_none_or(|cell| *cell == mergeable_store::Cell::Null)
                    };
                    !(null(row) && null(other))
                });
                cells.extend(changes.removed);
                found.extend(cells.into_iter().map(|cell| format!("{id}/{cell}")));
            }
        }
    }
    let missing = legacy.keys().filter(|id| !store.contains_key(*id));
    found.extend(missing.map(|id| format!("{id} is not in the store")));
    if found.is_empty() { Ok(()) } else { Err(format!("they differ: {}", listed(&found))) }
}

fn listed(items: &[String]) -> String {
    let shown = items.iter().take(MAX_LISTED).cloned().collect::<Vec<_>>().join(", ");
    match items.len().saturating_sub(MAX_LISTED) {
        0 => shown,
        more => format!("{shown}, and {more} more"),
    }
}

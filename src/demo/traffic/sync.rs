//! Someone whose app syncs: a TinyBase store of their own, edited at once, in step by WebSocket.

use std::sync::Arc;
use std::time::Duration;

use mergeable_store::{Cell, EditError};
use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::{Map, Value};

use super::invent;
use super::{Acts, Shared};
use crate::demo::cast::Person;
use crate::demo::ledger::{Change, Via, WriteId};
use crate::demo::settings::Scale;
use crate::sync::client::{ClientSettings, SyncClient};

/// The table of the demo's resource.
const TABLE: &str = "users";
/// How long an edit's acknowledgement is waited for before the next edit is made all the same.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the last acknowledgements are waited for at the end of a scene.
const LAST: Duration = Duration::from_secs(15);

/// A person and their store.
pub(in crate::demo) struct SyncUser {
    person: Person,
    client: SyncClient,
    shared: Shared,
    rng: StdRng,
    /// Rows of the organisation that were there before.
    rows: Arc<Vec<String>>,
    /// Rows that this person made and did not delete.
    own: Vec<String>,
    /// Edits that are not acknowledged yet.
    waiting: Vec<WriteId>,
    writes: u32,
}

impl SyncUser {
    /// Someone whose app connects as `settings` say.
    pub(in crate::demo) fn new(
        person: Person,
        settings: ClientSettings,
        rows: Arc<Vec<String>>,
        shared: Shared,
    ) -> Self {
        let rng = shared.rng(&person.user);
        let client = SyncClient::connect(settings);
        Self { person, client, shared, rng, rows, own: Vec::new(), waiting: Vec::new(), writes: 0 }
    }

    /// The store, to be waited on.
    pub(in crate::demo) fn client(&self) -> &SyncClient {
        &self.client
    }

    /// Waits until the server has every edit.
    ///
    /// # Errors
    /// Where the connection stands, if it does not get there.
    pub(in crate::demo) async fn settle(&mut self) -> Result<(), String> {
        if self.confirm(LAST).await {
            return Ok(());
        }
        let (user, status) = (&self.person.user, self.client.status());
        let hashes = (self.client.hashes(), self.client.server_hashes());
        let edits = self.client.unacknowledged();
        Err(format!("{user}: {status:?}, {edits} edits not acknowledged, hashes {hashes:?}"))
    }

    /// Closes the connection.
    pub(in crate::demo) async fn close(self) {
        self.client.close().await;
    }

    async fn confirm(&mut self, patience: Duration) -> bool {
        let confirmed =
            tokio::time::timeout(patience, self.client.wait_acknowledged()).await.is_ok();
        if confirmed {
            for write in self.waiting.drain(..) {
                self.shared.ledger.acknowledged(write);
            }
        }
        confirmed
    }

    fn create(&mut self) {
        let (id, cells) = invent::new_row(&mut self.rng, &self.person, self.writes);
        let change = Change::Set { cells: cells.clone(), creates: true };
        let row = id.clone();
        self.edit(&id, change, move |client| {
            let cells = to_cells(cells);
            client.edit(|tx| tx.set_row(TABLE, &*row, cells))
        });
        self.own.push(id);
    }

    fn update(&mut self) {
        let own = self.rng.random_bool(0.2).then(|| self.own.last()).flatten();
        let Some(row) = own.or_else(|| invent::choose(&mut self.rng, &self.rows)).cloned() else {
            return;
        };
        let changed = invent::change(&mut self.rng, &self.person, self.writes);
        // Someone may have deleted it, or the first sync is still under way.
        if !self.client.read(|store| store.has_row(TABLE, &*row)) {
            return;
        }
        let change = Change::Set { cells: changed.clone(), creates: false };
        let id = row.clone();
        self.edit(&id, change, move |client| {
            let cells = to_cells(changed);
            client.edit(|tx| {
                cells.into_iter().try_for_each(|(id, cell)| tx.set_cell(TABLE, &*row, id, cell))
            })
        });
    }

    fn delete(&mut self) {
        if self.own.is_empty() {
            return;
        }
        let row = self.own.remove(0);
        let id = row.clone();
        self.edit(&id, Change::Delete, move |client| client.edit(|tx| tx.del_row(TABLE, &*row)));
    }

    fn edit(
        &mut self,
        row: &str,
        change: Change,
        edit: impl FnOnce(&SyncClient) -> Result<(), EditError>,
    ) {
        let write = self.shared.ledger.begin(Via::Sync, row, change);
        match edit(&self.client) {
            Ok(()) => {
                self.shared.tally.edited();
                self.waiting.push(write);
            }
            Err(error) => {
                self.shared.ledger.refused(write);
                self.shared.tally.failed(format!("an edit: {error}"));
            }
        }
    }
}

impl std::fmt::Debug for SyncUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncUser").field("person", &self.person).finish_non_exhaustive()
    }
}

fn to_cells(fields: Map<String, Value>) -> Vec<(String, Cell)> {
    // What is invented is text, numbers and booleans, which all are cells.
    let cell = |(id, value): (String, Value)| Some((id, Cell::from_json(&value).ok()?));
    fields.into_iter().filter_map(cell).collect()
}

impl Acts for SyncUser {
    async fn act(&mut self) {
        self.writes += 1;
        match self.rng.random_range(0..10) {
            0 => self.create(),
            1 if self.person.role.may_delete() => self.delete(),
            _ => self.update(),
        }
        if !self.waiting.is_empty() {
            self.confirm(PATIENCE).await;
        }
    }

    fn rng(&mut self) -> &mut StdRng {
        &mut self.rng
    }

    fn scale(&self) -> &Scale {
        &self.shared.scale
    }
}

//! Creates whose outcome may be unknown: asked for once, and told from their own repetition (design §5, "Ids never change").
//!
//! Where legacy does not take the caller's id, what it is asked to make is kept before it is asked. A later try, of whichever
//! process, then knows what may be there already: with `create = "key"` it repeats that very request, with `"probe"` it looks
//! for the row by its unique cell.

use mergeable_store::Cell;
use serde_json::Value;

use super::classify::{Asked, Meaning, classify};
use super::deliver::Delivery;
use super::{Delivered, DeliveryError, OutboxContext, bury, keep, not_before, wait_out};
use crate::legacy::Purpose;
use crate::migration::{Answer, Body, Failure, RowId};
use crate::resource::{CreateMode, Resource, RowCells};
use crate::storage::{AskedCreate, Op, OutboxEntry, StorageError};
use crate::sync::path::Outcome;

/// What is known of a row's stay in legacy before a delivery.
#[derive(Debug)]
pub(super) struct Known {
    /// The id that it has there; `None` if legacy makes ids and is not known to have made this row's.
    pub(super) legacy_id: Option<RowId>,
    /// The create that legacy was asked for, or is about to be, and whose outcome is not known.
    pub(super) asked: Option<AskedCreate>,
    /// Whether an earlier try asked for it.
    pub(super) asked_before: bool,
    /// Whether it is by its key that legacy tells a repetition.
    by_key: bool,
}

impl Known {
    pub(super) async fn of(
        context: &OutboxContext,
        entry: &OutboxEntry,
        resource: &Resource,
    ) -> Result<Self, StorageError> {
        let (name, row) = (entry.entry.resource.clone(), entry.entry.row.clone());
        let asked = match resource.create {
            CreateMode::ClientId => None,
            CreateMode::Key | CreateMode::Probe => {
                context.storage.asked_create(name.clone(), row.clone()).await?
            }
        };
        let legacy_id = if resource.legacy_makes_ids() {
            match context.registry.aliases().legacy_id(resource, &row).await? {
                Some(id) => Some(id),
                // A row that legacy made has its id here, too.
                None => context.storage.path_of_row(name, row.clone()).await?.map(|_| row),
            }
        } else {
            Some(row)
        };
        let (asked_before, by_key) = (asked.is_some(), resource.create == CreateMode::Key);
        Ok(Self { legacy_id, asked, asked_before, by_key })
    }

    /// Whether a create would be the same request again.
    pub(super) const fn repeats(&self) -> bool {
        self.by_key && self.asked_before
    }

    /// Whether only the same request again tells which row it has made.
    pub(super) const fn asks_again(&self) -> bool {
        self.repeats() && self.legacy_id.is_none()
    }

    /// What legacy was asked to make.
    pub(super) fn asked_body(&self) -> Option<Value> {
        self.asked.as_ref().map(|asked| asked.body.clone())
    }
}

/// What legacy's list says of a create.
enum Probed {
    /// Nothing has the unique value.
    Nothing,
    /// The row that was asked for has it.
    Ours(RowCells),
    /// Somebody else's row has it.
    Another,
    /// It cannot be told.
    Unclear(&'static str),
}

/// Why a probe said nothing.
enum Silent {
    /// No answer.
    Away(Failure),
    /// Legacy says "later".
    Later(String),
}

impl Delivery<'_> {
    /// Keeps what legacy is about to be asked to make. Gives what is to be sent.
    pub(super) async fn about_to_create(
        &mut self,
        body: Option<Value>,
    ) -> Result<Value, DeliveryError> {
        let body = body.unwrap_or_default();
        match (self.resource.create, &self.known.asked) {
            (CreateMode::ClientId, _) => return Ok(body),
            // The same request: with another body it would be another one.
            (CreateMode::Key, Some(asked)) => return Ok(asked.body.clone()),
            (CreateMode::Key | CreateMode::Probe, _) => {}
        }
        let asked = AskedCreate {
            resource: self.entry.entry.resource.clone(),
            row: self.entry.entry.row.clone(),
            seq: self.entry.seq,
            body: body.clone(),
            asked_ms: self.context.clock.now_ms(),
        };
        self.context.storage.commit(vec![Op::AskCreate(asked.clone())]).await?;
        self.known.asked = Some(asked);
        Ok(body)
    }

    /// Legacy gave no answer to a create.
    pub(super) async fn unanswered(&self, failure: &Failure) -> Result<Delivered, DeliveryError> {
        if !failure.may_be_done() {
            if !self.known.asked_before && self.known.asked.is_some() {
                self.forget_asked().await;
            }
            return Ok(wait_out(self.context, self.entry, &failure.to_string()).await);
        }
        let body = self.known.asked.as_ref().map(|asked| &asked.body);
        let cannot_be_probed = self.resource.create == CreateMode::Probe
            && body.and_then(|body| self.resource.probe_url(body)).is_none();
        if cannot_be_probed {
            return Ok(bury(self.context, self.entry, NO_UNIQUE_VALUE.to_owned()).await);
        }
        Ok(wait_out(self.context, self.entry, &failure.to_string()).await)
    }

    async fn forget_asked(&self) {
        let (resource, row) = (self.entry.entry.resource.clone(), self.entry.entry.row.clone());
        keep(self.context, Op::EndCreate { resource, row }).await;
    }

    /// Legacy has made the row, now or in an earlier try.
    pub(super) async fn made(
        &self,
        now: RowCells,
        sent_ms: u64,
    ) -> Result<Delivered, DeliveryError> {
        let id = self.learn(&now);
        if self.resource.create == CreateMode::Key && self.known.asked_before {
            // The answer may be the first one's, and say nothing of what happened since.
            return self.found_as(&id).await;
        }
        self.taken(now, sent_ms).await
    }

    /// The row's id in legacy; whatever comes under it from now on is the row's.
    fn learn(&self, now: &RowCells) -> RowId {
        let (resource, row) = (&self.entry.entry.resource, &self.entry.entry.row);
        let id = self.resource.row_id(now).unwrap_or_else(|| row.clone());
        if self.resource.legacy_makes_ids() && id != *row {
            self.context.registry.aliases().learn(resource, row, &id);
        }
        id
    }

    async fn found_as(&self, id: &RowId) -> Result<Delivered, DeliveryError> {
        let asked_ms = self.context.clock.now_ms();
        match self.read_as(id).await {
            Ok(Some(now)) => self.found(now, asked_ms).await,
            Ok(None) => self.gone().await,
            Err(reason) => Ok(self.later(&reason).await),
        }
    }

    /// The row is there, as it was read after `asked_ms`: what is still owed of it goes on as a change of that.
    async fn found(&self, now: RowCells, asked_ms: u64) -> Result<Delivered, DeliveryError> {
        let (resource, row) = (&self.entry.entry.resource, &self.entry.entry.row);
        match self.context.traffic.arrive(resource, row, asked_ms) {
            Ok(_arriving) => self.settle(Outcome::Found(now)).await,
            Err(_) => Ok(self.later("the row was deleted meanwhile").await),
        }
    }

    /// Legacy refuses to do again what an earlier try may have done.
    pub(super) async fn not_repeated(&self, meaning: Meaning) -> Delivered {
        let error = "an earlier try may have made the row, and legacy refuses to repeat it";
        if meaning == Meaning::Conflict {
            // The earlier one may be under way.
            return self.within_budget(error.to_owned()).await;
        }
        bury(self.context, self.entry, error.to_owned()).await
    }

    /// With `create = "probe"`, finds out what became of a create whose outcome is unknown. Gives nothing if the entry can go
    /// on: there is no such create, or legacy does not have the row and will not get it by that any more.
    pub(super) async fn settle_asked(&mut self) -> Result<Option<Delivered>, DeliveryError> {
        let Some(asked) = &self.known.asked else { return Ok(None) };
        let is_known = self.resource.legacy_makes_ids() && self.known.legacy_id.is_some();
        if self.resource.create != CreateMode::Probe || is_known {
            return Ok(None);
        }
        let now_ms = self.context.clock.now_ms();
        let probed = match self.probe(asked).await {
            Ok(probed) => probed,
            Err(Silent::Away(failure)) => {
                return Ok(Some(wait_out(self.context, self.entry, &failure.to_string()).await));
            }
            Err(Silent::Later(error)) => return Ok(Some(self.within_budget(error).await)),
        };
        let found = match &probed {
            Probed::Nothing => "nothing",
            Probed::Ours(_) => "ours",
            Probed::Another => "another",
            Probed::Unclear(_) => "unclear",
        };
        metrics::counter!("crossfade_outbox_probes_total", "found" => found).increment(1);
        let ended = match probed {
            Probed::Ours(now) => {
                self.learn(&now);
                let now = self.as_in_store(now).await?;
                self.found(now, now_ms).await?
            }
            Probed::Another => {
                tracing::warn!(seq = self.entry.seq.0, "another row has the unique value: refused");
                metrics::counter!("crossfade_outbox_refused_total").increment(1);
                self.settle(Outcome::Refused(None)).await?
            }
            Probed::Unclear(error) => bury(self.context, self.entry, error.to_owned()).await,
            Probed::Nothing => {
                let settled_ms = self.context.intents.settled_ms(asked.asked_ms);
                if now_ms < settled_ms {
                    let reason = "it is not known yet whether legacy made the row";
                    not_before(self.context, self.entry, settled_ms, reason).await
                } else {
                    self.forget_asked().await;
                    (self.known.asked, self.known.asked_before) = (None, false);
                    return Ok(None);
                }
            }
        };
        Ok(Some(ended))
    }

    /// Looks for the row by its unique cell. Crossfade's own credential sees what the user may not: that a value is taken.
    async fn probe(&self, asked: &AskedCreate) -> Result<Probed, Silent> {
        let Some(url) = self.resource.probe_url(&asked.body) else {
            return Ok(Probed::Unclear(NO_UNIQUE_VALUE));
        };
        let answer = self.ask_for(url, Purpose::Probe).await.map_err(Silent::Away)?;
        let status = answer.status.as_u16();
        match classify(Asked::Update, answer.status) {
            Meaning::Taken => {}
            Meaning::Later | Meaning::NotAllowedIn => {
                return Err(Silent::Later(format!("legacy answered a probe with {status}")));
            }
            _ => return Ok(Probed::Unclear("legacy refuses to be asked whether it made the row")),
        }
        let Some(rows) = self.rows_of(&answer) else {
            return Ok(Probed::Unclear(
                "legacy's list cannot be read, which tells whether it made the row",
            ));
        };
        Ok(self.judge(asked, rows).await)
    }

    fn rows_of(&self, answer: &Answer) -> Option<Vec<RowCells>> {
        let Body::Whole(body) = &answer.body else { return None };
        let body: Value = serde_json::from_slice(body).ok()?;
        self.resource.envelope.rows(&body)?.iter().map(|row| self.read_row(row)).collect()
    }

    async fn judge(&self, asked: &AskedCreate, mut rows: Vec<RowCells>) -> Probed {
        let Some((_, unique)) = self.resource.probe() else {
            return Probed::Unclear(NO_UNIQUE_VALUE);
        };
        if rows.len() > 1 {
            return Probed::Unclear("several rows of legacy have the unique value");
        }
        let Some(row) = rows.pop() else { return Probed::Nothing };
        if !is_as_sent(asked, &unique.id, &row) {
            return Probed::Unclear(
                "legacy's list gives a row with another value than it is asked for",
            );
        }
        let id = self.resource.row_id(&row);
        if !self.resource.legacy_makes_ids() {
            // The caller's id, if legacy takes it, is proof.
            let ours = id.as_ref() == Some(&self.entry.entry.row);
            return if ours { Probed::Ours(row) } else { Probed::Another };
        }
        let known_as = match &id {
            Some(id) => self.context.registry.aliases().row_of(self.resource, id).await.ok(),
            None => None,
        };
        let taken =
            known_as.is_some_and(|of| Some(&of) != id.as_ref() && of != self.entry.entry.row);
        let fields = asked.body.as_object().into_iter().flatten();
        let as_sent = fields.into_iter().all(|(field, _)| is_as_sent(asked, field, &row));
        if as_sent && !taken { Probed::Ours(row) } else { Probed::Another }
    }
}

const NO_UNIQUE_VALUE: &str = "it is not known whether legacy made the row, and it cannot be asked: the row had no value in its unique cell";

/// Whether a row has in a cell what was sent for it.
fn is_as_sent(asked: &AskedCreate, cell: &str, row: &RowCells) -> bool {
    let sent = asked.body.get(cell).and_then(|value| Cell::from_json(value).ok());
    match (sent, row.get(cell)) {
        (Some(sent), Some(there)) => sent == *there || sent.to_json() == there.to_json(),
        (Some(Cell::Null) | None, None) => true,
        _ => false,
    }
}

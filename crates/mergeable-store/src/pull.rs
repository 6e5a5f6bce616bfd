//! Pulling what another store has: the asker's side of the ladder, one request at a time.

use crate::hash::ContentHashes;
use crate::hlc::{is_alphabetic, random_id};
use crate::json::Json;
use crate::message::{self, Say};
use crate::{Changes, MergeableStore, Millis, Random, Text};

const TRANSACTION_LENGTH: usize = 11;

/// A new transaction id.
pub(crate) fn transaction_id(rng: &mut dyn Random) -> Text {
    random_id(TRANSACTION_LENGTH, rng).into()
}

/// A new request id within a transaction.
pub(crate) fn request_id(transaction: &Text, rng: &mut dyn Random) -> Text {
    format!("{transaction}.{}", random_id(4, rng)).into()
}

/// A transaction id taken over from a peer, or a new one where the peer's is not of TinyBase's form.
pub(crate) fn transaction_of(request: Option<&Text>, rng: &mut dyn Random) -> Text {
    match request {
        Some(id) if id.as_str().is_some_and(|id| is_alphabetic(id, TRANSACTION_LENGTH)) => {
            id.clone()
        }
        _ => transaction_id(rng),
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Tables,
    Rows,
    Cells,
    Values,
}

/// A pull under way.
#[derive(Clone, Debug)]
pub(crate) struct Pull {
    /// The hashes that the other store announced.
    pub(crate) announced: ContentHashes,
    /// When the answer awaited is overdue.
    pub(crate) deadline: Millis,
    transaction: Text,
    request: Text,
    step: Step,
    collected: Changes,
}

/// How a pull goes on after an answer.
pub(crate) enum Next {
    /// Send this remainder and wait.
    Ask(String),
    /// Everything is here, to be merged at once.
    Done(Changes),
    /// The answer is none to what was asked.
    Failed,
}

impl Pull {
    /// Begins to pull, if the announced hashes differ from the own ones: the pull and the remainder to send.
    pub(crate) fn start(
        store: &MergeableStore,
        announced: ContentHashes,
        transaction: Text,
        deadline: Millis,
        rng: &mut dyn Random,
    ) -> Option<(Self, String)> {
        let own = store.hashes();
        if own == announced {
            return None;
        }
        let (request, collected) = (Text::default(), Changes::new());
        let mut pull =
            Self { announced, deadline, transaction, request, step: Step::Tables, collected };
        let remainder = if own.tables == announced.tables {
            pull.ask_values(store, rng)
        } else {
            pull.ask(Step::Tables, &Say::GetTableDiff(&store.table_hashes()), rng)
        };
        Some((pull, remainder))
    }

    /// Whether this is the request whose answer is awaited.
    pub(crate) fn awaits(&self, request: Option<&Text>) -> bool {
        request == Some(&self.request)
    }

    /// Takes the answer to the latest request.
    pub(crate) fn answer(
        &mut self,
        store: &MergeableStore,
        body: &Json,
        deadline: Millis,
        rng: &mut dyn Random,
    ) -> Next {
        self.deadline = deadline;
        let step = match self.step {
            Step::Tables => message::read_table_diff(body).map(|(changes, differing)| {
                self.collected.extend(changes);
                (!differing.is_empty()).then(|| {
                    self.ask(Step::Rows, &Say::GetRowDiff(&store.row_hashes(&differing)), rng)
                })
            }),
            Step::Rows => message::read_row_diff(body).map(|(changes, differing)| {
                self.collected.extend(changes);
                (!differing.is_empty()).then(|| {
                    self.ask(Step::Cells, &Say::GetCellDiff(&store.cell_hashes(&differing)), rng)
                })
            }),
            Step::Cells => message::read_tables(body).map(|changes| {
                self.collected.extend(changes);
                None
            }),
            Step::Values => match message::read_values(body) {
                Some(changes) => {
                    self.collected.extend(changes);
                    return Next::Done(std::mem::take(&mut self.collected));
                }
                None => None,
            },
        };
        match step {
            None => Next::Failed,
            Some(Some(remainder)) => Next::Ask(remainder),
            Some(None) if store.hashes().values != self.announced.values => {
                Next::Ask(self.ask_values(store, rng))
            }
            Some(None) => Next::Done(std::mem::take(&mut self.collected)),
        }
    }

    fn ask_values(&mut self, store: &MergeableStore, rng: &mut dyn Random) -> String {
        self.ask(Step::Values, &Say::GetValueDiff(&store.value_hashes()), rng)
    }

    fn ask(&mut self, step: Step, say: &Say<'_>, rng: &mut dyn Random) -> String {
        self.step = step;
        self.request = request_id(&self.transaction, rng);
        say.remainder(Some(&self.request))
    }
}

/// Answers GetTableDiff, GetRowDiff, GetCellDiff or GetValueDiff, which any store does at any time.
pub(crate) fn answer_diff(
    store: &MergeableStore,
    request: Option<&Text>,
    body: &message::Body,
) -> Option<String> {
    use message::Body;
    Some(match body {
        Body::GetTableDiff(hashes) => {
            let (changes, differing) = store.table_diff(hashes);
            Say::AnswerTables(&changes, &differing).remainder(request)
        }
        Body::GetRowDiff(hashes) => {
            let (changes, differing) = store.row_diff(hashes);
            Say::AnswerRows(&changes, &differing).remainder(request)
        }
        Body::GetCellDiff(hashes) => Say::AnswerCells(&store.cell_diff(hashes)).remainder(request),
        Body::GetValueDiff(hashes) => {
            Say::AnswerValues(&store.value_diff(hashes)).remainder(request)
        }
        Body::Response(_)
        | Body::GetContentHashes
        | Body::ContentHashes(_)
        | Body::ContentDiff(_) => return None,
    })
}

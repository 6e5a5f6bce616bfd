//! What the caller of a [`Star`](super::Star) has to carry out.

use std::sync::Arc;

use crate::{
    CellChange, Close, ConnectionId, ContainerChange, MAX_AHEAD_MS, Merged, Millis, ValueChange,
};

use super::Refusal;

/// Bounds and habits of a [`Star`](super::Star).
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long an answer may take, in milliseconds; after that the pull is given up. TinyBase: 1000.
    pub request_timeout_ms: Millis,
    /// How long a fragmented message may stay unfinished, in milliseconds. TinyBase: 1000.
    pub fragment_timeout_ms: Millis,
    /// Send messages longer than this many bytes in fragments; `None`: never, as TinyBase by default.
    pub fragment_bytes: Option<usize>,
    /// How far ahead of `now` a stamp may be, in milliseconds. Never more than TinyBase's five minutes.
    pub max_ahead_ms: Millis,
    /// How to close a connection that sends stamps further ahead; `None`: ignore the message, as TinyBase does.
    pub ahead_close: Option<Close>,
    /// While draining: how long to wait, in milliseconds, before asking a client again for its hashes.
    pub drain_pause_ms: Millis,
    /// About how many bytes of rows an answer to a pull may have; the rest follows in ContentDiffs, by
    /// [`Star::send_backlog`](super::Star::send_backlog). A TinyBase client takes no more than 16 MiB and waits a second.
    pub answer_bytes: usize,
    /// Whether broadcasts wait for [`Star::flush`](super::Star::flush), so that what many calls merged leaves in one frame.
    /// Otherwise each call broadcasts what it merged.
    pub coalesce: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_timeout_ms: 1000,
            fragment_timeout_ms: 1000,
            fragment_bytes: None,
            max_ahead_ms: MAX_AHEAD_MS,
            ahead_close: None,
            drain_pause_ms: 100,
            answer_bytes: 256 << 10,
            coalesce: false,
        }
    }
}

/// Who gets a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipients {
    /// One connection.
    One(ConnectionId),
    /// All connections, but for the one whose own edits these are.
    All {
        /// The one left out, if there is one.
        except: Option<ConnectionId>,
    },
}

impl Recipients {
    /// Whether this connection is among them.
    #[must_use]
    pub fn contains(&self, id: &ConnectionId) -> bool {
        match self {
            Self::One(one) => one == id,
            Self::All { except } => except.as_ref() != Some(id),
        }
    }
}

/// A frame to send, written once for all its recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// To whom.
    pub to: Recipients,
    /// The text frame.
    pub frame: Arc<str>,
}

/// What has to happen after a call: first everything `changed*` lists is committed to storage, then `send` is sent in order.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "changes have to be stored, then frames sent"]
pub struct Effects {
    /// Frames, in order.
    pub send: Vec<Outgoing>,
    /// Cells with a new stamp, restamped ones included.
    pub changed: Vec<CellChange>,
    /// Values with a new stamp, restamped ones included.
    pub changed_values: Vec<ValueChange>,
    /// Containers with a new HLC.
    pub changed_containers: Vec<ContainerChange>,
    /// What was not merged, and why.
    pub refused: Vec<Refusal>,
    /// Connections under [`Star::drain`](super::Star::drain) whose hashes now equal the store's, these changes included.
    pub drained: Vec<ConnectionId>,
    /// Connections whose hashes, just told, equal the store's, these changes included: they have everything.
    pub equal: Vec<ConnectionId>,
    /// Connections that did not answer in time; they are not closed for it.
    pub timed_out: Vec<ConnectionId>,
    /// Connections to close, already forgotten here: what they would have to be sent is larger than a frame may be.
    pub close: Vec<(ConnectionId, Close)>,
}

impl Effects {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn record(&mut self, merged: Merged) {
        self.changed.extend(merged.cells);
        self.changed_values.extend(merged.values);
        self.changed_containers.extend(merged.containers);
    }
}

//! What `S` knows of a connection.

use super::backlog::Backlog;
use super::{Call, Star};
use crate::fragment::Reassembly;
use crate::hash::ContentHashes;
use crate::pull::Pull;
use crate::{ConnectionId, Millis, Text};

/// A connection. Nearly all are at rest at nearly all times, and then take no more than a pointer.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// Whether it has told its hashes: then it takes ContentDiffs.
    pub(super) live: bool,
    state: Option<Box<PeerState>>,
}

/// What is under way with a connection.
#[derive(Debug, Default)]
pub(super) struct PeerState {
    pub(super) fragments: Reassembly,
    /// A request for the client's hashes under way: its id and when it is overdue.
    pub(super) asked: Option<(Text, Millis)>,
    /// The one pull under way.
    pub(super) pull: Option<Pull>,
    /// Hashes heard while pulling, to be looked at afterwards; the latest replace earlier ones.
    pub(super) again: Option<ContentHashes>,
    pub(super) draining: bool,
    /// When to ask for hashes again: while draining, and after a pull that was not answered in time.
    pub(super) ask_at: Option<Millis>,
    /// Requests in a row that were not answered in time.
    pub(super) unanswered: u8,
    /// The deadline under which the star has noted this connection.
    noted: Option<Millis>,
    /// What it lacks and is still to be sent.
    pub(super) backlog: Backlog,
    /// Whether it lacks something by the server's doing: a look at its hashes would tell nothing new.
    pub(super) behind: bool,
    /// When the backlog is sent even though the client has not told its hashes.
    pub(super) push_at: Option<Millis>,
}

impl Peer {
    /// What is under way, to be changed.
    pub(super) fn state(&mut self) -> &mut PeerState {
        self.state.get_or_insert_default()
    }

    /// Whether it is still to be sent what it lacks.
    pub(super) fn is_behind(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.behind)
    }

    fn noted(&self) -> Option<Millis> {
        self.state.as_ref().and_then(|state| state.noted)
    }
}

impl PeerState {
    fn next_deadline(&self) -> Option<Millis> {
        let asked = self.asked.as_ref().map(|(_, deadline)| *deadline);
        let pull = self.pull.as_ref().map(|pull| pull.deadline);
        let all = [asked, pull, self.ask_at, self.push_at, self.fragments.next_deadline()];
        all.into_iter().flatten().min()
    }

    /// Whether nothing of it needs to be remembered. Everything else under way has a deadline.
    fn is_at_rest(&self) -> bool {
        self.next_deadline().is_none() && !self.draining && !self.behind && self.unanswered == 0
    }
}

impl Star {
    /// Ends a call about a connection.
    pub(super) fn finish(&mut self, call: Call<'_>, id: &ConnectionId) -> super::Effects {
        self.note(id);
        call.effects
    }

    /// Notes when the connection has to be looked at again, and forgets what is over.
    pub(super) fn note(&mut self, id: &ConnectionId) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        let Some(state) = &mut peer.state else {
            return;
        };
        let deadline = state.next_deadline();
        if deadline != state.noted {
            if let Some(was) = state.noted {
                self.timed.remove(&(was, id.clone()));
            }
            if let Some(deadline) = deadline {
                self.timed.insert((deadline, id.clone()));
            }
            state.noted = deadline;
        }
        if state.is_at_rest() {
            peer.state = None;
        }
    }

    /// A connection is gone.
    pub fn disconnect(&mut self, id: &ConnectionId) {
        let Some(peer) = self.peers.remove(id) else {
            return;
        };
        if let Some(deadline) = peer.noted() {
            self.timed.remove(&(deadline, id.clone()));
        }
        if let Some(state) = peer.state {
            self.backlog_rows -= state.backlog.rows();
        }
        self.backlogged.retain(|one| one != id);
    }
}

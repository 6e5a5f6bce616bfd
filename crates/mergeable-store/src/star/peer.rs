//! What `S` knows of a connection.

use super::{Call, Star};
use crate::fragment::Reassembly;
use crate::hash::ContentHashes;
use crate::pull::Pull;
use crate::{ConnectionId, Millis, Text};

/// A connection. Nearly all are at rest at nearly all times, and then take no more than a pointer.
#[derive(Debug, Default)]
pub(super) struct Peer(Option<Box<PeerState>>);

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
}

impl Peer {
    /// What is under way, to be changed.
    pub(super) fn state(&mut self) -> &mut PeerState {
        self.0.get_or_insert_default()
    }

    fn noted(&self) -> Option<Millis> {
        self.0.as_ref().and_then(|state| state.noted)
    }
}

impl PeerState {
    fn next_deadline(&self) -> Option<Millis> {
        let asked = self.asked.as_ref().map(|(_, deadline)| *deadline);
        let pull = self.pull.as_ref().map(|pull| pull.deadline);
        [asked, pull, self.ask_at, self.fragments.next_deadline()].into_iter().flatten().min()
    }

    /// Whether nothing of it needs to be remembered. Everything else under way has a deadline.
    fn is_at_rest(&self) -> bool {
        self.next_deadline().is_none() && !self.draining && self.unanswered == 0
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
        let Some(state) = &mut peer.0 else {
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
            peer.0 = None;
        }
    }

    /// A connection is gone.
    pub fn disconnect(&mut self, id: &ConnectionId) {
        if let Some(deadline) = self.peers.remove(id).and_then(|peer| peer.noted()) {
            self.timed.remove(&(deadline, id.clone()));
        }
    }
}

//! The exchange of hashes with one client: asking for them, pulling what differs, draining.

use super::peer::{Peer, PeerState};
use super::{Call, MAX_UNANSWERED, Policy, Star};
use crate::hash::ContentHashes;
use crate::json::Json;
use crate::message::{self, Say};
use crate::pull::{self, Next, Pull};
use crate::{Close, ConnectionId, Text};

impl Star {
    /// An answer counts only if this client was asked and this is the request.
    pub(super) fn answered(
        &mut self,
        call: &mut Call<'_>,
        from: &ConnectionId,
        request: Option<&Text>,
        body: &Json,
        policy: &mut dyn Policy,
    ) -> Result<(), Close> {
        let Some(peer) = self.peers.get_mut(from).map(Peer::state) else {
            return Ok(());
        };
        if let Some((asked, _)) = &peer.asked
            && request == Some(asked)
        {
            (peer.asked, peer.unanswered) = (None, 0);
            match message::read_content_hashes(body) {
                Some(hashes) => self.heard(call, from, hashes, None),
                None => {
                    peer.ask_at = peer.draining.then_some(call.now + self.limits.drain_pause_ms)
                }
            }
            return Ok(());
        }
        let Some(pull) = peer.pull.as_mut().filter(|pull| pull.awaits(request)) else {
            return Ok(());
        };
        peer.unanswered = 0;
        let deadline = call.now + self.limits.request_timeout_ms;
        match pull.answer(&self.store, body, deadline, call.rng) {
            Next::Ask(remainder) => self.send(call, from, remainder),
            Next::Failed => self.pulled(call, from),
            Next::Done(changes) => {
                self.apply(call, from, &changes, policy)?;
                self.pulled(call, from);
            }
        }
        Ok(())
    }

    /// A client has told its hashes.
    pub(super) fn heard(
        &mut self,
        call: &mut Call<'_>,
        from: &ConnectionId,
        hashes: ContentHashes,
        request: Option<&Text>,
    ) {
        let Some(peer) = self.peers.get_mut(from).map(Peer::state) else {
            return;
        };
        if hashes == self.store.hashes() {
            peer.again = None;
            if peer.pull.is_none() {
                Self::settled(call, from, peer);
            }
            return;
        }
        // While the client is being sent what it lacks, hashes differ for that reason.
        if peer.pull.is_some() || peer.behind {
            peer.again = Some(hashes);
            return;
        }
        let transaction = pull::transaction_of(request, call.rng);
        let deadline = call.now + self.limits.request_timeout_ms;
        if let Some((pull, remainder)) =
            Pull::start(&self.store, hashes, transaction, deadline, call.rng)
        {
            peer.pull = Some(pull);
            self.send(call, from, remainder);
        }
    }

    /// A pull is over, with or without success.
    pub(super) fn pulled(&mut self, call: &mut Call<'_>, from: &ConnectionId) {
        let Some(peer) = self.peers.get_mut(from).map(Peer::state) else {
            return;
        };
        let announced = peer.pull.take().map(|pull| pull.announced);
        if !peer.behind
            && let Some(hashes) = peer.again.take()
        {
            return self.heard(call, from, hashes, None);
        }
        let own = self.store.hashes();
        if announced == Some(own) {
            return Self::settled(call, from, peer);
        }
        if peer.behind {
            return;
        }
        // The client lacks something, perhaps because it arrived while it was still loading: let it look.
        peer.ask_at = peer.draining.then_some(call.now + self.limits.drain_pause_ms);
        self.send_unsent(call);
        let transaction = pull::transaction_id(call.rng);
        self.send(call, from, Say::ContentHashes(own).remainder(Some(&transaction)));
    }

    pub(super) fn settled(call: &mut Call<'_>, id: &ConnectionId, peer: &mut PeerState) {
        call.effects.equal.push(id.clone());
        if std::mem::take(&mut peer.draining) {
            peer.ask_at = None;
            call.effects.drained.push(id.clone());
        }
    }

    pub(super) fn ask(&mut self, call: &mut Call<'_>, id: &ConnectionId) {
        let Some(peer) = self.peers.get_mut(id).map(Peer::state) else {
            return;
        };
        let request = pull::request_id(&pull::transaction_id(call.rng), call.rng);
        let remainder = Say::GetContentHashes.remainder(Some(&request));
        peer.asked = Some((request, call.now + self.limits.request_timeout_ms));
        peer.ask_at = None;
        self.send(call, id, remainder);
    }

    pub(super) fn expire(&mut self, call: &mut Call<'_>, id: &ConnectionId) {
        let Some(peer) = self.peers.get_mut(id).map(Peer::state) else {
            return;
        };
        peer.fragments.expire(call.now);
        let asked = peer.asked.take_if(|(_, deadline)| *deadline <= call.now).is_some();
        let pull = peer.pull.take_if(|pull| pull.deadline <= call.now).is_some();
        if asked || pull {
            call.effects.timed_out.push(id.clone());
            peer.unanswered = peer.unanswered.saturating_add(1);
            let again = peer.draining || peer.unanswered < MAX_UNANSWERED;
            if again && peer.asked.is_none() {
                peer.ask_at = Some(call.now);
            }
        }
        let due = peer.ask_at.is_some_and(|at| at <= call.now);
        let push = peer.push_at.take_if(|at| *at <= call.now).is_some();
        let behind = peer.behind;
        if let Some(hashes) = peer.again.take_if(|_| pull && !behind) {
            self.heard(call, id, hashes, None);
        }
        if push {
            self.release(id);
        }
        if due {
            self.ask(call, id);
        }
    }
}

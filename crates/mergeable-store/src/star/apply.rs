//! Taking changes in and passing them on.

use super::unsent::{Unsent, halves};
use super::{Call, Outgoing, Policy, Recipients, Refusal, Star, Target, policy};
use crate::message::Say;
use crate::{
    Changes, Close, ConnectionId, EditError, Hlc, MAX_AHEAD_MS, MAX_FRAME_BYTES, Merged, Millis,
    Writer, fragment, pull,
};

/// A longer ContentDiff goes in several, in bytes: so no broadcast comes near the limit of a frame, and a client can show
/// one part while the next is on its way.
const LONG_DIFF_BYTES: usize = 1 << 20;

impl Star {
    /// Judges, merges and passes on what a client sent or was asked for.
    pub(super) fn apply(
        &mut self,
        call: &mut Call<'_>,
        from: &ConnectionId,
        changes: &Changes,
        policy: &mut dyn Policy,
    ) -> Result<(), Close> {
        let limit = call.now.saturating_add(self.limits.max_ahead_ms.min(MAX_AHEAD_MS));
        if changes.hlcs().any(|hlc| hlc.time_ms() > limit) {
            return self.limits.ahead_close.clone().map_or(Ok(()), Err);
        }
        let judged = policy::judge(&self.store, call.now, from, changes, policy)?;
        // The one reason for which a merge is refused was looked at above.
        let Ok(merged) = self.store.merge(call.now, &judged.accepted) else {
            return Ok(());
        };
        let merged = merged.by(&Writer::Connection(from.clone()));
        let restamped = self.restamp(call.now, &judged.refused);
        if !merged.is_empty() {
            // What was accepted is what the others have to merge.
            self.unsent.add(judged.accepted, Some(from));
        }
        if !restamped.is_empty() {
            let restamped = restamped.to_changes();
            if self.limits.coalesce {
                self.unsent.add(restamped, None);
            } else {
                self.unsent.add(restamped.clone(), Some(from));
                let transaction = pull::transaction_id(call.rng);
                self.send(call, from, Say::ContentDiff(&restamped).remainder(Some(&transaction)));
            }
        }
        self.broadcast(call);
        call.effects.record(merged);
        call.effects.record(restamped);
        call.effects.refused.extend(judged.refused);
        Ok(())
    }

    /// Gives what was kept a stamp newer than the refused one.
    pub(super) fn restamp(&mut self, now: Millis, refused: &[Refusal]) -> Merged {
        let highest = refused.iter().map(|refusal| refusal.hlc).max().unwrap_or(Hlc::EMPTY);
        if highest.is_empty() && refused.is_empty() {
            return Merged::default();
        }
        self.store.clock.seen(now, highest);
        let result = self.store.edit(now, |tx| {
            refused.iter().try_for_each(|refusal| match &refusal.target {
                Target::Cell { table, row, cell } => tx.restamp_cell(table, row, cell),
                Target::Value { value } => tx.restamp_value(value),
                Target::Container(_) => Ok(()),
            })
        });
        result.map_or_else(|_: EditError| Merged::default(), |((), merged)| merged)
    }

    /// Sends what is not yet broadcast, unless it waits for [`Star::flush`].
    pub(super) fn broadcast(&mut self, call: &mut Call<'_>) {
        if !self.limits.coalesce {
            self.send_unsent(call);
        }
    }

    /// Sends what is not yet broadcast, in one frame unless that would be long.
    pub(super) fn send_unsent(&mut self, call: &mut Call<'_>) {
        let Unsent { changes, writers } = std::mem::take(&mut self.unsent);
        let except = writers.only().cloned();
        let left_out = except.as_ref().is_some_and(|id| self.peers.contains_key(id));
        if !changes.is_empty() && self.peers.len() > usize::from(left_out) {
            self.send_diff(call, &Recipients::All { except }, &changes);
        }
    }

    pub(super) fn send_diff(&mut self, call: &mut Call<'_>, to: &Recipients, changes: &Changes) {
        let transaction = pull::transaction_id(call.rng);
        let remainder = Say::ContentDiff(changes).remainder(Some(&transaction));
        if remainder.len() <= LONG_DIFF_BYTES {
            return self.send_to(call, to, remainder);
        }
        match halves(changes) {
            Some(parts) => parts.iter().for_each(|part| self.send_diff(call, to, part)),
            None => self.send_to(call, to, remainder),
        }
    }

    pub(super) fn send(&mut self, call: &mut Call<'_>, to: &ConnectionId, remainder: String) {
        self.send_to(call, &Recipients::One(to.clone()), remainder);
    }

    pub(super) fn send_to(&mut self, call: &mut Call<'_>, to: &Recipients, remainder: String) {
        let pieces = fragment::split(remainder, self.limits.fragment_bytes, call.rng);
        if pieces.iter().any(|piece| piece.len() + 2 > MAX_FRAME_BYTES) {
            let to: Vec<_> = self.peers.keys().filter(|id| to.contains(id)).cloned().collect();
            for id in to {
                self.disconnect(&id);
                call.effects.close.push((id, Close::TOO_LARGE));
            }
            return;
        }
        let frames = pieces
            .into_iter()
            .map(|piece| Outgoing { to: to.clone(), frame: format!("S\n{piece}").into() });
        call.effects.send.extend(frames);
    }
}

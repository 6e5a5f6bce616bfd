//! Taking changes in and passing them on.

use std::sync::Arc;

use super::{Call, Outgoing, Policy, Recipients, Refusal, Star, Target, policy};
use crate::message::Say;
use crate::{
    Changes, Close, ConnectionId, EditError, Hlc, MAX_AHEAD_MS, MAX_FRAME_BYTES, Merged, Millis,
    Writer, fragment, pull,
};

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
        let judged = policy::judge(&self.store, call.now, from, changes, policy);
        // The one reason for which a merge is refused was looked at above.
        let Ok(merged) = self.store.merge(call.now, &judged.accepted) else {
            return Ok(());
        };
        let merged = merged.by(&Writer::Connection(from.clone()));
        let restamped = self.restamp(call.now, &judged.refused);
        let mut for_others = merged.to_changes();
        if !restamped.is_empty() {
            let restamped = restamped.to_changes();
            for_others.extend(restamped.clone());
            let transaction = pull::transaction_id(call.rng);
            self.send(call, from, Say::ContentDiff(&restamped).remainder(Some(&transaction)));
        }
        self.broadcast(call, &for_others, Some(from));
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

    pub(super) fn broadcast(
        &mut self,
        call: &mut Call<'_>,
        changes: &Changes,
        except: Option<&ConnectionId>,
    ) {
        let to: Arc<[ConnectionId]> =
            self.peers.keys().filter(|id| Some(*id) != except).cloned().collect();
        if changes.is_empty() || to.is_empty() {
            return;
        }
        let transaction = pull::transaction_id(call.rng);
        let remainder = Say::ContentDiff(changes).remainder(Some(&transaction));
        self.send_to(call, &Recipients::Many(to), remainder);
    }

    pub(super) fn send(&mut self, call: &mut Call<'_>, to: &ConnectionId, remainder: String) {
        self.send_to(call, &Recipients::One(to.clone()), remainder);
    }

    pub(super) fn send_to(&mut self, call: &mut Call<'_>, to: &Recipients, remainder: String) {
        let pieces = fragment::split(remainder, self.limits.fragment_bytes, call.rng);
        if pieces.iter().any(|piece| piece.len() + 2 > MAX_FRAME_BYTES) {
            for id in to.iter() {
                self.disconnect(id);
                call.effects.close.push((id.clone(), Close::TOO_LARGE));
            }
            return;
        }
        let frames = pieces
            .into_iter()
            .map(|piece| Outgoing { to: to.clone(), frame: format!("S\n{piece}").into() });
        call.effects.send.extend(frames);
    }
}

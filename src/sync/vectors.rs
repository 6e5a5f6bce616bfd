//! Version vectors of a path: who wrote up to which stamp, what each connection is known to have, and
//! which of two concurrent edits of a cell lost.
//!
//! For display only. Identity and proof are hashes: caught up and converged mean equal hashes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use mergeable_store::{
    CellChange, ClientId, ConnectionId, Effects, Hlc, Target, Text, ValueChange, Writer as By,
};

use super::policy::Writer;

/// Writers that are told apart; past it, the oldest are folded into one.
pub const MAX_WRITERS: usize = 4096;
/// How many are folded at once, so that a flood of new writers does not cost a search each.
const FOLDED_AT_ONCE: usize = 256;
/// Conflicts that are remembered; past it, the earliest is forgotten.
pub const MAX_CONFLICTS: usize = 64;
/// Moments of writing that are remembered, to tell since when a connection lacks something.
const MAX_MOMENTS: usize = 1024;

/// A writer of stamps: a store, by the client part of its stamps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenWriter {
    /// Its newest stamp.
    pub newest: Hlc,
    /// Through whom that came; unknown for what was loaded and for what the server wrote.
    pub through: Option<Through>,
}

/// A connection, and who is behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Through {
    /// The connection.
    pub connection: ConnectionId,
    /// The user's id.
    pub user: String,
}

/// Writers that are no longer told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Folded {
    /// How many times one was folded.
    pub writers: u64,
    /// The newest stamp of all of them.
    pub newest: Hlc,
}

/// An edit that was never seen, and came too late to count: while it was made, its writer did not know of
/// the edit that it lost to, and that one's writer did not know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The cell or value.
    pub target: Target,
    /// The stamp that stays.
    pub winner: Hlc,
    /// The stamp that lost.
    pub loser: Hlc,
    /// Through whom the loser came.
    pub through: Through,
    /// When, in epoch milliseconds.
    pub at_ms: u64,
}

/// What a connection is known to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    /// The connection and its user.
    pub through: Through,
    /// Since when it is connected, in epoch milliseconds.
    pub connected_ms: u64,
    /// When its hashes last equalled the store's, in epoch milliseconds; `None`: never yet.
    pub equal_ms: Option<u64>,
    /// Edits by others that were written since then, or since it connected. They were sent; that they
    /// arrived is known once its hashes are equal again.
    pub edits_behind: u64,
    /// How long ago the first of them was written, in milliseconds; at least, if that is long ago.
    pub lag_ms: u64,
}

#[derive(Debug)]
struct Known {
    writer: Arc<Writer>,
    connected_ms: u64,
    equal_ms: Option<u64>,
    /// Edits of the path when its hashes were equal, or when it connected.
    edits: u64,
    /// Its own edits since.
    own: u64,
}

/// The vectors of a path.
#[derive(Debug, Default)]
pub struct Vectors {
    writers: HashMap<ClientId, SeenWriter>,
    folded: Folded,
    connections: HashMap<ConnectionId, Known>,
    conflicts: VecDeque<Conflict>,
    conflicts_ever: u64,
    /// The newest edits that lost in the message at hand: seen from its end on, since its stamps come in no
    /// order.
    late: HashMap<ClientId, (Hlc, ConnectionId)>,
    /// Edits since the path was loaded.
    edits: u64,
    /// How many edits there were after each moment of writing (epoch milliseconds).
    moments: VecDeque<(u64, u64)>,
}

impl Vectors {
    /// A stamp that was loaded.
    pub fn loaded(&mut self, hlc: Hlc) {
        self.note(hlc, None);
    }

    /// A connection begins.
    pub(super) fn connected(&mut self, id: ConnectionId, writer: Arc<Writer>, now_ms: u64) {
        let (equal_ms, edits, own) = (None, self.edits, 0);
        self.connections.insert(id, Known { writer, connected_ms: now_ms, equal_ms, edits, own });
    }

    /// A connection has ended.
    pub(super) fn disconnected(&mut self, id: &ConnectionId) {
        self.connections.remove(id);
    }

    /// Takes up what was merged, and who was found to have all of it.
    pub(super) fn take(&mut self, effects: &Effects, now_ms: u64) {
        let cells = effects.changed.iter().map(|CellChange { hlc, by, .. }| (*hlc, by));
        let values = effects.changed_values.iter().map(|ValueChange { hlc, by, .. }| (*hlc, by));
        let before = self.edits;
        for (hlc, by) in cells.chain(values) {
            self.edits += 1;
            let By::Connection(id) = by else {
                self.note(hlc, None);
                continue;
            };
            let through = self.connections.get_mut(id).map(|known| {
                known.own += 1;
                known.writer.clone()
            });
            self.note(hlc, through.map(|writer| (id, writer)));
        }
        for (_, (hlc, id)) in std::mem::take(&mut self.late) {
            let through = self.connections.get(&id).map(|known| known.writer.clone());
            self.note(hlc, through.map(|writer| (&id, writer)));
        }
        if self.edits > before {
            self.moments.push_back((self.edits, now_ms));
            if self.moments.len() > MAX_MOMENTS {
                self.moments.pop_front();
            }
        }
        for id in &effects.equal {
            let Some(known) = self.connections.get_mut(id) else { continue };
            if known.equal_ms.is_none() {
                let seconds = now_ms.saturating_sub(known.connected_ms) as f64 / 1000.0;
                metrics::histogram!("crossfade_sync_caught_up_seconds").record(seconds);
            }
            (known.equal_ms, known.edits, known.own) = (Some(now_ms), self.edits, 0);
        }
    }

    /// An edit that lost against the stamp `winner`. It is a conflict if it is news; a client that comes back
    /// with what it had before has lost nothing.
    pub(super) fn lost(
        &mut self,
        target: &Target,
        winner: Hlc,
        loser: Hlc,
        by: &ConnectionId,
        now_ms: u64,
    ) {
        let Some(writer) = loser.client() else { return };
        let seen = self.writers.get(&writer).map_or(self.folded.newest, |seen| seen.newest);
        let Some(known) = self.connections.get(by) else { return };
        if loser <= seen || winner.client() == Some(writer) {
            return;
        }
        metrics::counter!("crossfade_sync_conflicts_total").increment(1);
        self.conflicts_ever += 1;
        if self.conflicts.len() >= MAX_CONFLICTS {
            self.conflicts.pop_front();
        }
        let through = Through { connection: by.clone(), user: known.writer.actor.user.clone() };
        let target = target.clone();
        self.conflicts.push_back(Conflict { target, winner, loser, through, at_ms: now_ms });
        if self.late.len() < MAX_WRITERS {
            let late = self.late.entry(writer).or_insert_with(|| (loser, by.clone()));
            late.0 = late.0.max(loser);
        }
    }

    fn note(&mut self, hlc: Hlc, through: Option<(&ConnectionId, Arc<Writer>)>) {
        let Some(writer) = hlc.client() else { return };
        match self.writers.get_mut(&writer) {
            Some(seen) if hlc <= seen.newest => {}
            Some(seen) => {
                seen.newest = hlc;
                let same = match (&seen.through, &through) {
                    (Some(known), Some((id, _))) => known.connection == **id,
                    (None, None) => true,
                    _ => false,
                };
                if !same {
                    seen.through = through.map(through_of);
                }
            }
            None => {
                if self.writers.len() >= MAX_WRITERS {
                    self.fold();
                }
                let through = through.map(through_of);
                self.writers.insert(writer, SeenWriter { newest: hlc, through });
            }
        }
    }

    fn fold(&mut self) {
        let mut newest: Vec<Hlc> = self.writers.values().map(|seen| seen.newest).collect();
        let (_, last, _) = newest.select_nth_unstable(FOLDED_AT_ONCE - 1);
        let last = *last;
        let before = self.writers.len();
        self.writers.retain(|_, seen| seen.newest > last);
        let folded = (before - self.writers.len()) as u64;
        metrics::counter!("crossfade_sync_writers_folded_total").increment(folded);
        self.folded.writers += folded;
        self.folded.newest = self.folded.newest.max(last);
    }

    /// The writers that are told apart, latest first, at most `limit`.
    #[must_use]
    pub fn writers(&self, limit: usize) -> Vec<(ClientId, SeenWriter)> {
        let mut writers: Vec<_> = self.writers.iter().collect();
        writers.sort_unstable_by_key(|(_, seen)| std::cmp::Reverse(seen.newest));
        let latest = writers.into_iter().take(limit);
        latest.map(|(writer, seen)| (*writer, seen.clone())).collect()
    }

    /// How many writers are told apart.
    #[must_use]
    pub fn writer_count(&self) -> usize {
        self.writers.len()
    }

    /// Those that are not.
    #[must_use]
    pub fn folded(&self) -> Folded {
        self.folded
    }

    /// The latest conflicts, earliest first.
    pub fn conflicts(&self) -> impl ExactSizeIterator<Item = &Conflict> {
        self.conflicts.iter()
    }

    /// How many conflicts there were since the path was loaded.
    #[must_use]
    pub fn conflicts_ever(&self) -> u64 {
        self.conflicts_ever
    }

    /// What each connection is known to have, the one that lacks most first.
    #[must_use]
    pub fn lags(&self, now_ms: u64) -> Vec<Lag> {
        let mut lags: Vec<Lag> = self
            .connections
            .iter()
            .map(|(id, known)| {
                let edits_behind = (self.edits - known.edits).saturating_sub(known.own);
                let first = self.moments.partition_point(|(edits, _)| *edits <= known.edits);
                let since = self.moments.get(first).map_or(now_ms, |(_, at)| *at);
                Lag {
                    through: through_of((id, known.writer.clone())),
                    connected_ms: known.connected_ms,
                    equal_ms: known.equal_ms,
                    edits_behind,
                    lag_ms: if edits_behind == 0 { 0 } else { now_ms.saturating_sub(since) },
                }
            })
            .collect();
        lags.sort_by(|a, b| {
            (b.edits_behind, &a.through.connection).cmp(&(a.edits_behind, &b.through.connection))
        });
        lags
    }

    /// Connections of which it is not known that they have everything.
    pub(super) fn behind(&self, limit: usize) -> Vec<ConnectionId> {
        let behind = self
            .connections
            .iter()
            .filter(|(_, known)| known.equal_ms.is_none() || self.edits - known.edits > known.own);
        behind.take(limit).map(|(id, _)| id.clone()).collect()
    }
}

fn through_of((id, writer): (&ConnectionId, Arc<Writer>)) -> Through {
    Through { connection: id.clone(), user: writer.actor.user.clone() }
}

/// The ids of a conflict's cell (table, row, cell) or value, for people.
#[must_use]
pub fn ids_of(target: &Target) -> Vec<String> {
    let text = |id: &Text| id.to_string_lossy().into_owned();
    match target {
        Target::Cell { table, row, cell } => vec![text(table), text(row), text(cell)],
        Target::Value { value } => vec![text(value)],
        Target::Container(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Actor;

    const T0: u64 = 1_763_800_000_000;

    fn client(n: u64) -> ClientId {
        ClientId::from_unique_id(&format!("client {n}"))
    }

    fn hlc(at: u64, writer: u64) -> Hlc {
        Hlc::new(T0 + at, 0, client(writer))
    }

    fn user(name: &str) -> Arc<Writer> {
        let actor = Actor { user: name.to_owned(), org_id: None, org_role: None };
        Arc::new(Writer::new(actor))
    }

    fn target() -> Target {
        Target::Cell { table: "t".into(), row: "r".into(), cell: "c".into() }
    }

    /// A change of one cell, by a connection or by the server.
    fn change(hlc: Hlc, by: Option<&str>) -> Effects {
        let by = by.map_or(By::Store, |id| By::Connection(id.into()));
        let (table, row, cell) = ("t".into(), "r".into(), "c".into());
        let changed = vec![CellChange { table, row, cell, old: None, new: None, hlc, by }];
        Effects { changed, ..Effects::default() }
    }

    fn equal(id: &str) -> Effects {
        Effects { equal: vec![id.into()], ..Effects::default() }
    }

    #[test]
    fn writers_are_known_by_their_newest_stamp_and_by_whom_it_came_through() {
        let mut vectors = Vectors::default();
        vectors.connected("x".into(), user("ann"), T0);
        vectors.loaded(hlc(5, 1));
        vectors.loaded(hlc(3, 1));
        vectors.take(&change(hlc(7, 2), Some("x")), T0);
        vectors.take(&change(hlc(9, 3), None), T0);
        let found = vectors.writers(10);
        let newest: Vec<_> = found.iter().map(|(id, seen)| (*id, seen.newest)).collect();
        assert_eq!(
            newest,
            [(client(3), hlc(9, 3)), (client(2), hlc(7, 2)), (client(1), hlc(5, 1))]
        );
        let through = Through { connection: "x".into(), user: "ann".to_owned() };
        assert_eq!(found[1].1.through, Some(through));
        assert_eq!((&found[0].1.through, &found[2].1.through), (&None, &None));
    }

    #[test]
    fn only_news_that_came_too_late_is_a_conflict() {
        let mut vectors = Vectors::default();
        vectors.connected("x".into(), user("ann"), T0);
        vectors.take(&change(hlc(5, 1), Some("x")), T0);
        vectors.take(&change(hlc(9, 2), None), T0);
        // What was seen before, and an edit that its own writer has overtaken.
        vectors.lost(&target(), hlc(9, 2), hlc(5, 1), &"x".into(), T0);
        vectors.lost(&target(), hlc(9, 2), hlc(4, 1), &"x".into(), T0);
        vectors.lost(&target(), hlc(7, 1), hlc(6, 1), &"x".into(), T0);
        assert_eq!(vectors.conflicts().len(), 0);
        // Stamps of one message come in no order; of the next, they are no news any more.
        vectors.lost(&target(), hlc(9, 2), hlc(8, 1), &"x".into(), T0 + 8);
        vectors.lost(&target(), hlc(9, 2), hlc(6, 1), &"x".into(), T0 + 10);
        vectors.take(&Effects::default(), T0 + 10);
        vectors.lost(&target(), hlc(9, 2), hlc(6, 1), &"x".into(), T0 + 11);
        let found: Vec<_> = vectors.conflicts().collect();
        assert_eq!(found.len(), 2);
        assert_eq!((found[1].winner, found[1].loser), (hlc(9, 2), hlc(6, 1)));
        assert_eq!((found[1].through.user.as_str(), found[1].at_ms), ("ann", T0 + 10));
        for n in 0..2 * MAX_CONFLICTS as u64 {
            vectors.lost(&target(), hlc(900, 2), hlc(10 + n, 1), &"x".into(), T0);
        }
        assert_eq!(vectors.conflicts().len(), MAX_CONFLICTS);
        assert_eq!(vectors.conflicts_ever(), 2 * MAX_CONFLICTS as u64 + 2);
        assert_eq!(vectors.conflicts().last().unwrap().loser, hlc(9 + 128, 1));
    }

    #[test]
    fn a_connection_lacks_what_others_wrote_since_its_hashes_were_equal() {
        let mut vectors = Vectors::default();
        let lag = |vectors: &Vectors, now| {
            let all = vectors.lags(now);
            all.into_iter().map(|lag| (lag.edits_behind, lag.lag_ms)).collect::<Vec<_>>()
        };
        vectors.connected("x".into(), user("ann"), T0);
        assert_eq!(vectors.behind(10), ["x".into()], "nothing is known of it yet");
        vectors.take(&equal("x"), T0 + 1);
        assert_eq!((lag(&vectors, T0 + 9), vectors.behind(10)), (vec![(0, 0)], vec![]));
        vectors.take(&change(hlc(2, 1), Some("x")), T0 + 2);
        assert_eq!(lag(&vectors, T0 + 9), [(0, 0)], "it has what it wrote");
        vectors.take(&change(hlc(4, 2), None), T0 + 4);
        vectors.take(&change(hlc(6, 2), None), T0 + 6);
        assert_eq!(lag(&vectors, T0 + 10)[0].0, 2);
        assert_eq!(vectors.behind(10), ["x".into()]);
        vectors.take(&equal("x"), T0 + 11);
        assert_eq!(lag(&vectors, T0 + 20), [(0, 0)]);
        vectors.disconnected(&"x".into());
        assert_eq!(lag(&vectors, T0 + 20), []);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(16))]

        /// However many writers come, and in whatever order, the table stays bounded, and the newest is told
        /// apart.
        #[test]
        fn the_oldest_writers_are_folded(seed in proptest::prelude::any::<u64>(), more in 100_u64..2000) {
            let mut vectors = Vectors::default();
            let count = MAX_WRITERS as u64 + more;
            for n in 0..count {
                vectors.loaded(hlc(n.wrapping_mul(seed | 1) % 1_000_000, n));
                proptest::prop_assert!(vectors.writer_count() <= MAX_WRITERS);
            }
            let kept = vectors.writers(MAX_WRITERS);
            proptest::prop_assert_eq!(kept.len(), vectors.writer_count());
            proptest::prop_assert!(kept.len() >= MAX_WRITERS - FOLDED_AT_ONCE);
            let newest = (0..count).map(|n| hlc(n.wrapping_mul(seed | 1) % 1_000_000, n)).max();
            proptest::prop_assert_eq!(kept.first().map(|(_, seen)| seen.newest), newest);
            proptest::prop_assert!(vectors.folded().writers > 0);
        }
    }
}

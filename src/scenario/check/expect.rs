//! Invariants, checked.

use std::collections::HashSet;

use super::super::file::RawExpect;
use super::super::model::{ActorId, Invariant};
use super::Check;

impl Check<'_> {
    /// The organisation that an expectation is about; the first actor's by default.
    fn org(&self, org: Option<String>) -> String {
        org.or_else(|| self.actors.first().map(|actor| actor.org.clone()))
            .unwrap_or_else(|| "org_1".to_owned())
    }

    pub(super) fn invariant(
        &mut self,
        at: &str,
        raw: RawExpect,
        connected: &HashSet<ActorId>,
    ) -> Option<Invariant> {
        Some(match raw {
            RawExpect::Converged(raw) => Invariant::Converged(self.clients(
                &format!("{at}.converged.actors"),
                raw.actors,
                connected,
            )),
            RawExpect::LegacyEqualsStore(raw) => Invariant::LegacyEqualsStore(
                self.resource(&format!("{at}.legacy_equals_store"), raw.resource),
            ),
            RawExpect::NoAcknowledgedWriteLost(_) => Invariant::NoAcknowledgedWriteLost,
            RawExpect::OutboxEmpty(_) => Invariant::OutboxEmpty,
            RawExpect::Rows(raw) => Invariant::Rows {
                resource: self.resource(&format!("{at}.rows"), raw.resource),
                org: self.org(raw.org),
                count: raw.count,
            },
            RawExpect::Row(raw) => {
                let key = format!("{at}.row");
                let row = self.row(&key, raw.resource, raw.row);
                let cells = self.cells(&key, raw.cells);
                let present = raw.present.unwrap_or(true);
                if !present && !cells.is_empty() {
                    self.refuse(&format!("{key}.cells"), "a row that is gone has no cells");
                }
                Invariant::Row { row, org: self.org(raw.org), cells, present }
            }
        })
    }
}

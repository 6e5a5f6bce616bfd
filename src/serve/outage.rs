//! What is tried again and again is told when it begins to fail, and when it works again; not at each of four looks a second.

use std::fmt::Display;

/// Something that the database is to have, too.
#[derive(Debug)]
pub(super) struct Outage {
    what: &'static str,
    lasts: bool,
}

impl Outage {
    pub(super) const fn of(what: &'static str) -> Self {
        Self { what, lasts: false }
    }

    /// Takes in how the last look went. Gives whether it failed, for the counter.
    pub(super) fn take<E: Display>(&mut self, outcome: Result<(), E>) -> bool {
        let (what, lasted) = (self.what, self.lasts);
        self.lasts = outcome.is_err();
        match outcome {
            Err(error) if !lasted => {
                tracing::error!(what, %error, "not replicated; it holds as it is");
            }
            Ok(()) if lasted => tracing::info!(what, "replicated again"),
            _ => {}
        }
        self.lasts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_counts_whether_or_not_it_is_told() {
        let mut outage = Outage::of("the rollback switch");
        let outcomes = [Ok(()), Err("away"), Err("away"), Ok(()), Ok(()), Err("away")];
        let failed = outcomes.map(|outcome| outage.take(outcome));
        assert_eq!(failed, [false, true, true, false, false, true]);
    }
}

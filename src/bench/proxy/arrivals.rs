//! When requests are due: an open load, whose arrivals do not wait for answers.

use std::time::Duration;

/// Requests at even distances, dealt round to connections.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::bench) struct Arrivals {
    /// Requests a second, over all connections.
    pub(in crate::bench) rate: f64,
    /// Connections that they are dealt to.
    pub(in crate::bench) connections: usize,
    /// Requests that are due in this time do not count.
    pub(in crate::bench) warm_up: Duration,
    /// How long those that count go on.
    pub(in crate::bench) length: Duration,
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bench) struct Arrival {
    /// Its number among all.
    pub(in crate::bench) number: u64,
    /// When it is due, counted from the load's beginning.
    pub(in crate::bench) due: Duration,
    /// Whether it is due after the warm-up.
    pub(in crate::bench) counts: bool,
}

impl Arrivals {
    /// When the last request is due, at the latest.
    pub(in crate::bench) fn end(&self) -> Duration {
        self.warm_up + self.length
    }

    /// The requests of one connection, which are in order.
    pub(in crate::bench) fn of(&self, connection: usize) -> impl Iterator<Item = Arrival> + use<> {
        let (all, first) = (*self, u64::try_from(connection).unwrap_or(u64::MAX));
        let numbers = (first..).step_by(self.connections.max(1));
        numbers.map(move |number| all.arrival(number)).take_while(move |one| one.due < all.end())
    }

    fn arrival(&self, number: u64) -> Arrival {
        #[expect(clippy::cast_precision_loss, reason = "below 2^52: a load ends long before")]
        let due = Duration::try_from_secs_f64(number as f64 / self.rate).unwrap_or(Duration::MAX);
        Arrival { number, due, counts: due >= self.warm_up }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(connections: usize) -> Arrivals {
        let (warm_up, length) = (Duration::from_millis(100), Duration::from_millis(400));
        Arrivals { rate: 100.0, connections, warm_up, length }
    }

    #[test]
    fn connections_share_all_requests_between_them() {
        for connections in [1, 3, 60] {
            let arrivals = arrivals(connections);
            let mut all: Vec<Arrival> =
                (0..connections).flat_map(|connection| arrivals.of(connection)).collect();
            all.sort_by_key(|one| one.number);
            let numbers: Vec<u64> = all.iter().map(|one| one.number).collect();
            assert_eq!(numbers, (0..50).collect::<Vec<_>>());
            let apart = all.windows(2).map(|two| two[1].due - two[0].due);
            assert!(apart.into_iter().all(|apart| apart.as_micros().abs_diff(10_000) <= 1));
        }
    }

    #[test]
    fn what_is_due_in_the_warm_up_does_not_count() {
        let counted = arrivals(1).of(0).filter(|one| one.counts);
        let numbers: Vec<u64> = counted.map(|one| one.number).collect();
        assert_eq!(numbers, (10..50).collect::<Vec<_>>());
    }

    #[test]
    fn a_connection_more_than_there_are_requests_has_none() {
        assert_eq!(arrivals(60).of(55).count(), 0);
    }
}

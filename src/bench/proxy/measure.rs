//! A run: its measurements in their order, and what they have found so far.

use std::collections::BTreeMap;

use indicatif::ProgressBar;

use super::comparisons::{self, Verdicts};
use super::document::{FailedRequests, ProxyComparisons, ProxyResult};
use super::load::{Aim, Failures};
use super::pairs::Pairs;
use super::plan::Plan;
use super::saturation::saturation;
use super::servers::{Server, Servers, Side};
use super::verdict::{Goal, Verdict, judge};
use super::wire::Client;
use crate::bench::BenchError;
use crate::bench::peer::Figure;

/// What has been found so far.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) results: Vec<ProxyResult>,
    pub(super) figures: Vec<Figure>,
    pub(super) comparisons: Vec<ProxyComparisons>,
    pub(super) failures: Vec<FailedRequests>,
    pub(super) notes: Vec<String>,
}

/// A run under way.
pub(super) struct Run {
    pub(super) plan: Plan,
    pub(super) servers: Servers,
    pub(super) progress: ProgressBar,
    pub(super) found: Found,
    /// Requests a second of the open load; 0 until it is known.
    pub(super) rate: f64,
    quick: bool,
}

impl Run {
    pub(super) fn new(plan: Plan, servers: Servers, progress: ProgressBar, quick: bool) -> Self {
        Self { plan, servers, progress, found: Found::default(), rate: 0.0, quick }
    }

    pub(super) async fn measure(&mut self) -> Result<(), BenchError> {
        self.check_answers().await?;
        let rounds = self.as_fast_as_it_goes().await?;
        self.throughputs(&rounds);
        let arrivals = self.plan.arrivals(saturation(&rounds)?);
        self.rate = arrivals.rate;
        for side in [Side::Off, Side::Shadow] {
            self.beside_pass_through(side, arrivals).await?;
        }
        self.beside_nginx(&rounds);
        Ok(())
    }

    /// Every side answers what the stub answers, to the byte: figures of anything else would mislead.
    async fn check_answers(&self) -> Result<(), BenchError> {
        for server in &self.servers.measured {
            let (legacy, proxy, name) = (self.servers.legacy, server.address, server.side.name());
            let check = move || {
                let (mut legacy, mut proxy) = (Client::new(legacy), Client::new(proxy));
                for request in super::requests().iter().take(4) {
                    let asked = legacy.ask(request).and_then(|()| proxy.ask(request));
                    asked.map_err(|why| BenchError::Wrong(format!("{name}: {why}")))?;
                    if legacy.body() != proxy.body() {
                        let text = format!("{name} answers otherwise than the legacy API");
                        return Err(BenchError::Wrong(text));
                    }
                }
                Ok(())
            };
            blocking(check).await?;
        }
        Ok(())
    }

    pub(super) fn result<T>(
        &self,
        (name, unit): (&'static str, &'static str),
        (side, peer): (Side, Side),
        goal: Goal,
        pairs: &Pairs<T>,
        of: impl Fn(&T) -> f64,
        least: usize,
    ) -> ProxyResult {
        let (peer_value, side_value) = pairs.medians(&of).unzip();
        let ratio = pairs.ratio(of);
        let (verdict, why) = if self.quick {
            (Verdict::NotMeasured, Some("a quick run".to_owned()))
        } else {
            (judge(ratio, goal, pairs.sound(), least), None)
        };
        ProxyResult {
            name,
            unit,
            side: side.name(),
            peer: peer.name(),
            side_value,
            peer_value,
            ratio: ratio.map(|ratio| ratio.value),
            ci_low: ratio.map(|ratio| ratio.low),
            ci_high: ratio.map(|ratio| ratio.high),
            pairs: pairs.sound(),
            void: pairs.void,
            goal,
            verdict,
            why,
        }
    }

    pub(super) async fn comparisons(&self) -> Result<Verdicts, BenchError> {
        self.server(Side::Shadow)?.comparisons().await
    }

    /// Notes what was compared since `before`. A shadow that compares nothing costs nothing: then the
    /// figures would be of something else.
    pub(super) async fn compared(
        &mut self,
        case: &str,
        before: &Verdicts,
    ) -> Result<(), BenchError> {
        let verdicts = comparisons::since(before, &self.comparisons().await?);
        if verdicts.get("match").is_none_or(|matches| *matches == 0) {
            let text = format!("stage shadow found no match ({case}): {verdicts:?}");
            return Err(BenchError::Wrong(text));
        }
        if verdicts.keys().any(|verdict| verdict != "match" && verdict != "shed") {
            let text = format!("{case}: not all comparisons agree, although nothing is written");
            self.found.notes.push(text);
        }
        self.found.comparisons.push(ProxyComparisons { case: case.to_owned(), verdicts });
        Ok(())
    }

    /// Notes what failed; how many that were.
    pub(super) fn failed(&mut self, side: Side, case: &str, failures: Failures) -> u64 {
        let total = failures.values().sum();
        if total == 0 {
            return 0;
        }
        let all = &mut self.found.failures;
        let at = all.iter().position(|one| one.side == side.name() && one.case == case);
        let at = at.unwrap_or_else(|| {
            let (case, requests) = (case.to_owned(), BTreeMap::new());
            all.push(FailedRequests { side: side.name(), case, requests });
            all.len() - 1
        });
        for (failure, times) in failures {
            *all[at].requests.entry(failure.to_string()).or_default() += times;
        }
        total
    }

    pub(super) fn figure(
        &mut self,
        case: &str,
        name: &'static str,
        side: Side,
        unit: &'static str,
        value: Option<f64>,
        n: u64,
    ) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            let (case, side) = (case.to_owned(), side.name());
            self.found.figures.push(Figure { case, name, side, unit, value, n });
        }
    }

    pub(super) fn aim(&self, side: Side) -> Result<Aim, BenchError> {
        Ok(Aim { address: self.server(side)?.address, requests: super::requests() })
    }

    pub(super) fn server(&self, side: Side) -> Result<&Server, BenchError> {
        let missing = || BenchError::Start(format!("{} was not started", side.name()));
        self.servers.get(side).ok_or_else(missing)
    }
}

/// Work of the load generator, which blocks.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BenchError> + Send + 'static,
) -> Result<T, BenchError> {
    let worked = tokio::task::spawn_blocking(work).await;
    worked.map_err(|error| BenchError::Wrong(format!("the load generator: {error}")))?
}

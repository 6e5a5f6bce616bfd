//! Query response time: the same question answered by legacy and from the store, both through
//! crossfade; and what crossfade itself adds, against legacy asked directly.
//!
//! In stage `live` with half of the users in the cohort, one user's reads are answered from the store
//! and another's by legacy at the same moment: so both sides are measured in turns, request by request,
//! with nothing switched between. Comparison is off; each pair's answers are compared here.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::document::{Metric, MetricName, Path, Ratio};
use super::http::Caller;
use super::turns::{Side, in_turns};
use super::{BenchError, Plan};
use crate::migration::Stage;
use crate::scenario::StageChange;
use crate::scenario::environment::Environment;

/// Users that are tried until one is in the cohort and one is not. Of so many, all are on the same
/// side once in 2^63 runs.
const CANDIDATES: usize = 64;

/// A kind of question.
#[derive(Debug, Clone, Copy)]
enum Case {
    List,
    Filter,
    Sort,
    Page,
    Get,
}

impl Case {
    const ALL: [Self; 5] = [Self::List, Self::Filter, Self::Sort, Self::Page, Self::Get];

    const fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Filter => "filter",
            Self::Sort => "sort",
            Self::Page => "page",
            Self::Get => "get",
        }
    }

    /// A request target; what may vary is drawn, so that no answer is that of the request before.
    fn target(self, rows: usize, rng: &mut StdRng) -> String {
        match self {
            Self::List => "/users?limit=20".to_owned(),
            Self::Filter => {
                let age = rng.random_range(18..60);
                format!("/users?role=member&active=true&minAge={age}&limit=20")
            }
            Self::Sort => {
                let keys = ["-age,name", "name", "-createdAt", "email"];
                format!("/users?sort={}&limit=20", keys[rng.random_range(0..keys.len())])
            }
            Self::Page => {
                let offset = rng.random_range(0..rows.max(2));
                format!("/users?sort=name&limit=50&offset={offset}")
            }
            Self::Get => row(rng.random_range(0..rows.max(1))),
        }
    }
}

/// The path of the row with this number, from 0.
pub(super) fn row(number: usize) -> String {
    format!("/users/user_{:05}", number + 1)
}

/// Measures all cases on both paths.
pub(super) async fn response_times(
    environment: &Environment,
    plan: &Plan,
    metrics: &mut Vec<Metric>,
    ratios: &mut Vec<Ratio>,
) -> Result<(), BenchError> {
    let live = StageChange { stage: Stage::Live, cohort: Some(50), shadow: Some(0) };
    environment.set_stage(live).await.map_err(BenchError::Start)?;
    let (legacy, store) = callers(environment).await?;
    for case in Case::ALL {
        let what = format!("query response time, {}", case.name());
        let mut rng = StdRng::seed_from_u64(plan.seed);
        let targets: Vec<String> = (0..plan.queries.pairs + plan.queries.warm_up)
            .map(|_| case.target(plan.rows, &mut rng))
            .collect();
        let mut answer = None;
        let pairs = in_turns(&what, plan.queries, async |side, number| {
            let target = targets.get(number).map_or("/users", String::as_str);
            let (caller, origin) = match side {
                Side::First => (&legacy, "legacy"),
                Side::Second => (&store, "sync"),
            };
            let timed = caller.get(target).await?;
            if timed.origin.as_deref() != Some(origin) {
                let found = timed.origin.as_deref().unwrap_or("nobody");
                let text = format!("{target} should be answered by {origin}, was by {found}");
                return Err(BenchError::Wrong(text));
            }
            let took = timed.took;
            let body = timed.json()?;
            match answer.take() {
                None => answer = Some(body),
                Some(other) if other == body => {}
                Some(_) => {
                    let text = format!("{target} is answered differently by the two paths");
                    return Err(BenchError::Wrong(text));
                }
            }
            Ok(took)
        })
        .await?;
        for (side, path) in [(Side::First, Path::Legacy), (Side::Second, Path::Sync)] {
            metrics.extend(pairs.metric(side, MetricName::QueryResponseTime, case.name(), path));
        }
        ratios.extend(super::ratio("query_sync_by_legacy_p50", case.name(), &pairs));
    }
    Ok(())
}

/// A user whose reads legacy answers, and one whose reads the store answers.
async fn callers(environment: &Environment) -> Result<(Caller, Caller), BenchError> {
    let (mut legacy, mut store) = (None, None);
    for number in 0..CANDIDATES {
        let caller = Caller::new(environment, &format!("reader_{number}"), environment.url())?;
        match caller.get("/users?limit=1").await?.origin.as_deref() {
            Some("legacy") => legacy = legacy.or(Some(caller)),
            Some("sync") => store = store.or(Some(caller)),
            _ => return Err(BenchError::Wrong("crossfade does not say who answered".to_owned())),
        }
        if let (Some(_), Some(_)) = (&legacy, &store) {
            break;
        }
    }
    match (legacy, store) {
        (Some(legacy), Some(store)) => Ok((legacy, store)),
        (None, _) => Err(BenchError::Wrong("every user is in a cohort of 50 %".to_owned())),
        (_, None) => {
            let text = "the store answers nobody's reads in stage live: is its backfill finished?";
            Err(BenchError::Wrong(text.to_owned()))
        }
    }
}

/// Measures what crossfade adds in stage `off`: the same request to legacy directly, and through it.
pub(super) async fn overhead(
    environment: &Environment,
    plan: &Plan,
    metrics: &mut Vec<Metric>,
    ratios: &mut Vec<Ratio>,
) -> Result<(), BenchError> {
    let off = StageChange { stage: Stage::Off, cohort: None, shadow: None };
    environment.set_stage(off).await.map_err(BenchError::Start)?;
    let direct = Caller::new(environment, "reader", environment.legacy_url())?;
    let through = Caller::new(environment, "reader", environment.url())?;
    let pairs = in_turns("proxy overhead", plan.overhead, async |side, number| {
        let target = row(number % plan.rows.max(1));
        let caller = match side {
            Side::First => &direct,
            Side::Second => &through,
        };
        Ok(caller.get(&target).await?.took)
    })
    .await?;
    for (side, case) in [(Side::First, "get, direct"), (Side::Second, "get, through crossfade")] {
        metrics.extend(pairs.metric(side, MetricName::ProxyOverhead, case, Path::Legacy));
    }
    ratios.extend(super::ratio("proxy_overhead_p50", "get", &pairs));
    Ok(())
}

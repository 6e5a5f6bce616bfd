//! Metrics of every request, looked up once: by its labels, a metric is found with a lock and several allocations.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Histogram};

use crate::migration::{Origin, ResourceName};
use crate::record::ExchangeKind;

/// How long mapped requests took: `crossfade_request_seconds`.
#[derive(Clone)]
pub(super) struct RequestMeters(Arc<HashMap<ResourceName, [[Histogram; 2]; 2]>>);

impl std::fmt::Debug for RequestMeters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RequestMeters({} resources)", self.0.len())
    }
}

impl RequestMeters {
    pub(super) fn of<'r>(resources: impl Iterator<Item = &'r ResourceName>) -> Self {
        let meter = |resource: &ResourceName, origin: Origin, kind: ExchangeKind| {
            metrics::histogram!("crossfade_request_seconds", "resource" => resource.to_string(),
                "origin" => origin.as_str(), "kind" => kind.as_str())
        };
        let meters = |resource: &ResourceName| {
            [Origin::Legacy, Origin::Sync].map(|origin| {
                [ExchangeKind::Read, ExchangeKind::Write].map(|kind| meter(resource, origin, kind))
            })
        };
        Self(Arc::new(resources.map(|name| (name.clone(), meters(name))).collect()))
    }

    pub(super) fn record(
        &self,
        resource: &ResourceName,
        answered_by: Origin,
        kind: ExchangeKind,
        took: Duration,
    ) {
        let Some(meters) = self.0.get(resource) else { return };
        let by_kind = match answered_by {
            Origin::Legacy => &meters[0],
            Origin::Sync => &meters[1],
        };
        let meter = match kind {
            ExchangeKind::Read => &by_kind[0],
            ExchangeKind::Write => &by_kind[1],
        };
        meter.record(took.as_secs_f64());
    }
}

/// Answers that were forwarded, by the class of their status: `crossfade_proxy_forwarded_total`.
#[derive(Clone)]
pub(super) struct ForwardedMeters([Counter; 6]);

impl std::fmt::Debug for ForwardedMeters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ForwardedMeters")
    }
}

/// The labels; the first is for what HTTP does not know.
const CLASSES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];

impl ForwardedMeters {
    pub(super) fn new() -> Self {
        Self(
            CLASSES.map(
                |class| metrics::counter!("crossfade_proxy_forwarded_total", "class" => class),
            ),
        )
    }

    pub(super) fn count(&self, status: http::StatusCode) {
        let class = usize::from(status.as_u16() / 100);
        let [other, ..] = &self.0;
        self.0.get(class).unwrap_or(other).increment(1);
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn each_request_is_counted_under_its_own_labels() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            let users = ResourceName::new("users");
            let meters = RequestMeters::of([&users].into_iter());
            for (origin, kind, times) in [
                (Origin::Legacy, ExchangeKind::Read, 1),
                (Origin::Legacy, ExchangeKind::Write, 2),
                (Origin::Sync, ExchangeKind::Read, 3),
                (Origin::Sync, ExchangeKind::Write, 4),
            ] {
                (0..times).for_each(|_| meters.record(&users, origin, kind, Duration::ZERO));
            }
            let forwarded = ForwardedMeters::new();
            for status in [204, 304, 404, 404, 999] {
                forwarded.count(http::StatusCode::from_u16(status).unwrap());
            }
        });
        let text = handle.render();
        for (labels, times) in [
            (r#"_count{resource="users",origin="legacy",kind="read"}"#, 1),
            (r#"_count{resource="users",origin="legacy",kind="write"}"#, 2),
            (r#"_count{resource="users",origin="sync",kind="read"}"#, 3),
            (r#"_count{resource="users",origin="sync",kind="write"}"#, 4),
            (r#"_total{class="2xx"}"#, 1),
            (r#"_total{class="3xx"}"#, 1),
            (r#"_total{class="4xx"}"#, 2),
            (r#"_total{class="other"}"#, 1),
            (r#"_total{class="5xx"}"#, 0),
        ] {
            assert!(text.contains(&format!("{labels} {times}\n")), "{labels}: {text}");
        }
    }
}

//! How many comparisons a running crossfade has made, as its metrics tell.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::bench::BenchError;
use crate::bench::served::Admin;

/// Comparisons by verdict.
pub(super) type Verdicts = BTreeMap<String, u64>;

const METRIC: &str = "crossfade_comparisons_total{";
/// Comparisons end within milliseconds, unless they wait to settle: 3 s.
const LOOK: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(5);

/// The counts, once two looks in a row found the same.
pub(super) async fn settled(admin: &Admin) -> Result<Verdicts, BenchError> {
    let begun = Instant::now();
    let mut before = parse(&admin.text("/metrics").await?);
    loop {
        tokio::time::sleep(LOOK).await;
        let now = parse(&admin.text("/metrics").await?);
        if now == before || begun.elapsed() > PATIENCE {
            return Ok(now);
        }
        before = now;
    }
}

/// What came on top of `before`.
pub(super) fn since(before: &Verdicts, now: &Verdicts) -> Verdicts {
    let more = now.iter().map(|(verdict, count)| {
        let earlier = before.get(verdict).copied().unwrap_or(0);
        (verdict.clone(), count.saturating_sub(earlier))
    });
    more.filter(|(_, count)| *count > 0).collect()
}

/// The counter's lines of a Prometheus text, whatever else it holds.
fn parse(text: &str) -> Verdicts {
    let mut verdicts = Verdicts::new();
    for line in text.lines().filter_map(|line| line.strip_prefix(METRIC)) {
        let Some((labels, count)) = line.rsplit_once("} ") else { continue };
        let verdict = labels.split(',').find_map(|label| label.strip_prefix("verdict=\""));
        let verdict = verdict.and_then(|rest| rest.strip_suffix('"'));
        if let (Some(verdict), Ok(count)) = (verdict, count.trim().parse::<u64>()) {
            *verdicts.entry(verdict.to_owned()).or_default() += count;
        }
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(all: &[(&str, u64)]) -> Verdicts {
        all.iter().map(|(verdict, count)| ((*verdict).to_owned(), *count)).collect()
    }

    #[test]
    fn counts_are_found_among_other_metrics() {
        let text = "# TYPE crossfade_comparisons_total counter\n\
            crossfade_comparisons_total{resource=\"users\",verdict=\"match\"} 41\n\
            crossfade_comparisons_total{verdict=\"match\",resource=\"teams\"} 1\n\
            crossfade_comparisons_total{resource=\"users\",verdict=\"shed\"} 7\n\
            crossfade_comparisons_total{resource=\"users\",verdict=\"shed\"} many\n\
            crossfade_comparisons_total_of_others{verdict=\"match\"} 100\n";
        assert_eq!(parse(text), verdicts(&[("match", 42), ("shed", 7)]));
        assert_eq!(parse(""), Verdicts::new());
    }

    #[test]
    fn only_what_is_new_is_counted() {
        let (before, now) = (
            verdicts(&[("match", 5), ("shed", 2)]),
            verdicts(&[("match", 9), ("shed", 2), ("lag", 1)]),
        );
        assert_eq!(since(&before, &now), verdicts(&[("lag", 1), ("match", 4)]));
    }
}

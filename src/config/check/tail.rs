//! Writes that never pass crossfade: how they are looked for, and how fast legacy is read for that and the like.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::resource::{CellType, FilterSpec, FollowSpec, Op, QuerySurface, TailSpec};

use super::super::key::Key;
use super::super::raw;
use super::super::settings::Backfill;
use super::Checker;
use super::rows::Cells;

impl Checker<'_> {
    pub(super) fn backfill(&mut self, raw: raw::Backfill) -> Backfill {
        let key = Key::of("backfill").field("requests_per_s");
        let rate = self.number(&key, raw.requests_per_s, 100, (1, 10_000));
        let rate = u32::try_from(rate).ok().and_then(NonZeroU32::new);
        Backfill { requests_per_s: rate.unwrap_or(NonZeroU32::MIN) }
    }

    /// The outer `None` is a problem, the inner one no section.
    pub(super) fn tail(
        &mut self,
        key: &Key,
        raw: Option<raw::Tail>,
        query: Option<&QuerySurface>,
        cells: &Cells<'_>,
    ) -> Option<Option<TailSpec>> {
        let Some(raw) = raw else { return Some(None) };
        let sweep_s = self.number(&key.field("sweep_s"), raw.sweep_s, 600, (1, 24 * 60 * 60));
        let max_gone = raw.max_gone.unwrap_or(0.5);
        if !(0.0..=1.0).contains(&max_gone) {
            let message = "must be from 0 to 1: it is a share of the store's rows";
            self.report(&key.field("max_gone"), message);
        }
        let poll = self.millis(&key.field("poll_ms"), raw.poll_ms, 1_000);
        let overlap = self.number(&key.field("overlap"), raw.overlap, 5_000, (1, 1 << 53));
        let sweep = Duration::from_secs(sweep_s);
        let Some(by) = raw.by else {
            for (name, given) in
                [("poll_ms", raw.poll_ms.is_some()), ("overlap", raw.overlap.is_some())]
            {
                if given {
                    let message = "has no use without `by`: name the cell, or take this out";
                    self.report(&key.field(name), message);
                }
            }
            return Some(Some(TailSpec { follow: None, sweep, max_gone }));
        };
        let follow = self.follow(&key.field("by"), &by, query, cells, (poll, overlap))?;
        Some(Some(TailSpec { follow: Some(follow), sweep, max_gone }))
    }

    fn follow(
        &mut self,
        key: &Key,
        by: &str,
        query: Option<&QuerySurface>,
        cells: &Cells<'_>,
        (poll, overlap): (Duration, u64),
    ) -> Option<FollowSpec> {
        let spec = self.known(key, by, cells)?;
        if !matches!(spec.kind, CellType::String | CellType::Number) || spec.nullable {
            let message = format!(
                "cells.{by} must be a number, or a string that holds an ISO time, not nullable"
            );
            self.report(key, message);
            return None;
        }
        // What is wrong with the query is told already.
        let query = query?;
        let sorted = query.sort.param.is_some() && query.sort.keys.contains(&spec.id);
        let filters =
            |filter: &&FilterSpec| filter.cell == spec.id && matches!(filter.op, Op::Ge | Op::Gt);
        let since = query.filters.iter().find(filters).map(|filter| filter.param.clone());
        if since.is_none() && !(sorted && query.page.is_some()) {
            let message = format!(
                "cannot be asked for: add `{by}` to query.sort.keys of a list with pages, or a filter with op = \"ge\" or \"gt\" on it, or take `by` out"
            );
            self.report(key, message);
            return None;
        }
        Some(FollowSpec { by: spec.id.clone(), sorted, since, poll, overlap })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;
    use crate::resource::{FollowSpec, TailSpec};

    const EXAMPLE: &str = include_str!("../../../docs/crossfade.example.toml");

    fn edited(edits: &[(&str, &str)]) -> Result<Config, crate::config::ConfigError> {
        let edit = |text: String, (from, to): &(&str, &str)| {
            assert_eq!(text.matches(from).count(), 1, "{from:?}");
            text.replace(from, to)
        };
        let text = edits.iter().fold(EXAMPLE.to_owned(), edit);
        Config::parse(&text, Path::new("."), "crossfade.toml")
    }

    fn tail(keys: &str) -> Result<TailSpec, String> {
        let section = format!("[resource.tail]\n{keys}");
        let config = edited(&[("#[resource.tail]", &section)]).map_err(|e| e.to_string())?;
        Ok(config.resources[0].tail.clone().unwrap())
    }

    #[test]
    fn nobody_looks_without_a_section_and_its_defaults_are_the_documented_ones() {
        assert_eq!(edited(&[]).unwrap().resources[0].tail, None);
        assert_eq!(edited(&[]).unwrap().backfill.requests_per_s.get(), 100);
        let swept = tail("").unwrap();
        assert_eq!((swept.follow.clone(), swept.sweep.as_secs()), (None, 600));
        assert!((swept.max_gone - 0.5).abs() < f64::EPSILON);
        let FollowSpec { by, sorted, since, poll, overlap } =
            tail("by = \"updatedAt\"").unwrap().follow.unwrap();
        assert_eq!(
            (&*by, sorted, since, poll.as_millis(), overlap),
            ("updatedAt", true, None, 1_000, 5_000)
        );
    }

    #[test]
    fn each_mistake_has_its_message() {
        let cases = [
            ("by = \"changedAt\"", "there is no cell `changedAt`"),
            (
                "by = \"age\"",
                "tail.by = \"age\": cells.age must be a number, or a string that holds an ISO time, not nullable",
            ),
            ("by = \"active\"", "cells.active must be a number"),
            ("by = \"version\"", "cannot be asked for: add `version` to query.sort.keys"),
            ("poll_ms = 5", "tail.poll_ms = 5: has no use without `by`"),
            ("overlap = 5", "tail.overlap = 5: has no use without `by`"),
            ("by = \"updatedAt\"\noverlap = 0", "must be from 1 to"),
            ("sweep_s = 0", "tail.sweep_s = 0: must be from 1 to 86400"),
            ("max_gone = 1.5", "must be from 0 to 1: it is a share"),
        ];
        for (keys, expected) in cases {
            let told = tail(keys).unwrap_err();
            assert!(told.contains(expected), "{expected:?} is not in {told}");
        }
        let others = [
            ("#requests_per_s = 100", "requests_per_s = 0", "must be from 1 to 10000"),
            (
                "#harmless = [\"POST /users/search\"]",
                "harmless = [\"GET /users/search\"]",
                "reads change nothing anyhow",
            ),
            (
                "#harmless = [\"POST /users/search\"]",
                "harmless = [\"POST /users\"]",
                "`POST /users` is taken by resource[users].routes.create",
            ),
        ];
        for (from, to, expected) in others {
            let told = edited(&[(from, to)]).unwrap_err().to_string();
            assert!(told.contains(expected), "{expected:?} is not in {told}");
        }
    }

    #[test]
    fn a_list_without_a_sort_is_followed_by_a_filter_and_one_without_pages_only_so() {
        let by = ("#[resource.tail]", "[resource.tail]\nby = \"updatedAt\"");
        let unsorted = (", \"updatedAt\"]", "]");
        let filter = (
            "  { param = \"q\"",
            "  { param = \"since\", cell = \"updatedAt\", op = \"gt\" },\n  { param = \"q\"",
        );
        let config = edited(&[by, unsorted, filter]).unwrap();
        let follow = config.resources[0].tail.clone().unwrap().follow.unwrap();
        assert_eq!((follow.sorted, follow.since.as_deref()), (false, Some("since")));
        let whole = ("[resource.query.page]\nlimit = \"limit\"\noffset = \"offset\"", "");
        let envelope = ("limit = \"/limit\"\noffset = \"/offset\"", "");
        let told = edited(&[by, whole, envelope]).unwrap_err().to_string();
        assert!(told.contains("of a list with pages, or a filter"), "{told}");
        assert!(edited(&[by, whole, envelope, filter]).is_ok());
    }
}

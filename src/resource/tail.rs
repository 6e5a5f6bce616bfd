//! How writes that never pass crossfade are found: jobs, cascades, other services.

use std::time::Duration;

use super::{CellId, Resource, RowView, Version};

/// How legacy's list is followed.
#[derive(Debug, Clone, PartialEq)]
pub struct TailSpec {
    /// How the newest changes are asked for; `None` where the list cannot be asked for them.
    pub follow: Option<FollowSpec>,
    /// How often the whole list is read: what is gone shows in nothing else.
    pub sweep: Duration,
    /// The share of the store's rows, 0 to 1, that may be missing in legacy's list before nothing is taken out.
    pub max_gone: f64,
}

/// How a list is asked for what has changed. One of `sorted` and `since` holds at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowSpec {
    /// The cell that a change of any row makes greater than what all rows have.
    pub by: CellId,
    /// Whether the list can be sorted by it, the newest first.
    pub sorted: bool,
    /// The filter that leaves out what is older.
    pub since: Option<String>,
    /// How often.
    pub poll: Duration,
    /// By how much a look goes back behind the one before: changes may come to light later than others that are newer.
    /// Milliseconds where the cell holds times, else in the cell's own unit.
    pub overlap: u64,
}

impl FollowSpec {
    /// What a row has in the cell that is followed; `None` if that is no time and no number.
    pub fn version<'a>(&self, row: impl RowView<'a>) -> Option<Version> {
        Version::from_cell(row.cell(&self.by)?)
    }

    /// Whether a page of so many rows goes from the newest to the oldest. What is out of order by less than the overlap does
    /// no harm: times that are sorted as text may be, by their precision.
    #[must_use]
    pub fn is_newest_first(&self, versions: &[Version], rows: usize) -> bool {
        let in_order = |pair: &[Version]| pair[1].earlier(self.overlap) <= pair[0];
        (rows == 0 || !versions.is_empty()) && versions.windows(2).all(in_order)
    }
}

impl Resource {
    /// The target of a page of what has changed at `since` or later, from `offset` on, with at most `limit` rows: the newest
    /// first if the list can be sorted so.
    #[must_use]
    pub fn changes_url(
        &self,
        follow: &FollowSpec,
        since: Option<Version>,
        offset: usize,
        limit: usize,
    ) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        if let Some(page) = &self.query.page {
            query.append_pair(&page.limit, &limit.min(page.max_limit).to_string());
            query.append_pair(&page.offset, &offset.to_string());
        }
        let sort = &self.query.sort;
        match &sort.param {
            Some(param) if follow.sorted => {
                query.append_pair(param, &format!("-{}", follow.by));
            }
            Some(param) if sort.keys.contains(&sort.tie_breaker) => {
                query.append_pair(param, &sort.tie_breaker);
            }
            _ => {}
        }
        if let (Some(param), Some(since)) = (&follow.since, since) {
            query.append_pair(param, &since.to_text());
        }
        let path = self.routes.list.path.as_str();
        match query.finish().as_str() {
            "" => path.to_owned(),
            query => format!("{path}?{query}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Resource {
        let example = include_str!("../../docs/crossfade.example.toml");
        let config =
            crate::config::Config::parse(example, std::path::Path::new("."), "example").unwrap();
        (*config.resources[0]).clone()
    }

    #[test]
    fn changes_are_asked_for_sorted_or_filtered_or_both() {
        let users = users();
        let since = Version::of_text("2026-01-31T08:00:00Z");
        let follow = |sorted, since: Option<&str>| FollowSpec {
            by: "updatedAt".into(),
            sorted,
            since: since.map(str::to_owned),
            poll: Duration::from_secs(1),
            overlap: 1,
        };
        let url = |follow: &FollowSpec| users.changes_url(follow, since, 40, 1_000);
        let page = "/users?limit=100&offset=40";
        assert_eq!(url(&follow(true, None)), format!("{page}&sort=-updatedAt"));
        let time = "2026-01-31T08%3A00%3A00.000Z";
        assert_eq!(
            url(&follow(true, Some("since"))),
            format!("{page}&sort=-updatedAt&since={time}")
        );
        // The tie-breaker is no key of the sort here: the order is the API's own.
        assert_eq!(url(&follow(false, Some("since"))), format!("{page}&since={time}"));
        let first = users.changes_url(&follow(true, Some("since")), None, 0, 20);
        assert_eq!(first, "/users?limit=20&offset=0&sort=-updatedAt");
    }
}

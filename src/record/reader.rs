//! Recordings read back.

use std::path::{Path, PathBuf};

use libsql::Rows;

use super::cells::Cells;
use super::schema::{Database, doing};
use super::{
    Answered, ComparedSlot, Counter, ExchangeKind, Fallback, Measure, NoteKind, NoteRecord,
    RecordError, Recorded, RouteLatency, RuleAccount, RuleRecord, SampleRecord, SignatureRecord,
    VerdictCount,
};
use crate::compare::{Signature, Verdict};
use crate::migration::{Origin, Stage};

/// A range of time, in milliseconds since 1970; spans of the recording's grain count that begin in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TimeRange {
    /// Its start; none is the beginning.
    pub from_ms: Option<u64>,
    /// Its end, exclusive; none is the end.
    pub to_ms: Option<u64>,
}

/// A recording to read from. Each call opens the file anew and reads on a thread where it may block.
#[derive(Debug, Clone)]
pub struct Recording {
    path: PathBuf,
}

impl Recording {
    /// Checks that the file is a recording that can be read here.
    ///
    /// # Errors
    /// [`RecordError::Missing`], [`RecordError::NotARecording`], [`RecordError::Newer`], or
    /// [`RecordError::Database`].
    pub async fn open_read(path: &Path) -> Result<Self, RecordError> {
        let recording = Self { path: path.to_owned() };
        recording.with(async |_| Ok(())).await?;
        Ok(recording)
    }

    /// Everything recorded in a range.
    ///
    /// # Errors
    /// [`RecordError`] if the file cannot be read or holds something that makes no sense.
    pub async fn load(&self, range: TimeRange) -> Result<Recorded, RecordError> {
        self.with(async move |reader| reader.load(range).await).await
    }

    /// All signatures, most frequent first, with their samples.
    ///
    /// # Errors
    /// As [`Recording::load`].
    pub async fn signatures(&self) -> Result<Vec<SignatureRecord>, RecordError> {
        self.with(async |reader| reader.signatures(Bounds::of(TimeRange::default())).await).await
    }

    /// How often each verdict was reached on each route, over the whole recording.
    ///
    /// # Errors
    /// As [`Recording::load`].
    pub async fn verdicts(&self) -> Result<Vec<VerdictCount>, RecordError> {
        self.with(async |reader| {
            let query = "select resource, route, verdict, sum(count) from compared
                         group by 1, 2, 3 order by 1, 2, 4 desc";
            reader
                .all(query, (), |row| {
                    Ok(VerdictCount {
                        resource: row.text(0)?,
                        route: row.text(1)?,
                        verdict: row.word(2, "verdict")?,
                        count: row.count(3)?,
                    })
                })
                .await
        })
        .await
    }

    /// What each rule of the comparison did, over the whole recording.
    ///
    /// # Errors
    /// As [`Recording::load`].
    pub async fn rules(&self) -> Result<Vec<RuleAccount>, RecordError> {
        self.with(async |reader| Ok(RuleAccount::all(&reader.rules().await?))).await
    }

    async fn with<T: Send + 'static>(
        &self,
        read: impl AsyncFnOnce(Reader) -> Result<T, RecordError> + Send + 'static,
    ) -> Result<T, RecordError> {
        let path = self.path.clone();
        let work = move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().build().map_err(|error| {
                    RecordError::Thread { path: path.clone(), reason: error.to_string() }
                })?;
            runtime.block_on(async { read(Reader(Database::read(&path).await?)).await })
        };
        let failed = |error: tokio::task::JoinError| RecordError::Thread {
            path: self.path.clone(),
            reason: error.to_string(),
        };
        tokio::task::spawn_blocking(work).await.map_err(failed)?
    }
}

/// A range as signed numbers.
#[derive(Debug, Clone, Copy)]
struct Bounds(i64, i64);

impl Bounds {
    fn of(range: TimeRange) -> Self {
        let signed = |ms| i64::try_from(ms).unwrap_or(i64::MAX);
        Self(range.from_ms.map_or(0, signed), range.to_ms.map_or(i64::MAX, signed))
    }

    const fn params(self) -> [i64; 2] {
        [self.0, self.1]
    }
}

struct Reader(Database);

impl Reader {
    async fn rows(
        &self,
        query: &str,
        params: impl libsql::params::IntoParams,
    ) -> Result<Rows, RecordError> {
        self.0.connection.query(query, params).await.map_err(doing(&self.0.path, "read"))
    }

    async fn each(
        &self,
        query: &str,
        params: impl libsql::params::IntoParams,
        mut take: impl FnMut(&Cells<'_>) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        let path = &self.0.path;
        let mut rows = self.rows(query, params).await?;
        while let Some(row) = rows.next().await.map_err(doing(path, "read"))? {
            take(&Cells::of(&row, path))?;
        }
        Ok(())
    }

    async fn all<T>(
        &self,
        query: &str,
        params: impl libsql::params::IntoParams,
        read: impl Fn(&Cells<'_>) -> Result<T, RecordError>,
    ) -> Result<Vec<T>, RecordError> {
        let mut all = Vec::new();
        self.each(query, params, |row| {
            all.push(read(row)?);
            Ok(())
        })
        .await?;
        Ok(all)
    }

    /// One consistent state: all in one read transaction.
    async fn load(self, range: TimeRange) -> Result<Recorded, RecordError> {
        let begun = self.0.connection.execute_batch("begin;").await;
        begun.map_err(doing(&self.0.path, "read"))?;
        let bounds = Bounds::of(range);
        let made_by = "select value from meta where name = 'made_by'";
        let made_by = self.all(made_by, (), |row| row.text(0)).await?.pop().unwrap_or_default();
        let grain = "select value from meta where name = 'grain_ms'";
        let grain_ms = self.all(grain, (), |row| row.word(0, "its grain")).await?.pop();
        let grain_ms = grain_ms.unwrap_or(60_000).max(1);
        let (first_ms, last_ms) = self.extent(bounds, grain_ms).await?;
        Ok(Recorded {
            made_by,
            grain_ms,
            range,
            first_ms,
            last_ms,
            answered: self.answered(bounds).await?,
            compared: self.compared(bounds).await?,
            latencies: self.latencies(bounds).await?,
            fallbacks: self.fallbacks(bounds).await?,
            signatures: self.signatures_of(bounds).await?,
            notes: self.notes(bounds).await?,
            counters: self.counters(bounds).await?,
            rules: self.rules().await?,
        })
    }

    async fn extent(
        &self,
        bounds: Bounds,
        grain_ms: u64,
    ) -> Result<(Option<u64>, Option<u64>), RecordError> {
        let grain = i64::try_from(grain_ms).unwrap_or(i64::MAX);
        let params = [bounds.0, bounds.1, grain];
        let query = "select min(slot), max(slot) from (
            select slot from answered union all select slot from compared
            union all select slot from counter
            union all select at - at % ?3 as slot from note)
            where slot >= ?1 and slot < ?2";
        let extents = self
            .all(query, params, |row| Ok((row.optional_count(0)?, row.optional_count(1)?)))
            .await?;
        let (first, last) = extents.into_iter().next().unwrap_or_default();
        Ok((first, last.map(|slot| slot.saturating_add(grain_ms))))
    }

    async fn answered(&self, bounds: Bounds) -> Result<Vec<Answered>, RecordError> {
        let query = "select resource, route, kind, stage, origin, requests, s1, s2, s3, s4, s5,
                     latencies from answered where slot >= ?1 and slot < ?2
                     order by resource, route, kind, stage, origin";
        let mut all: Vec<Answered> = Vec::new();
        self.each(query, bounds.params(), |row| {
            let one = Answered {
                resource: row.text(0)?,
                route: row.text(1)?,
                kind: row.named::<ExchangeKind>(2, "a kind")?,
                stage: row.word::<Stage>(3, "a stage")?,
                origin: row.named::<Origin>(4, "an origin")?,
                requests: row.count(5)?,
                statuses: [
                    row.count(6)?,
                    row.count(7)?,
                    row.count(8)?,
                    row.count(9)?,
                    row.count(10)?,
                ],
                latencies: row.latencies(11)?,
            };
            match all.last_mut().filter(|last| last.is_about_the_same_as(&one)) {
                Some(last) => last.merge(&one),
                None => all.push(one),
            }
            Ok(())
        })
        .await?;
        Ok(all)
    }

    async fn compared(&self, bounds: Bounds) -> Result<Vec<ComparedSlot>, RecordError> {
        let query = "select slot, resource, route, stage, verdict, count from compared
                     where slot >= ?1 and slot < ?2 order by 1, 2, 3, 4, 5";
        self.all(query, bounds.params(), |row| {
            Ok(ComparedSlot {
                at_ms: row.count(0)?,
                resource: row.text(1)?,
                route: row.text(2)?,
                stage: row.word(3, "a stage")?,
                verdict: row.word::<Verdict>(4, "a verdict")?,
                count: row.count(5)?,
            })
        })
        .await
    }

    async fn latencies(&self, bounds: Bounds) -> Result<Vec<RouteLatency>, RecordError> {
        let query = "select resource, route, measure, latencies from latency
                     where slot >= ?1 and slot < ?2 order by 1, 2, 3";
        let mut all: Vec<RouteLatency> = Vec::new();
        self.each(query, bounds.params(), |row| {
            let one = RouteLatency {
                resource: row.text(0)?,
                route: row.text(1)?,
                measure: row.named::<Measure>(2, "a measure")?,
                latencies: row.latencies(3)?,
            };
            let same = |last: &&mut RouteLatency| {
                (&last.resource, &last.route, last.measure)
                    == (&one.resource, &one.route, one.measure)
            };
            match all.last_mut().filter(same) {
                Some(last) => last.latencies.merge(&one.latencies),
                None => all.push(one),
            }
            Ok(())
        })
        .await?;
        Ok(all)
    }

    async fn fallbacks(&self, bounds: Bounds) -> Result<Vec<Fallback>, RecordError> {
        let query = "select resource, route, reason, sum(count) from fallback
                     where slot >= ?1 and slot < ?2 group by 1, 2, 3 order by 1, 2, 4 desc";
        self.all(query, bounds.params(), |row| {
            Ok(Fallback {
                resource: row.text(0)?,
                route: row.text(1)?,
                reason: row.text(2)?,
                count: row.count(3)?,
            })
        })
        .await
    }

    async fn signatures(self, bounds: Bounds) -> Result<Vec<SignatureRecord>, RecordError> {
        self.signatures_of(bounds).await
    }

    async fn signatures_of(&self, bounds: Bounds) -> Result<Vec<SignatureRecord>, RecordError> {
        let query = "select id, parts, first_seen, last_seen, sum(count) from signature
                     join signature_slot using (id) where slot >= ?1 and slot < ?2
                     group by id order by 5 desc, id";
        let mut signatures = self
            .all(query, bounds.params(), |row| {
                Ok(SignatureRecord {
                    signature: Signature { id: row.text(0)?, parts: row.json(1, "a signature")? },
                    count: row.count(4)?,
                    first_seen_ms: row.count(2)?,
                    last_seen_ms: row.count(3)?,
                    samples: Vec::new(),
                })
            })
            .await?;
        for signature in &mut signatures {
            let query = "select at, sample from sample where id = ?1 order by place";
            let id = signature.signature.id.as_str();
            signature.samples = self
                .all(query, [id], |row| {
                    Ok(SampleRecord { at_ms: row.count(0)?, sample: row.json(1, "a sample")? })
                })
                .await?;
        }
        Ok(signatures)
    }

    async fn notes(&self, bounds: Bounds) -> Result<Vec<NoteRecord>, RecordError> {
        let query = "select at, kind, text from note where at >= ?1 and at < ?2 order by at, id";
        self.all(query, bounds.params(), |row| {
            Ok(NoteRecord {
                at_ms: row.count(0)?,
                kind: row.named::<NoteKind>(1, "a note's kind")?,
                text: row.text(2)?,
            })
        })
        .await
    }

    async fn counters(&self, bounds: Bounds) -> Result<Vec<Counter>, RecordError> {
        let query = "select resource, route, name, sum(count) from counter
                     where slot >= ?1 and slot < ?2 group by 1, 2, 3 order by 1, 2, 3";
        self.all(query, bounds.params(), |row| {
            Ok(Counter {
                resource: row.text(0)?,
                route: row.text(1)?,
                name: row.text(2)?,
                count: row.count(3)?,
            })
        })
        .await
    }

    async fn rules(&self) -> Result<Vec<RuleRecord>, RecordError> {
        let query = "select resource, route, rule, compared, located, hidden, covered, total
                     from rule order by 1, 2, 3";
        self.all(query, (), |row| {
            Ok(RuleRecord {
                resource: row.text(0)?,
                route: row.text(1)?,
                rule: row.text(2)?,
                compared: row.count(3)?,
                located: row.count(4)?,
                hidden: row.count(5)?,
                covered: row.count(6)?,
                values: row.count(7)?,
            })
        })
        .await
    }
}

impl Answered {
    fn is_about_the_same_as(&self, other: &Self) -> bool {
        (&self.resource, &self.route, self.kind, self.stage, self.origin)
            == (&other.resource, &other.route, other.kind, other.stage, other.origin)
    }

    fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        for (sum, more) in self.statuses.iter_mut().zip(other.statuses) {
            *sum += more;
        }
        self.latencies.merge(&other.latencies);
    }
}

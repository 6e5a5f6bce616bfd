//! Many events become few rows: folded in memory, then added to the file in one transaction.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use libsql::{Transaction, params};

use super::event::{Compared, Count, Event, Exchange, Note};
use super::{Latencies, Measure, Sample, scrub};
use crate::compare::SignatureParts;

/// Recordings hold at most so many signatures; further ones are counted together.
const MAX_SIGNATURES: i64 = 1_000;
/// Places 0 to 3 keep the first samples, this one the latest.
const LAST_PLACE: i64 = 4;
/// Recordings hold at most so many notes; further ones are counted.
const MAX_NOTES: i64 = 10_000;
/// A note's text is cut to so many bytes.
const MAX_NOTE_BYTES: usize = 2_000;

/// Slot, resource, route.
type Route = (i64, String, String);

#[derive(Default)]
struct Answers {
    requests: i64,
    statuses: [i64; 5],
    latencies: Latencies,
}

struct Disagreement {
    parts: SignatureParts,
    first_seen: i64,
    last_seen: i64,
    slots: BTreeMap<i64, i64>,
    samples: Vec<(i64, Sample)>,
}

/// Events folded, not yet written.
#[derive(Default)]
pub(super) struct Batch {
    grain_ms: u64,
    /// How many events are in it.
    pub(super) events: u64,
    /// The latest time among them.
    pub(super) latest_ms: u64,
    answered: HashMap<(Route, &'static str, &'static str, &'static str), Answers>,
    compared: HashMap<(Route, &'static str, &'static str), i64>,
    latencies: HashMap<(Route, Measure), Latencies>,
    fallbacks: HashMap<(Route, String), i64>,
    signatures: HashMap<String, Disagreement>,
    notes: Vec<Note>,
    counters: HashMap<(Route, String), i64>,
    rules: HashMap<(String, String, String), [i64; 5]>,
}

/// SQLite's integers are signed; no time or count comes near their end.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn add<K: Eq + Hash>(counts: &mut HashMap<K, i64>, key: K, by: i64) {
    let count = counts.entry(key).or_default();
    *count = count.saturating_add(by);
}

impl Batch {
    /// An empty one; times are rounded down to multiples of `grain_ms`.
    pub(super) fn new(grain_ms: u64) -> Self {
        Self { grain_ms: grain_ms.max(1), ..Self::default() }
    }

    fn slot(&self, at_ms: u64) -> i64 {
        signed(at_ms - at_ms % self.grain_ms)
    }

    pub(super) fn absorb(&mut self, event: Event) {
        self.events += 1;
        self.latest_ms = self.latest_ms.max(event.at_ms());
        match event {
            Event::Exchange(event) => self.exchange(event),
            Event::Compared(event) => self.comparison(*event),
            Event::Note(event) => self.notes.push(event),
            Event::Count(event) => self.count(event),
        }
    }

    fn exchange(&mut self, event: Exchange) {
        let route = (self.slot(event.at_ms), event.resource.to_string(), event.route.to_string());
        if let Some(reason) = event.fallback {
            add(&mut self.fallbacks, (route.clone(), reason.into_owned()), 1);
        }
        let key = (route, event.kind.as_str(), event.stage.as_str(), event.answered_by.as_str());
        let answers = self.answered.entry(key).or_default();
        answers.requests += 1;
        answers.latencies.record(event.latency_us);
        let class = usize::from(event.status / 100).wrapping_sub(1);
        if let Some(count) = answers.statuses.get_mut(class) {
            *count += 1;
        }
    }

    fn comparison(&mut self, event: Compared) {
        let at = signed(event.at_ms);
        let slot = self.slot(event.at_ms);
        let route = (slot, event.resource.to_string(), event.route.to_string());
        let key = (route.clone(), event.stage.as_str(), event.verdict.as_str());
        add(&mut self.compared, key, 1);
        let mut measured = |measure, latency_us| {
            self.latencies.entry((route.clone(), measure)).or_default().record(latency_us);
        };
        // Only pairs: the two histograms are then about the very same requests.
        if let (Some(legacy), Some(sync)) = (event.legacy_latency_us, event.sync_latency_us) {
            measured(Measure::PairedLegacy, legacy);
            measured(Measure::PairedSync, sync);
        }
        if let crate::compare::Verdict::Lag(lag_ms) = event.verdict {
            measured(Measure::Lag, lag_ms.saturating_mul(1_000));
        }
        if event.unsafe_integers > 0 {
            let by = signed(event.unsafe_integers);
            add(&mut self.counters, (route.clone(), "unsafe_integers".to_owned()), by);
        }
        for hits in event.rules {
            let key = (route.1.clone(), route.2.clone(), hits.rule);
            let sums = self.rules.entry(key).or_default();
            let found = [1, hits.located, hits.hidden, hits.covered, hits.values];
            for (sum, more) in sums.iter_mut().zip(found) {
                *sum = sum.saturating_add(signed(more));
            }
        }
        if let Some(signature) = event.signature {
            let known = self.signatures.entry(signature.id).or_insert_with(|| Disagreement {
                parts: signature.parts,
                first_seen: at,
                last_seen: at,
                slots: BTreeMap::new(),
                samples: Vec::new(),
            });
            known.first_seen = known.first_seen.min(at);
            known.last_seen = known.last_seen.max(at);
            *known.slots.entry(slot).or_default() += 1;
            known.samples.extend(event.sample.map(|sample| (at, sample)));
        }
    }

    fn count(&mut self, event: Count) {
        let (resource, route) = event.of.map_or_else(Default::default, |(resource, route)| {
            (resource.to_string(), route.to_string())
        });
        let key = ((self.slot(event.at_ms), resource, route), event.name.into_owned());
        add(&mut self.counters, key, signed(event.by));
    }

    /// Adds to a counter that belongs to no route, in the batch's latest slot.
    pub(super) fn add_count(&mut self, name: &str, by: u64) {
        let slot = self.slot(self.latest_ms);
        self.add_count_at(slot, name, by);
    }

    fn add_count_at(&mut self, slot: i64, name: &str, by: u64) {
        let route = (slot, String::new(), String::new());
        add(&mut self.counters, (route, name.to_owned()), signed(by));
    }

    /// Adds everything to the file.
    pub(super) async fn write(mut self, tx: &Transaction) -> libsql::Result<()> {
        self.write_signatures(tx).await?;
        self.write_notes(tx).await?;
        for (((slot, resource, route), kind, stage, origin), answers) in self.answered {
            write_answers(tx, (slot, resource, route), [kind, stage, origin], answers).await?;
        }
        for (((slot, resource, route), measure), latencies) in self.latencies {
            write_latencies(tx, (slot, resource, route), measure, latencies).await?;
        }
        for (((slot, resource, route), stage, verdict), count) in self.compared {
            tx.execute(
                "insert into compared values (?1, ?2, ?3, ?4, ?5, ?6)
                 on conflict do update set count = count + excluded.count",
                params![slot, resource, route, stage, verdict, count],
            )
            .await?;
        }
        for (((slot, resource, route), reason), count) in self.fallbacks {
            tx.execute(
                "insert into fallback values (?1, ?2, ?3, ?4, ?5)
                 on conflict do update set count = count + excluded.count",
                params![slot, resource, route, reason, count],
            )
            .await?;
        }
        for (((slot, resource, route), name), count) in self.counters {
            tx.execute(
                "insert into counter values (?1, ?2, ?3, ?4, ?5)
                 on conflict do update set count = count + excluded.count",
                params![slot, resource, route, name, count],
            )
            .await?;
        }
        for ((resource, route, rule), [compared, located, hidden, covered, total]) in self.rules {
            tx.execute(
                "insert into rule values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 on conflict do update set compared = compared + excluded.compared,
                   located = located + excluded.located, hidden = hidden + excluded.hidden,
                   covered = covered + excluded.covered, total = total + excluded.total",
                params![resource, route, rule, compared, located, hidden, covered, total],
            )
            .await?;
        }
        Ok(())
    }

    async fn write_signatures(&mut self, tx: &Transaction) -> libsql::Result<()> {
        for (id, found) in std::mem::take(&mut self.signatures) {
            let known = number(tx, "select count(*) from signature where id = ?1", [id.as_str()])
                .await?
                > 0;
            if !known && number(tx, "select count(*) from signature", ()).await? >= MAX_SIGNATURES {
                for (slot, count) in found.slots {
                    let count = u64::try_from(count).unwrap_or(0);
                    self.add_count_at(slot, "signatures_over_bound", count);
                }
                continue;
            }
            let parts = serde_json::to_string(&found.parts).unwrap_or_default();
            tx.execute(
                "insert into signature values (?1, ?2, ?3, ?4)
                 on conflict do update set first_seen = min(first_seen, excluded.first_seen),
                   last_seen = max(last_seen, excluded.last_seen)",
                params![id.as_str(), parts, found.first_seen, found.last_seen],
            )
            .await?;
            for (slot, count) in found.slots {
                tx.execute(
                    "insert into signature_slot values (?1, ?2, ?3)
                     on conflict do update set count = count + excluded.count",
                    params![slot, id.as_str(), count],
                )
                .await?;
            }
            let mut place =
                number(tx, "select count(*) from sample where id = ?1", [id.as_str()]).await?;
            for (at, sample) in found.samples {
                let text = serde_json::to_string(&sample).unwrap_or_default();
                tx.execute(
                    "insert or replace into sample values (?1, ?2, ?3, ?4)",
                    params![id.as_str(), place.min(LAST_PLACE), at, text],
                )
                .await?;
                place += 1;
            }
        }
        Ok(())
    }

    async fn write_notes(&mut self, tx: &Transaction) -> libsql::Result<()> {
        let notes = std::mem::take(&mut self.notes);
        if notes.is_empty() {
            return Ok(());
        }
        let mut held = number(tx, "select count(*) from note", ()).await?;
        for note in notes {
            if held >= MAX_NOTES {
                self.add_count_at(self.slot(note.at_ms), "notes_over_bound", 1);
                continue;
            }
            let mut text = scrub(&note.text);
            text.truncate(text.floor_char_boundary(MAX_NOTE_BYTES));
            tx.execute(
                "insert into note (at, kind, text) values (?1, ?2, ?3)",
                params![signed(note.at_ms), note.kind.as_str(), text],
            )
            .await?;
            held += 1;
        }
        Ok(())
    }
}

async fn write_answers(
    tx: &Transaction,
    (slot, resource, route): Route,
    [kind, stage, origin]: [&str; 3],
    mut answers: Answers,
) -> libsql::Result<()> {
    let key = params![slot, resource.as_str(), route.as_str(), kind, stage, origin];
    let mut rows = tx
        .query(
            "select latencies from answered where slot = ?1 and resource = ?2 and route = ?3
             and kind = ?4 and stage = ?5 and origin = ?6",
            key,
        )
        .await?;
    if let Some(row) = rows.next().await? {
        merge_stored(&mut answers.latencies, row.get_str(0)?);
    }
    drop(rows);
    let [s1, s2, s3, s4, s5] = answers.statuses;
    let (requests, latencies) = (answers.requests, answers.latencies.to_base64());
    tx.execute(
        "insert into answered values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
         on conflict do update set requests = requests + excluded.requests, s1 = s1 + excluded.s1,
           s2 = s2 + excluded.s2, s3 = s3 + excluded.s3, s4 = s4 + excluded.s4,
           s5 = s5 + excluded.s5, latencies = excluded.latencies",
        params![
            slot, resource, route, kind, stage, origin, requests, s1, s2, s3, s4, s5, latencies
        ],
    )
    .await?;
    Ok(())
}

async fn write_latencies(
    tx: &Transaction,
    (slot, resource, route): Route,
    measure: Measure,
    mut latencies: Latencies,
) -> libsql::Result<()> {
    let mut rows = tx
        .query(
            "select latencies from latency where slot = ?1 and resource = ?2 and route = ?3
             and measure = ?4",
            params![slot, resource.as_str(), route.as_str(), measure.as_str()],
        )
        .await?;
    if let Some(row) = rows.next().await? {
        merge_stored(&mut latencies, row.get_str(0)?);
    }
    drop(rows);
    tx.execute(
        "insert into latency values (?1, ?2, ?3, ?4, ?5)
         on conflict do update set latencies = excluded.latencies",
        params![slot, resource, route, measure.as_str(), latencies.to_base64()],
    )
    .await?;
    Ok(())
}

fn merge_stored(latencies: &mut Latencies, stored: &str) {
    match Latencies::from_base64(stored) {
        Ok(stored) => latencies.merge(&stored),
        Err(reason) => tracing::warn!(reason, "a stored histogram cannot be read, it is replaced"),
    }
}

async fn number(
    tx: &Transaction,
    query: &str,
    params: impl libsql::params::IntoParams,
) -> libsql::Result<i64> {
    let mut rows = tx.query(query, params).await?;
    match rows.next().await? {
        Some(row) => row.get(0),
        None => Ok(0),
    }
}

//! crossfade's share of the store benchmark: the same jobs as `packages/peer-bench/src/store-worker.js` has,
//! done by the crate that the server uses.

use std::io::{BufRead, Write};
use std::time::Instant;

use mergeable_store::{CellChange, ClientId, MergeableStore, Random, Synchronizer};
use serde::Deserialize;
use serde_json::{Value, json};

use super::queries;
use crate::bench::{BenchError, recipe, usage};

#[derive(Debug, Deserialize)]
struct Job {
    op: String,
    rows: u32,
    #[serde(default)]
    edits: u32,
    #[serde(default)]
    pages: u32,
}

/// A full store that edits go to, kept between jobs of as many rows.
pub(super) struct Full {
    rows: u32,
    /// The number of the next write.
    pub(super) next: u32,
    pub(super) end: Synchronizer,
}

/// Answers jobs, one a line, until there are no more.
///
/// # Errors
/// [`BenchError`] if a line cannot be read or written.
pub fn work(jobs: impl BufRead, mut answers: impl Write) -> Result<(), BenchError> {
    let io = |error: std::io::Error| BenchError::Wrong(format!("a worker's pipe: {error}"));
    let mut full = None;
    for line in jobs.lines() {
        let answer = match serde_json::from_str::<Job>(&line.map_err(io)?) {
            Ok(job) => run(&job, &mut full).unwrap_or_else(|why| json!({ "error": why })),
            Err(error) => json!({ "error": error.to_string() }),
        };
        writeln!(answers, "{answer}").and_then(|()| answers.flush()).map_err(io)?;
    }
    Ok(())
}

fn run(job: &Job, full: &mut Option<Full>) -> Result<Value, String> {
    match job.op.as_str() {
        "digest" => Ok(json!({ "digest": recipe::digest(job.rows) })),
        "merge_text" => {
            let frames: Vec<String> =
                recipe::bodies(job.rows).map(|body| recipe::frame(&body)).collect();
            let mut end = synchronizer()?;
            let timed = timed(|| frames.iter().try_for_each(|frame| receive(&mut end, frame)))?;
            Ok(with_hashes(timed, end.store()))
        }
        "merge_parsed" => {
            let bodies: Vec<_> = recipe::bodies(job.rows).collect();
            let mut store = empty();
            let timed = timed(|| {
                bodies.iter().try_for_each(|body| {
                    let merged = store.merge(recipe::NOW_MS, body);
                    merged.map(drop).map_err(|error| error.to_string())
                })
            })?;
            Ok(with_hashes(timed, &store))
        }
        "edit" => edits(job, full),
        "query_first" => queries::first(filled(full, job.rows)?),
        "query_update" => queries::update(filled(full, job.rows)?, job.rows, job.edits),
        "sorted_page" => queries::sorted_pages(filled(full, job.rows)?, job.rows, job.pages),
        "memory" => memory(job.rows, full),
        "drop" => {
            *full = None;
            Ok(json!({}))
        }
        op => Err(format!("no job {op}")),
    }
}

fn edits(job: &Job, full: &mut Option<Full>) -> Result<Value, String> {
    let full = filled(full, job.rows)?;
    let row = |n: u32| u64::from(n) * 7919 % u64::from(job.rows.max(1));
    let numbers = full.next..full.next + job.edits;
    let frames: Vec<String> = numbers
        .clone()
        .map(|n| recipe::frame(&recipe::edit(u32::try_from(row(n)).unwrap_or(0), n)))
        .collect();
    full.next = numbers.end;
    let mut timed = timed(|| frames.iter().try_for_each(|frame| receive(&mut full.end, frame)))?;
    let taken = numbers.last().is_none_or(|n| {
        let id = recipe::row_id(u32::try_from(row(n)).unwrap_or(0));
        let wanted = mergeable_store::Cell::from(format!("Edited {n}"));
        let stamp = full.end.store().stamp(recipe::TABLE, &id, recipe::EDITED);
        stamp.is_some_and(|(thing, _)| thing == Some(wanted))
    });
    timed["taken"] = taken.into();
    Ok(timed)
}

/// Bytes resident with the store, minus bytes resident before; to be asked of a new process. What the allocator keeps
/// of what was let go of counts against the store.
fn memory(rows: u32, full: &mut Option<Full>) -> Result<Value, String> {
    let resident = || usage::memory(std::process::id()).map_err(|error| error.to_string());
    run(&Job { op: "merge_text".to_owned(), rows: 10, edits: 0, pages: 0 }, full)?;
    let before = resident()?;
    let full = filled(full, rows)?;
    let bytes = resident()?.saturating_sub(before);
    let sizes = json!({ "bytes": bytes, "rss_bytes": bytes });
    Ok(with_hashes(sizes, full.end.store()))
}

fn filled(full: &mut Option<Full>, rows: u32) -> Result<&mut Full, String> {
    if full.as_ref().is_none_or(|full| full.rows != rows) {
        *full = None;
        let mut end = synchronizer()?;
        for body in recipe::bodies_of(rows, recipe::ROWS_PER_SMALL_FRAME) {
            receive(&mut end, &recipe::frame(&body))?;
        }
        *full = Some(Full { rows, next: rows * recipe::CELLS_PER_ROW, end });
    }
    full.as_mut().ok_or_else(|| "no store".to_owned())
}

fn empty() -> MergeableStore {
    MergeableStore::new(ClientId::from_unique_id("server"))
}

/// A client's synchronizer, in sync with a peer that has nothing.
fn synchronizer() -> Result<Synchronizer, String> {
    let mut end = Synchronizer::new(empty());
    let asked = end.connected(recipe::NOW_MS, &mut Counter(0));
    let request: (String, Value, Value) = asked
        .first()
        .and_then(|frame| serde_json::from_str(frame.split_once('\n')?.1).ok())
        .ok_or("the synchronizer asks nobody")?;
    receive(&mut end, &format!("S\n[\"{}\",0,[0,0]]", request.0))?;
    if end.is_live() { Ok(end) } else { Err("the synchronizer does not begin".to_owned()) }
}

fn receive(end: &mut Synchronizer, frame: &str) -> Result<(), String> {
    changed(end, frame).map(drop)
}

/// The cells that the frame changed.
pub(super) fn changed(end: &mut Synchronizer, frame: &str) -> Result<Vec<CellChange>, String> {
    let received = end.receive(recipe::NOW_MS, frame, &mut Counter(0));
    received.map(|effects| effects.changed).map_err(|close| close.reason.into_owned())
}

pub(super) fn timed(work: impl FnOnce() -> Result<(), String>) -> Result<Value, String> {
    let (cpu_before, begun) = (usage::own_cpu(), Instant::now());
    work()?;
    let (ns, cpu) = (begun.elapsed().as_nanos(), (usage::own_cpu() - cpu_before).as_nanos());
    Ok(json!({ "ns": ns as f64, "cpu_ns": cpu as f64 }))
}

fn with_hashes(mut answer: Value, store: &MergeableStore) -> Value {
    let hashes = store.hashes();
    answer["hashes"] = json!([hashes.tables, hashes.values]);
    answer
}

/// Ids need not be unpredictable here.
struct Counter(u8);

impl Random for Counter {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(jobs: &str) -> Vec<Value> {
        let mut out = Vec::new();
        work(jobs.as_bytes(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn each_job_is_answered_and_both_merges_come_to_the_same() {
        let found = answers(concat!(
            "{\"op\":\"merge_text\",\"rows\":50}\n",
            "{\"op\":\"merge_parsed\",\"rows\":50}\n",
            "{\"op\":\"edit\",\"rows\":50,\"edits\":7}\n",
            "{\"op\":\"query_first\",\"rows\":50}\n",
            "{\"op\":\"query_update\",\"rows\":50,\"edits\":7}\n",
            "{\"op\":\"sorted_page\",\"rows\":50,\"pages\":3}\n",
            "{\"op\":\"memory\",\"rows\":50}\n",
            "{\"op\":\"drop\",\"rows\":0}\n",
            "{\"op\":\"dance\",\"rows\":0}\n",
            "nonsense\n",
        ));
        assert_eq!(found.len(), 10);
        assert_eq!(found[0]["hashes"], found[1]["hashes"]);
        assert_ne!(found[0]["hashes"], json!([0, 0]));
        assert!(found[0]["ns"].as_f64().unwrap() > 0.0);
        assert_eq!(found[2]["taken"], true);
        // Every third row is active.
        assert_eq!((&found[3]["result_rows"], &found[4]["taken"]), (&json!(17), &json!(true)));
        assert_eq!(found[5]["page"].as_array().unwrap().len(), 12);
        assert!(found[6]["bytes"].is_u64() && found[7]["error"].is_null());
        assert!(found[8]["error"].is_string() && found[9]["error"].is_string());
    }
}

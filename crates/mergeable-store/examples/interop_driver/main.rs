//! Carries out schedules of the interoperability test (`packages/interop`), one JSON line in, one out, so that the same
//! schedule can be run here and in the `tinybase` package and the outcomes compared.
//!
//! A line is a command, an object with one key; its answer is `{"ok": ...}` or `{"error": text}`. See [`store`] for the
//! commands. Lines are trusted: the test writes them.

mod command;
mod edit;
mod store;

use std::io::{self, BufRead, Write};

use command::{DriverError, Fields, text};
use mergeable_store::Json;

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let answer = match answer(&line?) {
            Ok(result) => object([("ok", result)]),
            Err(error) => object([("error", text(error.to_string()))]),
        };
        writeln!(out, "{}", answer.stringify())?;
        out.flush()?;
    }
    Ok(())
}

fn answer(line: &str) -> Result<Json, DriverError> {
    let command = Json::parse(line)?;
    match command.field("store") {
        Ok(schedule) => store::run(schedule),
        Err(_) => Err(DriverError::Unknown(line.chars().take(80).collect())),
    }
}

fn object<const N: usize>(entries: [(&str, Json); N]) -> Json {
    Json::Object(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

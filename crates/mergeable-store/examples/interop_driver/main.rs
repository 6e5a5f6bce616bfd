//! Carries out schedules of the interoperability test (`packages/interop`), one JSON line in, one out, so that the same
//! schedule can be run here and in the `tinybase` package and the outcomes compared.
//!
//! A line is a command, an object with one key; its answer is `{"ok": ...}` or `{"error": text}`. See [`store`] and [`net`]
//! for the commands. Lines are trusted: the test writes them.

mod command;
mod edit;
mod net;
mod store;

use std::io::{self, BufRead, Write};

use command::{DriverError, Fields, text};
use mergeable_store::Json;

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    let mut net = None;
    for line in io::stdin().lock().lines() {
        let answer = match answer(&mut net, &line?) {
            Ok(result) => object([("ok", result)]),
            Err(error) => object([("error", text(error.to_string()))]),
        };
        writeln!(out, "{}", answer.stringify())?;
        out.flush()?;
    }
    Ok(())
}

fn answer(net: &mut Option<net::Net>, line: &str) -> Result<Json, DriverError> {
    let command = Json::parse(line)?;
    match (command.field("store"), command.field("net")) {
        (Ok(schedule), _) => store::run(schedule),
        (_, Ok(command)) => net::run(net, command),
        _ => Err(DriverError::Unknown(line.chars().take(80).collect())),
    }
}

fn object<const N: usize>(entries: [(&str, Json); N]) -> Json {
    Json::Object(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

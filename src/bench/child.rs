//! Child processes that answer in lines of JSON. None outlives its owner.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};

use crate::bench::BenchError;

/// How long a process may take to be ready, and to end when asked.
const READY: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(20);

/// A process that was started here. Dropped, it is asked to end and, unless it has children of its own to end
/// first, killed.
pub(super) struct Child {
    name: &'static str,
    process: tokio::process::Child,
    pid: u32,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Child {
    pub(super) fn start(name: &'static str, mut command: Command) -> Result<Self, BenchError> {
        command.kill_on_drop(true);
        Self::start_parent(name, command)
    }

    /// Starts one with processes of its own, which a kill would leave behind.
    pub(super) fn start_parent(
        name: &'static str,
        mut command: Command,
    ) -> Result<Self, BenchError> {
        let lost = |why: String| BenchError::Start(format!("{name}: {why}"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(|error| {
            lost(format!("{} cannot be run: {error}", command.as_std().get_program().display()))
        })?;
        let (Some(pid), Some(stdout)) = (process.id(), process.stdout.take()) else {
            return Err(lost("it ended at once".to_owned()));
        };
        let stdin = process.stdin.take();
        Ok(Self { name, process, pid, stdin, lines: BufReader::new(stdout).lines() })
    }

    pub(super) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has not ended yet.
    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// The line in which it says that it is ready.
    pub(super) async fn ready(&mut self) -> Result<Value, BenchError> {
        let line = self.line(READY).await?;
        if line["ready"] == Value::Bool(true) {
            return Ok(line);
        }
        Err(BenchError::Start(format!("{} said {line} instead of being ready", self.name)))
    }

    /// Sends a line and waits for the answer.
    pub(super) async fn ask(&mut self, line: &str, within: Duration) -> Result<Value, BenchError> {
        let gone = |error: std::io::Error| BenchError::Wrong(format!("{}: {error}", self.name));
        if let Some(stdin) = &mut self.stdin {
            stdin.write_all(format!("{line}\n").as_bytes()).await.map_err(gone)?;
        }
        self.line(within).await
    }

    async fn line(&mut self, within: Duration) -> Result<Value, BenchError> {
        let name = self.name;
        let line = tokio::time::timeout(within, self.lines.next_line()).await;
        let line = line.map_err(|_| BenchError::TooSlow(format!("an answer of {name}")))?;
        let line = line.map_err(|error| BenchError::Wrong(format!("{name}: {error}")))?;
        let Some(line) = line else {
            return Err(BenchError::Wrong(format!("{name} ended; its standard error says why")));
        };
        serde_json::from_str(&line)
            .map_err(|_| BenchError::Wrong(format!("{name} said {line:?}, which is no JSON")))
    }

    /// Asks it to end, and sees to it.
    pub(super) async fn stop(mut self) {
        drop(self.stdin.take());
        self.terminate();
        if tokio::time::timeout(STOP, self.process.wait()).await.is_err() {
            tracing::warn!(name = self.name, "a benchmark's process did not end and is killed");
            let _ = self.process.kill().await;
        }
    }

    /// Asks it to end, unless it was seen to have ended: then its number may be another's.
    fn terminate(&self) {
        let pid = self.process.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // One that does not hear it is killed by whoever waits for it.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.terminate();
    }
}

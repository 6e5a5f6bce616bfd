//! Programs that a chore runs: what they print goes through, what they return is judged.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Why a program did not do its part.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    /// It is not installed, or may not be executed.
    #[error("cannot start `{command}`: {source}; is it installed and on PATH?")]
    Start {
        /// The command line.
        command: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ran and reported failure.
    #[error("`{command}` failed: {status}")]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// It did not end in time and was killed.
    #[error("`{command}` did not end within {} s and was stopped", limit.as_secs())]
    TimedOut {
        /// The command line.
        command: String,
        /// The time it was given.
        limit: Duration,
    },
    /// Its output could not be read.
    #[error("cannot read what `{command}` prints: {source}")]
    Read {
        /// The command line.
        command: String,
        /// What the system said.
        source: io::Error,
    },
}

/// A program, its arguments, where it runs and what it finds in its environment.
///
/// Nothing is read from the caller's standard input: chores also run where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invocation {
    program: OsString,
    args: Vec<OsString>,
    dir: PathBuf,
    env: Vec<(OsString, OsString)>,
}

impl Invocation {
    /// A program to be run in `dir`.
    pub(crate) fn new(program: impl AsRef<OsStr>, dir: &Path) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            dir: dir.to_owned(),
            env: Vec::new(),
        }
    }

    /// The cargo that runs this chore, or the one on `PATH`.
    pub(crate) fn cargo(dir: &Path) -> Self {
        Self::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), dir)
    }

    /// Adds arguments.
    pub(crate) fn args<I: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = I>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets one variable of the environment.
    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The command line as a person would type it. The environment is left out.
    pub(crate) fn line(&self) -> String {
        let program = Path::new(&self.program)
            .file_name()
            .map_or_else(|| self.program.to_string_lossy(), OsStr::to_string_lossy);
        let mut line = program.into_owned();
        for arg in &self.args {
            line.push(' ');
            line.push_str(&arg.to_string_lossy());
        }
        line
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .current_dir(&self.dir)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            // Cargo describes this crate in the environment; another crate's tests would read it
            // as their own.
            .env_remove("CARGO_MANIFEST_DIR")
            .env_remove("CARGO_MANIFEST_PATH")
            .stdin(Stdio::null());
        command
    }

    /// Runs it; what it prints is shown as it comes.
    ///
    /// # Errors
    /// [`ProcessError::Start`] or [`ProcessError::Failed`].
    pub(crate) fn run(&self) -> Result<(), ProcessError> {
        say(&format!("$ {}", self.line()));
        let status = self.command().status().map_err(|source| self.start_error(source))?;
        self.judge(status)
    }

    /// Runs it; everything that it prints goes to the file `log`, anew.
    ///
    /// # Errors
    /// [`ProcessError::Start`], also if the file cannot be written, or [`ProcessError::Failed`].
    pub(crate) fn run_to(&self, log: &Path) -> Result<(), ProcessError> {
        let file = File::create(log).map_err(|source| self.start_error(source))?;
        let both = file.try_clone().map_err(|source| self.start_error(source))?;
        let status = self.command().stdout(file).stderr(both).status();
        self.judge(status.map_err(|source| self.start_error(source))?)
    }

    /// Runs it and returns what it wrote to standard output; standard error is shown.
    ///
    /// # Errors
    /// All of [`ProcessError`]; `TimedOut` if it is still running after `limit`.
    pub(crate) fn capture(&self, limit: Duration) -> Result<String, ProcessError> {
        let mut child = self
            .command()
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|source| self.start_error(source))?;
        let stdout = child.stdout.take();
        // Read beside the wait: a full pipe would otherwise stop the child for ever.
        let reader = thread::spawn(move || {
            let mut text = String::new();
            stdout.map_or(Ok(0), |mut pipe| pipe.read_to_string(&mut text)).map(|_| text)
        });
        let status = self.wait(&mut child, limit)?;
        let text = match reader.join() {
            Ok(Ok(text)) => text,
            Ok(Err(source)) => return Err(self.read_error(source)),
            Err(_) => return Err(self.read_error(io::Error::other("the reader stopped"))),
        };
        self.judge(status)?;
        Ok(text)
    }

    fn wait(&self, child: &mut Child, limit: Duration) -> Result<ExitStatus, ProcessError> {
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait().map_err(|source| self.read_error(source))? {
                return Ok(status);
            }
            if started.elapsed() >= limit {
                // It may have ended by itself in between; either way it is gone afterwards.
                let _ = child.kill();
                let _ = child.wait();
                return Err(ProcessError::TimedOut { command: self.line(), limit });
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn judge(&self, status: ExitStatus) -> Result<(), ProcessError> {
        if status.success() {
            Ok(())
        } else {
            Err(ProcessError::Failed { command: self.line(), status })
        }
    }

    fn start_error(&self, source: io::Error) -> ProcessError {
        ProcessError::Start { command: self.line(), source }
    }

    fn read_error(&self, source: io::Error) -> ProcessError {
        ProcessError::Read { command: self.line(), source }
    }
}

/// Prints one line for people. A closed pipe is no reason to stop a chore.
pub(crate) fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Prints one line about something that went wrong.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(io::stderr().lock(), "error: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Invocation {
        Invocation::new("sh", Path::new(".")).args(["-c", script])
    }

    #[test]
    fn output_is_captured_and_the_status_judged() {
        let minute = Duration::from_secs(60);
        assert_eq!(
            sh("printf '%s' \"$ANSWER\"").env("ANSWER", "42").capture(minute).unwrap(),
            "42"
        );
        assert!(matches!(sh("exit 7").capture(minute), Err(ProcessError::Failed { .. })));
        let missing = Invocation::new("no-such-program-here", Path::new("."));
        assert!(matches!(missing.run(), Err(ProcessError::Start { .. })));
    }

    #[test]
    fn more_than_a_pipe_holds_does_not_block() {
        let text = sh(
            "i=0; while [ $i -lt 4000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done",
        );
        assert_eq!(text.capture(Duration::from_secs(60)).unwrap().len(), 4000 * 41);
    }

    #[test]
    fn a_program_that_never_ends_is_stopped() {
        let endless = Invocation::new("sleep", Path::new(".")).args(["600"]);
        let result = endless.capture(Duration::from_millis(50));
        assert!(matches!(result, Err(ProcessError::TimedOut { .. })));
    }

    #[test]
    fn a_log_holds_both_outputs() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let result = sh("echo out; echo err >&2; exit 1").run_to(&log);
        assert!(matches!(result, Err(ProcessError::Failed { .. })));
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "out\nerr\n");
    }

    #[test]
    fn there_is_no_standard_input() {
        assert_eq!(sh("cat").capture(Duration::from_secs(60)).unwrap(), "");
    }
}

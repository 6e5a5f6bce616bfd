//! What the process's exit code says.

/// The exit codes of every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// 0: done.
    Done,
    /// 1: a gate or comparison failed.
    Failed,
    /// 2: wrong usage or configuration.
    Usage,
    /// 3: a dependency could not be reached.
    Dependency,
    /// 130: stopped by Ctrl-C before the end, as shells say it.
    Interrupted,
}

impl ExitCode {
    /// The number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Dependency => 3,
            Self::Interrupted => 130,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.number())
    }
}

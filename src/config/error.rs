//! What is wrong with a configuration, all of it at once.

use std::fmt;
use std::path::PathBuf;

/// Why there is no configuration, or a secret of it cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{} cannot be read: {source}; name another file with `-c`", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file was read and cannot be used.
    #[error("{}", listed(.0))]
    Invalid(Vec<Problem>),
    /// An environment variable that should hold a secret.
    #[error(
        "the environment variable `{name}`, which should hold a secret, is {problem}: set it before the start"
    )]
    SecretVariable {
        /// The variable's name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A file that should hold a secret.
    #[error("{}, which should hold a secret, {problem}", .file.display())]
    SecretFile {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl ConfigError {
    /// The problems of [`ConfigError::Invalid`].
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Invalid(problems) => problems,
            _ => &[],
        }
    }
}

/// One thing that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named.
    pub file: String,
    /// Line and column, from 1; of the nearest table where a key is missing.
    pub place: Option<(usize, usize)>,
    /// The whole key (`resource[users].routes.get`); empty where the file is no TOML.
    pub key: String,
    /// The value as written, shortened; `None` where there is none, or where it may hold a secret.
    pub value: Option<String>,
    /// What is wrong, and the remedy.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        match (self.key.as_str(), &self.value) {
            ("", _) => write!(f, ": {}", self.message),
            (key, Some(value)) => write!(f, ": {key} = {value}: {}", self.message),
            (key, None) => write!(f, ": {key}: {}", self.message),
        }
    }
}

fn listed(problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().map(Problem::to_string).collect();
    match lines.as_slice() {
        [one] => one.clone(),
        many => format!("{} problems in the configuration:\n{}", many.len(), many.join("\n")),
    }
}

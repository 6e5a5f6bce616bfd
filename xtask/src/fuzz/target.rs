//! The targets, as found in `fuzz/fuzz_targets`.

use std::fs;
use std::path::Path;

use super::FuzzError;

/// A fuzz target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) name: String,
    /// The longest input, in bytes.
    pub(super) max_len: usize,
    /// Whether the input is text of the wire, for which there is a dictionary.
    pub(super) text: bool,
}

impl Target {
    fn new(name: &str) -> Self {
        let (max_len, text) = match name {
            // Long enough to hold one fragmented message, or channel, more than a socket may have.
            "channels" | "frame" => (4096, true),
            "json" | "saved" => (1024, true),
            // Where bytes are choices, some hundred make a long story, and a shorter one runs faster.
            _ => (320, false),
        };
        Self { name: name.to_owned(), max_len, text }
    }
}

/// All targets, or the one wanted.
///
/// # Errors
/// [`FuzzError`] if the folder cannot be read or there is no such target.
pub(super) fn chosen(root: &Path, wanted: Option<&str>) -> Result<Vec<Target>, FuzzError> {
    let path = root.join("fuzz/fuzz_targets");
    let entries =
        fs::read_dir(&path).map_err(|source| FuzzError::Folder { path: path.clone(), source })?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".rs")?.to_owned()))
        .collect();
    names.sort();
    let chosen: Vec<Target> = names
        .iter()
        .filter(|name| wanted.is_none_or(|wanted| wanted == *name))
        .map(|name| Target::new(name))
        .collect();
    match wanted {
        Some(wanted) if chosen.is_empty() => {
            Err(FuzzError::UnknownTarget(wanted.to_owned(), names.join(", ")))
        }
        _ => Ok(chosen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_the_files_of_their_folder() {
        let root = tempfile::tempdir().unwrap();
        assert!(matches!(chosen(root.path(), None), Err(FuzzError::Folder { .. })));
        let folder = root.path().join("fuzz/fuzz_targets");
        fs::create_dir_all(&folder).unwrap();
        for file in ["star.rs", "json.rs", "notes.md"] {
            fs::write(folder.join(file), "").unwrap();
        }
        let names = |wanted| {
            chosen(root.path(), wanted)
                .map(|targets| targets.into_iter().map(|target| target.name).collect::<Vec<_>>())
        };
        assert_eq!(names(None).unwrap(), ["json", "star"]);
        assert_eq!(names(Some("star")).unwrap(), ["star"]);
        let error = names(Some("sun")).unwrap_err().to_string();
        assert_eq!(error, "no fuzz target `sun`; there are: json, star");
    }
}

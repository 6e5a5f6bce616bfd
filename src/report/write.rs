//! A report's files.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::{Report, to_html, to_json, to_markdown};

/// Where a report was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportPaths {
    /// The report's folder.
    pub folder: PathBuf,
    /// `index.html` in it.
    pub html: PathBuf,
    /// `report.json` in it.
    pub json: PathBuf,
    /// `report.md` in it.
    pub markdown: PathBuf,
}

/// A report that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The folder holds something that is no report of this run. It was not touched.
    #[error(
        "{0} is there already and holds no report of this run; name another run or folder, or move it away"
    )]
    Occupied(PathBuf),
    /// A file could not be written.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The report cannot be turned into text.
    #[error("the report cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A chart cannot be drawn.
    #[error("a chart of the report cannot be drawn: {0}")]
    Chart(#[from] super::chart::ChartError),
}

/// Writes `<folder>/<run>/{index.html,report.json,report.md}`.
///
/// A new folder appears whole or not at all. An earlier report of the same run is replaced file by
/// file, each whole or not at all; what else is in its folder stays.
///
/// # Errors
/// [`WriteError::Occupied`] if the folder holds something else, [`WriteError::Io`] if the system
/// refuses.
pub fn write_report(folder: &Path, report: &Report) -> Result<ReportPaths, WriteError> {
    // `index.html` last: whoever finds it finds the others.
    let files = [
        ("report.json", to_json(report)?),
        ("report.md", to_markdown(report)),
        ("index.html", to_html(report)?),
    ];
    let target = folder.join(report.run.as_str());
    fs::create_dir_all(folder).map_err(at(folder))?;
    if is_free(&target)? {
        let fresh = folder.join(format!(".{}.{}.new", report.run.as_str(), std::process::id()));
        fs::create_dir(&fresh).map_err(at(&fresh))?;
        let written = files
            .iter()
            .try_for_each(|(name, text)| write(&fresh.join(name), text))
            .and_then(|()| fs::rename(&fresh, &target).map_err(at(&target)));
        if written.is_err() {
            // Nothing of ours is left behind; the first error is the one to tell.
            let _ = fs::remove_dir_all(&fresh);
        }
        written?;
    } else if holds_report_of(&target, report) {
        for (name, text) in &files {
            let fresh = target.join(format!(".{name}.{}.new", std::process::id()));
            let path = target.join(name);
            let written =
                write(&fresh, text).and_then(|()| fs::rename(&fresh, &path).map_err(at(&path)));
            if written.is_err() {
                let _ = fs::remove_file(&fresh);
            }
            written?;
        }
    } else {
        return Err(WriteError::Occupied(target));
    }
    Ok(ReportPaths {
        html: target.join("index.html"),
        json: target.join("report.json"),
        markdown: target.join("report.md"),
        folder: target,
    })
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> WriteError + use<> {
    let path = path.to_owned();
    move |source| WriteError::Io { path, source }
}

fn write(path: &Path, text: &str) -> Result<(), WriteError> {
    let write = || {
        let mut file = fs::File::create_new(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(at(path))
}

/// Nothing is there, or an empty folder.
fn is_free(target: &Path) -> Result<bool, WriteError> {
    match fs::read_dir(target) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(at(target)(error)),
    }
}

/// Whether the folder's `report.json` is one of ours, of the same run.
fn holds_report_of(target: &Path, report: &Report) -> bool {
    let Ok(text) = fs::read(target.join("report.json")) else { return false };
    serde_json::from_slice::<serde_json::Value>(&text).is_ok_and(|found| {
        found["format"].is_u64()
            && found["crossfade"].is_string()
            && found["run"] == report.run.as_str()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::report;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_report_is_written_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let reports = folder.path().join("reports");
        let mut report = report();
        let paths = write_report(&reports, &report).unwrap();
        assert_eq!(names(&reports), ["run-1"]);
        assert_eq!(names(&paths.folder), ["index.html", "report.json", "report.md"]);

        fs::write(paths.folder.join("junit.xml"), "<testsuites/>").unwrap();
        "Another title".clone_into(&mut report.title);
        write_report(&reports, &report).unwrap();
        assert!(fs::read_to_string(&paths.markdown).unwrap().starts_with("# Another title"));
        assert_eq!(names(&paths.folder), ["index.html", "junit.xml", "report.json", "report.md"]);
    }

    #[test]
    fn what_is_no_report_of_this_run_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("run-1");
        for (name, text) in [
            ("index.html", "my own page"),
            ("report.json", r#"{"run":"run-1"}"#),
            ("report.json", r#"{"run":"run-2","format":1,"crossfade":"0.1.0"}"#),
        ] {
            fs::create_dir(&target).unwrap();
            fs::write(target.join(name), text).unwrap();
            assert!(matches!(write_report(folder.path(), &report()), Err(WriteError::Occupied(_))));
            assert_eq!(names(&target), [name]);
            assert_eq!(fs::read_to_string(target.join(name)).unwrap(), text);
            fs::remove_dir_all(&target).unwrap();
        }
        fs::write(&target, "a file").unwrap();
        assert!(matches!(write_report(folder.path(), &report()), Err(WriteError::Occupied(_))));
        assert_eq!(names(folder.path()), ["run-1"]);
    }
}

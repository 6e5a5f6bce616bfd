//! Every kept input through its target: the fuzzer's corpus, and what once was a finding.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that meets the unexpected has to fail, and to say on which file"
)]

use std::fs;
use std::path::{Path, PathBuf};

use fuzz_targets::{TARGETS, Target};

/// Runs a target over every file of a folder; how many there were.
fn replay((_, target): &Target, folder: &Path) -> usize {
    let entries = fs::read_dir(folder).map_or_else(|_| Vec::new(), Iterator::collect);
    for entry in &entries {
        let path = entry.as_ref().unwrap().path();
        println!("{}", path.display());
        target(&fs::read(path).unwrap());
    }
    entries.len()
}

fn here(folder: &str, target: &Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder).join(target.0)
}

#[test]
fn the_corpus_holds_inputs_for_every_target_and_no_finding() {
    for target in TARGETS {
        assert!(replay(target, &here("../../fuzz/corpus", target)) > 0, "none for {}", target.0);
    }
}

#[test]
fn what_once_was_found_is_no_finding_any_more() {
    for target in TARGETS {
        replay(target, &here("tests/crashers", target));
    }
}

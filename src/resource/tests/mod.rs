//! The whole of a resource, as the example configuration describes it.

mod indexes;
mod lists;
mod routing;
mod rows;
mod sqlite;

use std::path::Path;
use std::sync::Arc;

use super::Resource;
use crate::config::Config;

const EXAMPLE: &str = include_str!("../../../docs/crossfade.example.toml");

/// The resource of the example, with the text edited.
fn resource(edits: &[(&str, &str)]) -> Arc<Resource> {
    let edit = |text: String, (from, to): &(&str, &str)| {
        assert!(text.contains(from), "{from:?}");
        text.replace(from, to)
    };
    let text = edits.iter().fold(EXAMPLE.to_owned(), edit);
    let config = Config::parse(&text, Path::new(""), "example").unwrap_or_else(|e| panic!("{e}"));
    config.resources[0].clone()
}

fn users() -> Arc<Resource> {
    resource(&[])
}

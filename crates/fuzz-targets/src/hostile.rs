//! What a hostile client may send: of the right form, so that it gets past the first check, or not.

use std::collections::VecDeque;

use arbitrary::Unstructured;
use mergeable_store::{ContentHashes, Json, Text};

use crate::arrange::{self, Contents, below};

/// Request ids that were seen last, newest last.
#[derive(Default)]
pub(crate) struct Heard(VecDeque<Text>);

impl Heard {
    /// Notes the request id of a frame, if it has one.
    pub(crate) fn hear(&mut self, frame: &str) {
        let message = frame.split_once('\n').and_then(|(_, rest)| Json::parse(rest).ok());
        if let Some(Json::Array(parts)) = message
            && let Some(Json::String(request)) = parts.first()
        {
            self.0.push_back(request.clone());
            if self.0.len() > 8 {
                self.0.pop_front();
            }
        }
    }

    /// A request id as JSON: one that was heard, for an answer that counts, or another.
    fn request(&self, u: &mut Unstructured<'_>) -> String {
        match below(u, 4) {
            0 => "null".to_owned(),
            1 => "\"abcdefghijk.abcd\"".to_owned(),
            _ => match self.0.get(self.0.len().saturating_sub(1 + below(u, 2))) {
                Some(request) => Json::String(request.clone()).stringify(),
                None => "\"abcdefghijk\"".to_owned(),
            },
        }
    }
}

/// A frame to one of `targets`: mostly a message, sometimes a fragment of one, sometimes anything.
pub(crate) fn frame(
    u: &mut Unstructured<'_>,
    targets: &[&str],
    heard: &Heard,
    own: ContentHashes,
) -> String {
    let to = targets[below(u, targets.len())];
    if below(u, 16) == 0 {
        return format!("{to}\n{}", String::from_utf8_lossy(arrange::bytes(u)));
    }
    let remainder = message(u, heard, own);
    if below(u, 8) > 0 {
        return format!("{to}\n{remainder}");
    }
    let (id, index, total) = (below(u, 4), below(u, 3), below(u, 3));
    let at = remainder.char_indices().nth(remainder.chars().count() / 2).map_or(0, |(at, _)| at);
    let piece = match index {
        0 if total == 2 => &remainder[..at],
        1 if total == 2 => &remainder[at..],
        _ => &remainder,
    };
    format!("{to}\n0123456789abcde{id}\n{index}\n{total}\n{piece}")
}

/// A message of the right form: an answer to what was asked, or anything unasked.
fn message(u: &mut Unstructured<'_>, heard: &Heard, own: ContentHashes) -> String {
    let request = heard.request(u);
    let stamps = |u: &mut Unstructured<'_>| {
        let changes = arrange::changes(u, Contents::Any).to_json();
        match Json::parse(&changes).expect("changes are JSON") {
            Json::Array(parts) => parts,
            _ => Vec::new(),
        }
    };
    let (number, body) = match below(u, 12) {
        0 => (0, format!("[{},{}]", map(u, 0), own.values)),
        1 => (0, stamps(u)[0].stringify()),
        2 => (0, stamps(u)[1].stringify()),
        3 => (0, format!("[{},{}]", stamps(u)[0].stringify(), map(u, 1))),
        4 => (0, format!("[{},{}]", stamps(u)[0].stringify(), map(u, 2))),
        5 => (1, "\"\"".to_owned()),
        6 => (2, format!("[{},{}]", own.tables, map(u, 0))),
        7 => {
            let levels = 1 + below(u, 3);
            (3 + levels, map(u, levels))
        }
        8 => (7, map(u, 1)),
        _ => (3, Json::Array(stamps(u)).stringify()),
    };
    format!("[{request},{number},{body}]")
}

/// Hashes under ids, `levels` deep.
fn map(u: &mut Unstructured<'_>, levels: usize) -> String {
    if levels == 0 {
        return u.arbitrary::<u32>().unwrap_or(0).to_string();
    }
    let entries: Vec<String> = (0..below(u, 3))
        .map(|_| format!("{}:{}", Json::String(arrange::id(u)).stringify(), map(u, levels - 1)))
        .collect();
    format!("{{{}}}", entries.join(","))
}

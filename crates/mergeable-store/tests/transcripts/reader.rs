//! Reading frames of either mode, in one piece or in fragments.

use std::collections::HashMap;

use mergeable_store::Json;

use crate::support::Known;

pub(crate) const RESPONSE: u64 = 0;
pub(crate) const GET_CONTENT_HASHES: u64 = 1;
pub(crate) const CONTENT_HASHES: u64 = 2;

/// A message told to somebody.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) number: u64,
    pub(crate) body: Json,
    /// The texts that carried it: one, or its fragments.
    pub(crate) pieces: Vec<String>,
}

/// Puts a socket's frames together and reads them.
#[derive(Default)]
pub(crate) struct Reader {
    pieces: HashMap<String, Vec<String>>,
}

impl Reader {
    /// Takes a frame without its channel; the message once it is whole.
    pub(crate) fn read(&mut self, frame: &str) -> Option<Told> {
        let (_, remainder) = frame.split_once('\n').unwrap();
        let pieces = if remainder.starts_with('[') {
            vec![remainder.to_owned()]
        } else {
            let [id, _, total, text] =
                remainder.splitn(4, '\n').collect::<Vec<_>>().try_into().unwrap();
            let pieces = self.pieces.entry(id.to_owned()).or_default();
            pieces.push(text.to_owned());
            if pieces.len() < total.parse().unwrap() {
                return None;
            }
            self.pieces.remove(id).unwrap()
        };
        let message = Json::parse(&pieces.concat()).unwrap();
        let parts = message.items();
        Some(Told {
            id: parts[0].str().to_owned(),
            number: parts[1].uint(),
            body: parts[2].clone(),
            pieces,
        })
    }
}

/// A frame of a multiplexed socket as its channel and the frame inside; control frames have none.
pub(crate) fn unwrapped(frame: &str) -> (Option<&str>, &str) {
    match frame.strip_prefix("M\n") {
        Some(rest) => {
            let (channel, frame) = rest.split_once('\n').unwrap();
            (Some(channel), frame)
        }
        None => (None, frame),
    }
}

/// Whether this is a control message of a multiplexed socket.
pub(crate) fn is_control(frame: &str) -> bool {
    frame.strip_prefix("S\n").is_some_and(|remainder| {
        Json::parse(remainder).is_ok_and(|message| message.items()[1] == Json::Number(-1.0))
    })
}

//! One light client: it edits, answers what a server asks, and notes which edits it has been shown.
//!
//! It has no store of its own: merging at the receiving client costs the same whoever served it, and would
//! only take processor time from the server beside it. It answers requests for its hashes with those that
//! its path has at rest, so that a server has nothing to pull.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{MutexGuard, PoisonError};

use mergeable_store::{Changes, ClientId, Clock};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::wire::{Incoming, Kind, put_frame};
use crate::bench::recipe;
use crate::clock::SharedClock;

/// Bytes that may wait for a server that does not read; more, and the client gives up.
const MAX_PENDING_BYTES: usize = 4 << 20;
/// Before an edit's phase and number, in the value that it writes; no stamp has this character.
const MARK: u8 = b'~';
const PHASE_DIGITS: usize = 4;
const EDIT_DIGITS: usize = 8;

/// A client's connection, and what is on its way out.
pub(super) struct LightClient {
    /// The path's number.
    pub(super) path: usize,
    /// Its number among the clients of its path.
    pub(super) place: usize,
    stream: TcpStream,
    out: Mutex<Out>,
    gone: AtomicBool,
}

struct Out {
    pending: Vec<u8>,
    clock: Clock,
}

/// The hashes of a path at rest.
#[derive(Debug, Default)]
pub(super) struct PathHashes(AtomicU64);

impl PathHashes {
    pub(super) fn set(&self, tables: u32, values: u32) {
        self.0.store((u64::from(tables) << 32) | u64::from(values), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> [u32; 2] {
        let both = self.0.load(Ordering::Relaxed);
        [(both >> 32) as u32, both as u32]
    }
}

/// An edit of the load, as its value names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EditNumber {
    pub(super) phase: u32,
    pub(super) edit: u32,
}

impl EditNumber {
    fn value(self) -> String {
        format!("edit ~{:04}.{:08}", self.phase, self.edit)
    }

    /// The numbers in a frame.
    fn find(frame: &[u8]) -> impl Iterator<Item = Self> {
        let marks = frame.iter().enumerate().filter(|(_, byte)| **byte == MARK);
        marks.filter_map(|(at, _)| {
            let digits = frame.get(at + 1..at + 2 + PHASE_DIGITS + EDIT_DIGITS)?;
            let (phase, rest) = digits.split_at_checked(PHASE_DIGITS)?;
            let edit = rest.strip_prefix(b".")?;
            Some(Self { phase: decimal(phase)?, edit: decimal(edit)? })
        })
    }
}

fn decimal(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0'))
    })
}

impl LightClient {
    pub(super) fn new(path: usize, place: usize, stream: TcpStream) -> Self {
        let client = ClientId::from_unique_id(&format!("light {path} {place}"));
        let out = Mutex::new(Out { pending: Vec::new(), clock: Clock::new(client) });
        Self { path, place, stream, out, gone: AtomicBool::new(false) }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends rows of the recipe; gives what it sent.
    pub(super) fn send_rows(&self, org: &str, rows: u32, clock: &SharedClock) -> Changes {
        let mut out = self.out();
        let changes = recipe::synced_rows(org, 0..rows, &mut out.clock, clock.now_ms());
        let frame = format!("\n[\"rows0000000\",3,{}]", changes.to_json());
        self.send(&mut out, Kind::Text, frame.as_bytes());
        changes
    }

    /// Sends an edit of one cell; `false` if that waits for the server to read.
    pub(super) fn send_edit(&self, row: &str, number: EditNumber, clock: &SharedClock) -> bool {
        let mut out = self.out();
        let hlc = out.clock.next(clock.now_ms());
        let (table, cell) = (recipe::TABLE, recipe::EDITED);
        let frame = format!(
            "\n[\"{:011}\",3,[[{{\"{table}\":[{{\"{row}\":[{{\"{cell}\":[\"{}\",\"{hlc}\"]}}]}}]}}],\
             [{{}}],1]]",
            number.edit,
            number.value()
        );
        self.send(&mut out, Kind::Text, frame.as_bytes())
    }

    /// Asks `S` for its hashes.
    pub(super) fn ask_hashes(&self) {
        self.send(&mut self.out(), Kind::Text, b"S\n[\"asked000000.0000\",1,\"\"]");
    }

    /// Tries again with what waits; `true` once nothing does.
    pub(super) fn flush(&self) -> bool {
        self.write(&mut self.out())
    }

    fn send(&self, out: &mut Out, kind: Kind, payload: &[u8]) -> bool {
        put_frame(&mut out.pending, kind, payload);
        self.write(out)
    }

    fn write(&self, out: &mut Out) -> bool {
        let mut written = 0;
        while written < out.pending.len() && !self.is_gone() {
            match self.stream.try_write(&out.pending[written..]) {
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => self.gone.store(true, Ordering::Relaxed),
            }
        }
        out.pending.drain(..written);
        if out.pending.len() > MAX_PENDING_BYTES {
            self.gone.store(true, Ordering::Relaxed);
        }
        out.pending.is_empty() || self.is_gone()
    }

    /// Reads until the connection ends. `shown` is told of the edits of each read, `told` of hashes that `S`
    /// gave when asked.
    pub(super) async fn listen(
        &self,
        mut incoming: Incoming,
        hashes: &PathHashes,
        mut shown: impl FnMut(&[EditNumber]),
        mut told: impl FnMut([u32; 2]),
    ) {
        let mut buffer = vec![0; 32 * 1024];
        let mut edits = Vec::new();
        loop {
            while let Ok(Some((kind, payload))) = incoming.next() {
                match kind {
                    Kind::Text => {
                        edits.extend(EditNumber::find(payload));
                        if let Some(answer) = self.answer(payload, hashes, &mut told) {
                            self.send(&mut self.out(), Kind::Text, answer.as_bytes());
                        }
                    }
                    Kind::Ping => {
                        self.send(&mut self.out(), Kind::Pong, payload);
                    }
                    Kind::Close => {
                        self.gone.store(true, Ordering::Relaxed);
                        return;
                    }
                    Kind::Binary | Kind::Continuation | Kind::Pong => {}
                }
            }
            if !edits.is_empty() {
                shown(&edits);
                edits.clear();
            }
            if self.stream.readable().await.is_err() {
                break;
            }
            match self.stream.try_read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => incoming.add(&buffer[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
        self.gone.store(true, Ordering::Relaxed);
    }

    /// What a message wants to hear, if anything.
    fn answer(
        &self,
        payload: &[u8],
        hashes: &PathHashes,
        told: &mut impl FnMut([u32; 2]),
    ) -> Option<String> {
        let (from, remainder) = payload.split_at(payload.iter().position(|byte| *byte == b'\n')?);
        // By far the most are changes: they are not read as JSON.
        if message_of(&remainder[1..]) == Some(b'3') {
            return None;
        }
        let from = std::str::from_utf8(from).ok()?;
        let (request, message, body): (Value, u8, Value) =
            serde_json::from_slice(&remainder[1..]).ok()?;
        let answer = match message {
            0 => {
                told(serde_json::from_value(body).ok()?);
                return None;
            }
            1 => json!(hashes.get()),
            // It has nothing that the asker lacks.
            4 | 5 => json!([[{}], {}]),
            6 | 7 => json!([{}]),
            _ => return None,
        };
        Some(format!("{from}\n{}", json!([request, 0, answer])))
    }
}

/// The digit of the message's kind, where the request id is a string without escapes.
fn message_of(remainder: &[u8]) -> Option<u8> {
    let id = remainder.strip_prefix(b"[\"")?;
    let end = id.iter().position(|byte| *byte == b'"')?;
    id.get(end + 2).copied().filter(|_| id.get(end + 1) == Some(&b','))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_found_wherever_they_are_in_a_frame() {
        let number = |phase, edit| EditNumber { phase, edit };
        let (one, other) = (number(3, 42), number(9999, 99_999_999));
        let frame = format!("S\n[\"x\",3,[[{{\"{}\":\"{}\"}}~", one.value(), other.value());
        let found: Vec<_> = EditNumber::find(frame.as_bytes()).collect();
        assert_eq!(found, [one, other]);
        assert_eq!(EditNumber::find(b"~12.34 ~00030000000042").count(), 0);
    }

    #[test]
    fn kinds_of_messages_are_seen_without_reading_them() {
        assert_eq!(message_of(br#"["abcdefghijk",3,[[{}],[{}],1]]"#), Some(b'3'));
        assert_eq!(message_of(br#"["a.b",1,""]"#), Some(b'1'));
        assert_eq!(message_of(br"[null,3,1]"), None);
        assert_eq!(message_of(b"[\"a"), None);
    }

    #[test]
    fn hashes_are_kept_whole() {
        let hashes = PathHashes::default();
        assert_eq!(hashes.get(), [0, 0]);
        hashes.set(u32::MAX, 7);
        assert_eq!(hashes.get(), [u32::MAX, 7]);
    }
}

//! WebSocket (RFC 6455) as thin as a load generator can have it: text frames out, frames of any kind in.
//!
//! A library's client costs the generator about as much as the servers spend; what it takes from the machine
//! the servers do not have. Outgoing frames are masked with zeros, which leaves them as they are.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::bench::BenchError;

/// The longest answer to an upgrade that is read.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// The longest frame that is taken: TinyBase's limit, and some.
const MAX_FRAME_BYTES: u64 = 17 << 20;
const MASKED: u8 = 0x80;
const FIN: u8 = 0x80;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Kind {
    const fn of(opcode: u8) -> Option<Self> {
        Some(match opcode {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    const fn opcode(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }
}

/// What came that is no WebSocket as these servers speak it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what the server sent is no WebSocket frame that this client knows")]
pub(super) struct NoFrame;

/// Opens a WebSocket. `number` makes the key, which is the client's id at TinyBase's server.
pub(super) async fn open(
    address: SocketAddr,
    target: &str,
    number: u64,
) -> Result<(TcpStream, Incoming), BenchError> {
    let lost = |why: String| BenchError::Start(format!("a client could not connect: {why}"));
    let mut stream = TcpStream::connect(address).await.map_err(|error| lost(error.to_string()))?;
    stream.set_nodelay(true).map_err(|error| lost(error.to_string()))?;
    let key = STANDARD.encode(u128::from(number).to_be_bytes());
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(|error| lost(error.to_string()))?;
    let mut head = Vec::new();
    loop {
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            if !head.starts_with(b"HTTP/1.1 101") {
                return Err(lost(String::from_utf8_lossy(&head).into_owned()));
            }
            let mut incoming = Incoming::default();
            incoming.add(&head[end + 4..]);
            return Ok((stream, incoming));
        }
        let read = stream.read_buf(&mut head).await.map_err(|error| lost(error.to_string()))?;
        if read == 0 || head.len() > MAX_HEAD_BYTES {
            return Err(lost(String::from_utf8_lossy(&head).into_owned()));
        }
    }
}

/// Appends a whole frame as a client sends it.
pub(super) fn put_frame(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    out.push(FIN | kind.opcode());
    match payload.len() {
        short @ 0..=125 => out.push(MASKED | short as u8),
        middle @ 126..=0xffff => {
            out.push(MASKED | 126);
            out.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            out.push(MASKED | 127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// Bytes that have come in, and the frames in them.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    bytes: Vec<u8>,
    /// What was given out already.
    taken: usize,
}

impl Incoming {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        if self.taken == self.bytes.len() {
            self.bytes.clear();
        } else if self.taken > 0 {
            self.bytes.drain(..self.taken);
        }
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame. These servers send each message in one.
    pub(super) fn next(&mut self) -> Result<Option<(Kind, &[u8])>, NoFrame> {
        let bytes = &self.bytes[self.taken..];
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let (kind, masked) = (Kind::of(first & 0x0f).ok_or(NoFrame)?, second & MASKED != 0);
        // Servers never mask; nobody negotiated a compression; no message comes in parts.
        if masked || first & 0xf0 != FIN {
            return Err(NoFrame);
        }
        let (length, head) = match second & 0x7f {
            126 => match rest {
                [a, b, ..] => (u64::from(u16::from_be_bytes([*a, *b])), 4),
                _ => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(eight) => (u64::from_be_bytes(*eight), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        if length > MAX_FRAME_BYTES {
            return Err(NoFrame);
        }
        let end = head + length as usize;
        if bytes.len() < end {
            return Ok(None);
        }
        let start = self.taken + head;
        self.taken += end;
        Ok(Some((kind, &self.bytes[start..self.taken])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a server sends it: the same without the mask.
    fn served(kind: Kind, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        put_frame(&mut frame, kind, payload);
        let head = frame.len() - payload.len() - 4;
        frame.drain(head..head + 4);
        frame[1] &= !MASKED;
        frame
    }

    #[test]
    fn frames_of_every_length_come_out_however_they_are_cut() {
        for length in [0, 1, 125, 126, 127, 0xffff, 0x10000] {
            let payload = vec![b'x'; length];
            let mut bytes = served(Kind::Text, &payload);
            bytes.extend(served(Kind::Ping, b"p"));
            for cut in [1, 3, 7, bytes.len()] {
                let mut incoming = Incoming::default();
                let mut found = Vec::new();
                for piece in bytes.chunks(cut.max(bytes.len() / 50)) {
                    incoming.add(piece);
                    while let Some((kind, payload)) = incoming.next().unwrap() {
                        found.push((kind, payload.len()));
                    }
                }
                assert_eq!(found, [(Kind::Text, length), (Kind::Ping, 1)]);
            }
        }
    }

    #[test]
    fn what_no_server_sends_is_told() {
        for bytes in [[0x83_u8, 0], [0x81, 0x80], [0xc1, 0], [0x01, 0]] {
            let mut incoming = Incoming::default();
            incoming.add(&bytes);
            assert_eq!(incoming.next(), Err(NoFrame));
        }
    }
}

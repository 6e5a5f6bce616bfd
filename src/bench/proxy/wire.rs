//! One client connection: a request out, its answer in, both in blocking calls.
//!
//! A thread per connection and nothing between it and the socket: a runtime's timers are a
//! millisecond apart, which is several times what is measured here.

use std::fmt;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest head, and the longest body, that is read.
const MAX_HEAD: usize = 64 << 10;
const MAX_BODY: usize = 64 << 20;

/// Why a request has no answer that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::bench) enum Failure {
    /// No connection stood.
    Connect,
    /// The connection ended before the answer did.
    Broken,
    /// The answer took longer than ten seconds.
    Timeout,
    /// The answer was none of HTTP/1.1 with a length.
    Unreadable,
    /// The answer's status is not of class 2xx.
    Status(u16),
    /// The load was over before its turn came.
    NotSent,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("no connection"),
            Self::Broken => f.write_str("connection broken"),
            Self::Timeout => f.write_str("no answer in 10 s"),
            Self::Unreadable => f.write_str("unreadable answer"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::NotSent => f.write_str("not sent before the end"),
        }
    }
}

/// A client that keeps its connection, and makes another where that is gone.
pub(in crate::bench) struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    body: std::ops::Range<usize>,
}

impl Client {
    pub(in crate::bench) const fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, buffer: Vec::new(), body: 0..0 }
    }

    /// Sends a request and reads its answer to the last byte.
    pub(in crate::bench) fn ask(&mut self, request: &[u8]) -> Result<(), Failure> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.address)?,
        };
        stream.write_all(request).map_err(|error| failure(error.kind()))?;
        let head = self.receive(&mut stream)?;
        if !head.last {
            self.stream = Some(stream);
        }
        match head.status {
            200..=299 => Ok(()),
            status => Err(Failure::Status(status)),
        }
    }

    /// Whether the last answer says that the store gave it.
    pub(in crate::bench) fn is_from_store(&self) -> bool {
        let head = self.buffer.get(..self.body.start).unwrap_or_default();
        let lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        lines.into_iter().any(|line| line.eq_ignore_ascii_case(b"crossfade-origin: sync"))
    }

    /// The body of the last answer.
    pub(in crate::bench) fn body(&self) -> &[u8] {
        self.buffer.get(self.body.clone()).unwrap_or_default()
    }

    fn receive(&mut self, stream: &mut TcpStream) -> Result<Head, Failure> {
        self.buffer.clear();
        let head = loop {
            self.read_more(stream)?;
            match parse(&self.buffer)? {
                Some(head) => break head,
                None if self.buffer.len() > MAX_HEAD => return Err(Failure::Unreadable),
                None => {}
            }
        };
        self.body = head.length..head.length + head.body;
        while self.buffer.len() < self.body.end {
            self.read_more(stream)?;
        }
        // Nothing else was asked for.
        if self.buffer.len() > self.body.end {
            return Err(Failure::Unreadable);
        }
        Ok(head)
    }

    fn read_more(&mut self, stream: &mut TcpStream) -> Result<(), Failure> {
        let mut chunk = [0; 16 << 10];
        match stream.read(&mut chunk) {
            Ok(0) => Err(Failure::Broken),
            Ok(length) => {
                self.buffer.extend_from_slice(&chunk[..length]);
                Ok(())
            }
            Err(error) => Err(failure(error.kind())),
        }
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream, Failure> {
    let connect = || {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok::<_, std::io::Error>(stream)
    };
    connect().map_err(|_| Failure::Connect)
}

const fn failure(kind: ErrorKind) -> Failure {
    match kind {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Failure::Timeout,
        _ => Failure::Broken,
    }
}

/// What reading an answer needs of its head.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Bytes of the head itself.
    length: usize,
    /// Bytes of the body.
    body: usize,
    /// Whether the connection ends with this answer.
    last: bool,
}

/// The head at the beginning of `bytes`; `None` if it is not whole yet.
fn parse(bytes: &[u8]) -> Result<Option<Head>, Failure> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| Failure::Unreadable)?;
    let mut lines = text.split("\r\n");
    let first = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
    let status = first.and_then(|rest| rest.get(..3)?.parse().ok()).ok_or(Failure::Unreadable)?;
    let (mut body, mut last) = (None, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            body = value.trim().parse().ok().filter(|length| *length <= MAX_BODY);
        } else if name.eq_ignore_ascii_case("connection") {
            last = value.trim().eq_ignore_ascii_case("close");
        }
    }
    let body = body.ok_or(Failure::Unreadable)?;
    Ok(Some(Head { status, length: end + 4, body, last }))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn heads_are_read_as_soon_as_they_are_whole() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\nconnection: Close\r\n\r\n";
        for cut in 0..head.len() {
            assert_eq!(parse(&head.as_bytes()[..cut]), Ok(None));
        }
        let whole = Head { status: 200, length: head.len(), body: 12, last: true };
        assert_eq!(parse(format!("{head}rest").as_bytes()), Ok(Some(whole)));
    }

    #[test]
    fn answers_of_unknown_length_are_unreadable() {
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let huge = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", u64::MAX);
        for head in [chunked, &huge, "HTTP/1.1 2\r\n\r\n", "SMTP\r\n\r\n", "\r\n\r\n"] {
            assert_eq!(parse(head.as_bytes()), Err(Failure::Unreadable), "{head}");
        }
    }

    /// Answers with these texts, one a request, each on a connection of its own where `apart`.
    fn server(answers: &'static [&'static str], apart: bool) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut stream = None;
            for answer in answers {
                let open = stream.take().unwrap_or_else(|| listener.accept().unwrap().0);
                let mut open: TcpStream = open;
                let read = open.read(&mut [0; 1024]).unwrap();
                assert!(read > 0);
                open.write_all(answer.as_bytes()).unwrap();
                stream = Some(open).filter(|_| !apart);
            }
        });
        address
    }

    #[test]
    fn a_connection_is_kept_and_every_status_is_told() {
        let answers = &[
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab",
            "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n",
        ];
        let mut client = Client::new(server(answers, false));
        assert_eq!(client.ask(b"x"), Ok(()));
        assert_eq!(client.body(), b"ab");
        assert_eq!(client.ask(b"x"), Err(Failure::Status(502)));
        assert_eq!(client.ask(b"x"), Ok(()));
        assert_eq!(client.body(), b"");
    }

    #[test]
    fn a_broken_connection_is_told_and_made_anew() {
        let answers = &[
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab",
        ];
        let mut client = Client::new(server(answers, true));
        assert_eq!(client.ask(b"x"), Err(Failure::Broken));
        assert_eq!(client.ask(b"x"), Err(Failure::Unreadable));
        assert_eq!(client.ask(b"x"), Ok(()));
    }

    #[test]
    fn nobody_listening_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(Client::new(address).ask(b"x"), Err(Failure::Connect));
    }
}

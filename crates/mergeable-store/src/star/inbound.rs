//! A frame that was read apart from the store: by the connection's own task, while the path's is busy.

use crate::fragment::Fragment;
use crate::{Close, Frame, Message, Payload};

/// A frame for a [`Star`](super::Star), read and validated, or how its connection has to be closed.
#[derive(Debug)]
pub struct Inbound(pub(super) Result<Content, Close>);

#[derive(Debug)]
pub(super) enum Content {
    Message(Box<Message>),
    Fragment(Box<Piece>),
    /// A valid message for another client: a star passes none on.
    ForAnother,
}

/// A fragment, not yet put together with the others.
#[derive(Debug)]
pub(super) struct Piece {
    /// To whom the message is.
    pub(super) client: Box<str>,
    remainder: Box<str>,
}

impl Inbound {
    /// Reads a frame.
    #[must_use]
    pub fn read(frame: &str) -> Self {
        Self(Frame::parse(frame).map(|frame| match frame.payload {
            Payload::Message(_) if !is_for_server(frame.client) => Content::ForAnother,
            Payload::Message(message) => Content::Message(Box::new(message)),
            Payload::Fragment(fragment) => {
                let (client, remainder) = (frame.client.into(), fragment.remainder.into());
                Content::Fragment(Box::new(Piece { client, remainder }))
            }
        }))
    }
}

impl Piece {
    /// The fragment; it was valid when it was read first.
    pub(super) fn fragment(&self) -> Result<Fragment<'_>, Close> {
        Fragment::parse(&self.remainder)
    }
}

/// Whether a frame is for the server: broadcast, or directed to `S`.
pub(super) fn is_for_server(client: &str) -> bool {
    matches!(client, "" | "S")
}

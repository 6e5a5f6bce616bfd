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

/// A fragment, with all it needs to be put together.
#[derive(Debug)]
pub(super) struct Piece {
    client: Box<str>,
    message: Box<str>,
    index: usize,
    total: usize,
    text: Box<str>,
}

impl Inbound {
    /// Reads a frame.
    #[must_use]
    pub fn read(frame: &str) -> Self {
        Self(Frame::parse(frame).map(|frame| match frame.payload {
            Payload::Message(_) if !is_for_server(frame.client) => Content::ForAnother,
            Payload::Message(message) => Content::Message(Box::new(message)),
            Payload::Fragment(Fragment { message, index, total, text }) => {
                let (client, message) = (frame.client.into(), message.into());
                Content::Fragment(Box::new(Piece {
                    client,
                    message,
                    index,
                    total,
                    text: text.into(),
                }))
            }
        }))
    }
}

impl Piece {
    /// To whom it is, and the fragment.
    pub(super) fn view(&self) -> (&str, Fragment<'_>) {
        let Self { client, message, index, total, text } = self;
        (client, Fragment { message, index: *index, total: *total, text })
    }
}

/// Whether a frame is for the server: broadcast, or directed to `S`.
pub(super) fn is_for_server(client: &str) -> bool {
    matches!(client, "" | "S")
}

//! The server's end of a multiplexed socket: one connection that carries the channels of several stores, each a path of its own.
//!
//! ```text
//! S\n["<request>",-1,[0,1]]              Hello, answered by the same frame
//! S\n["<request>",-1,[1,"<channel>"]]    Subscribe, answered by the same frame
//! S\n[null,-1,[2,"<channel>"]]           Unsubscribe, not answered
//! M\n<channel>\n<payload>                a frame of this channel, as a single-store socket has it
//! ```
//!
//! [`Channels`] reads these; what a channel's payload says is its path's business ([`Star`](crate::Star) or
//! [`Relay`](crate::Relay)), except for fragments: their bounds are the socket's, whatever the channel.

mod control;
mod id;

use std::collections::BTreeSet;

pub(crate) use control::{Control, control_frame};
pub use id::{ChannelId, InvalidChannelId, MAX_CHANNEL_ID_BYTES};

use crate::fragment::{FragmentForm, Reassembly};
use crate::{Close, MAX_FRAME_BYTES, Millis, Text};

/// The most channels of one socket.
pub const MAX_CHANNELS: usize = 100;
/// The most channels of one socket, those included that it has left and that are still being taken down.
pub const MAX_CHANNELS_WITH_LEFT: usize = 2 * MAX_CHANNELS;

/// What a frame of a multiplexed socket asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum ChannelEvent<'a> {
    /// Send this frame.
    Reply(String),
    /// Open the path for the channel, and send `reply` before anything that the path says. TinyBase's server sends it at once,
    /// before the path is ready. A channel that is refused is taken back by [`Channels::refuse`], and gets no reply: its
    /// client gives up by itself.
    Subscribe {
        /// The new channel.
        channel: ChannelId,
        /// Its path.
        path: String,
        /// The confirmation.
        reply: String,
    },
    /// The socket has left the channel: nothing more comes for it, nothing more may be sent. [`Channels::taken_down`] is
    /// due once its path has let go of it.
    Unsubscribe(ChannelId),
    /// A frame of a channel.
    Data {
        /// Which channel.
        channel: ChannelId,
        /// The frame, as a single-store socket has it.
        payload: &'a str,
    },
}

/// The channels of one socket.
#[derive(Clone, Debug)]
pub struct Channels {
    /// The path of the socket's URL; empty for the root.
    base: Box<str>,
    greeted: bool,
    /// After a violation nothing from the socket counts any more.
    closed: bool,
    open: BTreeSet<ChannelId>,
    /// Channels that were left and are not taken down yet.
    leaving: usize,
    /// Counts the unfinished messages of all channels together; their texts are with the paths.
    fragments: Reassembly,
    fragment_timeout_ms: Millis,
}

impl Channels {
    /// A socket whose URL has this path, raw as it stands there: from behind the first slash to the question mark.
    #[must_use]
    pub fn new(base: &str, fragment_timeout_ms: Millis) -> Self {
        Self {
            base: base.into(),
            greeted: false,
            closed: false,
            open: BTreeSet::new(),
            leaving: 0,
            fragments: Reassembly::default(),
            fragment_timeout_ms,
        }
    }

    /// The channels that are open.
    pub fn open(&self) -> impl ExactSizeIterator<Item = &ChannelId> {
        self.open.iter()
    }

    /// A frame has arrived; `None` if there is nothing to do.
    ///
    /// # Errors
    /// How the socket has to be closed. From then on every frame of it is ignored.
    pub fn receive<'a>(
        &mut self,
        now: Millis,
        frame: &'a str,
    ) -> Result<Option<ChannelEvent<'a>>, Close> {
        if self.closed {
            return Ok(None);
        }
        let event = self.take(now, frame);
        if event.is_err() {
            self.closed = true;
            self.fragments = Reassembly::default();
        }
        event
    }

    /// The channel just subscribed is not opened after all.
    pub fn refuse(&mut self, channel: &ChannelId) {
        self.open.remove(channel);
    }

    /// A channel that the socket had left is gone for good.
    pub fn taken_down(&mut self) {
        self.leaving = self.leaving.saturating_sub(1);
    }

    /// A path's frame as the socket has to send it on this channel.
    ///
    /// # Errors
    /// How the socket has to be closed, when the frame gets too large by it.
    pub fn wrap(channel: &ChannelId, frame: &str) -> Result<String, Close> {
        let wrapped = format!("M\n{channel}\n{frame}");
        if wrapped.len() > MAX_FRAME_BYTES { Err(Close::TOO_LARGE) } else { Ok(wrapped) }
    }

    fn take<'a>(&mut self, now: Millis, frame: &'a str) -> Result<Option<ChannelEvent<'a>>, Close> {
        if frame.len() > MAX_FRAME_BYTES {
            return Err(Close::TOO_LARGE);
        }
        let (to, remainder) = frame.split_once('\n').ok_or(Close::INVALID)?;
        match to {
            "S" => self.control(Control::parse(remainder).ok_or(Close::INVALID)?),
            "M" => self.data(now, remainder),
            _ => Err(Close::INVALID),
        }
    }

    fn control<'a>(&mut self, control: Control) -> Result<Option<ChannelEvent<'a>>, Close> {
        match control {
            Control::Hello { reply } => {
                self.greeted = true;
                Ok(Some(ChannelEvent::Reply(reply)))
            }
            Control::Subscribe { .. } | Control::Unsubscribe { .. } if !self.greeted => Ok(None),
            Control::Subscribe { channel, reply } => self.subscribe(&channel, reply),
            Control::Unsubscribe { channel } => {
                let Some(channel) = channel_id(&channel)? else {
                    return Ok(None);
                };
                if !self.open.remove(&channel) {
                    return Ok(None);
                }
                self.leaving += 1;
                let prefix = format!("{channel}\n");
                self.fragments.forget(|client| client.starts_with(&prefix));
                Ok(Some(ChannelEvent::Unsubscribe(channel)))
            }
        }
    }

    fn subscribe<'a>(
        &mut self,
        channel: &Text,
        reply: String,
    ) -> Result<Option<ChannelEvent<'a>>, Close> {
        // A lone surrogate cannot be written in a frame of data: confirmed, as TinyBase does, and without use.
        let Some(channel) = channel_id(channel)? else {
            return Ok(Some(ChannelEvent::Reply(reply)));
        };
        if self.open.contains(&channel) {
            return Ok(Some(ChannelEvent::Reply(reply)));
        }
        if self.open.len() >= MAX_CHANNELS
            || self.open.len() + self.leaving >= MAX_CHANNELS_WITH_LEFT
        {
            return Err(Close::CHANNELS);
        }
        self.open.insert(channel.clone());
        let path = channel.path_under(&self.base);
        Ok(Some(ChannelEvent::Subscribe { channel, path, reply }))
    }

    fn data<'a>(
        &mut self,
        now: Millis,
        remainder: &'a str,
    ) -> Result<Option<ChannelEvent<'a>>, Close> {
        let (channel, payload) = remainder.split_once('\n').ok_or(Close::INVALID)?;
        if channel.len() > MAX_CHANNEL_ID_BYTES {
            return Err(Close::CHANNELS);
        }
        let channel = self.open.get(channel).cloned().ok_or(Close::INVALID)?;
        let Some((client, remainder)) = payload.split_once('\n') else {
            return Err(Close::INVALID);
        };
        match FragmentForm::of(remainder) {
            Some(form) => {
                let client = format!("{channel}\n{client}");
                let fragment = form.read()?;
                self.fragments.count(now, self.fragment_timeout_ms, &client, &fragment)?;
            }
            None => self.fragments.expire(now),
        }
        Ok(Some(ChannelEvent::Data { channel, payload }))
    }
}

/// A channel id out of a control message; `None` for one that no frame could name.
fn channel_id(text: &Text) -> Result<Option<ChannelId>, Close> {
    let Some(text) = text.as_str() else {
        return Ok(None);
    };
    match ChannelId::new(text) {
        Ok(channel) => Ok(Some(channel)),
        Err(InvalidChannelId::TooLong) => Err(Close::CHANNELS),
        Err(InvalidChannelId::Malformed) => Err(Close::INVALID),
    }
}

#[cfg(test)]
mod tests;

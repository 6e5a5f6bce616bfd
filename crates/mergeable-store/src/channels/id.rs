//! Names of channels.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The longest channel id, in bytes of UTF-8.
pub const MAX_CHANNEL_ID_BYTES: usize = 1024;

/// A channel of a multiplexed socket: the part of its path that the URL does not have.
///
/// Slash-separated segments, none of them empty, `.` or `..`, without line ends, `?` and `#`; at most
/// [`MAX_CHANNEL_ID_BYTES`]. It is raw text, nothing in it is percent-decoded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(Arc<str>);

/// Why a text names no channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChannelId {
    /// Over [`MAX_CHANNEL_ID_BYTES`].
    #[error("a channel id has at most 1,024 bytes")]
    TooLong,
    /// Of another form.
    #[error(
        "a channel id is made of segments between single slashes, none of them `.` or `..`, without line ends, ? and #"
    )]
    Malformed,
}

impl ChannelId {
    /// Checks a channel id.
    ///
    /// # Errors
    /// [`InvalidChannelId`] says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, InvalidChannelId> {
        if text.len() > MAX_CHANNEL_ID_BYTES {
            return Err(InvalidChannelId::TooLong);
        }
        let sound = |segment: &str| {
            !matches!(segment, "" | "." | "..") && !segment.contains(['\n', '\r', '?', '#'])
        };
        if text.split('/').all(sound) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidChannelId::Malformed)
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path of this channel on a socket whose URL has the path `base`: joined by a slash, or the channel alone for the root.
    /// The URL's part stays as it stands in the URL, so the channel `é` and the URL `/é` (`%C3%A9`) are different paths.
    #[must_use]
    pub fn path_under(&self, base: &str) -> String {
        if base.is_empty() { self.0.to_string() } else { format!("{base}/{}", self.0) }
    }
}

impl Borrow<str> for ChannelId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

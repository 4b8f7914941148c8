//! Preamble and frames.
//!
//! ```text
//! preamble  "VFT" version 0 0 0 0                  8 bytes, once, from the client
//! frame     length, u32 big-endian | message       length counts the message only
//! ```
//!
//! A frame is at most [`MAX_FRAME`] bytes long, and at most [`MAX_EARLY_FRAME`] before the client
//! is authenticated. The length is checked before anything is allocated.

use std::fmt;
use std::io::{self, Read, Write};

/// The version of the protocol that this program speaks.
pub const VERSION: u8 = 1;

/// What a client sends first.
pub const PREAMBLE: [u8; 8] = [b'V', b'F', b'T', VERSION, 0, 0, 0, 0];

/// The longest message, in bytes.
pub const MAX_FRAME: usize = 64 * 1024;

/// The longest message before the client is authenticated, in bytes.
pub const MAX_EARLY_FRAME: usize = 1024;

/// Why a frame could not be read.
#[derive(Debug)]
pub enum FrameError {
    /// The peer closed the connection between two frames.
    Closed,
    /// The connection failed, or ended inside a frame.
    Io(io::Error),
    /// The peer announced more than the limit.
    TooLong {
        /// The length it announced, in bytes.
        length: u32,
        /// The limit, in bytes.
        limit: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the peer closed the connection"),
            Self::Io(error) => error.fmt(f),
            Self::TooLong { length, limit } => {
                write!(f, "a frame of {length} bytes where {limit} are allowed")
            }
        }
    }
}

impl std::error::Error for FrameError {}

/// Reads one frame's message into `message`, replacing what was there.
pub fn read(source: &mut impl Read, limit: usize, message: &mut Vec<u8>) -> Result<(), FrameError> {
    let mut header = [0; 4];
    let [first, rest @ ..] = &mut header;
    match source.read(std::slice::from_mut(first)) {
        Ok(0) => return Err(FrameError::Closed),
        Ok(_) => source.read_exact(rest).map_err(FrameError::Io)?,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            return read(source, limit, message);
        }
        Err(error) => return Err(FrameError::Io(error)),
    }
    let length = u32::from_be_bytes(header);
    let bytes = usize::try_from(length).unwrap_or(usize::MAX);
    if bytes > limit {
        return Err(FrameError::TooLong { length, limit });
    }
    message.clear();
    message.resize(bytes, 0);
    source.read_exact(message).map_err(FrameError::Io)
}

/// Writes one frame, in one call, and flushes it.
pub fn write(sink: &mut impl Write, message: &[u8]) -> io::Result<()> {
    sink.write_all(&framed(message)?)?;
    sink.flush()
}

/// A message with its length before it.
pub fn framed(message: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    let mut frame = Vec::with_capacity(message.len().saturating_add(4));
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(message);
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_length_over_the_limit_is_refused_before_anything_is_allocated() {
        let mut message = Vec::new();
        let bytes = [0xff, 0xff, 0xff, 0xff];
        let error = read(&mut bytes.as_slice(), MAX_FRAME, &mut message).unwrap_err();
        assert!(matches!(
            error,
            FrameError::TooLong {
                length: u32::MAX,
                limit: MAX_FRAME
            }
        ));
        assert_eq!(message.capacity(), 0);
    }

    #[test]
    fn an_end_between_frames_is_not_an_end_inside_one() {
        let mut message = Vec::new();
        let end = read(&mut [].as_slice(), MAX_FRAME, &mut message).unwrap_err();
        assert!(matches!(end, FrameError::Closed));
        let cut = read(&mut [0, 0, 0, 2, 7].as_slice(), MAX_FRAME, &mut message).unwrap_err();
        assert!(matches!(cut, FrameError::Io(_)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(messages in prop::collection::vec(any::<Vec<u8>>(), 0..4)) {
            let mut bytes = Vec::new();
            for message in &messages {
                write(&mut bytes, message).unwrap();
            }
            let mut source = bytes.as_slice();
            let mut message = Vec::new();
            for expected in &messages {
                read(&mut source, MAX_FRAME, &mut message).unwrap();
                prop_assert_eq!(&message, expected);
            }
            prop_assert!(source.is_empty());
        }
    }
}

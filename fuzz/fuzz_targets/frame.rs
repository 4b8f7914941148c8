//! Frames: whatever comes, and in whatever pieces, the reader takes what the format says and no
//! more, and what it takes can be written again.
//!
//! Input: a byte of which the lowest bit is the limit and the rest the size of the pieces, then
//! what the peer sends.

#![no_main]

use std::io::{self, Read};

use libfuzzer_sys::fuzz_target;
use vft::fuzzing::frame::{self, FrameError, MAX_EARLY_FRAME, MAX_FRAME};

/// Gives out a few bytes at a time, and is interrupted in between.
struct Pieces<'a> {
    left: &'a [u8],
    size: usize,
    interrupted: bool,
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.interrupted = !self.interrupted;
        if self.interrupted {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let size = into.len().min(self.size);
        self.left.read(&mut into[..size])
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, sent)) = data.split_first() else {
        return;
    };
    let limit = [MAX_EARLY_FRAME, MAX_FRAME][usize::from(first & 1)];
    let mut source = Pieces {
        left: sent,
        size: usize::from(first >> 1) + 1,
        interrupted: false,
    };
    let mut message = Vec::new();
    loop {
        let before = source.left;
        let result = frame::read(&mut source, limit, &mut message);
        let announced = before
            .first_chunk::<4>()
            .map(|bytes| u32::from_be_bytes(*bytes) as usize);
        match (result, announced) {
            (Ok(()), Some(length)) => {
                assert!(length <= limit);
                let taken = &before[..before.len() - source.left.len()];
                assert_eq!(taken.len(), length + 4);
                assert_eq!(frame::framed(&message).unwrap(), taken);
            }
            (Ok(()), None) => panic!("a frame of less than four bytes"),
            (Err(FrameError::Closed), _) => return assert!(before.is_empty()),
            (Err(error @ FrameError::TooLong { .. }), _) => {
                assert!(announced.is_some_and(|length| length > limit), "{error}");
                assert_eq!(before.len() - source.left.len(), 4);
                return;
            }
            (Err(FrameError::Io(_)), None) => return assert!((1..4).contains(&before.len())),
            (Err(FrameError::Io(_)), Some(length)) => {
                return assert!(length <= limit && before.len() < length + 4);
            }
        }
    }
});

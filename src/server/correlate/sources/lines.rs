//! Memory in lines of 64 bytes, as the caches of processors hold it: what lies in one line is there
//! after one wait for memory.

use std::hint::black_box;

/// Bytes in a line.
pub const LINE: usize = 64;

/// Lines of zeros. They use no memory before they are written to.
#[derive(Debug)]
pub struct Lines {
    bytes: Vec<u8>,
    /// Bytes before the first one that begins a line of the cache.
    skipped: usize,
    number: usize,
}

impl Lines {
    /// So many lines, at least one.
    pub fn new(number: usize) -> Self {
        let number = number.max(1);
        let bytes = vec![0; (number + 1) * LINE];
        Self {
            skipped: bytes.as_ptr().align_offset(LINE).min(LINE),
            bytes,
            number,
        }
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.number
    }

    /// One of them.
    pub fn get(&self, place: usize) -> Option<&[u8; LINE]> {
        self.bytes.get(self.skipped + place * LINE..)?.first_chunk()
    }

    /// One of them.
    pub fn get_mut(&mut self, place: usize) -> Option<&mut [u8; LINE]> {
        let bytes = self.bytes.get_mut(self.skipped + place * LINE..)?;
        bytes.first_chunk_mut()
    }

    /// Each of them whose number is a multiple of `step`, in their order.
    pub fn sample(&self, step: usize) -> impl Iterator<Item = &[u8; LINE]> {
        let places = (0..self.number).step_by(step.max(1));
        places.filter_map(|place| self.get(place))
    }

    /// Reads a line, without waiting for it.
    pub fn foresee(&self, place: usize) {
        black_box(self.bytes.get(self.skipped + place * LINE).copied());
    }
}

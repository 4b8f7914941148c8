//! Hits that wait in memory, because the disk does not take them.
//!
//! They have their numbers already, one behind the other without a gap, all behind those of the
//! spool. They go when they are written, acknowledged, or too many: then the oldest go.

use std::collections::VecDeque;

use crate::event::Hit;

/// Hits in memory, with the number of the first.
#[derive(Debug)]
pub struct Held {
    first: u64,
    hits: VecDeque<Hit>,
    room: usize,
}

impl Held {
    /// Room for so many hits, of which merged ones count once.
    pub const fn new(room: usize) -> Self {
        Self {
            first: 1,
            hits: VecDeque::new(),
            room,
        }
    }

    /// Appends hits, whose numbers begin with `first`: the one behind the last, if there is one.
    pub fn append(&mut self, first: u64, hits: &mut Vec<Hit>) {
        if self.hits.is_empty() {
            self.first = first;
        }
        self.hits.extend(hits.drain(..));
    }

    /// The oldest hits with numbers above `after`, at most `most`, and the number of the first of
    /// them.
    pub fn oldest(&self, after: u64, most: usize) -> (u64, Vec<Hit>) {
        let passed = after.saturating_add(1).saturating_sub(self.first);
        let skipped = usize::try_from(passed).unwrap_or(usize::MAX);
        let hits = self.hits.iter().skip(skipped).take(most);
        (self.first.saturating_add(passed), hits.copied().collect())
    }

    /// Forgets all hits up to and including this number.
    pub fn forget(&mut self, up_to: u64) {
        let passed = up_to.saturating_add(1).saturating_sub(self.first);
        let passed = usize::try_from(passed).unwrap_or(usize::MAX);
        self.remove(passed.min(self.hits.len()));
    }

    /// Drops the oldest if there are too many, and says how often what was dropped had happened.
    pub fn drop_surplus(&mut self) -> u64 {
        let surplus = self.hits.len().saturating_sub(self.room);
        let dropped = self.hits.iter().take(surplus);
        let dropped = dropped.map(|hit| u64::from(hit.count.get())).sum();
        self.remove(surplus);
        dropped
    }

    fn remove(&mut self, oldest: usize) {
        self.hits.drain(..oldest);
        let removed = u64::try_from(oldest).unwrap_or(u64::MAX);
        self.first = self.first.saturating_add(removed);
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        u64::try_from(self.hits.len()).unwrap_or(u64::MAX)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.hits.is_empty()
    }

    /// The number of the last one; without one, the number before the next.
    pub fn last(&self) -> u64 {
        self.first.saturating_add(self.len()).saturating_sub(1)
    }
}

//! How far a client's sequence has come.

use std::ops::RangeInclusive;

/// What is new in a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// How many of the report's first hits have been taken in before.
    pub duplicates: usize,
    /// Numbers between the last report and this one that never arrived.
    pub gap: Option<RangeInclusive<u64>>,
    /// The last number that is now taken in.
    pub up_to: u64,
}

impl Fresh {
    /// What is new in `count` hits numbered from `first`, if all up to `known` were taken in before.
    pub fn of(known: u64, first: u64, count: usize) -> Self {
        let length = u64::try_from(count).unwrap_or(u64::MAX);
        let last = first.saturating_add(length).saturating_sub(1);
        let next = known.saturating_add(1);
        // Where a client begins is not known at first, so a first report has no gap before it.
        let gap = (known > 0 && first > next).then(|| next..=first.saturating_sub(1));
        let duplicates = next.saturating_sub(first).min(length);
        Self {
            duplicates: usize::try_from(duplicates).unwrap_or(count),
            gap,
            up_to: known.max(last),
        }
    }

    /// How many numbers never arrived.
    pub fn missing(&self) -> u64 {
        let gap = self.gap.as_ref();
        gap.map_or(0, |gap| gap.end() - gap.start() + 1)
    }
}

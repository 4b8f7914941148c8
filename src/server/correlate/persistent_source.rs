//! `persistent-source`: a source that comes on many days.
//!
//! Below the slowest rate that `slow-scan` looks for there are still sources that touch the same
//! trap again and again: no first contacts, nothing frequent. One that was seen on `days` (7)
//! different days (UTC) of the last `within` (30) is told of.
//!
//! An example: a forgotten backup job that tries port 22 of a replaced host every night.

use crate::config::detectors::PersistentSource;
use crate::event::Timestamp;
use crate::server::alert::{Detector, Measure, Statistic};

/// The days on which a source was seen, of the last 32: a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Days {
    last: u32,
    bits: u32,
    told: u32,
}

impl Days {
    /// Notes that it was seen.
    pub fn add(&mut self, at: Timestamp) {
        let day = u32::try_from(at.as_micros() / 86_400_000_000).unwrap_or(u32::MAX);
        if day > self.last {
            self.bits = self.bits.checked_shl(day - self.last).unwrap_or(0) | 1;
            self.last = day;
        } else {
            self.bits |= 1_u32.checked_shl(self.last - day).unwrap_or(0);
        }
    }

    /// On how many of the last `within` days it was seen.
    pub const fn count(self, within: u32) -> u32 {
        let mask = match 1_u32.checked_shl(within) {
            Some(bit) => bit - 1,
            None => u32::MAX,
        };
        (self.bits & mask).count_ones()
    }
}

/// Whether a source has come on too many days. One that goes on is told of once in `within` days.
pub fn judge(days: &mut Days, settings: PersistentSource) -> Option<Statistic> {
    let (threshold, within) = (settings.days.get().into(), settings.within.get().into());
    let count = days.count(within);
    let lately = days.told > 0 && days.last < days.told.saturating_add(within);
    if !settings.enabled || count < threshold || lately {
        return None;
    }
    days.told = days.last;
    Some(Statistic {
        detector: Detector::PersistentSource,
        measure: Measure::Days {
            days: count,
            threshold,
            within,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(n: u64) -> Timestamp {
        Timestamp::from_micros(n * 86_400_000_000 + 5)
    }

    #[test]
    fn each_day_counts_once_and_in_any_order() {
        let mut days = Days::default();
        for n in [100, 100, 103, 101, 90, 70, 60] {
            days.add(day(n));
        }
        assert_eq!(days.count(30), 4);
        assert_eq!(days.count(32), 4);
        assert_eq!(days.count(3), 2);
        days.add(day(103 + 31));
        assert_eq!(days.count(32), 2);
        days.add(day(500));
        assert_eq!(days.count(32), 1);
    }

    #[test]
    fn seven_days_of_thirty_are_enough() {
        let mut days = Days::default();
        let settings = PersistentSource::default();
        for week in 0..6 {
            days.add(day(100 + week * 4));
            assert_eq!(judge(&mut days, settings), None);
        }
        days.add(day(125));
        assert!(judge(&mut days, settings).is_some());
        days.add(day(126));
        assert_eq!(judge(&mut days, settings), None);
    }
}

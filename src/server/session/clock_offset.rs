//! How far a client's clock is off.

use crate::event::Timestamp;

/// Clocks that differ by less, in microseconds, are taken as right: 2 s. It is more than a report
/// can be on its way on any network that works.
const TOLERANCE: i64 = 2_000_000;

/// A clock that differs by more, in microseconds, is worth a warning: a day.
const FAR: i64 = 86_400_000_000;

/// The offset as last estimated.
#[derive(Debug, Default)]
pub struct ClockOffset {
    correction: i64,
    verdict: Verdict,
}

/// What a clock is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// It is right.
    #[default]
    Right,
    /// It is off, and its times are corrected.
    Off,
    /// Likewise, by more than a day.
    FarOff,
}

impl ClockOffset {
    /// Takes up what a heartbeat says: it was `theirs` o'clock when it was sent, and is `ours` now.
    /// The verdict is returned if it is another than before.
    pub fn note(&mut self, theirs: Timestamp, ours: Timestamp) -> Option<Verdict> {
        let offset = ours.offset_from(theirs);
        let off_by = offset.saturating_abs();
        let (verdict, correction) = if off_by <= TOLERANCE {
            (Verdict::Right, 0)
        } else if off_by <= FAR {
            (Verdict::Off, offset)
        } else {
            (Verdict::FarOff, offset)
        };
        self.correction = correction;
        (std::mem::replace(&mut self.verdict, verdict) != verdict).then_some(verdict)
    }

    /// What to add to the client's times, in microseconds.
    pub const fn correction(&self) -> i64 {
        self.correction
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_clock_is_corrected_and_a_slow_network_is_not() {
        let at = Timestamp::from_micros;
        let mut offset = ClockOffset::default();
        offset.note(at(5_000_000), at(6_500_000));
        assert_eq!(offset.correction(), 0);
        offset.note(at(5_000_000), at(3_605_000_000));
        assert_eq!(
            at(5_000_000).shifted(offset.correction()),
            at(3_605_000_000)
        );
        offset.note(at(9_000_000), at(5_000_000));
        assert_eq!(offset.correction(), -4_000_000);
    }

    #[test]
    fn a_clock_that_is_off_by_more_than_a_day_is_flagged_once_in_either_direction() {
        const NOW: u64 = 1_795_000_000_000_000;
        let (at, day) = (Timestamp::from_micros, 86_400_000_000);
        let mut offset = ClockOffset::default();
        let mut note = |theirs| offset.note(at(theirs), at(NOW));
        assert_eq!(note(NOW), None);
        assert_eq!(note(NOW + day), Some(Verdict::Off));
        assert_eq!(note(NOW + day + 1), Some(Verdict::FarOff));
        assert_eq!(note(NOW - day - 1), None);
        assert_eq!(note(NOW - day), Some(Verdict::Off));
        assert_eq!(note(NOW), Some(Verdict::Right));
        assert_eq!(note(u64::MAX), Some(Verdict::FarOff));
    }
}

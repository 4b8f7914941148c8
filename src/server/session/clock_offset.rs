//! How far a client's clock is off.

use log::info;

use crate::clock;
use crate::event::Timestamp;
use crate::seldom::Seldom;

/// Clocks that differ by less, in microseconds, are taken as right: 2 s. It is more than a report
/// can be on its way on any network that works.
const TOLERANCE: i64 = 2_000_000;

/// The offset as last estimated.
#[derive(Debug, Default)]
pub struct ClockOffset {
    correction: i64,
    seldom: Seldom,
}

impl ClockOffset {
    /// Takes up what a heartbeat says: it was `theirs` o'clock when it was sent, and is `ours` now.
    pub fn note(&mut self, theirs: Timestamp, ours: Timestamp, client: &str) {
        let offset = ours.offset_from(theirs);
        let correction = if offset.saturating_abs() > TOLERANCE {
            offset
        } else {
            0
        };
        if (correction == 0) != (self.correction == 0) {
            if let Some(left_out) = self.seldom.line(clock::monotonic()) {
                let seconds = offset / 1_000_000;
                info!(
                    "client {client}: its clock is {seconds} s behind ours (negative: ahead)\
                     {left_out}"
                );
            }
        }
        self.correction = correction;
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
        offset.note(at(5_000_000), at(6_500_000), "web-7");
        assert_eq!(offset.correction(), 0);
        offset.note(at(5_000_000), at(3_605_000_000), "web-7");
        assert_eq!(
            at(5_000_000).shifted(offset.correction()),
            at(3_605_000_000)
        );
        offset.note(at(9_000_000), at(5_000_000), "web-7");
        assert_eq!(offset.correction(), -4_000_000);
    }
}

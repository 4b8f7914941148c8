//! What time it is, as far as it can be believed when something is to be forgotten for its age.
//!
//! A clock that is wrong for a minute must not delete a year of evidence. So the time that counts
//! follows the clock no faster than twice the time that has really passed, as the monotonic clock
//! has it. It stands in the store (`clock`), so that a restart under a wrong clock deletes nothing
//! either. A clock that is two years ahead for 95 s makes the store forget three minutes too much.
//!
//! Up to `keep` after the oldest row the clock is believed without more ado: nothing is deleted by
//! that. What remains are servers that were off for long: one that was off for a year takes a year
//! to catch up, in which it keeps more than it should, up to `keep-mib`.

use std::time::{Duration, Instant};

use crate::event::Timestamp;

/// How much faster than time itself the clock may run.
const HASTE: u32 = 2;

/// A clock that is this far ahead of what is believed is worth a word.
pub const NOTABLE: Duration = Duration::from_secs(86_400);

/// The time that counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Horizon {
    believed: Option<Timestamp>,
    looked: Option<Instant>,
}

/// A look at both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// The time of day.
    pub wall: Timestamp,
    /// What cannot be set.
    pub monotonic: Instant,
    /// What is older than this is to be forgotten.
    pub keep: Duration,
}

impl Horizon {
    /// The time that was believed when the store was last written, if it says so.
    pub const fn new(believed: Option<Timestamp>) -> Self {
        Self {
            believed,
            looked: None,
        }
    }

    /// What time to believe it is. The store's oldest row is of `oldest`; none if it has none.
    pub fn advance(&mut self, look: Look, oldest: Option<Timestamp>) -> Timestamp {
        let passed = self.looked.map_or(Duration::ZERO, |before| {
            look.monotonic.saturating_duration_since(before)
        });
        let harmless = oldest.map_or(look.wall, |oldest| oldest.after(look.keep));
        let earned = self.believed.unwrap_or_default();
        let believed = look
            .wall
            .min(earned.after(passed.saturating_mul(HASTE)).max(harmless));
        self.believed = Some(believed);
        self.looked = Some(look.monotonic);
        believed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use proptest::prelude::*;

    const DAY: u64 = 86_400;
    const KEEP: Duration = Duration::from_secs(365 * DAY);
    const NOW: u64 = 20_000 * DAY;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    /// A look at a clock that is `ahead` seconds ahead, `passed` seconds after the start.
    fn look(start: Instant, passed: u64, ahead: u64) -> Look {
        Look {
            wall: at(NOW + passed + ahead),
            monotonic: start + Duration::from_secs(passed),
            keep: KEEP,
        }
    }

    #[test]
    fn a_clock_two_years_ahead_for_95_seconds_is_hardly_believed_and_a_restart_does_not_help_it() {
        let start = clock::monotonic();
        let oldest = Some(at(NOW - 365 * DAY));
        let mut horizon = Horizon::new(Some(at(NOW)));
        assert_eq!(horizon.advance(look(start, 0, 0), oldest), at(NOW));
        let wrong = horizon.advance(look(start, 95, 730 * DAY), oldest);
        assert_eq!(wrong, at(NOW + 190));
        let mut anew = Horizon::new(Some(wrong));
        let wrong = anew.advance(look(start, 100, 730 * DAY), oldest);
        assert_eq!(wrong, at(NOW + 190));
        assert_eq!(anew.advance(look(start, 160, 0), oldest), at(NOW + 160));
    }

    #[test]
    fn while_nothing_is_as_old_as_keep_any_clock_is_harmless() {
        let start = clock::monotonic();
        let oldest = at(NOW - 10 * DAY);
        let mut horizon = Horizon::new(None);
        horizon.advance(look(start, 0, 0), Some(oldest));
        let wrong = horizon.advance(look(start, 60, 730 * DAY), Some(oldest));
        assert_eq!(wrong.before(KEEP), oldest, "which is not older");
    }

    #[test]
    fn a_clock_that_began_in_1970_does_not_hold_it_up() {
        let start = clock::monotonic();
        let mut horizon = Horizon::new(None);
        let early = Look {
            wall: at(60),
            ..look(start, 0, 0)
        };
        assert_eq!(horizon.advance(early, None), at(60));
        let oldest = Some(at(NOW - 10 * DAY));
        assert_eq!(horizon.advance(look(start, 60, 0), oldest), at(NOW + 60));
    }

    #[test]
    fn who_was_off_for_a_year_catches_up_in_a_year_and_a_shorter_keep_counts_at_once() {
        let start = clock::monotonic();
        let oldest = Some(at(NOW - 730 * DAY));
        let mut horizon = Horizon::new(Some(at(NOW - 365 * DAY)));
        for day in 0..365 {
            let believed = horizon.advance(look(start, day * DAY, 0), oldest);
            assert_eq!(believed, at(NOW - 365 * DAY + 2 * day * DAY));
        }
        let shorter = Look {
            keep: Duration::from_secs(3600),
            ..look(start, 366 * DAY, 0)
        };
        assert_eq!(horizon.advance(shorter, oldest), shorter.wall);
    }

    proptest! {
        #[test]
        fn however_the_clock_is_set_no_more_is_forgotten_than_time_allows(
            steps in prop::collection::vec((0..DAY, -1_000_000_000_i64..1_000_000_000), 1..50)
        ) {
            let start = clock::monotonic();
            let oldest = Some(at(NOW - 365 * DAY));
            let mut horizon = Horizon::new(Some(at(NOW)));
            let mut passed = 0;
            for (seconds, error) in steps {
                passed += seconds;
                let mut look = look(start, passed, 0);
                look.wall = look.wall.shifted(error * 1_000_000);
                let believed = horizon.advance(look, oldest);
                prop_assert!(believed <= at(NOW + 2 * passed));
                prop_assert!(believed <= look.wall);
            }
        }
    }
}

//! When the engine is told the time in a replay.
//!
//! A server tells its engine the time every 200 ms. In a replay time goes on with the events: while
//! they follow each other closely there is a tick every 200 ms of their time as well. In a gap the
//! ticks are ever farther apart, up to 10 minutes, so what is due is said with a time that is
//! right to half of the time since the last event or to 10 minutes. And when everything must be
//! over, the rest of a gap is passed in one step, so that a time that makes no sense costs nothing.

use std::time::Duration;

use crate::event::Timestamp;

/// The shortest time between two ticks: what a server has.
const SHORTEST: Duration = Duration::from_millis(200);

/// The longest.
const LONGEST: Duration = Duration::from_secs(600);

/// The clock of a replay.
#[derive(Debug)]
pub struct Pace {
    /// How long after an event everything is over.
    rest: Duration,
    /// When the last event was.
    event: Timestamp,
    /// When the last tick was; `None` before the first event.
    tick: Option<Timestamp>,
}

impl Pace {
    /// A clock that stands still. Everything is over `rest` after an event.
    pub const fn new(rest: Duration) -> Self {
        Self {
            rest,
            event: Timestamp::from_micros(0),
            tick: None,
        }
    }

    /// The next tick before `now`, if there is one; to be asked until there is none.
    pub fn tick_before(&mut self, now: Timestamp) -> Option<Timestamp> {
        let Some(last) = self.tick else {
            self.tick = Some(now);
            return None;
        };
        let gap = last.since(self.event);
        let next = if gap >= self.rest {
            // Nothing is due any more.
            now
        } else {
            last.after(gap.clamp(SHORTEST, LONGEST))
        };
        (last < next && next <= now).then(|| {
            self.tick = Some(next);
            next
        })
    }

    /// Notes that there was an event at `now`.
    pub fn event(&mut self, now: Timestamp) {
        self.event = self.event.max(now);
    }

    /// When everything is over.
    pub fn end(&self) -> Timestamp {
        self.event.after(self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_micros(millis * 1000)
    }

    /// The ticks of events at these milliseconds.
    fn ticks(events: &[u64]) -> Vec<u64> {
        let mut pace = Pace::new(DAY);
        let mut ticks = Vec::new();
        for event in events {
            while let Some(tick) = pace.tick_before(at(*event)) {
                ticks.push(tick.as_micros() / 1000);
            }
            pace.event(at(*event));
        }
        ticks
    }

    #[test]
    fn events_in_close_order_have_a_tick_every_200_ms() {
        assert_eq!(ticks(&[1000, 1100, 1199]), [0; 0]);
        assert_eq!(ticks(&[1000, 1100, 1300, 1350, 1450]), [1200, 1400]);
    }

    #[test]
    fn in_a_gap_ticks_are_ever_farther_apart() {
        assert_eq!(ticks(&[1000, 10_000]), [1200, 1400, 1800, 2600, 4200, 7400]);
        let hour = ticks(&[0, 3_600_000]);
        assert!(hour.len() < 20, "{hour:?}");
        let farthest = hour.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert_eq!(farthest, Some(600_000));
    }

    #[test]
    fn centuries_are_passed_in_one_step() {
        let ticks = ticks(&[0, 1_000_000_000_000_000]);
        assert!(ticks.len() < 200, "{}", ticks.len());
        assert_eq!(ticks.last(), Some(&1_000_000_000_000_000));
    }

    #[test]
    fn time_does_not_go_back() {
        assert_eq!(ticks(&[10_000, 1000, 10_100, 10_200]), [10_200]);
    }
}

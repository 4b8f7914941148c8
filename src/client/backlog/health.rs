//! Whether the spool can be written, and what the log says of it.

use std::time::{Duration, Instant};

use log::{error, info};

/// Whether the spool can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It can.
    Well,
    /// It cannot.
    Ailing,
}

/// The condition, and what was last said of it.
#[derive(Debug)]
pub struct Health {
    condition: Condition,
    said: Condition,
    /// When the last minute began, and how many lines were written in it.
    minute: Option<(Instant, u32)>,
}

/// A disk that comes and goes is worth so many lines a minute.
const LINES: u32 = 4;

const MINUTE: Duration = Duration::from_secs(60);

impl Health {
    /// A spool that could be opened is well.
    pub const fn new() -> Self {
        Self {
            condition: Condition::Well,
            said: Condition::Well,
            minute: None,
        }
    }

    /// Whether the spool can be written.
    pub const fn condition(&self) -> Condition {
        self.condition
    }

    /// Whether the log says so, too.
    pub fn is_said(&self) -> bool {
        self.said == self.condition
    }

    /// Notes that it could not be written at `now`, and why.
    pub fn failed(&mut self, why: &dyn std::error::Error, now: Instant) {
        self.condition = Condition::Ailing;
        if self.may_say(now) {
            error!("cannot write the spool: {why}; hits are kept in memory meanwhile");
        }
    }

    /// Notes that all there was to write has been written by `now`.
    pub fn recovered(&mut self, now: Instant) {
        self.condition = Condition::Well;
        if self.may_say(now) {
            info!("the spool can be written again");
        }
    }

    /// Whether there is something to say, and it is not too soon for it.
    fn may_say(&mut self, now: Instant) -> bool {
        if self.is_said() {
            return false;
        }
        let (began, lines) = self
            .minute
            .filter(|(began, _)| now.saturating_duration_since(*began) < MINUTE)
            .unwrap_or((now, 0));
        if lines >= LINES {
            return false;
        }
        self.minute = Some((began, lines + 1));
        self.said = self.condition;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn each_change_is_said_once_and_a_disk_that_comes_and_goes_a_few_times_a_minute() {
        let (mut health, began) = (Health::new(), clock::monotonic());
        let mut lines = 0;
        for second in 0..180 {
            let now = began + Duration::from_secs(second);
            for _ in 0..3 {
                let before = health.said;
                if second % 2 == 0 {
                    health.failed(&std::io::Error::other("full"), now);
                } else {
                    health.recovered(now);
                }
                lines += u32::from(before != health.said);
            }
        }
        assert_eq!(lines, 3 * LINES);
        // What was left out is made up for.
        let later = began + Duration::from_secs(300);
        health.recovered(later);
        assert!(health.is_said() && health.condition() == Condition::Well);
    }
}

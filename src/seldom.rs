//! Log lines that somebody else can cause: one a minute, with how many were left out.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How far apart lines are at least.
const PAUSE: Duration = Duration::from_secs(60);

/// Keeps one kind of line seldom.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    last: Option<Instant>,
    left_out: u64,
}

/// What to put behind a line: nothing, or how many like it were left out before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut(u64);

impl Seldom {
    /// Whether a line may be written at `now`.
    pub fn line(&self, now: Instant) -> Option<LeftOut> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < PAUSE)
        {
            kept.left_out = kept.left_out.saturating_add(1);
            return None;
        }
        kept.last = Some(now);
        Some(LeftOut(std::mem::take(&mut kept.left_out)))
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(f, " ({count} lines like this were left out before)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_flood_is_one_line_a_minute_that_says_how_many() {
        let seldom = Seldom::default();
        let now = clock::monotonic();
        assert_eq!(seldom.line(now), Some(LeftOut(0)));
        for _ in 0..1000 {
            assert_eq!(seldom.line(now + PAUSE / 2), None);
        }
        let later = seldom.line(now + PAUSE).unwrap();
        assert_eq!(
            later.to_string(),
            " (1000 lines like this were left out before)"
        );
    }
}

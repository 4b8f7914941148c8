//! The only reader of the clocks.
//!
//! Everything else takes the time as an argument, so that it can be tested and replayed.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

/// The time of day, which may step.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// A time that only moves forward; for deadlines and intervals.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn monotonic() -> Instant {
    Instant::now()
}

/// The time of day when this was first asked for, and what has passed since. It is as good as the
/// time of day for telling how long ago something was, and nobody can step it. While the machine
/// sleeps it stands still.
pub fn steady() -> SystemTime {
    static ORIGIN: LazyLock<(SystemTime, Instant)> = LazyLock::new(|| (wall(), monotonic()));
    let (origin, began) = *ORIGIN;
    origin.checked_add(since(began)).unwrap_or(origin)
}

/// How long ago a time was; zero if it is yet to come.
pub fn since(time: Instant) -> Duration {
    monotonic().saturating_duration_since(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steady_clock_goes_with_the_monotonic_one() {
        let before = monotonic();
        let began = steady();
        let behind = monotonic();
        while since(behind) < Duration::from_millis(2) {}
        let passed = steady().duration_since(began).unwrap();
        assert!(passed >= Duration::from_millis(2), "{passed:?}");
        assert!(passed <= since(before), "{passed:?}");
    }
}

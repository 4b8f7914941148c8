//! The only reader of the clocks.
//!
//! Everything else takes the time as an argument, so that it can be tested and replayed.

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

/// How long ago a time was; zero if it is yet to come.
pub fn since(time: Instant) -> Duration {
    monotonic().saturating_duration_since(time)
}

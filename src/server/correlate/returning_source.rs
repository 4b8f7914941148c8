//! `returning-source`: a source that was alerted before, had been silent, and is there again.
//!
//! Whoever had an incident of medium severity or more that chance does not explain and was then silent
//! for `silence` (7 days) or longer is told of at its first hit. That an incident has reached a number
//! that somebody has set is not enough: a harmless source of many clients does so sooner or later, and
//! would be told of for ever after; so it is with having returned. Closed incidents are remembered for a year.

use crate::config::detectors::ReturningSource;
use crate::event::Timestamp;
use crate::server::alert::{Detector, Measure, Severity, Statistic};
use crate::server::correlate::dormant::{Closed, Grounds};

/// Whether a source that had this incident has come back at `at`.
pub fn judge(closed: &Closed, at: Timestamp, settings: &ReturningSource) -> Option<Statistic> {
    let silence = at.since(closed.last_seen);
    let back = settings.enabled
        && closed.severity >= Severity::Medium
        && closed.grounds == Grounds::Improbable
        && silence >= settings.silence.get();
    back.then_some(Statistic {
        detector: Detector::ReturningSource,
        measure: Measure::Silence(silence),
    })
}

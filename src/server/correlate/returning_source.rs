//! `returning-source`: a source that was alerted before, had been silent, and is there again.
//!
//! Whoever had an incident of medium severity or more and was then silent for `silence` (7 days)
//! or longer is told of at its first hit. Closed incidents are remembered for a year.

use crate::config::detectors::ReturningSource;
use crate::event::Timestamp;
use crate::server::alert::{Detector, Measure, Severity, Statistic};
use crate::server::correlate::dormant::Closed;

/// Whether a source that had this incident has come back at `at`.
pub fn judge(closed: &Closed, at: Timestamp, settings: &ReturningSource) -> Option<Statistic> {
    let silence = at.since(closed.last_seen);
    let back = settings.enabled
        && closed.severity >= Severity::Medium
        && silence >= settings.silence.get();
    back.then_some(Statistic {
        detector: Detector::ReturningSource,
        measure: Measure::Silence(silence),
    })
}

//! `subnet-scan`: sources of one network that together do what none of them would be told of for.
//!
//! A network is an IPv4 /24 or an IPv6 /48. Its first contacts are those with a trap that none of
//! its sources had touched; sources that have an incident of their own do not count. The statistic
//! is that of `slow-scan`. At least `min-sources` (2) of its sources must have taken part.
//!
//! In a flood of sources every network has many. What they do in the mean is then what is harmless, and
//! when that is more than a burst every two hours, nothing is said about networks; `degraded` says
//! so.
//!
//! An example: three addresses of 203.0.113.0/24 touch one trap each, every few hours, and never
//! the same twice.

use std::collections::BTreeSet;

use crate::config::detectors::{SlowScan, SubnetScan};
use crate::server::alert::{Detector, Source};
use crate::server::correlate::chance::{Rule, null};
use crate::server::correlate::sources::suspect::Touch;

/// Networks may be found to begin a burst every two hours before that is held against one of them: in
/// a flood of sources they all do.
const MAX_RATE: f64 = 12.0;

/// So many networks are a flood, or as many as one.
const CROWD: usize = 1000;

/// The rule as the settings give it; what harmless networks do is what harmless sources do.
pub fn rule(settings: &SubnetScan, sources: &SlowScan) -> Rule {
    Rule {
        detector: Detector::SubnetScan,
        enabled: settings.enabled,
        false_alarms: settings.false_alarms_per_day.get(),
        min_days: sources.min_days.get(),
        null: null(
            sources.harmless_bursts_per_day.get(),
            sources.harmless_continuation.get(),
            sources.burst_gap.get(),
        ),
        max_rate: MAX_RATE,
        crowd: Some(CROWD),
    }
}

/// The sources that have taken part.
pub fn members(evidence: &[Touch]) -> BTreeSet<Source> {
    evidence
        .iter()
        .map(|touch| Source::of(touch.source()))
        .collect()
}

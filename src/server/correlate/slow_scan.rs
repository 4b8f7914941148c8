//! `slow-scan`: a source outside whose first contacts chance does not explain, however slowly they
//! come.
//!
//! One that finds a trap an hour is told of after three, one that finds a trap a day after four or
//! five, a sweep after six. There is no window that a patient scanner could wait out: time alone
//! makes suspicion fade, at the rate at which harmless sources come. The alert says how seldom
//! chance would do the same: «by chance once in 310 days».
//!
//! Defaults: 0.3 false alarms a day over all sources, harmless sources begin a burst a month. An
//! example: 198.51.100.7 touches ports 22, 23 and 80 of three clients on Monday at 3, 4 and 5
//! o'clock; no five minutes ever hold more than one hit.

use crate::config::detectors::SlowScan;
use crate::server::alert::Detector;
use crate::server::correlate::chance::{Rule, null};
use crate::server::correlate::statistics::bursts::Null;

/// The rule as the settings give it.
pub fn rule(settings: &SlowScan) -> Rule {
    Rule {
        detector: Detector::SlowScan,
        enabled: settings.enabled,
        false_alarms: settings.false_alarms_per_day.get(),
        min_days: settings.min_days.get(),
        null: null(
            settings.harmless_bursts_per_day.get(),
            settings.harmless_continuation.get(),
            settings.burst_gap.get(),
        ),
        max_rate: Null::MAX_RATE,
        crowd: None,
    }
}

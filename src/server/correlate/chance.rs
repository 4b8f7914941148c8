//! What `slow-scan`, `subnet-scan` and `lateral-movement` have in common: first contacts that
//! chance does not explain.
//!
//! The statistic is that of [`bursts`](crate::server::correlate::statistics::bursts). The
//! threshold grows with the number of suspects, so that all of them together raise no more than
//! the false alarms that the settings put up with. What harmless suspects do is learned from those
//! that were never alerted, once a day, and whenever there have been as many first contacts again as
//! before, so that a flood is known for one; and it is never taken to be less than the settings say.

use std::time::Duration;

use crate::event::Timestamp;
use crate::server::alert::{Detector, Measure, Statistic};
use crate::server::correlate::sources::suspect::{Standing, Suspect};
use crate::server::correlate::sources::tier::Tier;
use crate::server::correlate::statistics::bursts::{Calibration, Model, Null, threshold};

/// A detector of suspects that chance does not explain.
#[derive(Debug)]
pub struct Chance {
    rule: Rule,
    model: Model,
    calibrated: Timestamp,
    contacts: u64,
    enough: u64,
}

/// How it is set.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The detector.
    pub detector: Detector,
    /// Whether it runs.
    pub enabled: bool,
    /// False alarms a day to put up with.
    pub false_alarms: f64,
    /// The threshold is at least so many days.
    pub min_days: f64,
    /// What harmless suspects do, at most.
    pub null: Null,
    /// How many bursts a day they may be found to begin.
    pub max_rate: f64,
}

/// First contacts that are worth learning from.
const ENOUGH: u64 = 4096;

/// How often it is learned what harmless suspects do.
const CALIBRATION: Duration = Duration::from_secs(86_400);

const DAY: f64 = 86_400.0;

impl Chance {
    /// A detector that has learned nothing yet.
    pub fn new(rule: Rule) -> Self {
        Self {
            rule,
            model: Model::new(&rule.null),
            calibrated: Timestamp::default(),
            contacts: 0,
            enough: ENOUGH,
        }
    }

    /// What first contacts mean.
    pub const fn model(&self) -> &Model {
        &self.model
    }

    /// Whether chance does not explain this suspect, of so many.
    pub fn judge(&self, suspect: &Suspect, suspects: usize) -> Option<Statistic> {
        let threshold = threshold(suspects as f64, self.rule.false_alarms, self.rule.min_days);
        let days = suspect.chance_days;
        let alarm = self.rule.enabled && days >= threshold;
        alarm.then_some(Statistic {
            detector: self.rule.detector,
            measure: Measure::Chance { days, threshold },
        })
    }

    /// Notes a first contact.
    pub fn contact(&mut self) {
        self.contacts += 1;
    }

    /// Learns what the harmless ones of these suspects do, if it is time to.
    pub fn calibrate(&mut self, suspects: &Tier, now: Timestamp) {
        if self.calibrated == Timestamp::default() {
            self.calibrated = now;
        }
        if now.since(self.calibrated) < CALIBRATION && self.contacts < self.enough {
            return;
        }
        self.calibrated = now;
        self.enough = self.contacts.saturating_mul(2).max(ENOUGH);
        let mut calibration = Calibration::default();
        let harmless = suspects
            .iter()
            .filter(|suspect| suspect.standing == Standing::Unalerted);
        for suspect in harmless {
            let days = now.since(suspect.first_seen).as_secs_f64() / DAY;
            calibration.add(suspect.bursts, suspect.contacts, days);
        }
        self.model = Model::new(&calibration.null(&self.rule.null, self.rule.max_rate));
    }
}

/// A null from settings: bursts a day, the chance of going on, and the gap within a burst.
pub fn null(rate: f64, continuation: f64, gap: Duration) -> Null {
    Null {
        rate,
        continuation,
        gap: gap.as_secs_f64() / DAY,
    }
}

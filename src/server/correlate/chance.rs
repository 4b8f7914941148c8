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
    sight: Sight,
}

/// Whether anything can be told from chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It can.
    Clear,
    /// In a flood all suspects do as much as those that are looked for.
    Dazzled,
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
    /// From so many suspects on, what they do in the mean counts, and not what was expected: then
    /// there is a flood. None if that must not be.
    pub crowd: Option<usize>,
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
            sight: Sight::Clear,
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
        let clear = self.sight == Sight::Clear;
        let alarm = self.rule.enabled && clear && days >= threshold;
        alarm.then_some(Statistic {
            detector: self.rule.detector,
            measure: Measure::Chance { days, threshold },
        })
    }

    /// Whether anything can be told from chance at present.
    pub const fn sight(&self) -> Sight {
        self.sight
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
        let (mut calibration, mut harmless) = (Calibration::default(), 0);
        for suspect in suspects
            .iter()
            .filter(|it| it.standing == Standing::Unalerted)
        {
            let days = now.since(suspect.known_since).as_secs_f64() / DAY;
            calibration.add(suspect.bursts, suspect.contacts, days);
            harmless += 1;
        }
        let max_rate = self.rule.max_rate;
        let mut null = calibration.null(&self.rule.null, max_rate);
        self.sight = Sight::Clear;
        if self.rule.crowd.is_some_and(|crowd| harmless >= crowd) {
            // Some do more than the mean.
            let most = calibration.mean_rate() * 2.0;
            null.rate = null.rate.max(most).min(max_rate);
            if most > max_rate {
                self.sight = Sight::Dazzled;
            }
        }
        self.model = Model::new(&null);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::detectors::{Frequency, SlowScan, SubnetScan};
    use crate::event::ClientId;
    use crate::server::alert::Network;
    use crate::server::correlate::clients::Handle;
    use crate::server::correlate::frequency;
    use crate::server::correlate::sighting::{Proof, Sighting};
    use crate::server::correlate::sources::hash::Secret;
    use crate::server::correlate::sources::suspect::{Key, Touch};
    use crate::server::correlate::sources::tier::{Entrance, Visit};
    use crate::server::correlate::subnet_scan;

    /// Networks that touch so many traps each, within a day.
    fn networks(number: u8, contacts: u16) -> (Chance, Tier) {
        let rule = frequency::Rule::new(Detector::FrequentSource, &Frequency::default());
        let subnet = subnet_scan::rule(&SubnetScan::default(), &SlowScan::default());
        let mut chance = Chance::new(subnet);
        let mut tier = Tier::new(16 << 20);
        let begun = Timestamp::from_micros(1_795_000_000_000_000);
        chance.calibrate(&tier, begun);
        let gap = Duration::from_secs(86_400) / u32::from(contacts);
        for contact in 0..contacts {
            for (a, b) in (0..number).flat_map(|a| (0..40).map(move |b| (a, b))) {
                let sighting = Sighting {
                    at: begun.after(gap * contact.into()),
                    source: [240, a, b, 1].into(),
                    client: ClientId([1; 16]),
                    handle: Handle(1),
                    port: contact,
                    count: 1,
                };
                let key = Key::network(Network::of(sighting.source));
                let visit = Visit {
                    key,
                    hash: Secret::default().hash(key.number()),
                    touch: Touch::from(&sighting),
                    proof: Proof::Connected,
                    rule: &rule,
                    model: chance.model(),
                    now: sighting.at,
                };
                tier.visit(&visit, || Entrance::Open);
                chance.contact();
                chance.calibrate(&tier, sighting.at);
            }
        }
        chance.calibrate(&tier, begun.after(Duration::from_secs(86_400)));
        (chance, tier)
    }

    fn alarms((chance, tier): &(Chance, Tier)) -> usize {
        let alarms = tier
            .iter()
            .filter(|it| chance.judge(it, tier.len()).is_some());
        alarms.count()
    }

    #[test]
    fn few_busy_networks_are_scans_and_very_many_are_a_flood() {
        let few = networks(1, 12);
        assert_eq!((few.0.sight(), alarms(&few)), (Sight::Clear, 40));
        let many = networks(30, 12);
        assert_eq!((many.0.sight(), alarms(&many)), (Sight::Dazzled, 0));
    }

    #[test]
    fn very_many_quiet_networks_do_not_hide_a_busy_one() {
        let quiet = networks(30, 1);
        assert_eq!((quiet.0.sight(), alarms(&quiet)), (Sight::Clear, 0));
    }
}

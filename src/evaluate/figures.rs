//! From outcomes to figures: shares, medians, rates.

use std::collections::BTreeMap;

use crate::evaluate::score::{Alarm, Figures, Outcome};
use crate::server::alert::Detector;

/// Attackers that are looked at together.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// So many that have begun.
    pub attackers: u32,
    /// So many of them that were found.
    pub found: u32,
    /// First contacts until they were.
    pub contacts: Spread,
    /// Hits until they were.
    pub hits: Spread,
    /// Probes until they were, in the mean of those that lead to so many contacts.
    pub probes: Spread,
    /// Seconds from the first hit until they were.
    pub seconds: Spread,
    /// The detectors that found them, and how many each.
    pub by: BTreeMap<Detector, u32>,
}

/// The middle and the end of a distribution over all attackers, those that were not found
/// included, for whom it took for ever. `None` stands for that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Half of them are at or below.
    pub median: Option<f64>,
    /// 95 % of them are at or below.
    pub p95: Option<f64>,
}

/// Attackers that have something in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// What they are grouped by: rate, shape or origin.
    pub by: &'static str,
    /// Which of them they have in common.
    pub value: &'static str,
    /// All of them.
    pub pool: Pool,
}

impl Pool {
    /// The share of the attackers that were found; `None` if there were none.
    pub fn share(&self) -> Option<f64> {
        (self.attackers > 0).then(|| f64::from(self.found) / f64::from(self.attackers))
    }
}

impl Figures {
    /// The attackers that `wanted` picks, together.
    pub fn pool(&self, wanted: impl Fn(&Outcome) -> bool) -> Pool {
        let outcomes: Vec<_> = self
            .outcomes
            .iter()
            .filter(|outcome| outcome.done.began.is_some() && wanted(outcome))
            .collect();
        let mut by = BTreeMap::new();
        for found in outcomes.iter().filter_map(|outcome| outcome.found) {
            *by.entry(found.by).or_default() += 1;
        }
        Pool {
            attackers: count(outcomes.len()),
            found: by.values().sum(),
            contacts: spread(&outcomes, |outcome| {
                outcome.found.map(|found| f64::from(found.done.contacts))
            }),
            hits: spread(&outcomes, |outcome| {
                outcome.found.map(|found| f64::from(found.done.hits))
            }),
            probes: spread(&outcomes, |outcome| {
                let contacts = outcome.found.map(|found| f64::from(found.done.contacts));
                contacts.map(|contacts| contacts * outcome.campaign.probes)
            }),
            seconds: spread(&outcomes, |outcome| {
                outcome.found.map(|found| found.delay.as_secs_f64())
            }),
            by,
        }
    }

    /// The attackers by whatever they differ in, and by their rate in any case.
    pub fn groups(&self) -> Vec<Group> {
        let mut groups = self.grouped("rate", |outcome| outcome.campaign.rate.name);
        for more in [
            self.grouped("shape", |outcome| outcome.campaign.shape.name()),
            self.grouped("origin", |outcome| outcome.campaign.origin.name()),
        ] {
            if more.len() > 1 {
                groups.extend(more);
            }
        }
        groups
    }

    fn grouped(&self, by: &'static str, name: fn(&Outcome) -> &'static str) -> Vec<Group> {
        let mut values = Vec::new();
        for outcome in &self.outcomes {
            if !values.contains(&name(outcome)) {
                values.push(name(outcome));
            }
        }
        let group = |value| Group {
            by,
            value,
            pool: self.pool(|outcome| name(outcome) == value),
        };
        values.into_iter().map(group).collect()
    }

    /// The first contacts until a detector of this name has tripped over an attacker.
    pub fn tripped(&self, name: &str) -> Spread {
        let outcomes: Vec<_> = self.outcomes.iter().collect();
        spread(&outcomes, |outcome| {
            let tripped = outcome.tripped.iter();
            let ours = tripped.filter(|(detector, _)| detector.name() == name);
            ours.map(|(_, contacts)| f64::from(*contacts)).next()
        })
    }

    /// Days of a fleet that were watched.
    pub fn days(&self) -> f64 {
        self.watched.as_secs_f64() / 86_400.0
    }

    /// So many of something, as so many a day.
    pub fn per_day(&self, count: u32) -> f64 {
        if self.watched.is_zero() {
            return 0.0;
        }
        f64::from(count) / self.days()
    }

    /// Events by alert; `None` if there was no alert.
    pub fn events_per_alert(&self) -> Option<f64> {
        let alerts = self.alerts.all();
        (alerts > 0).then(|| f64::from(self.events) / f64::from(alerts))
    }

    /// The false alarms whose detector and kind of subject `wanted` picks.
    pub fn false_alarms(&self, wanted: impl Fn(Detector, &str) -> bool) -> u32 {
        let alarms = self.false_alarms.iter();
        alarms
            .filter(|((detector, subject), _)| wanted(*detector, subject))
            .map(|(_, alarm)| alarm.opened)
            .sum()
    }

    /// Takes in what has come of another run.
    pub fn absorb(&mut self, other: Self) {
        self.outcomes.extend(other.outcomes);
        self.watched += other.watched;
        self.events = self.events.saturating_add(other.events);
        self.alerts.opened += other.alerts.opened;
        self.alerts.updated += other.alerts.updated;
        self.alerts.closed += other.alerts.closed;
        merge(&mut self.false_alarms, other.false_alarms);
        merge(&mut self.nuisance, other.nuisance);
        self.resident = self.resident.max(other.resident);
    }
}

fn merge<K: Ord>(into: &mut BTreeMap<K, Alarm>, from: BTreeMap<K, Alarm>) {
    for (cause, alarm) in from {
        let sum = into.entry(cause).or_default();
        sum.opened += alarm.opened;
        sum.serious += alarm.serious;
    }
}

fn spread(outcomes: &[&Outcome], value: impl Fn(&Outcome) -> Option<f64>) -> Spread {
    let values = outcomes.iter().filter_map(|outcome| value(outcome));
    let mut known: Vec<_> = values.collect();
    known.sort_by(f64::total_cmp);
    Spread {
        median: quantile(&known, outcomes.len(), 50),
        p95: quantile(&known, outcomes.len(), 95),
    }
}

/// The least value that so many percent of `all` are at or below, if the known values, sorted, are
/// the smallest of them.
fn quantile(known: &[f64], all: usize, percent: usize) -> Option<f64> {
    let rank = (all * percent).div_ceil(100);
    known.get(rank.checked_sub(1)?).copied()
}

fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_found_took_for_ever() {
        let known = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(quantile(&known, 4, 50), Some(2.0));
        assert_eq!(quantile(&known, 5, 50), Some(3.0));
        assert_eq!(quantile(&known, 8, 50), Some(4.0));
        assert_eq!(quantile(&known, 9, 50), None);
        assert_eq!(quantile(&known, 4, 95), Some(4.0));
        assert_eq!(quantile(&known, 5, 95), None);
        assert_eq!(quantile(&[], 0, 50), None);
    }
}

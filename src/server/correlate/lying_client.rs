//! `lying-client`: a client that reports, out of all proportion, sources that nobody else sees.
//!
//! Whoever owns one client host can have it report whatever hits it likes. Many hits of few sources
//! are no sign of that: anybody can connect a thousand times to a trap of an honest host. Sources
//! that are made up are new to everybody else, and there must be many of them to be of use. So
//! networks are counted, not hits: those that a witness alone reports within the hour
//! ([`ExclusiveNetworks`]). It is found that reports [`MANY`] or more, and `factor` (10) times as
//! many as all but one in ten reported in the hour before, and as itself on average over its past
//! day, and more than `share` (1/8) of all such networks.
//!
//! It may also be honest and under attack from as many networks. What it alone reports about
//! sources first seen since the flood began is then low, until an hour after the last network that
//! was too many ([`Doubt`]): at most two hours after the flood has ended, since counting begins
//! anew with each hour.
//!
//! There must be eight witnesses that report anything: else there is nothing to compare it with.
//! Hits that lie a day ahead, and numbers that leave a gap, are no sign of a lie: a clock that was
//! wrong at the start, and a spool that was full, do the same.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::config::detectors::LyingClient;
use crate::event::Timestamp;
use crate::server::alert::{Detector, Measure, Statistic};
use crate::server::correlate::clients::Witness;
use crate::server::correlate::doubt::Doubt;
use crate::server::correlate::exclusive_networks::ExclusiveNetworks;
use crate::server::correlate::sources::hash::Secret;
use crate::server::correlate::table::Fast;

/// What witnesses have reported within the hour.
#[derive(Debug)]
pub struct Reports {
    hour: u64,
    numbers: HashMap<Witness, u32, Fast>,
    of: Vec<Report>,
    networks: ExclusiveNetworks,
    /// How many networks a witness alone reports in an hour, on average over a day; by whom it was.
    past: HashMap<Witness, f64, Fast>,
    /// What all but one in ten witnesses stayed below in the hour before.
    usual: f64,
    reporters: usize,
}

/// A witness within the hour.
#[derive(Clone, Copy, Debug)]
struct Report {
    witness: Witness,
    /// When what it alone reports began to be many.
    began: Timestamp,
}

/// What was found, and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flood {
    /// The figure.
    pub statistic: Statistic,
    /// When the witness is in doubt.
    pub doubt: Doubt,
}

/// One that alone reports fewer networks in an hour is not looked at.
pub const MANY: u32 = 1000;

/// With so many networks a flood begins, should it turn out to be one.
const BEGIN: u32 = MANY / 10;

/// So many witnesses must have reported something.
const COMPANY: usize = 8;

/// Witnesses that are looked at within an hour.
const MOST: u32 = 1 << 17;

/// How much of the past is left after an hour: averaged over a day.
const KEPT: f64 = 23.0 / 24.0;

/// Hours after which nothing is left of the past.
const FORGOTTEN: u64 = 240;

/// How long a doubt outlives the flood.
const HOUR: Duration = Duration::from_secs(3600);

impl Reports {
    /// Nobody has reported anything yet. Networks are counted by hashes with this secret.
    pub fn new(secret: Secret) -> Self {
        Self {
            hour: 0,
            numbers: HashMap::default(),
            of: Vec::new(),
            networks: ExclusiveNetworks::new(secret),
            past: HashMap::default(),
            usual: 0.0,
            reporters: 0,
        }
    }

    /// Takes in that a witness has reported a source at `now`; says so if it is part of a flood.
    pub fn add(
        &mut self,
        witness: Witness,
        source: IpAddr,
        now: Timestamp,
        settings: &LyingClient,
    ) -> Option<Flood> {
        self.turn(now);
        let number = self.number(witness, now)?;
        if !self.networks.add(number, source) {
            return None;
        }
        let alone = self.networks.of(number);
        let report = self.of.get_mut(usize::try_from(number).ok()?)?;
        if alone == BEGIN {
            report.began = now;
        }
        let from = report.began;
        if alone < MANY || !settings.enabled || self.reporters.max(self.of.len()) < COMPANY {
            return None;
        }
        let past = self.past.get(&witness).copied().unwrap_or(0.0);
        let threshold = settings.factor.get() * self.usual.max(past).max(BEGIN.into());
        // Where few report, each of them has a large share.
        let fair = settings
            .share
            .get()
            .max(4.0 / self.reporters.max(self.of.len()).max(1) as f64);
        let value = f64::from(alone);
        let flood = value >= threshold && value > fair * f64::from(self.networks.sum());
        flood.then(|| Flood {
            statistic: Statistic {
                detector: Detector::LyingClient,
                measure: Measure::Share { value, threshold },
            },
            doubt: Doubt {
                from,
                until: now.after(HOUR),
            },
        })
    }

    /// A witness's number within the hour, unless there are too many.
    fn number(&mut self, witness: Witness, now: Timestamp) -> Option<u32> {
        if let Some(number) = self.numbers.get(&witness) {
            return Some(*number);
        }
        let next = u32::try_from(self.of.len()).ok()?;
        if next >= MOST {
            return None;
        }
        self.numbers.insert(witness, next);
        let began = now;
        self.of.push(Report { witness, began });
        Some(next)
    }

    fn turn(&mut self, now: Timestamp) {
        let hour = now.as_micros() / 3_600_000_000;
        if hour == self.hour {
            return;
        }
        let passed = hour.abs_diff(self.hour).min(FORGOTTEN);
        self.hour = hour;
        let alone = (0..).zip(&self.of).map(|(number, report)| {
            let networks = self.networks.of(number);
            (report.witness, f64::from(networks))
        });
        let alone: Vec<_> = alone.collect();
        self.usual = usual(alone.iter().map(|(_, networks)| *networks).collect());
        self.reporters = alone.len();
        self.learn(&alone, passed);
        self.numbers.clear();
        self.of.clear();
        self.networks.clear();
    }

    /// Averages over the past. An hour counts for no more than would have been believed, so that
    /// one flood does not excuse the next one.
    fn learn(&mut self, alone: &[(Witness, f64)], passed: u64) {
        let kept = (0..passed).fold(1.0, |kept, _| kept * KEPT);
        self.past.values_mut().for_each(|past| *past *= kept);
        for (witness, networks) in alone {
            let past = self.past.entry(*witness).or_default();
            let most = 10.0 * past.max(BEGIN.into());
            *past += (1.0 - KEPT) * networks.min(most);
        }
        self.past.retain(|_, past| *past >= 1.0);
    }
}

/// What all but one in ten stayed below. At least one is left out, or a liar would be its own
/// excuse.
fn usual(mut networks: Vec<f64>) -> f64 {
    networks.sort_unstable_by(f64::total_cmp);
    let above = networks.len().div_ceil(10);
    let place = networks.len().checked_sub(above.saturating_add(1));
    place
        .and_then(|place| networks.get(place).copied())
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests;

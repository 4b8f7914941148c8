//! `coordinated-scan`: many sources, none of which stands out, that share a port's clients among
//! them.
//!
//! Sources that know nothing of each other meet the same clients now and then; sources that share
//! a list of targets never do. So within a window, of all first contacts on a port, those count
//! that were with a client some other source had touched: fewer of them than chance allows, with a
//! probability of at most `chance` (1e-6), and it is one scan. The probability is that of
//! [`overlap`]. For that it must be known how many
//! clients hold a trap on the port, which they say in their heartbeats.
//!
//! Sources with an incident of their own, and those that have made three contacts or more, are left
//! out: one thorough scanner never meets a client twice either.
//!
//! Windows begin at fixed times, twice per length, so that whatever lasts half a window lies in
//! one. An example: 600 sources touch port 445 of one client each, of 10,000, within an hour.

use std::collections::BTreeSet;

use crate::config::detectors::CoordinatedScan;
use crate::event::Timestamp;
use crate::server::alert::{Detector, Measure, Source, Statistic};
use crate::server::correlate::sighting::Sighting;
use crate::server::correlate::statistics::overlap;

/// The first contacts on one port.
#[derive(Debug, Default)]
pub struct Overlaps(Vec<Pane>);

/// One window.
#[derive(Debug, Default)]
struct Pane {
    /// How long it is, in microseconds, and which of those that are as long.
    span: (u64, u64),
    contacts: u64,
    distinct: u64,
    /// A bit for each client's handle.
    clients: Vec<u64>,
    /// Distinct sources, as many as a rule can ask for.
    sources: BTreeSet<Source>,
}

impl Overlaps {
    /// Takes in a first contact on a port that `owners` clients hold; says so if the sources share
    /// the work.
    pub fn add(
        &mut self,
        sighting: &Sighting,
        owners: u64,
        settings: &CoordinatedScan,
    ) -> Option<Statistic> {
        if !settings.enabled || owners < 2 {
            return None;
        }
        self.0
            .resize_with(settings.windows.len() * 2, Pane::default);
        let halves = settings.windows.iter().flat_map(|window| {
            let micros = u64::try_from(window.get().as_micros()).unwrap_or(u64::MAX);
            [(micros, 0), (micros, micros / 2)]
        });
        let mut found = None;
        for (pane, (length, shift)) in self.0.iter_mut().zip(halves) {
            let number = sighting.at.as_micros().saturating_add(shift) / length.max(1);
            let span = (length, number);
            let enough = usize::from(settings.min_sources.get());
            if pane.add(sighting, span, enough) && pane.sources.len() >= enough {
                found = found.or_else(|| pane.judge(owners, settings.chance.get()));
            }
        }
        found
    }

    /// When the oldest contact that still counts may have happened.
    pub fn reach(settings: &CoordinatedScan, at: Timestamp) -> Timestamp {
        let longest = settings.windows.iter().map(|window| window.get()).max();
        at.before(longest.unwrap_or_default())
    }
}

impl Pane {
    /// Whether the contact belongs here; one that is later than its window does not.
    fn add(&mut self, sighting: &Sighting, span: (u64, u64), sources: usize) -> bool {
        // The length changes with the settings.
        if span.0 == self.span.0 && span.1 < self.span.1 {
            return false;
        }
        if span != self.span {
            *self = Self {
                span,
                ..Self::default()
            };
        }
        self.contacts += 1;
        if self.sources.len() < sources {
            self.sources.insert(Source::of(sighting.source));
        }
        let (word, bit) = (sighting.handle.index() / 64, sighting.handle.index() % 64);
        if word >= self.clients.len() {
            self.clients.resize(word + 1, 0);
        }
        if let Some(word) = self.clients.get_mut(word) {
            if *word & (1 << bit) == 0 {
                *word |= 1 << bit;
                self.distinct += 1;
            }
        }
        true
    }

    fn judge(&self, owners: u64, threshold: f64) -> Option<Statistic> {
        let contacts = self.contacts as f64;
        let owners = owners.max(self.distinct);
        // The mean is at most H² / 2N, and H: most of the time it need not be computed.
        let most = (contacts * contacts / (2.0 * owners as f64)).min(contacts);
        if most < LEAST_MEAN {
            return None;
        }
        let overlaps = self.contacts - self.distinct;
        if overlaps as f64 > most / 2.0 {
            return None;
        }
        let expected = overlap::expected(contacts, owners as f64);
        if overlaps as f64 > expected / 2.0 {
            return None;
        }
        let chance = overlap::chance(self.contacts, overlaps, owners);
        (chance <= threshold).then_some(Statistic {
            detector: Detector::CoordinatedScan,
            measure: Measure::Overlap {
                contacts: self.contacts,
                overlaps,
                expected,
                chance,
                threshold,
            },
        })
    }
}

/// Below this, even no overlap at all is likelier than any threshold worth setting (1 in 20).
const LEAST_MEAN: f64 = 3.0;

//! `frequent-source`, `frequent-port`, `frequent-client`: so many hits within so long a time.
//!
//! | detector | counts the hits |
//! |---|---|
//! | `frequent-source` | from one source (an IPv4 address or an IPv6 /64), over all clients |
//! | `frequent-port` | to one trap port, over all clients |
//! | `frequent-client` | on one client |
//!
//! Each fires when `threshold` hits (3) lie within `window` (5 minutes, both ends included), and
//! if asked for, when at least `min-clients` clients and `min-ports` trap ports have seen one of
//! them. The three are one rule over three subjects, so they share a file. An example: a scanner
//! that touches ports 22, 80 and 445 of one client within five minutes trips `frequent-source`
//! and `frequent-client` at its third hit.

use std::time::Duration;

use crate::config::detectors::Frequency as Settings;
use crate::event::Timestamp;
use crate::server::alert::{Detector, Measure, Statistic};
use crate::server::correlate::clients::Handle;
use crate::server::correlate::window::{Moment, Recent, Window};

/// A rule as the settings give it.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    detector: Detector,
    enabled: bool,
    threshold: u64,
    span: Duration,
    clients: usize,
    ports: usize,
}

/// One subject's history under a rule.
#[derive(Clone, Debug)]
pub struct History<T> {
    window: Window<T>,
    clients: Recent<Handle>,
    ports: Recent<u16>,
}

impl<T> Default for History<T> {
    fn default() -> Self {
        Self {
            window: Window::default(),
            clients: Recent::default(),
            ports: Recent::default(),
        }
    }
}

impl Rule {
    /// The rule of `detector`.
    pub fn new(detector: Detector, settings: &Settings) -> Self {
        Self {
            detector,
            enabled: settings.enabled,
            threshold: settings.threshold.get().into(),
            span: settings.window.get(),
            clients: settings.min_clients.get().into(),
            ports: settings.min_ports.get().into(),
        }
    }

    /// Whether the rule fires at what has no history: a hit that stands for several.
    pub fn alone(&self, moment: &impl Moment) -> Option<Statistic> {
        let hits = moment.count().into();
        let fires = self.enabled && hits >= self.threshold && self.clients <= 1 && self.ports <= 1;
        fires.then(|| self.fired(hits))
    }

    fn fired(&self, hits: u64) -> Statistic {
        Statistic {
            detector: self.detector,
            measure: Measure::Hits {
                hits,
                threshold: self.threshold,
                window: self.span,
            },
        }
    }
}

impl<T: Moment + Copy> History<T> {
    /// Adds a sighting; says so if the rule fires.
    pub fn add(&mut self, sighting: T, rule: &Rule) -> Option<Statistic> {
        let (at, trap) = (sighting.at(), sighting.trap());
        let since = at.before(rule.span);
        let hits = self.window.add(sighting, rule.threshold, rule.span);
        let clients = self.clients.add(trap.handle(), at, rule.clients, since);
        let ports = self.ports.add(trap.port(), at, rule.ports, since);
        let fires = rule.enabled && hits >= rule.threshold && clients && ports;
        fires.then(|| rule.fired(hits))
    }

    /// Whether the rule would fire at the time `at` without the sightings that `explained` picks,
    /// which are forgotten.
    pub fn without(
        &mut self,
        explained: impl Fn(&T) -> bool,
        at: Timestamp,
        rule: &Rule,
    ) -> Option<Statistic> {
        self.window.forget(explained);
        let hits = self.window.most_around(at, rule.span);
        let clients = distinct(self.window.iter().map(|kept| kept.trap().handle()));
        let ports = distinct(self.window.iter().map(|kept| kept.trap().port()));
        let fires = hits >= rule.threshold && clients >= rule.clients && ports >= rule.ports;
        fires.then(|| rule.fired(hits))
    }

    /// What is remembered from around the time `at`, oldest first: the evidence for what the rule
    /// finds there.
    pub fn evidence(&self, at: Timestamp, rule: &Rule) -> Vec<T> {
        self.window.near(at, rule.span).copied().collect()
    }

    /// Reads what another sighting will be held against.
    pub fn foresee(&self) {
        self.window.foresee();
    }

    /// All that is remembered, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.window.iter()
    }

    /// The bytes on the heap.
    pub fn heap(&self) -> usize {
        self.window.heap() + self.clients.heap() + self.ports.heap()
    }
}

fn distinct<K: Ord>(values: impl Iterator<Item = K>) -> usize {
    values.collect::<std::collections::BTreeSet<_>>().len()
}

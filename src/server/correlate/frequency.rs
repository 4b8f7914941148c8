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

use crate::config::server::Frequency as Settings;
use crate::event::{ClientId, Timestamp};
use crate::server::alert::{Detector, Statistic};
use crate::server::correlate::window::{Recent, Sighting, Window};

/// A rule as the settings give it.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    detector: Detector,
    switch: Switch,
    threshold: u64,
    span: Duration,
    clients: usize,
    ports: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Switch {
    On,
    Off,
}

/// One subject's history under a rule.
#[derive(Clone, Debug, Default)]
pub struct History {
    window: Window,
    clients: Recent<ClientId>,
    ports: Recent<u16>,
}

impl Rule {
    /// The rule of `detector`.
    pub fn new(detector: Detector, settings: &Settings) -> Self {
        Self {
            detector,
            switch: if settings.enabled {
                Switch::On
            } else {
                Switch::Off
            },
            threshold: settings.threshold.get().into(),
            span: settings.window.get(),
            clients: settings.min_clients.get().into(),
            ports: settings.min_ports.get().into(),
        }
    }

    /// The detector whose rule it is.
    pub const fn detector(&self) -> Detector {
        self.detector
    }

    fn fired(&self, hits: u64) -> Statistic {
        let (detector, threshold, window) = (self.detector, self.threshold, self.span);
        Statistic {
            detector,
            hits,
            threshold,
            window,
        }
    }
}

impl History {
    /// Adds a sighting; says so if the rule fires.
    pub fn add(&mut self, sighting: Sighting, rule: &Rule) -> Option<Statistic> {
        let since = sighting.at.before(rule.span);
        let hits = self.window.add(sighting, rule.threshold, rule.span);
        let clients = self
            .clients
            .add(sighting.client, sighting.at, rule.clients, since);
        let ports = self
            .ports
            .add(sighting.port, sighting.at, rule.ports, since);
        let fires = rule.switch == Switch::On && hits >= rule.threshold && clients && ports;
        fires.then(|| rule.fired(hits))
    }

    /// Whether the rule would fire at the time `at` without the sightings that `explained` picks,
    /// which are forgotten.
    pub fn without(
        &mut self,
        explained: impl Fn(&Sighting) -> bool,
        at: Timestamp,
        rule: &Rule,
    ) -> Option<Statistic> {
        self.window.forget(explained);
        let hits = self.window.most_around(at, rule.span);
        let clients = distinct(self.window.iter().map(|kept| kept.client));
        let ports = distinct(self.window.iter().map(|kept| kept.port));
        let fires = hits >= rule.threshold && clients >= rule.clients && ports >= rule.ports;
        fires.then(|| rule.fired(hits))
    }

    /// What is remembered from around the time `at`, oldest first: the evidence for what the rule
    /// finds there.
    pub fn evidence(&self, at: Timestamp, rule: &Rule) -> Vec<Sighting> {
        self.window.near(at, rule.span).copied().collect()
    }
}

fn distinct<K: Ord>(values: impl Iterator<Item = K>) -> usize {
    values.collect::<std::collections::BTreeSet<_>>().len()
}

//! `lateral-movement`: a host of the inside that touches traps.
//!
//! Who breaks into a host goes on from there. So the first contact of a host of the fleet is enough if
//! the port is one that attackers move along (`ports`, from SSH to RDP). What other hosts of the
//! inside do all day, nobody knows: there are printers, scanners and people among them who type a
//! wrong name. For them, and on other ports, the statistic of `slow-scan` decides, but harmless hosts
//! of the inside are taken to begin a burst only twice a year, so that two or three contacts are
//! enough. Whoever wants to hear of their first contact as well sets `first-contact = "inside"`.
//! If the source is a client of the fleet, the alert names it, and who had hit
//! its own traps within `chain` (7 days): X → S → T.
//!
//! A host that touches its own traps moves nowhere: loopback and a client's own address are looked
//! at by the other detectors only.

use std::net::IpAddr;
use std::time::Duration;

use crate::config::detectors::{FirstContact, LateralMovement, SlowScan};
use crate::config::ports::PortList;
use crate::event::Timestamp;
use crate::server::alert::{Detector, Measure, Statistic};
use crate::server::correlate::chance::{self, null};
use crate::server::correlate::statistics::bursts::Null;

/// The rule as the settings give it.
#[derive(Debug)]
pub struct Lateral {
    enabled: bool,
    ports: PortList,
    first_contact: FirstContact,
    chain: Duration,
}

/// Whose address a source has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// That of a client of the fleet, or of several.
    OfTheFleet,
    /// That of nobody who is known.
    Unknown,
}

/// Who last hit a client.
#[derive(Clone, Copy, Debug, Default)]
pub struct Intruder(Option<(IpAddr, Timestamp)>);

impl Lateral {
    /// The rule as the settings give it.
    pub fn new(settings: &LateralMovement) -> Self {
        Self {
            enabled: settings.enabled,
            ports: settings.ports.clone(),
            first_contact: settings.first_contact,
            chain: settings.chain.get(),
        }
    }

    /// Whether a first contact of this host inside on this port is enough.
    pub fn judge(&self, host: Host, port: u16) -> Option<Statistic> {
        let enough = host == Host::OfTheFleet || self.first_contact == FirstContact::Inside;
        (self.enabled && enough && self.ports.contains(port)).then_some(Statistic {
            detector: Detector::LateralMovement,
            measure: Measure::Touch,
        })
    }

    /// The chain in words: who came to the source before, where it went.
    pub fn chain(&self, link: &Link<'_>) -> String {
        let source = link.source_name;
        let before = link.intruder.before(link.at, self.chain);
        let head = before.map_or_else(String::new, |address| format!("{address} → "));
        format!("{head}client {source} → client {}", link.target_name)
    }
}

/// A step from a client to a trap.
#[derive(Debug)]
pub struct Link<'a> {
    /// What people call the client that is the source.
    pub source_name: &'a str,
    /// What people call the client whose trap it was.
    pub target_name: &'a str,
    /// Who had hit the source.
    pub intruder: Intruder,
    /// When the trap was touched.
    pub at: Timestamp,
}

impl Intruder {
    /// Notes a hit on the client.
    pub fn note(&mut self, source: IpAddr, at: Timestamp) {
        self.0 = Some((source, at));
    }

    fn before(self, at: Timestamp, chain: Duration) -> Option<IpAddr> {
        let (source, hit) = self.0?;
        (hit <= at && at.since(hit) <= chain).then_some(source)
    }
}

/// The statistic for all other ports, and all other hosts.
pub fn rule(settings: &LateralMovement, sources: &SlowScan) -> chance::Rule {
    chance::Rule {
        detector: Detector::LateralMovement,
        enabled: settings.enabled,
        false_alarms: sources.false_alarms_per_day.get(),
        min_days: sources.min_days.get(),
        null: null(
            settings.harmless_bursts_per_day.get(),
            sources.harmless_continuation.get(),
            sources.burst_gap.get(),
        ),
        max_rate: Null::MAX_RATE,
        crowd: None,
    }
}

//! A first contact: what its source has not touched before, from the sides of its port, its client
//! and its network.
//!
//! What sources with an incident of their own do is explained by that and left out.

use crate::event::ClientId;
use crate::server::alert::{Alert, Network, Source, Statistic, Subject, Zone};
use crate::server::correlate::Correlator;
use crate::server::correlate::by_side::{Side, explained};
use crate::server::correlate::by_source::Case;
use crate::server::correlate::coordinated_scan::Overlaps;
use crate::server::correlate::incidents::{Finding, Key};
use crate::server::correlate::ports::Ports;
use crate::server::correlate::severity::Origin;
use crate::server::correlate::sighting::Sighting;
use crate::server::correlate::sources::Glass;
use crate::server::correlate::sources::tier::Sight;
use crate::server::correlate::subnet_scan;
use crate::server::correlate::surges::{self, Rule, Usual};
use crate::server::correlate::table::Table;

/// What is kept of first contacts.
#[derive(Debug)]
pub struct Contacts {
    ports: Ports<Port>,
    clients: Table<ClientId, surges::Contacts>,
    usual_of_ports: Usual,
    usual_of_clients: Usual,
}

#[derive(Debug, Default)]
struct Port {
    contacts: surges::Contacts,
    overlaps: Overlaps,
}

/// A source that has made so many contacts is looked at by itself.
const FEW: u32 = 3;

impl Contacts {
    /// Room for so many clients.
    pub fn new(clients: usize) -> Self {
        Self {
            ports: Ports::default(),
            clients: Table::new(clients),
            usual_of_ports: Usual::new(),
            usual_of_clients: Usual::new(),
        }
    }

    /// Reads what a first contact on a client will change.
    pub fn foresee(&self, client: ClientId) {
        if let Some(known) = self.clients.get(&client) {
            known.foresee();
        }
    }
}

impl Correlator {
    /// Looks at a first contact.
    pub fn see_contact(&mut self, case: &Case, sight: &Sight, alerts: &mut Vec<Alert>) {
        self.see_port_surge(case, alerts);
        self.see_client_surge(case, alerts);
        self.see_overlap(case, sight, alerts);
        if case.zone == Zone::Outside {
            self.see_network(case, alerts);
        }
    }

    fn see_port_surge(&mut self, case: &Case, alerts: &mut Vec<Alert>) {
        let rule = Rule::from(&self.detectors.port_surge);
        let subjects = self.contacts.ports.len();
        let usual = &mut self.contacts.usual_of_ports;
        let prior = usual.add(case.now, subjects, &rule);
        let ports = &mut self.contacts.ports;
        let port = ports.hit(case.sighting.port, case.witness, case.now);
        let contacts = &mut port.contacts;
        contacts.add(case.sighting, &prior);
        if self
            .incidents
            .has_tripped(key(Side::Port, case), rule.detector())
        {
            return;
        }
        if let Some(statistic) = contacts.judge(case.sighting.at, &rule) {
            self.surge(Side::Port, statistic, case, alerts);
        }
    }

    fn see_client_surge(&mut self, case: &Case, alerts: &mut Vec<Alert>) {
        let rule = Rule::from(&self.detectors.client_surge);
        let subjects = self.clients.len();
        let usual = &mut self.contacts.usual_of_clients;
        let prior = usual.add(case.now, subjects, &rule);
        let contacts = self.contacts.clients.touch(case.sighting.client);
        contacts.add(case.sighting, &prior);
        if self
            .incidents
            .has_tripped(key(Side::Client, case), rule.detector())
        {
            return;
        }
        if let Some(statistic) = contacts.judge(case.sighting.at, &rule) {
            self.surge(Side::Client, statistic, case, alerts);
        }
    }

    /// There is more than usual. Without the contacts of sources that have an incident, is it
    /// enough to speak of?
    fn surge(&mut self, side: Side, statistic: Statistic, case: &Case, alerts: &mut Vec<Alert>) {
        let Sighting { port, client, .. } = case.sighting;
        let (rule, contacts) = match side {
            Side::Port => {
                let known = self.contacts.ports.get_mut(port);
                let contacts = known.map(|port| &mut port.contacts);
                (Rule::from(&self.detectors.port_surge), contacts)
            }
            Side::Client => {
                let contacts = self.contacts.clients.touch(client);
                (Rule::from(&self.detectors.client_surge), Some(contacts))
            }
        };
        let Some(contacts) = contacts else {
            return;
        };
        let recent = contacts.of_the_last_hour(
            case.sighting.at,
            explained(self.correlation, &self.incidents),
        );
        if !rule.is_met_by(&recent.iter()) {
            return;
        }
        contacts.renew();
        if let Some(incident) = self.incidents.get_mut(key(side, case)) {
            incident.trip(statistic);
        } else {
            let subject = side.subject(&case.sighting);
            self.attribute(subject, statistic, &recent, case, alerts);
        }
    }

    fn see_overlap(&mut self, case: &Case, sight: &Sight, alerts: &mut Vec<Alert>) {
        let tier = self.sources.tier(case.zone);
        let suspect = sight.place.and_then(|place| tier.get(place));
        if suspect.is_some_and(|suspect| suspect.contacts >= FEW) {
            return;
        }
        let port = case.sighting.port;
        let settings = &self.detectors.coordinated_scan;
        let owners = self.clients.owners(port);
        let Some(known) = self.contacts.ports.get_mut(port) else {
            return;
        };
        let Some(statistic) = known.overlaps.add(&case.sighting, owners, settings) else {
            return;
        };
        let subject = Subject::Port(port);
        if let Some(incident) = self.incidents.get_mut(Key::Scan(subject)) {
            incident.trip(statistic);
            return;
        }
        let since = Overlaps::reach(settings, case.sighting.at);
        let finding = Finding {
            subject,
            statistic,
            evidence: &known
                .contacts
                .since(since, explained(self.correlation, &self.incidents)),
            origin: Origin::Elsewhere,
            source_since: None,
            received: case.now,
        };
        let _opened = self.incidents.open(&finding, &self.clients, alerts);
    }

    fn see_network(&mut self, case: &Case, alerts: &mut Vec<Alert>) {
        self.rules.subnet.contact();
        let glass = Glass {
            rule: &self.rules.source,
            model: self.rules.subnet.model(),
            proof: case.proof,
            witness: case.witness,
            now: case.now,
        };
        let networks = self.sources.networks.len();
        let Some(suspect) = self.sources.visit_network(&case.sighting, &glass) else {
            return;
        };
        let subject = Subject::Network(Network::of(case.sighting.source));
        if let Some(incident) = self.incidents.get_mut(Key::Scan(subject)) {
            incident.receive(&case.sighting, case.now);
            return;
        }
        let Some(statistic) = self.rules.subnet.judge(suspect, networks) else {
            return;
        };
        let touches = suspect.evidence();
        let unknown =
            |source: &Source| !self.incidents.is_open(Key::Scan(Subject::Source(*source)));
        let members = subnet_scan::members(&touches);
        let least = self.detectors.subnet_scan.min_sources.get();
        if members.iter().filter(|it| unknown(it)).count() < least.into() {
            return;
        }
        let evidence = self.sightings(&touches);
        let finding = Finding {
            subject,
            statistic,
            evidence: &evidence,
            origin: Origin::Outside,
            source_since: None,
            received: case.now,
        };
        if self.incidents.open(&finding, &self.clients, alerts) {
            self.sources.network_is_alerted(case.sighting.source);
        }
    }
}

/// What an incident about a side of the case is found by.
const fn key(side: Side, case: &Case) -> Key {
    Key::Scan(side.subject(&case.sighting))
}

//! `new-client`: clients that the fleet did not have before.
//!
//! Identities are free for whoever has the secret, so it is news when there are more. Plain
//! newcomers share one incident about the fleet, informational: a roll-out of 10,000 is a handful
//! of lines. In the fleet's first day (`grace`) they are expected, and nothing is said of them. Two
//! kinds of newcomers are medium from the first minute on: those of an address (IPv6: a /64) that
//! brings `threshold` of them within `window`, and more than were there before; and one that takes
//! the name of a client that is there, at another address. One that takes the name of a client that
//! is not there is probably a host that was installed anew, and informational.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::config::detectors::NewClient;
use crate::event::{ClientId, Timestamp, neighbourhood};
use crate::server::alert::{Detector, Measure, Severity, Source, Statistic, Subject};
use crate::server::correlate::Correlator;
use crate::server::correlate::clients::liveness::Presence;
use crate::server::correlate::clients::{Client, Clients, Farewell};
use crate::server::correlate::incident::Incident;
use crate::server::correlate::incidents::Key;
use crate::server::correlate::table::Table;

/// Addresses whose newcomers are counted.
const ADDRESSES: usize = 4096;

/// Newcomers that are named.
const LATEST: usize = 8;

/// Within a window so many incidents are about single newcomers; more are counted with the fleet's.
const SINGLE: usize = 16;

/// Names may be remembered in vain; beyond so many more than there are clients, those go.
const IN_VAIN: usize = 1024;

/// What is known of newcomers.
#[derive(Debug)]
pub struct Newcomers {
    addresses: Table<IpAddr, Arrivals>,
    /// Who bears a name, or has borne it: of several, the one that was there.
    names: BTreeMap<String, ClientId>,
    latest: VecDeque<ClientId>,
    /// When single newcomers were last reported.
    single: VecDeque<Timestamp>,
    founded: Option<Timestamp>,
}

/// Newcomers of one address within a window.
#[derive(Clone, Copy, Debug, Default)]
struct Arrivals {
    since: Timestamp,
    count: u64,
}

/// A client that has just come.
#[derive(Debug)]
pub struct Newcomer<'a> {
    /// Who.
    pub client: ClientId,
    /// Where it came from.
    pub address: IpAddr,
    /// The name under which it was known before; none if it was not.
    pub before: Option<&'a str>,
    /// When.
    pub now: Timestamp,
}

impl Default for Newcomers {
    fn default() -> Self {
        Self {
            addresses: Table::new(ADDRESSES),
            names: BTreeMap::new(),
            latest: VecDeque::new(),
            single: VecDeque::new(),
            founded: None,
        }
    }
}

impl Newcomers {
    /// Takes up a client as it was before a restart.
    pub fn remember(&mut self, id: ClientId, client: &Client, clients: &Clients) {
        self.found(client.since);
        let bearer = self.names.get(&client.name);
        let other = bearer.and_then(|bearer| clients.get(*bearer));
        if other.is_none_or(|other| other.seen < client.since) {
            self.names.insert(client.name.clone(), id);
        }
    }

    /// When the fleet's first client came, as far as is known.
    pub const fn founded(&self) -> Option<Timestamp> {
        self.founded
    }

    fn found(&mut self, now: Timestamp) {
        self.founded = Some(self.founded.map_or(now, |founded| founded.min(now)));
    }

    /// How many newcomers an address has brought within the window.
    fn count(&mut self, address: IpAddr, now: Timestamp, window: Duration) -> u64 {
        let arrivals = self.addresses.touch(neighbourhood(address));
        if arrivals.count == 0 || now.since(arrivals.since) > window {
            *arrivals = Arrivals {
                since: now,
                count: 0,
            };
        }
        arrivals.count += 1;
        arrivals.count
    }

    /// Whether one more incident may be about a single newcomer.
    fn may_stand_alone(&mut self, now: Timestamp, window: Duration) -> bool {
        while let Some(first) = self.single.front() {
            if now.since(*first) <= window && self.single.len() >= SINGLE {
                return false;
            }
            if now.since(*first) <= window {
                break;
            }
            self.single.pop_front();
        }
        self.single.push_back(now);
        true
    }
}

impl Correlator {
    /// Looks at a client that was just welcomed: is it new, and does it take a name?
    pub fn see_newcomer(&mut self, newcomer: &Newcomer<'_>) {
        let Newcomer {
            client,
            address,
            before,
            now,
        } = *newcomer;
        self.newcomers.found(now);
        let Some(known) = self.clients.get(client) else {
            return;
        };
        let name = known.name.clone();
        if before == Some(name.as_str()) {
            return;
        }
        let settings = self.detectors.new_client;
        if before.is_none() && settings.enabled {
            self.see_address(client, address, now, &settings);
            self.see_fleet(client, now, &settings);
        }
        self.see_name(newcomer, name, &settings);
    }

    fn expects(&self, now: Timestamp, settings: &NewClient) -> bool {
        let founded = self.newcomers.founded;
        founded.is_none_or(|founded| now.since(founded) <= settings.grace.get())
    }

    fn see_address(
        &mut self,
        client: ClientId,
        address: IpAddr,
        now: Timestamp,
        settings: &NewClient,
    ) {
        let window = settings.window.get();
        let count = self.newcomers.count(address, now, window);
        let there = self.clients.count_at(address);
        let before = there.saturating_sub(count);
        if count < settings.threshold.get().into() || count <= before {
            return;
        }
        let measure = Measure::Hits {
            hits: count,
            threshold: settings.threshold.get().into(),
            window,
        };
        let subject = Subject::Source(Source::of(address));
        self.report_newcomer(subject, client, measure, Severity::Medium, now);
    }

    fn see_fleet(&mut self, client: ClientId, now: Timestamp, settings: &NewClient) {
        if self.expects(now, settings) {
            return;
        }
        let latest = &mut self.newcomers.latest;
        if latest.len() >= LATEST {
            latest.pop_front();
        }
        latest.push_back(client);
        let open = self
            .incidents
            .get_mut(Key::Health(Detector::NewClient, Subject::Fleet));
        let before = open.map_or(0, |incident| incident.newcomers());
        let measure = Measure::Hits {
            hits: before + 1,
            threshold: 1,
            window: settings.window.get(),
        };
        self.report_newcomer(
            Subject::Fleet,
            client,
            measure,
            Severity::Informational,
            now,
        );
        let names = self
            .newcomers
            .latest
            .iter()
            .map(|id| self.clients.name(*id));
        let names: Vec<_> = names.collect();
        if let Some(incident) = self
            .incidents
            .get_mut(Key::Health(Detector::NewClient, Subject::Fleet))
        {
            incident.remarks = [format!("the latest: {}", names.join(", "))].into();
        }
    }

    /// Looks whether a name that a client has just taken is another one's.
    fn see_name(&mut self, newcomer: &Newcomer<'_>, name: String, settings: &NewClient) {
        let Newcomer {
            client,
            address,
            now,
            ..
        } = *newcomer;
        let bearer = self.newcomers.names.get(&name).copied();
        let other = bearer.filter(|bearer| *bearer != client);
        let other = other.and_then(|id| Some((id, self.clients.get(id)?)));
        let other = other.filter(|(_, other)| other.name == name);
        let Some((id, other)) = other else {
            self.learn(name, client);
            return;
        };
        let lately = other.farewell == Farewell::None && other.presence == Presence::Awaited;
        let home = other.address.map(neighbourhood);
        let elsewhere = home != Some(neighbourhood(address));
        let place = home.map_or_else(String::new, |home| format!(" at {home}"));
        let (severity, remark) = if lately && elsewhere {
            let remark = format!("client {id}{place} has this name, too, and is there");
            (Severity::Medium, remark)
        } else {
            let remark = format!("client {id}{place} had this name: was its host installed anew?");
            (Severity::Informational, remark)
        };
        if !lately {
            self.learn(name, client);
        }
        let expected = severity == Severity::Informational && self.expects(now, settings);
        let window = settings.window.get();
        let subject = Subject::Client(client);
        let key = Key::Health(Detector::NewClient, subject);
        if !settings.enabled || expected {
            return;
        }
        // Whoever changes its name again and again takes up no more room than once.
        if !self.incidents.is_open(key) && !self.newcomers.may_stand_alone(now, window) {
            return;
        }
        self.report_newcomer(subject, client, Measure::Touch, severity, now);
        if let Some(incident) = self.incidents.get_mut(key) {
            incident.remark(remark);
        }
    }

    /// Notes who bears a name.
    fn learn(&mut self, name: String, client: ClientId) {
        let names = &mut self.newcomers.names;
        names.insert(name, client);
        if names.len() > 2 * self.clients.len() + IN_VAIN {
            let clients = &self.clients;
            names.retain(|name, id| clients.get(*id).is_some_and(|it| it.name == *name));
        }
    }

    fn report_newcomer(
        &mut self,
        subject: Subject,
        client: ClientId,
        measure: Measure,
        severity: Severity,
        now: Timestamp,
    ) {
        let detector = Detector::NewClient;
        let key = Key::Health(detector, subject);
        if !self.incidents.is_open(key) {
            let mark = [&client.0[..], &now.as_micros().to_be_bytes()].concat();
            let mut incident = Incident::new(detector, subject, &mark, now);
            incident.found = severity;
            self.incidents.put(key, incident);
        }
        if let Some(incident) = self.incidents.get_mut(key) {
            // The count is to be the latest one.
            let statistic = Statistic { detector, measure };
            incident.statistics.insert(detector, statistic);
            incident.found = incident.found.max(severity);
            incident.clients.add(client, 0);
            incident.went_on(now);
        }
    }
}

#[cfg(test)]
mod tests;

//! `silent-client`: a client that should be heard from and is not.
//!
//! A client sends a heartbeat every `heartbeat` (30 s). It is silent after `missed` of them (3)
//! did not come, and until it comes back. How long that is says the steady clock.
//!
//! Each silent client has an incident of its own, as long as there are few. Any more share one
//! about the fleet, because then the network or the server is the likelier cause, and hundreds of
//! alerts would hide it. That one counts exactly, and names those that are new in each message.
//! Identities are free, so the places for incidents are dealt out: [`ALONE`] for each witness and
//! [`IN_ALL`] for all clients that were there for a day or have reported a hit; and [`ALONE`] for
//! all those that have only looked in. A client that said goodbye when it stopped is silent as
//! well, with that in the alert's notes, and again [`ALONE`] places are for these.
//!
//! If the server itself was suspended, everybody seems silent: a tick that comes later than a
//! heartbeat after the one before it takes all clients as just heard from, but for those that were
//! silent before.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::config::detectors::Silence;
use crate::event::{ClientId, Clocks, Timestamp};
use crate::server::alert::{Alert, Detector, Measure, Statistic, Subject};
use crate::server::correlate::clients::{Clients, Farewell, Witness};
use crate::server::correlate::incident::{Incident, Memory};
use crate::server::correlate::incidents::{Incidents, Key};
use crate::server::correlate::roll_call::Standing;

/// Silent clients of one witness that have an incident of their own, and as many others.
pub const ALONE: usize = 5;

/// Established silent clients that have an incident of their own.
pub const IN_ALL: usize = 20;

/// Ticks may be this far apart whatever the heartbeat is.
const SECOND: Duration = Duration::from_secs(1);

/// Who is silent.
#[derive(Debug)]
pub struct SilentClient {
    settings: Silence,
    heartbeat: Duration,
    last_tick: Option<Timestamp>,
    /// Those with an incident of their own.
    alone: BTreeMap<ClientId, Place>,
    /// Those that share one.
    together: BTreeSet<ClientId>,
}

/// What a client has its own incident as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Established(Witness),
    Newcomer,
    Stopped,
}

impl SilentClient {
    /// Nobody is silent yet.
    pub fn new(settings: Silence, heartbeat: Duration) -> Self {
        Self {
            settings,
            heartbeat,
            last_tick: None,
            alone: BTreeMap::new(),
            together: BTreeSet::new(),
        }
    }

    /// A client that was not heard from for longer is silent.
    pub fn patience(&self) -> Duration {
        let missed = self.settings.missed.get();
        self.heartbeat.saturating_mul(missed.into())
    }

    /// Takes up other settings.
    pub const fn reload(&mut self, settings: Silence) {
        self.settings = settings;
    }

    /// Looks for clients that have fallen silent or have come back.
    pub fn tick(
        &mut self,
        now: Clocks,
        clients: &mut Clients,
        incidents: &mut Incidents,
        alerts: &mut Vec<Alert>,
    ) {
        if !self.settings.enabled {
            return;
        }
        let last = self.last_tick.replace(now.steady);
        if last.is_some_and(|last| now.steady.since(last) > self.heartbeat.max(SECOND)) {
            clients.forgive(now.steady);
        }
        for id in clients.returned() {
            self.came_back(id, now.wall, clients, incidents, alerts);
        }
        let patience = self.patience();
        while let Some(id) = clients.next_silent(now.steady, patience) {
            self.fell_silent(id, now, clients, incidents);
        }
        clients.dismiss(now.steady);
    }

    /// Takes up clients that were silent before a restart. Those that shared an incident about
    /// the fleet count as heard from at `now`, and so does the fleet: if they do not come back,
    /// they fall silent anew.
    pub fn resume(
        &mut self,
        memories: &BTreeMap<String, Memory>,
        clients: &mut Clients,
        incidents: &mut Incidents,
        now: Timestamp,
    ) {
        for (id, memory) in memories {
            let Key::Silence(subject @ Subject::Client(client)) = memory.key else {
                continue;
            };
            if clients.get(client).is_none() {
                continue;
            }
            let mut incident =
                Incident::new(Detector::SilentClient, subject, &[], memory.first_seen);
            incident.id.clone_from(id);
            incident.clients.add(client, 0);
            incident.trip(self.statistic(now.since(memory.first_seen)));
            incidents.put(Key::Silence(subject), incident);
            clients.silent_since(client, memory.first_seen);
            self.alone.insert(client, place(client, clients));
        }
    }

    fn fell_silent(
        &mut self,
        id: ClientId,
        now: Clocks,
        clients: &Clients,
        incidents: &mut Incidents,
    ) {
        let Some(client) = clients.get(id) else {
            return;
        };
        let silence = now.steady.since(client.heard);
        let heard = now.wall_of(client.heard);
        let place = place(id, clients);
        let subject = if self.has_room(place) {
            self.alone.insert(id, place);
            Subject::Client(id)
        } else {
            self.together.insert(id);
            Subject::Fleet
        };
        let statistic = self.statistic(silence);
        let key = Key::Silence(subject);
        if !incidents.is_open(key) {
            let mark = [&id.0[..], &heard.as_micros().to_be_bytes()].concat();
            incidents.put(
                key,
                Incident::new(Detector::SilentClient, subject, &mark, heard),
            );
        }
        if let Some(incident) = incidents.get_mut(key) {
            if subject == Subject::Fleet {
                let standing = if client.is_established() {
                    Standing::Established
                } else {
                    Standing::Newcomer
                };
                incident.roll_call.miss(id, standing);
            } else {
                incident.clients.add(id, 0);
            }
            incident.trip(statistic);
        }
    }

    /// Whether there is room for one more incident of a client's own.
    fn has_room(&self, place: Place) -> bool {
        let alike = self.alone.values().filter(|taken| **taken == place).count();
        let established = |taken: &&Place| matches!(taken, Place::Established(_));
        let in_all = || self.alone.values().filter(established).count();
        alike < ALONE && (!established(&&place) || in_all() < IN_ALL)
    }

    fn came_back(
        &mut self,
        id: ClientId,
        now: Timestamp,
        clients: &Clients,
        incidents: &mut Incidents,
        alerts: &mut Vec<Alert>,
    ) {
        if self.alone.remove(&id).is_some() {
            incidents.close(Key::Silence(Subject::Client(id)), now, clients, alerts);
        }
        if self.together.remove(&id) {
            let key = Key::Silence(Subject::Fleet);
            if let Some(incident) = incidents.get_mut(key) {
                incident.roll_call.back(id);
            }
            if self.together.is_empty() {
                incidents.close(key, now, clients, alerts);
            }
        }
    }

    fn statistic(&self, silence: Duration) -> Statistic {
        let missed = silence.as_millis() / self.heartbeat.as_millis().max(1);
        Statistic {
            detector: Detector::SilentClient,
            measure: Measure::Hits {
                hits: u64::try_from(missed).unwrap_or(u64::MAX),
                threshold: self.settings.missed.get().into(),
                window: self.heartbeat,
            },
        }
    }
}

/// The place that a client takes.
fn place(id: ClientId, clients: &Clients) -> Place {
    match clients.get(id) {
        Some(client) if client.farewell == Farewell::Said => Place::Stopped,
        Some(client) if client.is_established() => Place::Established(clients.witness(id)),
        Some(_) | None => Place::Newcomer,
    }
}

//! `silent-client`: a client that should be heard from and is not.
//!
//! A client sends a heartbeat every `heartbeat` (30 s). It is silent after `missed` of them (3)
//! did not come, and until it comes back. Up to [`ALONE`] silent clients have an incident each;
//! any more share one about the fleet, because then the network or the server is the likelier
//! cause, and hundreds of alerts would hide it. A client that said goodbye when it stopped is
//! silent as well, with that in the alert's notes.
//!
//! If the server itself was suspended, everybody seems silent: a tick that comes later than a
//! heartbeat after the one before it takes all clients as just heard from.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::config::detectors::Silence;
use crate::event::{ClientId, Timestamp};
use crate::server::alert::{Alert, Detector, Measure, Statistic, Subject};
use crate::server::correlate::clients::Clients;
use crate::server::correlate::incident::{Incident, Memory};
use crate::server::correlate::incidents::{Incidents, Key};

/// Silent clients that have an incident of their own.
pub const ALONE: usize = 5;

/// Ticks may be this far apart whatever the heartbeat is.
const SECOND: Duration = Duration::from_secs(1);

/// Who is silent.
#[derive(Debug)]
pub struct SilentClient {
    settings: Silence,
    heartbeat: Duration,
    last_tick: Option<Timestamp>,
    alone: BTreeSet<ClientId>,
    together: BTreeSet<ClientId>,
}

impl SilentClient {
    /// Nobody is silent yet.
    pub fn new(settings: Silence, heartbeat: Duration) -> Self {
        Self {
            settings,
            heartbeat,
            last_tick: None,
            alone: BTreeSet::new(),
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
        now: Timestamp,
        clients: &mut Clients,
        incidents: &mut Incidents,
        alerts: &mut Vec<Alert>,
    ) {
        if !self.settings.enabled {
            return;
        }
        let last = self.last_tick.replace(now);
        if last.is_some_and(|last| now.since(last) > self.heartbeat.max(SECOND)) {
            clients.forgive(now);
        }
        self.forget_unknown(now, clients, incidents, alerts);
        let patience = self.patience();
        let mut fallen = Vec::new();
        for (id, client) in clients.iter() {
            let silent = now.since(client.heard) > patience;
            let known = self.alone.contains(&id) || self.together.contains(&id);
            match (silent, known) {
                (true, false) => fallen.push((id, client.heard)),
                (false, true) => self.came_back(id, now, clients, incidents, alerts),
                (true, true) | (false, false) => {}
            }
        }
        for (id, heard) in fallen {
            self.fell_silent(id, heard, now, clients, incidents);
        }
    }

    /// Clients that were forgotten are neither silent nor back.
    fn forget_unknown(
        &mut self,
        now: Timestamp,
        clients: &Clients,
        incidents: &mut Incidents,
        alerts: &mut Vec<Alert>,
    ) {
        let silent = self.alone.iter().chain(&self.together);
        let gone: Vec<_> = silent
            .filter(|id| clients.get(**id).is_none())
            .copied()
            .collect();
        for id in gone {
            self.came_back(id, now, clients, incidents, alerts);
        }
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
            let mut incident =
                Incident::new(Detector::SilentClient, subject, &[], memory.first_seen);
            incident.id.clone_from(id);
            incident.clients.add(client, 0);
            incident.trip(self.statistic(now.since(memory.first_seen)));
            incidents.put(Key::Silence(subject), incident);
            clients.silent_since(client, memory.first_seen);
            self.alone.insert(client);
        }
    }

    fn fell_silent(
        &mut self,
        id: ClientId,
        heard: Timestamp,
        now: Timestamp,
        clients: &Clients,
        incidents: &mut Incidents,
    ) {
        // Those that were stopped on purpose do not take the places of the others.
        let farewell = |id: &ClientId| clients.get(*id).map(|client| client.farewell);
        let alike = self
            .alone
            .iter()
            .filter(|known| farewell(known) == farewell(&id))
            .count();
        let subject = if alike < ALONE {
            self.alone.insert(id);
            Subject::Client(id)
        } else {
            self.together.insert(id);
            Subject::Fleet
        };
        let statistic = self.statistic(now.since(heard));
        let key = Key::Silence(subject);
        if !incidents.is_open(key) {
            let mark = [&id.0[..], &heard.as_micros().to_be_bytes()].concat();
            incidents.put(
                key,
                Incident::new(Detector::SilentClient, subject, &mark, heard),
            );
        }
        if let Some(incident) = incidents.get_mut(key) {
            incident.clients.add(id, 0);
            incident.trip(statistic);
        }
    }

    fn came_back(
        &mut self,
        id: ClientId,
        now: Timestamp,
        clients: &Clients,
        incidents: &mut Incidents,
        alerts: &mut Vec<Alert>,
    ) {
        if self.alone.remove(&id) {
            incidents.close(Key::Silence(Subject::Client(id)), now, clients, alerts);
        }
        if self.together.remove(&id) {
            let key = Key::Silence(Subject::Fleet);
            if self.together.is_empty() {
                incidents.close(key, now, clients, alerts);
            } else if let Some(incident) = incidents.get_mut(key) {
                incident.clients.remove(&id);
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

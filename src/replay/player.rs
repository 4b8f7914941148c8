//! One engine, and the events that it gets in a replay.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use foldhash::quality::RandomState;

use crate::config::server::ServerSettings;
use crate::event::{ClientId, Event, Timestamp};
use crate::replay::summary::Tally;
use crate::server::alert::{Alert, json};
use crate::server::correlate::Correlator;
use crate::server::correlate::sources::hash::Secret;

/// After so long without an event everything is over: incidents end after a week of quiet at the
/// latest, unless the settings let them last longer.
const REST: Duration = Duration::from_secs(8 * 86_400);

/// An engine, and the time of the last event.
#[derive(Debug)]
pub struct Player {
    correlator: Correlator,
    rest: Duration,
    last: Timestamp,
    /// How many clients are remembered.
    bound: usize,
    /// The clients that the engine knows, and as what.
    welcomed: HashMap<ClientId, Box<str>, RandomState>,
    alerts: Vec<Alert>,
    tally: Tally,
}

/// An alert, and its line of JSON.
#[derive(Debug)]
pub struct Said {
    /// The alert.
    pub alert: Alert,
    /// The same as a line without its end.
    pub line: String,
}

impl Player {
    /// An engine that has seen nothing, under these settings; with the secret of a server it says
    /// of the events that are stored there what the server said. Nobody sends heartbeats in a
    /// replay, so nobody is silent.
    pub fn new(settings: &ServerSettings, secret: Secret) -> Self {
        let mut settings = settings.clone();
        settings.detectors.silent_client.enabled = false;
        let quiet = settings.incidents.quiet.get();
        let rest = quiet.saturating_add(Duration::from_secs(86_400)).max(REST);
        Self {
            correlator: Correlator::with_secret(&settings, secret),
            rest,
            last: Timestamp::default(),
            bound: usize::try_from(settings.limits.clients).unwrap_or(usize::MAX),
            welcomed: HashMap::default(),
            alerts: Vec::new(),
            tally: Tally::new(&settings.limits),
        }
    }

    /// Takes up a client with where it comes from and its traps, as far as that is known.
    pub fn know(&mut self, id: ClientId, name: &str, address: Option<IpAddr>, traps: &[u16]) {
        self.welcome(id, name, Timestamp::default());
        if let Some(address) = address {
            self.correlator.lives_at(id, address);
        }
        self.correlator.owns(id, traps);
    }

    /// Has the engine look ahead at what comes next.
    pub fn foresee<'a>(&mut self, events: impl Iterator<Item = &'a Event> + Clone) {
        events.clone().for_each(|event| self.tally.foresee(event));
        self.correlator.foresee(events);
    }

    /// Takes in an event, seen by a client of this name, after all that was due before it. What is
    /// said goes into `said`.
    pub fn take(&mut self, event: &Event, name: &str, said: &mut Vec<Said>) {
        let now = event.received;
        self.last = self.last.max(now);
        self.welcome(event.client, name, now);
        self.tally.event(event);
        self.correlator.event(event, &mut self.alerts);
        self.hand_over(said);
    }

    /// Lets the time go on until everything is over.
    pub fn finish(&mut self, said: &mut Vec<Said>) {
        let end = self.last.after(self.rest);
        self.correlator.tick(end, &mut self.alerts);
        self.correlator.flush(end, &mut self.alerts);
        self.hand_over(said);
    }

    /// What has come and what was said so far.
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    fn welcome(&mut self, client: ClientId, name: &str, now: Timestamp) {
        if self
            .welcomed
            .get(&client)
            .is_some_and(|known| **known == *name)
        {
            return;
        }
        if self.welcomed.len() >= self.bound {
            self.welcomed.clear();
        }
        self.welcomed.insert(client, name.into());
        // A client for which there is no room goes by its id.
        let _room = self.correlator.welcome(client, name, now);
    }

    fn hand_over(&mut self, said: &mut Vec<Said>) {
        for alert in self.alerts.drain(..) {
            // An alert holds nothing that JSON cannot.
            let line = json::line(&alert).unwrap_or_default();
            self.tally.alert(&alert, &line);
            said.push(Said { alert, line });
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::event::{Hit, Probe};
    use crate::server::alert::{Action, Detector};
    use std::num::NonZeroU32;

    /// An event of the client `web-1` at this second, from 192.0.2.`source`.
    pub fn event(second: u64, source: u8, port: u16) -> Event {
        let at = Timestamp::from_micros(second * 1_000_000);
        Event {
            client: ClientId([1; 16]),
            sequence: second,
            received: at,
            at,
            hit: Hit {
                first: at,
                last: at,
                source: [192, 0, 2, source].into(),
                source_port: 40_000,
                trap_port: port,
                probe: Probe::Connect,
                count: NonZeroU32::MIN,
            },
        }
    }

    /// What is said of these events under the default settings, and the player.
    fn play(events: &[Event]) -> (Vec<Said>, Player) {
        let mut player = Player::new(&ServerSettings::default(), Secret::default());
        let mut said = Vec::new();
        for event in events {
            player.take(event, "web-1", &mut said);
        }
        player.finish(&mut said);
        (said, player)
    }

    fn told(said: &[Said]) -> Vec<(Action, u64, u64)> {
        let alerts = said.iter().map(|said| &said.alert);
        let second = |time: Timestamp| time.as_micros() / 1_000_000;
        alerts
            .map(|alert| (alert.action, second(alert.time), alert.hits))
            .collect()
    }

    #[test]
    fn an_incident_is_told_of_and_closed_in_the_time_of_the_events() {
        let events: Vec<_> = (1000..1006).map(|second| event(second, 7, 22)).collect();
        let (said, _) = play(&events);
        let told = told(&said);
        assert_eq!(told[0], (Action::Open, 1002, 3));
        assert_eq!(told[1].0, Action::Update);
        let (action, closed, hits) = told[told.len() - 1];
        assert_eq!((action, hits), (Action::Close, 6));
        assert!((4605..=4605 + 600).contains(&closed), "{closed}");
    }

    #[test]
    fn nobody_is_silent_however_long_nothing_comes() {
        let (said, player) = play(&[event(1, 7, 22), event(90 * 86_400, 8, 23)]);
        assert_eq!(told(&said), []);
        assert_eq!(player.tally().digest().len(), 64);
    }

    #[test]
    fn the_same_events_give_the_same_digest_and_others_another() {
        let events = [event(1, 7, 22), event(2, 7, 22), event(3, 7, 22)];
        let digest = |events: &[Event]| play(events).1.tally().digest();
        assert_eq!(digest(&events), digest(&events));
        assert_ne!(digest(&events), digest(&events[1..]));
    }

    #[test]
    fn a_source_that_is_a_client_has_its_name() {
        let mut player = Player::new(&ServerSettings::default(), Secret::default());
        let home = Some([192, 0, 2, 7].into());
        player.know(ClientId([7; 16]), "web-7", home, &[22]);
        let mut said = Vec::new();
        player.take(&event(1000, 7, 22), "web-1", &mut said);
        let alert = &said[0].alert;
        assert_eq!(alert.subject_name.as_deref(), Some("web-7"));
        assert_eq!(alert.detector, Detector::LateralMovement);
    }

    #[test]
    fn a_client_goes_by_the_name_that_it_had() {
        let mut player = Player::new(&ServerSettings::default(), Secret::default());
        let mut said = Vec::new();
        player.take(&event(1, 7, 22), "web-1", &mut said);
        for second in 2..5 {
            player.take(&event(second, 7, 22), "web-2", &mut said);
        }
        assert_eq!(said[0].alert.clients.sample[0].0.name, "web-2");
    }
}

//! One engine, and the events that it gets in a replay.

use std::collections::HashMap;
use std::time::Duration;

use crate::config::server::ServerSettings;
use crate::event::{ClientId, Event, Timestamp};
use crate::replay::pace::Pace;
use crate::replay::summary::Tally;
use crate::server::alert::{Alert, json};
use crate::server::correlate::Correlator;

/// After so long without an event everything is over: incidents end after a week of quiet at the
/// latest, unless the settings let them last longer.
const REST: Duration = Duration::from_secs(8 * 86_400);

/// An engine with its clock.
#[derive(Debug)]
pub struct Player {
    correlator: Correlator,
    pace: Pace,
    /// How many clients are remembered.
    bound: usize,
    /// The clients that the engine knows, and as what.
    welcomed: HashMap<ClientId, Box<str>>,
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
    /// An engine that has seen nothing, under these settings. Nobody sends heartbeats in a replay,
    /// so nobody is silent.
    pub fn new(settings: &ServerSettings) -> Self {
        let mut settings = settings.clone();
        settings.detectors.silent_client.enabled = false;
        let quiet = settings.incidents.quiet.get();
        let rest = quiet.saturating_add(Duration::from_secs(86_400)).max(REST);
        Self {
            correlator: Correlator::new(&settings),
            pace: Pace::new(rest),
            bound: usize::try_from(settings.limits.clients).unwrap_or(usize::MAX),
            welcomed: HashMap::new(),
            alerts: Vec::new(),
            tally: Tally::new(&settings.limits),
        }
    }

    /// Takes in an event, seen by a client of this name, after all that was due before it. What is
    /// said goes into `said`.
    pub fn take(&mut self, event: &Event, name: &str, said: &mut Vec<Said>) {
        let now = event.received;
        self.tick_until(now);
        self.pace.event(now);
        self.welcome(event.client, name, now);
        self.tally.event(event);
        self.correlator.event(event, &mut self.alerts);
        self.hand_over(said);
    }

    /// Lets the time go on until everything is over.
    pub fn finish(&mut self, said: &mut Vec<Said>) {
        let end = self.pace.end();
        self.tick_until(end);
        self.correlator.flush(end, &mut self.alerts);
        self.hand_over(said);
    }

    /// What has come and what was said so far.
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    fn tick_until(&mut self, now: Timestamp) {
        while let Some(tick) = self.pace.tick_before(now) {
            self.correlator.tick(tick, &mut self.alerts);
        }
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

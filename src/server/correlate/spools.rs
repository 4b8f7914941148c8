//! Clients that cannot write their spool: `degraded` about each of them, up to a bound.
//!
//! A client says in its heartbeats whether it can. While it cannot, it reports from memory, and
//! what it has not delivered when it is killed is lost. The incident closes once the client has
//! said for ten seconds that it is well again, so that a disk that comes and goes makes no storm of
//! alerts.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::{ClientId, Timestamp};
use crate::server::alert::{Alert, Detector, Measure, Statistic, Subject};
use crate::server::correlate::Correlator;
use crate::server::correlate::incidents::Key;

/// Clients with an open incident, and since when each has been well again.
#[derive(Debug, Default)]
pub struct Spools(BTreeMap<ClientId, Option<Timestamp>>);

/// Clients that have an incident of their own, in all, and of one witness: identities are free.
/// What is beyond that is said of the server.
const ALONE: usize = 64;
const OF_ONE_WITNESS: usize = 5;

/// How long a client must be well before its incident closes.
const WELL: Duration = Duration::from_secs(10);

const TRIPPED: Statistic = Statistic {
    detector: Detector::Degraded,
    measure: Measure::Touch,
};

impl Correlator {
    /// Notes that a client cannot write its spool.
    pub fn spool_fails(&mut self, client: ClientId, now: Timestamp) {
        if !self.detectors.degraded.enabled {
            return;
        }
        let (subject, why) = if self.has_incident_of_its_own(client) {
            self.spools.0.insert(client, None);
            let why = "cannot write its spool; hits wait in its memory".to_owned();
            (Subject::Client(client), why)
        } else {
            let why = "many clients cannot write their spools: see `vft clients`".to_owned();
            (Subject::Server, why)
        };
        self.complain(subject, TRIPPED, Some(why), now);
    }

    /// Whether a client that cannot write its spool is one of those with an incident of their own.
    fn has_incident_of_its_own(&self, client: ClientId) -> bool {
        let known = &self.spools.0;
        let witness = |id: &ClientId| self.clients.witness(*id);
        let alike = || known.keys().filter(|id| witness(id) == witness(&client));
        known.contains_key(&client) || known.len() < ALONE && alike().count() < OF_ONE_WITNESS
    }

    /// Notes that a client can write its spool, as far as it has said.
    pub fn spool_works(&mut self, client: ClientId, now: Timestamp) {
        if let Some(since) = self.spools.0.get_mut(&client) {
            since.get_or_insert(now);
        }
    }

    /// Closes the incidents of those that have been well for long enough at `now`.
    pub fn look_after_spools(&mut self, now: Timestamp, alerts: &mut Vec<Alert>) {
        let Self {
            spools,
            incidents,
            clients,
            ..
        } = self;
        spools.0.retain(|client, well| {
            let key = Key::new(Detector::Degraded, Subject::Client(*client));
            if well.is_some_and(|since| now.since(since) >= WELL) {
                incidents.close(key, now, clients, alerts);
            }
            incidents.is_open(key)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::server::ServerSettings;
    use crate::server::alert::{Action, Severity};

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros((1_000_000 + seconds) * 1_000_000)
    }

    fn client(number: u8) -> ClientId {
        ClientId([number; 16])
    }

    fn engine() -> Correlator {
        let mut engine = Correlator::new(&ServerSettings::default());
        let _room = engine.welcome(client(1), "web-1", at(0));
        engine
    }

    /// What is said at this second.
    fn said(engine: &mut Correlator, seconds: u64) -> Vec<(Action, Subject)> {
        let mut alerts = Vec::new();
        engine.tick(at(seconds), &mut alerts);
        let of = alerts.iter().filter(|it| it.detector == Detector::Degraded);
        of.map(|alert| (alert.action, alert.subject)).collect()
    }

    #[test]
    fn a_client_that_cannot_write_its_spool_is_reported_until_it_has_been_well_for_a_while() {
        let (mut engine, about) = (engine(), Subject::Client(client(1)));
        engine.spool_works(client(1), at(0));
        assert_eq!(said(&mut engine, 0), []);
        engine.spool_fails(client(1), at(1));
        let mut alerts = Vec::new();
        engine.tick(at(1), &mut alerts);
        let [alert] = &alerts[..] else {
            panic!("{alerts:?}")
        };
        assert_eq!((alert.action, alert.subject), (Action::Open, about));
        assert_eq!(alert.severity, Severity::Medium);
        assert_eq!(alert.subject_name.as_deref(), Some("web-1"));
        assert!(alert.explain.contains("its disk is full"));
        engine.spool_fails(client(1), at(30));
        engine.spool_works(client(1), at(60));
        assert_eq!(said(&mut engine, 69), []);
        // Not well after all.
        engine.spool_fails(client(1), at(69));
        engine.spool_works(client(1), at(70));
        engine.spool_works(client(1), at(79));
        assert_eq!(said(&mut engine, 79), []);
        assert_eq!(said(&mut engine, 80), [(Action::Close, about)]);
        assert_eq!(said(&mut engine, 90), []);
        engine.spool_fails(client(1), at(100));
        assert_eq!(said(&mut engine, 100), [(Action::Open, about)]);
    }

    #[test]
    fn of_too_many_clients_the_server_says_so() {
        let mut engine = engine();
        let mut fails = |number: u8, at_address: u8| {
            let _room = engine.welcome(client(number), "web", at(0));
            engine.lives_at(client(number), [10, 0, 0, at_address].into());
            engine.spool_fails(client(number), at(1));
        };
        // Those at one address hide nobody at another.
        (101..=120).for_each(|number| fails(number, 100));
        (1..=60).for_each(|number| fails(number, number));
        let mut subjects: Vec<_> = said(&mut engine, 1).into_iter().map(|it| it.1).collect();
        subjects.retain(|subject| *subject == Subject::Server);
        assert_eq!(subjects.len(), 1);
        let of_others = engine.spools.0.keys().filter(|id| **id <= client(60));
        assert_eq!(
            (engine.spools.0.len(), of_others.count()),
            (ALONE, ALONE - OF_ONE_WITNESS)
        );
        // One whose incident has ended makes room.
        engine.spool_works(client(1), at(2));
        said(&mut engine, 20);
        engine.spool_fails(client(60), at(20));
        assert_eq!(
            said(&mut engine, 20),
            [(Action::Open, Subject::Client(client(60)))]
        );
    }

    #[test]
    fn where_the_detector_is_off_nothing_is_said() {
        let mut settings = ServerSettings::default();
        settings.detectors.degraded.enabled = false;
        let mut engine = Correlator::new(&settings);
        engine.spool_fails(client(1), at(1));
        assert_eq!(said(&mut engine, 1), []);
    }
}

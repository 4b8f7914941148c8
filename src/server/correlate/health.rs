//! How vft itself does: clients that cannot be believed, bounds that are reached.

use std::time::Duration;

use crate::event::{ClientId, Timestamp};
use crate::server::alert::{Alert, Detector, Measure, Statistic, Subject};
use crate::server::correlate::Correlator;
use crate::server::correlate::by_source::Case;
use crate::server::correlate::degraded::{self, Counts};
use crate::server::correlate::incident::Incident;
use crate::server::correlate::incidents::Key;
use crate::server::correlate::lost_findings::LostFindings;
use crate::server::correlate::lying_client::Reports;
use crate::server::correlate::sighting::Sighting;
use crate::server::correlate::sources::hash::Secret;

/// What is known of how vft does.
#[derive(Debug)]
pub struct Health {
    reports: Reports,
    counts: Counts,
    /// What has been said of findings that were lost.
    pub lost: LostFindings,
    looked: Timestamp,
}

impl Health {
    /// Nothing is known yet. Networks are counted by hashes with this secret.
    pub fn new(secret: Secret) -> Self {
        Self {
            reports: Reports::new(secret),
            counts: Counts::default(),
            lost: LostFindings::default(),
            looked: Timestamp::default(),
        }
    }
}

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(60);

impl Correlator {
    /// Looks at an event from the side of who reports it.
    pub fn see_reporter(&mut self, case: &Case, alerts: &mut Vec<Alert>) {
        let Sighting { client, handle, .. } = case.sighting;
        // Of clients for which there was no room nobody knows who reports what.
        let Some(witness) = self.clients.witness_of(handle) else {
            return;
        };
        let found = self.health.reports.add(
            witness,
            case.sighting.source,
            case.now,
            &self.detectors.lying_client,
        );
        if let Some(flood) = found {
            self.incidents.doubt(witness, flood.doubt);
            self.complain(Subject::Client(client), flood.statistic, None, case.now);
            self.incidents.collect(case.now, &self.clients, alerts);
        }
    }

    /// Notes that a second process with a client's identity was refused.
    pub fn cloned(&mut self, client: ClientId, now: Timestamp) {
        if self.detectors.cloned_client.enabled {
            let statistic = Statistic {
                detector: Detector::ClonedClient,
                measure: Measure::Touch,
            };
            self.complain(Subject::Client(client), statistic, None, now);
        }
    }

    /// Notes that the server had to leave something out.
    pub fn fell_short(&mut self, why: String, now: Timestamp) {
        if self.detectors.degraded.enabled {
            let statistic = Statistic {
                detector: Detector::Degraded,
                measure: Measure::Touch,
            };
            self.complain(Subject::Server, statistic, Some(why), now);
        }
    }

    /// Looks for bounds that are reached, every minute.
    pub fn look_after_health(&mut self, now: Timestamp) {
        if now.since(self.health.looked) < LOOK && now >= self.health.looked {
            return;
        }
        self.health.looked = now;
        let counts = Counts {
            shed: self.sources.inside.shed() + self.sources.outside.shed(),
        };
        let settings = &self.detectors.degraded;
        let dazzled = self.rules.subnet.sight();
        let mut complaints =
            degraded::judge(&self.sources, counts, &mut self.health.counts, settings);
        complaints.extend(degraded::dazzled(dazzled, settings));
        for complaint in complaints {
            self.complain(
                Subject::Server,
                complaint.statistic,
                Some(complaint.why),
                now,
            );
        }
    }

    /// Goes on with the incident of a detector of health about a subject, or opens it; `why` becomes
    /// one of its notes.
    pub fn complain(
        &mut self,
        subject: Subject,
        statistic: Statistic,
        why: Option<String>,
        now: Timestamp,
    ) {
        let key = Key::new(statistic.detector, subject);
        if !self.incidents.is_open(key) {
            let mark = now.as_micros().to_be_bytes();
            let incident = Incident::new(statistic.detector, subject, &mark, now);
            self.incidents.put(key, incident);
        }
        if let Some(incident) = self.incidents.get_mut(key) {
            incident.trip(statistic);
            incident.went_on(now);
            if let Subject::Client(client) = subject {
                incident.clients.add(client, 0);
            }
            if let Some(why) = why {
                incident.remark(why);
            }
        }
    }
}

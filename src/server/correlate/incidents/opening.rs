//! How an incident is opened, and which one is closed early if its place is needed.

use crate::server::alert::{Alert, Subject};
use crate::server::correlate::clients::Clients;
use crate::server::correlate::incident::Say;
use crate::server::correlate::incidents::{Finding, Incidents, Key, appraise, tell};

/// What has become of findings: as many incidents were opened as were closed, gave way or are open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turnover {
    /// Incidents that were opened.
    pub opened: u64,
    /// Incidents that have come to their end.
    pub closed: u64,
    /// Incidents that were closed early, because their places were needed.
    pub displaced: u64,
    /// Findings that opened none, because there was no place for it.
    pub unopened: u64,
}

impl Incidents {
    /// Opens an incident, or goes on with one that was closed lately, if there is a place for it.
    /// Whether it is open now.
    pub fn open(
        &mut self,
        finding: &Finding<'_>,
        clients: &Clients,
        alerts: &mut Vec<Alert>,
    ) -> bool {
        let key = Key::Scan(finding.subject);
        let Some(mut incident) = finding.incident() else {
            return false;
        };
        appraise(&mut incident, &self.doubtful, clients);
        let place = finding.place(&incident, clients, &self.places);
        self.places.share_among(clients.witnesses());
        let Ok(leaving) = self.places.make_room(&place) else {
            self.turnover.unopened += 1;
            return false;
        };
        for key in leaving {
            self.displace(key, finding, clients, alerts);
        }
        if let Some(closed) = self.dormant.take(key) {
            let pause = finding.received.since(closed.at);
            if pause <= self.spans.cool_down {
                incident.go_on(&closed);
            } else if pause <= self.spans.recurrence {
                incident.recur(&closed);
            }
        }
        self.turnover.opened += 1;
        self.places.take(key, &place);
        self.insert(key, incident, Some(place));
        true
    }

    /// Closes an incident, because its place is needed for a finding.
    fn displace(
        &mut self,
        key: Key,
        finding: &Finding<'_>,
        clients: &Clients,
        alerts: &mut Vec<Alert>,
    ) {
        let now = finding.received;
        if let Some(mut open) = self.take_out(key) {
            self.turnover.displaced += 1;
            if open.incident.due(now) == Say::Open {
                tell(&mut open.incident, now, clients, alerts);
            }
            let whom = match finding.subject {
                Subject::Client(client) => clients.name(client),
                Subject::Port(port) => format!("port {port}"),
                other => other.to_string(),
            };
            let remark = format!("closed early: its place was needed for {whom}");
            open.incident.remarks.insert(remark);
            self.end(key, open.incident, now, clients, alerts);
        }
    }
}

//! What leads to an incident, and what that incident holds its place by.

use crate::event::Timestamp;
use crate::server::alert::{Network, Statistic, Subject, Zone};
use crate::server::correlate::clients::{Clients, NOBODY};
use crate::server::correlate::incident::Incident;
use crate::server::correlate::incidents::places::{
    Backing, Conduct, Credence, Place, Places, Rank,
};
use crate::server::correlate::severity::{Credit, Origin};
use crate::server::correlate::sighting::Sighting;

/// What leads to an incident.
#[derive(Debug)]
pub struct Finding<'a> {
    /// Whom or what it is about.
    pub subject: Subject,
    /// What was computed.
    pub statistic: Statistic,
    /// What it was computed from, oldest first.
    pub evidence: &'a [Sighting],
    /// Where the source is.
    pub origin: Origin,
    /// When its source was first seen, as far as that is remembered.
    pub source_since: Option<Timestamp>,
    /// When the server got the last piece of evidence.
    pub received: Timestamp,
}

impl Finding<'_> {
    /// The incident that it leads to; none without evidence.
    pub fn incident(&self) -> Option<Incident> {
        let (first, last) = (self.evidence.first()?, self.evidence.last()?);
        let detector = self.statistic.detector;
        let mut incident = Incident::new(detector, self.subject, &mark(first), first.at);
        self.evidence.iter().for_each(|each| incident.add(each));
        incident.heard = incident.heard.max(self.received);
        incident.lateness = self.received.since(last.at);
        incident.trip(self.statistic);
        incident.circumstances.origin = self.origin;
        // Not when it happened: that is what the client says.
        incident.circumstances.source_since = self.source_since.or(Some(self.received));
        Some(incident)
    }

    /// The place that its incident needs. Of several witnesses that have led to it, it counts
    /// against the one that holds least.
    pub fn place(&self, incident: &Incident, clients: &Clients, places: &Places) -> Place {
        let holder = incident
            .testimony
            .witnesses()
            .min_by_key(|witness| (places.held_by(*witness), *witness));
        let rank = rank(incident, self.conduct(clients));
        let network = match self.subject {
            Subject::Source(source) => Some(Network::of(source.address())),
            Subject::Network(network) => Some(network),
            Subject::Port(_) | Subject::Client(_) | Subject::Fleet | Subject::Server => None,
        };
        let zone = match self.origin {
            Origin::Inside => Zone::Inside,
            Origin::Outside | Origin::Elsewhere => Zone::Outside,
        };
        let holder = holder.unwrap_or(NOBODY);
        Place::new(rank, holder, network, zone, incident.heard)
    }

    fn conduct(&self, clients: &Clients) -> Conduct {
        let source = self.evidence.last().map(|last| last.source);
        match (self.origin, source) {
            (Origin::Inside, Some(source)) if clients.is_home(source) => Conduct::OfAFleetHost,
            _ => Conduct::OfAnybody,
        }
    }
}

/// What an incident amounts to now, if its source's conduct is this.
pub fn rank(incident: &Incident, conduct: Conduct) -> Rank {
    Rank {
        credence: match incident.circumstances.credit {
            Credit::Full => Credence::Believed,
            Credit::Doubtful { .. } => Credence::Doubted,
        },
        severity: incident.severity(),
        conduct,
        backing: match incident.testimony.count() {
            0 | 1 => Backing::Alone,
            _ => Backing::Several,
        },
    }
}

/// Tells an incident from the next one about the same subject: its first hit.
fn mark(first: &Sighting) -> Vec<u8> {
    [
        &first.client.0[..],
        &first.at.as_micros().to_be_bytes(),
        &first.port.to_be_bytes(),
    ]
    .concat()
}

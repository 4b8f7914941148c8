//! What leads to an incident, and what that incident holds its place by.

use std::collections::BTreeSet;

use crate::event::{ClientId, Timestamp};
use crate::server::alert::{Network, Statistic, Subject, Zone};
use crate::server::correlate::clients::{Clients, Witness};
use crate::server::correlate::incident::Incident;
use crate::server::correlate::incidents::places::{
    Backing, Conduct, Credence, Place, Places, Rank,
};
use crate::server::correlate::severity::{Origin, Witnesses};
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
        Some(incident)
    }

    /// The place that its incident needs. Of several witnesses that have led to it, it counts
    /// against the one that holds least.
    pub fn place(&self, incident: &Incident, clients: &Clients, places: &Places) -> Place {
        let reporters: BTreeSet<_> = reporters(incident, clients).collect();
        let holder = reporters
            .iter()
            .copied()
            .min_by_key(|witness| (places.held_by(*witness), *witness));
        let rank = Rank {
            credence: credence(incident),
            severity: incident.severity(),
            conduct: self.conduct(clients),
            backing: match reporters.len() {
                0 | 1 => Backing::Alone,
                _ => Backing::Several,
            },
        };
        let network = match self.subject {
            Subject::Source(source) => Some(Network::of(source.address())),
            Subject::Network(network) => Some(network),
            Subject::Port(_) | Subject::Client(_) | Subject::Fleet | Subject::Server => None,
        };
        let zone = match self.origin {
            Origin::Inside => Zone::Inside,
            Origin::Outside | Origin::Elsewhere => Zone::Outside,
        };
        let holder = holder.unwrap_or_else(|| Witness::Client(ClientId::default()));
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

/// What an incident amounts to now. `seen` is how many clients had reported it when it was last
/// looked at who they are.
pub fn rank(incident: &Incident, place: &Place, seen: &mut usize, clients: &Clients) -> Rank {
    Rank {
        credence: credence(incident),
        severity: incident.severity(),
        conduct: place.rank.conduct,
        backing: backing(incident, place, seen, clients),
    }
}

/// Whether others than the holder of its place have reported an incident. Who they are is only
/// looked at when there are more than before; and what was confirmed once remains so.
fn backing(incident: &Incident, place: &Place, seen: &mut usize, clients: &Clients) -> Backing {
    let count = incident.clients.count();
    if place.rank.backing == Backing::Several || count <= (*seen).max(1) {
        return place.rank.backing;
    }
    *seen = count;
    if reporters(incident, clients).any(|witness| witness != place.holder) {
        Backing::Several
    } else {
        Backing::Alone
    }
}

const fn credence(incident: &Incident) -> Credence {
    match incident.circumstances.witnesses {
        Witnesses::Credible => Credence::Believed,
        Witnesses::Doubtful => Credence::Doubted,
    }
}

/// On whose word an incident rests.
fn reporters(incident: &Incident, clients: &Clients) -> impl Iterator<Item = Witness> {
    // Of clients that were forgotten nobody knows whose word it was.
    let known = |id: &ClientId| *id != ClientId::default();
    let reporters = incident.clients.keys().filter(known);
    reporters.map(|id| clients.witness(id))
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

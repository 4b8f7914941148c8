//! How much an incident matters.
//!
//! What was touched decides: one triple over and over is low, two clients or three ports are high.
//! What was found may make it more: the first contact along a port that attackers move along is
//! high by itself. Each of these raises it by a step: ten witnesses; a tenth of the fleet; a source
//! on a host of the inside. Nothing on one witness's word is critical, and what is part of a flood
//! that one alone reports is low ([`doubt`](crate::server::correlate::doubt)). A witness is an
//! address: identities are free ([`witnesses`](crate::server::correlate::clients::witnesses)).

use crate::event::Timestamp;
use crate::server::alert::{Detector, Severity};
use crate::server::correlate::incident::Incident;

/// What bears on how much an incident matters, beside what was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circumstances {
    /// How many witnesses the fleet has.
    pub fleet: usize,
    /// Where its source is, if it is about one.
    pub origin: Origin,
    /// Whether those who report it can be believed.
    pub credit: Credit,
    /// When its source was first seen, as far as that is remembered.
    pub source_since: Option<Timestamp>,
}

/// Where the source of an incident is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// On a host that is ours, and not the one it has touched.
    Inside,
    /// On somebody else's.
    Outside,
    /// On the host that it has touched, or there are several.
    Elsewhere,
}

/// Whether those who report an incident can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credit {
    /// They can.
    Full,
    /// There is only one, whose reports were out of all proportion when this began.
    Doubtful {
        /// When its word counts again, about what is new then.
        until: Timestamp,
    },
}

impl Default for Circumstances {
    fn default() -> Self {
        Self {
            fleet: 0,
            origin: Origin::Elsewhere,
            credit: Credit::Full,
            source_since: None,
        }
    }
}

/// So many witnesses are many.
const MANY: usize = 10;

impl Incident {
    /// How much it matters: what was touched, or what was found if that is more, and a step up for
    /// each circumstance. Nothing that only one witness reports is critical, and what is in doubt
    /// is low.
    pub fn severity(&self) -> Severity {
        if self.opened_by == Detector::NewClient {
            return self.found;
        }
        if self.opened_by.is_about_health() {
            return self.found;
        }
        let mut severity = self.touched().max(self.found);
        let (witnesses, fleet) = (self.testimony.count(), self.circumstances.fleet);
        let steps = [
            witnesses >= MANY,
            witnesses >= 2 && witnesses.saturating_mul(10) >= fleet && fleet >= MANY,
            self.circumstances.origin == Origin::Inside,
        ];
        for _ in steps.into_iter().filter(|step| *step) {
            severity = severity.raised();
        }
        match (self.circumstances.credit, witnesses) {
            (Credit::Doubtful { .. }, _) => severity.min(Severity::Low),
            (Credit::Full, 0 | 1) => severity.min(Severity::High),
            (Credit::Full, _) => severity,
        }
    }

    /// One triple over and over is low; two clients or three ports are high.
    fn touched(&self) -> Severity {
        match (
            self.clients.count(),
            self.ports.count(),
            self.contacts.count(),
        ) {
            (2.., _, _) | (_, 3.., _) => Severity::High,
            (_, _, 0 | 1) => Severity::Low,
            _ => Severity::Medium,
        }
    }
}

/// What a detector's finding amounts to by itself.
pub const fn severity_of(detector: Detector) -> Severity {
    match detector {
        Detector::LateralMovement | Detector::CoordinatedScan | Detector::ClonedClient => {
            Severity::High
        }
        Detector::ReturningSource
        | Detector::SubnetScan
        | Detector::SlowScan
        | Detector::SilentClient
        | Detector::LyingClient
        | Detector::Degraded => Severity::Medium,
        Detector::FrequentSource
        | Detector::FrequentPort
        | Detector::FrequentClient
        | Detector::PortSurge
        | Detector::ClientSurge
        | Detector::PersistentSource
        | Detector::Hammering => Severity::Low,
        Detector::NewClient => Severity::Informational,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ClientId;
    use crate::server::alert::{Shape, Subject};
    use crate::server::correlate::clients::{Handle, Witness};
    use crate::server::correlate::sighting::Sighting;

    fn incident() -> Incident {
        Incident::new(
            Detector::FrequentPort,
            Subject::Port(22),
            b"mark",
            Timestamp::default(),
        )
    }

    fn sighting(client: u8, port: u16) -> Sighting {
        Sighting {
            at: Timestamp::default(),
            source: [192, 0, 2, 1].into(),
            client: ClientId([client; 16]),
            handle: Handle(1),
            port,
            count: 1,
        }
    }

    #[test]
    fn severity_tells_a_touch_from_a_scan() {
        let mut incident = incident();
        incident.add(&sighting(1, 22));
        incident.add(&sighting(1, 22));
        assert_eq!(
            (incident.severity(), incident.shape()),
            (Severity::Low, None)
        );
        incident.add(&sighting(1, 23));
        assert_eq!(
            (incident.severity(), incident.shape()),
            (Severity::Medium, None)
        );
        incident.add(&sighting(1, 24));
        assert_eq!(
            (incident.severity(), incident.shape()),
            (Severity::High, Some(Shape::Vertical))
        );
    }

    #[test]
    fn circumstances_raise_it_but_one_witness_is_not_enough_for_the_worst() {
        let mut incident = incident();
        incident.circumstances.origin = Origin::Inside;
        (1..=3).for_each(|port| incident.add(&sighting(1, port)));
        assert_eq!(incident.severity(), Severity::High);
        incident.add(&sighting(2, 1));
        incident.testimony.hear(Witness::Client);
        assert_eq!(incident.severity(), Severity::Critical);
        incident.circumstances.origin = Origin::Elsewhere;
        assert_eq!(incident.severity(), Severity::High);
        (3..=10).for_each(|client| incident.add(&sighting(client, 1)));
        incident.testimony.hear(Witness::Client);
        assert_eq!(incident.severity(), Severity::Critical);
    }

    #[test]
    fn ten_clients_at_one_address_are_one_witness_and_ten_addresses_are_ten() {
        let severity = |witness: fn(ClientId) -> Witness| {
            let mut incident = incident();
            (1..=10).for_each(|client| incident.add(&sighting(client, 1)));
            incident.testimony.hear(witness);
            (incident.severity(), incident.testimony.accounts())
        };
        let nat = |_| Witness::Address([192, 0, 2, 1].into());
        assert_eq!(severity(nat), (Severity::High, 1));
        assert_eq!(severity(Witness::Client), (Severity::Critical, 5));
    }

    #[test]
    fn who_is_not_believed_is_low() {
        let mut incident = incident();
        (1..=9).for_each(|port| incident.add(&sighting(1, port)));
        incident.circumstances.credit = Credit::Doubtful {
            until: Timestamp::default(),
        };
        assert_eq!(incident.severity(), Severity::Low);
    }
}

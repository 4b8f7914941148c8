//! What an incident is found by.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use crate::server::alert::{Detector, Subject};

/// What an incident is about: its subject, and whether hits, silence, or how vft does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Hits.
    Scan(Subject),
    /// Silence.
    Silence(Subject),
    /// How vft does.
    Health(Detector, Subject),
}

impl Key {
    /// What an incident that a detector has opened about a subject is found by.
    pub const fn new(detector: Detector, subject: Subject) -> Self {
        match detector {
            Detector::SilentClient => Self::Silence(subject),
            Detector::LyingClient
            | Detector::ClonedClient
            | Detector::NewClient
            | Detector::Degraded => Self::Health(detector, subject),
            _ => Self::Scan(subject),
        }
    }
}

impl Hash for Key {
    /// In one go: this is done several times for each event.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (kind, subject) = match self {
            Self::Scan(subject) => (0, subject),
            Self::Silence(subject) => (1, subject),
            Self::Health(_, subject) => (2, subject),
        };
        let number = match subject {
            Subject::Source(source) => number(source.address()),
            Subject::Network(network) => number(network.address()) ^ 1,
            Subject::Port(port) => u128::from(*port),
            Subject::Client(client) => u128::from_be_bytes(client.0),
            Subject::Fleet => 1 << 17,
            Subject::Server => 1 << 18,
        };
        state.write_u128(number ^ kind << 20);
    }
}

const fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

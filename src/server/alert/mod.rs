//! Alerts: what the engine says about an incident, and how it is written.

pub mod json;
pub mod text;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::event::{ClientId, Timestamp, is_link_local, neighbourhood};

/// One message about an incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// When it was said.
    pub time: Timestamp,
    /// What became of the incident.
    pub action: Action,
    /// The incident's id, which follows from its detector, its subject and its first event.
    pub incident: String,
    /// The detector that opened the incident.
    pub detector: Detector,
    /// All detectors that the incident has tripped, in order.
    pub detectors: Vec<Detector>,
    /// How much it matters.
    pub severity: Severity,
    /// How sure it is, 0 to 100.
    pub confidence: u8,
    /// The whole in half a line.
    pub title: String,
    /// Whom or what it is about.
    pub subject: Subject,
    /// The subject's name where it has one beside its id.
    pub subject_name: Option<String>,
    /// When its first hit happened.
    pub first_seen: Timestamp,
    /// When its last hit happened.
    pub last_seen: Timestamp,
    /// Its hits so far.
    pub hits: u64,
    /// Its distinct triples of source, client and trap port.
    pub first_contacts: u64,
    /// The clients that saw it.
    pub clients: Sampled<NamedClient>,
    /// The trap ports it touched.
    pub ports: Sampled<u16>,
    /// Where it came from.
    pub sources: Sampled<IpAddr>,
    /// What the touched clients and ports look like together.
    pub shape: Option<Shape>,
    /// What each detector computed when it tripped.
    pub statistics: Vec<Statistic>,
    /// ATT&CK technique ids.
    pub attack: Vec<&'static str>,
    /// The whole in a sentence.
    pub explain: String,
    /// The allow-list entry that would have hidden exactly this.
    pub allow_hint: Option<String>,
    /// What limits the figures above.
    pub notes: Vec<String>,
}

/// An alert with its place among all alerts.
#[derive(Clone, Debug, PartialEq)]
pub struct Issued {
    /// Counted from 1 for the server's life.
    pub number: u64,
    /// What is said.
    pub alert: Alert,
}

/// What became of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is new.
    Open,
    /// It has grown.
    Update,
    /// It is over.
    Close,
}

/// One rule over events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detector {
    /// Hits from one source over all clients.
    FrequentSource,
    /// Hits to one trap port over all clients.
    FrequentPort,
    /// Hits on one client.
    FrequentClient,
    /// A client that is not heard from.
    SilentClient,
}

/// Whom or what an incident is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Whoever touches traps.
    Source(Source),
    /// A trap port.
    Port(u16),
    /// A client.
    Client(ClientId),
    /// All clients.
    Fleet,
}

/// A source as the engine tells sources apart: an IPv4 address or an IPv6 /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(IpAddr);

impl Source {
    /// The source that an address belongs to.
    pub fn of(address: IpAddr) -> Self {
        Self(neighbourhood(address))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(v6) if is_link_local(v6) => v6.fmt(f),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
        }
    }
}

/// How much an alert matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Informational,
    /// For the next working day.
    Low,
    /// For today.
    Medium,
    /// For now.
    High,
}

/// How the clients and ports that were touched lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Many clients, few ports.
    Horizontal,
    /// Few clients, many ports.
    Vertical,
    /// Many clients, many ports.
    Block,
}

/// A client with its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedClient {
    /// Who it is.
    pub id: ClientId,
    /// What people call it.
    pub name: String,
}

/// How many there were, and some of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampled<T> {
    /// How many distinct ones.
    pub count: u64,
    /// Whether `count` is exact; else there were at least so many.
    pub exactness: Exactness,
    /// Those with the most hits, in ascending order, each with its hits.
    pub sample: Vec<(T, u64)>,
}

/// Whether a number is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exactness {
    /// It is.
    Exact,
    /// It is the least that it can be.
    AtLeast,
}

/// What a detector computed when it tripped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistic {
    /// Which detector.
    pub detector: Detector,
    /// How many hits it found within its window; missed heartbeats for `silent-client`.
    pub hits: u64,
    /// How many it takes.
    pub threshold: u64,
    /// The window.
    pub window: Duration,
}

impl Detector {
    /// The detector's name in settings and alerts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FrequentSource => "frequent-source",
            Self::FrequentPort => "frequent-port",
            Self::FrequentClient => "frequent-client",
            Self::SilentClient => "silent-client",
        }
    }
}

impl Action {
    /// The action's name in alerts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Update => "update",
            Self::Close => "close",
        }
    }
}

impl Severity {
    /// All of them, ascending.
    pub const ALL: [Self; 4] = [Self::Informational, Self::Low, Self::Medium, Self::High];

    /// The severity's name in alerts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Informational => "informational",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Horizontal, Self::Vertical, Self::Block];

    /// The shape's name in alerts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Horizontal => "horizontal",
            Self::Vertical => "vertical",
            Self::Block => "block",
        }
    }
}

impl Subject {
    /// What kind of subject it is.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Source(_) => "source",
            Self::Port(_) => "port",
            Self::Client(_) => "client",
            Self::Fleet => "fleet",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(source) => source.fmt(f),
            Self::Port(port) => port.fmt(f),
            Self::Client(id) => id.fmt(f),
            Self::Fleet => f.write_str("fleet"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_64() {
        let name = |text: &str| Source::of(text.parse().unwrap()).to_string();
        assert_eq!(name("192.0.2.7"), "192.0.2.7");
        assert_eq!(name("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(name("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(name("fe80::3"), "fe80::3");
    }
}

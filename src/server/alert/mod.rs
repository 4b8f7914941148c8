//! Alerts: what the engine says about an incident, and how it is written.

pub mod brief;
pub mod digest;
pub mod json;
pub mod subject;
pub mod text;
pub mod valve;

use std::net::IpAddr;
use std::time::Duration;

use crate::event::{ClientId, Timestamp};
pub use crate::server::alert::subject::{Network, Source, Subject, Zone};

/// One message about an incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// When it was said.
    pub time: Timestamp,
    /// What became of the incident.
    pub action: Action,
    /// The incident's id, which follows from its detector, its subject and its first event.
    pub incident: String,
    /// Which message about the incident this is, counted from 1, whatever restarts lie between.
    pub message: u32,
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
    /// Where its source or network is; none if there are several, or if a host has touched itself.
    pub zone: Option<Zone>,
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
    /// On how many witnesses' word that rests, at least: clients at one address are one.
    pub witnesses: u64,
    /// The trap ports it touched.
    pub ports: Sampled<u16>,
    /// Where it came from.
    pub sources: Sampled<IpAddr>,
    /// What the touched clients and ports look like together.
    pub shape: Option<Shape>,
    /// How often the incident has begun anew.
    pub recurrence: u32,
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

impl Alert {
    /// What tells this message from all others: `JT3T2MDQ-3` is the third about that incident.
    /// After a kill it may be said again, under the same id.
    pub fn message_id(&self) -> String {
        format!("{}-{}", self.incident, self.message)
    }
}

/// What became of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    /// First contacts of one source that come too often to be chance, however slowly.
    SlowScan,
    /// The same of a network none of whose sources stands out.
    SubnetScan,
    /// First contacts on one trap port against what is usual there.
    PortSurge,
    /// First contacts on one client against what is usual there.
    ClientSurge,
    /// Many sources that share the work on one trap port.
    CoordinatedScan,
    /// A host of the inside that touches traps.
    LateralMovement,
    /// A source that was alerted before and had been silent.
    ReturningSource,
    /// A source that comes on many days.
    PersistentSource,
    /// One source that hits one trap over and over.
    Hammering,
    /// A client whose reports are out of all proportion.
    LyingClient,
    /// A second process with a client's identity.
    ClonedClient,
    /// A client that the fleet did not have before.
    NewClient,
    /// A client that is not heard from.
    SilentClient,
    /// The engine works within bounds that are reached.
    Degraded,
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
    /// For now, and for everybody.
    Critical,
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
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistic {
    /// Which detector.
    pub detector: Detector,
    /// What it found.
    pub measure: Measure,
}

/// A figure and what it was held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measure {
    /// So many within a window; missed heartbeats for `silent-client`, newcomers for
    /// `new-client`.
    Hits {
        /// How many there were.
        hits: u64,
        /// How many it takes.
        threshold: u64,
        /// The window.
        window: Duration,
    },
    /// By chance it would happen once in so many days.
    Chance {
        /// So many days.
        days: f64,
        /// How many it takes.
        threshold: f64,
    },
    /// Sources that overlap less than chance would have them.
    Overlap {
        /// First contacts.
        contacts: u64,
        /// How many of them were with a client that another source had touched.
        overlaps: u64,
        /// How many would have been by chance.
        expected: f64,
        /// How likely so few are.
        chance: f64,
        /// How unlikely it must be.
        threshold: f64,
    },
    /// Hits on so many days.
    Days {
        /// So many days …
        days: u32,
        /// … of which it takes so many …
        threshold: u32,
        /// … within so many.
        within: u32,
    },
    /// The first contact was enough.
    Touch,
    /// It was silent for so long before.
    Silence(Duration),
    /// Repeats that came faster than they leak away.
    Repeats {
        /// How many are in the bucket.
        level: u64,
        /// How many it holds.
        capacity: u64,
        /// The mean time between two.
        gap: Duration,
        /// Whether they come like clockwork.
        rhythm: Rhythm,
    },
    /// A share of everything.
    Share {
        /// What there was.
        value: f64,
        /// What it may be.
        threshold: f64,
    },
}

/// Whether repeats come at even intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rhythm {
    /// They do: a job or a monitor.
    Regular,
    /// They do not.
    Irregular,
}

impl Detector {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::FrequentSource,
        Self::FrequentPort,
        Self::FrequentClient,
        Self::SlowScan,
        Self::SubnetScan,
        Self::PortSurge,
        Self::ClientSurge,
        Self::CoordinatedScan,
        Self::LateralMovement,
        Self::ReturningSource,
        Self::PersistentSource,
        Self::Hammering,
        Self::LyingClient,
        Self::ClonedClient,
        Self::NewClient,
        Self::SilentClient,
        Self::Degraded,
    ];

    /// The detector's name in settings and alerts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FrequentSource => "frequent-source",
            Self::FrequentPort => "frequent-port",
            Self::FrequentClient => "frequent-client",
            Self::SlowScan => "slow-scan",
            Self::SubnetScan => "subnet-scan",
            Self::PortSurge => "port-surge",
            Self::ClientSurge => "client-surge",
            Self::CoordinatedScan => "coordinated-scan",
            Self::LateralMovement => "lateral-movement",
            Self::ReturningSource => "returning-source",
            Self::PersistentSource => "persistent-source",
            Self::Hammering => "hammering",
            Self::LyingClient => "lying-client",
            Self::ClonedClient => "cloned-client",
            Self::NewClient => "new-client",
            Self::SilentClient => "silent-client",
            Self::Degraded => "degraded",
        }
    }

    /// Whether it is about how vft itself does, and not about who touches traps.
    pub const fn is_about_health(self) -> bool {
        match self {
            Self::LyingClient
            | Self::ClonedClient
            | Self::NewClient
            | Self::SilentClient
            | Self::Degraded => true,
            Self::FrequentSource
            | Self::FrequentPort
            | Self::FrequentClient
            | Self::SlowScan
            | Self::SubnetScan
            | Self::PortSurge
            | Self::ClientSurge
            | Self::CoordinatedScan
            | Self::LateralMovement
            | Self::ReturningSource
            | Self::PersistentSource
            | Self::Hammering => false,
        }
    }
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Open, Self::Update, Self::Close];

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
    pub const ALL: [Self; 5] = [
        Self::Informational,
        Self::Low,
        Self::Medium,
        Self::High,
        Self::Critical,
    ];

    /// The next higher one.
    #[must_use]
    pub const fn raised(self) -> Self {
        match self {
            Self::Informational => Self::Low,
            Self::Low => Self::Medium,
            Self::Medium => Self::High,
            Self::High | Self::Critical => Self::Critical,
        }
    }

    /// The severity's name in alerts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Informational => "informational",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
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

//! Settings of the detectors and their defaults.

use serde::{Deserialize, Serialize};

use crate::config::ports::PortList;
use crate::config::value::{Positive, Span, Threshold};

/// One block for each detector.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Detectors {
    /// Hits from one source over all clients.
    pub frequent_source: Frequency,
    /// Hits to one trap port over all clients.
    pub frequent_port: Frequency,
    /// Hits on one client.
    pub frequent_client: Frequency,
    /// First contacts of a source, however slow.
    pub slow_scan: SlowScan,
    /// First contacts of a network none of whose sources stands out.
    pub subnet_scan: SubnetScan,
    /// First contacts on a trap port against what is usual there.
    pub port_surge: PortSurge,
    /// First contacts on a client against what is usual there.
    pub client_surge: ClientSurge,
    /// Many sources that share the work.
    pub coordinated_scan: CoordinatedScan,
    /// Hosts of the inside that touch traps.
    pub lateral_movement: LateralMovement,
    /// Sources that come back.
    pub returning_source: ReturningSource,
    /// Sources that come on many days.
    pub persistent_source: PersistentSource,
    /// One source that hits one trap over and over.
    pub hammering: Hammering,
    /// Clients whose reports are out of all proportion.
    pub lying_client: LyingClient,
    /// A second process with a client's identity.
    pub cloned_client: Switch,
    /// Clients that the fleet did not have before.
    pub new_client: NewClient,
    /// Clients that are not heard from.
    pub silent_client: Silence,
    /// The engine at its bounds.
    pub degraded: Degraded,
}

/// So many hits within so long a time.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Frequency {
    /// Whether the detector runs.
    pub enabled: bool,
    /// So many hits …
    pub threshold: Threshold,
    /// … within so long, ends included.
    pub window: Span,
    /// Of which so many clients must have seen at least one.
    pub min_clients: Threshold,
    /// Of which so many trap ports must have got at least one.
    pub min_ports: Threshold,
}

/// First contacts of a source that chance does not explain.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SlowScan {
    /// Whether the detector runs.
    pub enabled: bool,
    /// False alarms a day to put up with, over all sources.
    pub false_alarms_per_day: Positive,
    /// Chance must bring it about less often than once in so many days, however few sources
    /// there are.
    pub min_days: Positive,
    /// How many bursts a day a harmless source has, at most.
    pub harmless_bursts_per_day: Positive,
    /// How likely a contact of a harmless source is followed by another one within `burst-gap`.
    pub harmless_continuation: Positive,
    /// Contacts this close together belong to one burst.
    pub burst_gap: Span,
}

/// First contacts of a network that chance does not explain.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SubnetScan {
    /// Whether the detector runs.
    pub enabled: bool,
    /// False alarms a day to put up with, over all networks.
    pub false_alarms_per_day: Positive,
    /// So many of its sources must have made contacts.
    pub min_sources: Threshold,
}

/// More first contacts on a trap port than usual.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PortSurge {
    /// Whether the detector runs.
    pub enabled: bool,
    /// False alarms a day to put up with, over all ports.
    pub false_alarms_per_day: Positive,
    /// At least so many first contacts …
    pub min_contacts: Threshold,
    /// … on at least so many clients, within an hour.
    pub min_clients: Threshold,
}

/// More first contacts on a client than usual.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClientSurge {
    /// Whether the detector runs.
    pub enabled: bool,
    /// False alarms a day to put up with, over all clients.
    pub false_alarms_per_day: Positive,
    /// At least so many first contacts …
    pub min_contacts: Threshold,
    /// … from at least so many sources …
    pub min_sources: Threshold,
    /// … or on at least so many ports, within an hour.
    pub min_ports: Threshold,
}

/// Sources that share a port's clients among them.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CoordinatedScan {
    /// Whether the detector runs.
    pub enabled: bool,
    /// So unlikely must so little overlap be by chance.
    pub chance: Positive,
    /// The windows looked at.
    pub windows: Vec<Span>,
    /// At least so many sources.
    pub min_sources: Threshold,
}

/// Hosts of the inside that touch traps.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LateralMovement {
    /// Whether the detector runs.
    pub enabled: bool,
    /// Ports on which the first contact is enough.
    pub ports: PortList,
    /// Whose first contact is enough.
    pub first_contact: FirstContact,
    /// How many bursts a day a harmless host has, at most.
    pub harmless_bursts_per_day: Positive,
    /// Who hit the host itself within this time belongs to the chain.
    pub chain: Span,
}

/// Whose first contact on a port that attackers move along is enough for an alert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirstContact {
    /// That of a host of the fleet: an address that a client comes from.
    #[default]
    Fleet,
    /// That of any host inside.
    Inside,
}

/// Sources that come back.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ReturningSource {
    /// Whether the detector runs.
    pub enabled: bool,
    /// After so long a silence.
    pub silence: Span,
}

/// Sources that come on many days.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PersistentSource {
    /// Whether the detector runs.
    pub enabled: bool,
    /// On so many days …
    pub days: Threshold,
    /// … of so many, 32 at most.
    pub within: Threshold,
}

/// One source that hits one trap over and over.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Hammering {
    /// Whether the detector runs.
    pub enabled: bool,
    /// So many repeats fill the bucket …
    pub capacity: Threshold,
    /// … from which one leaks this often.
    pub leak: Span,
}

/// Clients that report, out of all proportion, networks that nobody else sees.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LyingClient {
    /// Whether the detector runs.
    pub enabled: bool,
    /// So many times as many as all but one in ten clients report in an hour, and as it did before.
    pub factor: Positive,
    /// And such a share of all networks that one client alone reports within the hour.
    pub share: Positive,
}

/// A detector that has nothing to set but whether it runs.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Switch {
    /// Whether the detector runs.
    pub enabled: bool,
}

/// Clients that the fleet did not have before.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct NewClient {
    /// Whether the detector runs.
    pub enabled: bool,
    /// So many new clients of one address …
    pub threshold: Threshold,
    /// … within so long.
    pub window: Span,
    /// Others are expected for so long after the fleet's first client has come.
    pub grace: Span,
}

/// A client that should have been heard from.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Silence {
    /// Whether the detector runs.
    pub enabled: bool,
    /// After so many heartbeats that did not come.
    pub missed: Threshold,
}

/// The engine at its bounds.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Degraded {
    /// Whether the detector runs.
    pub enabled: bool,
    /// Such a share of sources may be taken for ones that have made six contacts.
    pub error: Positive,
}

impl Default for Frequency {
    fn default() -> Self {
        Self {
            enabled: true,
            threshold: Threshold::new(3),
            window: Span::seconds(300),
            min_clients: Threshold::new(1),
            min_ports: Threshold::new(1),
        }
    }
}

impl Default for SlowScan {
    fn default() -> Self {
        Self {
            enabled: true,
            false_alarms_per_day: Positive::new(0.3),
            min_days: Positive::new(1000.0),
            harmless_bursts_per_day: Positive::new(0.0333),
            harmless_continuation: Positive::new(0.25),
            burst_gap: Span::seconds(120),
        }
    }
}

impl Default for SubnetScan {
    fn default() -> Self {
        Self {
            enabled: true,
            false_alarms_per_day: Positive::new(0.1),
            min_sources: Threshold::new(2),
        }
    }
}

impl Default for PortSurge {
    fn default() -> Self {
        Self {
            enabled: true,
            false_alarms_per_day: Positive::new(0.1),
            min_contacts: Threshold::new(5),
            min_clients: Threshold::new(3),
        }
    }
}

impl Default for ClientSurge {
    fn default() -> Self {
        Self {
            enabled: true,
            false_alarms_per_day: Positive::new(0.2),
            min_contacts: Threshold::new(4),
            min_sources: Threshold::new(2),
            min_ports: Threshold::new(3),
        }
    }
}

impl Default for CoordinatedScan {
    fn default() -> Self {
        Self {
            enabled: true,
            chance: Positive::new(1e-6),
            windows: vec![Span::seconds(3600), Span::seconds(86_400)],
            min_sources: Threshold::new(5),
        }
    }
}

impl Default for LateralMovement {
    fn default() -> Self {
        Self {
            enabled: true,
            ports: PortList::from([22, 135, 139, 445, 3389, 5900, 5985, 5986]),
            first_contact: FirstContact::Fleet,
            harmless_bursts_per_day: Positive::new(0.0056),
            chain: Span::seconds(7 * 86_400),
        }
    }
}

impl Default for ReturningSource {
    fn default() -> Self {
        Self {
            enabled: true,
            silence: Span::seconds(7 * 86_400),
        }
    }
}

impl Default for PersistentSource {
    fn default() -> Self {
        Self {
            enabled: true,
            days: Threshold::new(7),
            within: Threshold::new(30),
        }
    }
}

impl Default for Hammering {
    fn default() -> Self {
        Self {
            enabled: true,
            capacity: Threshold::new(60),
            leak: Span::seconds(10),
        }
    }
}

impl Default for LyingClient {
    fn default() -> Self {
        Self {
            enabled: true,
            factor: Positive::new(10.0),
            share: Positive::new(0.125),
        }
    }
}

impl Default for Switch {
    fn default() -> Self {
        Self { enabled: true }
    }
}

impl Default for NewClient {
    fn default() -> Self {
        Self {
            enabled: true,
            threshold: Threshold::new(32),
            window: Span::seconds(3600),
            grace: Span::seconds(86_400),
        }
    }
}

impl Default for Silence {
    fn default() -> Self {
        Self {
            enabled: true,
            missed: Threshold::new(3),
        }
    }
}

impl Default for Degraded {
    fn default() -> Self {
        Self {
            enabled: true,
            error: Positive::new(0.01),
        }
    }
}

//! Settings of `vft server`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::config::ConfigError;
use crate::config::detectors::Detectors;
use crate::config::ports::PortList;
use crate::config::secret::Secret;
use crate::config::user::User;
use crate::config::value::{Bind, DEFAULT_PORT, Mebibytes, Size, Span};

/// Everything a server can be told.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ServerSettings {
    /// Where to listen for clients.
    pub bind: Bind,
    /// PEM file with the server's certificate and its chain. With `key` it turns TLS on.
    pub cert: Option<PathBuf>,
    /// PEM file with the certificate's private key.
    pub key: Option<PathBuf>,
    /// The secret clients must prove; better kept in `secret-file`.
    #[serde(skip_serializing)]
    pub secret: Option<Secret>,
    /// File whose only line is the secret.
    pub secret_file: Option<PathBuf>,
    /// Folder for what must outlive a restart.
    pub state_dir: Option<PathBuf>,
    /// The user to become once everything is open, if root starts it; else it stays who it is.
    pub user: Option<User>,
    /// How alerts are written to standard output.
    pub alert_format: Format,
    /// After so long, events, alerts and closed incidents are forgotten.
    pub keep: Span,
    /// Most space on disk for the store, in MiB: 1 to 1048576. When it is full, the oldest events are
    /// forgotten.
    pub keep_mib: Mebibytes,
    /// How clients come in that the server does not know; if it is not given, it is open in the
    /// fleet's first day and slow afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_clients: Option<NewClients>,
    /// Networks that are the fleet's own, beside the private ones.
    pub inside: Vec<Network>,
    /// Networks whose addresses many hosts share: behind them clients vouch each for itself.
    pub nat: Vec<Network>,
    /// What the engine's tables of sources may take up.
    pub memory: Size,
    /// Bounds.
    pub limits: Limits,
    /// When alerts are raised.
    pub detectors: Detectors,
    /// How alerts about one subject hang together.
    pub incidents: Incidents,
    /// Which alerts are said one by one, and which together.
    pub alerts: Alerts,
    /// Sources that may touch traps.
    pub allow: Vec<Allow>,
}

/// A form of output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A line a person reads.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("`{text}` is neither text nor json")),
        }
    }
}

/// How clients come in that the server does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NewClients {
    /// Ten times as fast as slow ones.
    Open,
    /// As the limits say.
    Slow,
    /// Not at all.
    Closed,
}

/// Bounds on what connections may cost.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Connections that are not authenticated yet, at once. A quarter of these places is for addresses
    /// from which clients came before.
    pub unauthenticated: u16,
    /// Of these, from one address.
    pub unauthenticated_per_address: u16,
    /// From accept to welcome.
    pub handshake: Span,
    /// How often an idle client shows that it is alive.
    pub heartbeat: Span,
    /// Sessions at once; the limit on open files may be lower, and then counts.
    pub sessions: u32,
    /// Of these, from one address (an IPv6 /64 counts as one); an eighth if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions_per_address: Option<u32>,
    /// Clients that are remembered.
    pub clients: u32,
    /// Hits a second that a client may report for as long as it likes; merged ones count once.
    pub client_rate: u32,
    /// Hits that it may report at once after a pause.
    pub client_burst: u32,
    /// Clients that the server does not know and lets in each minute, for as long as they come.
    pub new_clients_per_minute: u32,
    /// Clients that the server does not know and lets in at once after a pause.
    pub new_clients_burst: u32,
    /// Open incidents; when there are more, the quiet ones are closed early.
    pub incidents: u32,
}

/// How alerts about one subject hang together.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Incidents {
    /// An incident closes after so long without a hit, or later if its hits come slowly.
    pub quiet: Span,
    /// What comes again so soon after the end goes on with the incident.
    pub cool_down: Span,
    /// What comes again within this after the end is the same incident once more.
    pub recurrence: Span,
    /// Whether one scanner that trips several detectors is one incident.
    pub correlation: Correlation,
}

/// Which alerts are said one by one, and which together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Alerts {
    /// What the traps are exposed to.
    pub profile: Profile,
    /// So many within an hour are said one by one; all of them if 0.
    pub per_hour: u16,
    /// The others are summed up after so long.
    pub digest: Span,
}

/// What the traps are exposed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// A network of one's own, in which a stranger is worth an alert.
    #[default]
    Internal,
    /// The Internet, where strangers come all the time.
    Exposed,
}

/// What becomes of a port's or a client's alarm that one source accounts for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Correlation {
    /// It joins the source's incident.
    #[default]
    Merge,
    /// It stands alone.
    Separate,
}

/// Hits that are expected. They are counted and shown, and raise no alert.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Allow {
    /// An address, or a network as `10.0.0.0/8`.
    pub network: Network,
    /// Only for these trap ports; all if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<PortList>,
    /// Only on clients of these names; all if not given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<String>,
    /// Only before this time (RFC 3339); for ever if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Until>,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A network, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(pub IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = text.parse::<std::net::IpAddr>().map(IpNet::from);
        let network = address.or_else(|_| text.parse());
        network.map(|network| Self(network.trunc())).map_err(|_| {
            format!("`{text}` is not an address or a network; write it like 10.0.0.0/8")
        })
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.0.to_string()
    }
}

/// A point in time at which something ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Until(pub jiff::Timestamp);

impl TryFrom<String> for Until {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let midnight = format!("{text}T00:00:00Z");
        text.parse()
            .or_else(|_| midnight.parse())
            .map(Self)
            .map_err(|_| {
                format!("`{text}` is not a time; write it like 2026-12-31 or 2026-12-31T18:00:00Z")
            })
    }
}

impl From<Until> for String {
    fn from(until: Until) -> Self {
        until.0.to_string()
    }
}

/// Where TLS comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertAndKey<'a> {
    /// PEM file with the certificate.
    pub cert: &'a Path,
    /// PEM file with the key.
    pub key: &'a Path,
}

/// Whether TLS was asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// `--ssl` was given: no certificate is an error.
    Demanded,
    /// It is on if there is a certificate.
    IfConfigured,
}

impl Limits {
    /// How many of so many sessions one address may have: one at least.
    pub fn sessions_per_address(&self, sessions: usize) -> usize {
        let asked = self.sessions_per_address;
        let asked = asked.map(|most| usize::try_from(most).unwrap_or(usize::MAX));
        asked.unwrap_or(sessions / 8).max(1)
    }
}

impl ServerSettings {
    /// The certificate and key to serve, `None` for a server without TLS. One without the other
    /// is an error.
    pub fn tls(&self, tls: Tls) -> Result<Option<CertAndKey<'_>>, ConfigError> {
        let missing = |culprit, other| {
            Err(ConfigError::Conflict {
                culprit,
                why: format!("missing, but {other} is given"),
                hint: "TLS needs both --cert and --key; `vft cert` makes a pair",
            })
        };
        match (&self.cert, &self.key, tls) {
            (Some(cert), Some(key), _) => Ok(Some(CertAndKey { cert, key })),
            (Some(_), None, _) => missing("key", "cert"),
            (None, Some(_), _) => missing("cert", "key"),
            (None, None, Tls::Demanded) => Err(ConfigError::Conflict {
                culprit: "cert and key",
                why: "missing, but --ssl is given".to_owned(),
                hint: "TLS needs both --cert and --key; `vft cert` makes a pair",
            }),
            (None, None, Tls::IfConfigured) => Ok(None),
        }
    }

    /// Checks what no single value shows.
    pub fn check(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        limits.check_counts()?;
        let seconds = |span: Span| span.get().as_secs_f64();
        if !(0.1..=3600.0).contains(&seconds(limits.heartbeat)) {
            return out_of_range("limits.heartbeat", "out of range: from 100ms to 1h");
        }
        // A client that is made to wait for longer would count as gone.
        let longest_wait = f64::from(REPORT) / f64::from(limits.client_rate);
        if longest_wait >= 2.0 * seconds(limits.heartbeat) {
            let why = "too low for this limits.heartbeat: 1024 hits must not take twice as long";
            return out_of_range("limits.client-rate", why);
        }
        if !(3600.0..).contains(&seconds(self.keep)) {
            return out_of_range("keep", "out of range: from 1h to 10years");
        }
        if !(16..=65_536).contains(&self.memory.as_mib()) {
            return out_of_range("memory", "out of range: from 16MiB to 64GiB");
        }
        if !(1.0..=300.0).contains(&seconds(limits.handshake)) {
            return out_of_range("limits.handshake", "out of range: from 1s to 5m");
        }
        if !matches!(self.alerts.per_hour, 0 | 5..=1000) {
            return out_of_range("alerts.per-hour", "out of range: from 5 to 1000, or 0");
        }
        if !(1.0..=604_800.0).contains(&seconds(self.alerts.digest)) {
            return out_of_range("alerts.digest", "out of range: from 1s to 7days");
        }
        Ok(())
    }

    /// The networks of entries of the allow-list that mute everybody: all addresses, on all ports
    /// and clients.
    pub fn muted_altogether(&self) -> impl Iterator<Item = IpNet> {
        let entries = self.allow.iter().filter(|entry| {
            let is_limited = entry.ports.is_some() || !entry.clients.is_empty();
            entry.network.0.prefix_len() == 0 && !is_limited
        });
        entries.map(|entry| entry.network.0)
    }

    /// The secret, from wherever it was given; `None` if clients need none.
    pub fn shared_secret(&self) -> Result<Option<Secret>, ConfigError> {
        shared_secret(self.secret.as_ref(), self.secret_file.as_deref())
    }
}

impl Limits {
    /// Checks what is counted.
    fn check_counts(&self) -> Result<(), ConfigError> {
        let counts = [
            ("limits.unauthenticated", u32::from(self.unauthenticated)),
            (
                "limits.unauthenticated-per-address",
                self.unauthenticated_per_address.into(),
            ),
            ("limits.sessions", self.sessions),
            (
                "limits.sessions-per-address",
                self.sessions_per_address.unwrap_or(1),
            ),
            ("limits.clients", self.clients),
            ("limits.incidents", self.incidents),
            ("limits.new-clients-per-minute", self.new_clients_per_minute),
        ];
        for (culprit, count) in counts {
            if !(1..=MAX_COUNT).contains(&count) {
                return out_of_range(culprit, "out of range: from 1 to 16777216");
            }
        }
        if !(SLOWEST..=MAX_COUNT).contains(&self.client_rate) {
            return out_of_range("limits.client-rate", "out of range: from 100 to 16777216");
        }
        if !(REPORT..=MAX_COUNT).contains(&self.client_burst) {
            return out_of_range("limits.client-burst", "out of range: from 1024 to 16777216");
        }
        if !(ADDRESSES..=MAX_COUNT).contains(&self.new_clients_burst) {
            return out_of_range(
                "limits.new-clients-burst",
                "out of range: from 20 to 16777216",
            );
        }
        Ok(())
    }
}

fn out_of_range(culprit: &'static str, why: &str) -> Result<(), ConfigError> {
    let (why, hint) = (why.to_owned(), "`vft check` prints the settings in force");
    Err(ConfigError::Conflict { culprit, why, hint })
}

/// A year as spans of time have it: 365.25 days.
const YEAR: u64 = 31_557_600;

/// The lowest rate of a client, in hits a second. With less, the largest report would keep a client
/// waiting for longer than it waits for an answer.
const SLOWEST: u32 = 100;

/// The least burst: one report of the largest size.
const REPORT: u32 = 1024;

/// The least burst of new clients: an address has a twentieth, and one client must get in.
const ADDRESSES: u32 = 20;

/// The most that a limit can be.
const MAX_COUNT: u32 = 1 << 24;

/// The secret itself, or the one in the file. What was given directly goes first.
pub fn shared_secret(
    secret: Option<&Secret>,
    file: Option<&Path>,
) -> Result<Option<Secret>, ConfigError> {
    match (secret, file) {
        (Some(secret), _) => Ok(Some(secret.clone())),
        (None, Some(path)) => Secret::read(path).map(Some),
        (None, None) => Ok(None),
    }
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            bind: Bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, DEFAULT_PORT))),
            cert: None,
            key: None,
            secret: None,
            secret_file: None,
            state_dir: None,
            user: None,
            alert_format: Format::Text,
            keep: Span::seconds(YEAR),
            keep_mib: Mebibytes::new(8192),
            new_clients: None,
            inside: Vec::new(),
            nat: Vec::new(),
            memory: Size::mib(256),
            limits: Limits::default(),
            detectors: Detectors::default(),
            incidents: Incidents::default(),
            alerts: Alerts::default(),
            allow: Vec::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            unauthenticated: 512,
            unauthenticated_per_address: 64,
            handshake: Span::seconds(5),
            heartbeat: Span::seconds(30),
            sessions: 20_000,
            sessions_per_address: None,
            clients: 100_000,
            client_rate: 10_000,
            client_burst: 100_000,
            new_clients_per_minute: 120,
            new_clients_burst: 12_000,
            incidents: 4096,
        }
    }
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            profile: Profile::Internal,
            per_hour: 0,
            digest: Span::seconds(3600),
        }
    }
}

impl Default for Incidents {
    fn default() -> Self {
        Self {
            quiet: Span::seconds(3600),
            cool_down: Span::seconds(3600),
            recurrence: Span::seconds(7 * 86_400),
            correlation: Correlation::Merge,
        }
    }
}

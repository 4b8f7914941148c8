//! Settings of `vft client`.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::ConfigError;
use crate::config::candidates::{self, Candidate};
use crate::config::ports::PortList;
use crate::config::secret::Secret;
use crate::config::server::shared_secret;
use crate::config::user::User;
use crate::config::value::{DEFAULT_PORT, Endpoint, Mebibytes, Span};

/// Everything a client can be told.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClientSettings {
    /// Servers to report to, tried in this order.
    pub server: Vec<Endpoint>,
    /// PEM file with the certificate to trust: the server's own or a CA's. It turns TLS on.
    pub cert: Option<PathBuf>,
    /// The name to look for in the server's certificate; else the one in `server`.
    pub server_name: Option<String>,
    /// The secret to prove; better kept in `secret-file`.
    #[serde(skip_serializing)]
    pub secret: Option<Secret>,
    /// File whose only line is the secret.
    pub secret_file: Option<PathBuf>,
    /// What people call this host; else the host's own name.
    pub name: Option<String>,
    /// Folder for what must outlive a restart.
    pub state_dir: Option<PathBuf>,
    /// The user to become once everything is open, if root starts it; else it stays who it is.
    pub user: Option<User>,
    /// Addresses to hold traps on; all of the host's if none is given.
    pub bind: Vec<IpAddr>,
    /// The trap ports, all of them; else `count` of the candidates.
    pub ports: Option<PortList>,
    /// How many traps to hold.
    pub count: TrapCount,
    /// Ports that never become traps.
    pub exclude_ports: Option<PortList>,
    /// After how long other candidates are drawn; never if not given.
    pub rotate: Option<Span>,
    /// Most space on disk for hits that the server does not have yet, in MiB: 1 to 1048576. When
    /// it is full, the oldest are dropped and counted.
    pub spool_mib: Mebibytes,
    /// What traps are drawn from.
    pub candidates: Vec<Candidate>,
}

/// How many traps a client holds: 1 to 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct TrapCount(u16);

impl TrapCount {
    const MAX: u16 = 1024;

    /// As a plain number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u64> for TrapCount {
    type Error = String;

    fn try_from(n: u64) -> Result<Self, String> {
        match u16::try_from(n) {
            Ok(n @ 1..=Self::MAX) => Ok(Self(n)),
            _ => Err(format!("{n} is out of range: from 1 to {}", Self::MAX)),
        }
    }
}

impl From<TrapCount> for u64 {
    fn from(count: TrapCount) -> Self {
        count.0.into()
    }
}

impl std::str::FromStr for TrapCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<u64>()
            .map_err(|_| format!("`{text}` is not a number"))?
            .try_into()
    }
}

/// The longest name of a client, in characters.
const MAX_NAME: usize = 64;

impl ClientSettings {
    /// The secret, from wherever it was given; `None` if none is to be proven.
    pub fn shared_secret(&self) -> Result<Option<Secret>, ConfigError> {
        shared_secret(self.secret.as_ref(), self.secret_file.as_deref())
    }

    /// Checks what no single setting shows.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.server.is_empty() {
            return Err(ConfigError::Conflict {
                culprit: "server",
                why: "the list is empty".to_owned(),
                hint: "name at least one server, or leave the setting out",
            });
        }
        if self
            .rotate
            .is_some_and(|every| every.get() < Duration::from_secs(1))
        {
            return Err(ConfigError::Conflict {
                culprit: "rotate",
                why: "traps cannot change more often than every second".to_owned(),
                hint: "days are usual, like 7d",
            });
        }
        if self
            .name
            .as_ref()
            .is_some_and(|name| name.chars().count() > MAX_NAME)
        {
            return Err(ConfigError::Conflict {
                culprit: "name",
                why: format!("longer than {MAX_NAME} characters"),
                hint: "shorten it; it only has to be told from the others by people",
            });
        }
        let ports: BTreeSet<_> = self.candidates.iter().map(|it| it.port).collect();
        if ports.len() < self.candidates.len() {
            return Err(ConfigError::Conflict {
                culprit: "candidates",
                why: "a port stands in the list twice".to_owned(),
                hint: "give each port one block, with the weight it should have",
            });
        }
        self.check_traps()
    }

    /// Checks that there is somewhere to hold traps.
    fn check_traps(&self) -> Result<(), ConfigError> {
        let addresses: BTreeSet<_> = self.bind.iter().collect();
        if addresses.len() < self.bind.len() {
            return Err(ConfigError::Conflict {
                culprit: "bind",
                why: "an address stands in the list twice".to_owned(),
                hint: "name each address once; a trap can be opened only once at each",
            });
        }
        let excluded = |port| {
            self.exclude_ports
                .as_ref()
                .is_some_and(|list| list.contains(port))
        };
        let left = match &self.ports {
            Some(ports) => ports.iter().any(|port| !excluded(port)),
            None => self
                .candidates
                .iter()
                .any(|candidate| !excluded(candidate.port)),
        };
        if !left {
            return Err(ConfigError::Conflict {
                culprit: "exclude-ports",
                why: "no port is left to hold a trap on".to_owned(),
                hint: "exclude fewer ports, or give more with --ports",
            });
        }
        Ok(())
    }
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            server: vec![Endpoint {
                host: Ipv4Addr::LOCALHOST.to_string(),
                port: DEFAULT_PORT,
            }],
            cert: None,
            server_name: None,
            secret: None,
            secret_file: None,
            name: None,
            state_dir: None,
            user: None,
            bind: Vec::new(),
            ports: None,
            count: TrapCount(5),
            exclude_ports: None,
            rotate: None,
            spool_mib: Mebibytes::new(256),
            candidates: candidates::default(),
        }
    }
}

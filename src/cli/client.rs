//! Flags of `vft client`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::secret::SecretArgs;
use crate::config::ConfigError;
use crate::config::client::{ClientSettings, TrapCount};
use crate::config::ports::PortList;
use crate::config::user::User;
use crate::config::value::{Endpoint, Span};

/// Examples below the help.
pub const EXAMPLES: &str = "\
Examples:
  VFT_SECRET=sharedsecret vft client --server vft.example.net:9999 --cert cert.pem
  vft client --server vft.example.net --cert cert.pem --secret-file /etc/vft/secret \\
      --exclude-ports 80,443 --rotate 7d";

/// What can be said to a client on the command line.
#[derive(Debug, Args)]
pub struct ClientArgs {
    /// Server to report to; several are tried in order [default: 127.0.0.1:9999]
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "VFT_SERVER",
        value_delimiter = ','
    )]
    server: Vec<Endpoint>,
    /// PEM file with the certificate to trust, the server's own or a CA's; turns TLS on
    #[arg(long, value_name = "FILE", env = "VFT_CERT")]
    cert: Option<PathBuf>,
    /// Name to look for in the server's certificate [default: the one in --server]
    #[arg(long, value_name = "HOST", env = "VFT_SERVER_NAME")]
    server_name: Option<String>,
    /// Which secret.
    #[command(flatten)]
    secret: SecretArgs,
    /// What people call this host [default: its host name]
    #[arg(long, value_name = "NAME", env = "VFT_NAME")]
    name: Option<String>,
    /// Which traps to hold.
    #[command(flatten)]
    pub traps: TrapArgs,
    /// Folder for what must outlive a restart [default: $`STATE_DIRECTORY`, /var/lib/vft, or
    /// ~/.local/state/vft]
    #[arg(long, value_name = "DIR", env = "VFT_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// User to become once everything is open, if root starts it, by name or number
    #[arg(long, value_name = "USER", env = "VFT_USER")]
    user: Option<User>,
    /// Settings file [default: /etc/vft/client.toml if there is one]
    #[arg(long, value_name = "FILE", env = "VFT_CONFIG")]
    config: Option<PathBuf>,
}

/// Which traps to hold.
#[derive(Debug, Args)]
#[command(next_help_heading = "Traps")]
pub struct TrapArgs {
    /// The trap ports, all of them, like 22,80,8000-8010
    #[arg(long, value_name = "LIST", env = "VFT_PORTS", conflicts_with = "count")]
    ports: Option<PortList>,
    /// How many of the candidate ports to hold [default: 5]
    #[arg(long, value_name = "N", env = "VFT_COUNT")]
    count: Option<TrapCount>,
    /// Ports that never become traps, like 80,443
    #[arg(long, value_name = "LIST", env = "VFT_EXCLUDE_PORTS")]
    exclude_ports: Option<PortList>,
    /// Address to hold traps on; several times for several [default: all of the host's]
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "VFT_TRAP_BIND",
        value_delimiter = ','
    )]
    bind: Vec<IpAddr>,
    /// Draw other ports after so long, like 7d [default: never]
    #[arg(
        long,
        value_name = "SPAN",
        env = "VFT_ROTATE",
        conflicts_with = "ports"
    )]
    rotate: Option<Span>,
}

impl TrapArgs {
    /// Puts what was typed over what a file says.
    pub fn apply(self, settings: &mut ClientSettings) {
        if self.ports.is_some() {
            settings.ports = self.ports;
        }
        if let Some(count) = self.count {
            settings.count = count;
            settings.ports = None;
        }
        if self.exclude_ports.is_some() {
            settings.exclude_ports = self.exclude_ports;
        }
        if !self.bind.is_empty() {
            settings.bind = self.bind;
        }
        if self.rotate.is_some() {
            settings.rotate = self.rotate;
        }
    }
}

impl ClientArgs {
    /// The user that was named on the command line.
    pub const fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// The settings file that was named.
    pub fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// Puts what was typed over what a file says.
    pub fn apply(self, settings: &mut ClientSettings) -> Result<(), ConfigError> {
        if !self.server.is_empty() {
            settings.server = self.server;
        }
        self.secret
            .apply(&mut settings.secret, &mut settings.secret_file)?;
        settings.cert = self.cert.or_else(|| settings.cert.take());
        settings.server_name = self.server_name.or_else(|| settings.server_name.take());
        settings.name = self.name.or_else(|| settings.name.take());
        settings.state_dir = self.state_dir.or_else(|| settings.state_dir.take());
        settings.user = self.user.or_else(|| settings.user.take());
        self.traps.apply(settings);
        Ok(())
    }
}
